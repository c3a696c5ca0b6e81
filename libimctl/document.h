/*
 * A JSON object together with the strings that were asked of it. Strings are decoded when they are asked for,
 * at most once each, and live as long as the document; the text itself belongs to somebody else.
 */
#ifndef IMCTL_DOCUMENT_H
#define IMCTL_DOCUMENT_H

#include "view.h"

struct decoded;

struct document {
    struct view root;
    struct decoded *strings;
};

void document_init(struct document *d, struct view root);
void document_deinit(struct document *d); /* safe to call twice */

/* NULL: no such member, no string, or no memory. */
const char *document_string(struct document *d, const char *path);
const char *document_value(struct document *d, const char *path); /* its JSON text */
bool document_int(const struct document *d, const char *path, int64_t *out);

/* The same for a value that was found already, anywhere in the text. */
const char *document_decode(struct document *d, struct view string);
const char *document_text(struct document *d, struct view value);

#endif
