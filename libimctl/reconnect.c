#include "reconnect.h"

#include "clock.h"
#include "connection.h"
#include "dial.h"
#include "reply.h"
#include "vocabulary.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#define DELAY_MIN_MS 100
#define DELAY_MAX_MS 10000

static struct reconnect *reconnect_new(void)
{
    struct reconnect *r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    r->delay_ms = DELAY_MIN_MS;
    r->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (r->epoll >= 0)
        return r;
    free(r);
    return NULL;
}

void reconnect_free(struct reconnect *r)
{
    if (r)
        close(r->epoll);
    free(r);
}

/* ---- What epoll waits for ---- */

static int socket_watch(struct imctl *c)
{
    struct epoll_event e = {.events = EPOLLIN};
    c->again->armed = e.events;
    return epoll_ctl(c->again->epoll, EPOLL_CTL_ADD, c->fd, &e) < 0 ? -errno : 0;
}

void reconnect_arm(struct imctl *c)
{
    struct reconnect *r = c->again;
    if (!r || c->fd < 0)
        return;
    struct epoll_event e = {.events = writer_wants_room(&c->out) ? EPOLLIN | EPOLLOUT : EPOLLIN};
    if (e.events != r->armed && epoll_ctl(r->epoll, EPOLL_CTL_MOD, c->fd, &e) == 0)
        r->armed = e.events;
}

int reconnect_timeout(const struct imctl *c)
{
    return c->again && c->fd < 0 ? clock_left(c->again->due) : -1;
}

/* ---- Lost ---- */

static void schedule(struct reconnect *r)
{
    r->due = clock_ms() + r->delay_ms;
    r->delay_ms = r->delay_ms < DELAY_MAX_MS / 2 ? r->delay_ms * 2 : DELAY_MAX_MS;
}

/* What there is to tell; 0: nothing new. */
static int news_of(struct reconnect *r, int error)
{
    if (!r->away)
        return error;
    if (!r->refused || r->refusal_told)
        return 0;
    r->refusal_told = true;
    return -EBUSY;
}

void reconnect_lost(struct imctl *c, int error)
{
    struct reconnect *r = c->again;
    int news = news_of(r, error);
    epoll_ctl(r->epoll, EPOLL_CTL_DEL, c->fd,
              NULL); /* a child may have the socket too: closing is not enough */
    r->away = true;
    requests_answer_lost(c);
    connection_unplug(c);
    schedule(r);
    if (news && r->changed && !c->closing)
        r->changed(c, news, r->userdata);
}

/* ---- Back ---- */

static void on_resumed(struct imctl *c, const struct imctl_reply *reply, void *userdata)
{
    struct reconnect *r = c->again;
    if (imctl_reply_error(reply) != IMCTL_OK) {
        r->refused = true;
        if (c->subscription && imctl_reply_error(reply) == IMCTL_INVALID_PARAMS)
            subscription_refused(c->subscription); /* its params were good before */
        return;
    }
    if (c->subscription)
        subscription_begun(c->subscription, reply);
    r->away = r->refusal_told = false;
    r->delay_ms = DELAY_MIN_MS;
    if (r->changed)
        r->changed(c, 0, r->userdata);
}

/* The request that asks whether imd is there, as the first of the connection. */
static int resume(struct imctl *c)
{
    struct draft d = request_begin(c, method_word(c->subscription ? METHOD_SUBSCRIBE : METHOD_HELLO));
    d.subscribes = false; /* anew */
    d.resumes = true;
    if (c->subscription) {
        json_next_key(&c->out.text.w, "params");
        subscription_write_params(c->subscription, &c->out.text.w);
    }
    return request_end(c, d, 0, on_resumed, NULL);
}

void reconnect_attempt(struct imctl *c)
{
    if (!c->again || c->fd >= 0 || clock_left(c->again->due) > 0)
        return;
    int fd = dial_now(c->path), error = 0;
    if (fd < 0) {
        schedule(c->again);
        return;
    }
    c->fd = fd;
    c->again->refused = false;
    error = socket_watch(c);
    if (error == 0)
        error = resume(c);
    if (error < 0)
        reconnect_lost(c, error);
}

/* ---- The mode ---- */

static int mode_begin(struct imctl *c)
{
    c->again = reconnect_new();
    if (!c->again)
        return -errno;
    int error = socket_watch(c);
    if (error == 0) {
        reconnect_arm(c);
        return 0;
    }
    reconnect_free(c->again);
    c->again = NULL;
    return error;
}

int imctl_set_reconnect(struct imctl *c, void (*changed)(struct imctl *c, int error, void *userdata),
                        void *userdata)
{
    if (c->error)
        return c->error;
    if (!c->path)
        return -EINVAL;
    int error = c->again ? 0 : mode_begin(c);
    if (error < 0)
        return error;
    c->again->changed = changed;
    c->again->userdata = userdata;
    return 0;
}
