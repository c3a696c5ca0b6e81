/* Redis: PUBLISH, pipelined by one connection, to a channel that all subscribers have. */
#include "dialect.h"
#include "failure.h"
#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHANNEL "$5\r\nbench\r\n"

static struct record redis_record(size_t size)
{
    char prefix[64];
    struct record r;
    int len = snprintf(prefix, sizeof prefix, "*3\r\n$7\r\nmessage\r\n" CHANNEL "$%zu\r\n", size);

    record_init(&r, size, prefix, (size_t)len, "\r\n", false);
    return r;
}

static struct frame redis_frame(size_t size)
{
    char prefix[64];
    struct record r;
    struct frame f;
    int len = snprintf(prefix, sizeof prefix, "*3\r\n$7\r\nPUBLISH\r\n" CHANNEL "$%zu\r\n", size);

    record_init(&r, size, prefix, (size_t)len, "\r\n", false);
    f = frame_of_record(&r);
    record_deinit(&r);
    return f;
}

static void redis_subscribe(int fd, bool filter)
{
    static const char REQUEST[] = "*2\r\n$9\r\nSUBSCRIBE\r\n" CHANNEL;
    static const char ANSWER[] = "*3\r\n$9\r\nsubscribe\r\n" CHANNEL ":1\r\n";
    char answer[sizeof ANSWER - 1];

    link_write(fd, REQUEST, sizeof REQUEST - 1);
    link_read(fd, answer, sizeof answer);
    errno = 0;
    if (memcmp(answer, ANSWER, sizeof answer) != 0)
        fail("the answer to SUBSCRIBE: %.*s", (int)sizeof answer, answer);
}

static void redis_open(struct publisher *p, int fd, SSL_CTX *tls)
{
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        fail("fcntl");
    stream_init(&p->websocket.stream, fd, NULL, 1);
}

/* `:N\r\n` for each message, N: how many got it. That each of them did is checked where it arrives. */
static void redis_input(struct publisher *p)
{
    char bytes[16384];
    size_t n = stream_read(&p->websocket.stream, bytes, sizeof bytes);

    for (size_t i = 0; i < n; i++) {
        errno = 0;
        if (bytes[i] == '-')
            fail("the answer to PUBLISH: %.*s", (int)(n - i), bytes + i);
        p->replies += bytes[i] == '\n';
    }
}

const struct dialect dialect_redis = {
    .name = "redis",
    .record = redis_record,
    .frame = redis_frame,
    .subscribe = redis_subscribe,
    .other = other_never,
    .open = redis_open,
    .input = redis_input,
    .replies = true,
};
