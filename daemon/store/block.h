/*
 * Blocks: 64 consecutive segments each, with the times that they span and the values that occur in them, so
 * that a search looks only into segments that may have what it wants. Functions that return int give SQLite's
 * result code. Store thread only; within a transaction of the caller's.
 */
#ifndef IMD_BLOCK_H
#define IMD_BLOCK_H

#include "database.h"
#include "segment.h"

#include <stdbool.h>
#include <stdint.h>

#define BLOCK_SEGMENTS 64 /* bits of a mask */

enum block_statement {
    BLOCK_WAITING,
    BLOCK_NEWEST,
    BLOCK_SEGMENT,
    BLOCK_ADD,
    BLOCK_ADD_SPANS,
    BLOCK_ADD_TERM,
    BLOCK_AT,
    BLOCK_ABOVE,
    BLOCK_BELOW,
    BLOCK_SPANS,
    BLOCK_TERM,
    BLOCK_STATEMENTS
};

struct block_span {
    uint64_t first, last;
    int64_t time_min, time_max;
};

struct block {
    uint64_t first, last; /* the first numbers of its first and last segment */
    uint64_t before;      /* first of the block before it */
    int64_t time_min, time_max;
    uint64_t mask;  /* bit n: segment n may have what is wanted */
    uint32_t count; /* of spans; 0 when mask is */
    struct block_span spans[BLOCK_SEGMENTS];
};

struct block_terms;

struct blocks {
    struct database *database;
    sqlite3_stmt *statements[BLOCK_STATEMENTS];
    struct segment_buffer buffer;
    struct block_terms *terms; /* of the next block; kept, for the one behind it */
    struct block next;
    bool following; /* next and terms are of all segments behind the last block */
};

int blocks_open(struct blocks *b, struct database *d, struct bulk *bulk);
void blocks_close(struct blocks *b);
void blocks_deinit(struct blocks *b);

/* Segments that are in no block yet, at most `limit`. */
int blocks_waiting(struct blocks *b, unsigned limit, unsigned *out);
/* Makes the next block from what is on disk, when there are BLOCK_SEGMENTS that wait. */
int blocks_make(struct blocks *b);
/* A segment was added, which is in memory still: this makes the block that it completes. */
int blocks_add(struct blocks *b, const struct segment *s);
/* What was noted of segments up to `through` is not true any more: they went, or there was a rollback. */
void blocks_forget(struct blocks *b, uint64_t through);

/* What a search wants. */
struct block_wish {
    const struct filter *filter; /* NULL: all */
    int64_t since_ms, until_ms;
    uint32_t kinds; /* bit n: enum event_kind n */
};

/*
 * The block that has segment `first`, its mask filled; SQLITE_NOTFOUND: none has (or it is damaged). *looked:
 * how many terms were looked up.
 */
int blocks_find(struct blocks *b, uint64_t first, const struct block_wish *wish, struct block *out,
                unsigned *looked);

/* Likewise: the block before or behind `from`, with no segment between them. May be given `from` as out. */
int blocks_beside(struct blocks *b, const struct block *from, bool below, const struct block_wish *wish,
                  struct block *out, unsigned *looked);

#endif
