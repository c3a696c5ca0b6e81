/* One buffer that doubles; after a message above KEEP_MAX it is given back. */
#include "assembly.h"

#include <stdlib.h>
#include <string.h>

#define SIZE_MIN 4096u
#define KEEP_MAX (1u << 20)

void assembly_deinit(struct assembly *a)
{
    free(a->bytes);
    *a = (struct assembly){.max = a->max};
}

static bool make_room(struct assembly *a, size_t n)
{
    size_t size = a->size > 0 ? a->size : SIZE_MIN;

    while (size < n)
        size *= 2;
    if (size == a->size)
        return true;
    uint8_t *bytes = realloc(a->bytes, size);
    if (!bytes)
        return false;
    a->bytes = bytes;
    a->size = size;
    return true;
}

enum assembly_result assembly_add(struct assembly *a, const struct assembly_piece *p, const uint8_t **message,
                                  size_t *len)
{
    if (p->len > a->max - a->len || p->announced > a->max - a->len - p->len)
        return ASSEMBLY_TOO_LARGE;
    if (p->final && a->len == 0) {
        *message = p->bytes;
        *len = p->len;
        return ASSEMBLY_WHOLE;
    }
    if (!make_room(a, a->len + p->len))
        return ASSEMBLY_NO_MEMORY;
    if (p->len > 0)
        memcpy(a->bytes + a->len, p->bytes, p->len);
    a->len += p->len;
    if (!p->final)
        return ASSEMBLY_MORE;
    *message = a->bytes;
    *len = a->len;
    return ASSEMBLY_WHOLE;
}

uint8_t *assembly_take(struct assembly *a, const uint8_t *message, size_t len)
{
    uint8_t *taken = a->bytes;

    if (message == a->bytes) {
        a->bytes = NULL;
        assembly_deinit(a);
        return taken;
    }
    taken = malloc(len ? len : 1);
    if (taken)
        memcpy(taken, message, len);
    return taken;
}

void assembly_release(struct assembly *a)
{
    a->len = 0;
    if (a->size > KEEP_MAX)
        assembly_deinit(a);
}
