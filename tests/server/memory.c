#include "memory.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *memory_get(size_t size)
{
    return memory_resize(NULL, size);
}

void *memory_resize(void *old, size_t size)
{
    void *p = realloc(old, size ? size : 1);

    if (!p) {
        fprintf(stderr, "im-server: no memory for %zu bytes\n", size);
        exit(1);
    }
    return p;
}

unsigned char *bytes_reserve(struct bytes *bytes, size_t len)
{
    if (bytes->room - bytes->len < len) {
        bytes->room = bytes->len + len > bytes->room * 2 ? bytes->len + len : bytes->room * 2;
        bytes->data = memory_resize(bytes->data, bytes->room);
    }
    return bytes->data + bytes->len;
}

void bytes_append(struct bytes *bytes, const void *data, size_t len)
{
    if (!len)
        return;
    memcpy(bytes_reserve(bytes, len), data, len);
    bytes->len += len;
}

void bytes_consume(struct bytes *bytes, size_t len)
{
    if (!len)
        return;
    bytes->len -= len;
    memmove(bytes->data, bytes->data + len, bytes->len);
}

void bytes_deinit(struct bytes *bytes)
{
    free(bytes->data);
    *bytes = (struct bytes){0};
}
