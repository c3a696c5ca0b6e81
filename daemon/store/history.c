/*
 * See history.h. A row an event with its indexes would cost 3-5 us each, a segment costs its bytes; those of
 * a large append go to a file (bulk.h), and its segments are rows that say where. Lines are written from
 * where they are; only the places of lines in the events are made relative to the segment.
 */
#include "history.h"

#include <string.h>

#define PRUNE_SEGMENTS 16   /* a step: a few hundred us */
#define PLACED_SIZE "38000" /* of a segment in a file, about: it is freed with its file only */

static const char *const sql[HISTORY_STATEMENTS] = {
    [HISTORY_ADD] = "INSERT INTO segment VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    [HISTORY_HEAD] = "SELECT sum FROM segment WHERE first = ?1",
    [HISTORY_OLDEST] = "SELECT first FROM segment ORDER BY first LIMIT 1",
    [HISTORY_NEWEST] = "SELECT " SEGMENT_HEAD " FROM segment ORDER BY first DESC LIMIT 1",
    [HISTORY_EDGE] = "SELECT first, last, time_max, iif(length(events) = 0, " PLACED_SIZE
                     ", length(events) + length(lines)) FROM segment ORDER BY first LIMIT ?1",
    [HISTORY_DROP] = "DELETE FROM segment WHERE first <= ?1",
    [HISTORY_DROP_TERMS] =
        "DELETE FROM term WHERE block IN (SELECT first FROM block WHERE first <= ?1 AND last <= ?1)",
    [HISTORY_DROP_SPANS] = "DELETE FROM block_segments WHERE first IN (SELECT first FROM block WHERE first "
                           "<= ?1 AND last <= ?1)",
    [HISTORY_DROP_BLOCKS] = "DELETE FROM block WHERE first <= ?1 AND last <= ?1",
};

static int read_oldest(struct history *h)
{
    int64_t oldest = 0;
    int rc = statement_int(h->statements[HISTORY_OLDEST], 0, &oldest);

    h->oldest = (uint64_t)oldest;
    return rc;
}

/* Where the newest segment is damaged its numbers are not known: then those that were reserved are. */
static int read_last(struct history *h)
{
    sqlite3_stmt *s = h->statements[HISTORY_NEWEST];
    struct segment newest;
    uint64_t reserved = 0;
    int rc = statement_row(s);

    h->last = h->pruned;
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? SQLITE_OK : rc;
    enum segment_verdict v = segment_load_ends(&newest, s, &h->buffer);
    sqlite3_reset(s);
    if (v == SEGMENT_NO_MEMORY)
        return SQLITE_NOMEM;
    rc = v == SEGMENT_BAD ? database_get(h->database, "reserved", 0, &reserved) : SQLITE_OK;
    h->last = v == SEGMENT_BAD ? reserved : newest.last;
    return rc;
}

int history_refresh(struct history *h)
{
    int rc = bulk_refresh(h->bulk);

    blocks_forget(h->blocks, UINT64_MAX);
    if (rc == SQLITE_OK)
        rc = database_get(h->database, "pruned", 0, &h->pruned);
    if (rc == SQLITE_OK)
        rc = read_oldest(h);
    return rc == SQLITE_OK ? read_last(h) : rc;
}

int history_open(struct history *h, struct database *d, struct bulk *b, struct blocks *blocks)
{
    h->database = d;
    h->bulk = h->buffer.bulk = b;
    h->blocks = blocks;
    int rc = bulk_open(b, d);
    if (rc == SQLITE_OK)
        rc = database_prepare(d, sql, HISTORY_STATEMENTS, h->statements);
    return rc == SQLITE_OK ? history_refresh(h) : rc;
}

void history_close(struct history *h)
{
    database_finalize(h->statements, HISTORY_STATEMENTS);
    if (h->bulk)
        bulk_close(h->bulk);
}

void history_deinit(struct history *h)
{
    history_close(h);
    segment_buffer_deinit(&h->buffer);
}

/* ---- appending ---- */

static int insert(struct history *h, struct segment *s)
{
    sqlite3_stmt *add = h->statements[HISTORY_ADD];
    uint64_t sum = segment_sum(s);

    bind_seq(add, 1, s->first);
    bind_seq(add, 2, s->last);
    bind_int(add, 3, s->time_min);
    bind_int(add, 4, s->time_max);
    bind_seq(add, 5, sum);
    bind_seq(add, 6, s->lines_sum);
    if (s->placed) {
        s->place.sum = segment_place_sum(s, sum);
        bind_bytes(add, 7, "", 0);
        bind_bytes(add, 8, &s->place, sizeof(s->place));
    } else {
        bind_bytes(add, 7, s->events, s->count * sizeof(*s->events));
        bind_bytes(add, 8, s->lines, s->len);
    }
    return statement_run(add);
}

static int is_there(struct history *h, const struct segment *s)
{
    int64_t sum = 0;

    bind_seq(h->statements[HISTORY_HEAD], 1, s->first);
    int rc = statement_int(h->statements[HISTORY_HEAD], 0, &sum);
    return rc == SQLITE_OK && (uint64_t)sum != segment_sum(s) ? SQLITE_CONSTRAINT : rc;
}

static int add(struct history *h, struct segment *s)
{
    if (s->first <= h->last)
        return is_there(h, s);
    int rc = insert(h, s);
    if (rc != SQLITE_OK)
        return rc;
    h->last = s->last;
    h->oldest = h->oldest ? h->oldest : s->first;
    return blocks_add(h->blocks, s);
}

/* How many events from `at` on make a segment: about SEGMENT_BYTES, and without a hole between their lines.
 */
static uint32_t cut(const struct storage_event *events, uint32_t at, uint32_t count)
{
    uint32_t n = 1;
    uint64_t bytes = events[at].len;

    for (; at + n < count; n++) {
        const struct storage_event *e = &events[at + n];
        if (bytes + e->len > SEGMENT_BYTES || e->at != e[-1].at + e[-1].len)
            break;
        bytes += e->len;
    }
    return n;
}

/* An append under way: its events, made relative to their segments, and where it goes. */
struct append {
    const struct storage_event *events; /* as they came */
    struct storage_event *relative;
    uint32_t count;
    const char *lines; /* of the first on */
    size_t len;
    bool placed;
    struct bulk_place place; /* lines, then events */
};

static void make_relative(struct append *a)
{
    for (uint32_t at = 0, n; at < a->count; at += n) {
        n = cut(a->events, at, a->count);
        for (uint32_t i = at; i < at + n; i++)
            a->relative[i].at -= a->events[at].at;
    }
}

static void describe(struct segment *s, const struct append *a, uint32_t at, uint32_t count)
{
    const struct storage_event *events = a->relative + at;
    size_t begin = a->events[at].at - a->events[0].at;

    *s = (struct segment){.first = events[0].seq,
                          .last = events[count - 1].seq,
                          .time_min = events[0].time_ms,
                          .time_max = events[0].time_ms,
                          .events = events,
                          .count = count,
                          .lines = a->lines + begin,
                          .len = (size_t)events[count - 1].at + events[count - 1].len,
                          .placed = a->placed};
    for (uint32_t i = 0; i < count; i++) {
        s->time_min = events[i].time_ms < s->time_min ? events[i].time_ms : s->time_min;
        s->time_max = events[i].time_ms > s->time_max ? events[i].time_ms : s->time_max;
    }
    s->lines_sum = segment_lines_sum(s->lines, s->len);
    if (s->placed)
        s->place = (struct segment_place){.file = a->place.number,
                                          .lines = a->place.at + begin,
                                          .events = a->place.at + a->len + at * sizeof(*events),
                                          .count = count,
                                          .len = s->len};
}

/* One without holes between its lines, which is not there yet, and which a file may hold: it goes with its
 * file. */
static bool is_bulk(const struct history *h, const struct append *a)
{
    uint64_t len = 0;

    for (uint32_t i = 0; i < a->count; i++)
        len += a->events[i].len;
    return a->len >= BULK_MIN && bulk_has_room_for(h->bulk, a->len + a->count * sizeof(*a->events)) &&
           a->len == len && a->events[0].seq > h->last;
}

/* Where no file can be opened, rows take it. */
static int place_append(struct history *h, struct append *a)
{
    size_t size = a->count * sizeof(*a->events);
    int rc = bulk_reserve(h->bulk, a->len + size, a->events[a->count - 1].seq, &a->place);

    if (rc == SQLITE_CANTOPEN)
        return SQLITE_OK;
    if (rc == SQLITE_OK)
        rc = bulk_write(h->bulk, a->place.at, a->lines, a->len);
    if (rc == SQLITE_OK)
        rc = bulk_write(h->bulk, a->place.at + a->len, a->relative, size);
    a->placed = rc == SQLITE_OK;
    return rc;
}

static int add_all(struct history *h, const struct append *a)
{
    struct segment s;
    int rc = SQLITE_OK;

    for (uint32_t at = 0, n; at < a->count && rc == SQLITE_OK; at += n) {
        n = cut(a->events, at, a->count);
        describe(&s, a, at, n);
        rc = add(h, &s);
    }
    return rc;
}

int history_append(struct history *h, const struct storage_event *events, uint32_t count, const char *bytes)
{
    const struct storage_event *last = &events[count - 1];
    struct append a = {.events = events,
                       .count = count,
                       .lines = bytes + events[0].at,
                       .len = (size_t)last->at + last->len - events[0].at};

    if (segment_buffer_reserve(&h->buffer, count) != SQLITE_OK)
        return SQLITE_NOMEM;
    a.relative = memcpy(h->buffer.events, events, count * sizeof(*events));
    make_relative(&a);
    int rc = is_bulk(h, &a) ? place_append(h, &a) : SQLITE_OK;
    return rc == SQLITE_OK ? add_all(h, &a) : rc;
}

int history_add_gap(struct history *h, uint64_t from, uint64_t to, const char *reason, int64_t time_ms)
{
    char line[EVENT_GAP_MAX];
    struct json_writer w;
    struct storage_event event = {
        .seq = to, .time_ms = time_ms, .index.conversation = CONVERSATION_NONE, .kind = EVENT_GAP};
    struct segment s = {.first = from, .last = to, .time_min = time_ms, .time_max = time_ms, .count = 1};

    json_writer_init(&w, line, sizeof(line));
    event_write_gap(&w, from, to, reason);
    event.len = (uint32_t)json_writer_length(&w);
    s.events = &event;
    s.lines = line;
    s.len = event.len;
    s.lines_sum = segment_lines_sum(line, s.len);
    return add(h, &s);
}

/* ---- pruning ---- */

/*
 * The last of the first few that may go. By size: as many as have `excess` bytes, but never the newest,
 * however large it is. By age (excess 0): one that is old, and those before it that are old too, or which
 * bear a time that has not come yet: the clock was wrong when they came, and they would hold up all behind
 * them for ever.
 */
static int find_edge(struct history *h, int64_t old_ms, int64_t now_ms, uint64_t excess, uint64_t *first,
                     uint64_t *last)
{
    sqlite3_stmt *s = h->statements[HISTORY_EDGE];
    bool by_size = excess > 0;
    uint64_t freed = 0;
    int rc;

    bind_int(s, 1, PRUNE_SEGMENTS);
    while ((rc = statement_row(s)) == SQLITE_ROW) {
        int64_t ended = sqlite3_column_int64(s, 2);
        if (by_size ? freed >= excess || column_seq(s, 1) >= h->last : ended >= old_ms && ended <= now_ms)
            break;
        if (!by_size && ended >= old_ms)
            continue;
        *first = column_seq(s, 0);
        *last = column_seq(s, 1);
        freed += column_seq(s, 3);
    }
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? SQLITE_OK : rc;
    return sqlite3_reset(s);
}

static int drop(struct history *h, uint64_t first, uint64_t last)
{
    static const enum history_statement steps[] = {HISTORY_DROP_TERMS, HISTORY_DROP_SPANS,
                                                   HISTORY_DROP_BLOCKS, HISTORY_DROP};

    for (unsigned i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
        sqlite3_stmt *s = h->statements[steps[i]];
        bind_seq(s, 1, steps[i] == HISTORY_DROP ? first : last);
        int rc = statement_run(s);
        if (rc != SQLITE_OK)
            return rc;
    }
    return database_set(h->database, "pruned", last);
}

int history_prune(struct history *h, int64_t old_ms, int64_t now_ms, uint64_t excess, uint64_t *events)
{
    uint64_t oldest = h->oldest, first = 0, last = 0;
    int rc = find_edge(h, old_ms, now_ms, excess, &first, &last);

    *events = 0;
    if (rc != SQLITE_OK || first == 0)
        return rc;
    last = last < first ? first : last > h->last ? h->last : last;
    rc = drop(h, first, last);
    if (rc == SQLITE_OK)
        rc = bulk_drop(h->bulk, last);
    if (rc != SQLITE_OK)
        return rc;
    h->pruned = last;
    blocks_forget(h->blocks, last);
    *events = last >= oldest ? last - oldest + 1 : 0;
    return read_oldest(h);
}

int history_oldest_ms(struct history *h, int64_t *out)
{
    sqlite3_stmt *s = h->statements[HISTORY_EDGE];

    bind_int(s, 1, 1);
    int rc = statement_row(s);
    *out = rc == SQLITE_ROW ? sqlite3_column_int64(s, 2) : INT64_MAX;
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? SQLITE_OK : rc;
    return sqlite3_reset(s);
}
