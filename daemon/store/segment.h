/*
 * A segment: consecutive events and their lines, as one row of the history; and how a row is read back. Store
 * thread only.
 */
#ifndef IMD_SEGMENT_H
#define IMD_SEGMENT_H

#include "bulk.h"
#include "storage.h"

#include <sqlite3.h>
#include <stdbool.h>

/*
 * Of lines, about; a longer line is a segment by itself. Who looks for one event reads all of its segment;
 * who looks for none passes 64 of them at a time.
 */
#define SEGMENT_BYTES 32768

/* Where a segment is that is not in its row; kept there, in the machine's byte order. sum: of it and of the
 * row. */
struct segment_place {
    uint64_t file;
    uint64_t events, lines; /* where they begin */
    uint64_t count, len;    /* how many events, bytes of lines */
    uint64_t sum;
};

struct segment {
    uint64_t first, last;
    int64_t time_min, time_max;
    uint64_t lines_sum;
    const struct storage_event *events;
    uint32_t count;
    const char *lines;
    size_t len;
    bool placed; /* as `place` says */
    struct segment_place place;
};

/* Columns, in this order, of what segment_load reads. */
#define SEGMENT_HEAD \
    "first, last, time_min, time_max, sum, lines_sum, events, iif(length(events) = 0, lines, NULL)"

/* Where a row's events are kept, aligned, and lines that are not in a row; grows, and is used again. */
struct segment_buffer {
    struct bulk *bulk;
    struct storage_event *events;
    size_t capacity;
    char *lines;
    size_t lines_capacity;
};
int segment_buffer_reserve(struct segment_buffer *b, size_t events); /* SQLITE_OK, SQLITE_NOMEM */
void segment_buffer_deinit(struct segment_buffer *b);

/* Whether a segment was read, and is what was written. UNREADABLE: it cannot be, now. */
enum segment_verdict { SEGMENT_GOOD, SEGMENT_BAD, SEGMENT_NO_MEMORY, SEGMENT_UNREADABLE };
int segment_code(enum segment_verdict v); /* SQLITE_OK but for the last two */

enum segment_verdict segment_load(struct segment *s, sqlite3_stmt *row, struct segment_buffer *b);
/* Only first and last; no file is read for that. */
enum segment_verdict segment_load_ends(struct segment *s, sqlite3_stmt *row, struct segment_buffer *b);
/* The lines, if they are not placed of a row's column; they stay until that row is reset and the buffer used.
 */
enum segment_verdict segment_load_lines(struct segment *s, sqlite3_stmt *row, int column,
                                        struct segment_buffer *b);

void segment_lines_done(struct segment_buffer *b); /* they were used: a very large buffer is not kept */

uint64_t segment_sum(const struct segment *s);                     /* over all but lines, len and place */
uint64_t segment_place_sum(const struct segment *s, uint64_t sum); /* sum: the segment's */
uint64_t segment_lines_sum(const char *lines, size_t len);

/* A GAP that the store recorded, which stands for all of first .. last. */
static inline bool segment_is_gap(const struct segment *s)
{
    return s->count == 1 && s->events[0].kind == EVENT_GAP && s->first < s->last;
}

#endif
