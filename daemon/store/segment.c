/* See segment.h. */
#include "segment.h"
#include "checksum.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define HEAD_SEED 0x7365676d656e74
#define LINES_SEED 0x6c696e6573
#define PLACE_SEED 0x706c616365

#define LINES_KEPT (256u << 10) /* bytes of a buffer between two uses */

int segment_buffer_reserve(struct segment_buffer *b, size_t events)
{
    if (events <= b->capacity)
        return SQLITE_OK;
    void *grown = realloc(b->events, events * sizeof(*b->events));
    if (!grown)
        return SQLITE_NOMEM;
    b->events = grown;
    b->capacity = events;
    return SQLITE_OK;
}

void segment_buffer_deinit(struct segment_buffer *b)
{
    free(b->events);
    free(b->lines);
    *b = (struct segment_buffer){.bulk = b->bulk};
}

uint64_t segment_sum(const struct segment *s)
{
    uint64_t head[] = {s->first, s->last, (uint64_t)s->time_min, (uint64_t)s->time_max, s->lines_sum};

    return checksum_add(checksum_add(HEAD_SEED, head, sizeof(head)), s->events,
                        s->count * sizeof(*s->events));
}

uint64_t segment_place_sum(const struct segment *s, uint64_t sum)
{
    uint64_t head[] = {s->first, s->last, (uint64_t)s->time_min, (uint64_t)s->time_max, sum, s->lines_sum};

    return checksum_add(checksum_add(PLACE_SEED, head, sizeof(head)), &s->place,
                        offsetof(struct segment_place, sum));
}

uint64_t segment_lines_sum(const char *lines, size_t len)
{
    return checksum_add(LINES_SEED, lines, len);
}

static bool out_of_memory(sqlite3_stmt *row)
{
    return (sqlite3_errcode(sqlite3_db_handle(row)) & 0xff) == SQLITE_NOMEM;
}

static enum segment_verdict verdict_of(int rc)
{
    return rc == SQLITE_OK         ? SEGMENT_GOOD
           : rc == SQLITE_NOTFOUND ? SEGMENT_BAD
           : rc == SQLITE_NOMEM    ? SEGMENT_NO_MEMORY
                                   : SEGMENT_UNREADABLE;
}

int segment_code(enum segment_verdict v)
{
    return v == SEGMENT_NO_MEMORY ? SQLITE_NOMEM : v == SEGMENT_UNREADABLE ? DATABASE_UNREADABLE : SQLITE_OK;
}

static void load_head(struct segment *s, sqlite3_stmt *row)
{
    *s = (struct segment){.first = column_seq(row, 0),
                          .last = column_seq(row, 1),
                          .time_min = sqlite3_column_int64(row, 2),
                          .time_max = sqlite3_column_int64(row, 3),
                          .lines_sum = column_seq(row, 5)};
}

static enum segment_verdict load_place(struct segment *s, sqlite3_stmt *row)
{
    const void *place = sqlite3_column_blob(row, 7);

    s->placed = true;
    if (!place)
        return out_of_memory(row) ? SEGMENT_NO_MEMORY : SEGMENT_BAD;
    if ((size_t)sqlite3_column_bytes(row, 7) != sizeof(s->place))
        return SEGMENT_BAD;
    memcpy(&s->place, place, sizeof(s->place));
    return s->place.sum == segment_place_sum(s, column_seq(row, 4)) ? SEGMENT_GOOD : SEGMENT_BAD;
}

static enum segment_verdict load_placed_events(struct segment *s, struct segment_buffer *b)
{
    s->count = (uint32_t)s->place.count;
    s->events = b->events;
    return verdict_of(bulk_read(b->bulk, (struct bulk_place){s->place.file, s->place.events}, b->events,
                                s->count * sizeof(*s->events)));
}

static enum segment_verdict check(const struct segment *s, sqlite3_stmt *row)
{
    return segment_sum(s) == column_seq(row, 4) ? SEGMENT_GOOD : SEGMENT_BAD;
}

static enum segment_verdict load_placed(struct segment *s, sqlite3_stmt *row, struct segment_buffer *b)
{
    enum segment_verdict v = load_place(s, row);

    if (v == SEGMENT_GOOD && segment_buffer_reserve(b, s->place.count) != SQLITE_OK)
        v = SEGMENT_NO_MEMORY;
    if (v == SEGMENT_GOOD)
        v = load_placed_events(s, b);
    return v == SEGMENT_GOOD ? check(s, row) : v;
}

enum segment_verdict segment_load(struct segment *s, sqlite3_stmt *row, struct segment_buffer *b)
{
    load_head(s, row);
    const void *events = sqlite3_column_blob(row, 6);
    size_t size = (size_t)sqlite3_column_bytes(row, 6);
    if (!events && out_of_memory(row))
        return SEGMENT_NO_MEMORY;
    if (size == 0)
        return load_placed(s, row, b);
    if (size % sizeof(*s->events) != 0)
        return SEGMENT_BAD;
    s->count = (uint32_t)(size / sizeof(*s->events));
    if (segment_buffer_reserve(b, s->count) != SQLITE_OK)
        return SEGMENT_NO_MEMORY;
    memcpy(b->events, events, size); /* in a page it may lie anywhere */
    s->events = b->events;
    return check(s, row);
}

enum segment_verdict segment_load_ends(struct segment *s, sqlite3_stmt *row, struct segment_buffer *b)
{
    if (sqlite3_column_bytes(row, 6) > 0)
        return segment_load(s, row, b);
    load_head(s, row);
    return load_place(s, row);
}

static char *reserve_lines(struct segment_buffer *b, size_t len)
{
    if (len <= b->lines_capacity)
        return b->lines;
    free(b->lines);
    b->lines_capacity = 0;
    b->lines = malloc(len);
    if (b->lines)
        b->lines_capacity = len;
    return b->lines;
}

static enum segment_verdict load_placed_lines(struct segment *s, struct segment_buffer *b)
{
    s->len = s->place.len;
    s->lines = reserve_lines(b, s->len);
    if (!s->lines)
        return SEGMENT_NO_MEMORY;
    return verdict_of(
        bulk_read(b->bulk, (struct bulk_place){s->place.file, s->place.lines}, b->lines, s->len));
}

static enum segment_verdict load_row_lines(struct segment *s, sqlite3_stmt *row, int column)
{
    s->lines = sqlite3_column_blob(row, column);
    s->len = (size_t)sqlite3_column_bytes(row, column);
    if (s->lines)
        return SEGMENT_GOOD;
    return out_of_memory(row) ? SEGMENT_NO_MEMORY : SEGMENT_BAD;
}

enum segment_verdict segment_load_lines(struct segment *s, sqlite3_stmt *row, int column,
                                        struct segment_buffer *b)
{
    enum segment_verdict v = s->placed ? load_placed_lines(s, b) : load_row_lines(s, row, column);

    if (v != SEGMENT_GOOD)
        return v;
    return segment_lines_sum(s->lines, s->len) == s->lines_sum ? SEGMENT_GOOD : SEGMENT_BAD;
}

void segment_lines_done(struct segment_buffer *b)
{
    if (b->lines_capacity <= LINES_KEPT)
        return;
    free(b->lines);
    b->lines = NULL;
    b->lines_capacity = 0;
}
