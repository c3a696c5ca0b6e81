/*
 * Blocking calls: the asynchronous ones, with a poll(2) loop around imctl_dispatch that ends with the answer.
 */
#include "connection.h"

#include "clock.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>

struct waiter {
    bool answered;
    struct imctl_reply *reply; /* NULL when there was no memory to keep it */
};

static void waiter_done(struct imctl *c, const struct imctl_reply *reply, void *userdata)
{
    struct waiter *w = userdata;
    w->answered = true;
    w->reply = imctl_reply_copy(reply);
}

static int64_t deadline_after(int timeout_ms)
{
    return timeout_ms < 0 ? -1 : clock_ms() + timeout_ms;
}

static int time_left(int64_t deadline)
{
    return deadline < 0 ? -1 : clock_left(deadline);
}

/* Waits for the socket, or for the connection's own moment, and serves it, once. What can be done at once is
 * done even when the time is over. */
static int connection_step(struct imctl *c, int64_t deadline)
{
    struct pollfd p = {.fd = imctl_fd(c), .events = imctl_events(c)};
    int left = time_left(deadline), own = connection_timeout(c);
    bool own_first = own >= 0 && (left < 0 || own < left);
    int n = c->error ? 1 : poll(&p, 1, own_first ? own : left);
    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    if (n == 0 && !own_first)
        return left == 0 ? -ETIMEDOUT : 0;
    return imctl_dispatch(c);
}

/* Nobody waits for the answer any more: it is dropped when it comes. */
static void request_abandon(struct imctl *c, struct waiter *w)
{
    for (struct request *q = c->first; q; q = q->next)
        if (q->userdata == w)
            q->done = NULL;
}

static int waiter_run(struct imctl *c, struct waiter *w, int timeout_ms, struct imctl_reply **out)
{
    int64_t deadline = deadline_after(timeout_ms);
    int error = 0;
    while (!w->answered && error == 0)
        error = connection_step(c, deadline);
    if (!w->answered) {
        request_abandon(c, w);
        return error;
    }
    if (error == -ECANCELED) { /* the handler closed the connection: c is gone */
        imctl_reply_free(w->reply);
        return error;
    }
    if (!w->reply)
        return -ENOMEM;
    if (out)
        *out = w->reply;
    else
        imctl_reply_free(w->reply);
    return 0;
}

int imctl_call_wait(struct imctl *c, const char *method, const char *params, int timeout_ms,
                    struct imctl_reply **out)
{
    struct waiter w = {0};
    int error = c->dispatching ? -EDEADLK : imctl_call(c, method, params, waiter_done, &w);
    return error < 0 ? error : waiter_run(c, &w, timeout_ms, out);
}

int imctl_send_wait(struct imctl *c, const struct imctl_message *m, int timeout_ms, struct imctl_reply **out)
{
    struct waiter w = {0};
    int error = c->dispatching ? -EDEADLK : imctl_send(c, m, waiter_done, &w);
    return error < 0 ? error : waiter_run(c, &w, timeout_ms, out);
}

int imctl_subscribe_wait(struct imctl *c, const struct imctl_selection *s, int timeout_ms,
                         struct imctl_reply **out)
{
    struct waiter w = {0};
    int error = c->dispatching ? -EDEADLK : imctl_subscribe(c, s, waiter_done, &w);
    return error < 0 ? error : waiter_run(c, &w, timeout_ms, out);
}

int imctl_ack_wait(struct imctl *c, uint64_t seq, int timeout_ms, struct imctl_reply **out)
{
    struct waiter w = {0};
    int error = c->dispatching ? -EDEADLK : imctl_ack(c, seq, waiter_done, &w);
    return error < 0 ? error : waiter_run(c, &w, timeout_ms, out);
}

int imctl_history_wait(struct imctl *c, const struct imctl_selection *s, int timeout_ms,
                       struct imctl_reply **out)
{
    struct waiter w = {0};
    int error = c->dispatching ? -EDEADLK : imctl_history(c, s, waiter_done, &w);
    return error < 0 ? error : waiter_run(c, &w, timeout_ms, out);
}

int imctl_outbox_wait(struct imctl *c, const char *id, int timeout_ms, struct imctl_reply **out)
{
    struct waiter w = {0};
    int error = c->dispatching ? -EDEADLK : imctl_outbox(c, id, waiter_done, &w);
    return error < 0 ? error : waiter_run(c, &w, timeout_ms, out);
}

int imctl_outbox_cancel_wait(struct imctl *c, const char *id, int timeout_ms, struct imctl_reply **out)
{
    struct waiter w = {0};
    int error = c->dispatching ? -EDEADLK : imctl_outbox_cancel(c, id, waiter_done, &w);
    return error < 0 ? error : waiter_run(c, &w, timeout_ms, out);
}

int imctl_event_wait(struct imctl *c, int timeout_ms, struct imctl_event **out)
{
    int64_t deadline = deadline_after(timeout_ms);
    int error = c->dispatching ? -EDEADLK : 0;
    while (error == 0 && !c->events)
        error = connection_step(c, deadline);
    if (error < 0 && (error == -ECANCELED || !c->events))
        return error;
    *out = imctl_event_next(c);
    return *out ? 0 : error;
}
