/*
 * One poll, lws' own, in which everything sleeps. lws polls two foreign descriptors beside its sockets:
 * sd-event's epoll and the clients' epoll. Its callback for them only notes that they are readable; the turn
 * looks into them after lws_service has returned.
 *
 * What the order of a turn means for those who use the loop:
 *   - lws runs its own timers before it polls, after sd_event_prepare. What such a callback adds to sd-event
 * would not end that poll; therefore loop_wake exists.
 *   - sd_event_now is as old as sd-event's last wait, which may lie before a long sleep. Deadlines are
 * therefore absolute and made from loop_now_ms (CLOCK_BOOTTIME).
 */
#include "loop.h"
#include "log.h"

#include <errno.h>
#include <fcntl.h>
#include <libwebsockets.h>
#include <stdlib.h>
#include <string.h>
#include <systemd/sd-event.h>
#include <time.h>
#include <unistd.h>

#define BATCH 256 /* clients' events taken in one turn; more make the next turn come at once */

/*
 * lws sizes its poll table by this: its wake pipe, sd-event, the clients, and one websocket that is being
 * dialed while the last one is not quite gone; the rest is reserve.
 */
#define LWS_FDS 8

struct loop {
    struct lws_context *lws;
    struct sd_event *event;
    int clients; /* the clients' epoll */
    bool clients_readable;
    bool stopping;
    struct epoll_event batch[BATCH];
    int batch_at, batch_count; /* those before batch_at are delivered */
    struct loop_hook *hooks, **hooks_end;
    struct loop_hook *next_hook; /* while they are called */
    uint64_t turns;
    uint64_t now_ms; /* 0: not read in this turn */
    int64_t wall_ms; /* 0: likewise */
};

static int on_foreign(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len)
{
    bool *readable = lws_get_opaque_user_data(wsi);

    if (reason == LWS_CALLBACK_RAW_RX_FILE && readable)
        *readable = true;
    return 0;
}

static const struct lws_protocols foreign_protocols[] = {{.name = "foreign", .callback = on_foreign}, {0}};

static void emit_lws_line(int level, const char *line)
{
    log_debug("lws: %.*s", (int)strcspn(line, "\n"), line);
}

/*
 * No listening port, no identity to change to; a large buffer, since what one read brings is handled as one
 * turn; 16 KiB of headers, since with the default of 4 KiB large answers to the upgrade fail. The system's CA
 * store is not loaded behind our back: each vhost names its own file.
 */
static int make_lws(struct loop *l)
{
    struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN,
        .uid = -1,
        .gid = -1,
        .protocols = foreign_protocols,
        .vhost_name = "foreign",
        .fd_limit_per_thread = LWS_FDS,
        .pt_serv_buf_size = 65536,
        .max_http_header_data = 16384,
        .timeout_secs = 10,
        .connect_timeout_secs = 10,
        .options = LWS_SERVER_OPTION_DISABLE_OS_CA_CERTS | LWS_SERVER_OPTION_EXPLICIT_VHOSTS,
    };

    lws_set_log_level(LLL_ERR | LLL_WARN, emit_lws_line);
    l->lws = lws_create_context(&info);
    return l->lws ? 0 : -ENOMEM;
}

/* lws closes the descriptors that it adopts, hence the copy. */
static int adopt(struct loop *l, struct lws_vhost *vhost, int fd, bool *readable)
{
    lws_sock_file_fd_type copy = {.filefd = fcntl(fd, F_DUPFD_CLOEXEC, 3)};

    if (copy.filefd < 0)
        return -errno;
    struct lws *wsi = lws_adopt_descriptor_vhost(vhost, LWS_ADOPT_RAW_FILE_DESC, copy, "foreign", NULL);
    if (!wsi)
        return -ENOMEM; /* lws has closed it */
    lws_set_opaque_user_data(wsi, readable);
    return 0;
}

static int adopt_foreign(struct loop *l)
{
    struct lws_context_creation_info info = {
        .port = CONTEXT_PORT_NO_LISTEN, .protocols = foreign_protocols, .vhost_name = "foreign"};
    struct lws_vhost *vhost = lws_create_vhost(l->lws, &info);

    if (!vhost)
        return -ENOMEM;
    int r = adopt(l, vhost, sd_event_get_fd(l->event), NULL);
    return r < 0 ? r : adopt(l, vhost, l->clients, &l->clients_readable);
}

static int fill(struct loop *l)
{
    int r = sd_event_new(&l->event);

    if (r < 0)
        return r;
    l->clients = epoll_create1(EPOLL_CLOEXEC);
    if (l->clients < 0)
        return -errno;
    r = make_lws(l);
    return r < 0 ? r : adopt_foreign(l);
}

int loop_new(struct loop **out)
{
    struct loop *l = calloc(1, sizeof(*l));

    if (!l)
        return -ENOMEM;
    l->clients = -1;
    l->hooks_end = &l->hooks;
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
    if (l->lws)
        lws_context_destroy(l->lws);
    if (l->clients >= 0)
        close(l->clients);
    sd_event_unref(l->event);
    free(l);
}

struct sd_event *loop_event(struct loop *l)
{
    return l->event;
}

struct lws_context *loop_lws(struct loop *l)
{
    return l->lws;
}

static void deliver_clients(struct loop *l)
{
    if (!l->clients_readable)
        return;
    l->clients_readable = false;
    l->batch_count = epoll_wait(l->clients, l->batch, BATCH, 0);
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
    lws_service(l->lws, r > 0 ? -1 : 0); /* -1: does not wait; 0: waits as long as it takes */
    deliver_clients(l);
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

void loop_wake(struct loop *l)
{
    lws_cancel_service(l->lws);
}

int loop_source_add(struct loop *l, struct loop_source *s, int fd, uint32_t events)
{
    struct epoll_event e = {.events = events, .data.ptr = s};

    if (epoll_ctl(l->clients, EPOLL_CTL_ADD, fd, &e) < 0)
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
    if (epoll_ctl(l->clients, EPOLL_CTL_MOD, s->fd, &e) < 0)
        return -errno;
    s->events = events;
    return 0;
}

void loop_source_remove(struct loop *l, struct loop_source *s)
{
    if (s->fd < 0)
        return;
    epoll_ctl(l->clients, EPOLL_CTL_DEL, s->fd, NULL);
    s->fd = -1;
    s->events = 0;
    for (int i = l->batch_at; i < l->batch_count; i++)
        if (l->batch[i].data.ptr == s)
            l->batch[i].data.ptr = NULL;
}

void loop_hook_add(struct loop *l, struct loop_hook *h)
{
    h->next = NULL;
    *l->hooks_end = h;
    l->hooks_end = &h->next;
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
    if (!*at)
        l->hooks_end = at;
}

static int64_t read_ms(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/*
 * Read at the first use in a turn, which is after the poll: lws_service forgets nothing by itself, but what
 * it calls before it polls (its timers) does not ask for the time.
 */
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
