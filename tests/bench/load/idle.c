#include "idle.h"
#include "clock.h"
#include "dialect.h"
#include "failure.h"
#include "link.h"
#include "publisher.h"
#include "ready.h"
#include "upstream.h"
#include "vitals.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define SETTLE_NS 1000000000u

struct idle {
    struct publisher server;
    int *subscribers;
    struct ready ready;
    int timer;
};

/* Only heartbeats may come in this time. */
static void sit(struct idle *i, uint64_t ns)
{
    bool over = false;

    i->timer = timer_open(ns);
    ready_add(&i->ready, i->timer, &i->timer);
    while (!over) {
        int n = ready_wait(&i->ready, true);

        deadline_check("the end of the quiet time");
        for (int at = 0; at < n; at++) {
            void *owner = i->ready.events[at].data.ptr;

            errno = 0;
            if (owner == &i->timer) {
                over = true;
            } else if (owner == &i->server) {
                dialect_imd.input(&i->server);
                stream_flush(&i->server.websocket.stream);
            } else {
                fail("a subscriber was told something, or disconnected");
            }
        }
    }
    close(i->timer);
}

void idle_run(const struct options *options)
{
    unsigned count = options->subscribers;
    struct idle i = {.subscribers = calloc(count, sizeof *i.subscribers)};
    struct vitals before, begin, end;
    uint64_t heartbeats;
    struct start start;

    if (!i.subscribers)
        fail("no memory");
    ready_init(&i.ready);
    start = upstream_open(&i.server, &dialect_imd, options);
    ready_add(&i.ready, i.server.websocket.stream.fd, &i.server);
    sit(&i, SETTLE_NS);
    before = vitals_read(start.pid);
    for (unsigned at = 0; at < count; at++) {
        i.subscribers[at] = link_connect(start.address);
        dialect_imd.subscribe(i.subscribers[at], false);
        ready_add(&i.ready, i.subscribers[at], &i.subscribers[at]);
    }
    sit(&i, SETTLE_NS);
    begin = vitals_read(start.pid);
    heartbeats = i.server.websocket.messages;
    sit(&i, options->seconds * UINT64_C(1000000000));
    end = vitals_read(start.pid);
    heartbeats = i.server.websocket.messages - heartbeats;
    printf("{\"mode\":\"idle\",\"subscribers\":%u,\"seconds\":%u,\"rssKiB\":{\"before\":%" PRIu64
           ",\"with\":%" PRIu64 "},\"bytesPerSubscriber\":%" PRId64 ",\"switches\":%" PRIu64
           ",\"cpuSeconds\":%.6f,\"heartbeats\":%" PRIu64 "}\n",
           count, options->seconds, before.rss_kib, end.rss_kib,
           ((int64_t)end.rss_kib - (int64_t)before.rss_kib) * 1024 / (int64_t)count,
           end.switches - begin.switches, (double)(end.cpu_ns - begin.cpu_ns) / 1e9, heartbeats);
    for (unsigned at = 0; at < count; at++)
        close(i.subscribers[at]);
    free(i.subscribers);
    publisher_deinit(&i.server);
    ready_deinit(&i.ready);
}
