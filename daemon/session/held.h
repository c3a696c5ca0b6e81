/*
 * A message of the server that is held until the store has made files of its large binaries. It is decoded
 * twice: first to find them, then to tell it, with `{"$file":…}` in their place.
 */
#ifndef IMD_HELD_H
#define IMD_HELD_H

#include "decode.h"
#include "storage.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct held {
    struct storage_attach attach; /* its first member */
    uint8_t *bytes;               /* the frame, once it was taken over; NULL: it is another's */
    size_t len, inline_max;
    const uint8_t *surveyed;
    unsigned next;  /* the bin that is decoded next */
    bool is_answer; /* to a send that waits */
    bool answered;  /* the store is done with it: it may be told, or freed */
    bool told;      /* before that, by a session that could wait no longer */
    bool abandoned; /* by its session: freed when the store is done */
    struct storage_bin bins[STORAGE_BINS_MAX];
};

/* spare: one that was not posted, which is used again; NULL: a new one. NULL: no memory. */
struct held *held_begin(struct held *spare, size_t inline_max);
void held_free(struct held *h);    /* not while the store has it; NULL is fine */
void held_abandon(struct held *h); /* free, as soon as that may be; NULL is fine */

/* How to decode this frame for the first time; attach.count is then how many large bins it has. */
struct decode_options held_survey(struct held *h, const uint8_t *bytes, size_t len);

/* Takes the frame over in any case. `answered` is set from the loop; false: the store does not take it. */
bool held_post(struct held *h, uint8_t *bytes, const struct storage *storage);

/* How to decode it again once it is answered. A bin that did not become a file is inline. */
struct decode_options held_resolve(struct held *h);
size_t held_rest(const struct held *h); /* bytes of the frame without what is in files */

#endif
