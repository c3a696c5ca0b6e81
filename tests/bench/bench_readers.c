/*
 * bench_readers SOCKET SUBSCRIBERS EVENTS: subscribes so many times, says "ready" on stdout, reads until
 * every subscriber has had so many events, each number once and in order, and prints the seconds between the
 * first event and the last. What is lost, repeated or torn ends it with status 1.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BUFFER (1u << 20)

static const char SUBSCRIBE[] =
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"subscribe\",\"params\":{\"events\":[\"MESSAGE\"]}}\n";
static const char EVENT[] = "{\"jsonrpc\":\"2.0\",\"method\":\"MESSAGE\",\"params\":{\"seq\":";

struct reader {
    int fd;
    bool subscribed;
    uint64_t next, left;
    size_t len;
    char *bytes;
};

static void fail(const char *what)
{
    fprintf(stderr, "bench_readers: %s\n", what);
    exit(EXIT_FAILURE);
}

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void reader_open(struct reader *r, const char *path, uint64_t events)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    *r = (struct reader){.fd = socket(AF_UNIX, SOCK_STREAM, 0), .left = events, .bytes = malloc(BUFFER)};
    if (connect(r->fd, (struct sockaddr *)&address, sizeof address) < 0 ||
        write(r->fd, SUBSCRIBE, sizeof SUBSCRIBE - 1) != sizeof SUBSCRIBE - 1)
        fail(strerror(errno));
}

static void take_line(struct reader *r, const char *line, size_t len)
{
    uint64_t seq;

    if (!r->subscribed) {
        r->subscribed = true;
        return;
    }
    if (len < sizeof EVENT || memcmp(line, EVENT, sizeof EVENT - 1) != 0)
        fail("something else than an event");
    seq = strtoull(line + sizeof EVENT - 1, NULL, 10);
    if (r->next && seq != r->next)
        fail("an event is lost or repeated");
    r->next = seq + 1;
    r->left--;
}

/* Returns whether it has all. */
static bool reader_read(struct reader *r)
{
    ssize_t n = recv(r->fd, r->bytes + r->len, BUFFER - r->len, MSG_DONTWAIT);
    char *line = r->bytes, *end;

    if (n < 0 && errno == EAGAIN)
        return false;
    if (n <= 0)
        fail("disconnected");
    r->len += (size_t)n;
    while ((end = memchr(line, '\n', r->len - (size_t)(line - r->bytes)))) {
        take_line(r, line, (size_t)(end + 1 - line));
        line = end + 1;
    }
    r->len -= (size_t)(line - r->bytes);
    memmove(r->bytes, line, r->len);
    return !r->left;
}

static bool all_subscribed(const struct reader *readers, int count)
{
    for (int i = 0; i < count; i++)
        if (!readers[i].subscribed)
            return false;
    return true;
}

int main(int argc, char **argv)
{
    int count = argc == 4 ? atoi(argv[2]) : 0, left = count, poll = epoll_create1(0);
    struct reader *readers = calloc((size_t)(count > 0 ? count : 1), sizeof *readers);
    struct epoll_event ready[64];
    bool told = false;
    double first = 0;

    if (count <= 0)
        fail("usage: bench_readers SOCKET SUBSCRIBERS EVENTS");
    for (int i = 0; i < count; i++) {
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = &readers[i]};

        reader_open(&readers[i], argv[1], strtoull(argv[3], NULL, 10));
        epoll_ctl(poll, EPOLL_CTL_ADD, readers[i].fd, &e);
    }
    while (left) {
        int n = epoll_wait(poll, ready, 64, -1);

        if (told && !first)
            first = now();
        for (int i = 0; i < n; i++)
            if (reader_read(ready[i].data.ptr)) {
                struct reader *r = ready[i].data.ptr;

                epoll_ctl(poll, EPOLL_CTL_DEL, r->fd, NULL);
                left--;
            }
        if (!told && all_subscribed(readers, count)) {
            puts("ready");
            fflush(stdout);
            told = true;
        }
    }
    printf("%.6f\n", now() - first);
    return EXIT_SUCCESS;
}
