/*
 * A connection to imd. Everything happens in imctl_dispatch: what waits is written, one portion is read, and
 * each whole line becomes an answer to a request or an event. Callbacks run from there only, so a request
 * never calls back into its caller. When the connection ends, every request is answered all the same; whether
 * it then comes back is the business of reconnect.c.
 */
#include "connection.h"

#include "dial.h"
#include "path.h"
#include "reply.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <fcntl.h>
#include <sys/socket.h>
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
    line_reader_init(&c->reader, LINE_MAX_BYTES, NULL);
    *out = c;
    return 0;
}

static int path_or_default(const char *path, char out[SOCKET_PATH_MAX + 1])
{
    if (!path)
        return imctl_socket_path(NULL, out, SOCKET_PATH_MAX + 1);
    if (strlen(path) > SOCKET_PATH_MAX)
        return -ENAMETOOLONG;
    strcpy(out, path);
    return 0;
}

/* A connection that comes back goes to the same socket: which is the default may have changed meanwhile. */
int imctl_open(const char *path, int timeout_ms, struct imctl **out)
{
    char found[SOCKET_PATH_MAX + 1];
    int error = path_or_default(path, found);
    int fd = error < 0 ? error : dial(found, timeout_ms);
    struct imctl *c = NULL;
    error = fd < 0 ? fd : imctl_open_fd(fd, &c);
    if (error < 0)
        return error;
    c->path = strdup(found);
    if (!c->path) {
        imctl_close(c);
        return -ENOMEM;
    }
    *out = c;
    return 0;
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

/* What this request decides about the subscription, unless a later one has already. A program that wants no
 * events gets none when it comes back, even when the answer was lost. */
static void subscription_decide(struct imctl *c, struct request *q, const struct imctl_reply *reply)
{
    bool decided = q->subscription ? reply->error == IMCTL_OK : q->unsubscribes;
    if (!decided || q->id < c->subscription_id)
        return;
    subscription_free(c->subscription);
    c->subscription = q->subscription;
    c->subscription_id = q->id;
    if (q->subscription)
        subscription_begun(q->subscription, reply);
    q->subscription = NULL;
}

static void request_free(struct request *q)
{
    subscription_free(q->subscription);
    free(q);
}

static void request_answer(struct imctl *c, struct request *q, const struct imctl_reply *reply)
{
    subscription_decide(c, q, reply);
    if (q->done)
        q->done(c, reply, q->userdata);
    request_free(q);
}

/* A line that did not reach imd whole is not looked at there. Callbacks may queue others meanwhile: these are
 * refused by then. */
void requests_answer_lost(struct imctl *c)
{
    while (c->first) {
        struct request *q = request_unlink(c, &c->first);
        struct imctl_reply reply;
        reply_init_lost(&reply, writer_has_written(&c->out, q->end));
        request_answer(c, q, &reply);
        reply_deinit(&reply);
    }
}

static void connection_fail(struct imctl *c, int error)
{
    c->error = error;
    requests_answer_lost(c);
}

void connection_unplug(struct imctl *c)
{
    if (c->fd >= 0)
        close(c->fd);
    c->fd = -1;
    writer_deinit(&c->out);
    writer_init(&c->out);
    line_reader_deinit(&c->reader);
}

static void connection_free(struct imctl *c)
{
    struct imctl_event *e;
    while ((e = imctl_event_next(c)))
        imctl_event_free(e);
    connection_unplug(c);
    subscription_free(c->subscription);
    reconnect_free(c->again);
    free(c->path);
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

/* To the handler, or kept for who asks. */
static int event_give(struct imctl *c, const struct imctl_event *e)
{
    struct imctl_event *copy = c->handler ? NULL : imctl_event_copy(e);
    if (!c->handler && !copy)
        return -ENOMEM;
    if (c->subscription)
        subscription_passed(c->subscription, imctl_event_seq(e));
    if (copy)
        event_keep(c, copy);
    else
        c->handler(c, e, c->handler_userdata);
    return 0;
}

static int take_event(struct imctl *c, struct view line, struct view method, struct view params)
{
    struct imctl_event e;
    event_init(&e, line, method, params);
    int error = event_give(c, &e);
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

static int connection_serve(struct imctl *c)
{
    if (c->fd < 0)
        return 0;
    int error = writer_flush(&c->out, c->fd);
    if (error == 0)
        error = connection_read(c);
    return error == 0 && c->again && c->again->refused ? -ECONNREFUSED : error;
}

static void connection_settle(struct imctl *c, int error)
{
    if (c->closing)
        connection_fail(c, -ECANCELED);
    else if (error < 0 && c->again)
        reconnect_lost(c, error);
    else if (error < 0)
        connection_fail(c, error);
}

int imctl_dispatch(struct imctl *c)
{
    if (c->dispatching)
        return -EDEADLK;
    if (c->error)
        return c->error;
    c->dispatching = true;
    hand_over_events(c);
    reconnect_attempt(c);
    connection_settle(c, connection_serve(c));
    c->dispatching = false;
    if (c->closing) {
        connection_free(c);
        return -ECANCELED;
    }
    reconnect_arm(c);
    return c->error;
}

/* ---- What an event loop asks ---- */

int imctl_fd(const struct imctl *c)
{
    return c->again ? c->again->epoll : c->fd;
}

short imctl_events(const struct imctl *c)
{
    return !c->again && writer_wants_room(&c->out) ? POLLIN | POLLOUT : POLLIN;
}

int connection_timeout(const struct imctl *c)
{
    int attempt = reconnect_timeout(c);
    return attempt >= 0 ? attempt : writer_timeout(&c->out);
}

int imctl_timeout(const struct imctl *c)
{
    return c->events || c->error ? 0 : connection_timeout(c);
}

/* The one that is made on coming back is nobody's. */
size_t imctl_waiting(const struct imctl *c)
{
    return c->again && c->again->away ? 0 : c->waiting;
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
