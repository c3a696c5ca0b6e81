/*
 * The send queue: messages that wait for the socket, in order, as the bytes that go over the wire. They are
 * framed and masked where whoever made them has written them, one behind the other in large blocks; so a
 * message costs no allocation and no copy, and many go out with one write. A long message goes out in
 * fragments, each framed when its turn comes: masking 60 MiB at once would stop the loop, and between
 * fragments something urgent can go. Blocks go when they are empty. Pure.
 */
#ifndef IMD_SEND_QUEUE_H
#define IMD_SEND_QUEUE_H

#include <stddef.h>
#include <stdint.h>

#define SEND_FRAGMENT_MAX ((size_t)64 << 10) /* payload of a frame */

struct send_block;

struct send_queue {
    uint32_t (*key)(void); /* a fresh, unpredictable mask for a frame */
    struct send_block *first, *last;
    size_t bytes;      /* that wait; headers of fragments to come are not counted */
    size_t frame_left; /* of the frame that is half written; 0: none is */
    size_t reserved;   /* bytes of header before the room that was given */
};

void send_queue_init(struct send_queue *q, uint32_t (*key)(void));
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

/* What is next to be written, as much of it as lies together. len 0: the queue is empty. */
struct send_span {
    const uint8_t *at;
    size_t len;
};
struct send_span send_queue_peek(struct send_queue *q);
void send_queue_advance(struct send_queue *q, size_t n); /* this much of the span is written */

#endif
