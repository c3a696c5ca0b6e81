/* See frames.h. */
#include "frames.h"

#include <errno.h>
#include <string.h>

#define FINAL 0x80
#define RESERVED 0x70
#define OPCODE 0x0f
#define MASKED 0x80
#define LENGTH 0x7f
#define LENGTH_16 126 /* two bytes of length follow … */
#define LENGTH_64 127 /* … or eight */
#define KEY_SIZE 4

static bool is_known(uint8_t opcode)
{
    return opcode <= FRAME_BINARY || (opcode >= FRAME_CLOSE && opcode <= FRAME_PONG);
}

static uint64_t read_big_endian(const uint8_t *at, size_t n)
{
    uint64_t value = 0;

    for (size_t i = 0; i < n; i++)
        value = value << 8 | at[i];
    return value;
}

static size_t length_bytes(uint8_t code)
{
    return code == LENGTH_16 ? 2 : code == LENGTH_64 ? 8 : 0;
}

/* The shortest form that holds it, and no more than 63 bits. */
static bool length_is_right(uint8_t code, uint64_t len)
{
    if (code == LENGTH_16)
        return len >= LENGTH_16;
    return code != LENGTH_64 || (len > UINT16_MAX && len <= INT64_MAX);
}

int frame_read_header(struct frame_header *h, const uint8_t *bytes, size_t n)
{
    uint8_t code;
    size_t more;

    if (n < 2)
        return 0;
    code = bytes[1] & LENGTH;
    more = length_bytes(code);
    *h = (struct frame_header){
        .opcode = bytes[0] & OPCODE, .final = bytes[0] & FINAL, .size = (uint8_t)(2 + more), .len = code};
    if (bytes[0] & RESERVED || bytes[1] & MASKED || !is_known(h->opcode))
        return -EPROTO;
    if (frame_is_control(h) && (!h->final || code > FRAME_CONTROL_MAX))
        return -EPROTO;
    if (n < h->size)
        return 0;
    if (more)
        h->len = read_big_endian(bytes + 2, more);
    return length_is_right(code, h->len) ? 1 : -EPROTO;
}

static uint8_t length_code(size_t len)
{
    return len < LENGTH_16 ? (uint8_t)len : len <= UINT16_MAX ? LENGTH_16 : LENGTH_64;
}

size_t frame_header_size(size_t len)
{
    return 2 + length_bytes(length_code(len)) + KEY_SIZE;
}

void frame_write_header(uint8_t *at, enum frame_opcode opcode, bool final, size_t len, uint32_t key)
{
    uint8_t code = length_code(len);
    size_t more = length_bytes(code);

    *at++ = (uint8_t)((final ? FINAL : 0) | opcode);
    *at++ = MASKED | code;
    for (size_t i = more; i-- > 0;)
        *at++ = (uint8_t)(len >> 8 * i);
    memcpy(at, &key, KEY_SIZE);
}

void frame_mask(uint8_t *payload, size_t n, uint32_t key)
{
    uint64_t wide = (uint64_t)key << 32 | key, word;
    size_t i = 0;

    for (; i + sizeof word <= n; i += sizeof word) {
        memcpy(&word, payload + i, sizeof word);
        word ^= wide;
        memcpy(payload + i, &word, sizeof word);
    }
    for (; i < n; i++)
        payload[i] ^= ((const uint8_t *)&key)[i % KEY_SIZE];
}

size_t frame_size(const uint8_t *frame)
{
    uint8_t code = frame[1] & LENGTH;
    size_t more = length_bytes(code);

    return 2 + more + KEY_SIZE + (more ? (size_t)read_big_endian(frame + 2, more) : code);
}
