/* What the files of this room share: the hub itself. No other room sees it. */
#ifndef IMD_HUB_STATE_H
#define IMD_HUB_STATE_H

#include "client.h"
#include "hub.h"
#include "loop.h"
#include "ring.h"
#include "scan.h"

#include <stdbool.h>
#include <stdint.h>

struct sd_event_source;

/* X(member, name in `stats`) */
#define HUB_COUNTERS(X)                                                              \
    X(accepted, "accepted") /* clients */                                            \
    X(refused, "refused")   /* clients over MaxClients or MaxClientsPerUser */       \
    X(requests, "requests")                                                          \
    X(errors, "errors")         /* requests answered by an error */                  \
    X(events, "events")         /* lines that went into the ring */                  \
    X(deliveries, "deliveries") /* lines that were written to a subscriber, whole */ \
    X(delivered_bytes, "deliveredBytes")                                             \
    X(flushes, "flushes") /* writes to clients */                                    \
    X(drops, "drops")     /* events that a subscriber missed */                      \
    X(gaps, "gaps")       /* GAPs that told so */                                    \
    X(stalled, "stalled") /* clients disconnected for StallTimeout */                \
    X(pauses, "pauses")   /* times the server was not read for a slow subscriber's sake */

struct hub_counters {
#define COUNTER_MEMBER(member, name) uint64_t member;
    HUB_COUNTERS(COUNTER_MEMBER)
#undef COUNTER_MEMBER
};

/* How many clients of one user there are. */
struct hub_user {
    uid_t uid;
    unsigned clients;
};

struct hub {
    struct hub_options options;
    struct loop *loop;
    struct link link;
    struct link_listener listener;
    struct loop_hook hook;
    struct ring ring;
    struct scan scan; /* of the request being handled */
    uint64_t seq;     /* the last one given to an event */
    size_t lead;      /* bytes before the body of the event being written */

    struct client *clients;   /* doubly linked */
    struct client *dirty;     /* with replies to write at the end of this turn */
    struct client *graveyard; /* closed in this turn; freed at its end */
    int fds_max;              /* RLIMIT_NOFILE */
    unsigned client_count, throttled_count;
    struct hub_user *users;
    size_t user_count, user_capacity;

    struct call *calls_free, *calls_pool;
    size_t calls_used, calls_max;

    struct sd_event_source *accept_source, *accept_timer, *stall_timer, *pause_timer;
    bool paused;
    uint64_t pause_again_ms; /* no pause before this */
    bool published;          /* something new is in the ring */
    struct hub_counters counters;
};

/* hub.c */
unsigned hub_subscribers(const struct hub *h);
void hub_write_stats(struct hub *h, struct json_writer *w);
void hub_client_gone(struct hub *h, struct client *c); /* takes it off all lists; freed at the turn's end */
void hub_mark_dirty(struct hub *h, struct client *c);
void hub_watch_stall(struct hub *h, const struct client *c);

/* A whole line, the same whether it goes into the ring or to one client only. */
void hub_write_status_event(struct hub *h, struct json_writer *w);

/* A waiting request of a client: which, and under which id it is to be answered. NULL: too many. */
struct call *hub_call_new(struct hub *h, struct client *c, const char *id, size_t id_len);
void hub_call_free(struct call *call);

#endif
