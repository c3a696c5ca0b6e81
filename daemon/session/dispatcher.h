/*
 * The dispatcher sends what the outbox holds: it takes messages from the store in the order of their rows,
 * gives them to the session, again after a lost link or an answer that did not come, and tells the store how
 * each ended. Every message that it took is finished exactly once, in this run or a later one. Pure: no I/O,
 * the clock is handed in. Loop thread only.
 */
#ifndef IMD_DISPATCHER_H
#define IMD_DISPATCHER_H

#include "link.h"
#include "session.h"
#include "storage.h"

#include <stdbool.h>
#include <stdint.h>

/* Messages that it knows at a time, whatever they wait for; session_options.queued_max must be as large. */
#define DISPATCHER_ITEMS 4096

struct dispatcher_options {
    unsigned window;         /* messages on the wire without an answer */
    uint64_t ack_timeout_ms; /* then a message is sent again, after a backoff */
};

struct dispatcher;

/* The storage table is copied; session and listener are the caller's. 0 or -ENOMEM. */
int dispatcher_new(struct dispatcher **out, const struct dispatcher_options *o, struct session *s,
                   const struct storage *st, const struct link_listener *l);
/* NULL is fine. The store must be gone, or dispatcher_idle; the session is given nothing any more. */
void dispatcher_free(struct dispatcher *d);
void dispatcher_configure(struct dispatcher *d, const struct dispatcher_options *o);

/* A message was posted to the outbox: takes it at once when there is room. */
void dispatcher_queued(struct dispatcher *d, struct session_time now);

/* Once in each turn of the loop, after the session's. dispatcher_deadline: when it is needed without any
 * other cause; UINT64_MAX: it is not. */
void dispatcher_turn(struct dispatcher *d, struct session_time now);
uint64_t dispatcher_deadline(const struct dispatcher *d);

/* The stop of the daemon: nothing is taken or sent any more; answers that still come are recorded. */
void dispatcher_stop(struct dispatcher *d);
bool dispatcher_idle(const struct dispatcher *d); /* nothing is with the store, or has to go there */

void dispatcher_write_stats(const struct dispatcher *d, struct json_writer *w); /* as session_write_stats */

#endif
