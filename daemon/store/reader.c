/*
 * See reader.h. A walk goes from segment to segment, in order or, reversed, from the newest down. `at` is how
 * far all is known: upwards, everything up to it was looked at; downwards, everything from it on. `past` is
 * which segments were seen, good or bad. A damaged segment moves only `past`: its numbers, which cannot be
 * trusted either, then show as a hole between its neighbours.
 */
#include "reader.h"
#include "filter.h"
#include "log.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define BUDGET (4u << 20) /* bytes looked at for one read: some milliseconds */
#define SEEK_COST 4096    /* what a look at a row or a term counts for */
#define SEQ_MAX ((uint64_t)INT64_MAX - 1)

static const char *const sql[READER_STATEMENTS] = {
    [READER_UP] = "SELECT first, last FROM segment WHERE first > ?1 ORDER BY first LIMIT 1",
    [READER_DOWN] = "SELECT first, last FROM segment WHERE first < ?1 ORDER BY first DESC LIMIT 1",
    [READER_HEAD] = "SELECT " SEGMENT_HEAD " FROM segment WHERE first = ?1",
    [READER_LINES] = "SELECT lines FROM segment WHERE first = ?1",
};

struct walk {
    struct reader *p;
    struct storage_read *r;
    struct storage_append *const *waiting;
    unsigned waiting_count;
    uint64_t after, head; /* the request's, within what SQLite can count */
    uint64_t at, past;
    size_t spent;
    size_t capacity;
    uint32_t line_capacity;
    bool gaps;          /* upwards only */
    bool leading;       /* nothing but GAPs so far, of those that from_oldest passes over */
    bool bad;           /* a damaged segment was passed since `at` */
    bool full;          /* no further line may be given */
    struct block block; /* that is being gone through, when in_block */
    bool in_block;
    bool beside; /* one was left, and is in `block` still */
};

int reader_open(struct reader *p, struct history *h, struct blocks *b)
{
    p->history = h;
    p->blocks = b;
    p->buffer.bulk = h->bulk;
    return database_prepare(h->database, sql, READER_STATEMENTS, p->statements);
}

void reader_close(struct reader *p)
{
    database_finalize(p->statements, READER_STATEMENTS);
}

void reader_deinit(struct reader *p)
{
    reader_close(p);
    segment_buffer_deinit(&p->buffer);
}

void reader_discard(struct storage_read *r)
{
    free(r->bytes);
    free(r->lines);
    r->bytes = NULL;
    r->lines = NULL;
    r->len = 0;
    r->count = 0;
}

/* ---- giving lines ---- */

static int grow_bytes(struct walk *w, size_t len)
{
    struct storage_read *r = w->r;

    if (w->capacity - r->len >= len)
        return SQLITE_OK;
    size_t wanted = (r->len + len) * 2;
    if (wanted > r->max_bytes)
        wanted = r->len + len > r->max_bytes ? r->len + len : r->max_bytes;
    char *grown = realloc(r->bytes, wanted);
    if (!grown)
        return SQLITE_NOMEM;
    r->bytes = grown;
    w->capacity = wanted;
    return SQLITE_OK;
}

static int grow_lines(struct walk *w)
{
    struct storage_read *r = w->r;

    if (r->count < w->line_capacity)
        return SQLITE_OK;
    uint32_t wanted = w->line_capacity ? w->line_capacity * 2 : 64;
    void *grown = realloc(r->lines, wanted * sizeof(*r->lines));
    if (!grown)
        return SQLITE_NOMEM;
    r->lines = grown;
    w->line_capacity = wanted;
    return SQLITE_OK;
}

static bool fits(struct walk *w, size_t len)
{
    struct storage_read *r = w->r;

    w->full = r->count >= r->limit || (r->count > 0 && r->len + len > r->max_bytes);
    return !w->full;
}

/* Sets `full` instead, when there is no room. */
static int give(struct walk *w, uint64_t seq, const char *line, size_t len)
{
    struct storage_read *r = w->r;

    if (!fits(w, len))
        return SQLITE_OK;
    int rc = grow_bytes(w, len);
    if (rc == SQLITE_OK)
        rc = grow_lines(w);
    if (rc != SQLITE_OK)
        return rc;
    memcpy(r->bytes + r->len, line, len);
    r->len += len;
    r->lines[r->count++] = (struct storage_line){.seq = seq, .len = (uint32_t)len};
    return SQLITE_OK;
}

static int give_gap(struct walk *w, uint64_t from, uint64_t to, const char *reason)
{
    char line[EVENT_GAP_MAX];
    struct json_writer j;

    json_writer_init(&j, line, sizeof(line));
    event_write_gap(&j, from, to, reason);
    return give(w, to, line, json_writer_length(&j));
}

/* The reason in a GAP line that was made by event_write_gap. */
static void read_reason(const char *line, size_t len, char *out, size_t size)
{
    static const char key[] = "\"reason\":\"";
    const char *at = memmem(line, len, key, sizeof(key) - 1);
    size_t n = 0;

    if (at)
        for (at += sizeof(key) - 1; at + n < line + len && at[n] != '"' && n + 1 < size; n++)
            out[n] = at[n];
    out[n] = '\0';
}

/* ---- holes ---- */

static const char *hole_reason(const struct walk *w, uint64_t from)
{
    const struct history *h = w->p->history;

    if (w->bad)
        return GAP_CORRUPT;
    if (from <= h->pruned || (h->oldest && from < h->oldest))
        return GAP_PRUNED;
    return w->p->kept_off && from > h->last ? GAP_NO_HISTORY : GAP_STORAGE;
}

/* Nothing is there from behind `at` up to `to`: upwards, and where it is wanted, this is told. */
static int hole(struct walk *w, uint64_t to)
{
    const struct history *h = w->p->history;
    int rc = SQLITE_OK;

    while (w->at < to && !w->full && rc == SQLITE_OK) {
        uint64_t from = w->at + 1, end = to;
        if (from <= h->pruned && h->pruned < end && !h->oldest)
            end = h->pruned; /* the rest has another reason */
        if (!w->leading || w->bad)
            rc = give_gap(w, from, end, hole_reason(w, from));
        w->at = w->full || rc != SQLITE_OK ? w->at : end;
    }
    return rc;
}

/* ---- events of a segment ---- */

static bool is_wanted(const struct walk *w, const struct storage_event *e)
{
    const struct storage_read *r = w->r;

    if (e->kind == EVENT_GAP && w->gaps)
        return true;
    return (r->kinds >> (e->kind & 31) & 1) && e->time_ms >= r->since_ms && e->time_ms <= r->until_ms;
}

static bool is_sane(const struct storage_event *e, size_t len)
{
    if (e->at > len || e->len > len - e->at)
        return false;
    for (unsigned i = 0; i < EVENT_FIELD_COUNT; i++)
        if (e->index.at[i] && (e->index.at[i] > e->len || e->index.len[i] > e->len - e->index.at[i]))
            return false;
    return true;
}

static bool passes(const struct walk *w, const struct storage_event *e, const char *line)
{
    return e->kind == EVENT_GAP || !w->r->filter || filter_match(w->r->filter, &e->index, line);
}

/* A GAP of the store's: the part of its range that was asked for. */
static int give_stored_gap(struct walk *w, const struct segment *s)
{
    uint64_t from = s->first > w->after ? s->first : w->after + 1;
    uint64_t to = s->last < w->head ? s->last : w->head;
    char reason[64];

    if (w->gaps && w->at + 1 > from)
        from = w->at + 1;
    if (from == s->first && to == s->last)
        return give(w, to, s->lines, s->len);
    read_reason(s->lines, s->len, reason, sizeof(reason));
    return give_gap(w, from, to, reason);
}

static int give_event(struct walk *w, const struct segment *s, const struct storage_event *e)
{
    const char *line = s->lines + e->at;

    if (segment_is_gap(s))
        return w->leading ? SQLITE_OK : give_stored_gap(w, s);
    w->leading = false;
    return passes(w, e, line) ? give(w, e->seq, line, e->len) : SQLITE_OK;
}

/* Those that were asked for and not given yet; a GAP counts by its range. */
static bool in_range(const struct walk *w, const struct segment *s, const struct storage_event *e)
{
    if (segment_is_gap(s))
        return w->r->reverse ? s->first < w->at && s->last > w->after
                             : s->last > w->at && s->first <= w->head;
    return w->r->reverse ? e->seq < w->at && e->seq > w->after : e->seq > w->at && e->seq <= w->head;
}

static bool needs_lines(const struct walk *w, const struct segment *s)
{
    for (uint32_t i = 0; i < s->count; i++)
        if (in_range(w, s, &s->events[i]) && is_wanted(w, &s->events[i]))
            return true;
    return false;
}

static void move_up(struct walk *w, uint64_t to)
{
    w->at = to > w->head ? w->head : to > w->at ? to : w->at;
}

static void move_down(struct walk *w, uint64_t to)
{
    w->at = to <= w->after ? w->after + 1 : to < w->at ? to : w->at;
}

/* What covers first … last is behind the walk now. */
static void move_past(struct walk *w, uint64_t first, uint64_t last)
{
    if (w->r->reverse)
        move_down(w, first);
    else
        move_up(w, last);
}

/* As many as were asked for: what is behind need not be looked at. */
static bool is_enough(struct walk *w)
{
    w->full = w->full || w->r->count >= w->r->limit;
    return w->full;
}

static int give_events(struct walk *w, const struct segment *s)
{
    for (uint32_t i = 0; i < s->count; i++) {
        const struct storage_event *e = &s->events[w->r->reverse ? s->count - 1 - i : i];
        if (!in_range(w, s, e))
            continue;
        int rc = is_wanted(w, e) && is_sane(e, s->len) ? give_event(w, s, e) : SQLITE_OK;
        if (rc != SQLITE_OK || w->full)
            return rc;
        move_past(w, segment_is_gap(s) ? s->first : e->seq, e->seq);
        if (is_enough(w))
            return SQLITE_OK;
    }
    move_past(w, s->first, s->last);
    return SQLITE_OK;
}

/* ---- segments ---- */

static void tell_bad(struct walk *w, uint64_t first)
{
    struct reader *p = w->p;

    w->bad = true;
    for (unsigned i = 0; i < READER_BAD_TOLD && i < p->bad_count; i++)
        if (p->bad[i] == first)
            return;
    p->bad[p->bad_count++ % READER_BAD_TOLD] = first;
    log_limited(LOG_ERR, "the history is damaged at number %" PRIu64 ": those events cannot be told again",
                first);
}

/* A good segment whose lines, where they are needed, are there: the hole before it, then its events. */
static int tell(struct walk *w, const struct segment *s)
{
    int rc = SQLITE_OK;

    if (w->gaps && s->first > w->at + 1)
        rc = hole(w, (s->first <= w->head ? s->first : w->head + 1) - 1);
    w->bad = false;
    if (rc != SQLITE_OK || w->full)
        return rc;
    return give_events(w, s);
}

static int look_into(struct walk *w, struct segment *s, enum segment_verdict v)
{
    sqlite3_stmt *lines = w->p->statements[READER_LINES];
    int rc = SQLITE_OK;

    if (v == SEGMENT_GOOD && needs_lines(w, s)) {
        bind_seq(lines, 1, s->first);
        rc = s->placed ? SQLITE_ROW : statement_row(lines);
        if (rc != SQLITE_ROW)
            return rc == SQLITE_DONE ? SQLITE_CORRUPT : rc;
        v = segment_load_lines(s, lines, 0, &w->p->buffer);
        w->spent += s->len;
        rc = SQLITE_OK;
    }
    if (v == SEGMENT_BAD)
        tell_bad(w, s->first);
    else
        rc = v == SEGMENT_GOOD ? tell(w, s) : segment_code(v);
    sqlite3_reset(lines);
    segment_lines_done(&w->p->buffer);
    return rc;
}

/* A row that is gone was pruned since its block was made. */
static int visit(struct walk *w, uint64_t first)
{
    sqlite3_stmt *row = w->p->statements[READER_HEAD];
    struct segment s;

    bind_seq(row, 1, first);
    int rc = statement_row(row);
    w->spent += SEEK_COST;
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? SQLITE_OK : rc;
    enum segment_verdict v = segment_load(&s, row, &w->p->buffer);
    sqlite3_reset(row);
    w->spent += s.count * sizeof(*s.events);
    return look_into(w, &s, v);
}

/* ---- which segment is next ---- */

/* The next in the tree; 0: there is none. A tree that is not in order is damaged. */
static int seek(struct walk *w, uint64_t *first)
{
    bool down = w->r->reverse;
    sqlite3_stmt *s = w->p->statements[down ? READER_DOWN : READER_UP];

    *first = 0;
    w->spent += SEEK_COST;
    bind_seq(s, 1, w->past);
    int rc = statement_row(s);
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? SQLITE_OK : rc;
    *first = column_seq(s, 0);
    bool in_order = down ? *first < w->past : *first > w->past && *first <= INT64_MAX;
    sqlite3_reset(s);
    return in_order ? SQLITE_OK : SQLITE_CORRUPT;
}

/* The next one of the block that may have what is wanted; 0: there is none in it. */
static uint64_t next_in_block(struct walk *w)
{
    const struct block *b = &w->block;

    for (uint32_t n = 0; n < b->count; n++) {
        uint32_t i = w->r->reverse ? b->count - 1 - n : n;
        uint64_t first = b->spans[i].first;
        if ((b->mask >> i & 1) && (w->r->reverse ? first < w->past : first > w->past))
            return first;
    }
    return 0;
}

/* All of the block that is not seen yet has nothing: it was looked at. Upwards, its last segment is the edge:
 * how far that reaches is known only when it is looked into. */
static void leave_block(struct walk *w)
{
    const struct block *b = &w->block;

    w->in_block = false;
    w->beside = true;
    if (w->r->reverse) {
        w->past = b->first < w->past ? b->first : w->past;
        move_down(w, b->first);
    } else {
        w->past = b->last > w->past ? b->last : w->past;
        move_up(w, b->last);
    }
}

/* in_block: it is, in the block beside the one that was left, or (first not 0) in the one that has that
 * segment. */
static int enter_block(struct walk *w, uint64_t first)
{
    const struct storage_read *r = w->r;
    struct block_wish wish = {
        .filter = r->filter, .since_ms = r->since_ms, .until_ms = r->until_ms, .kinds = r->kinds};
    unsigned looked = 0;
    int rc = first ? blocks_find(w->p->blocks, first, &wish, &w->block, &looked)
                   : blocks_beside(w->p->blocks, &w->block, r->reverse, &wish, &w->block, &looked);

    w->spent += (size_t)looked * SEEK_COST;
    w->beside = false;
    w->in_block = rc == SQLITE_OK;
    return rc == SQLITE_NOTFOUND ? SQLITE_OK : rc;
}

/* The next segment to look into, or 0: what lies between was looked at by its block. */
static int next_segment(struct walk *w, uint64_t *first)
{
    *first = 0;
    if (w->in_block) {
        *first = next_in_block(w);
        if (*first == 0)
            leave_block(w);
        return SQLITE_OK;
    }
    int rc = w->beside ? enter_block(w, 0) : SQLITE_OK;
    if (rc != SQLITE_OK || w->in_block)
        return rc;
    rc = seek(w, first);
    if (rc != SQLITE_OK || *first == 0 || w->gaps)
        return rc;
    rc = enter_block(w, *first);
    *first = w->in_block ? 0 : *first;
    return rc;
}

/* ---- the walk ---- */

static bool is_over(const struct walk *w)
{
    return w->r->reverse ? w->at <= w->after + 1 : w->at >= w->head;
}

static bool is_tired(const struct walk *w)
{
    return w->spent >= BUDGET && w->at != (w->r->reverse ? w->head + 1 : w->after);
}

static void pass(struct walk *w, uint64_t first)
{
    if (w->r->reverse ? first < w->past : first > w->past)
        w->past = first;
}

/* *end: the tree has no more of what was asked for. */
static int walk_tree(struct walk *w, bool *end)
{
    int rc = SQLITE_OK;

    *end = false;
    while (rc == SQLITE_OK && !w->full && !is_over(w) && !is_tired(w)) {
        uint64_t first;
        bool in_block = w->in_block;
        rc = next_segment(w, &first);
        if (rc != SQLITE_OK)
            break;
        if (first == 0 && (in_block || w->in_block))
            continue;
        *end = first == 0 || first > w->head;
        if (*end)
            break;
        rc = visit(w, first);
        pass(w, first);
    }
    return rc;
}

/* The segment that `after` lies in may have more behind it. */
static int start_up(struct walk *w)
{
    sqlite3_stmt *s = w->p->statements[READER_DOWN];

    w->at = w->past = w->after;
    bind_seq(s, 1, w->after + 1);
    int rc = statement_row(s);
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? SQLITE_OK : rc;
    if (column_seq(s, 1) > w->after && column_seq(s, 0) <= w->after && column_seq(s, 0) > 0)
        w->past = column_seq(s, 0) - 1;
    return sqlite3_reset(s);
}

/* ---- appends that are not written yet ---- */

static void describe_waiting(struct segment *s, const struct storage_append *a)
{
    *s = (struct segment){.first = a->events[0].seq,
                          .last = a->events[a->count - 1].seq,
                          .events = a->events,
                          .count = a->count,
                          .lines = a->bytes,
                          .len = SIZE_MAX};
}

static int tell_waiting(struct walk *w, const struct storage_append *a)
{
    struct segment s;

    if (a->count == 0 || w->full || is_over(w))
        return SQLITE_OK;
    describe_waiting(&s, a);
    return s.first > w->head || s.last <= w->after ? SQLITE_OK : tell(w, &s);
}

static int walk_waiting(struct walk *w)
{
    int rc = SQLITE_OK;

    for (unsigned i = 0; i < w->waiting_count && rc == SQLITE_OK; i++)
        rc = tell_waiting(w, w->waiting[w->r->reverse ? w->waiting_count - 1 - i : i]);
    return rc;
}

static int read_up(struct walk *w)
{
    bool end = false;
    int rc = start_up(w);

    if (rc == SQLITE_OK)
        rc = walk_tree(w, &end);
    if (rc != SQLITE_OK || !end)
        return rc;
    rc = walk_waiting(w);
    if (rc != SQLITE_OK || w->full)
        return rc;
    if (w->gaps)
        return hole(w, w->head);
    move_up(w, w->head);
    return SQLITE_OK;
}

static int read_down(struct walk *w)
{
    bool end = false;

    w->at = w->past = w->head + 1;
    int rc = walk_waiting(w);
    if (rc == SQLITE_OK)
        rc = walk_tree(w, &end);
    if (rc == SQLITE_OK && end)
        move_down(w, 0);
    return rc;
}

int reader_read(struct reader *p, struct storage_read *r, struct storage_append *const *waiting,
                unsigned count)
{
    struct walk w = {.p = p,
                     .r = r,
                     .after = r->after,
                     .head = r->head,
                     .waiting = waiting,
                     .waiting_count = count,
                     .gaps = r->gaps && !r->reverse};
    const struct history *h = p->history;

    r->bytes = NULL;
    r->lines = NULL;
    r->len = 0;
    r->count = 0;
    w.head = w.head < SEQ_MAX ? w.head : SEQ_MAX;
    w.after = w.after < w.head ? w.after : w.head;
    w.leading = w.gaps && r->from_oldest && (!h->oldest || w.after < h->oldest);
    int rc = w.after == w.head ? SQLITE_OK : r->reverse ? read_down(&w) : read_up(&w);
    if (rc != SQLITE_OK) {
        reader_discard(r);
        return rc;
    }
    r->through = w.after < w.head ? w.at : r->reverse ? r->after + 1 : r->head;
    return SQLITE_OK;
}
