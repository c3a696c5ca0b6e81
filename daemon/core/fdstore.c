/*
 * See fdstore.h. sd_pid_notify_with_fds would do, but blocks when the manager does not read: a message is one
 * datagram, sent without waiting, or queued behind those that could not be sent.
 */
#include "fdstore.h"

#include "log.h"
#include "loop.h"
#include "notify.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>
#include <time.h>
#include <unistd.h>
#include <utlist.h>

#define AGAIN_MS 100

struct message {
    struct message *prev, *next;
    int fd; /* -1: a removal */
    char name[FDSTORE_NAME_MAX];
};

struct fdstore {
    struct loop_source source; /* its first member */
    struct loop *loop;
    int fd;
    struct message *waiting; /* doubly linked */
    struct sd_event_source *again;
};

static void ready(struct loop_source *source, uint32_t events);

static int connect_to(int fd, const char *path)
{
    struct sockaddr_un a;
    socklen_t len;
    int r = notify_address(&a, &len, path);

    if (r < 0)
        return r;
    return connect(fd, (const struct sockaddr *)&a, len) < 0 ? -errno : 0;
}

int fdstore_new(struct fdstore **out, struct loop *loop, const char *path)
{
    struct fdstore *s = calloc(1, sizeof *s);
    int r;

    if (!s)
        return -ENOMEM;
    s->loop = loop;
    s->source.ready = ready;
    s->source.fd = -1;
    s->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    r = s->fd < 0 ? -errno : connect_to(s->fd, path);
    if (r == 0)
        r = loop_source_add(loop, &s->source, s->fd, 0);
    if (r < 0) {
        fdstore_free(s);
        return r;
    }
    *out = s;
    return 0;
}

void fdstore_free(struct fdstore *s)
{
    struct message *m, *next;

    if (!s)
        return;
    DL_FOREACH_SAFE(s->waiting, m, next)
        free(m);
    sd_event_source_disable_unref(s->again);
    loop_source_remove(s->loop, &s->source);
    if (s->fd >= 0)
        close(s->fd);
    free(s);
}

/* ---- Messages ---- */

static void attach(struct msghdr *m, int fd)
{
    struct cmsghdr *c = CMSG_FIRSTHDR(m);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof fd);
    memcpy(CMSG_DATA(c), &fd, sizeof fd);
}

/* 0, -EAGAIN, or what will not pass by waiting. FDPOLL=0: who has gone may have left requests behind. */
static int transmit(const struct fdstore *s, const struct message *message)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {0};
    char text[96];
    struct iovec v = {.iov_base = text};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1};
    ssize_t n;

    v.iov_len = (size_t)snprintf(text, sizeof text, "%s\nFDNAME=%s\n",
                                 message->fd < 0 ? "FDSTOREREMOVE=1" : "FDSTORE=1\nFDPOLL=0", message->name);
    if (message->fd >= 0) {
        m.msg_control = control;
        m.msg_controllen = sizeof control;
        attach(&m, message->fd);
    }
    do
        n = sendmsg(s->fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

static bool must_wait(int error)
{
    return error == -EAGAIN || error == -ENOBUFS || error == -ETOOMANYREFS;
}

static void complain(int error)
{
    if (error < 0)
        log_limited(LOG_WARNING, "the service manager takes no descriptors: %s", strerror(-error));
}

static void drain(struct fdstore *s);

static int try_again(sd_event_source *source, uint64_t usec, void *userdata)
{
    drain(userdata);
    return 0;
}

/* Room in the socket wakes the loop; for what else is short there is no wake. */
static void wait_for(struct fdstore *s, int error)
{
    uint64_t at_us = (loop_now_ms(s->loop) + AGAIN_MS) * 1000;

    loop_source_arm(s->loop, &s->source, error == -EAGAIN ? EPOLLOUT : 0);
    if (error == -EAGAIN)
        return;
    sd_event_source_disable_unref(s->again);
    s->again = NULL;
    sd_event_add_time(loop_event(s->loop), &s->again, CLOCK_BOOTTIME, at_us, 0, try_again, s);
}

static int transmit_waiting(struct fdstore *s)
{
    struct message *m;
    int r = 0;

    while ((m = s->waiting) && !must_wait(r = transmit(s, m))) {
        complain(r);
        DL_DELETE(s->waiting, m);
        free(m);
    }
    return s->waiting ? r : 0;
}

static void drain(struct fdstore *s)
{
    int r = transmit_waiting(s);

    if (r < 0)
        wait_for(s, r);
    else
        loop_source_arm(s->loop, &s->source, 0);
}

static void ready(struct loop_source *source, uint32_t events)
{
    drain((struct fdstore *)source);
}

static int enqueue(struct fdstore *s, const struct message *message, int error)
{
    struct message *m = malloc(sizeof *m);

    if (!m)
        return -ENOMEM;
    *m = *message;
    if (!s->waiting)
        wait_for(s, error);
    DL_APPEND(s->waiting, m);
    return 0;
}

static int give(struct fdstore *s, const struct message *m)
{
    int r = s->waiting ? -EAGAIN : transmit(s, m);

    if (must_wait(r))
        return enqueue(s, m, r);
    complain(r);
    return 0;
}

int fdstore_put(struct fdstore *s, int fd, const char *name)
{
    struct message m = {.fd = fd};

    snprintf(m.name, sizeof m.name, "%s", name);
    return give(s, &m);
}

/* What still waits to be given is not given. */
static bool take_back(struct fdstore *s, const char *name)
{
    struct message *m, *next;

    DL_FOREACH_SAFE(s->waiting, m, next) {
        if (m->fd < 0 || strcmp(m->name, name) != 0)
            continue;
        DL_DELETE(s->waiting, m);
        free(m);
        return true;
    }
    return false;
}

void fdstore_remove(struct fdstore *s, const char *name)
{
    struct message m = {.fd = -1};

    if (take_back(s, name))
        return;
    snprintf(m.name, sizeof m.name, "%s", name);
    if (give(s, &m) < 0)
        log_limited(LOG_ERR, "no memory: the service manager keeps a closed connection");
}

static int64_t mono_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

bool fdstore_finish(struct fdstore *s, int ms)
{
    struct pollfd p = {.fd = s->fd, .events = POLLOUT};
    int64_t end = mono_ms() + ms, left = ms;

    while (transmit_waiting(s) == -EAGAIN && left >= 0 && poll(&p, 1, (int)left) > 0 && p.revents == POLLOUT)
        left = end - mono_ms();
    return !s->waiting;
}
