/* See bulk.h. */
#include "bulk.h"
#include "checksum.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_SEED 0x6c696e6566696c65
#define ALIGN 4096       /* an append begins in a page of its own: what is on disk is not written again */
#define PIECE (64 << 10) /* SQLite's VFS takes at most 128 KiB at a time */
#define COLUMNS "number, last, size, sum"

static const char *const sql[BULK_STATEMENTS] = {
    [BULK_ALL] = "SELECT " COLUMNS " FROM line_file ORDER BY number",
    [BULK_SET] = "INSERT INTO line_file(" COLUMNS ") VALUES(?1, ?2, ?3, ?4) "
                 "ON CONFLICT(number) DO UPDATE SET last = ?2, size = ?3, sum = ?4",
    [BULK_DROP] = "DELETE FROM line_file WHERE last <= ?1",
};

/* ---- one file ---- */

static int path_of(const struct bulk *b, uint64_t number, char **out)
{
    if (asprintf(out, "%s/" DATABASE_LINES "%" PRIu64, b->database->folder, number) >= 0)
        return SQLITE_OK;
    *out = NULL;
    return SQLITE_NOMEM;
}

static void file_close(struct bulk_file *f)
{
    if (f->handle && f->handle->pMethods)
        f->handle->pMethods->xClose(f->handle);
    free(f->handle);
    free(f->path);
    *f = (struct bulk_file){0};
}

static int file_open(struct bulk *b, struct bulk_file *f, uint64_t number, int flags)
{
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);

    file_close(f);
    int rc = path_of(b, number, &f->path);
    f->handle = calloc(1, (size_t)vfs->szOsFile);
    if (rc == SQLITE_OK && !f->handle)
        rc = SQLITE_NOMEM;
    if (rc ==
        SQLITE_OK) /* one that belongs to no database: no locks, and the first sync is the folder's too */
        rc = vfs->xOpen(vfs, f->path, f->handle, flags | SQLITE_OPEN_SUPER_JOURNAL, NULL);
    if (rc != SQLITE_OK)
        file_close(f);
    else
        f->number = number;
    return rc;
}

/* ---- opening ---- */

static uint64_t row_sum(uint64_t number, uint64_t last, uint64_t size)
{
    uint64_t row[] = {number, last, size};

    return checksum_add(FILE_SEED, row, sizeof(row));
}

static void load_row(struct bulk *b, sqlite3_stmt *row)
{
    b->number = column_seq(row, 0);
    b->end = column_seq(row, 2);
    b->total += b->end;
    b->lowest = b->lowest ? b->lowest : b->number;
}

static int load(struct bulk *b)
{
    sqlite3_stmt *s = b->statements[BULK_ALL];
    uint64_t number = b->number;
    int rc;

    b->total = b->lowest = 0;
    while ((rc = statement_row(s)) == SQLITE_ROW) {
        if (row_sum(column_seq(s, 0), column_seq(s, 1), column_seq(s, 2)) != column_seq(s, 3)) {
            sqlite3_reset(s);
            return SQLITE_CORRUPT;
        }
        load_row(b, s);
    }
    if (b->lowest == 0) { /* not again the number of a file that is to go */
        b->lowest = b->number = number + (number == 0 || b->end > 0);
        b->end = 0;
    }
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int bulk_refresh(struct bulk *b)
{
    file_close(&b->out); /* what was behind the end goes when it is opened again */
    b->unsynced = false;
    return load(b);
}

static bool is_orphan(const struct bulk *b, const char *name)
{
    uint64_t number;
    int end = 0;

    if (sscanf(name, DATABASE_LINES "%" SCNu64 "%n", &number, &end) != 1 || name[end])
        return false;
    return number < b->lowest || number > b->number || (number == b->number && b->end == 0);
}

static void remove_orphans(struct bulk *b)
{
    DIR *d = opendir(b->database->folder);

    for (struct dirent *e; d && (e = readdir(d));)
        if (is_orphan(b, e->d_name))
            unlinkat(dirfd(d), e->d_name, 0);
    if (d)
        closedir(d);
}

int bulk_open(struct bulk *b, struct database *d)
{
    b->database = d;
    int rc = database_prepare(d, sql, BULK_STATEMENTS, b->statements);
    if (rc == SQLITE_OK)
        rc = load(b);
    if (rc != SQLITE_OK)
        return rc;
    b->unlinked = b->lowest;
    remove_orphans(b);
    return SQLITE_OK;
}

void bulk_close(struct bulk *b)
{
    database_finalize(b->statements, BULK_STATEMENTS);
    file_close(&b->out);
    file_close(&b->in);
    b->unsynced = false;
}

/* ---- writing ---- */

/* Made here, so that it is ours alone. */
static int open_to_write(struct bulk *b, uint64_t number, uint64_t end)
{
    char *path;
    int rc = path_of(b, number, &path),
        fd = rc == SQLITE_OK ? open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600) : -1;

    free(path);
    if (fd < 0)
        return SQLITE_CANTOPEN;
    close(fd);
    rc = file_open(b, &b->out, number, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
    if (rc == SQLITE_OK)
        rc = b->out.handle->pMethods->xTruncate(b->out.handle, (sqlite3_int64)end);
    if (rc == SQLITE_OK)
        return rc;
    file_close(&b->out);
    return SQLITE_CANTOPEN;
}

/* The file for the next append is open. */
static int prepare(struct bulk *b)
{
    bool full = b->end >= b->file_max;
    uint64_t number = b->number + full, end = full ? 0 : b->end;

    if (b->out.number == number)
        return SQLITE_OK;
    int rc = bulk_sync(b);
    if (rc == SQLITE_OK)
        rc = open_to_write(b, number, end);
    if (rc == SQLITE_OK) {
        b->number = number;
        b->end = end;
    }
    return rc;
}

int bulk_reserve(struct bulk *b, size_t size, uint64_t last, struct bulk_place *out)
{
    sqlite3_stmt *s = b->statements[BULK_SET];
    int rc = prepare(b);

    if (rc != SQLITE_OK)
        return rc;
    *out = (struct bulk_place){b->number, (b->end + ALIGN - 1) / ALIGN * ALIGN};
    b->total += out->at + size - b->end;
    b->end = out->at + size;
    bind_seq(s, 1, b->number);
    bind_seq(s, 2, last);
    bind_seq(s, 3, b->end);
    bind_seq(s, 4, row_sum(b->number, last, b->end));
    return statement_run(s);
}

int bulk_write(struct bulk *b, uint64_t at, const void *bytes, size_t size)
{
    int rc = SQLITE_OK;

    b->unsynced = true;
    for (size_t done = 0, n; done < size && rc == SQLITE_OK; done += n) {
        n = size - done < PIECE ? size - done : PIECE;
        rc = b->out.handle->pMethods->xWrite(b->out.handle, (const char *)bytes + done, (int)n,
                                             (sqlite3_int64)(at + done));
    }
    return rc;
}

int bulk_sync(struct bulk *b)
{
    if (!b->unsynced)
        return SQLITE_OK;
    b->unsynced = false;
    return b->out.handle->pMethods->xSync(b->out.handle, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY);
}

/* ---- reading ---- */

static int open_to_read(struct bulk *b, uint64_t number)
{
    if (b->in.number == number)
        return SQLITE_OK;
    char *path;
    int rc = path_of(b, number, &path);
    bool missing = rc == SQLITE_OK && access(path, F_OK) < 0 && errno == ENOENT;
    free(path);
    if (missing)
        return SQLITE_NOTFOUND;
    if (rc == SQLITE_OK)
        rc = file_open(b, &b->in, number, SQLITE_OPEN_READONLY);
    return rc == SQLITE_OK || rc == SQLITE_NOMEM ? rc : DATABASE_UNREADABLE;
}

int bulk_read(struct bulk *b, struct bulk_place p, void *to, size_t size)
{
    int rc = open_to_read(b, p.number);

    for (size_t done = 0, n; done < size && rc == SQLITE_OK; done += n) {
        n = size - done < PIECE ? size - done : PIECE;
        rc = b->in.handle->pMethods->xRead(b->in.handle, (char *)to + done, (int)n,
                                           (sqlite3_int64)(p.at + done));
    }
    if (rc == SQLITE_IOERR_SHORT_READ)
        return SQLITE_NOTFOUND;
    return (rc & 0xff) == SQLITE_IOERR ? DATABASE_UNREADABLE : rc;
}

/* ---- removing ---- */

int bulk_drop(struct bulk *b, uint64_t last)
{
    bind_seq(b->statements[BULK_DROP], 1, last);
    int rc = statement_run(b->statements[BULK_DROP]);
    return rc == SQLITE_OK && sqlite3_changes(b->database->handle) > 0 ? load(b) : rc;
}

void bulk_sweep(struct bulk *b)
{
    char *path;

    if (b->in.number < b->lowest)
        file_close(&b->in);
    if (b->out.number < b->lowest)
        file_close(&b->out);
    for (; b->unlinked < b->lowest; b->unlinked++)
        if (path_of(b, b->unlinked, &path) == SQLITE_OK) {
            unlink(path);
            free(path);
        }
}
