/* The limit: lines in, the same lines out. */
#include "dialect.h"
#include "failure.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

static struct record line_record(size_t size)
{
    struct record r;

    record_init(&r, size, "", 0, "", false);
    return r;
}

static struct frame line_frame(size_t size)
{
    struct record r = line_record(size);
    struct frame f = frame_of_record(&r);

    record_deinit(&r);
    return f;
}

/* Whoever connects is a subscriber. */
static void line_subscribe(int fd, bool filter)
{
}

static long line_other(int fd, const char *bytes, size_t len, uint64_t first_seq, uint64_t *lost_to)
{
    return -1;
}

static void line_open(struct publisher *p, int fd, SSL_CTX *tls)
{
    int one = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        fail("fcntl");
    stream_init(&p->websocket.stream, fd, NULL, 1);
}

static void line_input(struct publisher *p)
{
    char byte;

    if (stream_read(&p->websocket.stream, &byte, 1)) {
        errno = 0;
        fail("the system under test says something");
    }
}

const struct dialect dialect_line = {
    .name = "line",
    .accepts = true,
    .record = line_record,
    .frame = line_frame,
    .subscribe = line_subscribe,
    .other = line_other,
    .open = line_open,
    .input = line_input,
};
