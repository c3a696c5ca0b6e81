/* The limit: lines in, the same lines out. */
#include "dialect.h"
#include "failure.h"

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

static void line_open(struct publisher *p, int fd, SSL_CTX *tls)
{
    int one = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        fail("fcntl");
    stream_init(&p->websocket.stream, fd, NULL, 1);
}

const struct dialect dialect_line = {
    .name = "line",
    .accepts = true,
    .record = line_record,
    .frame = line_frame,
    .subscribe = line_subscribe,
    .other = other_never,
    .open = line_open,
    .input = input_never,
};
