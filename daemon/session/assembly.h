/*
 * Puts a message together that did not come whole in one read. Memory grows with what is there, never with
 * what a header announces. Pure.
 */
#ifndef IMD_ASSEMBLY_H
#define IMD_ASSEMBLY_H

#include <stddef.h>
#include <stdint.h>

struct assembly {
    uint8_t *bytes;
    size_t len, size;
};

void assembly_deinit(struct assembly *a); /* forgets what is there and gives the memory back */

/* Room for n more bytes, to be filled and then counted. NULL: no memory. */
uint8_t *assembly_room(struct assembly *a, size_t n);
void assembly_filled(struct assembly *a, size_t n);

/* The message, malloc'ed, for the caller to keep; the assembly is empty then. */
uint8_t *assembly_take(struct assembly *a);

/* The message has been used; a large buffer is given back. */
void assembly_release(struct assembly *a);

#endif
