/*
 * See database.h. WAL, synchronous=FULL: a commit is one write to the log and one fsync. The lock is a file
 * of its own, since SQLite's locks come and go; it is held from before the file is looked at to the end.
 *
 * A file counts as damaged (FAULT_CORRUPT) also where SQLite itself sees nothing wrong: when the schema is
 * not the one that was written, when two tables share a page, when header fields have values that imd never
 * sets.
 */
#include "database.h"
#include "beat.h"
#include "checksum.h"
#include "cleanup.h"
#include "log.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define APPLICATION_ID 0x696d6401
#define META_SEED 0x6d657461
#define SCHEMA_SEED 0x736368656d61

#define PAGE 4096
#define BUSY_MS 250 /* somebody looks into the file with sqlite3(1) */

extern const char database_schema[], database_schema_2[]; /* schema.sql, schema-2.sql */

/* The step from version n to n + 1, each one transaction. */
static const char *const migrations[] = {database_schema, database_schema_2};
#define VERSION ((uint64_t)(sizeof(migrations) / sizeof(migrations[0])))

static const char file_name[] = "imd.db";
static const char *const companions[] = {"", "-wal", "-shm"};

/* ---- faults ---- */

/* By SQLite's primary code. Not in the table: the handle is opened anew, which finds out what is the matter.
 */
static const struct {
    int code;
    enum fault fault;
} faults[] = {
    {SQLITE_OK, FAULT_NONE},           {SQLITE_ROW, FAULT_NONE},         {SQLITE_DONE, FAULT_NONE},
    {SQLITE_TOOBIG, FAULT_ALONE},      {SQLITE_CONSTRAINT, FAULT_ALONE}, {SQLITE_MISMATCH, FAULT_ALONE},
    {SQLITE_FULL, FAULT_TRANSACTION},  {SQLITE_BUSY, FAULT_TRANSACTION}, {SQLITE_LOCKED, FAULT_TRANSACTION},
    {SQLITE_NOMEM, FAULT_TRANSACTION}, {SQLITE_CORRUPT, FAULT_CORRUPT},  {SQLITE_NOTADB, FAULT_CORRUPT},
};

enum fault database_fault(int rc)
{
    if (rc == DATABASE_NEWER)
        return FAULT_NEWER;
    if (rc == DATABASE_UNREADABLE)
        return FAULT_ALONE;
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        if (faults[i].code == (rc & 0xff))
            return faults[i].fault;
    return FAULT_HANDLE;
}

static void complain(struct database *d, const char *what, const char *why)
{
    snprintf(d->detail, sizeof(d->detail), "%s%s%s", what, why ? ": " : "", why ? why : "");
}

/* SQLite's words are those of its last call, which may have been another one. */
void database_complain(struct database *d, int rc)
{
    bool same = d->handle && (sqlite3_errcode(d->handle) & 0xff) == (rc & 0xff);
    int error = same ? sqlite3_system_errno(d->handle) : 0;
    bool telling = error != 0 && ((rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CANTOPEN);

    complain(d, same ? sqlite3_errmsg(d->handle) : sqlite3_errstr(rc), telling ? strerror(error) : NULL);
}

/* ---- statements ---- */

int statement_run(sqlite3_stmt *s)
{
    int rc;

    while ((rc = sqlite3_step(s)) == SQLITE_ROW)
        ;
    int end = sqlite3_reset(s);
    return rc == SQLITE_DONE ? SQLITE_OK : end ? end : rc;
}

int statement_row(sqlite3_stmt *s)
{
    int rc = sqlite3_step(s);

    if (rc == SQLITE_ROW)
        return rc;
    int end = sqlite3_reset(s);
    return end ? end : rc;
}

int statement_int(sqlite3_stmt *s, int64_t none, int64_t *out)
{
    int rc = statement_row(s);

    *out = none;
    if (rc == SQLITE_DONE)
        return SQLITE_OK;
    if (rc != SQLITE_ROW)
        return rc;
    *out = sqlite3_column_int64(s, 0);
    return sqlite3_reset(s);
}

void database_finalize(sqlite3_stmt **statements, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        sqlite3_finalize(statements[i]);
        statements[i] = NULL;
    }
}

int database_prepare(struct database *d, const char *const *sql, unsigned count, sqlite3_stmt **out)
{
    database_finalize(out, count);
    for (unsigned i = 0; i < count; i++) {
        int rc = sqlite3_prepare_v3(d->handle, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &out[i], NULL);
        if (rc != SQLITE_OK)
            return rc;
    }
    return SQLITE_OK;
}

static int ask(struct database *d, const char *sql, int64_t *out)
{
    sqlite3_stmt *s = NULL;
    int rc = sqlite3_prepare_v2(d->handle, sql, -1, &s, NULL);

    if (rc == SQLITE_OK)
        rc = statement_int(s, 0, out);
    sqlite3_finalize(s);
    return rc;
}

static int execute(struct database *d, const char *sql)
{
    return sqlite3_exec(d->handle, sql, NULL, NULL, NULL);
}

/* ---- meta ---- */

static uint64_t meta_sum(const char *key, uint64_t value)
{
    return checksum_add(checksum_add(META_SEED, key, strlen(key)), &value, sizeof(value));
}

int database_get(struct database *d, const char *key, uint64_t none, uint64_t *out)
{
    sqlite3_bind_text(d->get, 1, key, -1, SQLITE_STATIC);
    int rc = statement_row(d->get);

    *out = none;
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? SQLITE_OK : rc;
    *out = column_seq(d->get, 0);
    bool right = column_seq(d->get, 1) == meta_sum(key, *out);
    sqlite3_reset(d->get);
    return right ? SQLITE_OK : SQLITE_CORRUPT;
}

int database_set(struct database *d, const char *key, uint64_t value)
{
    sqlite3_bind_text(d->set, 1, key, -1, SQLITE_STATIC);
    bind_seq(d->set, 2, value);
    bind_seq(d->set, 3, meta_sum(key, value));
    return statement_run(d->set);
}

/* ---- folder and lock ---- */

int database_init(struct database *d, const char *folder)
{
    *d = (struct database){.lock = -1, .folder = strdup(folder)};
    if (!d->folder || asprintf(&d->path, "%s/%s", folder, file_name) < 0) {
        d->path = NULL;
        database_deinit(d);
        return -ENOMEM;
    }
    return 0;
}

void database_deinit(struct database *d)
{
    database_close(d);
    if (d->folder && d->lock >= 0)
        close(d->lock);
    d->lock = -1;
    free(d->folder);
    free(d->path);
    d->folder = d->path = NULL;
}

static int make_folders(const char *path)
{
    _cleanup_(freep) char *copy = strdup(path);

    if (!copy)
        return -ENOMEM;
    for (char *slash = strchr(copy + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(copy, 0700) < 0 && errno != EEXIST)
            return -errno;
        *slash = '/';
    }
    return mkdir(copy, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

static int in_use(struct database *d, int fd)
{
    char pid[16] = "";
    ssize_t n = pread(fd, pid, sizeof(pid) - 1, 0);

    pid[n > 0 ? strspn(pid, "0123456789") : 0] = '\0';
    snprintf(d->detail, sizeof(d->detail), "the state folder %.80s is in use by another imd (pid %s)",
             d->folder, *pid ? pid : "unknown");
    return -EBUSY;
}

static int write_pid(int fd)
{
    char pid[16];
    int len = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());

    if (ftruncate(fd, 0) < 0 || pwrite(fd, pid, (size_t)len, 0) != len)
        return errno ? -errno : -EIO;
    return 0;
}

/* The pid is for people: on a full disk it is missing, and the lock is a lock all the same. */
static int take_lock(struct database *d)
{
    _cleanup_(freep) char *path = NULL;
    _cleanup_(closep) int fd = -1;

    if (asprintf(&path, "%s/lock", d->folder) < 0) {
        path = NULL;
        return -ENOMEM;
    }
    fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) < 0)
        return errno == EWOULDBLOCK ? in_use(d, fd) : -errno;
    if (write_pid(fd) < 0)
        log_warning("the pid could not be written into %s", path);
    d->lock = fd;
    fd = -1;
    return 0;
}

int database_lock(struct database *d)
{
    if (d->lock >= 0)
        return 0;
    int r = make_folders(d->folder);
    if (r == 0)
        r = take_lock(d);
    if (r < 0 && r != -EBUSY)
        snprintf(d->detail, sizeof(d->detail), "the state folder %.90s: %s", d->folder, strerror(-r));
    return r;
}

/* ---- opening ---- */

static const char *const statements_sql[] = {
    "BEGIN IMMEDIATE",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "PRAGMA page_count",
    "PRAGMA freelist_count",
    "SELECT value, sum FROM meta WHERE key = ?1",
    "INSERT INTO meta VALUES(?1, ?2, ?3) ON CONFLICT(key) DO UPDATE SET value = ?2, sum = ?3",
};
#define STATEMENTS (sizeof(statements_sql) / sizeof(statements_sql[0]))
static_assert(offsetof(struct database, set) - offsetof(struct database, begin) ==
                  (STATEMENTS - 1) * sizeof(sqlite3_stmt *),
              "the statements of struct database, in this order");

/*
 * locking_mode=EXCLUSIVE: the file is ours anyway (database_lock), and SQLite then needs no shared memory
 * beside the log: no lock calls, twenty for each commit else, and no mapped page that a full disk cannot
 * give, which would end the process with SIGBUS. Debian's SQLite overwrites what is deleted with zeros unless
 * told otherwise, which would make pruning as dear as writing. No mmap: a disk that fails would end the
 * process with SIGBUS.
 */
static const char settings[] =
    "PRAGMA locking_mode=EXCLUSIVE; PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON; PRAGMA mmap_size=0;"
    "PRAGMA temp_store=MEMORY; PRAGMA page_size=4096; PRAGMA secure_delete=OFF; PRAGMA cache_size=-8192;"
    "PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=2000;"
    "PRAGMA journal_size_limit=16777216;";

static bool is_empty(const char *path)
{
    struct stat s;

    return stat(path, &s) == 0 && s.st_size == 0;
}

static void remove_files(struct database *d, unsigned first)
{
    char path[4096 + 16];

    for (unsigned i = first; i < 3; i++)
        if ((size_t)snprintf(path, sizeof(path), "%s%s", d->path, companions[i]) < sizeof(path))
            unlink(path);
}

/* Made here so that it is ours alone; SQLite gives its companions the same mode. An old one without content
 * has lost it. */
static int make_file(struct database *d, bool *made)
{
    int fd = open(d->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    *made = fd >= 0;
    if (fd >= 0) {
        close(fd);
        remove_files(d, 1); /* of one that was there before */
    } else if (errno != EEXIST) {
        complain(d, "unable to open database file", strerror(errno));
        return errno == ENOSPC ? SQLITE_FULL : SQLITE_CANTOPEN;
    }
    return fd < 0 && is_empty(d->path) ? SQLITE_CORRUPT : SQLITE_OK;
}

static int connect_handle(struct database *d)
{
    int flags =
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE | SQLITE_OPEN_PRIVATECACHE;
    int rc = sqlite3_open_v2(d->path, &d->handle, flags, NULL);

    if (rc != SQLITE_OK)
        return rc;
    beat_with_statements(d->handle);
    sqlite3_busy_timeout(d->handle, BUSY_MS);
    sqlite3_db_config(d->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
    return execute(d, settings);
}

/* What was declared, but not where it is: that may change (VACUUM). */
static int sum_schema(struct database *d, uint64_t *sum)
{
    sqlite3_stmt *s = NULL;
    int rc =
        sqlite3_prepare_v2(d->handle,
                           "SELECT type || '.' || name || '.' || tbl_name || '.' || sql FROM sqlite_schema "
                           "WHERE name NOT LIKE 'sqlite_%' ORDER BY name",
                           -1, &s, NULL);

    *sum = SCHEMA_SEED;
    while (rc == SQLITE_OK && (rc = sqlite3_step(s)) == SQLITE_ROW) {
        *sum = checksum_add(*sum, sqlite3_column_text(s, 0), (size_t)sqlite3_column_bytes(s, 0));
        rc = SQLITE_OK;
    }
    sqlite3_finalize(s);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int prepare(struct database *d)
{
    return database_prepare(d, statements_sql, STATEMENTS, &d->begin);
}

static int note_version(struct database *d)
{
    uint64_t sum;
    int rc = prepare(d);

    if (rc == SQLITE_OK)
        rc = sum_schema(d, &sum);
    if (rc == SQLITE_OK)
        rc = database_set(d, "schema", sum);
    if (rc == SQLITE_OK)
        rc = database_set(d, "version", VERSION);
    database_finalize(&d->begin, STATEMENTS);
    return rc;
}

static int step_up(struct database *d, uint64_t version)
{
    char pragmas[96];

    snprintf(pragmas, sizeof(pragmas), "PRAGMA application_id=%d; PRAGMA user_version=%d;", APPLICATION_ID,
             (int)version + 1);
    int rc = execute(d, "BEGIN IMMEDIATE");
    if (rc == SQLITE_OK)
        rc = execute(d, migrations[version]);
    if (rc == SQLITE_OK)
        rc = execute(d, pragmas);
    if (rc == SQLITE_OK)
        rc = note_version(d);
    if (rc == SQLITE_OK)
        rc = execute(d, "COMMIT");
    if (rc != SQLITE_OK) {
        database_complain(d, rc);
        execute(d, "ROLLBACK");
    }
    return rc;
}

/*
 * A newer version in the header is only believed when the guarded copy does not say that it is this one. What
 * is not imd's at all is treated as damaged.
 */
static int check_newer(struct database *d)
{
    uint64_t version = 0;
    bool readable = prepare(d) == SQLITE_OK && database_get(d, "version", 0, &version) == SQLITE_OK;

    database_finalize(&d->begin, STATEMENTS);
    if (readable && version == VERSION)
        return SQLITE_CORRUPT;
    snprintf(d->detail, sizeof(d->detail), "the database %.100s was made by a newer imd", d->path);
    return DATABASE_NEWER;
}

static int migrate(struct database *d, bool made)
{
    int64_t application = 0, version = 0;
    int rc = ask(d, "PRAGMA application_id", &application);

    if (rc == SQLITE_OK)
        rc = ask(d, "PRAGMA user_version", &version);
    if (rc != SQLITE_OK)
        return rc;
    if (!made && (application != APPLICATION_ID || version <= 0))
        return SQLITE_CORRUPT;
    if ((uint64_t)version > VERSION)
        return check_newer(d);
    for (uint64_t v = (uint64_t)version; v < VERSION && rc == SQLITE_OK; v++)
        rc = step_up(d, v);
    return rc;
}

/* A header that says that a file which may be written must not be, or asks for pointer pages, is damaged. */
static int check_header(struct database *d)
{
    int64_t vacuum = 0, shared = 0, size = PAGE;
    int rc = ask(d, "PRAGMA auto_vacuum", &vacuum);

    if (rc == SQLITE_OK)
        rc = ask(d, "SELECT count(*) - count(DISTINCT rootpage) FROM sqlite_schema WHERE rootpage > 0",
                 &shared);
    if (rc == SQLITE_OK)
        rc = ask(d, "PRAGMA page_size", &size);
    if (rc != SQLITE_OK)
        return rc;
    bool frozen = sqlite3_db_readonly(d->handle, "main") == 1 && access(d->path, W_OK) == 0;
    return vacuum != 0 || shared != 0 || size != PAGE || frozen ? SQLITE_CORRUPT : SQLITE_OK;
}

static int check_schema(struct database *d)
{
    uint64_t noted = 0, sum = 0;
    int rc = database_get(d, "schema", 0, &noted);

    if (rc == SQLITE_OK)
        rc = sum_schema(d, &sum);
    return rc == SQLITE_OK && noted != sum ? SQLITE_CORRUPT : rc;
}

static int set_up(struct database *d, bool made)
{
    int rc = migrate(d, made);

    if (rc == SQLITE_OK)
        rc = check_header(d);
    if (rc == SQLITE_OK)
        rc = execute(d, "PRAGMA journal_mode=WAL");
    if (rc == SQLITE_OK)
        rc = prepare(d);
    if (rc == SQLITE_OK)
        rc = check_schema(d);
    return rc;
}

/*
 * A damaged file stays open, for what can be salvaged. What SQLite calls a plain error here is damage too: a
 * header or a schema that is not what it should be.
 */
int database_open(struct database *d)
{
    bool made = false;
    int rc = make_file(d, &made);

    if (rc != SQLITE_OK)
        return rc;
    d->detail[0] = '\0';
    rc = connect_handle(d);
    if (rc == SQLITE_OK)
        rc = set_up(d, made);
    if (rc == SQLITE_OK)
        return rc;
    if (!d->detail[0])
        database_complain(d, rc);
    rc = (rc & 0xff) == SQLITE_ERROR ? SQLITE_CORRUPT : rc;
    if (database_fault(rc) != FAULT_CORRUPT)
        database_close(d);
    if (made) {
        database_close(d);
        remove_files(d, 0);
    }
    return rc;
}

void database_close(struct database *d)
{
    database_finalize(&d->begin, STATEMENTS);
    sqlite3_close_v2(d->handle);
    d->handle = NULL;
}

/* ---- damage ---- */

#define RESERVED_MAX ((uint64_t)1 << 52) /* what is beyond is damage too */

uint64_t database_salvage_reserved(struct database *d)
{
    uint64_t reserved = 0;

    if (!d->handle)
        return 0;
    if (!d->get && prepare(d) != SQLITE_OK)
        return 0;
    return database_get(d, "reserved", 0, &reserved) == SQLITE_OK && reserved < RESERVED_MAX ? reserved : 0;
}

/* Before the database: else a crash in between would leave them to the new one, which would remove them. */
static void rename_lines(struct database *d, const char *suffix)
{
    DIR *folder = opendir(d->folder);
    char to[512];

    for (struct dirent *e; folder && (e = readdir(folder));) {
        if (strncmp(e->d_name, DATABASE_LINES, strlen(DATABASE_LINES)) != 0 || strchr(e->d_name, '.'))
            continue;
        snprintf(to, sizeof(to), "%s.corrupt-%s", e->d_name, suffix);
        renameat(dirfd(folder), e->d_name, dirfd(folder), to);
    }
    if (folder)
        closedir(folder);
}

static int rename_all(struct database *d, const char *suffix)
{
    char from[4096 + 16], to[4096 + 64];

    rename_lines(d, suffix);
    for (unsigned i = 0; i < 3; i++) { /* the database first: without its log it would look well */
        if ((size_t)snprintf(from, sizeof(from), "%s%s", d->path, companions[i]) >= sizeof(from))
            return -ENAMETOOLONG;
        snprintf(to, sizeof(to), "%s.corrupt-%s%s", d->path, suffix, companions[i]);
        if (rename(from, to) < 0 && errno != ENOENT)
            return -errno;
    }
    log_error("the database %s was damaged and is now %s.corrupt-%s: a new one is begun; the history and the "
              "messages that were queued in it are not looked at again",
              d->path, d->path, suffix);
    return 0;
}

static bool is_taken(struct database *d, const char *suffix)
{
    char path[4096 + 64];

    snprintf(path, sizeof(path), "%s.corrupt-%s", d->path, suffix);
    return access(path, F_OK) == 0;
}

int database_set_aside(struct database *d)
{
    char stamp[24], suffix[32];
    struct tm utc;
    time_t now = time(NULL);

    gmtime_r(&now, &utc);
    strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &utc);
    snprintf(suffix, sizeof(suffix), "%s", stamp);
    for (unsigned i = 2; i < 1000 && is_taken(d, suffix); i++)
        snprintf(suffix, sizeof(suffix), "%s-%u", stamp, i);
    int r = rename_all(d, suffix);
    if (r < 0)
        snprintf(d->detail, sizeof(d->detail), "the damaged database cannot be renamed: %s", strerror(-r));
    return r;
}

/* ---- transactions ---- */

int database_begin(struct database *d)
{
    return statement_run(d->begin);
}

int database_begin_reading(struct database *d)
{
    return statement_run(d->begin_reading);
}

int database_commit(struct database *d)
{
    return statement_run(d->commit);
}

/* SQLite has rolled back by itself where it had to. */
void database_rollback(struct database *d)
{
    if (d->handle && !sqlite3_get_autocommit(d->handle))
        statement_run(d->rollback);
}

int database_size(struct database *d, uint64_t *bytes, uint64_t *used)
{
    int64_t pages, unused = 0;
    int rc = statement_int(d->pages, 0, &pages);

    if (rc == SQLITE_OK)
        rc = statement_int(d->free_pages, 0, &unused);
    if (rc != SQLITE_OK)
        return rc;
    unused = unused < pages ? unused : pages;
    *bytes = (uint64_t)pages * PAGE;
    *used = (uint64_t)(pages - unused) * PAGE;
    return SQLITE_OK;
}
