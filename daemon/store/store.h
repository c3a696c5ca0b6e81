/*
 * The store, as the loop sees it: a thread that owns the database, two mailboxes, and the storage table that
 * hub and session use. Loop thread only.
 */
#ifndef IMD_STORE_H
#define IMD_STORE_H

#include "storage.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;
struct store;

struct store_options {
    const char *folder; /* made, with its parents, where it is missing */
    bool history;       /* false: events are not kept; what was kept stays readable until it is pruned */
    uint64_t history_max_age_ms, history_max_bytes; /* 0: no limit */
    unsigned outbox_max;                            /* messages that are not finished */
    uint64_t outbox_keep_ms;                        /* how long a finished one is remembered */
    uint64_t attachments_max;                       /* bytes of all files in the attachment folder */
    /*
     * What outlived the process before: the last number that it gave, and the first event whose line is still
     * there, and will be appended again if the history has it not. 0: nothing did; then what may have been
     * given and is not on disk is a GAP.
     */
    uint64_t given, at_hand;
};

/*
 * Starts the thread and waits until it has tried to open the database. 0, also when the disk refuses (then
 * report.failed; it tries again by itself). Negative errno, with a sentence in why, where starting would be
 * wrong: -EBUSY: another imd uses the folder; -ENOTSUP: the database was made by a newer imd; no memory, no
 * thread. *seq: the last number that was given so far; *stored: that is in the history. The options' folder
 * is copied.
 */
int store_new(struct store **out, struct loop *loop, const struct store_options *o,
              const struct storage_listener *l, uint64_t *seq, uint64_t *stored, char *why, size_t n);

/*
 * Carries out all that waits, notes a clean end at seq, closes, joins; `done`s are called before it returns.
 * They may not post: that is refused with -EAGAIN, whatever it is. NULL is fine.
 */
void store_free(struct store *s, uint64_t seq);

void store_configure(struct store *s,
                     const struct store_options *o); /* but for folder and history, which stay */
bool store_idle(const struct store *s);              /* nothing was posted that is not done */
struct storage store_storage(struct store *s);

#endif
