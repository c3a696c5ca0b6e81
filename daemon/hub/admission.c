/*
 * Admission: how clients come to the hub, and leave it. They are accepted up to the limits, counted for their
 * users, and given to the service manager to keep when they stay (kept.h).
 */
#include "hub.h"

#include "log.h"
#include "peer.h"
#include "request.h"
#include "state.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>
#include <unistd.h>
#include <utlist.h>

#define ACCEPT_BATCH 64
#define FDS_RESERVED 8      /* descriptors that clients may not take: the link must come back without them */
#define ACCEPT_RETRY_MS 250 /* out of descriptors or memory: not before this again */

/* ---- For want of descriptors ---- */

static int accept_retry(sd_event_source *s, uint64_t usec, void *userdata)
{
    struct hub *h = userdata;

    if (h->accept_source)
        sd_event_source_set_enabled(h->accept_source, SD_EVENT_ON);
    return 0;
}

/* Accepting was put off for want of descriptors, of which one is free now. */
static void accept_again(struct hub *h)
{
    if (!hub_timer_armed(h->accept_timer))
        return;
    sd_event_source_set_enabled(h->accept_timer, SD_EVENT_OFF);
    accept_retry(h->accept_timer, 0, h);
}

static void accept_later(struct hub *h, int error)
{
    log_limited(LOG_ERR, "cannot accept clients for now: %s", strerror(error));
    if (hub_timer_set(h, &h->accept_timer, loop_now_ms(h->loop) + ACCEPT_RETRY_MS, accept_retry) >= 0)
        sd_event_source_set_enabled(h->accept_source, SD_EVENT_OFF);
}

/* ---- Connections that outlive the process ---- */

/* One that comes and goes is not worth telling the manager; a subscriber is, at once. */
#define NEWCOMER_MS 100

static int newcomers_due(sd_event_source *s, uint64_t usec, void *userdata);

static void watch_newcomers(struct hub *h)
{
    if (h->newcomers && !hub_timer_armed(h->newcomer_timer))
        hub_timer_set(h, &h->newcomer_timer, h->newcomers->since_ms + NEWCOMER_MS, newcomers_due);
}

static void await_storing(struct hub *h, struct client *c)
{
    c->since_ms = loop_now_ms(h->loop);
    c->newcomer = true;
    DL_APPEND2(h->newcomers, c, newcomer_prev, newcomer_next);
    watch_newcomers(h);
}

static void await_no_more(struct hub *h, struct client *c)
{
    if (c->newcomer)
        DL_DELETE2(h->newcomers, c, newcomer_prev, newcomer_next);
    c->newcomer = false;
}

void hub_store_client(struct hub *h, struct client *c)
{
    await_no_more(h, c);
    kept_store(c);
}

static int newcomers_due(sd_event_source *s, uint64_t usec, void *userdata)
{
    struct hub *h = userdata;
    uint64_t now_ms = loop_now_ms(h->loop);

    while (h->newcomers && h->newcomers->since_ms + NEWCOMER_MS <= now_ms)
        hub_store_client(h, h->newcomers);
    watch_newcomers(h);
    return 0;
}

/* ---- Coming and going ---- */

void hub_client_gone(struct hub *h, struct client *c)
{
    DL_DELETE(h->clients, c);
    await_no_more(h, c);
    h->client_count--;
    users_leave(&h->users, c->user, loop_now_ms(h->loop));
    c->grave_next = h->graveyard; /* next stays, for who walks the list at this moment */
    h->graveyard = c;
    accept_again(h);
}

/* The limit that this one, which is counted already, is beyond; NULL: none. */
static const char *over_limit(struct hub *h, const struct client *c)
{
    if (c->fd >= h->fds_max - FDS_RESERVED)
        return "descriptors";
    if (h->client_count > h->options.max_clients)
        return "MaxClients";
    if (c->user->clients > h->options.max_clients_per_user)
        return "MaxClientsPerUser";
    return NULL;
}

static void refuse_client(struct hub *h, struct client *c, const char *limit)
{
    h->counters.refused++;
    request_refuse_client(c, limit);
    client_flush(c);
    client_close(c, limit);
}

static void close_unserved(struct hub *h, int fd, struct kept_client *kept)
{
    close(fd);
    if (kept)
        kept_client_free(h, kept);
}

struct client *hub_add_client(struct hub *h, int fd, struct kept_client *kept)
{
    struct ucred who = {.uid = (uid_t)-1, .gid = (gid_t)-1};
    socklen_t size = sizeof who;
    struct user *u;
    struct client *c;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size) < 0) {
        close_unserved(h, fd, kept);
        return NULL;
    }
    u = users_join(&h->users, who.uid, loop_now_ms(h->loop));
    if (!u || !(c = client_new(h, fd, who.uid, who.gid, kept))) {
        log_limited(LOG_ERR, "cannot serve a client: no memory");
        if (u)
            users_leave(&h->users, u, loop_now_ms(h->loop));
        else
            close_unserved(h, fd, kept);
        return NULL;
    }
    c->user = u;
    c->rights = peer_rights(fd, c->uid, c->gid, &h->options.access);
    DL_APPEND(h->clients, c);
    h->client_count++;
    return c;
}

static void accept_client(struct hub *h, int fd)
{
    struct client *c = hub_add_client(h, fd, NULL);
    const char *limit = c ? over_limit(h, c) : NULL;

    if (!c)
        return;
    h->counters.accepted++;
    if (limit)
        refuse_client(h, c, limit);
    else if (c->kept->slot != KEPT_NONE)
        await_storing(h, c);
}

static int accept_ready(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
    struct hub *h = userdata;

    for (unsigned i = 0; i < ACCEPT_BATCH; i++) {
        int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (client >= 0) {
            accept_client(h, client);
        } else if (errno == EAGAIN) {
            break;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            accept_later(h, errno);
            break;
        }
    }
    return 0;
}

int hub_listen(struct hub *h, int fd)
{
    return sd_event_add_io(loop_event(h->loop), &h->accept_source, fd, EPOLLIN, accept_ready, h);
}

void hub_stop_accepting(struct hub *h)
{
    h->accept_source = sd_event_source_unref(h->accept_source);
}
