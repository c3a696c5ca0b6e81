/*
 * Line framing: bytes come in with arbitrary splits, whole lines come out. Both ends use it.
 *
 * The reader owns one buffer that grows up to `max` bytes and shrinks back when a large line has gone. A line
 * longer than `max` is reported once, as LINE_TOO_LONG, and its rest is skipped without being kept.
 *
 *     char *room; size_t n;
 *     line_reader_room(&r, &room, &n)   where to read() to, at least 1 byte
 *     line_reader_filled(&r, got)
 *     while ((k = line_reader_next(&r, &line, &len)) != LINE_NONE) ...
 *
 * A line is given without its '\n', which stays in the buffer behind it (so a parser may rely on line[len] ==
 * '\n'). It is valid until the next line_reader_room. Not thread-safe.
 */
#ifndef IMD_PROTOCOL_LINE_H
#define IMD_PROTOCOL_LINE_H

#include <stdbool.h>
#include <stddef.h>

enum line_result { LINE_NONE, LINE_READY, LINE_TOO_LONG };

/* Where buffers come from: `resize` is as realloc, or as free when n is 0. */
struct line_memory {
    void *(*resize)(struct line_memory *m, void *p, size_t n);
}; /* The bytes of a buffer from it, once they are read, are moved to a new one only. */

struct line_reader {
    struct line_memory *memory; /* NULL: malloc's */
    char *buffer;
    size_t capacity;
    size_t start;   /* first byte not yet given out */
    size_t scanned; /* bytes from start that are known to hold no '\n' */
    size_t filled;
    size_t max;
    bool skipping; /* inside the rest of a line that was too long */
};

void line_reader_init(struct line_reader *r, size_t max, struct line_memory *m);
void line_reader_deinit(struct line_reader *r); /* safe to call twice */

/* 0, -ENOMEM, or -ENOBUFS: the buffer is full of lines that were not taken. */
int line_reader_room(struct line_reader *r, char **room, size_t *size);
void line_reader_filled(struct line_reader *r, size_t n);
enum line_result line_reader_next(struct line_reader *r, char **line, size_t *len);

/*
 * A buffer for many readers that are read one after the other: borrowed before line_reader_room, and given
 * back when all that was read is handled, but for a reader that keeps an unfinished line in it.
 */
struct line_spare {
    char *buffer;
    size_t capacity;
};
void line_reader_borrow(struct line_reader *r, struct line_spare *spare);
void line_reader_give_back(struct line_reader *r, struct line_spare *spare);

/* For a new reader: what another one had read and not given out, however much that is. 0 or -ENOMEM. */
int line_reader_restore(struct line_reader *r, const char *bytes, size_t n, bool skipping);

/* Bytes of an unfinished line that are kept. */
size_t line_reader_pending(const struct line_reader *r);

#endif
