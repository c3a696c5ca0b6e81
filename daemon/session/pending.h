/*
 * Pending sends by messageId, and the memory of those that were answered lately (so that a duplicate ack is
 * known as one, and a late ack too). There are two kinds: direct sends, which wait until their deadline, and
 * messages of the outbox, which have none; each has a room of its own, so that neither eats the other's.
 * All entries come from one pool, made at the start: no malloc per send. Pure; the clock is handed in.
 */
#ifndef IMD_PENDING_H
#define IMD_PENDING_H

#include "link.h"

#include <stddef.h>
#include <stdint.h>

#define PENDING_NO_DEADLINE UINT64_MAX /* a message of the outbox */

enum pending_state {
    PENDING_WAITING,  /* sent, not answered */
    PENDING_UNKNOWN,  /* the caller was told `unknown`; an ack may still come */
    PENDING_ANSWERED, /* acked or rejected: what comes now is a duplicate */
};

struct pending_entry {
    struct pending_entry *chain;         /* same bucket, or the free list */
    struct pending_entry *older, *newer; /* direct and waiting: by deadline; else: by age */
    struct link_call *call;              /* NULL: nobody wants to know any more */
    uint64_t deadline_ms, sent_us;
    uint32_t hash;
    uint16_t id_len;
    uint8_t state; /* enum pending_state */
    char id[MESSAGE_ID_MAX];
};

struct pending_list {
    struct pending_entry *oldest, *newest;
};

struct pending {
    struct pending_entry *pool, *free;
    size_t used; /* entries of the pool that were ever taken: memory is touched only when it is needed */
    struct pending_entry **buckets;
    uint32_t mask;
    uint32_t seed;
    size_t waiting_max, waiting_count; /* direct sends */
    size_t queued_max, queued_count;   /* messages of the outbox that wait */
    struct pending_list waiting;       /* direct; the earliest deadline is oldest */
    struct pending_list queued;
    struct pending_list finished; /* unknown and answered; the oldest is forgotten first */
};

/* Room for so many waiting sends of each kind and as many remembered ones. 0 or -ENOMEM. */
int pending_init(struct pending *p, size_t waiting_max, size_t queued_max, uint32_t seed);
void pending_deinit(struct pending *p); /* safe to call twice */

struct pending_entry *pending_find(const struct pending *p, const char *id, size_t len);

/*
 * An id that ended as unknown may be sent again: that is how a caller retries. One that waits, or was
 * answered lately, may not: its ack could not be told from the first one's. A message of the outbox may
 * follow one that was answered: whichever of the two answers comes, the server has had the message under this
 * id.
 */
enum pending_result { PENDING_ADDED = 0, PENDING_FULL, PENDING_KNOWN };
enum pending_result pending_add(struct pending *p, const char *id, size_t len, struct link_call *call,
                                uint64_t deadline_ms, uint64_t sent_us);

/*
 * Waiting -> unknown or answered, or unknown -> answered. The entry stays findable until it is forgotten. A
 * message of the outbox that becomes unknown keeps its call: a late answer ends it as well as one in time.
 */
void pending_finish(struct pending *p, struct pending_entry *e, enum pending_state state);

/* Its caller does not wait any more. */
void pending_abandon(struct pending *p, struct pending_entry *e);

/* The direct send that waits with the earliest deadline, or NULL. */
struct pending_entry *pending_first(const struct pending *p);

/* The message of the outbox that waits longest, or NULL. */
struct pending_entry *pending_first_queued(const struct pending *p);

#endif
