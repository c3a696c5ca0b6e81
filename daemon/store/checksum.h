/*
 * A checksum against flipped bits, not against people: what changes within one word of 8 bytes is always
 * noticed (each step is a bijection), anything else but once in 2^64. Four lanes, so that it costs some 0.1
 * ns a byte. In the machine's byte order. Pure.
 */
#ifndef IMD_CHECKSUM_H
#define IMD_CHECKSUM_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t checksum_mix(uint64_t h, uint64_t word)
{
    h = (h ^ word) * 0x9e3779b97f4a7c15;
    return h ^ h >> 32;
}

static inline uint64_t checksum_word(const char *at, size_t len)
{
    uint64_t word = 0;

    memcpy(&word, at, len);
    return word;
}

/* The checksum of what `h` is the checksum of (at first: any constant), followed by these bytes. */
static inline uint64_t checksum_add(uint64_t h, const void *bytes, size_t len)
{
    const char *at = len ? bytes : "";
    size_t left = len;
    uint64_t lane[4] = {h, h + 1, h + 2, h + 3};

    for (; left >= 32; left -= 32, at += 32)
        for (unsigned i = 0; i < 4; i++)
            lane[i] = checksum_mix(lane[i], checksum_word(at + 8 * i, 8));
    h = checksum_mix(lane[0], len);
    for (unsigned i = 1; i < 4; i++)
        h = checksum_mix(h, lane[i]);
    for (; left >= 8; left -= 8, at += 8)
        h = checksum_mix(h, checksum_word(at, 8));
    return checksum_mix(h, checksum_word(at, left));
}

#endif
