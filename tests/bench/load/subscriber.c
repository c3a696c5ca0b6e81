#include "subscriber.h"
#include "failure.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_MAX (128u << 10)

void crowd_init(struct crowd *c, unsigned count, int step, uint64_t end, struct record *record,
                other_taker *other)
{
    size_t most = record->len + SEQ_DIGITS_MAX;

    *c = (struct crowd){.members = calloc(count + 1, sizeof *c->members),
                        .count = count,
                        .step = step,
                        .end = end,
                        .record = record,
                        .other = other,
                        .at_slowest = count,
                        .buffer_size = READ_MAX + most};
    c->buffer = malloc(c->buffer_size);
    if (!c->members || !c->buffer)
        fail("no memory");
    memset(c->buffer, 0, c->buffer_size);
    for (unsigned i = 0; i < count; i++) {
        struct subscriber *s = &c->members[i];

        s->fd = -1;
        counter_set(&s->expected, 0);
        s->carry = malloc(most);
        if (!s->carry)
            fail("no memory");
    }
}

void crowd_deinit(struct crowd *c)
{
    for (unsigned i = 0; i < c->count; i++) {
        if (c->members[i].fd >= 0)
            close(c->members[i].fd);
        free(c->members[i].carry);
    }
    free(c->members);
    free(c->buffer);
    *c = (struct crowd){0};
}

/* Messages from `next` up to this one did not come. */
static void lose_to(struct crowd *c, struct subscriber *s, uint64_t to)
{
    c->tally.lost += (to - s->next) / (unsigned)c->step;
    s->hole_from = s->next;
    s->hole_to = to;
    s->next = to;
    counter_set(&s->expected, to);
}

/* Whole, but not the expected one. Returns whether it counts as the next. */
static bool out_of_turn(struct crowd *c, struct subscriber *s, const char *digits)
{
    uint64_t n;

    if (digits_read(digits, COUNTER_DIGITS, &n) != COUNTER_DIGITS || n >= c->end || n % (unsigned)c->step) {
        c->tally.torn++;
        return false;
    }
    if (n > s->next) {
        lose_to(c, s, n);
        return true;
    }
    if (n >= s->hole_from && n < s->hole_to) {
        c->tally.lost--;
        c->tally.reordered++;
        c->tally.deliveries++;
        s->hole_from = n + 1;
    } else {
        c->tally.repeated++;
    }
    return false;
}

/* imd numbers what it delivers: each message has the number that its place says. */
static void seq_check(struct crowd *c, struct subscriber *s, uint64_t seq)
{
    if (!s->first_seq)
        s->first_seq = seq - s->next;
    if (seq != s->first_seq + s->next)
        c->tally.torn++;
}

static void advance(struct crowd *c, struct subscriber *s)
{
    s->next += (unsigned)c->step;
    counter_add(&s->expected, c->step);
    c->tally.deliveries++;
}

/* Returns the bytes that are dealt with; 0: more are needed. */
static size_t other_take(struct crowd *c, struct subscriber *s, const char *bytes, size_t len)
{
    uint64_t lost_to = s->next;
    long n = c->other(s->fd, bytes, len, s->first_seq, &lost_to);

    /* What is longer than any record and still not known never will be. */
    if (n < 0 || (!n && len >= c->record->len + SEQ_DIGITS_MAX))
        s->astray = true;
    lost_to += (lost_to - s->next) % (unsigned)c->step;
    if (lost_to > c->end)
        lost_to = c->end;
    if (lost_to > s->next) {
        c->tally.announced += (lost_to - s->next) / (unsigned)c->step;
        lose_to(c, s, lost_to);
    }
    return s->astray ? 0 : (size_t)n;
}

/* To the next place where a record seems to begin; what may be the beginning of one is kept. */
static size_t way_back(struct crowd *c, struct subscriber *s, const char *bytes, size_t len)
{
    size_t head = c->record->head;
    /* From the second byte on: at the first one it went astray. */
    const char *found = len ? memmem(bytes + 1, len - 1, c->record->bytes, head) : NULL;

    if (found) {
        s->astray = false;
        return (size_t)(found - bytes);
    }
    return len > head ? len - head : 0;
}

/* Returns the bytes at the end that wait for more. */
static size_t bytes_take(struct crowd *c, struct subscriber *s, const char *bytes, size_t len)
{
    while (len) {
        size_t n = 0;
        uint64_t seq;

        if (s->astray) {
            n = way_back(c, s, bytes, len);
            if (!n)
                break;
            bytes += n;
            len -= n;
            continue;
        }
        switch (record_check(c->record, bytes, len, &s->expected, &n, &seq)) {
        case RECORD_EXPECTED:
            if (seq)
                seq_check(c, s, seq);
            advance(c, s);
            break;
        case RECORD_COUNTER:
            if (out_of_turn(c, s, bytes + n - c->record->len + c->record->counter_at)) {
                if (seq)
                    seq_check(c, s, seq);
                advance(c, s);
            }
            break;
        case RECORD_PARTIAL:
            return len;
        case RECORD_OTHER:
            n = other_take(c, s, bytes, len);
            if (s->astray)
                c->tally.torn++;
            else if (!n)
                return len;
            break;
        case RECORD_TORN:
            c->tally.torn++;
            s->astray = true;
            n = 0;
            break;
        }
        bytes += n;
        len -= n;
    }
    return len;
}

static void slowest_find(struct crowd *c)
{
    c->slowest = UINT64_MAX;
    for (unsigned i = 0; i < c->count; i++) {
        uint64_t next = c->members[i].next;

        if (next < c->slowest) {
            c->slowest = next;
            c->at_slowest = 0;
        }
        c->at_slowest += next == c->slowest;
    }
}

bool crowd_read(struct crowd *c, struct subscriber *s)
{
    uint64_t before = s->next;
    size_t rest;
    ssize_t n;

    memcpy(c->buffer, s->carry, s->carry_len);
    n = recv(s->fd, c->buffer + s->carry_len, READ_MAX, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return false;
    if (n <= 0)
        fail("a subscriber was disconnected, message %llu is its next", (unsigned long long)s->next);
    rest = bytes_take(c, s, c->buffer, s->carry_len + (size_t)n);
    memcpy(s->carry, c->buffer + s->carry_len + (size_t)n - rest, rest);
    s->carry_len = rest;
    if (before != c->slowest || s->next == before || --c->at_slowest)
        return false;
    slowest_find(c);
    return true;
}
