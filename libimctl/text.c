#include "text.h"

#include "judge.h"
#include "view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_KEPT ((size_t)64 * 1024) /* what an empty text may keep */

static bool text_grow(struct json_writer *w, size_t need)
{
    struct text *t = (struct text *)w; /* its first member, so that a text may be moved */
    size_t length = json_writer_length(w), capacity = t->capacity ? t->capacity : 256;
    if (need > SIZE_MAX / 2 - length)
        return false;
    while (capacity - length < need)
        capacity *= 2;
    char *base = realloc(w->base, capacity);
    if (!base)
        return false;
    t->capacity = capacity;
    w->base = base;
    w->at = base + length;
    w->end = base + capacity;
    return true;
}

void text_init(struct text *t)
{
    *t = (struct text){.w = {.grow = text_grow}};
}

void text_deinit(struct text *t)
{
    free(t->w.base);
    text_init(t);
}

size_t text_length(const struct text *t)
{
    return json_writer_length(&t->w);
}

void text_truncate(struct text *t, size_t length)
{
    t->w.failed = false;
    if (t->w.base) {
        t->w.at = t->w.base + length;
        t->w.end = t->w.base + t->capacity;
    }
}

void text_drop(struct text *t, size_t n)
{
    size_t left = text_length(t) - n;
    if (left > 0)
        memmove(t->w.base, t->w.base + n, left);
    text_truncate(t, left);
}

void text_shrink(struct text *t)
{
    if (text_length(t) == 0 && t->capacity > TEXT_KEPT)
        text_deinit(t);
}

/* Length of the well-formed UTF-8 sequence at p (RFC 3629), or 0. The NUL behind the text ends every short
 * one. */
static size_t utf8_sequence(const unsigned char *p)
{
    size_t len = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;
    for (size_t i = 1; i < len; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) || (p[0] == 0xf0 && p[1] < 0x90) ||
        (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return len;
}

static bool utf8_valid(const char *text)
{
    const unsigned char *p = (const unsigned char *)text;
    while (*p) {
        size_t len = utf8_sequence(p);
        if (len == 0)
            return false;
        p += len;
    }
    return true;
}

static int text_result(struct text *t, size_t before)
{
    if (!t->w.failed)
        return 0;
    text_truncate(t, before);
    return -ENOMEM;
}

int text_add_string(struct text *t, const char *value)
{
    size_t before = text_length(t);
    if (!utf8_valid(value))
        return -EILSEQ;
    json_cstring(&t->w, value);
    return text_result(t, before);
}

int text_add_json(struct text *t, const char *json, bool object, size_t max_depth)
{
    size_t before = text_length(t);
    struct view value = view_of(json, strlen(json));
    if (view_depth(value) > max_depth || !json_valid(json, object))
        return -EINVAL;
    json_raw(&t->w, value.at, value.len);
    if (t->w.failed)
        return text_result(t, before);
    /* A line break in valid JSON is space between values; on the socket it would end the line. */
    for (char *p = t->w.base + before; (p = memchr(p, '\n', (size_t)(t->w.at - p))); p++)
        *p = ' ';
    return 0;
}
