/* A growing text that a json_writer writes into, and what callers' values must pass before they may enter
 * one. */
#ifndef IMCTL_TEXT_H
#define IMCTL_TEXT_H

#include "json_writer.h"

#include <stdbool.h>
#include <stddef.h>

struct text {
    struct json_writer w; /* first */
    size_t capacity;
};

void text_init(struct text *t);
void text_deinit(struct text *t); /* safe to call twice */

size_t text_length(const struct text *t);

/* Takes back what was written behind the first `length` bytes, a failed write too. */
void text_truncate(struct text *t, size_t length);

/* Drops the first n bytes. */
void text_drop(struct text *t, size_t n);

/* Gives back memory that one large request needed; only when empty. */
void text_shrink(struct text *t);

/* A string from a caller. 0, -ENOMEM, -EILSEQ: no UTF-8. */
int text_add_string(struct text *t, const char *value);

/* JSON text from a caller, on one line. 0, -ENOMEM, -EINVAL: no JSON value (`object`: no object), or nested
 * deeper than max_depth. */
int text_add_json(struct text *t, const char *json, bool object, size_t max_depth);

#endif
