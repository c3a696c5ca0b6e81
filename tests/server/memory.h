/*
 * Memory that is there: a test server has nothing better to do than to stop when there is none.
 */
#pragma once

#include <stddef.h>

void *memory_get(size_t size);
void *memory_resize(void *old, size_t size);

/* Bytes that are appended at the end and taken from the front. */
struct bytes {
    unsigned char *data;
    size_t len;
    size_t room;
};

void bytes_append(struct bytes *bytes, const void *data, size_t len);
/* Makes room for len bytes more behind the end and returns where they go. */
unsigned char *bytes_reserve(struct bytes *bytes, size_t len);
void bytes_consume(struct bytes *bytes, size_t len);
void bytes_deinit(struct bytes *bytes);
