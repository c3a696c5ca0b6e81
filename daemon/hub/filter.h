/*
 * A subscriber's filter: lists of values; a list matches when the event has one of its values, all lists must
 * match. Values are kept in the escaped form in which they stand in lines, so that matching is a comparison
 * of bytes in place. Source: imd-protocol(7), "Filters".
 */
#ifndef IMD_FILTER_H
#define IMD_FILTER_H

#include "error.h"
#include "ring.h"
#include "scan.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct filter;

#define FILTER_DETAIL 160

/* ERROR_NONE; else what is wrong in detail. *out is NULL when the object has no list: everything matches. */
enum error filter_parse(struct filter **out, const struct scan *s, uint32_t object,
                        char detail[FILTER_DETAIL]);
void filter_free(struct filter *f); /* NULL is fine */

bool filter_match(const struct filter *f, const struct ring_entry *e, const char *line);

#endif
