/*
 * A look into JSON text without building a tree: members are found, skipped and decoded where they lie.
 *
 * Why not jansson: a line of imd may be 200 MB long, may hold integers up to 2^64, and most programs want
 * only a few members of it, or just the line. The text comes from imd, which writes valid JSON; text that is
 * not is never read beyond its end, and what cannot be found in it is not there.
 */
#ifndef IMCTL_VIEW_H
#define IMCTL_VIEW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The bytes of one JSON value, without space around it. at == NULL: there is none. */
struct view {
    const char *at;
    size_t len;
};

/* The value that text begins with; none when it is cut short. */
struct view view_of(const char *text, size_t len);

/*
 * Members in the order written: `rest` begins as the object itself. Keys are given raw, without their quotes.
 */
bool view_next(struct view *rest, struct view *key, struct view *value);

/* Elements of an array in their order: `rest` begins as the array itself. */
bool view_item(struct view *rest, struct view *item);

/* The member that `path` names: a key, or keys joined by '.'. Of several of this name the last. */
struct view view_find(struct view object, const char *path);

bool view_is(struct view v, const char *text); /* the same bytes */
bool view_is_string(struct view v);
bool view_int(struct view v, int64_t *out);
bool view_uint(struct view v, uint64_t *out);

/* Levels of nesting: 0 for a scalar, 1 for an array or object of scalars. */
size_t view_depth(struct view v);

/* Decodes a string into out, which has room for v.len bytes, and ends it with NUL. What a C string of UTF-8
 * cannot hold (NUL, half a surrogate pair) becomes U+FFFD. */
void view_decode(struct view v, char *out);

#endif
