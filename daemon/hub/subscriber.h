/*
 * A subscriber: a position in the ring. It says what should be written to its socket next and is told how
 * much of that went; it does no I/O and owns no queue. Pure.
 */
#ifndef IMD_SUBSCRIBER_H
#define IMD_SUBSCRIBER_H

#include "filter.h"
#include "ring.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

struct subscriber {
    uint64_t cursor; /* ordinal of the next line */
    size_t offset;   /* bytes of that line that are already written */
    uint32_t kinds;  /* bit n: enum event_kind n; 0: not subscribed */
    struct filter *filter;

    /* Fed from the store: its cursor means nothing, and what comes into the ring does not concern it yet. */
    bool parked;

    /* What goes before all else: what is left of a line that the ring dropped, or a page from the store. */
    struct ring_block *rest;
    size_t rest_at;
    uint64_t rest_of;    /* the ordinal of the line that it was taken from; UINT64_MAX: of a page */
    uint32_t rest_lines; /* that end in it */
    bool rest_is_page;   /* it begins with a whole line, and so may be dropped before it is begun */

    /* Seqs of the first and last event that cannot be delivered, and why; 0: none. */
    uint64_t gap_from, gap_to;
    char gap_reason[EVENT_GAP_REASON_MAX];
    bool status_missed, outbox_missed;
};

void subscriber_deinit(struct subscriber *s); /* safe to call twice */

/* What it is told that it missed; told, it is forgotten. */
enum subscriber_missed { MISSED_EVENTS, MISSED_OUTBOX, MISSED_STATUS };
void subscriber_told(struct subscriber *s, enum subscriber_missed what);

/*
 * Begins at the ring's head; one that is subscribed already goes on from where it is, with what it asks for
 * now. A half-written line will be finished. Takes the filter over (NULL: all). 0 or -ENOMEM: nothing has
 * changed, the filter is still the caller's.
 */
int subscriber_start(struct subscriber *s, const struct ring *r, uint32_t kinds, struct filter *filter);

/* No further line; one that is half written is finished all the same. */
void subscriber_stop(struct subscriber *s);

/*
 * Out of the ring, to be fed; a half-written line will be finished, of a page the lines that are not begun
 * are dropped. 0 or -ENOMEM: nothing has changed.
 */
int subscriber_park(struct subscriber *s, const struct ring *r);
/* While parked and nothing is left of what it was fed before: takes the page over. */
void subscriber_feed(struct subscriber *s, struct ring_block *page, uint32_t lines);
/* Back into the ring, at this ordinal. */
void subscriber_join(struct subscriber *s, uint64_t ordinal);

/* What to write next, in order: the rest of a line, the client's own bytes, further lines. */
#define DELIVERY_VECTORS 64
#define DELIVERY_BYTES \
    (256u << 10) /* lines beyond the first are added up to this: more than what one read brings */
struct delivery {
    struct iovec iov[DELIVERY_VECTORS];
    unsigned count;
    size_t total, rest, own; /* bytes: all, of the rest, of the client's own */
    uint32_t rest_lines;
    uint64_t end;     /* the cursor once all of it is written */
    uint64_t run_end; /* where in the ring the last line ends */
    uint32_t lines;   /* that are finished then */
};
void subscriber_gather(struct subscriber *s, const struct ring *r, const char *own, size_t own_len,
                       struct delivery *d);

/* `n` bytes of it were written. Returns how many of them were the client's own; *lines is how many were
 * finished. */
size_t subscriber_advance(struct subscriber *s, const struct ring *r, const struct delivery *d, size_t n,
                          uint32_t *lines);

/*
 * The ring is about to drop the entry at the cursor: moves the cursor to `to`, keeps what is left of a
 * half-written line and notes what is missed, and counts it. 0 or -ENOMEM (then the client must be closed:
 * its stream is torn).
 */
int subscriber_overtake(struct subscriber *s, struct ring *r, uint64_t to, uint64_t *missed);

/* The seq behind which it goes on; `last` is the one given last. */
uint64_t subscriber_seq(const struct subscriber *s, const struct ring *r, uint64_t last);

/* In the middle of a line, or of a page: nothing else may be written now. */
static inline bool subscriber_mid_line(const struct subscriber *s)
{
    return s->offset || s->rest;
}

/* Is there anything of the ring to be written? May skip lines that do not concern it. */
bool subscriber_waiting(struct subscriber *s, const struct ring *r);

#endif
