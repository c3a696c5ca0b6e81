/*
 * The database file: its folder and lock, opening, schema, transactions, and what SQLite's complaints mean.
 * Functions that return int give SQLite's result code (SQLITE_OK is 0), except where said. Store thread only.
 */
#ifndef IMD_DATABASE_H
#define IMD_DATABASE_H

#include <sqlite3.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Beside SQLite's codes. */
#define DATABASE_NEWER 1000      /* made by a newer imd */
#define DATABASE_UNREADABLE 1001 /* a file beside the database cannot be read now */

#define DATABASE_LINES "lines-" /* how the names of those files begin (bulk.h) */

struct database {
    char *folder, *path;
    int lock;         /* -1: not ours */
    sqlite3 *handle;  /* NULL: not open */
    char detail[160]; /* the last complaint, for people */
    sqlite3_stmt *begin, *begin_reading, *commit, *rollback, *pages, *free_pages, *get, *set;
};

int database_init(struct database *d, const char *folder); /* 0, -ENOMEM */
void database_deinit(struct database *d);                  /* closes, and lets go of the lock */

/* Makes the folder where it is missing and takes its lock. 0; -EBUSY: another imd has it; other -errno. */
int database_lock(struct database *d);

/* Opens the file or makes it. The lock must be held. Of what fails only a damaged file stays open. */
int database_open(struct database *d);
void database_close(struct database *d); /* twice is fine */

/*
 * What a result code means for the work at hand: it fails alone; the transaction fails; likewise, and the
 * handle is not to be trusted any more; the file is damaged.
 */
enum fault { FAULT_NONE, FAULT_ALONE, FAULT_TRANSACTION, FAULT_HANDLE, FAULT_CORRUPT, FAULT_NEWER };
enum fault database_fault(int rc);
void database_complain(struct database *d,
                       int rc); /* fills detail; before anything else is asked of SQLite */

/* Renames a damaged file (which must be closed) so that a new one can be made; says so. 0, -errno. */
int database_set_aside(struct database *d);
/* The number that a damaged but open file says was reserved; 0: it cannot be known. */
uint64_t database_salvage_reserved(struct database *d);

int database_begin(struct database *d);         /* to write */
int database_begin_reading(struct database *d); /* one view of it all */
int database_commit(struct database *d);
void database_rollback(struct database *d);
int database_size(struct database *d, uint64_t *bytes, uint64_t *used); /* used: without free pages */

/* ---- Statements ---- */

/* Prepares sql[0 .. count-1] (out: NULLs, or what was prepared before); those that were prepared are
 * finalised by database_finalize, whatever it gives.
 */
int database_prepare(struct database *d, const char *const *sql, unsigned count, sqlite3_stmt **out);
void database_finalize(sqlite3_stmt **statements, unsigned count);

static inline void bind_int(sqlite3_stmt *s, int at, int64_t value)
{
    sqlite3_bind_int64(s, at, value);
}

static inline void bind_seq(sqlite3_stmt *s, int at, uint64_t value)
{
    sqlite3_bind_int64(s, at, (int64_t)value);
}

/* The bytes must stay until the statement is reset. Never NULL; what is too large fails as NOT NULL. */
static inline void bind_bytes(sqlite3_stmt *s, int at, const void *bytes, size_t len)
{
    sqlite3_bind_blob64(s, at, len ? bytes : "", len, SQLITE_STATIC);
}

static inline uint64_t column_seq(sqlite3_stmt *s, int at)
{
    return (uint64_t)sqlite3_column_int64(s, at);
}

int statement_run(sqlite3_stmt *s); /* that gives no rows; resets it */
int statement_row(sqlite3_stmt *s); /* SQLITE_ROW; SQLITE_DONE, or an error: it is reset then */
/* The first column of the first row, or `none`. Resets it. */
int statement_int(sqlite3_stmt *s, int64_t none, int64_t *out);

/* ---- Meta ---- */

/* `none` where there is no such key; SQLITE_CORRUPT when its checksum is wrong. */
int database_get(struct database *d, const char *key, uint64_t none, uint64_t *out);
int database_set(struct database *d, const char *key, uint64_t value);

#endif
