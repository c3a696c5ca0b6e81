/*
 * The journal: what hands the ring's events to the store. It is one more cursor in the ring: at the end of a
 * turn, behind the subscribers, it copies the new lines into a batch; a line in a block of its own is not
 * copied but shared. Nothing waits for it. A batch is posted when it is full, but also when the last one was
 * posted JOURNAL_INTERVAL_MS ago, so that an event now and then is on disk at once, and hundreds a second do
 * not cost a commit each. When the store is far behind, events wait in the batch, and when that goes on, the
 * hub has the server not read (journal_is_full).
 */
#ifndef IMD_JOURNAL_H
#define IMD_JOURNAL_H

#include "storage.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hub;
struct ring_block;

#define JOURNAL_INTERVAL_MS 20

/* On its way to the store, or being filled. */
struct journal_batch {
    struct storage_append append; /* its first member */
    struct hub *hub;
    struct journal_batch *next;
    struct ring_block *block; /* what its one line lies in; NULL: bytes, below */
    bool alone;               /* made for one line */
    size_t used;
    char *bytes;
    struct storage_event events[];
};

struct journal {
    uint64_t posted_ms; /* when the last batch was */
    uint64_t cursor;    /* ordinal of the first event that was not taken over */
    struct journal_batch *spare;
    unsigned spare_count, outstanding;
    size_t outstanding_bytes;
    uint64_t lost; /* events for which there was no memory */
};

void journal_deinit(struct hub *h);

/* Takes over all that is in the ring. */
void journal_collect(struct hub *h);

/* An event that the process before had not yet on disk; in order, before all that is in the ring. */
void journal_restore(struct hub *h, const struct storage_event *e, const char *line);

/* The same, and gives it to the store, if it is time or at_once. */
void journal_post(struct hub *h, bool at_once);

/* When it will be time for what waits; UINT64_MAX: nothing waits, or for the store. */
uint64_t journal_due_ms(const struct hub *h);

/* As many batches wait as may; until journal_has_room, the server should not be read. */
bool journal_is_full(const struct hub *h);
bool journal_has_room(const struct hub *h);

#endif
