/* One buffer that doubles; after a message above KEEP_MAX it is given back. */
#include "assembly.h"

#include <stdlib.h>

#define SIZE_MIN 4096u
#define KEEP_MAX (1u << 20)

void assembly_deinit(struct assembly *a)
{
    free(a->bytes);
    *a = (struct assembly){0};
}

uint8_t *assembly_room(struct assembly *a, size_t n)
{
    size_t size = a->size > 0 ? a->size : SIZE_MIN;

    if (n > SIZE_MAX / 4 - a->len)
        return NULL;
    while (size < a->len + n)
        size *= 2;
    if (size > a->size) {
        uint8_t *bytes = realloc(a->bytes, size);
        if (!bytes)
            return NULL;
        a->bytes = bytes;
        a->size = size;
    }
    return a->bytes + a->len;
}

void assembly_filled(struct assembly *a, size_t n)
{
    a->len += n;
}

uint8_t *assembly_take(struct assembly *a)
{
    uint8_t *taken = a->bytes;

    *a = (struct assembly){0};
    return taken;
}

void assembly_release(struct assembly *a)
{
    a->len = 0;
    if (a->size > KEEP_MAX)
        assembly_deinit(a);
}
