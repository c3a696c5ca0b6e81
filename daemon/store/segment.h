/*
 * A segment: consecutive events and their lines, as one row of the history; and how a row is read back. Store
 * thread only.
 */
#ifndef IMD_SEGMENT_H
#define IMD_SEGMENT_H

#include "storage.h"

#include <sqlite3.h>
#include <stdbool.h>

/*
 * Of lines, about; a longer line is a segment by itself. Who looks for one event reads all of its segment;
 * who looks for none passes 64 of them at a time.
 */
#define SEGMENT_BYTES 32768

struct segment {
    uint64_t first, last;
    int64_t time_min, time_max;
    uint64_t lines_sum;
    const struct storage_event *events;
    uint32_t count;
    const char *lines;
    size_t len;
};

/* Columns, in this order, of what segment_load reads. */
#define SEGMENT_HEAD "first, last, time_min, time_max, sum, lines_sum, events"

/* Where a row's events are kept, aligned; grows, and is used again. */
struct segment_buffer {
    struct storage_event *events;
    size_t capacity;
};
int segment_buffer_reserve(struct segment_buffer *b, size_t events); /* SQLITE_OK, SQLITE_NOMEM */
void segment_buffer_deinit(struct segment_buffer *b);

/* Whether a segment was read, and is what was written. */
enum segment_verdict { SEGMENT_GOOD, SEGMENT_BAD, SEGMENT_NO_MEMORY };
enum segment_verdict segment_load(struct segment *s, sqlite3_stmt *row, struct segment_buffer *b);
/* The lines, of another row's column; they stay until that row is reset. */
enum segment_verdict segment_load_lines(struct segment *s, sqlite3_stmt *row, int column);

uint64_t segment_sum(const struct segment *s); /* over all but lines and len */
uint64_t segment_lines_sum(const char *lines, size_t len);

/* A GAP that the store recorded, which stands for all of first .. last. */
static inline bool segment_is_gap(const struct segment *s)
{
    return s->count == 1 && s->events[0].kind == EVENT_GAP && s->first < s->last;
}

#endif
