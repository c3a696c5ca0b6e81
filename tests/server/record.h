/*
 * The payloads that came in, oldest first, within limits.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct record_entry {
    unsigned char *bytes;
    size_t len;
    bool is_ping;
};

struct record {
    bool is_off;
    struct record_entry *entries; /* a ring */
    size_t room;
    size_t first;
    size_t count;
    size_t bytes;
    unsigned long long lost; /* thrown away because of the limits since the last clear */
};

void record_add(struct record *record, const void *bytes, size_t len, bool is_ping);
/* The i-th oldest; i < count. */
const struct record_entry *record_at(const struct record *record, size_t i);
void record_clear(struct record *record);
void record_deinit(struct record *record);
