/*
 * The outbox: messages that wait for the server's answer, and, for a while, those that have it. Functions
 * that return int give SQLite's result code and answer a request by its error. Store thread only; within a
 * transaction of the caller's.
 *
 * Whose a message is: what was handed out in this run is the taker's; any other one is the store's to expire.
 */
#ifndef IMD_OUTBOX_H
#define IMD_OUTBOX_H

#include "database.h"
#include "storage.h"

#include <stdbool.h>
#include <stdint.h>

enum outbox_statement {
    OUTBOX_ALL,
    OUTBOX_COUNTS,
    OUTBOX_BY_ID,
    OUTBOX_ANSWERED_BY_ID,
    OUTBOX_INSERT,
    OUTBOX_BEHIND,
    OUTBOX_BY_ROW,
    OUTBOX_MARK,
    OUTBOX_REMEMBER,
    OUTBOX_DELETE,
    OUTBOX_REFUSE,
    OUTBOX_NEWEST,
    OUTBOX_NEWEST_ANSWERED,
    OUTBOX_DUE,
    OUTBOX_NEXT_DUE,
    OUTBOX_OLDEST_ANSWERED,
    OUTBOX_FORGET,
    OUTBOX_STATEMENTS
};

struct outbox {
    struct database *database;
    sqlite3_stmt *statements[OUTBOX_STATEMENTS];
    uint64_t run;      /* this run's number */
    int64_t unmarked;  /* the highest row that was handed out while nothing could be written */
    uint64_t count;    /* that are not finished */
    uint64_t answered; /* that are */
};

/* Checks every message that is not finished: SQLITE_CORRUPT when one is not what was queued. */
int outbox_open(struct outbox *o, struct database *d);
void outbox_close(struct outbox *o);
int outbox_refresh(struct outbox *o); /* count and answered, after a rollback */

int outbox_queue(struct outbox *o, struct storage_queue *r, unsigned max);
/* A QUEUE that was answered with ERROR_STORAGE, though its commit may have come through. */
int outbox_refuse(struct outbox *o, const struct outbox_entry *e);
int outbox_take(struct outbox *o, struct storage_take *r, bool reading);
void outbox_take_discard(struct storage_take *r);
int outbox_finish(struct outbox *o, struct storage_finish *r);
int outbox_cancel(struct outbox *o, struct storage_cancel *r);
int outbox_list(struct outbox *o, struct storage_list *r);
void outbox_list_discard(struct storage_list *r);

/* Finishes up to `limit` messages that are due and the store's; what became of them is in `out`. */
int outbox_expire(struct outbox *o, int64_t now_ms, struct outbox_entry *out, unsigned limit,
                  unsigned *count);
int outbox_next_due(struct outbox *o, int64_t *out); /* INT64_MAX: none */

/* Forgets a few of those that were finished before old_ms, or are more than `max`. */
int outbox_forget(struct outbox *o, int64_t old_ms, uint64_t max, unsigned *count);
int outbox_oldest_answered(struct outbox *o, int64_t *out); /* INT64_MAX: none */

#endif
