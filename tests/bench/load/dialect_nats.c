/* NATS: PUB to a subject that all subscribers have. */
#include "dialect.h"
#include "failure.h"
#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PING "PING\r\n"
#define PONG "PONG\r\n"
#define WORD_LEN (sizeof PING - 1)

static struct record nats_record(size_t size)
{
    char prefix[64];
    struct record r;
    int len = snprintf(prefix, sizeof prefix, "MSG bench 1 %zu\r\n", size);

    record_init(&r, size, prefix, (size_t)len, "\r\n", false);
    return r;
}

static struct frame nats_frame(size_t size)
{
    char prefix[64];
    struct record r;
    struct frame f;
    int len = snprintf(prefix, sizeof prefix, "PUB bench %zu\r\n", size);

    record_init(&r, size, prefix, (size_t)len, "\r\n", false);
    f = frame_of_record(&r);
    record_deinit(&r);
    return f;
}

/* What comes before the answer to our PING is done with. */
static void nats_greet(int fd, const char *more)
{
    char line[8192];

    link_read_to(fd, '\n', line, sizeof line); /* INFO */
    snprintf(line, sizeof line,
             "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"c\",\"version\":\"1\"}\r\n%s" PING,
             more);
    link_write(fd, line, strlen(line));
    do {
        link_read_to(fd, '\n', line, sizeof line);
        errno = 0;
        if (*line == '-')
            fail("the answer to CONNECT: %s", line);
        if (strcmp(line, PING) == 0)
            link_write(fd, PONG, WORD_LEN);
    } while (strcmp(line, PONG) != 0);
}

static void nats_subscribe(int fd, bool filter)
{
    nats_greet(fd, "SUB bench 1\r\n");
}

/* The server asks now and then whether we are there. */
static long nats_other(int fd, const char *bytes, size_t len, uint64_t first_seq, uint64_t *lost_to)
{
    if (memcmp(bytes, PING, len < WORD_LEN ? len : WORD_LEN) != 0)
        return -1;
    if (len < WORD_LEN)
        return 0;
    link_write(fd, PONG, WORD_LEN);
    return (long)WORD_LEN;
}

static void nats_open(struct publisher *p, int fd, SSL_CTX *tls)
{
    nats_greet(fd, "");
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        fail("fcntl");
    stream_init(&p->websocket.stream, fd, NULL, 64);
}

/* It is so short that it comes whole. */
static void nats_input(struct publisher *p)
{
    char bytes[1024];
    size_t n = stream_read(&p->websocket.stream, bytes, sizeof bytes);

    if (!n)
        return;
    errno = 0;
    if (n != WORD_LEN || memcmp(bytes, PING, n) != 0)
        fail("the publisher is told: %.*s", (int)n, bytes);
    memcpy(stream_tail(&p->websocket.stream, WORD_LEN), PONG, WORD_LEN);
}

const struct dialect dialect_nats = {
    .name = "nats",
    .record = nats_record,
    .frame = nats_frame,
    .subscribe = nats_subscribe,
    .other = nats_other,
    .open = nats_open,
    .input = nats_input,
};
