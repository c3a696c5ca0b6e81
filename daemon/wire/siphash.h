/*
 * SipHash-1-3 (Aumasson, Bernstein), fed in pieces: a hash with a secret key, for tables whose keys a
 * stranger chooses. Without the key nobody can make strings that collide.
 */
#ifndef IMD_SIPHASH_H
#define IMD_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct siphash {
    uint64_t v[4];
    uint64_t word; /* bytes that do not make 8 yet, little-endian */
    size_t total;
};

static inline uint64_t siphash_rotate(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

static inline void siphash_round(uint64_t v[4])
{
    v[0] += v[1];
    v[2] += v[3];
    v[1] = siphash_rotate(v[1], 13) ^ v[0];
    v[3] = siphash_rotate(v[3], 16) ^ v[2];
    v[0] = siphash_rotate(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = siphash_rotate(v[1], 17) ^ v[2];
    v[3] = siphash_rotate(v[3], 21) ^ v[0];
    v[2] = siphash_rotate(v[2], 32);
}

static inline void siphash_init(struct siphash *h, const uint64_t key[2])
{
    *h = (struct siphash){.v = {key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d,
                                key[0] ^ 0x6c7967656e657261, key[1] ^ 0x7465646279746573}};
}

static inline void siphash_word(struct siphash *h)
{
    h->v[3] ^= h->word;
    siphash_round(h->v);
    h->v[0] ^= h->word;
    h->word = 0;
}

static inline void siphash_feed(struct siphash *h, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        h->word |= (uint64_t)(unsigned char)bytes[i] << (h->total % 8 * 8);
        if (++h->total % 8 == 0)
            siphash_word(h);
    }
}

static inline uint64_t siphash_finish(struct siphash *h)
{
    h->word |= (uint64_t)h->total << 56;
    siphash_word(h);
    h->v[2] ^= 0xff;
    for (int i = 0; i < 3; i++)
        siphash_round(h->v);
    return h->v[0] ^ h->v[1] ^ h->v[2] ^ h->v[3];
}

#endif
