/*
 * What the ring costs a message: a line of 300 bytes appended, and taken by a subscriber as it would be sent
 * (without the send), so many lines at a time. Usage: bench_ring [MESSAGES]
 */
#include "ring.h"
#include "subscriber.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LINE 300
#define LEAD 80 /* the hub writes a line's beginning last */
#define RING_SIZE (8u << 20)

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void append(struct ring *r, const char *line)
{
    struct json_writer *w = ring_begin(r, LINE, LEAD);
    struct event e = {.kind = EVENT_MESSAGE, .seq = r->head + 1};

    if (!w)
        abort();
    json_raw(w, line + LEAD, LINE - LEAD);
    memcpy(w->base - LEAD, line, LEAD);
    if (!ring_end(r, LEAD, &e))
        abort();
}

static void take(struct ring *r, struct subscriber *s)
{
    uint32_t lines;
    struct delivery d;

    while (subscriber_waiting(s, r)) {
        subscriber_gather(s, r, NULL, 0, &d);
        subscriber_advance(s, r, &d, d.total, &lines);
    }
    r->guard = s->cursor;
}

/* The best of five, for whatever else this machine does only makes it slower. */
static double measure(long messages, unsigned lines, unsigned takers)
{
    char line[LINE];
    double best = 1e9;

    memset(line, 'x', LINE);
    line[LINE - 1] = '\n';
    for (int attempt = 0; attempt < 5; attempt++) {
        struct ring r;
        struct subscriber s[10] = {0};
        double start;

        if (ring_init(&r, RING_SIZE, 0, NULL) < 0)
            abort();
        for (unsigned k = 0; k < takers; k++)
            if (subscriber_start(&s[k], &r, 1u << EVENT_MESSAGE, NULL) < 0)
                abort();
        for (unsigned i = 0; i < 2 * RING_SIZE / LINE; i++) { /* its pages are there */
            append(&r, line);
            for (unsigned k = 0; k < takers; k++)
                take(&r, &s[k]);
        }
        start = now();
        for (long i = 0; i < messages; i += lines) {
            for (unsigned k = 0; k < lines; k++)
                append(&r, line);
            for (unsigned k = 0; k < takers; k++)
                take(&r, &s[k]);
        }
        best = now() - start < best ? now() - start : best;
        for (unsigned k = 0; k < takers; k++)
            subscriber_deinit(&s[k]);
        ring_deinit(&r);
    }
    return best / (double)messages * 1e9;
}

int main(int argc, char **argv)
{
    static const unsigned lines[] = {1, 16, 200};
    long messages = argc > 1 ? atol(argv[1]) : 1000000;

    for (unsigned i = 0; i < sizeof lines / sizeof *lines; i++)
        printf("append + take, %3u lines at a time  none %6.1f ns  1 subscriber %6.1f ns  10 subscribers "
               "%6.1f ns\n",
               lines[i], measure(messages, lines[i], 0), measure(messages, lines[i], 1),
               measure(messages, lines[i], 10));
    return 0;
}
