/*
 * A JSON writer over a span of memory: what is written goes straight where it will be sent from.
 *
 * The span may be fixed (grow == NULL) or grow by a hook of its owner. Once a write did not fit, `failed` is set,
 * nothing more is written, and the caller looks at it once, at the end. Not thread-safe; never allocates itself.
 */
#ifndef IMD_PROTOCOL_JSON_WRITER_H
#define IMD_PROTOCOL_JSON_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct json_writer {
    char *base; /* first byte of the text */
    char *at;   /* next byte to be written */
    char *end;  /* first byte that must not be written */
    /* Makes room for `need` more bytes at `at`; may move the text (base, at, end change). false: it cannot. */
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

/* The shortest decimal that reads back as the same double, always with '.' or 'e'; NaN and infinities: null. */
void json_double(struct json_writer *w, double value);

/* A quoted string: '"', '\' and control characters escaped, ill-formed UTF-8 replaced by U+FFFD. */
void json_string(struct json_writer *w, const char *bytes, size_t len);
void json_cstring(struct json_writer *w, const char *text);

/* The same without the quotes around it. */
void json_string_inner(struct json_writer *w, const char *bytes, size_t len);

/* Base64 (RFC 4648, padded), without quotes. */
void json_base64(struct json_writer *w, const uint8_t *bytes, size_t len);

/* `,"key":` - for members after the first; the key is a literal that needs no escape. */
#define json_next_key(w, key) json_literal((w), ",\"" key "\":")
#define json_first_key(w, key) json_literal((w), "\"" key "\":")

#endif
