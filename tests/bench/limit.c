/*
 * bench_limit line|coalesced HOST:PORT SOCKET: what any bridge must at least do, and nothing else. It
 * connects to HOST:PORT, and sends what it reads there to each program that connected to SOCKET: line by
 * line, or all whole lines of one read at once. It blocks on whoever is slow, and ends when HOST:PORT does.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PIECE (64u << 10)
#define LINE_MAX_BYTES (4u << 20)

struct limit {
    bool coalesced;
    int upstream, listener;
    int *subscribers;
    size_t count, size;
    char bytes[LINE_MAX_BYTES];
    size_t len;
};

static _Noreturn void fail(const char *what)
{
    fprintf(stderr, "bench_limit: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

static int upstream_connect(const char *host_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    const char *colon = strrchr(host_port, ':');
    char host[64];
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    snprintf(host, sizeof host, "%.*s", colon ? (int)(colon - host_port) : 0, host_port);
    errno = EINVAL;
    if (!colon || inet_pton(AF_INET, host, &address.sin_addr) != 1)
        fail(host_port);
    address.sin_port = htons((uint16_t)atoi(colon + 1));
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0)
        fail(host_port);
    return fd;
}

static int subscribers_listen(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

    errno = ENAMETOOLONG;
    if (strlen(path) >= sizeof address.sun_path)
        fail(path);
    strcpy(address.sun_path, path);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 4096) < 0)
        fail(path);
    return fd;
}

static void subscribers_accept(struct limit *l)
{
    int fd;

    while ((fd = accept(l->listener, NULL, NULL)) >= 0) {
        if (l->count == l->size) {
            l->size = l->size ? 2 * l->size : 64;
            l->subscribers = realloc(l->subscribers, l->size * sizeof *l->subscribers);
            if (!l->subscribers)
                fail("subscribers");
        }
        l->subscribers[l->count++] = fd;
    }
    if (errno != EAGAIN)
        fail("accept");
}

static void send_whole(int fd, const char *bytes, size_t len)
{
    while (len) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);

        if (n < 0)
            return; /* gone: the load will tell */
        bytes += n;
        len -= (size_t)n;
    }
}

static void send_all(const struct limit *l, const char *bytes, size_t len)
{
    for (size_t i = 0; i < l->count; i++)
        send_whole(l->subscribers[i], bytes, len);
}

/* Returns false when upstream has ended. */
static bool upstream_read(struct limit *l)
{
    ssize_t n = recv(l->upstream, l->bytes + l->len, PIECE, 0);
    char *from = l->bytes, *end;

    if (n <= 0)
        return false;
    l->len += (size_t)n;
    if (l->coalesced) {
        end = memrchr(l->bytes, '\n', l->len);
        if (end) {
            send_all(l, l->bytes, (size_t)(end + 1 - l->bytes));
            from = end + 1;
        }
    } else {
        while ((end = memchr(from, '\n', l->len - (size_t)(from - l->bytes)))) {
            send_all(l, from, (size_t)(end + 1 - from));
            from = end + 1;
        }
    }
    l->len -= (size_t)(from - l->bytes);
    memmove(l->bytes, from, l->len);
    errno = EMSGSIZE;
    if (l->len > sizeof l->bytes - PIECE)
        fail("a line");
    return true;
}

int main(int argc, char **argv)
{
    static struct limit limit;
    struct epoll_event ready[2], upstream = {.events = EPOLLIN},
                                 listener = {.events = EPOLLIN, .data.u32 = 1};
    int poll = epoll_create1(0);

    if (argc != 4 || (strcmp(argv[1], "line") != 0 && strcmp(argv[1], "coalesced") != 0)) {
        fputs("usage: bench_limit line|coalesced HOST:PORT SOCKET\n", stderr);
        return EXIT_FAILURE;
    }
    limit.coalesced = *argv[1] == 'c';
    limit.listener = subscribers_listen(argv[3]);
    limit.upstream = upstream_connect(argv[2]);
    if (poll < 0 || epoll_ctl(poll, EPOLL_CTL_ADD, limit.upstream, &upstream) < 0 ||
        epoll_ctl(poll, EPOLL_CTL_ADD, limit.listener, &listener) < 0)
        fail("epoll");
    for (;;) {
        int n = epoll_wait(poll, ready, 2, -1);
        bool lines = false;

        for (int i = 0; i < n; i++)
            if (ready[i].data.u32)
                subscribers_accept(&limit); /* first: who is here before a line was written gets it */
            else
                lines = true;
        if (lines && !upstream_read(&limit))
            break;
    }
    unlink(argv[3]);
    return EXIT_SUCCESS;
}
