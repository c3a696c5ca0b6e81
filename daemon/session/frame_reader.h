/*
 * Bytes of the server's come in with arbitrary splits, whole messages and control frames come out. A message
 * that lies whole in the buffer is given out where it lies; of a large one the bytes are read right to where
 * it is put together. Pure.
 *
 *     frame_reader_room(&r, &at, &n)    where to read() to, at least 1 byte
 *     frame_reader_filled(&r, got)
 *     while (frame_reader_next(&r, &in) != INCOMING_NONE) ...
 */
#ifndef IMD_FRAME_READER_H
#define IMD_FRAME_READER_H

#include "assembly.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_READER_BUFFER (64u << 10)

enum incoming_kind {
    INCOMING_NONE,    /* more bytes are needed */
    INCOMING_MESSAGE, /* a binary one */
    INCOMING_TEXT,    /* only its length: nobody wants its content */
    INCOMING_PING,
    INCOMING_PONG,
    INCOMING_CLOSE,
    INCOMING_BROKEN, /* these three are the end: nothing more is given out */
    INCOMING_TOO_LARGE,
    INCOMING_NO_MEMORY,
};

struct incoming {
    const uint8_t *bytes; /* valid until the next call */
    size_t len;
};

struct frame_reader {
    size_t max;           /* of a message */
    uint8_t *buffer;      /* NULL before the first room */
    size_t start, filled; /* what was read and is not used yet */
    struct assembly assembly;
    uint8_t opcode; /* of the message under way; 0: none is */
    bool in_frame;  /* a part of its payload was used */
    bool final;     /* it is the last of its message */
    bool direct;    /* the room that was given lies in the assembly */
    bool given;     /* the message in the assembly was given out */
    size_t left;    /* of the payload of the frame under way */
    size_t text_len;
    enum incoming_kind end;
};

void frame_reader_deinit(struct frame_reader *r); /* may be used again; max stays */

/* 0 or -ENOMEM. */
int frame_reader_room(struct frame_reader *r, uint8_t **at, size_t *n);
void frame_reader_filled(struct frame_reader *r, size_t n);
enum incoming_kind frame_reader_next(struct frame_reader *r, struct incoming *in);

/* Bytes that came before the first frame, and are not for this reader: what is there, and how much is used.
 */
static inline const uint8_t *frame_reader_pending(const struct frame_reader *r, size_t *n)
{
    *n = r->filled - r->start;
    return r->buffer ? r->buffer + r->start : NULL;
}
void frame_reader_skip(struct frame_reader *r, size_t n);

/* The message just given out, malloc'ed, for the caller to keep and to free; a large one is not copied.
 * NULL: no memory; the message is still there. */
uint8_t *frame_reader_take(struct frame_reader *r, const struct incoming *message);

#endif
