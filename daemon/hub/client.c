/*
 * See client.h. Reading: one recv a readiness, then every whole line in it. Writing: replies wait in `out`,
 * events in the ring; both go in one sendmsg, replies between two lines, never inside one. EPOLLOUT is armed
 * only after EAGAIN.
 */
#include "client.h"

#include "arena.h"
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

static void client_ready(struct loop_source *source, uint32_t events);

struct client *client_new(struct hub *h, int fd, uid_t uid, gid_t gid, struct kept_client *kept)
{
    struct client *c = calloc(1, sizeof *c);

    if (c && !kept)
        kept = kept_client_new(h);
    if (!c || !kept) {
        if (kept)
            kept_client_free(h, kept);
        free(c);
        close(fd);
        return NULL;
    }
    c->hub = h;
    c->kept = kept;
    c->fd = fd;
    c->uid = uid;
    c->gid = gid;
    c->progress_ms = loop_now_ms(h->loop);
    c->source.ready = client_ready;
    if (loop_source_add(h->loop, &c->source, fd, EPOLLIN) < 0) {
        kept_client_free(h, kept);
        close(fd);
        free(c);
        return NULL;
    }
    return c;
}

void client_forget_consumer(struct client *c)
{
    arena_release(c->hub->arena, c->kept->consumer);
    arena_release(c->hub->arena, c->opening);
    c->kept->consumer = c->opening = NULL;
}

void client_free(struct client *c)
{
    if (c->left)
        filter_free(c->kept->subscriber.filter); /* all that is in plain memory */
    else
        kept_client_free(c->hub, c->kept);
    free(c);
}

static void set_throttled(struct client *c, bool on)
{
    if (c->throttled == on)
        return;
    c->throttled = on;
    c->hub->throttled_count += on ? 1 : -1u;
}

static void log_end(const struct client *c, const char *why)
{
    struct log_event e = {.level = LOG_WARNING, .id = LOG_CLIENT_DISCONNECTED, .client_uid = &c->uid};

    if (!c->user || log_limit_pass(&c->user->log))
        log_event(&e, "client of uid %u disconnected: %s", (unsigned)c->uid, why);
}

void client_close(struct client *c, const char *why)
{
    if (c->closed)
        return;
    c->closed = true;
    set_throttled(c, false);
    if (why)
        log_end(c, why);
    loop_source_remove(c->hub->loop, &c->source);
    c->left = c->stored && c->hub->leaving;
    if (!c->left) {
        kept_forget(c);
        client_forget_consumer(c);
    }
    close(c->fd);
    passed_drop(c);
    replay_end(c);
    for (struct call *call = c->calls; call; call = call->next) {
        call->client = NULL;
        if (!c->left)
            call->slot = KEPT_NONE;
    }
    c->calls = NULL;
    hub_client_gone(c->hub, c);
}

static void out_give_back(struct hub *h, struct replies *o);

static void out_drop(struct client *c)
{
    struct replies *o = c->kept->out;

    c->kept->replied = kept_replied(c->kept);
    arena_order();
    c->kept->out = NULL;
    arena_order();
    out_give_back(c->hub, o);
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
    subscriber_deinit(&c->kept->subscriber);
    kept_filter(c->hub, c->kept, NULL);
    out_drop(c);
}

/* It will ask nothing more: stay only while there is something to do for it, or to tell it. */
static void close_if_done(struct client *c)
{
    bool waiting = c->calls || client_replies(c) || c->kept->subscriber.kinds ||
                   subscriber_mid_line(&c->kept->subscriber);

    if (c->eof && !c->throttled && (c->gone || !waiting))
        client_close(c, NULL);
}

static void arm(struct client *c)
{
    uint32_t events = (c->eof || c->throttled || c->hub->leaving ? 0 : EPOLLIN) | (c->blocked ? EPOLLOUT : 0);

    if (!c->closed && !c->gone && c->source.fd >= 0 && loop_source_arm(c->hub->loop, &c->source, events) < 0)
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
static struct replies *out_borrow(struct hub *h)
{
    struct replies *o = h->reply_spares.first;

    if (o) {
        h->reply_spares.first = o->next;
        h->reply_spares.bytes -= o->capacity;
    }
    return o;
}

static void out_give_back(struct hub *h, struct replies *o)
{
    struct reply_spares *s = &h->reply_spares;

    if (!o)
        return;
    if (o->capacity > OUT_KEEP || s->bytes + o->capacity > SPARES_MAX) {
        arena_release(h->arena, o);
        return;
    }
    o->end = o->start = 0;
    o->next = s->first;
    s->first = o;
    s->bytes += o->capacity;
}

void reply_spares_free(struct hub *h)
{
    struct replies *o;

    while ((o = h->reply_spares.first)) {
        h->reply_spares.first = o->next;
        arena_release(h->arena, o);
    }
}

static struct replies *out_make(struct hub *h, size_t capacity)
{
    struct replies *o = arena_take(h->arena, sizeof *o + capacity);

    if (o)
        o->capacity = capacity;
    return o;
}

/* What waits, and the line that is being written behind it, in a larger buffer. */
static bool out_grow(struct json_writer *w, size_t need)
{
    struct client *c = w->owner;
    struct replies *o = c->kept->out, *larger;
    size_t text = json_writer_length(w), waiting = client_replies(c);
    size_t capacity = o ? o->capacity : OUT_CAPACITY;

    if (waiting + text + need > replies_max(c))
        return false;
    while (capacity < waiting + text + need)
        capacity *= 2;
    larger = out_make(c->hub, capacity);
    if (!larger)
        return false;
    if (o)
        memcpy(larger->bytes, o->bytes + o->start, waiting + text);
    larger->end = waiting;
    larger->base = o ? o->base + o->start : c->kept->replied;
    arena_order();
    c->kept->out = larger;
    arena_release(c->hub->arena, o);
    w->base = larger->bytes + waiting;
    w->at = w->base + text;
    w->end = larger->bytes + capacity;
    return true;
}

static struct replies *take_spare(struct client *c)
{
    struct replies *o = out_borrow(c->hub);

    if (o)
        o->base = c->kept->replied;
    arena_order();
    return c->kept->out = o;
}

/* A line into the client's own bytes; written with the writer that this gives, finished by line_end. */
static struct json_writer *line_begin(struct client *c)
{
    struct replies *o = c->kept->out;

    if (!o)
        o = take_spare(c);
    json_writer_init(&c->writer, o ? o->bytes + o->end : NULL, o ? o->capacity - o->end : 0);
    c->writer.grow = out_grow;
    c->writer.owner = c;
    return &c->writer;
}

static void line_end(struct client *c)
{
    arena_order();
    if (c->writer.failed)
        client_close(c, "it does not read its replies");
    else
        c->kept->out->end += json_writer_length(&c->writer);
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

/*
 * A line that tells what it missed: once that is there, it is not to be told again. Which of the two is true
 * can be seen at any moment.
 */
static struct json_writer *tell_begin(struct client *c, enum subscriber_missed what)
{
    c->kept->tells = what;
    arena_order();
    c->kept->telling = kept_replied(c->kept) + 1;
    arena_order();
    return line_begin(c);
}

static void tell_end(struct client *c)
{
    line_end(c);
    arena_order();
    subscriber_told(&c->kept->subscriber, c->kept->tells);
    arena_order();
    c->kept->telling = 0;
}

/* Before it goes on behind what it missed, it is told of that. */
static void announce_missed(struct client *c)
{
    struct subscriber *s = &c->kept->subscriber;

    if (s->gap_from) {
        event_write_gap(tell_begin(c, MISSED_EVENTS), s->gap_from, s->gap_to, s->gap_reason);
        c->hub->counters.gaps++;
        tell_end(c);
    }
    if (s->outbox_missed && !c->closed) {
        event_write_gap(tell_begin(c, MISSED_OUTBOX), 0, 0, GAP_OUTBOX);
        c->hub->counters.gaps++;
        tell_end(c);
    }
    if (s->status_missed && !c->closed) {
        hub_write_status_event(c->hub, tell_begin(c, MISSED_STATUS));
        tell_end(c);
    }
}

static void out_take(struct client *c, size_t n)
{
    struct replies *o = c->kept->out;

    if (!o)
        return;
    o->start += n;
    if (o->start == o->end)
        out_drop(c);
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
    const struct subscriber *s = &c->kept->subscriber;

    return s->kinds && !s->filter && !s->parked && !subscriber_mid_line(s) && !client_replies(c);
}

static const struct delivery *gather(struct client *c, struct delivery *of_its_own)
{
    struct shared_delivery *shared = &c->hub->shared;
    struct subscriber *s = &c->kept->subscriber;
    const struct ring *r = &c->hub->kept->ring;

    if (!takes_shared(c)) {
        const struct replies *o = c->kept->out;

        subscriber_gather(s, r, o ? o->bytes + o->start : NULL, client_replies(c), of_its_own);
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

static ssize_t write_plain(int fd, const struct delivery *d)
{
    struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)d->iov, .msg_iovlen = d->count};
    ssize_t n;

    do
        n = d->count == 1 ? send(fd, d->iov->iov_base, d->iov->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL)
                          : sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n;
}

/* The number of bytes is noted where it is kept, by the kernel. */
static ssize_t write_noted(int fd, const struct delivery *d, struct mmsghdr *m)
{
    int n;

    m->msg_hdr = (struct msghdr){.msg_iov = (struct iovec *)(uintptr_t)d->iov, .msg_iovlen = d->count};
    do
        n = sendmmsg(fd, m, 1, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? n : (ssize_t)m->msg_len;
}

static void note_writing(struct client *c, const struct delivery *d)
{
    struct kept_writing *w = &c->hub->kept->writing;

    w->before = c->kept->subscriber;
    w->start = c->kept->out ? c->kept->out->start : 0;
    w->own = d->own;
    w->message.msg_len = 0;
    arena_order();
    w->slot = c->kept->slot;
    arena_order();
}

static ssize_t write_delivery(struct client *c, const struct delivery *d)
{
    if (c->kept->slot == KEPT_NONE)
        return write_plain(c->fd, d);
    note_writing(c, d);
    return write_noted(c->fd, d, &c->hub->kept->writing.message);
}

static void written(struct client *c)
{
    arena_order();
    c->hub->kept->writing.slot = KEPT_NONE;
}

/* One write. Returns whether all of it went and there may be more. */
static bool write_once(struct client *c)
{
    struct delivery of_its_own;
    const struct delivery *d = gather(c, &of_its_own);
    ssize_t n;
    uint32_t lines;

    if (!d->total) {
        c->kept->subscriber.cursor = d->end;
        return false;
    }
    n = write_delivery(c, d);
    if (n > 0) {
        out_take(c, subscriber_advance(&c->kept->subscriber, &c->hub->kept->ring, d, (size_t)n, &lines));
        count_delivery(c, (size_t)n, lines);
    }
    written(c);
    if (n < 0 && errno != EAGAIN && errno != ENOBUFS) {
        mark_gone(c);
        return false;
    }
    c->blocked = n < (ssize_t)d->total;
    return !c->blocked;
}

/* What is to be written next is made ready; false: nothing is. */
static bool something_waits(struct client *c)
{
    struct subscriber *s = &c->kept->subscriber;

    if (s->parked && !subscriber_mid_line(s) && !client_replies(c))
        replay_step(c); /* a page goes before replies: never before the answer that it belongs to */
    if (s->gap_from || s->status_missed || s->outbox_missed)
        announce_missed(c);
    return !c->closed && (client_replies(c) || subscriber_waiting(s, &c->hub->kept->ring));
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
           (c->kept->sends && h->link.congested(h->link.self)) ||
           (c->kept->stores && (hub_store_is_behind(h) || c->user->stored >= STORED_USER_HIGH));
}

/* A request is noted before it is begun: if that is all that is left of it, the next process says so. */
static void note_request(struct client *c)
{
    struct kept_request *k = &c->hub->kept->request;

    k->start = c->kept->reader.start;
    k->skipping = c->kept->reader.skipping;
    k->line = NULL;
    k->replied = kept_replied(c->kept);
    k->number++;
    arena_order();
    k->slot = c->kept->slot;
    arena_order();
}

static void handle_line(struct client *c, const char *line, size_t len, struct passed *passed)
{
    struct kept_request *k = &c->hub->kept->request;

    k->len = len;
    arena_order();
    k->line = line;
    arena_order();
    request_handle(c->hub, c, line, len, passed);
    arena_order();
    k->slot = KEPT_NONE;
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
        note_request(c);
        r = line_reader_next(&c->kept->reader, &line, &len);
        if (r == LINE_NONE) {
            if (c->passed && c->kept->reader.skipping)
                passed_drop(c);
            c->hub->kept->request.slot = KEPT_NONE;
            return;
        }
        passed = c->passed ? passed_of_line(c) : NULL;
        if (r == LINE_TOO_LONG) {
            request_too_long(c->hub, c);
            passed_discard(passed);
            arena_order();
            c->hub->kept->request.slot = KEPT_NONE;
        } else {
            handle_line(c, line, len, passed);
        }
    }
}

/* As in writing. */
static void note_reading(struct client *c, const struct mmsghdr *m)
{
    struct kept_reading *r = &c->hub->kept->reading;

    r->slot = KEPT_NONE;
    arena_order();
    r->before = c->kept->reader;
    r->received = c->kept->received;
    r->message = *m;
    arena_order();
    r->slot = c->kept->slot;
    arena_order();
}

static ssize_t receive(struct client *c, struct mmsghdr *m)
{
    bool noted = c->kept->slot != KEPT_NONE;
    ssize_t n;

    if (noted) {
        note_reading(c, m);
        m = &c->hub->kept->reading.message;
    }
    do
        n = noted ? recvmmsg(c->fd, m, 1, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, NULL)
                  : recvmsg(c->fd, &m->msg_hdr, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    while (n < 0 && errno == EINTR);
    return noted && n > 0 ? (ssize_t)m->msg_len : n;
}

static void received(struct client *c, const struct msghdr *m, size_t n)
{
    c->kept->received += n;
    line_reader_filled(&c->kept->reader, n);
    if (m->msg_controllen || m->msg_flags & MSG_CTRUNC) {
        c->kept->passed = c->kept->received;
        passed_take(c, m);
    }
    arena_order();
    c->hub->kept->reading.slot = KEPT_NONE;
}

static void read_once(struct client *c)
{
    struct line_reader *reader = &c->kept->reader;
    struct passed_room descriptors;
    struct iovec room;
    struct mmsghdr m = {.msg_hdr = {.msg_iov = &room, .msg_iovlen = 1}};
    ssize_t n;

    if (c->kept->slot != KEPT_NONE)
        note_reading(c, &m); /* to make room is part of it: what was read before may be moved */
    line_reader_borrow(reader, &c->hub->line_spare);
    if (line_reader_room(reader, (char **)&room.iov_base, &room.iov_len) < 0) {
        c->hub->kept->reading.slot = KEPT_NONE;
        client_close(c, "no memory for its request");
        return;
    }
    passed_prepare(c, &m.msg_hdr, &descriptors);
    n = receive(c, &m);
    if (n > 0) {
        received(c, c->kept->slot == KEPT_NONE ? &m.msg_hdr : &c->hub->kept->reading.message.msg_hdr,
                 (size_t)n);
        handle_lines(c);
    } else {
        c->hub->kept->reading.slot = KEPT_NONE;
        c->eof = c->eof || n == 0 || errno != EAGAIN || c->gone;
    }
    line_reader_give_back(reader, &c->hub->line_spare);
}

/* A client that is gone may have left requests behind, which are done all the same. */
static void read_the_last(struct client *c)
{
    while (!c->closed && !c->throttled && !c->eof)
        read_once(c);
}

void client_resume(struct client *c)
{
    if (c->closed || !c->throttled || c->hub->leaving || must_throttle(c))
        return;
    handle_lines(c);
    line_reader_give_back(&c->kept->reader, &c->hub->line_spare);
    if (c->gone)
        read_the_last(c);
    if (c->closed)
        return;
    close_if_done(c);
    arm(c);
}

void client_resume_later(struct client *c)
{
    set_throttled(c, true);
    hub_mark_dirty(c->hub, c);
}

void client_unwatch(struct client *c)
{
    arm(c);
}

static void client_ready(struct loop_source *source, uint32_t events)
{
    struct client *c = (struct client *)source; /* its first member */

    if (events & (EPOLLHUP | EPOLLERR) && c->hub->leaving) {
        loop_source_remove(c->hub->loop, &c->source); /* it may have left requests behind, for the next */
        return;
    }
    if (events & (EPOLLHUP | EPOLLERR)) {
        mark_gone(c);
        read_the_last(c);
    } else if (events & EPOLLIN && !c->throttled && !c->hub->leaving) {
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
