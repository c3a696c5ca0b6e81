/*
 * The reader: carries out a STORAGE_READ. Store thread only; within a transaction of the caller's.
 *
 * With `gaps` every segment on the way is read and checked, so that what is missing is told. Without, blocks
 * are passed over by their times and values. All bytes that are handed out were checked.
 */
#ifndef IMD_READER_H
#define IMD_READER_H

#include "block.h"
#include "history.h"

enum reader_statement { READER_UP, READER_DOWN, READER_HEAD, READER_LINES, READER_STATEMENTS };

#define READER_BAD_TOLD 16

struct reader {
    struct history *history;
    struct blocks *blocks;
    sqlite3_stmt *statements[READER_STATEMENTS];
    struct segment_buffer buffer;
    uint64_t bad[READER_BAD_TOLD]; /* damaged segments that are in the log already */
    unsigned bad_count;
    bool kept_off; /* the history is off: what is missing was never to be kept */
};

int reader_open(struct reader *p, struct history *h, struct blocks *b);
void reader_close(struct reader *p);
void reader_deinit(struct reader *p);

/*
 * Fills what r is answered with; SQLite's result code. `waiting` are appends, in order, that could not be
 * written yet: they are read as if they had been.
 */
int reader_read(struct reader *p, struct storage_read *r, struct storage_append *const *waiting,
                unsigned count);
void reader_discard(struct storage_read *r); /* frees what r was answered with */

#endif
