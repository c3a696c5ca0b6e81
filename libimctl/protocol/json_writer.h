/*
 * A JSON writer over a span of memory: what is written goes straight where it will be sent from.
 *
 * The span may be fixed (grow == NULL) or grow by a hook of its owner. Once a write did not fit, `failed` is
 * set, nothing more is written (`end` is moved to `at` for that), and the caller looks at it once, at the
 * end. Except where said, no more room is asked for than is needed. Not thread-safe; never allocates itself;
 * does not care for the locale.
 */
#ifndef IMD_PROTOCOL_JSON_WRITER_H
#define IMD_PROTOCOL_JSON_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

struct json_writer {
    char *base; /* first byte of the text */
    char *at;   /* next byte to be written */
    char *end;  /* first byte that must not be written */
    /*
     * Makes room for `need` more bytes at `at`; may move the text (base, at, end change). false: it cannot.
     */
    bool (*grow)(struct json_writer *w, size_t need);
    void *owner; /* for grow */
    bool failed;
};

static inline void json_writer_init(struct json_writer *w, char *span, size_t size)
{
    *w = (struct json_writer){.base = span, .at = span, .end = span + size};
}

static inline size_t json_writer_length(const struct json_writer *w)
{
    return (size_t)(w->at - w->base);
}

bool json_grow(struct json_writer *w, size_t need); /* slow path of json_room */

/* Room for n bytes at w->at, which the caller may fill and then add to w->at; false when there is none. */
static inline bool json_room(struct json_writer *w, size_t n)
{
    return __builtin_expect((size_t)(w->end - w->at) >= n, 1) || json_grow(w, n);
}

static inline void json_raw(struct json_writer *w, const char *text, size_t len)
{
    if (json_room(w, len)) {
        memcpy(w->at, text, len);
        w->at += len;
    }
}

/* A literal, copied as it stands. */
#define json_literal(w, text) json_raw((w), "" text, sizeof(text) - 1)

static inline void json_text(struct json_writer *w, const char *text) /* as it stands, NUL-terminated */
{
    json_raw(w, text, strlen(text));
}

void json_int(struct json_writer *w, int64_t value);
void json_uint(struct json_writer *w, uint64_t value);

/*
 * A decimal that reads back as the same double, with the fewest digits that do so when the double is rounded
 * to them; always with '.' or 'e'; NaN and infinities: null.
 */
void json_double(struct json_writer *w, double value);

/*
 * A quoted string: '"', '\' and control characters escaped, ill-formed UTF-8 replaced by U+FFFD. Not
 * json_string: that is a function of jansson, and one of two with the same name in a program answers the
 * calls of both.
 */
void json_quoted(struct json_writer *w, const char *bytes, size_t len);
void json_cstring(struct json_writer *w, const char *text);

/* The same without the quotes around it. */
void json_string_inner(struct json_writer *w, const char *bytes, size_t len);

#ifdef __SSE2__
/* Copies a block; bit i of the result is set when its byte i does not stand for itself in a JSON string. */
static inline unsigned json_copy_block(char *to, const char *from)
{
    __m128i block = _mm_loadu_si128((const __m128i *)from);
    _mm_storeu_si128((__m128i *)to, block);
    __m128i marks =
        _mm_or_si128(_mm_cmpeq_epi8(block, _mm_set1_epi8('"')), _mm_cmpeq_epi8(block, _mm_set1_epi8('\\')));
    /* signed: bytes above 0x7f are below 0x20 too */
    marks = _mm_or_si128(marks, _mm_cmplt_epi8(block, _mm_set1_epi8(0x20)));
    return (unsigned)_mm_movemask_epi8(marks);
}
#endif

#define JSON_BLOCK 16

/*
 * The same as json_quoted, when it is known that JSON_BLOCK bytes behind the string may be read too: then a
 * key or an identifier is one block, or a few, and no call.
 */
static inline void json_quoted_padded(struct json_writer *w, const char *bytes, size_t len)
{
#ifdef __SSE2__
    if ((size_t)(w->end - w->at) >= len + 2 + JSON_BLOCK) {
        char *to = w->at + 1;
        const char *from = bytes, *last = bytes + len;
        unsigned special = 0;
        for (; last - from > JSON_BLOCK && !special; from += JSON_BLOCK, to += JSON_BLOCK)
            special = json_copy_block(to, from);
        if (!special && !(json_copy_block(to, from) & ((1u << (last - from)) - 1))) {
            *w->at = '"';
            w->at += len + 2;
            w->at[-1] = '"';
            return;
        }
    }
#endif
    json_quoted(w, bytes, len);
}

/* Base64 (RFC 4648, padded), without quotes. */
void json_base64(struct json_writer *w, const uint8_t *bytes, size_t len);

/* `,"key":` - for members after the first; the key is a literal that needs no escape. */
#define json_next_key(w, key) json_literal((w), ",\"" key "\":")
#define json_first_key(w, key) json_literal((w), "\"" key "\":")

#endif
