/*
 * The publisher writes while the window is open: so many messages at most are between what was written and
 * what the slowest subscriber has. So nobody has a reason to drop. Twice all is waited for: behind the
 * warm-up and at the end; between these borders it is measured.
 */
#include "fanout.h"
#include "clock.h"
#include "dialect.h"
#include "failure.h"
#include "latency.h"
#include "link.h"
#include "publisher.h"
#include "ready.h"
#include "report.h"
#include "subscriber.h"
#include "upstream.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fanout {
    const struct options *options;
    const struct dialect *dialect;
    struct publisher publisher;
    struct record record;
    struct crowd crowd;
    struct crowd stalled; /* who does not read before all is over */
    struct ready ready;
    int timer;     /* with a rate: one tick a message */
    uint64_t due;  /* with a rate: messages whose time has come */
    uint64_t goal; /* messages to be had by all before the next border */
    bool write_armed;
    uint64_t *written_at; /* with a rate */
    struct latency latency;
};

/* ---- Before ---- */

static int subscriber_open(struct fanout *f, const char *address)
{
    int fd = link_connect(address);

    f->dialect->subscribe(fd, f->options->filter);
    return fd;
}

static void fanout_open(struct fanout *f, const char *address)
{
    const struct options *o = f->options;

    for (unsigned i = 0; i < o->subscribers; i++) {
        struct subscriber *s = &f->crowd.members[i];

        s->fd = subscriber_open(f, address);
        ready_add(&f->ready, s->fd, s);
    }
    for (unsigned i = 0; i < o->stalled; i++)
        f->stalled.members[i].fd = subscriber_open(f, address);
    ready_add(&f->ready, f->publisher.websocket.stream.fd, &f->publisher);
}

static void rate_start(struct fanout *f)
{
    f->timer = timer_open(1000000000u / f->options->rate);
    ready_add(&f->ready, f->timer, &f->timer);
}

/* What was due while nothing was to be written is not to come in a bunch. */
static void rate_reset(struct fanout *f)
{
    timer_ticks(f->timer);
    f->due = 0;
}

/* ---- The publisher's turn ---- */

/* How many messages are to be written now. */
static uint64_t messages_now(const struct fanout *f)
{
    const struct publisher *p = &f->publisher;
    uint64_t window = f->options->window, left = f->goal - p->written;
    uint64_t room = p->written < f->crowd.slowest ? window : window - (p->written - f->crowd.slowest);
    uint64_t chunk = p->per_chunk < window / 4 ? p->per_chunk : window / 4;

    if (f->options->rate) {
        left = left < f->due ? left : f->due;
        left = left < room ? left : room;
        return left < p->per_chunk ? left : p->per_chunk;
    }
    /* No drops into a window that is all but closed: that would be a write a message. */
    if (left <= chunk)
        return left <= room ? left : 0;
    return room >= chunk ? chunk : 0;
}

/* Returns whether it has written something: then more may go at once. */
static bool publish(struct fanout *f)
{
    struct stream *s = &f->publisher.websocket.stream;
    uint64_t n = stream_idle(s) ? messages_now(f) : 0;
    bool wait;

    if (n) {
        if (f->options->rate) {
            uint64_t now = now_ns();

            for (uint64_t i = 0; i < n; i++)
                f->written_at[f->publisher.written + i] = now;
            f->due -= n;
        }
        publisher_fill(&f->publisher, n);
    }
    if (!stream_idle(s))
        stream_flush(s);
    wait = !stream_idle(s);
    if (wait != f->write_armed) {
        ready_want_write(&f->ready, s->fd, &f->publisher, wait);
        f->write_armed = wait;
    }
    return n && !wait;
}

/* ---- The subscribers' turn ---- */

static void latencies_add(struct fanout *f, uint64_t from, uint64_t to)
{
    uint64_t now = now_ns();

    for (uint64_t i = from < f->options->warmup ? f->options->warmup : from; i < to; i++)
        latency_add(&f->latency, now - f->written_at[i]);
}

static void subscriber_ready(struct fanout *f, struct subscriber *s)
{
    uint64_t before = f->crowd.slowest, written = f->publisher.written;

    if (s >= f->stalled.members && s < f->stalled.members + f->stalled.count)
        crowd_read(&f->stalled, s);
    else if (crowd_read(&f->crowd, s) && f->options->rate)
        latencies_add(f, before, f->crowd.slowest < written ? f->crowd.slowest : written);
}

static void turn(struct fanout *f, bool wait)
{
    int n = ready_wait(&f->ready, wait);

    for (int i = 0; i < n; i++) {
        void *owner = f->ready.events[i].data.ptr;

        if (owner == &f->timer)
            f->due += timer_ticks(f->timer);
        else if (owner != &f->publisher)
            subscriber_ready(f, owner);
        else if (f->ready.events[i].events & ~(unsigned)EPOLLOUT)
            f->dialect->input(&f->publisher);
    }
}

static bool all_there(const struct fanout *f)
{
    return f->crowd.slowest >= f->goal && (!f->dialect->replies || f->publisher.replies >= f->goal);
}

static void run_to(struct fanout *f, uint64_t goal)
{
    f->goal = goal;
    if (f->options->rate)
        rate_reset(f);
    while (!all_there(f)) {
        bool more = publish(f);

        turn(f, !more);
        if (deadline_over()) {
            const struct tally *t = &f->crowd.tally;

            errno = 0;
            fail("deadline: %" PRIu64 " of %" PRIu64
                 " messages written, the slowest subscriber has all before %" PRIu64 "; lost %" PRIu64
                 ", repeated %" PRIu64 ", reordered %" PRIu64 ", torn %" PRIu64,
                 f->publisher.written, goal, f->crowd.slowest, t->lost, t->repeated, t->reordered, t->torn);
        }
    }
}

/* ---- After ---- */

/* Each message, or a word that it was lost, must be there for those who have not read so far. */
static void stalled_read(struct fanout *f)
{
    for (unsigned i = 0; i < f->stalled.count; i++)
        ready_add(&f->ready, f->stalled.members[i].fd, &f->stalled.members[i]);
    while (f->stalled.slowest < f->goal) {
        turn(f, true);
        if (deadline_over()) {
            errno = 0;
            fail("deadline: of those stalled the slowest has all before %" PRIu64 " of %" PRIu64,
                 f->stalled.slowest, f->goal);
        }
    }
}

static void tally_print(const struct tally *t)
{
    printf(",\"lost\":%" PRIu64 ",\"repeated\":%" PRIu64 ",\"reordered\":%" PRIu64 ",\"torn\":%" PRIu64,
           t->lost, t->repeated, t->reordered, t->torn);
}

/* What was announced is no loss here: nothing else can be done for who does not read. */
static void stalled_print(const struct fanout *f)
{
    struct tally t = f->stalled.tally;

    t.lost -= t.announced;
    printf(",\"whenStalled\":{\"deliveries\":%" PRIu64 ",\"announced\":%" PRIu64, t.deliveries, t.announced);
    tally_print(&t);
    putchar('}');
}

static void report(struct fanout *f, const struct vitals *before, const struct border *a,
                   const struct border *b)
{
    const struct options *o = f->options;
    uint64_t messages = o->messages - o->warmup,
             deliveries = messages / (unsigned)f->crowd.step * o->subscribers;
    double cpu_us = (double)(b->vitals.cpu_ns - a->vitals.cpu_ns) / 1e3;

    printf("{\"mode\":\"fanout\",\"dialect\":\"%s\",\"subscribers\":%u,\"messages\":%" PRIu64
           ",\"size\":%zu,\"rate\":%u,\"filter\":%s,\"stalled\":%u",
           f->dialect->name, o->subscribers, messages, o->size, o->rate, o->filter ? "true" : "false",
           o->stalled);
    report_time(a, b, messages);
    printf(",\"deliveries\":%" PRIu64 ",\"cpuPerDeliveryUs\":%.4f,\"cpuPerMessageUs\":%.4f", deliveries,
           cpu_us / (double)deliveries, cpu_us / (double)messages);
    if (o->rate)
        latency_print(&f->latency);
    tally_print(&f->crowd.tally);
    if (o->stall_check)
        stalled_print(f);
    report_memory(before, &b->vitals);
    puts("}");
}

static void fanout_close(struct fanout *f)
{
    if (f->options->rate) {
        close(f->timer);
        latency_deinit(&f->latency);
        free(f->written_at);
    }
    publisher_deinit(&f->publisher);
    crowd_deinit(&f->crowd);
    crowd_deinit(&f->stalled);
    record_deinit(&f->record);
    ready_deinit(&f->ready);
}

void fanout_run(const struct options *options)
{
    struct fanout f = {.options = options, .dialect = dialect_find(options->dialect), .timer = -1};
    struct vitals before;
    struct border begin, end;
    struct start start;

    ready_init(&f.ready);
    f.record = f.dialect->record(options->size);
    crowd_init(&f.crowd, options->subscribers, options->filter ? 2 : 1, options->messages, &f.record,
               f.dialect->other);
    crowd_init(&f.stalled, options->stalled, f.crowd.step, options->messages, &f.record, f.dialect->other);
    start = upstream_open(&f.publisher, f.dialect, options);
    publisher_prepare(&f.publisher, f.dialect->frame(options->size), options->filter);
    if (options->rate) {
        latency_init(&f.latency, options->messages);
        f.written_at = calloc(options->messages, sizeof *f.written_at);
        if (!f.written_at)
            fail("no memory");
    }
    fanout_open(&f, start.address);
    before = vitals_read(start.pid);
    if (options->rate)
        rate_start(&f);
    run_to(&f, options->warmup);
    begin = border_begin(start.pid);
    run_to(&f, options->messages);
    end = border_end(start.pid);
    if (options->stall_check)
        stalled_read(&f);
    report(&f, &before, &begin, &end);
    fanout_close(&f);
}
