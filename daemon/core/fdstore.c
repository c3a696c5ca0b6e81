/*
 * See fdstore.h. sd_pid_notify_with_fds would do, but blocks when the manager does not read: a message is one
 * datagram, sent without waiting, or queued behind those that could not be sent.
 */
#include "fdstore.h"

#include "log.h"
#include "loop.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <utlist.h>

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
};

static void ready(struct loop_source *source, uint32_t events);

static int connect_to(int fd, const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    size_t len = strlen(path);

    if (len < 2 || len >= sizeof a.sun_path || (path[0] != '/' && path[0] != '@'))
        return -EINVAL;
    memcpy(a.sun_path, path, len);
    if (path[0] == '@')
        a.sun_path[0] = '\0';
    len += offsetof(struct sockaddr_un, sun_path) + (path[0] == '/');
    return connect(fd, (const struct sockaddr *)&a, (socklen_t)len) < 0 ? -errno : 0;
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

static void drain(struct fdstore *s)
{
    struct message *m;
    int r = 0;

    while ((m = s->waiting) && !must_wait(r = transmit(s, m))) {
        complain(r);
        DL_DELETE(s->waiting, m);
        free(m);
    }
    loop_source_arm(s->loop, &s->source, s->waiting ? EPOLLOUT : 0);
}

static void ready(struct loop_source *source, uint32_t events)
{
    drain((struct fdstore *)source);
}

static int enqueue(struct fdstore *s, const struct message *message)
{
    struct message *m = malloc(sizeof *m);

    if (!m)
        return -ENOMEM;
    *m = *message;
    DL_APPEND(s->waiting, m);
    loop_source_arm(s->loop, &s->source, EPOLLOUT);
    return 0;
}

static int give(struct fdstore *s, const struct message *m)
{
    int r = s->waiting ? -EAGAIN : transmit(s, m);

    if (must_wait(r))
        return enqueue(s, m);
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

void fdstore_finish(struct fdstore *s, int ms)
{
    struct pollfd p = {.fd = s->fd, .events = POLLOUT};

    drain(s);
    while (s->waiting && poll(&p, 1, ms) > 0 && p.revents == POLLOUT)
        drain(s);
}
