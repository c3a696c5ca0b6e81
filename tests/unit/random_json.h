/*
 * Random JSON texts that are valid, from a seed: what the property tests of scan, encode and the round trip
 * feed on. Values gather where encodings change their form: integers at the powers of two, strings and
 * containers at the lengths where MessagePack's headers grow, characters of one to four bytes, plain or
 * escaped.
 */
#ifndef IMD_RANDOM_JSON_H
#define IMD_RANDOM_JSON_H

#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct random_json {
    uint64_t state; /* the seed */
    bool spaces;    /* white space between the tokens */
    bool unsigneds; /* integers above INT64_MAX too, which jansson does not read */
    char *text;
    size_t len, capacity;
};

/* splitmix64 */
static inline uint64_t random_bits(struct random_json *r)
{
    uint64_t z = r->state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static inline unsigned random_below(struct random_json *r, unsigned n)
{
    return (unsigned)(random_bits(r) % n);
}

static inline void random_put(struct random_json *r, const char *bytes, size_t len)
{
    if (r->len + len + 1 > r->capacity) {
        r->capacity = (r->len + len + 1) * 2;
        r->text = realloc(r->text, r->capacity);
        if (!r->text)
            abort();
    }
    memcpy(r->text + r->len, bytes, len);
    r->len += len;
    r->text[r->len] = '\0';
}

static inline void random_put_text(struct random_json *r, const char *text)
{
    random_put(r, text, strlen(text));
}

static inline void random_space(struct random_json *r)
{
    while (r->spaces && random_below(r, 4) == 0)
        random_put(r, &" \t\n\r"[random_below(r, 4)], 1);
}

static inline void random_integer(struct random_json *r)
{
    char text[32];
    uint64_t near = (UINT64_C(1) << random_below(r, 64)) + random_below(r, 5) - 2;
    if (r->unsigneds && random_below(r, 8) == 0)
        snprintf(text, sizeof(text), "%" PRIu64, UINT64_MAX - random_below(r, 3));
    else if (random_below(r, 4) == 0)
        snprintf(text, sizeof(text), "%d", (int)random_below(r, 600) - 300);
    else
        snprintf(text, sizeof(text), "%" PRId64, random_below(r, 2) ? (int64_t)near : (int64_t)(0 - near));
    random_put_text(r, text);
}

static inline void random_real(struct random_json *r)
{
    char text[64];
    double value;
    uint64_t bits = random_bits(r);
    memcpy(&value, &bits, sizeof(value));
    if (!isfinite(value) || random_below(r, 2))
        value = ((double)random_below(r, 2000000) - 1e6) / 1000;
    snprintf(text, sizeof(text), "%.17g", value);
    if (!strpbrk(text, ".e"))
        strcat(text, random_below(r, 2) ? ".0" : "E0");
    random_put_text(r, text);
}

static inline void random_character(struct random_json *r)
{
    static const char *const some[] = {"a",
                                       "b",
                                       "Z",
                                       "0",
                                       " ",
                                       "$",
                                       "\x7f",
                                       "~",
                                       "é",
                                       "中",
                                       "文",
                                       "😀",
                                       "\u07ff",
                                       "\u0800",
                                       "\uffff",
                                       "\U0010ffff",
                                       "/",
                                       "\\\"",
                                       "\\\\",
                                       "\\/",
                                       "\\b",
                                       "\\f",
                                       "\\n",
                                       "\\r",
                                       "\\t",
                                       "€",
                                       "\\u0041",
                                       "\\u0001",
                                       "\\u00e9",
                                       "\\u4E2D",
                                       "\\ud83d\\ude00",
                                       "\\uDBFF\\uDFFF",
                                       "\\uffff",
                                       "\\u007f",
                                       "'",
                                       "?"};
    unsigned plain = random_below(r, 3);
    random_put_text(r, some[random_below(r, plain ? 8 : sizeof(some) / sizeof(some[0]))]);
}

static inline void random_string(struct random_json *r)
{
    static const unsigned edges[] = {31, 32, 255, 256, 257};
    unsigned n = random_below(r, 40) == 0 ? edges[random_below(r, 5)] : random_below(r, 14);
    bool plain = random_below(r, 3) == 0;
    random_put_text(r, "\"");
    for (unsigned i = 0; i < n; i++) {
        if (plain)
            random_put_text(r, "x");
        else
            random_character(r);
    }
    random_put_text(r, "\"");
}

/* Keys do not repeat within an object: each begins with its number. */
static inline void random_key(struct random_json *r, unsigned index)
{
    char number[16];
    snprintf(number, sizeof(number), "\"%u", index);
    random_put_text(r, number);
    for (unsigned n = random_below(r, 4); n > 0; n--)
        random_put_text(r, random_below(r, 8) ? "k" : "\\u006b中");
    random_put_text(r, "\"");
    random_space(r);
    random_put_text(r, ":");
}

static inline void random_value(struct random_json *r, unsigned levels);

static inline void random_container(struct random_json *r, bool object, unsigned levels)
{
    unsigned n = random_below(r, 30) == 0 ? 14 + random_below(r, 5) : random_below(r, 5);
    random_put_text(r, object ? "{" : "[");
    random_space(r);
    for (unsigned i = 0; i < n; i++) {
        if (i > 0)
            random_put_text(r, ",");
        random_space(r);
        if (object)
            random_key(r, i);
        random_value(r, levels - 1);
    }
    random_put_text(r, object ? "}" : "]");
}

static inline void random_value(struct random_json *r, unsigned levels)
{
    static const char *const words[] = {"null", "true", "false"};
    random_space(r);
    switch (random_below(r, levels > 0 ? 9 : 5)) {
    case 0:
        random_put_text(r, words[random_below(r, 3)]);
        break;
    case 1:
        random_integer(r);
        break;
    case 2:
        random_real(r);
        break;
    case 3:
    case 4:
        random_string(r);
        break;
    case 5:
    case 6:
        random_container(r, false, levels);
        break;
    default:
        random_container(r, true, levels);
    }
    random_space(r);
}

/* A new value in r->text, with `levels` of containers at most. */
static inline void random_json_next(struct random_json *r, unsigned levels)
{
    r->len = 0;
    random_value(r, levels);
}

static inline void random_json_deinit(struct random_json *r)
{
    free(r->text);
    r->text = NULL;
    r->len = r->capacity = 0;
}

#endif
