/* See segment.h. */
#include "segment.h"
#include "checksum.h"

#include <stdlib.h>
#include <string.h>

#define HEAD_SEED 0x7365676d656e74
#define LINES_SEED 0x6c696e6573

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
    *b = (struct segment_buffer){0};
}

uint64_t segment_sum(const struct segment *s)
{
    uint64_t head[] = {s->first, s->last, (uint64_t)s->time_min, (uint64_t)s->time_max, s->lines_sum};

    return checksum_add(checksum_add(HEAD_SEED, head, sizeof(head)), s->events,
                        s->count * sizeof(*s->events));
}

uint64_t segment_lines_sum(const char *lines, size_t len)
{
    return checksum_add(LINES_SEED, lines, len);
}

static bool out_of_memory(sqlite3_stmt *row)
{
    return (sqlite3_errcode(sqlite3_db_handle(row)) & 0xff) == SQLITE_NOMEM;
}

enum segment_verdict segment_load(struct segment *s, sqlite3_stmt *row, struct segment_buffer *b)
{
    *s = (struct segment){.first = (uint64_t)sqlite3_column_int64(row, 0),
                          .last = (uint64_t)sqlite3_column_int64(row, 1),
                          .time_min = sqlite3_column_int64(row, 2),
                          .time_max = sqlite3_column_int64(row, 3),
                          .lines_sum = (uint64_t)sqlite3_column_int64(row, 5)};
    const void *events = sqlite3_column_blob(row, 6);
    size_t size = (size_t)sqlite3_column_bytes(row, 6);
    if (!events)
        return out_of_memory(row) ? SEGMENT_NO_MEMORY : SEGMENT_BAD;
    if (size % sizeof(*s->events) != 0)
        return SEGMENT_BAD;
    s->count = (uint32_t)(size / sizeof(*s->events));
    if (segment_buffer_reserve(b, s->count) != SQLITE_OK)
        return SEGMENT_NO_MEMORY;
    memcpy(b->events, events, size); /* in a page it may lie anywhere */
    s->events = b->events;
    return segment_sum(s) == (uint64_t)sqlite3_column_int64(row, 4) ? SEGMENT_GOOD : SEGMENT_BAD;
}

enum segment_verdict segment_load_lines(struct segment *s, sqlite3_stmt *row, int column)
{
    s->lines = sqlite3_column_blob(row, column);
    s->len = (size_t)sqlite3_column_bytes(row, column);
    if (!s->lines)
        return out_of_memory(row) ? SEGMENT_NO_MEMORY : SEGMENT_BAD;
    return segment_lines_sum(s->lines, s->len) == s->lines_sum ? SEGMENT_GOOD : SEGMENT_BAD;
}
