/*
 * The history: appends become segments and blocks, old ones go. Reading is reader.h, searching block.h.
 * Functions that return int give SQLite's result code. Store thread only; within a transaction of the
 * caller's.
 */
#ifndef IMD_HISTORY_H
#define IMD_HISTORY_H

#include "block.h"
#include "database.h"
#include "segment.h"

#include <stdbool.h>
#include <stdint.h>

enum history_statement {
    HISTORY_ADD,
    HISTORY_HEAD,
    HISTORY_OLDEST,
    HISTORY_NEWEST,
    HISTORY_EDGE,
    HISTORY_DROP,
    HISTORY_DROP_TERMS,
    HISTORY_DROP_SPANS,
    HISTORY_DROP_BLOCKS,
    HISTORY_STATEMENTS
};

struct history {
    struct database *database;
    struct bulk *bulk;
    struct blocks *blocks;
    sqlite3_stmt *statements[HISTORY_STATEMENTS];
    struct segment_buffer buffer;
    uint64_t oldest; /* seq; 0: there is nothing */
    uint64_t last;   /* the highest number that a segment covers; 0: none was ever kept */
    uint64_t pruned; /* the highest number that was pruned */
};

/* After an error too, history_close. */
int history_open(struct history *h, struct database *d, struct bulk *b, struct blocks *blocks);
void history_close(struct history *h); /* the buffer is kept */
void history_deinit(struct history *h);

/* What oldest, last and pruned are, after a rollback. */
int history_refresh(struct history *h);

/*
 * SQLITE_CONSTRAINT: numbers that are not above those that are there, but for exactly the same ones, which is
 * how a commit looks that failed and was carried out all the same.
 */
int history_append(struct history *h, const struct storage_event *events, uint32_t count, const char *bytes);
int history_add_gap(struct history *h, uint64_t from, uint64_t to, const char *reason, int64_t time_ms);

/* Drops a few of the oldest: those that ended before old_ms (INT64_MIN: none), or, of any age, those that
 * make up `excess` bytes (0: none). *events: how many numbers went. */
int history_prune(struct history *h, int64_t old_ms, int64_t now_ms, uint64_t excess, uint64_t *events);
/* When the oldest segment ended; INT64_MAX: there is none. */
int history_oldest_ms(struct history *h, int64_t *out);

#endif
