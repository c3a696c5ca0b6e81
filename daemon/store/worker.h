/*
 * The worker: the store's thread, and what it shares with the loop's side, which is two mailboxes and a few
 * values under a mutex.
 */
#ifndef IMD_WORKER_H
#define IMD_WORKER_H

#include "storage.h"
#include "store.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct mailbox;

/*
 * How much may be under way: what may be refused, and what its askers bound (see storage.h; with some room).
 * A post back never fails, since a mailbox holds all of it and the notes.
 */
#define WORKER_REFUSABLE 1024
#define WORKER_REQUESTS \
    (WORKER_REFUSABLE + 64 /* appends */ + 8192 /* finishes */ + 16 /* reserves, takes \
                                                                                         */)
#define WORKER_NOTES 8

#define WORKER_EXPIRED 64 /* messages told at a time */

/* Notes go through the mailboxes too, beside the requests; each is in one of them or with one side. */
enum worker_note {
    WORKER_STOP = STORAGE_ATTACH + 1, /* to the worker, last of all */
    WORKER_NUDGE,                     /* to the worker: the options are new */
    WORKER_CHANGED,                   /* to the loop, which gives it back: report.failed is not what it was */
    WORKER_EXPIRED_NOTE,              /* likewise: messages have expired */
    WORKER_ALIVE,                     /* to the worker: only to be taken */
};

struct worker_expired {
    struct storage_request note;
    unsigned count;
    struct outbox_entry entries[WORKER_EXPIRED];
};

struct worker_port {
    struct mailbox *in, *out;
    struct storage_request stop, nudge, changed, alive;
    struct worker_expired expired;
    uint64_t stop_seq; /* before stop is posted */

    atomic_uint_fast64_t beats; /* steps of the worker so far */
    atomic_bool asked;          /* alive is posted, and not taken yet */

    pthread_mutex_t lock; /* for report and options */
    struct storage_report report;
    struct store_options options; /* folder stays as it is */

    /* Of the first try to open, published by `opened`. Negative: the thread has ended. */
    sem_t opened;
    int result;
    uint64_t seq, stored;
    char why[160];
};

void *worker_run(void *shared); /* struct worker_port */

#endif
