/* See outbox.h. */
#include "outbox.h"
#include "checksum.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define OUTBOX_SEED 0x6f7574626f78
#define FORGET_STEP 64
#define LIST_AT_ONCE 64

#define ENTRY "row, id, state, 0, 0, attempts, queued_ms, expires_ms, changed_ms"
#define ANSWERED "0, id, state, has_code, code, attempts, queued_ms, expires_ms, changed_ms"

static const char *const sql[OUTBOX_STATEMENTS] = {
    [OUTBOX_ALL] = "SELECT " ENTRY ", sum, frame FROM outbox",
    [OUTBOX_COUNTS] = "SELECT (SELECT count(*) FROM outbox), (SELECT count(*) FROM answered)",
    [OUTBOX_BY_ID] = "SELECT " ENTRY " FROM outbox WHERE id = ?1",
    [OUTBOX_ANSWERED_BY_ID] = "SELECT " ANSWERED " FROM answered WHERE id = ?1",
    [OUTBOX_INSERT] =
        "INSERT INTO outbox(id, state, attempts, queued_ms, expires_ms, changed_ms, run, sum, frame) "
        "VALUES(?1, ?2, 0, ?3, ?4, ?3, 0, ?5, ?6)",
    [OUTBOX_BEHIND] = "SELECT " ENTRY ", sum, frame FROM outbox WHERE row > ?1 ORDER BY row",
    [OUTBOX_BY_ROW] = "SELECT " ENTRY ", sum, frame FROM outbox WHERE row = ?1",
    [OUTBOX_MARK] =
        "UPDATE outbox SET state = ?2, attempts = attempts + 1, changed_ms = ?3, run = ?4 WHERE row = ?1",
    [OUTBOX_REMEMBER] =
        "INSERT OR REPLACE INTO answered(id, state, has_code, code, attempts, queued_ms, expires_ms, "
        "changed_ms) SELECT id, ?3, ?4, ?5, attempts, queued_ms, expires_ms, ?6 FROM outbox "
        "WHERE row = ?1 AND id = ?2",
    [OUTBOX_DELETE] = "DELETE FROM outbox WHERE row = ?1 AND id = ?2",
    [OUTBOX_REFUSE] = "DELETE FROM outbox WHERE id = ?1 AND queued_ms = ?2",
    [OUTBOX_NEWEST] = "SELECT " ENTRY " FROM outbox ORDER BY row DESC LIMIT ?1",
    [OUTBOX_NEWEST_ANSWERED] = "SELECT " ANSWERED " FROM answered ORDER BY row DESC LIMIT ?1",
    [OUTBOX_DUE] = "SELECT " ENTRY " FROM outbox WHERE expires_ms <= ?1 AND run <> ?2 AND row > ?3 "
                   "ORDER BY expires_ms LIMIT ?4",
    [OUTBOX_NEXT_DUE] =
        "SELECT expires_ms FROM outbox WHERE run <> ?1 AND row > ?2 ORDER BY expires_ms LIMIT 1",
    [OUTBOX_OLDEST_ANSWERED] = "SELECT changed_ms FROM answered ORDER BY row LIMIT 1",
    [OUTBOX_FORGET] =
        "DELETE FROM answered WHERE row IN (SELECT row FROM answered WHERE ?2 OR changed_ms < ?1 "
        "ORDER BY row LIMIT ?3)",
};

/* ---- entries ---- */

/* false: it is not one that was written here. */
static bool read_entry(struct outbox_entry *e, sqlite3_stmt *s)
{
    const void *id = sqlite3_column_blob(s, 1);
    size_t len = (size_t)sqlite3_column_bytes(s, 1);

    *e = (struct outbox_entry){.row = sqlite3_column_int64(s, 0),
                               .state = (uint8_t)sqlite3_column_int(s, 2),
                               .has_code = sqlite3_column_int(s, 3) != 0,
                               .code = sqlite3_column_int64(s, 4),
                               .attempts = (uint32_t)sqlite3_column_int64(s, 5),
                               .queued_ms = sqlite3_column_int64(s, 6),
                               .expires_ms = sqlite3_column_int64(s, 7),
                               .changed_ms = sqlite3_column_int64(s, 8)};
    if (!id || len > sizeof(e->id) || (unsigned)sqlite3_column_int(s, 2) >= OUTBOX_STATE_COUNT)
        return false;
    memcpy(e->id, id, len);
    e->id_len = (uint16_t)len;
    return true;
}

static uint64_t message_sum(const struct outbox_entry *e, const void *frame, size_t len)
{
    uint64_t numbers[] = {(uint64_t)e->queued_ms, (uint64_t)e->expires_ms};
    uint64_t h = checksum_add(checksum_add(OUTBOX_SEED, e->id, e->id_len), numbers, sizeof(numbers));

    return checksum_add(h, frame, len);
}

/* An entry with its frame, checked. The frame stays until the row is left. */
static int read_message(struct outbox_message *m, sqlite3_stmt *s)
{
    if (!read_entry(&m->entry, s))
        return SQLITE_CORRUPT;
    m->frame = sqlite3_column_blob(s, 10);
    m->frame_len = (size_t)sqlite3_column_bytes(s, 10);
    if (message_sum(&m->entry, m->frame, m->frame_len) == column_seq(s, 9))
        return SQLITE_OK;
    return (sqlite3_errcode(sqlite3_db_handle(s)) & 0xff) == SQLITE_NOMEM ? SQLITE_NOMEM : SQLITE_CORRUPT;
}

/* ---- opening ---- */

static bool says_ok(sqlite3_stmt *s)
{
    const char *text = (const char *)sqlite3_column_text(s, 0);

    return text && strcmp(text, "ok") == 0;
}

/*
 * A page that has lost some of its rows looks well to whoever reads it; the indexes know better. These tables
 * are small: this is done at each start.
 */
static int check_tables(struct database *d)
{
    static const char *const checks[] = {"PRAGMA integrity_check(outbox)", "PRAGMA integrity_check(answered)",
                                         "PRAGMA integrity_check(consumer)", "PRAGMA integrity_check(meta)"};
    int rc = SQLITE_OK;

    for (unsigned i = 0; i < sizeof(checks) / sizeof(checks[0]) && rc == SQLITE_OK; i++) {
        sqlite3_stmt *s = NULL;
        rc = database_prepare(d, &checks[i], 1, &s);
        if (rc == SQLITE_OK && (rc = statement_row(s)) == SQLITE_ROW)
            rc = says_ok(s) ? SQLITE_OK : SQLITE_CORRUPT;
        sqlite3_finalize(s);
    }
    return rc;
}

static int check_all(struct outbox *o)
{
    sqlite3_stmt *s = o->statements[OUTBOX_ALL];
    struct outbox_message m;
    int rc, bad = SQLITE_OK;

    while (bad == SQLITE_OK && (rc = statement_row(s)) == SQLITE_ROW)
        bad = read_message(&m, s);
    if (bad != SQLITE_OK)
        sqlite3_reset(s);
    return bad != SQLITE_OK ? bad : rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int outbox_refresh(struct outbox *o)
{
    sqlite3_stmt *s = o->statements[OUTBOX_COUNTS];
    int rc = statement_row(s);

    if (rc != SQLITE_ROW)
        return rc;
    o->count = column_seq(s, 0);
    o->answered = column_seq(s, 1);
    return sqlite3_reset(s);
}

int outbox_open(struct outbox *o, struct database *d)
{
    o->database = d;
    int rc = database_prepare(d, sql, OUTBOX_STATEMENTS, o->statements);
    if (rc == SQLITE_OK)
        rc = check_tables(d);
    if (rc == SQLITE_OK)
        rc = check_all(o);
    return rc == SQLITE_OK ? outbox_refresh(o) : rc;
}

void outbox_close(struct outbox *o)
{
    database_finalize(o->statements, OUTBOX_STATEMENTS);
}

/* ---- one message by its id ---- */

static int find_in(sqlite3_stmt *s, const struct outbox_entry *wanted, bool *found, struct outbox_entry *out)
{
    struct outbox_entry e;

    bind_bytes(s, 1, wanted->id, wanted->id_len);
    int rc = statement_row(s);
    *found = rc == SQLITE_ROW;
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? SQLITE_OK : rc;
    bool good = read_entry(&e, s);
    sqlite3_reset(s);
    if (!good)
        return SQLITE_CORRUPT;
    *out = e;
    return SQLITE_OK;
}

static int find(struct outbox *o, const struct outbox_entry *wanted, bool *found, struct outbox_entry *out)
{
    int rc = find_in(o->statements[OUTBOX_BY_ID], wanted, found, out);

    return rc != SQLITE_OK || *found ? rc : find_in(o->statements[OUTBOX_ANSWERED_BY_ID], wanted, found, out);
}

static int insert(struct outbox *o, struct storage_queue *r)
{
    sqlite3_stmt *s = o->statements[OUTBOX_INSERT];
    struct outbox_entry *e = &r->entry;

    bind_bytes(s, 1, e->id, e->id_len);
    bind_int(s, 2, OUTBOX_QUEUED);
    bind_int(s, 3, e->queued_ms);
    bind_int(s, 4, e->expires_ms);
    bind_seq(s, 5, message_sum(e, r->frame, r->frame_len));
    bind_bytes(s, 6, r->frame, r->frame_len);
    int rc = statement_run(s);
    if (rc != SQLITE_OK)
        return rc;
    e->row = sqlite3_last_insert_rowid(o->database->handle);
    e->state = OUTBOX_QUEUED;
    e->attempts = 0;
    e->has_code = false;
    e->changed_ms = e->queued_ms;
    o->count++;
    return SQLITE_OK;
}

int outbox_queue(struct outbox *o, struct storage_queue *r, unsigned max)
{
    int rc = find(o, &r->entry, &r->known, &r->entry);

    r->request.error = ERROR_NONE;
    if (rc != SQLITE_OK || r->known)
        return rc;
    if (o->count >= max) {
        r->request.error = ERROR_BUSY;
        return SQLITE_OK;
    }
    return insert(o, r);
}

int outbox_refuse(struct outbox *o, const struct outbox_entry *e)
{
    sqlite3_stmt *s = o->statements[OUTBOX_REFUSE];

    bind_bytes(s, 1, e->id, e->id_len);
    bind_int(s, 2, e->queued_ms);
    return statement_run(s);
}

/* Moves it to those that are answered; a row that is gone is not an error. */
static int finish(struct outbox *o, const struct outbox_entry *e)
{
    sqlite3_stmt *s = o->statements[OUTBOX_REMEMBER];

    bind_int(s, 1, e->row);
    bind_bytes(s, 2, e->id, e->id_len);
    bind_int(s, 3, e->state);
    bind_int(s, 4, e->has_code);
    bind_int(s, 5, e->code);
    bind_int(s, 6, e->changed_ms);
    int rc = statement_run(s);
    if (rc != SQLITE_OK || sqlite3_changes(o->database->handle) == 0)
        return rc;
    s = o->statements[OUTBOX_DELETE];
    bind_int(s, 1, e->row);
    bind_bytes(s, 2, e->id, e->id_len);
    rc = statement_run(s);
    o->count -= rc == SQLITE_OK && o->count > 0;
    o->answered++;
    return rc;
}

int outbox_finish(struct outbox *o, struct storage_finish *r)
{
    r->request.error = ERROR_NONE;
    return finish(o, &r->entry);
}

static int delete_row(struct outbox *o, struct outbox_entry *e, int64_t now_ms)
{
    sqlite3_stmt *s = o->statements[OUTBOX_DELETE];

    bind_int(s, 1, e->row);
    bind_bytes(s, 2, e->id, e->id_len);
    int rc = statement_run(s);
    if (rc != SQLITE_OK)
        return rc;
    e->row = 0;
    e->state = OUTBOX_CANCELLED;
    e->changed_ms = now_ms;
    o->count -= o->count > 0;
    return SQLITE_OK;
}

int outbox_cancel(struct outbox *o, struct storage_cancel *r)
{
    int64_t now_ms = r->entry.changed_ms;
    bool found;
    int rc = find(o, &r->entry, &found, &r->entry);

    r->request.error = ERROR_NONE;
    if (rc != SQLITE_OK)
        return rc;
    bool waits = found && r->entry.state == OUTBOX_QUEUED && r->entry.row > o->unmarked;
    if (waits)
        return delete_row(o, &r->entry, now_ms);
    r->request.error = found ? ERROR_CONFLICT : ERROR_NOT_FOUND;
    return SQLITE_OK;
}

/* ---- taking ---- */

/* Messages and frames are gathered apart and joined at the end: the frames' places are offsets until then. */
struct taking {
    struct outbox *outbox;
    struct storage_take *r;
    struct outbox_message *messages;
    size_t capacity;
    uint8_t *frames;
    size_t len, frames_capacity;
    bool full;
};

static int keep(struct taking *t, const struct outbox_message *m)
{
    struct storage_take *r = t->r;

    if (r->count == t->capacity) {
        size_t capacity = t->capacity ? t->capacity * 2 : 16;
        void *grown = realloc(t->messages, capacity * sizeof(*m));
        if (!grown)
            return SQLITE_NOMEM;
        t->messages = grown;
        t->capacity = capacity;
    }
    if (t->frames_capacity - t->len < m->frame_len) {
        size_t capacity = (t->len + m->frame_len) * 2;
        void *grown = realloc(t->frames, capacity);
        if (!grown)
            return SQLITE_NOMEM;
        t->frames = grown;
        t->frames_capacity = capacity;
    }
    if (m->frame_len > 0)
        memcpy(t->frames + t->len, m->frame, m->frame_len);
    t->len += m->frame_len;
    t->messages[r->count++] = *m;
    return SQLITE_OK;
}

static bool has_room(const struct taking *t, size_t len)
{
    return t->r->count < t->r->limit && (t->r->count == 0 || t->len + len <= t->r->max_bytes);
}

/* The row that a statement stands on. */
static int take_row(struct taking *t, sqlite3_stmt *s, bool whatever_expiry)
{
    struct outbox_message m;
    int rc = read_message(&m, s);

    if (rc != SQLITE_OK)
        return rc;
    t->full = !has_room(t, m.frame_len);
    if (t->full)
        return SQLITE_OK;
    t->r->last = m.entry.row;
    if (!whatever_expiry && m.entry.expires_ms <= t->r->now_ms)
        return SQLITE_OK;
    m.entry.state = OUTBOX_SENT;
    m.entry.attempts++;
    m.entry.changed_ms = t->r->now_ms;
    return keep(t, &m);
}

static int take_behind(struct taking *t)
{
    sqlite3_stmt *s = t->outbox->statements[OUTBOX_BEHIND];
    int rc = SQLITE_OK, step = SQLITE_DONE;

    bind_int(s, 1, t->r->after);
    while (rc == SQLITE_OK && !t->full && (step = statement_row(s)) == SQLITE_ROW)
        rc = take_row(t, s, false);
    if (rc == SQLITE_OK && step != SQLITE_ROW && step != SQLITE_DONE)
        rc = step;
    sqlite3_reset(s);
    return rc;
}

static int take_rows(struct taking *t)
{
    sqlite3_stmt *s = t->outbox->statements[OUTBOX_BY_ROW];
    int rc = SQLITE_OK;

    for (uint32_t i = 0; i < t->r->row_count && rc == SQLITE_OK && !t->full; i++) {
        bind_int(s, 1, t->r->rows[i]);
        int step = statement_row(s);
        if (step == SQLITE_ROW)
            rc = take_row(t, s, true);
        else if (step != SQLITE_DONE)
            rc = step;
        sqlite3_reset(s);
    }
    return rc;
}

static int mark(struct outbox *o, const struct storage_take *r, const struct outbox_message *m)
{
    sqlite3_stmt *s = o->statements[OUTBOX_MARK];

    bind_int(s, 1, m->entry.row);
    bind_int(s, 2, OUTBOX_SENT);
    bind_int(s, 3, r->now_ms);
    bind_seq(s, 4, o->run);
    return statement_run(s);
}

static int mark_all(struct taking *t)
{
    int rc = SQLITE_OK;

    for (uint32_t i = 0; i < t->r->count && rc == SQLITE_OK; i++)
        rc = mark(t->outbox, t->r, &t->messages[i]);
    return rc;
}

static int join(struct taking *t)
{
    struct storage_take *r = t->r;
    size_t head = r->count * sizeof(*t->messages);

    if (r->count == 0)
        return SQLITE_OK;
    r->block = malloc(head + t->len);
    if (!r->block)
        return SQLITE_NOMEM;
    memcpy(r->block, t->messages, head);
    if (t->len > 0)
        memcpy((char *)r->block + head, t->frames, t->len);
    r->messages = r->block;
    const uint8_t *frame = (const uint8_t *)r->block + head;
    for (uint32_t i = 0; i < r->count; i++) {
        r->messages[i].frame = frame;
        frame += r->messages[i].frame_len;
    }
    return SQLITE_OK;
}

void outbox_take_discard(struct storage_take *r)
{
    free(r->block);
    r->block = NULL;
    r->messages = NULL;
    r->count = 0;
    r->more = false;
    r->last = r->after;
}

static void note_unmarked(struct outbox *o, const struct storage_take *r)
{
    int64_t last = r->count ? r->messages[r->count - 1].entry.row : 0;

    o->unmarked = last > o->unmarked ? last : o->unmarked;
}

int outbox_take(struct outbox *o, struct storage_take *r, bool reading)
{
    struct taking t = {.outbox = o, .r = r};

    r->block = NULL;
    outbox_take_discard(r);
    r->request.error = ERROR_NONE;
    int rc = r->row_count ? take_rows(&t) : take_behind(&t);
    if (rc == SQLITE_OK && !reading)
        rc = mark_all(&t);
    if (rc == SQLITE_OK)
        rc = join(&t);
    r->more = t.full;
    free(t.messages);
    free(t.frames);
    if (rc != SQLITE_OK)
        outbox_take_discard(r);
    else if (reading)
        note_unmarked(o, r);
    return rc;
}

/* ---- listing ---- */

void outbox_list_discard(struct storage_list *r)
{
    free(r->entries);
    r->entries = NULL;
    r->count = 0;
}

static int add_entry(struct storage_list *r, size_t *capacity, sqlite3_stmt *s)
{
    if (r->count == *capacity) {
        size_t wanted = *capacity ? *capacity * 2 : LIST_AT_ONCE;
        void *grown = realloc(r->entries, wanted * sizeof(*r->entries));
        if (!grown)
            return SQLITE_NOMEM;
        r->entries = grown;
        *capacity = wanted;
    }
    return read_entry(&r->entries[r->count++], s) ? SQLITE_OK : SQLITE_CORRUPT;
}

/* Those that the statement gives, newest first, until there are `limit`. */
static int add_newest(struct storage_list *r, size_t *capacity, sqlite3_stmt *s)
{
    int rc = SQLITE_OK, step = SQLITE_DONE;

    if (r->count >= r->limit)
        return SQLITE_OK;
    bind_int(s, 1, r->limit - r->count);
    while (rc == SQLITE_OK && (step = statement_row(s)) == SQLITE_ROW)
        rc = add_entry(r, capacity, s);
    sqlite3_reset(s);
    return rc != SQLITE_OK || step == SQLITE_DONE ? rc : step;
}

static void turn_round(struct storage_list *r)
{
    for (uint32_t i = 0; i < r->count / 2; i++) {
        struct outbox_entry e = r->entries[i];
        r->entries[i] = r->entries[r->count - 1 - i];
        r->entries[r->count - 1 - i] = e;
    }
}

static int list_all(struct outbox *o, struct storage_list *r)
{
    size_t capacity = 0;
    int rc = add_newest(r, &capacity, o->statements[OUTBOX_NEWEST]);

    if (rc == SQLITE_OK)
        rc = add_newest(r, &capacity, o->statements[OUTBOX_NEWEST_ANSWERED]);
    turn_round(r);
    return rc;
}

static int list_one(struct outbox *o, struct storage_list *r)
{
    struct outbox_entry e = {.id_len = r->id_len};
    bool found;

    memcpy(e.id, r->id, r->id_len);
    int rc = find(o, &e, &found, &e);
    if (rc != SQLITE_OK || !found)
        return rc;
    r->entries = malloc(sizeof(e));
    if (!r->entries)
        return SQLITE_NOMEM;
    r->entries[r->count++] = e;
    return SQLITE_OK;
}

int outbox_list(struct outbox *o, struct storage_list *r)
{
    r->entries = NULL;
    r->count = 0;
    r->request.error = ERROR_NONE;
    int rc = r->id_len ? list_one(o, r) : list_all(o, r);
    if (rc != SQLITE_OK)
        outbox_list_discard(r);
    return rc;
}

/* ---- what time does ---- */

static int gather_due(struct outbox *o, int64_t now_ms, struct outbox_entry *out, unsigned limit,
                      unsigned *count)
{
    sqlite3_stmt *s = o->statements[OUTBOX_DUE];
    int rc;

    bind_int(s, 1, now_ms);
    bind_seq(s, 2, o->run);
    bind_int(s, 3, o->unmarked);
    bind_int(s, 4, limit);
    for (*count = 0; (rc = statement_row(s)) == SQLITE_ROW; ++*count)
        if (!read_entry(&out[*count], s)) {
            sqlite3_reset(s);
            return SQLITE_CORRUPT;
        }
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

int outbox_expire(struct outbox *o, int64_t now_ms, struct outbox_entry *out, unsigned limit, unsigned *count)
{
    int rc = gather_due(o, now_ms, out, limit, count);

    for (unsigned i = 0; i < *count && rc == SQLITE_OK; i++) {
        out[i].state = OUTBOX_EXPIRED;
        out[i].changed_ms = now_ms;
        rc = finish(o, &out[i]);
        out[i].row = 0;
    }
    return rc;
}

int outbox_next_due(struct outbox *o, int64_t *out)
{
    sqlite3_stmt *s = o->statements[OUTBOX_NEXT_DUE];

    bind_seq(s, 1, o->run);
    bind_int(s, 2, o->unmarked);
    return statement_int(s, INT64_MAX, out);
}

int outbox_forget(struct outbox *o, int64_t old_ms, uint64_t max, unsigned *count)
{
    sqlite3_stmt *s = o->statements[OUTBOX_FORGET];
    uint64_t above = o->answered > max ? o->answered - max : 0;

    bind_int(s, 1, old_ms);
    bind_int(s, 2, above > 0);
    bind_int(s, 3, above > 0 && above < FORGET_STEP ? (int64_t)above : FORGET_STEP);
    int rc = statement_run(s);
    *count = rc == SQLITE_OK ? (unsigned)sqlite3_changes(o->database->handle) : 0;
    o->answered -= *count < o->answered ? *count : o->answered;
    return rc;
}

int outbox_oldest_answered(struct outbox *o, int64_t *out)
{
    return statement_int(o->statements[OUTBOX_OLDEST_ANSWERED], INT64_MAX, out);
}
