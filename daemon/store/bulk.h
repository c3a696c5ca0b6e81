/*
 * Bulk: where the lines of large appends go: those of a flood, and a very large one. What is in the database
 * is written twice, to the log and at a checkpoint, page by page; what is in a file of its own is written
 * once, from where it is. The files hold nothing but bytes: what lies where stands in the rows of segments,
 * which are written behind them. So what a crash or a rollback leaves in a file is nothing that a row names;
 * it is overwritten or removed.
 *
 * A table has each file's size and the last number in it. Files are filled and removed in the order of their
 * numbers. They are opened through SQLite's VFS, whose errors and syncs (the folder's too) they share.
 * Functions that return int give SQLite's result code, or DATABASE_UNREADABLE. Store thread only.
 */
#ifndef IMD_BULK_H
#define IMD_BULK_H

#include "database.h"

#include <stddef.h>
#include <stdint.h>

#define BULK_MIN (128u << 10)       /* bytes of an append; smaller ones are a few pages, and one sync less */
#define BULK_FILE_MAX (64ull << 20) /* no append is begun in a file that has as much */
#define BULK_SHARE 16               /* … or this share of what the history may take */

enum bulk_statement { BULK_ALL, BULK_SET, BULK_DROP, BULK_STATEMENTS };

struct bulk_file {
    uint64_t number; /* 0: none is open */
    char *path;      /* SQLite wants it as long as the file is open */
    sqlite3_file *handle;
};

static inline uint64_t bulk_file_max(uint64_t history_max) /* 0: no limit */
{
    return history_max && history_max / BULK_SHARE < BULK_FILE_MAX ? history_max / BULK_SHARE : BULK_FILE_MAX;
}

struct bulk {
    struct database *database;
    sqlite3_stmt *statements[BULK_STATEMENTS];
    struct bulk_file out, in;
    uint64_t number, end;      /* the newest file, and how far it is filled */
    uint64_t lowest, unlinked; /* the oldest that is needed; all below this are gone */
    uint64_t total;            /* bytes of all */
    uint64_t file_max;         /* of one */
    bool unsynced;
};

/* Where something is. */
struct bulk_place {
    uint64_t number, at;
};

int bulk_open(struct bulk *b, struct database *d); /* removes files that are in no row */
void bulk_close(struct bulk *b);
int bulk_refresh(struct bulk *b); /* what the table says, after a rollback */

/* Whether an append is not too large a part of what the history may take: a file is removed as a whole. */
static inline bool bulk_has_room_for(const struct bulk *b, size_t size)
{
    return size <= b->file_max;
}

/*
 * Within a transaction: room for `size` bytes, of events up to number `last`; then its writes, and a sync
 * before the commit. SQLITE_CANTOPEN: there can be no file now, and nothing was changed.
 */
int bulk_reserve(struct bulk *b, size_t size, uint64_t last, struct bulk_place *out);
int bulk_write(struct bulk *b, uint64_t at, const void *bytes, size_t size);
int bulk_sync(struct bulk *b);

/* SQLITE_NOTFOUND: it is not there, so it is damaged. DATABASE_UNREADABLE: not now. */
int bulk_read(struct bulk *b, struct bulk_place p, void *to, size_t size);

/* Of files that have nothing behind number `last`: their rows, and after the commit the files themselves. */
int bulk_drop(struct bulk *b, uint64_t last);
void bulk_sweep(struct bulk *b);

#endif
