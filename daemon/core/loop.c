/*
 * The order of a turn and what it means for those who use the loop: sd_event_now is as old as sd-event's last
 * wait, which may lie before a long sleep. Deadlines are therefore absolute and made from loop_now_ms
 * (CLOCK_BOOTTIME). What a callback or a hook adds to sd-event is seen by the next sd_event_prepare.
 */
#include "loop.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <systemd/sd-event.h>
#include <time.h>
#include <unistd.h>

#define BATCH 256 /* cheap sources that are served in one turn; more make the next turn come at once */

struct loop {
    struct sd_event *event;
    struct loop_source event_source; /* sd-event as a descriptor: only wakes */
    int epoll;
    bool stopping;
    struct epoll_event batch[BATCH];
    int batch_at, batch_count; /* those before batch_at are delivered */
    struct loop_hook *hooks;
    struct loop_hook *next_hook; /* while they are called */
    uint64_t turns;
    uint64_t now_ms; /* 0: not read in this turn */
    int64_t wall_ms; /* 0: likewise */
};

static void event_ready(struct loop_source *s, uint32_t events)
{
}

static int fill(struct loop *l)
{
    int r = sd_event_new(&l->event);

    if (r < 0)
        return r;
    l->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll < 0)
        return -errno;
    l->event_source.ready = event_ready;
    return loop_source_add(l, &l->event_source, sd_event_get_fd(l->event), EPOLLIN);
}

int loop_new(struct loop **out)
{
    struct loop *l = calloc(1, sizeof(*l));

    if (!l)
        return -ENOMEM;
    l->epoll = -1;
    int r = fill(l);
    if (r < 0) {
        loop_free(l);
        return r;
    }
    *out = l;
    return 0;
}

void loop_free(struct loop *l)
{
    if (!l)
        return;
    if (l->epoll >= 0)
        close(l->epoll);
    sd_event_unref(l->event);
    free(l);
}

struct sd_event *loop_event(struct loop *l)
{
    return l->event;
}

static void serve_sources(struct loop *l, bool waits)
{
    l->batch_count = epoll_wait(l->epoll, l->batch, BATCH, waits ? -1 : 0);
    for (l->batch_at = 0; l->batch_at < l->batch_count;) {
        struct epoll_event *e = &l->batch[l->batch_at++];
        struct loop_source *s = e->data.ptr;
        if (s)
            s->ready(s, e->events);
    }
    l->batch_at = l->batch_count = 0;
}

static void call_hooks(struct loop *l)
{
    for (struct loop_hook *h = l->hooks; h; h = l->next_hook) {
        l->next_hook = h->next;
        h->turn(h);
    }
}

static int turn(struct loop *l)
{
    int r = sd_event_prepare(l->event);

    if (r < 0)
        return r;
    l->now_ms = 0;
    l->wall_ms = 0;
    serve_sources(l, r == 0);
    if (r == 0)
        r = sd_event_wait(l->event, 0);
    if (r > 0)
        r = sd_event_dispatch(l->event);
    call_hooks(l);
    l->turns++;
    return r;
}

int loop_run(struct loop *l)
{
    int r = 0;

    while (!l->stopping && r >= 0)
        r = turn(l);
    l->stopping = false;
    return r < 0 ? r : 0;
}

void loop_stop(struct loop *l)
{
    l->stopping = true;
}

int loop_source_add(struct loop *l, struct loop_source *s, int fd, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = s};

    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &e) < 0)
        return -errno;
    s->fd = fd;
    s->events = events;
    return 0;
}

int loop_source_arm(struct loop *l, struct loop_source *s, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = s};

    if (s->events == events)
        return 0;
    if (epoll_ctl(l->epoll, EPOLL_CTL_MOD, s->fd, &e) < 0)
        return -errno;
    s->events = events;
    return 0;
}

void loop_source_remove(struct loop *l, struct loop_source *s)
{
    if (s->fd < 0)
        return;
    epoll_ctl(l->epoll, EPOLL_CTL_DEL, s->fd, NULL);
    s->fd = -1;
    s->events = 0;
    for (int i = l->batch_at; i < l->batch_count; i++)
        if (l->batch[i].data.ptr == s)
            l->batch[i].data.ptr = NULL;
}

void loop_hook_add(struct loop *l, struct loop_hook *h)
{
    struct loop_hook **at = &l->hooks;

    while (*at && (h->last || !(*at)->last))
        at = &(*at)->next;
    h->next = *at;
    *at = h;
}

void loop_hook_remove(struct loop *l, struct loop_hook *h)
{
    struct loop_hook **at = &l->hooks;

    while (*at && *at != h)
        at = &(*at)->next;
    if (!*at)
        return;
    if (l->next_hook == h)
        l->next_hook = h->next;
    *at = h->next;
}

static int64_t read_ms(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Read at the first use in a turn, which is after the wait. */
uint64_t loop_now_ms(struct loop *l)
{
    if (l->now_ms == 0)
        l->now_ms = (uint64_t)read_ms(CLOCK_BOOTTIME);
    return l->now_ms;
}

int64_t loop_wall_ms(struct loop *l)
{
    if (l->wall_ms == 0)
        l->wall_ms = read_ms(CLOCK_REALTIME);
    return l->wall_ms;
}

uint64_t loop_turns(const struct loop *l)
{
    return l->turns;
}
