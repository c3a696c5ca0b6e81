/*
 * Two descriptors and a timer on sd-event. An rtnetlink socket tells of addresses, routes and links; what it
 * says is not parsed, since any change is a reason to try again. A timer that is cancelled when the realtime
 * clock is set tells of resumes, since the kernel sets the clock then; whether it was one, and not somebody
 * with a watch, is seen by CLOCK_BOOTTIME having run ahead of CLOCK_MONOTONIC. So an idle machine is never
 * woken.
 */
#include "netwatch.h"
#include "log.h"

#include <errno.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <systemd/sd-event.h>
#include <time.h>
#include <unistd.h>

#define QUIET_MS 200      /* a burst is over when nothing came for so long */
#define BURST_MAX_MS 2000 /* but a burst that does not end is told of all the same */
#define FAR_SECONDS \
    (10 * 365 * 24 * 3600)  /* when the clock timer would expire by itself; it is then armed anew */
#define SUSPEND_MIN_MS 1000 /* clocks are read one after the other: smaller differences mean nothing */

struct netwatch {
    sd_event *event;
    void (*changed)(void *self, enum netwatch_change what);
    void *self;
    int netlink, clock_set;
    sd_event_source *netlink_source, *clock_set_source, *quiet;
    uint64_t burst_since_ms; /* 0: no burst is under way */
    int64_t suspended_ms;    /* how far boottime was ahead of monotonic when last looked at */
};

static int64_t clock_ms(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t suspended_ms(void)
{
    int64_t monotonic = clock_ms(CLOCK_MONOTONIC);

    return clock_ms(CLOCK_BOOTTIME) - monotonic;
}

/* ---- addresses, routes, links ---- */

static int on_quiet(sd_event_source *s, uint64_t usec, void *self)
{
    struct netwatch *n = self;

    n->burst_since_ms = 0;
    n->changed(n->self, NETWATCH_NETWORK);
    return 0;
}

static void wait_for_quiet(struct netwatch *n)
{
    uint64_t now = (uint64_t)clock_ms(CLOCK_BOOTTIME), at = now + QUIET_MS;

    if (n->burst_since_ms == 0)
        n->burst_since_ms = now;
    if (at > n->burst_since_ms + BURST_MAX_MS)
        at = n->burst_since_ms + BURST_MAX_MS;
    sd_event_source_set_time(n->quiet, at * 1000);
    sd_event_source_set_enabled(n->quiet, SD_EVENT_ONESHOT);
}

static int on_netlink(sd_event_source *s, int fd, uint32_t events, void *self)
{
    char scrap[8192];
    ssize_t got;
    bool any = false;

    /* ENOBUFS: more changed than the socket could hold, which is a change too */
    while ((got = recv(fd, scrap, sizeof(scrap), MSG_DONTWAIT)) > 0 || (got < 0 && errno == ENOBUFS))
        any = true;
    if (any)
        wait_for_quiet(self);
    return 0;
}

static int watch_netlink(struct netwatch *n)
{
    struct sockaddr_nl groups = {.nl_family = AF_NETLINK,
                                 .nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR |
                                              RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE};

    n->netlink = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_ROUTE);
    if (n->netlink < 0)
        return -errno;
    if (bind(n->netlink, (struct sockaddr *)&groups, sizeof(groups)) < 0)
        return -errno;
    return sd_event_add_io(n->event, &n->netlink_source, n->netlink, EPOLLIN, on_netlink, n);
}

/* ---- resume ---- */

static int arm_clock_set(struct netwatch *n)
{
    struct itimerspec far = {.it_value.tv_sec = time(NULL) + FAR_SECONDS};

    if (timerfd_settime(n->clock_set, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &far, NULL) < 0)
        return -errno;
    return 0;
}

static int on_clock_set(sd_event_source *s, int fd, uint32_t events, void *self)
{
    struct netwatch *n = self;
    uint64_t expired;

    if (read(fd, &expired, sizeof(expired)) < 0 && errno == EAGAIN)
        return 0;
    arm_clock_set(n);
    int64_t now = suspended_ms();
    bool resumed = now - n->suspended_ms >= SUSPEND_MIN_MS;
    n->suspended_ms = now;
    if (resumed)
        n->changed(n->self, NETWATCH_RESUME);
    return 0;
}

static int watch_clock(struct netwatch *n)
{
    n->suspended_ms = suspended_ms();
    n->clock_set = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (n->clock_set < 0)
        return -errno;
    int r = arm_clock_set(n);
    if (r < 0)
        return r;
    return sd_event_add_io(n->event, &n->clock_set_source, n->clock_set, EPOLLIN, on_clock_set, n);
}

static int watch(struct netwatch *n)
{
    int r = sd_event_add_time(n->event, &n->quiet, CLOCK_BOOTTIME, UINT64_MAX, 0, on_quiet, n);

    if (r < 0)
        return r;
    sd_event_source_set_enabled(n->quiet, SD_EVENT_OFF);
    r = watch_netlink(n);
    if (r < 0)
        log_notice("changes of the network are not watched: %s", strerror(-r));
    return watch_clock(n);
}

int netwatch_new(struct netwatch **out, struct sd_event *ev,
                 void (*changed)(void *self, enum netwatch_change what), void *self)
{
    struct netwatch *n = calloc(1, sizeof(*n));

    if (!n)
        return -ENOMEM;
    *n = (struct netwatch){
        .event = sd_event_ref(ev), .changed = changed, .self = self, .netlink = -1, .clock_set = -1};
    int r = watch(n);
    if (r < 0) {
        netwatch_free(n);
        return r;
    }
    *out = n;
    return 0;
}

void netwatch_free(struct netwatch *n)
{
    if (!n)
        return;
    sd_event_source_disable_unref(n->quiet);
    sd_event_source_disable_unref(n->netlink_source);
    sd_event_source_disable_unref(n->clock_set_source);
    if (n->netlink >= 0)
        close(n->netlink);
    if (n->clock_set >= 0)
        close(n->clock_set);
    sd_event_unref(n->event);
    free(n);
}
