/*
 * WebSocket frames (RFC 6455, section 5) as a client reads and writes them: headers and masks. No extensions
 * are ever offered, so reserved bits are errors. Pure.
 */
#ifndef IMD_FRAMES_H
#define IMD_FRAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum frame_opcode {
    FRAME_CONTINUATION = 0x0,
    FRAME_TEXT = 0x1,
    FRAME_BINARY = 0x2,
    FRAME_CLOSE = 0x8,
    FRAME_PING = 0x9,
    FRAME_PONG = 0xa,
};

#define FRAME_CONTROL_MAX 125 /* payload of a control frame */
#define FRAME_HEADER_MAX 14   /* of a client's frame, which bears a mask */

struct frame_header {
    uint8_t opcode; /* enum frame_opcode */
    bool final;
    uint8_t size; /* of the header itself */
    uint64_t len; /* of the payload */
};

static inline bool frame_is_control(const struct frame_header *h)
{
    return h->opcode >= FRAME_CLOSE;
}

/* A frame of the server's. 1; 0: more bytes are needed; -EPROTO: no server may send this. */
int frame_read_header(struct frame_header *h, const uint8_t *bytes, size_t n);

size_t frame_header_size(size_t len); /* of a client's frame with such a payload */
void frame_write_header(uint8_t *at, enum frame_opcode opcode, bool final, size_t len, uint32_t key);
void frame_mask(uint8_t *payload, size_t n, uint32_t key);

/* Header and payload of one of our own frames together; its header must be there whole. */
size_t frame_size(const uint8_t *frame);

#endif
