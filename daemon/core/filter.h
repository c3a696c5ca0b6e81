/*
 * A filter: lists of values; a list matches when the event has one of its values, all lists must match.
 * Values are in the escaped form in which they stand in lines, so that matching is a comparison of bytes in
 * place. One allocation without pointers into itself, so that a copy is a copy of bytes and may go to another
 * thread. Source: imd-protocol(7), "FILTERS". Pure.
 */
#ifndef IMD_FILTER_H
#define IMD_FILTER_H

#include "event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct filter_value {
    uint32_t at, len; /* bytes, counted from the struct filter's first byte */
};

struct filter_list {
    bool given;            /* given and empty: matches nothing */
    uint32_t first, count; /* in values */
};

struct filter {
    size_t size; /* of the whole allocation */
    struct filter_list fields[EVENT_FIELD_COUNT];
    bool conversations_given;
    uint32_t conversations; /* bit n: conversation type n */
    struct filter_value values[];
};

struct filter *filter_copy(const struct filter *f); /* NULL: no memory */
void filter_free(struct filter *f);                 /* NULL is fine */

static inline const char *filter_text(const struct filter *f, uint32_t value)
{
    return (const char *)f + f->values[value].at;
}

bool filter_match(const struct filter *f, const struct event_index *i, const char *line);

#endif
