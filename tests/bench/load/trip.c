/*
 * We are both ends: the programs that send, and the IM server that acknowledges each at once. Each program
 * keeps so many sends open; what it has read makes room for as many new ones, which go out in one write.
 * Twice all answers are waited for: behind the warm-up and at the end; between these borders it is measured.
 */
#include "trip.h"
#include "answer.h"
#include "clock.h"
#include "dialect.h"
#include "failure.h"
#include "latency.h"
#include "link.h"
#include "publisher.h"
#include "ready.h"
#include "report.h"
#include "stream.h"
#include "upstream.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READ_MAX (64u << 10)

struct slot {
    bool open;
    uint64_t number, written_at;
};

struct program {
    struct stream stream;
    struct slot *slots;
    unsigned *idle; /* a stack of slots */
    unsigned idle_count;
    bool write_armed;
    char *carry; /* an answer's beginning, until its end comes */
    size_t carry_len;
};

struct trip {
    const struct options *options;
    struct publisher server;
    bool server_armed;
    struct send_template send;
    struct program *programs;
    struct ready ready;
    char *buffer;
    size_t answer_max;
    uint64_t sent, answered, wrong, goal;
    struct latency latency;
};

/* ---- Programs ---- */

static void program_init(struct trip *t, struct program *p, const char *address)
{
    unsigned slots = t->options->outstanding;

    *p = (struct program){.slots = calloc(slots, sizeof *p->slots),
                          .idle = calloc(slots, sizeof *p->idle),
                          .idle_count = slots,
                          .carry = malloc(t->answer_max)};
    if (!p->slots || !p->idle || !p->carry)
        fail("no memory");
    for (unsigned i = 0; i < slots; i++)
        p->idle[i] = i;
    stream_init(&p->stream, link_connect(address), NULL, slots * t->send.len);
    if (fcntl(p->stream.fd, F_SETFL, O_NONBLOCK) < 0)
        fail("fcntl");
    ready_add(&t->ready, p->stream.fd, p);
}

static void program_deinit(struct program *p)
{
    stream_deinit(&p->stream);
    free(p->slots);
    free(p->idle);
    free(p->carry);
}

static void stream_push(struct trip *t, struct stream *s, void *owner, bool *armed)
{
    bool wait;

    stream_flush(s);
    wait = !stream_idle(s);
    if (wait != *armed) {
        ready_want_write(&t->ready, s->fd, owner, wait);
        *armed = wait;
    }
}

static void program_send(struct trip *t, struct program *p)
{
    uint64_t now = now_ns();

    while (p->idle_count && t->sent < t->goal) {
        unsigned at = p->idle[--p->idle_count];
        struct send_id id = {.slot = at, .number = t->sent++};

        p->slots[at] = (struct slot){.open = true, .number = id.number, .written_at = now};
        send_write(&t->send, stream_tail(&p->stream, t->send.len), id);
    }
    if (!stream_idle(&p->stream))
        stream_push(t, &p->stream, p, &p->write_armed);
}

static void answer_take(struct trip *t, struct program *p, const char *line, size_t len, uint64_t now)
{
    struct send_id id;
    struct slot *slot;

    if (!answer_id(line, len, &id) || id.slot >= t->options->outstanding || !p->slots[id.slot].open ||
        p->slots[id.slot].number != id.number) {
        t->wrong++;
        return;
    }
    slot = &p->slots[id.slot];
    slot->open = false;
    p->idle[p->idle_count++] = id.slot;
    t->answered++;
    if (!answer_check(&t->send, line, len, id))
        t->wrong++;
    if (id.number >= t->options->warmup)
        latency_add(&t->latency, now - slot->written_at);
}

static void program_read(struct trip *t, struct program *p)
{
    char *line = t->buffer, *end, *last;
    uint64_t now;

    memcpy(t->buffer, p->carry, p->carry_len);
    last = t->buffer + p->carry_len + stream_read(&p->stream, t->buffer + p->carry_len, READ_MAX);
    now = now_ns();
    while ((end = memchr(line, '\n', (size_t)(last - line)))) {
        answer_take(t, p, line, (size_t)(end + 1 - line), now);
        line = end + 1;
    }
    p->carry_len = (size_t)(last - line);
    errno = 0;
    if (p->carry_len > t->answer_max)
        fail("an answer of more than %zu bytes", t->answer_max);
    memcpy(p->carry, line, p->carry_len);
}

/* ---- The run ---- */

static void program_ready(struct trip *t, struct program *p, uint32_t events)
{
    if (events & ~(uint32_t)EPOLLOUT)
        program_read(t, p);
    program_send(t, p);
}

static void server_ready(struct trip *t, uint32_t events)
{
    if (events & ~(uint32_t)EPOLLOUT)
        dialect_imd.input(&t->server);
    stream_push(t, &t->server.websocket.stream, &t->server, &t->server_armed);
}

static void run_to(struct trip *t, uint64_t goal)
{
    t->goal = goal;
    for (unsigned i = 0; i < t->options->connections; i++)
        program_send(t, &t->programs[i]);
    while (t->answered < goal) {
        int n = ready_wait(&t->ready, true);

        for (int i = 0; i < n; i++) {
            void *owner = t->ready.events[i].data.ptr;

            if (owner == &t->server)
                server_ready(t, t->ready.events[i].events);
            else
                program_ready(t, owner, t->ready.events[i].events);
        }
        if (deadline_over()) {
            errno = 0;
            fail("deadline: %" PRIu64 " of %" PRIu64 " sent, %" PRIu64 " answered, %" PRIu64
                 " wrong; the server has had %" PRIu64,
                 t->sent, goal, t->answered, t->wrong, t->server.websocket.messages);
        }
    }
}

static void report(struct trip *t, const struct vitals *before, const struct border *a,
                   const struct border *b)
{
    const struct options *o = t->options;
    uint64_t messages = o->messages - o->warmup;

    printf("{\"mode\":\"trip\",\"connections\":%u,\"outstanding\":%u,\"messages\":%" PRIu64 ",\"size\":%zu",
           o->connections, o->outstanding, messages, o->size);
    report_time(a, b, messages);
    printf(",\"cpuPerSendUs\":%.4f", (double)(b->vitals.cpu_ns - a->vitals.cpu_ns) / 1e3 / (double)messages);
    latency_print(&t->latency);
    printf(",\"wrong\":%" PRIu64, t->wrong);
    report_memory(before, &b->vitals);
    puts("}");
}

static void trip_close(struct trip *t)
{
    for (unsigned i = 0; i < t->options->connections; i++)
        program_deinit(&t->programs[i]);
    free(t->programs);
    free(t->buffer);
    publisher_deinit(&t->server);
    send_template_deinit(&t->send);
    latency_deinit(&t->latency);
    ready_deinit(&t->ready);
}

void trip_run(const struct options *options)
{
    struct trip t = {.options = options, .programs = calloc(options->connections, sizeof *t.programs)};
    struct border begin, end;
    struct vitals before;
    struct start start;

    send_template_init(&t.send, options->size);
    t.answer_max = t.send.len + 1024; /* the server's answer has a few keys more */
    t.buffer = malloc(READ_MAX + t.answer_max);
    if (!t.programs || !t.buffer)
        fail("no memory");
    latency_init(&t.latency, options->messages);
    ready_init(&t.ready);
    start = upstream_open(&t.server, &dialect_imd, options);
    ready_add(&t.ready, t.server.websocket.stream.fd, &t.server);
    for (unsigned i = 0; i < options->connections; i++)
        program_init(&t, &t.programs[i], start.address);
    before = vitals_read(start.pid);
    run_to(&t, options->warmup);
    begin = border_begin(start.pid);
    run_to(&t, options->messages);
    end = border_end(start.pid);
    report(&t, &before, &begin, &end);
    trip_close(&t);
}
