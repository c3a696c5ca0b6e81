/*
 * The buffer holds [start, filled): bytes that were read and not yet given out. Lines are given out where
 * they lie.
 *
 * Every byte is looked at once (`scanned` remembers how far the search for '\n' came), moved to the front at
 * most once (a second move needs start > 0 again, which means that its line was given out), and copied by
 * doublings: linear, however the input is split. The buffer never exceeds max + 1, which holds the longest
 * line and its '\n'.
 */
#include "line.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* What an idle reader keeps: the size of one read that empties a usual socket buffer in few calls. */
#define LINE_BUFFER_KEPT ((size_t)64 * 1024)

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

void line_reader_init(struct line_reader *r, size_t max, struct line_memory *m)
{
    *r = (struct line_reader){.max = max, .memory = m};
}

static void *resize(const struct line_reader *r, size_t n)
{
    if (r->memory)
        return r->memory->resize(r->memory, r->buffer, n);
    if (n)
        return realloc(r->buffer, n);
    free(r->buffer);
    return NULL;
}

void line_reader_deinit(struct line_reader *r)
{
    resize(r, 0);
    line_reader_init(r, r->max, r->memory);
}

static int buffer_resize(struct line_reader *r, size_t capacity)
{
    char *buffer = resize(r, capacity);
    if (!buffer)
        return -ENOMEM;
    r->buffer = buffer;
    r->capacity = capacity;
    return 0;
}

/* Memory that others may look at at any moment is not moved within itself. False: no memory. */
static bool pending_to_fresh_buffer(struct line_reader *r, size_t pending)
{
    char *fresh = r->memory->resize(r->memory, NULL, r->capacity);
    if (!fresh)
        return false;
    memcpy(fresh, r->buffer + r->start, pending);
    resize(r, 0);
    r->buffer = fresh;
    return true;
}

static void pending_to_front(struct line_reader *r)
{
    size_t pending = r->filled - r->start;
    if (r->start > 0 && pending > 0 && r->memory && !pending_to_fresh_buffer(r, pending))
        return;
    if (r->start > 0 && pending > 0 && !r->memory)
        memmove(r->buffer, r->buffer + r->start, pending);
    r->start = 0;
    r->filled = pending;
}

static int buffer_grow(struct line_reader *r)
{
    size_t wanted = r->capacity ? r->capacity * 2 : LINE_BUFFER_KEPT;
    wanted = min_size(wanted, r->max + 1);
    return wanted > r->capacity ? buffer_resize(r, wanted) : 0;
}

int line_reader_room(struct line_reader *r, char **room, size_t *size)
{
    if (r->start == r->filled && r->capacity > LINE_BUFFER_KEPT)
        (void)buffer_resize(r, LINE_BUFFER_KEPT); /* a buffer that cannot shrink is only larger */
    if (r->start == r->filled || r->capacity - r->filled < r->capacity / 2)
        pending_to_front(r);
    if (r->capacity == 0 || r->capacity - r->filled < r->capacity / 2) {
        int error = buffer_grow(r);
        if (error < 0 && r->filled == r->capacity)
            return error;
    }
    if (r->filled == r->capacity)
        return -ENOBUFS;
    *room = r->buffer + r->filled;
    *size = r->capacity - r->filled;
    return 0;
}

void line_reader_filled(struct line_reader *r, size_t n)
{
    r->filled += n;
}

/* The '\n' that ends the current line, or NULL. */
static char *find_newline(struct line_reader *r)
{
    size_t from = r->start + r->scanned;
    char *newline = from < r->filled ? memchr(r->buffer + from, '\n', r->filled - from) : NULL;
    if (!newline)
        r->scanned = r->filled - r->start;
    return newline;
}

static void consume_to(struct line_reader *r, size_t offset)
{
    r->start = offset;
    r->scanned = 0;
}

enum line_result line_reader_next(struct line_reader *r, char **line, size_t *len)
{
    for (;;) {
        char *newline = find_newline(r);
        size_t end = newline ? (size_t)(newline - r->buffer) : r->filled;
        size_t length = end - r->start;
        bool skipped = r->skipping, too_long = length > r->max;

        if (!newline && !skipped && !too_long)
            return LINE_NONE;
        *line = r->buffer + r->start;
        *len = length;
        consume_to(r, newline ? end + 1 : end);
        r->skipping = !newline;
        if (!skipped)
            return too_long ? LINE_TOO_LONG : LINE_READY;
        if (!newline)
            return LINE_NONE;
    }
}

void line_reader_borrow(struct line_reader *r, struct line_spare *spare)
{
    if (r->buffer)
        return;
    r->buffer = spare->buffer;
    r->capacity = spare->buffer ? spare->capacity : 0;
    spare->buffer = NULL;
}

void line_reader_give_back(struct line_reader *r, struct line_spare *spare)
{
    if (r->start != r->filled)
        return;
    if (!spare->buffer && r->capacity <= LINE_BUFFER_KEPT)
        *spare = (struct line_spare){.buffer = r->buffer, .capacity = r->capacity};
    else
        resize(r, 0);
    r->buffer = NULL;
    r->filled = 0;
    atomic_signal_fence(memory_order_seq_cst); /* never a start that is less than filled, without a buffer */
    r->start = r->capacity = 0;
}

int line_reader_restore(struct line_reader *r, const char *bytes, size_t n, bool skipping)
{
    r->skipping = skipping;
    if (n && buffer_resize(r, n) < 0)
        return -ENOMEM;
    if (n)
        memcpy(r->buffer, bytes, n);
    r->filled = n;
    return 0;
}

size_t line_reader_pending(const struct line_reader *r)
{
    return r->filled - r->start;
}
