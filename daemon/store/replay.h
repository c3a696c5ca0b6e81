/*
 * Replay: carries out a STORAGE_READ. Store thread only; within a transaction of the caller's.
 *
 * With `gaps` every segment on the way is read and checked, so that what is missing is told. Without, blocks
 * are passed over by their times and values. All bytes that are handed out were checked.
 */
#ifndef IMD_REPLAY_H
#define IMD_REPLAY_H

#include "block.h"
#include "history.h"

enum replay_statement { REPLAY_UP, REPLAY_DOWN, REPLAY_HEAD, REPLAY_LINES, REPLAY_STATEMENTS };

#define REPLAY_BAD_TOLD 16

struct replays {
    struct history *history;
    struct blocks *blocks;
    sqlite3_stmt *statements[REPLAY_STATEMENTS];
    struct segment_buffer buffer;
    uint64_t bad[REPLAY_BAD_TOLD]; /* damaged segments that are in the log already */
    unsigned bad_count;
    bool kept_off; /* the history is off: what is missing was never to be kept */
};

int replays_open(struct replays *p, struct history *h, struct blocks *b);
void replays_close(struct replays *p);
void replays_deinit(struct replays *p);

/*
 * Fills what r is answered with; SQLite's result code. `waiting` are appends, in order, that could not be
 * written yet: they are read as if they had been.
 */
int replay(struct replays *p, struct storage_read *r, struct storage_append *const *waiting, unsigned count);
void replay_discard(struct storage_read *r); /* frees what r was answered with */

#endif
