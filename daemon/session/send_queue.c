/*
 * A block is a row of records: the length of a message, room for its header, the message; each begins at a
 * multiple of ALIGNMENT. One small block is kept when the queue runs empty, since the next message is not
 * far; large ones are given back.
 */
#include "send_queue.h"

#include <stdbool.h>
#include <stdlib.h>

#define ALIGNMENT 16
#define BLOCK_SIZE (64u << 10)

struct record {
    size_t len;
    _Alignas(ALIGNMENT) uint8_t room[SEND_QUEUE_ROOM];
    uint8_t bytes[];
};

struct send_block {
    struct send_block *next;
    size_t size, fill, at; /* of records: how many bytes there are, are used, are done with */
    _Alignas(ALIGNMENT) uint8_t records[];
};

static size_t record_size(size_t n)
{
    return (sizeof(struct record) + n + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

static struct record *record_at(struct send_block *b, size_t at)
{
    return (struct record *)(void *)(b->records + at);
}

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

void send_queue_deinit(struct send_queue *q)
{
    while (q->first) {
        struct send_block *b = q->first;
        q->first = b->next;
        free(b);
    }
    *q = (struct send_queue){0};
}

uint8_t *send_queue_reserve(struct send_queue *q, size_t n)
{
    if (n > SIZE_MAX / 2)
        return NULL;
    size_t need = record_size(n);

    if (!q->last || q->last->size - q->last->fill < need) {
        struct send_block *b = block_new(need > BLOCK_SIZE ? need : BLOCK_SIZE);
        if (!b)
            return NULL;
        add_block(q, b);
    }
    return record_at(q->last, q->last->fill)->bytes;
}

/* A reservation that was taken back may have left blocks without records. */
static void drop_empty_blocks(struct send_queue *q)
{
    while (q->first && q->first->at == q->first->fill && (q->first->next || q->first->size > BLOCK_SIZE)) {
        struct send_block *b = q->first;
        q->first = b->next;
        if (!q->first)
            q->last = NULL;
        free(b);
    }
    if (q->first && q->first->at == q->first->fill)
        q->first->at = q->first->fill = 0;
}

static void fill_record(struct send_queue *q, size_t n)
{
    struct send_block *b = q->last;

    record_at(b, b->fill)->len = n;
    b->fill += record_size(n);
    q->bytes += n;
}

void send_queue_commit(struct send_queue *q, size_t n)
{
    if (n == 0)
        drop_empty_blocks(q);
    else
        fill_record(q, n);
}

struct send_block *send_block_new(size_t n, uint8_t **bytes)
{
    struct send_block *b = n > SIZE_MAX / 2 ? NULL : block_new(record_size(n));

    if (b)
        *bytes = record_at(b, 0)->bytes;
    return b;
}

void send_queue_append(struct send_queue *q, struct send_block *b, size_t len)
{
    add_block(q, b);
    fill_record(q, len);
}

struct send_piece send_queue_peek(struct send_queue *q, size_t max)
{
    if (q->bytes == 0)
        return (struct send_piece){0};
    drop_empty_blocks(q);
    struct record *r = record_at(q->first, q->first->at);
    size_t left = r->len - q->sent;
    size_t len = left < max ? left : max;

    return (struct send_piece){
        .at = r->bytes + q->sent, .len = len, .first = q->sent == 0, .final = len == left};
}

void send_queue_advance(struct send_queue *q, size_t len)
{
    struct record *r = record_at(q->first, q->first->at);

    q->sent += len;
    q->bytes -= len;
    if (q->sent < r->len)
        return;
    q->first->at += record_size(r->len);
    q->sent = 0;
    drop_empty_blocks(q);
}
