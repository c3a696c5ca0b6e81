/*
 * See backoff.h. Full jitter spreads a crowd that lost its server at one moment evenly over the whole wait.
 */
#include "backoff.h"

static uint64_t ceiling_ms(const struct backoff *b)
{
    uint64_t wait = b->min_ms;

    for (unsigned i = 0; i < b->attempt && wait < b->max_ms; i++)
        wait *= 2;
    return wait < b->max_ms ? wait : b->max_ms;
}

/* Uniform in [0, limit]: the high word of a 64 x 64 bit product has no noticeable bias for waits of this
 * size. */
static uint64_t scale(uint64_t random, uint64_t limit)
{
    return (uint64_t)(((unsigned __int128)random * (limit + 1)) >> 64);
}

uint64_t backoff_next(struct backoff *b, uint64_t random)
{
    uint64_t wait = scale(random, ceiling_ms(b));

    b->attempt++;
    return wait;
}

uint64_t backoff_at_cap(struct backoff *b, uint64_t random)
{
    uint64_t half = b->max_ms / 2;

    b->attempt++;
    return half + scale(random, b->max_ms - half);
}

void backoff_reset(struct backoff *b)
{
    b->attempt = 0;
}
