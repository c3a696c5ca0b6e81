/*
 * See send_queue.h. A block holds frames, or one long message of which a part is framed:
 *
 *     [ done with | framed: at … framed | not framed: framed … fill | room ]
 *
 * The header of a fragment overwrites what was sent before it. One small block is kept when the queue runs
 * empty, since the next message is not far; large ones are given back.
 */
#include "send_queue.h"

#include "frames.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_SIZE ((size_t)64 << 10)

struct send_block {
    struct send_block *next;
    size_t size, fill, at; /* of bytes: how many there are, are used, are done with */
    size_t framed;         /* frames reach up to here */
    bool is_long;          /* one message, sent in fragments */
    bool begun;            /* its first fragment is framed */
    uint8_t bytes[];
};

static struct send_block *block_new(size_t size)
{
    struct send_block *b = malloc(sizeof(*b) + size);

    if (b)
        *b = (struct send_block){.size = size};
    return b;
}

static void add_block(struct send_queue *q, struct send_block *b)
{
    *(q->last ? &q->last->next : &q->first) = b;
    q->last = b;
}

void send_queue_init(struct send_queue *q, uint32_t (*key)(void))
{
    *q = (struct send_queue){.key = key};
}

void send_queue_deinit(struct send_queue *q)
{
    while (q->first) {
        struct send_block *b = q->first;
        q->first = b->next;
        free(b);
    }
    send_queue_init(q, q->key);
}

/* ---- Long messages ---- */

static void begin_long(struct send_queue *q, struct send_block *b, size_t len)
{
    b->is_long = true;
    b->at = b->framed = FRAME_HEADER_MAX;
    b->fill = FRAME_HEADER_MAX + len;
    q->bytes += len;
}

static void frame_next_fragment(struct send_queue *q, struct send_block *b)
{
    size_t left = b->fill - b->framed, n = left < SEND_FRAGMENT_MAX ? left : SEND_FRAGMENT_MAX;
    size_t header = frame_header_size(n);
    uint8_t *payload = b->bytes + b->framed;
    uint32_t key = q->key();

    frame_write_header(payload - header, b->begun ? FRAME_CONTINUATION : FRAME_BINARY, n == left, n, key);
    frame_mask(payload, n, key);
    b->at = b->framed - header;
    b->framed += n;
    b->begun = true;
    q->bytes += header;
}

struct send_block *send_block_new(size_t n, uint8_t **bytes)
{
    struct send_block *b = n > SIZE_MAX / 2 ? NULL : block_new(FRAME_HEADER_MAX + n);

    if (b)
        *bytes = b->bytes + FRAME_HEADER_MAX;
    return b;
}

/* ---- What goes in ---- */

static void commit_frame(struct send_queue *q, struct send_block *b, size_t header, size_t n)
{
    uint8_t *frame = b->bytes + b->fill;
    size_t fitted = frame_header_size(n);
    uint32_t key = q->key();

    if (fitted < header)
        memmove(frame + fitted, frame + header, n);
    frame_write_header(frame, FRAME_BINARY, true, n, key);
    frame_mask(frame + fitted, n, key);
    b->fill += fitted + n;
    b->framed = b->fill;
    q->bytes += fitted + n;
}

void send_queue_append(struct send_queue *q, struct send_block *b, size_t len)
{
    add_block(q, b);
    if (len > SEND_FRAGMENT_MAX)
        begin_long(q, b, len);
    else
        commit_frame(q, b, FRAME_HEADER_MAX, len);
}

uint8_t *send_queue_reserve(struct send_queue *q, size_t n)
{
    struct send_block *b = q->last;

    if (n > SIZE_MAX / 2)
        return NULL;
    q->reserved = n > SEND_FRAGMENT_MAX ? FRAME_HEADER_MAX : frame_header_size(n);
    if (!b || b->is_long || n > SEND_FRAGMENT_MAX || b->size - b->fill < q->reserved + n) {
        size_t need = q->reserved + n;
        b = block_new(need > BLOCK_SIZE ? need : BLOCK_SIZE);
        if (!b)
            return NULL;
        add_block(q, b);
    }
    return b->bytes + b->fill + q->reserved;
}

/* A reservation that was taken back may have left blocks without anything. */
static void drop_empty_blocks(struct send_queue *q)
{
    struct send_block *b;

    while ((b = q->first) && b->at == b->fill && (b->next || b->size > BLOCK_SIZE)) {
        q->first = b->next;
        if (!q->first)
            q->last = NULL;
        free(b);
    }
    if (b && b->at == b->fill)
        b->at = b->fill = b->framed = 0;
}

void send_queue_commit(struct send_queue *q, size_t n)
{
    if (n == 0)
        drop_empty_blocks(q);
    else if (n > SEND_FRAGMENT_MAX)
        begin_long(q, q->last, n);
    else
        commit_frame(q, q->last, q->reserved, n);
}

/* ---- What goes out ---- */

struct send_span send_queue_peek(struct send_queue *q)
{
    struct send_block *b;

    if (q->bytes == 0)
        return (struct send_span){0};
    drop_empty_blocks(q);
    b = q->first;
    if (b->at == b->framed)
        frame_next_fragment(q, b);
    return (struct send_span){b->bytes + b->at, b->framed - b->at};
}

/* Where the frames end is read from their headers. */
static void note_progress(struct send_queue *q, const uint8_t *at, size_t n)
{
    while (n > 0) {
        size_t step;

        if (q->frame_left == 0)
            q->frame_left = frame_size(at);
        step = n < q->frame_left ? n : q->frame_left;
        q->frame_left -= step;
        at += step;
        n -= step;
    }
}

void send_queue_advance(struct send_queue *q, size_t n)
{
    struct send_block *b = q->first;

    note_progress(q, b->bytes + b->at, n);
    b->at += n;
    q->bytes -= n;
    drop_empty_blocks(q);
}
