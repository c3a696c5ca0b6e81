/*
 * The escapes of JSON strings. A string that was checked is unescaped in pieces, each either a run of the
 * text itself or one decoded character, so that it can be copied, compared or hashed without a copy in
 * between.
 */
#ifndef IMD_UNESCAPE_H
#define IMD_UNESCAPE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define ESCAPE_UNICODE_LEN 6u /* \uXXXX */

/* The value of four hexadecimal digits, or -1. */
static inline int32_t hex4(const char *p)
{
    int32_t value = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i], lower = c | 0x20;
        int digit = c >= '0' && c <= '9' ? c - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

static inline bool is_high_surrogate(int32_t c)
{
    return c >= 0xd800 && c <= 0xdbff;
}

static inline bool is_low_surrogate(int32_t c)
{
    return c >= 0xdc00 && c <= 0xdfff;
}

/* What the character behind a backslash stands for; 0: it is no escape of one character. */
static inline char escape_meaning(char c)
{
    switch (c) {
    case '"':
    case '\\':
    case '/':
        return c;
    case 'b':
        return '\b';
    case 'f':
        return '\f';
    case 'n':
        return '\n';
    case 'r':
        return '\r';
    case 't':
        return '\t';
    default:
        return 0;
    }
}

/* So many bytes may be read from a piece while at least as many are left of the text. */
#define UNESCAPE_BLOCK 8

/* The bytes of an escaped string, in pieces. */
struct unescape {
    const char *p, *end;
    char decoded[UNESCAPE_BLOCK];
};

static inline size_t utf8_put(char *out, int32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t len = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = len - 1; i > 0; i--, c >>= 6)
        out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(0xf00 >> len | c);
    return len;
}

/* The length of the next piece; 0 at the end. */
static inline size_t unescape_next(struct unescape *u, const char **piece)
{
    if (u->p == u->end)
        return 0;
    *piece = u->p;
    if (*u->p != '\\') {
        const char *stop = memchr(u->p, '\\', (size_t)(u->end - u->p));
        u->p = stop ? stop : u->end;
        return (size_t)(u->p - *piece);
    }
    *piece = u->decoded;
    if (u->p[1] != 'u') {
        u->decoded[0] = escape_meaning(u->p[1]);
        u->p += 2;
        return 1;
    }
    int32_t c = hex4(u->p + 2);
    u->p += ESCAPE_UNICODE_LEN;
    if (is_high_surrogate(c)) {
        c = 0x10000 + ((c - 0xd800) << 10) + (hex4(u->p + 2) - 0xdc00);
        u->p += ESCAPE_UNICODE_LEN;
    }
    return utf8_put(u->decoded, c);
}

#endif
