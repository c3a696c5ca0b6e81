/* See subscriber.h. */
#include "subscriber.h"

#include "arena.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void subscriber_deinit(struct subscriber *s)
{
    filter_free(s->filter);
    ring_block_unref(s->rest);
    *s = (struct subscriber){0};
}

/*
 * Lines of the ring itself are bounded by a quarter of the ring: a copy of what is left; blocks are shared.
 */
static int keep_rest(struct subscriber *s, const struct ring *r, const struct ring_entry *e)
{
    struct ring_block *b;

    if (!s->offset)
        return 0;
    s->rest_lines = 1;
    s->rest_of = s->cursor;
    if (e->block) {
        s->rest_at = s->offset;
        arena_order();
        s->rest = ring_block_ref(e->block);
        arena_order();
        s->offset = 0;
        arena_order();
        return 0;
    }
    b = ring_block_copy(r->arena, ring_line(r, e) + s->offset, e->len - s->offset);
    if (!b)
        return -ENOMEM;
    s->rest_at = 0;
    arena_order();
    s->rest = b;
    arena_order();
    s->offset = 0;
    arena_order();
    return 0;
}

static void drop_rest(struct subscriber *s)
{
    ring_block_unref(s->rest);
    s->rest = NULL;
    s->rest_lines = 0;
    s->rest_is_page = false;
}

/* Of a page, what goes beyond the line that is half written. */
static void trim_rest(struct subscriber *s)
{
    const char *end;

    if (!s->rest || !s->rest_is_page)
        return;
    if (!s->rest_at || s->rest->bytes[s->rest_at - 1] == '\n') {
        drop_rest(s);
        return;
    }
    end = memchr(s->rest->bytes + s->rest_at, '\n', s->rest->len - s->rest_at);
    s->rest->len = (size_t)(end + 1 - s->rest->bytes); /* a page is nobody else's */
    s->rest_lines = 1;
    s->rest_of = UINT64_MAX;
    s->rest_is_page = false;
}

/* What was missed of kinds that are not asked for any more is not told. */
static void forget_missed(struct subscriber *s)
{
    if (!(s->kinds & EVENT_KINDS_WANTED))
        s->gap_from = s->gap_to = 0;
    s->status_missed = s->status_missed && s->kinds >> EVENT_STATUS & 1;
    s->outbox_missed = s->outbox_missed && s->kinds >> EVENT_OUTBOX & 1;
}

void subscriber_told(struct subscriber *s, enum subscriber_missed what)
{
    switch (what) {
    case MISSED_EVENTS:
        s->gap_from = 0;
        break;
    case MISSED_OUTBOX:
        s->outbox_missed = false;
        break;
    case MISSED_STATUS:
        s->status_missed = false;
        break;
    }
}

void subscriber_stop(struct subscriber *s)
{
    filter_free(s->filter);
    s->filter = NULL;
    s->kinds = 0;
    s->parked = false;
    trim_rest(s);
    forget_missed(s);
}

int subscriber_park(struct subscriber *s, const struct ring *r)
{
    const struct ring_entry *e = ring_entry(r, s->cursor);

    if (!s->parked && keep_rest(s, r, e) < 0)
        return -ENOMEM;
    if (s->parked)
        trim_rest(s);
    s->parked = true;
    return 0;
}

void subscriber_feed(struct subscriber *s, struct ring_block *page, uint32_t lines)
{
    s->rest_at = 0;
    s->rest_lines = lines;
    s->rest_is_page = true;
    arena_order();
    s->rest = page;
}

void subscriber_join(struct subscriber *s, uint64_t ordinal)
{
    s->rest_of = UINT64_MAX; /* that line may be due again */
    arena_order();
    s->cursor = ordinal;
    arena_order();
    s->parked = false;
}

static int start_at_head(struct subscriber *s, const struct ring *r)
{
    const struct ring_entry *e = ring_entry(r, s->cursor);

    if (keep_rest(s, r, e) < 0)
        return -ENOMEM;
    s->cursor = r->head;
    return 0;
}

int subscriber_start(struct subscriber *s, const struct ring *r, uint32_t kinds, struct filter *filter)
{
    if (!s->kinds && start_at_head(s, r) < 0)
        return -ENOMEM;
    filter_free(s->filter);
    s->filter = filter;
    arena_order();
    s->kinds = kinds;
    forget_missed(s);
    return 0;
}

uint64_t subscriber_seq(const struct subscriber *s, const struct ring *r, uint64_t last)
{
    for (uint64_t at = s->cursor + (s->offset > 0); at < r->head; at++)
        if (ring_entry(r, at)->seq)
            return ring_entry(r, at)->seq - 1;
    return last;
}

static bool wants(const struct subscriber *s, const struct ring_entry *e, const char *line)
{
    if (!(s->kinds >> e->kind & 1))
        return false;
    return !s->filter || !(EVENT_KINDS_WANTED >> e->kind & 1) || filter_match(s->filter, &e->index, line);
}

/* Past the lines that do not concern it. */
static void skip(struct subscriber *s, const struct ring *r)
{
    const struct ring_entry *e;

    if (s->offset)
        return;
    while (s->cursor != r->head && (e = ring_entry(r, s->cursor), !wants(s, e, ring_line(r, e))))
        s->cursor++;
}

bool subscriber_waiting(struct subscriber *s, const struct ring *r)
{
    if (s->rest || s->offset)
        return true;
    if (!s->kinds || s->parked)
        return false;
    skip(s, r);
    return s->cursor != r->head;
}

static void add(struct delivery *d, const char *bytes, size_t len)
{
    struct iovec *last = d->count ? &d->iov[d->count - 1] : NULL;

    d->total += len;
    if (last && (const char *)last->iov_base + last->iov_len == bytes)
        last->iov_len += len;
    else
        d->iov[d->count++] = (struct iovec){(void *)(uintptr_t)bytes, len};
}

/* What must be written before anything else may be. */
static void add_rest(struct subscriber *s, const struct ring *r, struct delivery *d)
{
    const struct ring_entry *e;

    d->rest_lines = 0;
    if (s->rest) {
        add(d, s->rest->bytes + s->rest_at, s->rest->len - s->rest_at);
        d->rest_lines = s->rest_lines;
    }
    if (s->offset) {
        e = ring_entry(r, s->cursor);
        add(d, ring_line(r, e) + s->offset, e->len - s->offset);
        d->end++;
        d->rest_lines++;
    }
    d->rest = d->total;
    d->lines = d->rest_lines;
}

/* A line that follows the last one in memory, across the end of the ring too, lengthens the run. */
static void add_lines(struct subscriber *s, const struct ring *r, struct delivery *d)
{
    const char *run = NULL;
    size_t len = 0;
    uint64_t at = d->end;

    while (at != r->head && d->count + 2 < DELIVERY_VECTORS) {
        const struct ring_entry *e = ring_entry(r, at);
        const char *line = ring_line(r, e);

        if (!wants(s, e, line)) {
            at++;
            continue;
        }
        if (d->total + len && d->total + len + e->len > DELIVERY_BYTES)
            break;
        if (run && !e->block && e->at == d->run_end) {
            len += e->len;
        } else {
            if (run)
                add(d, run, len);
            run = line;
            len = e->len;
        }
        d->run_end = e->block ? UINT64_MAX : e->at + e->len;
        d->lines++;
        d->end = ++at;
    }
    if (run)
        add(d, run, len);
    else if (at == r->head)
        d->end = at; /* all that is there was skipped */
}

void subscriber_gather(struct subscriber *s, const struct ring *r, const char *own, size_t own_len,
                       struct delivery *d)
{
    d->count = 0;
    d->total = d->own = 0;
    d->lines = 0;
    d->end = s->cursor;
    add_rest(s, r, d);
    if (own_len) {
        add(d, own, own_len);
        d->own = own_len;
    }
    if (s->kinds && !s->parked)
        add_lines(s, r, d);
}

/* The rest of a line: true when it is finished with this. */
static bool advance_rest(struct subscriber *s, size_t n, size_t rest)
{
    if (n < rest) {
        *(s->rest ? &s->rest_at : &s->offset) += n;
        return false;
    }
    if (s->rest) {
        drop_rest(s);
    } else if (rest) {
        s->offset = 0;
        s->cursor++;
    }
    return true;
}

size_t subscriber_advance(struct subscriber *s, const struct ring *r, const struct delivery *d, size_t n,
                          uint32_t *lines)
{
    size_t own = n > d->rest ? n - d->rest : 0;

    *lines = 0;
    if (!advance_rest(s, n, d->rest))
        return 0;
    *lines += d->rest_lines;
    if (own > d->own)
        own = d->own;
    if (n == d->total) {
        *lines = d->lines;
        s->cursor = d->end;
        return own;
    }
    n -= d->rest + own;
    while (n) {
        const struct ring_entry *e = ring_entry(r, s->cursor);

        if (!wants(s, e, ring_line(r, e))) {
            s->cursor++;
        } else if (n >= e->len) {
            n -= e->len;
            s->cursor++;
            ++*lines;
        } else {
            s->offset = n;
            n = 0;
        }
    }
    return own;
}

static void note_missed(struct subscriber *s, const struct ring_entry *e)
{
    if (!e->seq) {
        s->status_missed |= e->kind == EVENT_STATUS;
        s->outbox_missed |= e->kind == EVENT_OUTBOX;
        return;
    }
    memcpy(s->gap_reason, GAP_OVERRUN, sizeof GAP_OVERRUN);
    s->gap_to = e->seq;
    arena_order();
    if (!s->gap_from)
        s->gap_from = e->seq;
}

int subscriber_overtake(struct subscriber *s, struct ring *r, uint64_t to, uint64_t *missed)
{
    const struct ring_entry *e = ring_entry(r, s->cursor);

    if (s->offset) {
        if (keep_rest(s, r, e) < 0)
            return -ENOMEM;
        s->cursor++;
    }
    for (; s->cursor < to; s->cursor++) {
        e = ring_entry(r, s->cursor);
        if (!wants(s, e, ring_line(r, e)))
            continue;
        note_missed(s, e);
        ++*missed;
    }
    return 0;
}
