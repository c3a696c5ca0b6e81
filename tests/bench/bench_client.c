/*
 * What a pipelined send costs the program that uses libimctl: messages are put together, sent and answered by
 * a child that only counts lines. Usage: bench_client [MESSAGES [UNDER-WAY]]
 */
#include <imctl.h>

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LINES 4096 /* that are answered at once */

static double seconds(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void write_all(int fd, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, bytes, len);
        if (n < 0)
            _exit(0);
        bytes += n;
        len -= (size_t)n;
    }
}

static size_t answer_write(char *out, unsigned long id)
{
    return (size_t)sprintf(out,
                           "{\"jsonrpc\":\"2.0\",\"id\":%lu,\"result\":{\"code\":0,\"data\":{\"messageId\":"
                           "\"0197a0b1-7c2d-7e3f-8a4b-%012lu\",\"sentTime\":1700000000000},\"errMsg\":"
                           "\"success!\"}}\n",
                           id, id);
}

/* The child: each line is answered. */
static void answer_lines(int fd)
{
    static char in[64 * 1024], out[LINES * 256];
    unsigned long id = 0;
    size_t len = 0;
    for (ssize_t n; (n = read(fd, in, sizeof(in))) > 0;) {
        for (ssize_t i = 0; i < n; i++)
            if (in[i] == '\n')
                len += answer_write(out + len, ++id);
        write_all(fd, out, len); /* 64 KiB are fewer lines than LINES */
        len = 0;
    }
    _exit(0);
}

static struct imctl *connect_to_child(void)
{
    struct imctl *c = NULL;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        exit(1);
    if (fork() == 0) {
        close(pair[0]);
        answer_lines(pair[1]);
    }
    close(pair[1]);
    return imctl_open_fd(pair[0], &c) == 0 ? c : NULL;
}

static void on_answer(struct imctl *c, const struct imctl_reply *reply, void *answered)
{
    ++*(size_t *)answered;
}

static void send_one(struct imctl *c, size_t *answered)
{
    struct imctl_message *m = imctl_message_text("good morning, how are you?");
    imctl_message_set_to(m, "bob");
    imctl_message_set_conversation(m, IMCTL_PRIVATE);
    if (imctl_send(c, m, on_answer, answered) < 0)
        exit(1);
    imctl_message_free(m);
}

static void wait_for_answers(struct imctl *c, size_t most)
{
    while (imctl_waiting(c) > most) {
        struct pollfd p = {imctl_fd(c), imctl_events(c), 0};
        poll(&p, 1, imctl_timeout(c));
        if (imctl_dispatch(c) < 0)
            exit(1);
    }
}

int main(int argc, char **argv)
{
    size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 1000000;
    size_t under_way = argc > 2 ? strtoul(argv[2], NULL, 10) : 1000, answered = 0;
    struct imctl *c = connect_to_child();
    if (!c || under_way == 0)
        return 1;
    double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID), wall = seconds(CLOCK_MONOTONIC);
    for (size_t i = 0; i < count; i++) {
        send_one(c, &answered);
        wait_for_answers(c, under_way - 1);
    }
    wait_for_answers(c, 0);
    cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;
    wall = seconds(CLOCK_MONOTONIC) - wall;
    printf("%zu messages, %zu under way: %.2f us of client CPU each, %.0f/s\n", answered, under_way,
           cpu / (double)count * 1e6, (double)count / wall);
    imctl_close(c);
    return answered != count;
}
