/*
 * See client.h. Reading: one recv a readiness, then every whole line in it. Writing: replies wait in `out`,
 * events in the ring; both go in one sendmsg, replies between two lines, never inside one. EPOLLOUT is armed
 * only after EAGAIN.
 */
#include "client.h"

#include "log.h"
#include "passed.h"
#include "request.h"
#include "state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define FLUSH_CALLS 4         /* writes to one client in a turn: then it is others' turn */
#define OUT_CAPACITY 1024     /* of the first reply */
#define SPARES_MAX (1u << 20) /* bytes */

/* A larger buffer is no spare. The answers that one read of the server's brings, to one client, fit. */
#define OUT_KEEP DELIVERY_BYTES

/* A buffer, as it lies among the spares. */
struct reply_spare {
    struct reply_spare *next;
    size_t capacity;
};

static void client_ready(struct loop_source *source, uint32_t events);

struct client *client_new(struct hub *h, int fd, uid_t uid, gid_t gid)
{
    struct client *c = calloc(1, sizeof *c);

    if (!c) {
        close(fd);
        return NULL;
    }
    c->hub = h;
    c->fd = fd;
    c->uid = uid;
    c->gid = gid;
    line_reader_init(&c->reader, h->options.max_line);
    c->progress_ms = loop_now_ms(h->loop);
    c->source.ready = client_ready;
    if (loop_source_add(h->loop, &c->source, fd, EPOLLIN) < 0) {
        close(fd);
        line_reader_deinit(&c->reader);
        free(c);
        return NULL;
    }
    return c;
}

void client_forget_consumer(struct client *c)
{
    free(c->consumer);
    free(c->opening);
    c->consumer = c->opening = NULL;
}

void client_free(struct client *c)
{
    line_reader_deinit(&c->reader);
    subscriber_deinit(&c->subscriber);
    free(c->out.bytes);
    free(c);
}

static void set_throttled(struct client *c, bool on)
{
    if (c->throttled == on)
        return;
    c->throttled = on;
    c->hub->throttled_count += on ? 1 : -1u;
}

void client_close(struct client *c, const char *why)
{
    if (c->closed)
        return;
    c->closed = true;
    set_throttled(c, false);
    if (why)
        log_limited(LOG_WARNING, "client of uid %u disconnected: %s", (unsigned)c->uid, why);
    loop_source_remove(c->hub->loop, &c->source);
    close(c->fd);
    client_forget_consumer(c);
    passed_drop(c);
    replay_end(c);
    for (struct call *call = c->calls; call; call = call->next)
        call->client = NULL;
    c->calls = NULL;
    hub_client_gone(c->hub, c);
}

/* Nobody reads it any more. The source goes because a hang-up cannot be masked: it would wake every turn. */
static void mark_gone(struct client *c)
{
    c->gone = true;
    c->blocked = false;
    shutdown(c->fd, SHUT_RD); /* what it has written is still read, but no more can come */
    loop_source_remove(c->hub->loop, &c->source);
    client_forget_consumer(c);
    replay_end(c);
    subscriber_deinit(&c->subscriber);
    c->out.start = c->out.end = 0;
}

/* It will ask nothing more: stay only while there is something to do for it, or to tell it. */
static void close_if_done(struct client *c)
{
    bool waiting =
        c->calls || client_replies(c) || c->subscriber.kinds || subscriber_mid_line(&c->subscriber);

    if (c->eof && !c->throttled && (c->gone || !waiting))
        client_close(c, NULL);
}

static void arm(struct client *c)
{
    uint32_t events = (c->eof || c->throttled ? 0 : EPOLLIN) | (c->blocked ? EPOLLOUT : 0);

    if (!c->closed && !c->gone && loop_source_arm(c->hub->loop, &c->source, events) < 0)
        client_close(c, "cannot be watched");
}

/* ---- Replies ---- */

/*
 * The most that may wait for one client: the largest answer there can be. Throttling comes long before; this
 * is for answers to what was asked earlier.
 */
static size_t replies_max(const struct client *c)
{
    return 2 * c->hub->options.max_message + ANSWER_BYTES_MAX + 2 * CLIENT_REPLIES_HIGH;
}

/* An idle client has no buffer, and one that is answered costs no malloc. */
static void out_borrow(struct outbox *o, struct reply_spares *s)
{
    struct reply_spare *spare = s->first;

    if (o->bytes || !spare)
        return;
    s->first = spare->next;
    s->bytes -= spare->capacity;
    o->capacity = spare->capacity;
    o->bytes = (char *)spare;
}

static void out_give_back(struct outbox *o, struct reply_spares *s)
{
    struct reply_spare *spare = (struct reply_spare *)(void *)o->bytes;

    if (o->capacity > OUT_KEEP || s->bytes + o->capacity > SPARES_MAX) {
        free(o->bytes);
    } else if (o->bytes) {
        *spare = (struct reply_spare){.next = s->first, .capacity = o->capacity};
        s->first = spare;
        s->bytes += o->capacity;
    }
    *o = (struct outbox){0};
}

void reply_spares_free(struct reply_spares *s)
{
    struct reply_spare *spare;

    while ((spare = s->first)) {
        s->first = spare->next;
        free(spare);
    }
}

static bool out_grow(struct json_writer *w, size_t need)
{
    struct client *c = w->owner;
    struct outbox *o = &c->out;
    size_t text = json_writer_length(w), base = o->end;
    size_t capacity = o->capacity ? o->capacity : OUT_CAPACITY;
    char *bytes;

    if (base - o->start + text + need > replies_max(c))
        return false;
    if (o->start > capacity / 2) { /* what was written makes room */
        memmove(o->bytes, o->bytes + o->start, base - o->start + text);
        base = o->end -= o->start;
        o->start = 0;
    }
    while (capacity < base + text + need)
        capacity *= 2;
    bytes = realloc(o->bytes, capacity);
    if (!bytes)
        return false;
    o->bytes = bytes;
    o->capacity = capacity;
    w->base = bytes + base;
    w->at = w->base + text;
    w->end = bytes + capacity;
    return true;
}

/* A line into the client's own bytes; written with the writer that this gives, finished by line_end. */
static struct json_writer *line_begin(struct client *c)
{
    struct outbox *o = &c->out;

    if (o->start == o->end)
        o->start = o->end = 0;
    out_borrow(o, &c->hub->reply_spares);
    json_writer_init(&c->writer, o->bytes ? o->bytes + o->end : NULL, o->capacity - o->end);
    c->writer.grow = out_grow;
    c->writer.owner = c;
    return &c->writer;
}

static void line_end(struct client *c)
{
    if (c->writer.failed)
        client_close(c, "it does not read its replies");
    else
        c->out.end += json_writer_length(&c->writer);
}

struct json_writer *client_reply_begin(struct client *c, const char *id, size_t id_len)
{
    struct json_writer *w;

    if (!id_len || c->closed || c->gone)
        return NULL;
    w = line_begin(c);
    json_literal(w, "{\"jsonrpc\":\"2.0\",\"id\":");
    json_raw(w, id, id_len);
    json_literal(w, ",");
    return w;
}

void client_reply_end(struct client *c)
{
    json_literal(&c->writer, "}\n");
    line_end(c);
    hub_mark_dirty(c->hub, c);
}

/* ---- Writing ---- */

/* Before it goes on behind what it missed, it is told of that. */
static void announce_missed(struct client *c)
{
    struct subscriber *s = &c->subscriber;

    if (s->gap_from) {
        event_write_gap(line_begin(c), s->gap_from, s->gap_to, s->gap_reason);
        c->hub->counters.gaps++;
        s->gap_from = s->gap_to = 0;
        line_end(c);
    }
    if (s->outbox_missed && !c->closed) {
        event_write_gap(line_begin(c), 0, 0, GAP_OUTBOX);
        c->hub->counters.gaps++;
        s->outbox_missed = false;
        line_end(c);
    }
    if (s->status_missed && !c->closed) {
        hub_write_status_event(c->hub, line_begin(c));
        s->status_missed = false;
        line_end(c);
    }
}

static void out_take(struct client *c, size_t n)
{
    struct outbox *o = &c->out;

    o->start += n;
    if (o->start == o->end && o->bytes)
        out_give_back(o, &c->hub->reply_spares);
}

static void count_delivery(struct client *c, size_t bytes, uint32_t lines)
{
    c->hub->counters.flushes++;
    c->hub->counters.delivered_bytes += bytes;
    c->hub->counters.deliveries += lines;
    c->progress_ms = loop_now_ms(c->hub->loop);
}

/* It wants whole runs of the ring, and nothing else waits for it. */
static bool takes_shared(const struct client *c)
{
    const struct subscriber *s = &c->subscriber;

    return s->kinds && !s->filter && !s->parked && !subscriber_mid_line(s) && !client_replies(c);
}

static const struct delivery *gather(struct client *c, struct delivery *of_its_own)
{
    struct shared_delivery *shared = &c->hub->shared;
    struct subscriber *s = &c->subscriber;
    const struct ring *r = &c->hub->ring;

    if (!takes_shared(c)) {
        subscriber_gather(s, r, c->out.bytes + c->out.start, client_replies(c), of_its_own);
        return of_its_own;
    }
    if (!shared->valid || shared->cursor != s->cursor || shared->head != r->head ||
        shared->kinds != s->kinds) {
        subscriber_gather(s, r, NULL, 0, &shared->delivery);
        shared->valid = true;
        shared->cursor = s->cursor;
        shared->head = r->head;
        shared->kinds = s->kinds;
    }
    return &shared->delivery;
}

static ssize_t write_delivery(int fd, const struct delivery *d)
{
    struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)d->iov, .msg_iovlen = d->count};
    ssize_t n;

    do
        n = d->count == 1 ? send(fd, d->iov->iov_base, d->iov->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL)
                          : sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n;
}

/* One write. Returns whether all of it went and there may be more. */
static bool write_once(struct client *c)
{
    struct delivery of_its_own;
    const struct delivery *d = gather(c, &of_its_own);
    ssize_t n;
    uint32_t lines;

    if (!d->total) {
        c->subscriber.cursor = d->end;
        return false;
    }
    n = write_delivery(c->fd, d);
    if (n < 0 && errno != EAGAIN && errno != ENOBUFS) {
        mark_gone(c);
        return false;
    }
    if (n > 0) {
        out_take(c, subscriber_advance(&c->subscriber, &c->hub->ring, d, (size_t)n, &lines));
        count_delivery(c, (size_t)n, lines);
    }
    c->blocked = n < (ssize_t)d->total;
    return !c->blocked;
}

/* What is to be written next is made ready; false: nothing is. */
static bool something_waits(struct client *c)
{
    struct subscriber *s = &c->subscriber;

    if (s->parked && !subscriber_mid_line(s) && !client_replies(c))
        replay_step(c); /* a page goes before replies: never before the answer that it belongs to */
    if (s->gap_from || s->status_missed || s->outbox_missed)
        announce_missed(c);
    return !c->closed && (client_replies(c) || subscriber_waiting(s, &c->hub->ring));
}

static void read_the_last(struct client *c);

void client_flush(struct client *c)
{
    if (c->closed || c->gone || c->blocked)
        return;
    for (unsigned i = 0; i < FLUSH_CALLS && something_waits(c) && write_once(c); i++)
        ;
    if (c->gone && !c->closed)
        read_the_last(c);
    else if (!c->blocked && something_waits(c))
        c->blocked = true; /* its share of this turn is used up: EPOLLOUT comes at once */
    if (c->closed)
        return;
    if (c->blocked)
        hub_watch_stall(c->hub, c);
    close_if_done(c);
    arm(c);
}

/* ---- Reading ---- */

/* A message that is not ready holds up those behind it. A server that does not read holds up those who send,
 * and nobody else; the store likewise. */
static bool must_throttle(const struct client *c)
{
    const struct hub *h = c->hub;

    return c->loading || client_replies(c) > CLIENT_REPLIES_HIGH ||
           (c->sends && h->link.congested(h->link.self)) || (c->stores && hub_store_is_behind(h));
}

static void handle_lines(struct client *c)
{
    struct passed *passed;
    enum line_result r;
    char *line;
    size_t len;

    set_throttled(c, false);
    while (!c->closed) {
        if (must_throttle(c)) {
            set_throttled(c, true);
            return;
        }
        r = line_reader_next(&c->reader, &line, &len);
        if (r == LINE_NONE) {
            if (c->passed && c->reader.skipping)
                passed_drop(c);
            return;
        }
        passed = c->passed ? passed_of_line(c) : NULL;
        if (r == LINE_TOO_LONG) {
            request_too_long(c->hub, c);
            passed_discard(passed);
        } else {
            request_handle(c->hub, c, line, len, passed);
        }
    }
}

static void read_once(struct client *c)
{
    struct passed_room descriptors;
    struct iovec room;
    struct msghdr m = {.msg_iov = &room, .msg_iovlen = 1};
    ssize_t n;

    line_reader_borrow(&c->reader, &c->hub->line_spare);
    if (line_reader_room(&c->reader, (char **)&room.iov_base, &room.iov_len) < 0) {
        client_close(c, "no memory for its request");
        return;
    }
    passed_prepare(c, &m, &descriptors);
    do
        n = recvmsg(c->fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        c->received += (size_t)n;
        line_reader_filled(&c->reader, (size_t)n);
        if (m.msg_controllen || m.msg_flags & MSG_CTRUNC)
            passed_take(c, &m);
        handle_lines(c);
    } else if (n == 0 || errno != EAGAIN || c->gone) {
        c->eof = true;
    }
    line_reader_give_back(&c->reader, &c->hub->line_spare);
}

/* A client that is gone may have left requests behind, which are done all the same. */
static void read_the_last(struct client *c)
{
    while (!c->closed && !c->throttled && !c->eof)
        read_once(c);
}

void client_resume(struct client *c)
{
    if (c->closed || !c->throttled || must_throttle(c))
        return;
    handle_lines(c);
    line_reader_give_back(&c->reader, &c->hub->line_spare);
    if (c->gone)
        read_the_last(c);
    if (c->closed)
        return;
    close_if_done(c);
    arm(c);
}

static void client_ready(struct loop_source *source, uint32_t events)
{
    struct client *c = (struct client *)source; /* its first member */

    if (events & (EPOLLHUP | EPOLLERR)) {
        mark_gone(c);
        read_the_last(c);
    } else if (events & EPOLLIN && !c->throttled) {
        read_once(c);
    }
    if (!c->closed && events & EPOLLOUT && !c->gone) {
        c->blocked = false;
        client_flush(c);
    }
    if (c->closed)
        return;
    close_if_done(c);
    arm(c);
}
