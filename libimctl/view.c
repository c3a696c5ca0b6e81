#include "view.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const struct view nothing = {NULL, 0};

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && is_space(*p))
        p++;
    return p;
}

/* The byte behind the string that begins at p, or NULL. A quote ends it when an even number of '\' stands
 * before. */
static const char *skip_string(const char *p, const char *end)
{
    const char *from = ++p;
    for (const char *quote; (quote = memchr(from, '"', (size_t)(end - from))); from = quote + 1) {
        const char *q = quote;
        while (q > from && q[-1] == '\\')
            q--;
        if ((quote - q) % 2 == 0)
            return quote + 1;
    }
    return NULL;
}

static const char *skip_scalar(const char *p, const char *end)
{
    const char *from = p;
    while (p < end && !is_space(*p) && !strchr(",:]}[{\"", *p))
        p++;
    return p > from ? p : NULL;
}

/* Walks a container without recursion; brackets of the two kinds are not told apart. */
static const char *skip_container(const char *p, const char *end, size_t *deepest)
{
    size_t depth = 0;
    while (p < end) {
        char c = *p;
        if (c == '"') {
            p = skip_string(p, end);
            if (!p)
                return NULL;
            continue;
        }
        p++;
        if (c == '{' || c == '[') {
            if (++depth > *deepest)
                *deepest = depth;
        } else if ((c == '}' || c == ']') && --depth == 0) {
            return p;
        }
    }
    return NULL;
}

static const char *skip_value(const char *p, const char *end, size_t *deepest)
{
    if (p == end)
        return NULL;
    if (*p == '"')
        return skip_string(p, end);
    if (*p == '{' || *p == '[')
        return skip_container(p, end, deepest);
    return skip_scalar(p, end);
}

struct view view_of(const char *text, size_t len)
{
    const char *end = text + len, *p = skip_space(text, end);
    size_t depth = 0;
    const char *behind = skip_value(p, end, &depth);
    return behind ? (struct view){p, (size_t)(behind - p)} : nothing;
}

size_t view_depth(struct view v)
{
    size_t depth = 0;
    if (v.len > 0)
        skip_value(v.at, v.at + v.len, &depth);
    return depth;
}

bool view_next(struct view *rest, struct view *key, struct view *value)
{
    const char *p = rest->at, *end = rest->at + rest->len;
    size_t depth = 0;

    if (p == end || (*p != '{' && *p != ','))
        return false;
    p = skip_space(p + 1, end);
    if (p == end || *p != '"')
        return false;
    key->at = p + 1;
    p = skip_string(p, end);
    if (!p)
        return false;
    key->len = (size_t)(p - key->at) - 1;
    p = skip_space(p, end);
    if (p == end || *p != ':')
        return false;
    value->at = skip_space(p + 1, end);
    p = skip_value(value->at, end, &depth);
    if (!p)
        return false;
    value->len = (size_t)(p - value->at);
    p = skip_space(p, end);
    *rest = (struct view){p, (size_t)(end - p)};
    return true;
}

bool view_item(struct view *rest, struct view *item)
{
    const char *p = rest->at, *end = rest->at + rest->len;
    size_t depth = 0;

    if (p == end || (*p != '[' && *p != ','))
        return false;
    item->at = skip_space(p + 1, end);
    p = skip_value(item->at, end, &depth);
    if (!p)
        return false;
    item->len = (size_t)(p - item->at);
    p = skip_space(p, end);
    *rest = (struct view){p, (size_t)(end - p)};
    return true;
}

/* Of members of the same name the last one counts, as imd and JSON parsers have it. */
static struct view find_member(struct view object, const char *name, size_t len)
{
    struct view key, value, found = nothing;
    if (object.len == 0 || object.at[0] != '{')
        return nothing;
    while (view_next(&object, &key, &value))
        if (key.len == len && memcmp(key.at, name, len) == 0)
            found = value;
    return found;
}

struct view view_find(struct view object, const char *path)
{
    for (;;) {
        size_t len = strcspn(path, ".");
        object = find_member(object, path, len);
        if (path[len] == '\0' || !object.at)
            return object;
        path += len + 1;
    }
}

bool view_is(struct view v, const char *text)
{
    return v.len == strlen(text) && memcmp(v.at, text, v.len) == 0;
}

bool view_is_string(struct view v)
{
    return v.len >= 2 && v.at[0] == '"';
}

/* An integer needs a NUL behind it for strtoll: 20 digits and a sign are the longest that can pass. */
static bool integer_text(struct view v, char text[24])
{
    if (v.len == 0 || v.len >= 24)
        return false;
    memcpy(text, v.at, v.len);
    text[v.len] = '\0';
    return strspn(text, "-0123456789") == v.len;
}

bool view_int(struct view v, int64_t *out)
{
    char text[24];
    if (!integer_text(v, text))
        return false;
    errno = 0;
    long long value = strtoll(text, NULL, 10);
    if (errno)
        return false;
    *out = value;
    return true;
}

bool view_uint(struct view v, uint64_t *out)
{
    char text[24];
    if (!integer_text(v, text) || text[0] == '-')
        return false;
    errno = 0;
    unsigned long long value = strtoull(text, NULL, 10);
    if (errno)
        return false;
    *out = value;
    return true;
}

/* ---- Strings ---- */

static unsigned hex_digit(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : ((unsigned)c | 0x20) - 'a' + 10;
}

/* The four digits behind \u; 0 when they are cut short. */
static unsigned hex4(const char *p, const char *end)
{
    unsigned value = 0;
    if (end - p < 4)
        return 0;
    for (int i = 0; i < 4; i++)
        value = value << 4 | (hex_digit(p[i]) & 15);
    return value;
}

static char *put_utf8(char *out, unsigned c)
{
    if (c < 0x80) {
        *out++ = (char)c;
    } else if (c < 0x800) {
        *out++ = (char)(0xc0 | c >> 6);
        *out++ = (char)(0x80 | (c & 0x3f));
    } else if (c < 0x10000) {
        *out++ = (char)(0xe0 | c >> 12);
        *out++ = (char)(0x80 | (c >> 6 & 0x3f));
        *out++ = (char)(0x80 | (c & 0x3f));
    } else {
        *out++ = (char)(0xf0 | c >> 18);
        *out++ = (char)(0x80 | (c >> 12 & 0x3f));
        *out++ = (char)(0x80 | (c >> 6 & 0x3f));
        *out++ = (char)(0x80 | (c & 0x3f));
    }
    return out;
}

/* Reads one \uXXXX, or a pair of them, behind the 'u'. Never writes more bytes than the escape has. */
static const char *decode_unicode(const char *p, const char *end, char **out)
{
    unsigned c = hex4(p, end);
    p = end - p < 4 ? end : p + 4;
    if (c >= 0xd800 && c < 0xdc00 && end - p >= 6 && p[0] == '\\' && p[1] == 'u') {
        unsigned low = hex4(p + 2, end);
        if (low >= 0xdc00 && low < 0xe000) {
            *out = put_utf8(*out, 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00));
            return p + 6;
        }
    }
    *out = put_utf8(*out, c == 0 || (c >= 0xd800 && c < 0xe000) ? 0xfffd : c);
    return p;
}

static char plain_escape(char c)
{
    static const char escapes[] = "b\bf\fn\nr\rt\t";
    for (const char *e = escapes; *e; e += 2)
        if (*e == c)
            return e[1];
    return c;
}

void view_decode(struct view v, char *out)
{
    const char *p = v.at + 1, *end = v.at + v.len - 1;
    while (p < end) {
        const char *escape = memchr(p, '\\', (size_t)(end - p));
        size_t plain = (size_t)((escape ? escape : end) - p);
        memcpy(out, p, plain);
        out += plain;
        p += plain;
        if (end - p < 2)
            break;
        p++;
        if (*p == 'u')
            p = decode_unicode(p + 1, end, &out);
        else
            *out++ = plain_escape(*p++);
    }
    *out = '\0';
}
