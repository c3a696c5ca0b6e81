/*
 * Capped exponential backoff with full jitter: the n-th wait is uniform in [0, min(max, min * 2^n)]. Pure:
 * randomness and clock are handed in.
 */
#ifndef IMD_BACKOFF_H
#define IMD_BACKOFF_H

#include <stdint.h>

struct backoff {
    uint64_t min_ms, max_ms;
    unsigned attempt; /* failures in a row */
};

/* The wait before the next try; `random` is 64 uniform bits. Counts the attempt. */
uint64_t backoff_next(struct backoff *b, uint64_t random);

/* A wait at the cap, jittered in [max/2, max]: for refusals that only somebody's action can change (401,
 * 403). */
uint64_t backoff_at_cap(struct backoff *b, uint64_t random);

void backoff_reset(struct backoff *b);

#endif
