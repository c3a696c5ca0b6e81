/* What the files of this room share: the hub itself. No other room sees it. */
#ifndef IMD_HUB_STATE_H
#define IMD_HUB_STATE_H

#include "client.h"
#include "hub.h"
#include "journal.h"
#include "loading.h"
#include "loop.h"
#include "reading.h"
#include "passed.h"
#include "ring.h"
#include "scan.h"
#include "storage.h"
#include "user.h"

#include <stdbool.h>
#include <stdint.h>

struct sd_event_source;

/* What goes to every subscriber that wants all of these kinds and has come as far: gathered once. */
struct shared_delivery {
    bool valid; /* within one flush */
    uint64_t cursor, head;
    uint32_t kinds;
    struct delivery delivery;
};

/* X(member, name in `stats`) */
#define HUB_COUNTERS(X)                                                                                 \
    X(accepted, "accepted") /* clients */                                                               \
    X(resumed, "resumed")   /* clients of the process before */                                         \
    X(refused, "refused")   /* clients over MaxClients or MaxClientsPerUser */                          \
    X(requests, "requests")                                                                             \
    X(errors, "errors")         /* requests answered by an error */                                     \
    X(events, "events")         /* lines that went into the ring */                                     \
    X(deliveries, "deliveries") /* lines that were written to a subscriber, whole */                    \
    X(delivered_bytes, "deliveredBytes")                                                                \
    X(flushes, "flushes")          /* writes to clients */                                              \
    X(drops, "drops")              /* events that a subscriber missed */                                \
    X(gaps, "gaps")                /* GAPs that told so */                                              \
    X(stalled, "stalled")          /* clients disconnected for StallTimeout */                          \
    X(pauses, "pauses")            /* times the server was not read for a slow subscriber's sake … */ \
    X(store_pauses, "storePauses") /* … for the disk's sake */                                        \
    X(replays, "replays")          /* subscribers that were fed from the store */                       \
    X(pages, "pages")              /* that they were fed with */                                        \
    X(files, "files")              /* files that were read into messages */

struct hub_counters {
#define COUNTER_MEMBER(member, name) uint64_t member;
    HUB_COUNTERS(COUNTER_MEMBER)
#undef COUNTER_MEMBER
};

/* Buffers for lines that are read. */
struct hub_lines {
    struct line_memory memory; /* its first member */
    struct arena *arena;
};

struct hub {
    struct hub_options options;
    struct loop *loop;
    struct link link;
    struct link_listener listener;
    struct storage storage;
    struct storage_listener storage_listener;
    struct loop_hook hook;
    struct arena *arena; /* see kept.h; NULL: nothing outlives the process */
    struct fdstore *fdstore;
    struct kept *kept;
    struct hub_lines lines;
    uint32_t slot_hint;
    unsigned kept_count, kept_max;   /* clients that are kept */
    struct inheritance *inheritance; /* until hub_resume; NULL: none */
    bool leaving;                    /* nothing more is read: the next process will */
    struct client *newcomers;        /* not stored yet, the oldest first; doubly linked */
    struct sd_event_source *newcomer_timer;
    struct shared_delivery shared;
    struct journal journal;
    struct storage_reserve reserve; /* the request under way, if reserving */
    bool reserving;
    uint64_t reserved; /* numbers up to this may be given to events: none of them was before a crash */
    struct scan scan;  /* of the request being handled */
    struct line_spare line_spare;
    struct reply_spares reply_spares;
    size_t lead;                       /* bytes before the body of the event being written */
    uint64_t last_status, last_outbox; /* ordinals of the last line of these kinds; UINT64_MAX: none yet */

    struct client *clients;   /* doubly linked */
    struct client *dirty;     /* with replies to write at the end of this turn */
    struct client *graveyard; /* closed in this turn; freed at its end */
    int fds_max;              /* RLIMIT_NOFILE */
    struct readings readings;
    struct passed *passed;    /* file descriptors of lines; doubly linked */
    struct loading *loadings; /* doubly linked */
    struct client *starved;   /* their replay waits for room, the longest first; doubly linked */
    size_t page_bytes;        /* of replays */
    unsigned page_count, pages_reading;
    unsigned client_count, throttled_count;
    struct users users;

    struct call *calls_free;
    size_t calls_max;
    unsigned stored_calls; /* of them wait for the store */
    size_t stored_bytes;   /* of their messages */

    struct sd_event_source *accept_source, *accept_timer, *stall_timer, *pause_timer, *journal_timer;
    bool paused;             /* for a slow subscriber */
    bool store_full;         /* the store is behind */
    uint64_t pause_again_ms; /* no pause before this */
    bool published;          /* something new is in the ring */
    struct hub_counters counters;
};

/* Of an answer that is gathered from the store; a single longer event is given all the same. */
#define ANSWER_BYTES_MAX (1u << 20)

/* Requests to the store that clients wait for. From HIGH on those who make them are not read. */
#define STORED_CALLS_MAX 1024
#define STORED_CALLS_HIGH 512
#define STORED_BYTES_HIGH (64u << 20)
#define STORED_USER_HIGH (STORED_CALLS_HIGH / 2) /* of one user: its clients are not read */

static inline bool hub_store_is_behind(const struct hub *h)
{
    return h->stored_calls >= STORED_CALLS_HIGH || h->stored_bytes >= STORED_BYTES_HIGH;
}

/* One-shots on the loop's clock; fired is given the hub. */
typedef int (*hub_timer_fired)(struct sd_event_source *s, uint64_t usec, void *hub);
int hub_timer_set(struct hub *h, struct sd_event_source **s, uint64_t at_ms, hub_timer_fired fired);
bool hub_timer_armed(struct sd_event_source *s);

/* admission.c */
/* A client for this connection, which is taken over; kept as in client_new. NULL: it was closed. */
struct client *hub_add_client(struct hub *h, int fd, struct kept_client *kept);
void hub_client_gone(struct hub *h, struct client *c);  /* takes it off all lists; freed at the turn's end */
void hub_store_client(struct hub *h, struct client *c); /* it is worth being kept, see kept.h */

/* hub.c */
unsigned hub_subscribers(const struct hub *h);
void hub_write_stats(struct hub *h, struct json_writer *w);
void hub_mark_dirty(struct hub *h, struct client *c);
void hub_watch_stall(struct hub *h, const struct client *c);

/* A whole line, the same whether it goes into the ring or to one client only. */
void hub_write_status_event(struct hub *h, struct json_writer *w);

/* Members of a status, each with its comma. */
void hub_write_storage(struct hub *h, struct json_writer *w, bool whole);

/* `"messageId":…,"state":…`, and the server's code if there is one. */
void hub_write_outbox_state(struct json_writer *w, const struct outbox_entry *e);

/* A message in the outbox has changed: an event. */
void hub_outbox_changed(struct hub *h, const struct outbox_entry *e);

/* A waiting request of a client: which, and under which id it is to be answered. NULL: too many. */
struct call *hub_call_new(struct hub *h, struct client *c, const char *id, size_t id_len);
void hub_call_free(struct call *call);

#endif
