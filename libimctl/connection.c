/*
 * A connection to imd. Everything happens in imctl_dispatch: what waits is written, one portion is read, and
 * each whole line becomes an answer to a request or an event. Callbacks run from there only, so a request
 * never calls back into its caller. When the connection ends, every request is answered all the same.
 */
#include "connection.h"

#include "path.h"
#include "reply.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define LINE_MAX_BYTES ((size_t)256 * 1024 * 1024) /* a message of 64 MiB is at most 200 MB of JSON */

/* ---- Opening ---- */

static int fd_set_nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ? -errno : 0;
}

int imctl_open_fd(int fd, struct imctl **out)
{
    int error = fd_set_nonblocking(fd);
    struct imctl *c = error < 0 ? NULL : calloc(1, sizeof(*c));
    if (!c) {
        close(fd);
        return error < 0 ? error : -ENOMEM;
    }
    c->fd = fd;
    c->end = &c->first;
    c->events_end = &c->events;
    writer_init(&c->out);
    line_reader_init(&c->reader, LINE_MAX_BYTES);
    *out = c;
    return 0;
}

/* A non-blocking connect to a Unix socket whose backlog is full fails with EAGAIN and cannot be polled for:
 * so the socket blocks while it connects, for as long as its send timeout says. */
static int fd_connect(int fd, const struct sockaddr_un *address, int timeout_ms)
{
    struct timeval limit = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    if (timeout_ms == 0)
        limit.tv_usec = 1; /* 0 would mean: no limit */
    if (timeout_ms >= 0 && setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
        return -errno;
    while (connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
        if (errno != EINTR)
            return errno == EAGAIN ? -ETIMEDOUT : -errno;
    return 0;
}

int imctl_open(const char *path, int timeout_ms, struct imctl **out)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int error = path ? 0 : imctl_socket_path(NULL, address.sun_path, sizeof(address.sun_path));
    if (error < 0)
        return error;
    if (path) {
        if (strlen(path) >= sizeof(address.sun_path))
            return -ENAMETOOLONG;
        strcpy(address.sun_path, path);
    }
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    error = fd_connect(fd, &address, timeout_ms);
    if (error < 0) {
        close(fd);
        return error;
    }
    return imctl_open_fd(fd, out);
}

/* ---- Ending ---- */

static struct request *request_unlink(struct imctl *c, struct request **link)
{
    struct request *q = *link;
    *link = q->next;
    if (c->end == &q->next)
        c->end = link;
    c->waiting--;
    return q;
}

static void request_answer(struct imctl *c, struct request *q, const struct imctl_reply *reply)
{
    if (q->done)
        q->done(c, reply, q->userdata);
    free(q);
}

static void connection_fail(struct imctl *c, int error)
{
    c->error = error;
    while (c->first) {
        struct request *q = request_unlink(c, &c->first);
        struct imctl_reply reply;
        /* a line that did not reach imd whole is not looked at there */
        reply_init_lost(&reply, writer_has_written(&c->out, q->end));
        request_answer(c, q, &reply);
        reply_deinit(&reply);
    }
}

static void connection_free(struct imctl *c)
{
    struct imctl_event *e;
    while ((e = imctl_event_next(c)))
        imctl_event_free(e);
    close(c->fd);
    writer_deinit(&c->out);
    line_reader_deinit(&c->reader);
    free(c);
}

void imctl_close(struct imctl *c)
{
    if (!c)
        return;
    if (c->dispatching) {
        c->closing = true;
        return;
    }
    c->dispatching = true;
    connection_fail(c, -ECANCELED);
    connection_free(c);
}

/* ---- Reading ---- */

static void event_keep(struct imctl *c, struct imctl_event *e)
{
    e->next = NULL;
    *c->events_end = e;
    c->events_end = &e->next;
}

static int take_event(struct imctl *c, struct view line, struct view method, struct view params)
{
    struct imctl_event e, *copy;
    int error = 0;
    event_init(&e, line, method, params);
    if (c->handler)
        c->handler(c, &e, c->handler_userdata);
    else if ((copy = imctl_event_copy(&e)))
        event_keep(c, copy);
    else
        error = -ENOMEM;
    event_deinit(&e);
    return error;
}

static struct request **request_of_id(struct imctl *c, uint64_t id)
{
    struct request **link = &c->first;
    while (*link && (*link)->id != id)
        link = &(*link)->next;
    return link;
}

/*
 * An error whose id is null says that imd could not read the request. A line over its limit is one of our
 * longest; of equals it is the one that was written first, because lines are looked at in order. Of anything
 * else it can only be told whose it is when there is just one.
 */
static struct request **request_without_id(struct imctl *c, enum imctl_error error)
{
    struct request **found = &c->first;
    if (error != IMCTL_TOO_LARGE)
        return c->waiting == 1 ? found : c->end;
    for (struct request **link = &c->first; *link; link = &(*link)->next)
        if ((*link)->size > (*found)->size)
            found = link;
    return found;
}

static struct request **request_of_reply(struct imctl *c, struct view id, enum imctl_error error)
{
    uint64_t number;
    if (view_is(id, "null"))
        return request_without_id(c, error);
    return view_uint(id, &number) ? request_of_id(c, number) : c->end;
}

/* An answer that is nobody's: imd has too many clients, which it says unasked, or speaks another protocol. */
static int take_refusal(struct imctl *c, const struct imctl_reply *reply, bool no_id)
{
    if (!no_id || reply->error != IMCTL_BUSY)
        return -EPROTO;
    while (c->first && !c->closing)
        request_answer(c, request_unlink(c, &c->first), reply);
    return -EBUSY;
}

/* The value is the last thing wanted from the line: what stands behind it may become its NUL. */
static int take_reply(struct imctl *c, struct view id, struct view result, struct view error)
{
    struct imctl_reply reply;
    struct view value = error.at ? error : result;
    int failure = 0;
    if (!value.at)
        return -EPROTO;
    if (error.at)
        reply_init_error(&reply, error);
    else
        reply_init_result(&reply, result);
    struct request **link = request_of_reply(c, id, reply.error);
    bool no_id = view_is(id, "null");
    ((char *)value.at)[value.len] = '\0'; /* value points into our reader's buffer */
    if (*link)
        request_answer(c, request_unlink(c, link), &reply);
    else
        failure = take_refusal(c, &reply, no_id);
    reply_deinit(&reply);
    return failure;
}

static int take_line(struct imctl *c, char *text, size_t len)
{
    struct view line = {text, len}, rest = view_of(text, len), key, value;
    struct view id = {NULL, 0}, method = id, params = id, result = id, error = id;
    const struct {
        const char *key;
        struct view *view;
    } wanted[] = {
        {"id", &id}, {"method", &method}, {"params", &params}, {"result", &result}, {"error", &error}};

    if (!rest.at || rest.at[0] != '{')
        return -EPROTO;
    while (view_next(&rest, &key, &value))
        for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++)
            if (view_is(key, wanted[i].key))
                *wanted[i].view = value;
    text[len] = '\0';
    if (method.at && !id.at)
        return take_event(c, line, method, params);
    return id.at ? take_reply(c, id, result, error) : -EPROTO;
}

static int take_lines(struct imctl *c)
{
    enum line_result k;
    char *line;
    size_t len;
    while (!c->closing && (k = line_reader_next(&c->reader, &line, &len)) != LINE_NONE) {
        int error = k == LINE_TOO_LONG ? -EMSGSIZE : take_line(c, line, len);
        if (error < 0)
            return error;
    }
    return 0;
}

static int connection_read(struct imctl *c)
{
    char *room;
    size_t size;
    int error = line_reader_room(&c->reader, &room, &size);
    if (error < 0)
        return error;
    ssize_t n = recv(c->fd, room, size, 0);
    if (n < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -errno;
    if (n == 0)
        return -ECONNRESET;
    line_reader_filled(&c->reader, (size_t)n);
    return take_lines(c);
}

/* Events that came before there was a handler. */
static void hand_over_events(struct imctl *c)
{
    struct imctl_event *e;
    while (c->handler && !c->closing && (e = imctl_event_next(c))) {
        c->handler(c, e, c->handler_userdata);
        imctl_event_free(e);
    }
}

int imctl_dispatch(struct imctl *c)
{
    if (c->dispatching)
        return -EDEADLK;
    if (c->error)
        return c->error;
    c->dispatching = true;
    hand_over_events(c);
    int error = writer_flush(&c->out, c->fd);
    if (error == 0)
        error = connection_read(c);
    if (error < 0 || c->closing)
        connection_fail(c, c->closing ? -ECANCELED : error);
    c->dispatching = false;
    error = c->error;
    if (c->closing) {
        connection_free(c);
        return -ECANCELED;
    }
    return error;
}

/* ---- What an event loop asks ---- */

int imctl_fd(const struct imctl *c)
{
    return c->fd;
}

short imctl_events(const struct imctl *c)
{
    return writer_wants_room(&c->out) ? POLLIN | POLLOUT : POLLIN;
}

int imctl_timeout(const struct imctl *c)
{
    return c->events || c->error ? 0 : writer_timeout(&c->out);
}

size_t imctl_waiting(const struct imctl *c)
{
    return c->waiting;
}

void imctl_on_event(struct imctl *c,
                    void (*handler)(struct imctl *c, const struct imctl_event *e, void *userdata),
                    void *userdata)
{
    c->handler = handler;
    c->handler_userdata = userdata;
}

struct imctl_event *imctl_event_next(struct imctl *c)
{
    struct imctl_event *e = c->events;
    if (!e)
        return NULL;
    c->events = e->next;
    if (!c->events)
        c->events_end = &c->events;
    return e;
}
