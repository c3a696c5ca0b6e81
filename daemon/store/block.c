/*
 * See block.h. What a block has is noted while its segments are added, and the last of them completes it.
 * What was noted may be lost: after a start or a rollback it is read again from the segments that are in no
 * block.
 *
 * A damaged block is passed over (its segments are then looked at one by one); a damaged term is not noticed:
 * a search may miss events of its block. Who must not miss any (a subscriber that catches up) does not
 * search.
 */
#include "block.h"
#include "checksum.h"
#include "filter.h"

#include <stdlib.h>
#include <string.h>

#define BLOCK_SEED 0x626c6f636b
#define KIND_FIELD \
    EVENT_FIELD_COUNT /* beside the event's own fields: its kind, one byte, but for EVENT_MESSAGE */
#define VALUES_MAX 32 /* a longer list is not looked up: reading the segments is cheaper */

#define BLOCK_HEAD "first, last, before, time_min, time_max, sum"

static const char *const sql[BLOCK_STATEMENTS] = {
    [BLOCK_WAITING] = "SELECT count(*) FROM (SELECT 1 FROM segment WHERE first > ?1 LIMIT ?2)",
    [BLOCK_NEWEST] = "SELECT last, first FROM block ORDER BY first DESC LIMIT 1",
    [BLOCK_SEGMENT] = "SELECT " SEGMENT_HEAD ", lines FROM segment WHERE first > ?1 ORDER BY first LIMIT ?2",
    [BLOCK_ADD] = "INSERT INTO block VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
    [BLOCK_ADD_SPANS] = "INSERT INTO block_segments VALUES(?1, ?2, ?3)",
    [BLOCK_ADD_TERM] = "INSERT INTO term VALUES(?1, ?2, ?3, ?4)",
    [BLOCK_AT] = "SELECT " BLOCK_HEAD " FROM block WHERE first <= ?1 ORDER BY first DESC LIMIT 1",
    [BLOCK_ABOVE] = "SELECT " BLOCK_HEAD " FROM block WHERE first > ?1 ORDER BY first LIMIT 1",
    [BLOCK_BELOW] = "SELECT " BLOCK_HEAD " FROM block WHERE first < ?1 ORDER BY first DESC LIMIT 1",
    [BLOCK_SPANS] = "SELECT sum, segments FROM block_segments WHERE first = ?1",
    [BLOCK_TERM] = "SELECT mask FROM term WHERE block = ?1 AND field = ?2 AND value = ?3",
};

int blocks_open(struct blocks *b, struct database *d, struct bulk *bulk)
{
    b->buffer.bulk = bulk;
    b->following = false;
    b->database = d;
    return database_prepare(d, sql, BLOCK_STATEMENTS, b->statements);
}

void blocks_close(struct blocks *b)
{
    database_finalize(b->statements, BLOCK_STATEMENTS);
}

/* ---- the distinct values of a block ---- */

struct term {
    uint64_t hash, mask;
    size_t at; /* in text */
    uint32_t len;
    uint8_t field;
};

struct block_terms {
    struct term *terms;
    uint32_t count, capacity;
    uint32_t *slots; /* place in terms + 1; a power of two of them, at most half full */
    uint32_t slot_count;
    char *text;
    size_t text_len, text_capacity;
    uint32_t
        recent[KIND_FIELD + 1]; /* place + 1 of the value that came last in a field: often the next one too */
};

static void terms_free(struct block_terms *t)
{
    if (!t)
        return;
    free(t->terms);
    free(t->slots);
    free(t->text);
    free(t);
}

void blocks_deinit(struct blocks *b)
{
    blocks_close(b);
    segment_buffer_deinit(&b->buffer);
    terms_free(b->terms);
    b->terms = NULL;
}

static void terms_clear(struct block_terms *t)
{
    t->count = 0;
    t->text_len = 0;
    memset(t->recent, 0, sizeof(t->recent));
    if (t->slots)
        memset(t->slots, 0, t->slot_count * sizeof(*t->slots));
}

static uint32_t *find_slot(struct block_terms *t, uint64_t hash, uint8_t field, const char *value,
                           uint32_t len)
{
    uint32_t at = (uint32_t)hash & (t->slot_count - 1);

    for (; t->slots[at]; at = (at + 1) & (t->slot_count - 1)) {
        const struct term *had = &t->terms[t->slots[at] - 1];
        if (had->hash == hash && had->field == field && had->len == len &&
            memcmp(t->text + had->at, value, len) == 0)
            break;
    }
    return &t->slots[at];
}

static bool grow_slots(struct block_terms *t)
{
    uint32_t count = t->slot_count ? t->slot_count * 2 : 1024;
    uint32_t *slots = calloc(count, sizeof(*slots));
    void *terms = realloc(t->terms, count / 2 * sizeof(*t->terms));

    t->terms = terms ? terms : t->terms;
    if (!slots || !terms) {
        free(slots);
        return false;
    }
    free(t->slots);
    t->slots = slots;
    t->slot_count = count;
    t->capacity = count / 2;
    for (uint32_t i = 0; i < t->count; i++) {
        const struct term *had = &t->terms[i];
        *find_slot(t, had->hash, had->field, t->text + had->at, had->len) = i + 1;
    }
    return true;
}

static bool grow_text(struct block_terms *t, size_t len)
{
    if (t->text_capacity - t->text_len >= len)
        return true;
    size_t capacity = (t->text_len + len) * 2;
    char *text = realloc(t->text, capacity);
    if (!text)
        return false;
    t->text = text;
    t->text_capacity = capacity;
    return true;
}

static bool is_recent(const struct block_terms *t, uint8_t field, const char *value, uint32_t len)
{
    const struct term *had = t->recent[field] ? &t->terms[t->recent[field] - 1] : NULL;

    return had && had->len == len && memcmp(t->text + had->at, value, len) == 0;
}

static bool note_new(struct block_terms *t, struct term term, const char *value, uint32_t *slot)
{
    if (!grow_text(t, term.len))
        return false;
    term.at = t->text_len;
    memcpy(t->text + term.at, value, term.len);
    t->terms[t->count] = term;
    t->text_len += term.len;
    *slot = ++t->count;
    return true;
}

static bool note_value(struct block_terms *t, uint8_t field, const char *value, uint32_t len, uint64_t bit)
{
    if (is_recent(t, field, value, len)) {
        t->terms[t->recent[field] - 1].mask |= bit;
        return true;
    }
    uint64_t hash = checksum_add(field, value, len);
    if (t->count == t->capacity && !grow_slots(t))
        return false;
    uint32_t *slot = find_slot(t, hash, field, value, len);
    if (!*slot && !note_new(t, (struct term){.hash = hash, .len = len, .field = field}, value, slot))
        return false;
    t->terms[*slot - 1].mask |= bit;
    t->recent[field] = *slot;
    return true;
}

static bool note_event(struct block_terms *t, const struct storage_event *e, const struct segment *s,
                       uint64_t bit)
{
    if (e->kind != EVENT_MESSAGE && !note_value(t, KIND_FIELD, (const char *)&e->kind, 1, bit))
        return false;
    for (uint8_t field = 0; field < EVENT_FIELD_COUNT; field++) {
        size_t at = (size_t)e->at + e->index.at[field];
        if (e->index.at[field] == 0 || at + e->index.len[field] > s->len)
            continue;
        if (!note_value(t, field, s->lines + at, e->index.len[field], bit))
            return false;
    }
    return true;
}

/* ---- making a block ---- */

static uint64_t block_sum(const struct block *b)
{
    uint64_t head[] = {b->first, b->last, b->before, (uint64_t)b->time_min, (uint64_t)b->time_max};

    return checksum_add(BLOCK_SEED, head, sizeof(head));
}

static uint64_t spans_sum(const struct block *b)
{
    return checksum_add(b->first, b->spans, b->count * sizeof(b->spans[0]));
}

static int newest_block(struct blocks *b, uint64_t *first, uint64_t *last)
{
    sqlite3_stmt *s = b->statements[BLOCK_NEWEST];
    int rc = statement_row(s);

    *first = *last = 0;
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? SQLITE_OK : rc;
    *last = column_seq(s, 0);
    *first = column_seq(s, 1);
    return sqlite3_reset(s);
}

int blocks_waiting(struct blocks *b, unsigned limit, unsigned *out)
{
    uint64_t first, last;
    int64_t count = 0;
    int rc = newest_block(b, &first, &last);

    *out = 0;
    if (rc != SQLITE_OK)
        return rc;
    bind_seq(b->statements[BLOCK_WAITING], 1, last);
    bind_int(b->statements[BLOCK_WAITING], 2, limit);
    rc = statement_int(b->statements[BLOCK_WAITING], 0, &count);
    *out = (unsigned)count;
    return rc;
}

static int note_segment(struct blocks *b, const struct segment *s, bool good)
{
    struct block *block = &b->next;

    for (uint32_t i = 0; good && i < s->count; i++)
        if (!note_event(b->terms, &s->events[i], s, (uint64_t)1 << block->count))
            return SQLITE_NOMEM;
    block->spans[block->count++] = (struct block_span){s->first, s->last, s->time_min, s->time_max};
    return SQLITE_OK;
}

/* A damaged segment has no values: no search needs to look into it, and catching up does not ask. */
static int note_row(struct blocks *b, sqlite3_stmt *row)
{
    struct segment s;
    enum segment_verdict v = segment_load(&s, row, &b->buffer);

    if (v == SEGMENT_GOOD)
        v = segment_load_lines(&s, row, 8, &b->buffer);
    int rc = segment_code(v);
    if (rc == SQLITE_OK)
        rc = note_segment(b, &s, v == SEGMENT_GOOD);
    segment_lines_done(&b->buffer);
    return rc;
}

/* The segments behind the last block, as many as a block has. */
static int gather(struct blocks *b)
{
    sqlite3_stmt *s = b->statements[BLOCK_SEGMENT];
    uint64_t behind;
    int rc = newest_block(b, &b->next.before, &behind);

    if (!b->terms && !(b->terms = calloc(1, sizeof(*b->terms))))
        return SQLITE_NOMEM;
    terms_clear(b->terms);
    b->next.count = 0;
    if (rc != SQLITE_OK)
        return rc;
    bind_seq(s, 1, behind);
    bind_int(s, 2, BLOCK_SEGMENTS);
    while ((rc = statement_row(s)) == SQLITE_ROW) {
        rc = note_row(b, s);
        if (rc != SQLITE_OK) {
            sqlite3_reset(s);
            return rc;
        }
    }
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static void describe(struct block *block)
{
    block->first = block->spans[0].first;
    block->last = block->spans[block->count - 1].first;
    block->time_min = INT64_MAX;
    block->time_max = INT64_MIN;
    for (uint32_t i = 0; i < block->count; i++) {
        const struct block_span *span = &block->spans[i];
        block->time_min = span->time_min < block->time_min ? span->time_min : block->time_min;
        block->time_max = span->time_max > block->time_max ? span->time_max : block->time_max;
    }
}

static int write_block(struct blocks *b, const struct block *block)
{
    sqlite3_stmt *s = b->statements[BLOCK_ADD];

    bind_seq(s, 1, block->first);
    bind_seq(s, 2, block->last);
    bind_seq(s, 3, block->before);
    bind_int(s, 4, block->time_min);
    bind_int(s, 5, block->time_max);
    bind_seq(s, 6, block_sum(block));
    int rc = statement_run(s);
    if (rc != SQLITE_OK)
        return rc;
    s = b->statements[BLOCK_ADD_SPANS];
    bind_seq(s, 1, block->first);
    bind_seq(s, 2, spans_sum(block));
    bind_bytes(s, 3, block->spans, block->count * sizeof(block->spans[0]));
    return statement_run(s);
}

static int write_terms(struct blocks *b, uint64_t block)
{
    sqlite3_stmt *s = b->statements[BLOCK_ADD_TERM];

    for (uint32_t i = 0; i < b->terms->count; i++) {
        const struct term *t = &b->terms->terms[i];
        bind_seq(s, 1, block);
        bind_int(s, 2, t->field);
        bind_bytes(s, 3, b->terms->text + t->at, t->len);
        bind_seq(s, 4, t->mask);
        int rc = statement_run(s);
        if (rc != SQLITE_OK)
            return rc;
    }
    return SQLITE_OK;
}

/* The next one is complete. */
static int finish(struct blocks *b)
{
    describe(&b->next);
    int rc = write_block(b, &b->next);
    if (rc == SQLITE_OK)
        rc = write_terms(b, b->next.first);
    b->next.before = b->next.first;
    b->next.count = 0;
    terms_clear(b->terms);
    return rc;
}

int blocks_make(struct blocks *b)
{
    b->following = false;
    int rc = gather(b);
    return rc == SQLITE_OK && b->next.count == BLOCK_SEGMENTS ? finish(b) : rc;
}

/* From disk, after a start or a rollback; what cannot be read now is left to the chore. */
static int follow(struct blocks *b)
{
    int rc;

    while ((rc = gather(b)) == SQLITE_OK && b->next.count == BLOCK_SEGMENTS)
        if ((rc = finish(b)) != SQLITE_OK)
            return rc;
    b->following = rc == SQLITE_OK;
    return rc == DATABASE_UNREADABLE ? SQLITE_OK : rc;
}

int blocks_add(struct blocks *b, const struct segment *s)
{
    if (!b->following)
        return follow(b);
    int rc = note_segment(b, s, true);
    return rc == SQLITE_OK && b->next.count == BLOCK_SEGMENTS ? finish(b) : rc;
}

void blocks_forget(struct blocks *b, uint64_t through)
{
    if (through == UINT64_MAX || (b->next.count > 0 && through >= b->next.spans[0].first))
        b->following = false;
}

/* ---- searching ---- */

/* The row that a statement stands on, without its spans. Resets it. */
static bool load_head(struct block *out, sqlite3_stmt *row)
{
    out->first = column_seq(row, 0);
    out->last = column_seq(row, 1);
    out->before = column_seq(row, 2);
    out->time_min = sqlite3_column_int64(row, 3);
    out->time_max = sqlite3_column_int64(row, 4);
    out->count = 0;
    bool good = block_sum(out) == column_seq(row, 5);
    sqlite3_reset(row);
    return good;
}

static bool copy_spans(struct block *out, sqlite3_stmt *row)
{
    const void *spans = sqlite3_column_blob(row, 1);
    size_t size = (size_t)sqlite3_column_bytes(row, 1);

    if (!spans || size > sizeof(out->spans) || size % sizeof(out->spans[0]) != 0)
        return false;
    out->count = (uint32_t)(size / sizeof(out->spans[0]));
    memcpy(out->spans, spans, size);
    return spans_sum(out) == column_seq(row, 0);
}

static int load_spans(struct blocks *b, struct block *out)
{
    sqlite3_stmt *s = b->statements[BLOCK_SPANS];

    bind_seq(s, 1, out->first);
    int rc = statement_row(s);
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? SQLITE_NOTFOUND : rc;
    bool good = copy_spans(out, s);
    sqlite3_reset(s);
    return good ? SQLITE_OK : SQLITE_NOTFOUND;
}

static uint64_t mask_of_times(const struct block *b, const struct block_wish *wish)
{
    uint64_t mask = 0;

    for (uint32_t i = 0; i < b->count; i++)
        if (b->spans[i].time_max >= wish->since_ms && b->spans[i].time_min <= wish->until_ms)
            mask |= (uint64_t)1 << i;
    return mask;
}

/* What a search of one block has found out so far. */
struct search {
    struct blocks *blocks;
    uint64_t block;
    unsigned looked;
};

static int mask_of_value(struct search *q, unsigned field, const char *value, uint32_t len, uint64_t *mask)
{
    sqlite3_stmt *s = q->blocks->statements[BLOCK_TERM];
    int64_t one = 0;

    bind_seq(s, 1, q->block);
    bind_int(s, 2, field);
    bind_bytes(s, 3, value, len);
    int rc = statement_int(s, 0, &one);
    *mask |= (uint64_t)one;
    q->looked++;
    return rc;
}

static int mask_of_kind(struct search *q, uint8_t kind, uint64_t *mask)
{
    return mask_of_value(q, KIND_FIELD, (const char *)&kind, 1, mask);
}

static int mask_of_list(struct search *q, unsigned field, const struct filter *f, uint64_t *mask)
{
    const struct filter_list *list = &f->fields[field];
    int rc = SQLITE_OK;

    *mask = 0;
    for (uint32_t i = list->first; rc == SQLITE_OK && i < list->first + list->count; i++)
        rc = mask_of_value(q, field, filter_text(f, i), f->values[i].len, mask);
    return rc;
}

static int narrow_by_filter(struct search *q, const struct filter *f, uint64_t *mask)
{
    int rc = SQLITE_OK;

    for (unsigned field = EVENT_FIELD_COUNT;
         rc == SQLITE_OK && field-- > 0 && *mask;) { /* signals are rarest */
        uint64_t found;
        if (!f->fields[field].given || f->fields[field].count > VALUES_MAX)
            continue;
        rc = mask_of_list(q, field, f, &found);
        *mask &= found;
    }
    return rc;
}

/* Segments that have what the filter wants of the kinds that it is for; those that have a GAP pass by it. */
static int narrow(struct search *q, const struct block_wish *wish, uint64_t *mask)
{
    uint64_t gaps = 0, sent = 0;
    int rc = SQLITE_OK;

    if (!(wish->kinds & 1u << EVENT_MESSAGE)) {
        if (wish->kinds & 1u << EVENT_SENT)
            rc = mask_of_kind(q, EVENT_SENT, &sent);
        *mask &= sent;
    }
    if (rc == SQLITE_OK && wish->filter)
        rc = narrow_by_filter(q, wish->filter, mask);
    if (rc == SQLITE_OK && wish->kinds & 1u << EVENT_GAP)
        rc = mask_of_kind(q, EVENT_GAP, &gaps);
    *mask |= gaps;
    return rc;
}

/* A block whose head is good: its mask, and its spans if there is anything to be looked at. */
static int fill(struct blocks *b, const struct block_wish *wish, struct block *out, unsigned *looked)
{
    struct search q = {.blocks = b, .block = out->first, .looked = *looked};
    int rc = SQLITE_OK;

    out->mask = out->time_max < wish->since_ms || out->time_min > wish->until_ms ? 0 : UINT64_MAX;
    if (out->mask)
        rc = narrow(&q, wish, &out->mask);
    if (rc == SQLITE_OK && out->mask) {
        rc = load_spans(b, out);
        q.looked++;
    }
    if (out->count > 0)
        out->mask &= mask_of_times(out, wish);
    *looked = q.looked;
    return rc;
}

int blocks_find(struct blocks *b, uint64_t first, const struct block_wish *wish, struct block *out,
                unsigned *looked)
{
    sqlite3_stmt *s = b->statements[BLOCK_AT];

    *looked = 1;
    bind_seq(s, 1, first);
    int rc = statement_row(s);
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? SQLITE_NOTFOUND : rc;
    if (!load_head(out, s) || out->first > first || out->last < first)
        return SQLITE_NOTFOUND;
    return fill(b, wish, out, looked);
}

int blocks_beside(struct blocks *b, const struct block *from, bool below, const struct block_wish *wish,
                  struct block *out, unsigned *looked)
{
    sqlite3_stmt *s = b->statements[below ? BLOCK_BELOW : BLOCK_ABOVE];
    uint64_t first = from->first, before = from->before;

    *looked = 1;
    bind_seq(s, 1, first);
    int rc = statement_row(s);
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? SQLITE_NOTFOUND : rc;
    if (!load_head(out, s) || (below ? out->first != before : out->before != first))
        return SQLITE_NOTFOUND;
    return fill(b, wish, out, looked);
}
