/*
 * Puts a message together from the pieces in which it arrives. One that comes in one piece is not copied.
 * Memory grows with what is there, never with what a header announces. Pure.
 */
#ifndef IMD_ASSEMBLY_H
#define IMD_ASSEMBLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct assembly {
    size_t max; /* bytes of a message */
    uint8_t *bytes;
    size_t len, size;
};

void assembly_deinit(struct assembly *a); /* forgets what is there and gives the memory back; max stays */

struct assembly_piece {
    const uint8_t *bytes;
    size_t len;
    bool final;       /* nothing of this message follows */
    size_t announced; /* bytes of the present frame that are still to come: to refuse early */
};

enum assembly_result { ASSEMBLY_MORE, ASSEMBLY_WHOLE, ASSEMBLY_TOO_LARGE, ASSEMBLY_NO_MEMORY };

/* ASSEMBLY_WHOLE: *message and *len are it, until assembly_release. After the last two results:
 * assembly_deinit. */
enum assembly_result assembly_add(struct assembly *a, const struct assembly_piece *p, const uint8_t **message,
                                  size_t *len);

/* Between ASSEMBLY_WHOLE and assembly_release: this message, malloc'ed, for the caller to keep; copied only
 * when it came in one piece. NULL: no memory; the message is still there. */
uint8_t *assembly_take(struct assembly *a, const uint8_t *message, size_t len);

/* The whole message has been used; a large buffer is given back. */
void assembly_release(struct assembly *a);

#endif
