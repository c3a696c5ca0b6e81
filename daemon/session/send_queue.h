/*
 * The send queue: messages that wait for the socket, in order. They lie one behind the other in large blocks,
 * each with the room before it that the websocket header needs; so a message costs no allocation, and its
 * bytes are written once, by whoever made them. Blocks go when they are empty. Pure.
 */
#ifndef IMD_SEND_QUEUE_H
#define IMD_SEND_QUEUE_H

#include <stddef.h>
#include <stdint.h>

#define SEND_QUEUE_ROOM 16 /* bytes before each message that belong to whoever writes it out */

struct send_block;

struct send_queue {
    struct send_block *first, *last;
    size_t bytes; /* payload that waits */
    size_t sent;  /* of the first message */
};

void send_queue_deinit(struct send_queue *q); /* empties it; it may be used again */

/*
 * A message that is made outside of any queue: room for n bytes at *bytes. It may be appended whole, which
 * takes it over; else free() gives it back. NULL: no memory.
 */
struct send_block *send_block_new(size_t n, uint8_t **bytes);
void send_queue_append(struct send_queue *q, struct send_block *b, size_t len); /* len: 1 to n */

/* Room for a message of up to n bytes; NULL: no memory. Then exactly one commit; 0 takes it back. */
uint8_t *send_queue_reserve(struct send_queue *q, size_t n);
void send_queue_commit(struct send_queue *q, size_t n);

/* What is left of the first message, up to max bytes; the writer may change it. len 0: the queue is empty. */
struct send_piece {
    uint8_t *at;
    size_t len;
    int first, final; /* of its message */
};
struct send_piece send_queue_peek(struct send_queue *q, size_t max);
void send_queue_advance(struct send_queue *q, size_t len); /* this much of it is written */

#endif
