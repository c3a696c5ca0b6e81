/*
 * MessagePack is written in the order of JSON text: a container's header, then its children. Tokens are in
 * that order too and know their counts, so a value is encoded by going through its tokens once: no stack, no
 * recursion. Only the objects that stand for something else ({"$bin":…} and its like) are taken as a whole.
 *
 * Room is checked once, before the first byte, by encode_bound; therefore nothing here checks it again.
 */
#include "encode.h"

#include "vocabulary.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static int refuse(struct encode_error *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int refuse(struct encode_error *e, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    e->error = ERROR_INVALID_PARAMS;
    vsnprintf(e->detail, sizeof(e->detail), format, arguments);
    va_end(arguments);
    return -EINVAL;
}

/* ---- MessagePack, the smallest form of everything ---- */

/* How a kind of value says its length: within the first byte up to `fix` (exclusive), else in 1, 2 or 4
 * bytes. */
struct family {
    uint8_t fix_code, fix;
    uint8_t code8; /* 0: there is no such form */
    uint8_t code16, code32;
};

static const struct family family_str = {0xa0, 32, 0xd9, 0xda, 0xdb};
static const struct family family_bin = {0, 0, 0xc4, 0xc5, 0xc6};
static const struct family family_ext = {0, 0, 0xc7, 0xc8, 0xc9}; /* see also put_ext */
static const struct family family_array = {0x90, 16, 0, 0xdc, 0xdd};
static const struct family family_map = {0x80, 16, 0, 0xde, 0xdf};

#define FAMILY_HEADER_MAX 5 /* bytes of the longest header */

/* A code and the low bytes of a value, big-endian. */
static inline uint8_t *put_coded(uint8_t *at, uint8_t code, uint64_t value, unsigned bytes)
{
    uint64_t wire = htobe64(value << (64 - 8 * bytes));
    *at = code;
    memcpy(at + 1, &wire, bytes);
    return at + 1 + bytes;
}

static inline size_t header_size(const struct family *f, size_t n)
{
    return n < f->fix ? 1 : n <= UINT8_MAX && f->code8 ? 2 : n <= UINT16_MAX ? 3 : 5;
}

static inline uint8_t *put_header(uint8_t *at, const struct family *f, size_t n)
{
    switch (header_size(f, n)) {
    case 1:
        *at = f->fix_code | (uint8_t)n;
        return at + 1;
    case 2:
        return put_coded(at, f->code8, n, 1);
    case 3:
        return put_coded(at, f->code16, n, 2);
    default:
        return put_coded(at, f->code32, n, 4);
    }
}

static uint8_t *put_uint(uint8_t *at, uint64_t value)
{
    if (value <= 0x7f) {
        *at = (uint8_t)value;
        return at + 1;
    }
    if (value <= UINT8_MAX)
        return put_coded(at, 0xcc, value, 1);
    if (value <= UINT16_MAX)
        return put_coded(at, 0xcd, value, 2);
    if (value <= UINT32_MAX)
        return put_coded(at, 0xce, value, 4);
    return put_coded(at, 0xcf, value, 8);
}

static uint8_t *put_int(uint8_t *at, int64_t value)
{
    if (value >= 0)
        return put_uint(at, (uint64_t)value);
    if (value >= -32) {
        *at = (uint8_t)value;
        return at + 1;
    }
    if (value >= INT8_MIN)
        return put_coded(at, 0xd0, (uint64_t)value, 1);
    if (value >= INT16_MIN)
        return put_coded(at, 0xd1, (uint64_t)value, 2);
    if (value >= INT32_MIN)
        return put_coded(at, 0xd2, (uint64_t)value, 4);
    return put_coded(at, 0xd3, (uint64_t)value, 8);
}

static uint8_t *put_double(uint8_t *at, double value)
{
    uint64_t bits;
    static_assert(sizeof(bits) == sizeof(value), "a double is an IEEE 754 binary64");
    memcpy(&bits, &value, sizeof(bits));
    return put_coded(at, 0xcb, bits, 8);
}

static inline uint8_t *put_text(uint8_t *at, const char *text, size_t len)
{
    at = put_header(at, &family_str, len);
    memcpy(at, text, len);
    return at + len;
}

#define put_word(at, word) put_text((at), "" word, sizeof(word) - 1)

/* ---- Base64 (RFC 4648, section 4) ---- */

#define NO_DIGIT 64

/* The values of the characters from '+' to 'z'. */
static const uint8_t base64_digits[] = {
    62, 64, 64, 64, 63, 52, 53, 54, 55, 56, 57, 58, 59, 60, 61, 64, 64, 64, 64, 64, /* +,-./0123456789:;<=> */
    64, 64, 0,  1,  2,  3,  4,  5,  6,  7,  8,  9,  10, 11, 12, 13, 14, 15, 16, 17, /* ?@ABCDEFGHIJKLMNOPQR */
    18, 19, 20, 21, 22, 23, 24, 25, 64, 64, 64, 64, 64, 64, 26, 27, 28, 29, 30, 31, /* STUVWXYZ[\]^_`abcdef */
    32, 33, 34, 35, 36, 37, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 49, 50, 51, /* ghijklmnopqrstuvwxyz */
};

static inline uint32_t base64_digit(char c)
{
    uint8_t index = (uint8_t)(c - '+');
    return index < sizeof(base64_digits) ? base64_digits[index] : NO_DIGIT;
}

/* How many bytes it stands for, provided that it is valid; -1 when it cannot be. */
static int64_t base64_size(const char *text, size_t len)
{
    if (len % 4 != 0)
        return -1;
    if (len == 0)
        return 0;
    return (int64_t)(len / 4 * 3) - (text[len - 1] == '=') - (text[len - 1] == '=' && text[len - 2] == '=');
}

/* The last group, when it stands for n = 1 or 2 bytes. Bits behind them, which no encoder writes, are
 * refused. */
static bool base64_decode_last(const char *text, size_t n, uint8_t *out)
{
    uint32_t a = base64_digit(text[0]), b = base64_digit(text[1]), c = n == 2 ? base64_digit(text[2]) : 0;
    uint32_t group = a << 18 | b << 12 | c << 6;
    if (((a | b | c) & NO_DIGIT) || (group & (n == 2 ? 0xff : 0xffff)))
        return false;
    out[0] = (uint8_t)(group >> 16);
    if (n == 2)
        out[1] = (uint8_t)(group >> 8);
    return true;
}

/* Writes exactly size (from base64_size) bytes. out may be text, or lie before it: it never catches up. */
static bool base64_decode(const char *text, size_t size, uint8_t *out)
{
    uint32_t wrong = 0;
    for (; size >= 3; text += 4, out += 3, size -= 3) {
        uint32_t a = base64_digit(text[0]), b = base64_digit(text[1]);
        uint32_t c = base64_digit(text[2]), d = base64_digit(text[3]);
        uint32_t group = a << 18 | b << 12 | c << 6 | d;
        wrong |= a | b | c | d;
        out[0] = (uint8_t)(group >> 16);
        out[1] = (uint8_t)(group >> 8);
        out[2] = (uint8_t)group;
    }
    return !(wrong & NO_DIGIT) && (size == 0 || base64_decode_last(text, size, out));
}

/* A string token that holds base64. */
struct base64 {
    const char *text;
    size_t size; /* of the decoded bytes */
};

/* Unescapes it, if need be, to `scratch`, for which there is room behind what will be decoded. */
static bool base64_open(const struct scan *s, uint32_t token, uint8_t *scratch, struct base64 *b)
{
    const struct scan_token *t = &s->tokens[token];
    if (t->type != SCAN_STRING)
        return false;
    size_t len = t->len;
    b->text = s->text + t->at;
    if (t->escaped) {
        len = scan_string_copy(s, token, (char *)scratch);
        b->text = (const char *)scratch;
    }
    int64_t size = base64_size(b->text, len);
    b->size = (size_t)size;
    return size >= 0;
}

/* ---- Objects that stand for something else ---- */

/* Where a value goes, beside the place itself. */
struct target {
    const uint8_t *start;       /* of the frame */
    struct encode_files *files; /* NULL: none came with the line */
    struct encode_error *error;
};

/* They return the end of what was written, or NULL with the error filled. */
typedef uint8_t *special_writer(const struct scan *s, uint32_t value, uint8_t *at, const struct target *t);

/* The text around the base64 is longer than a header: room for scratch behind the longest one. */
#define SPECIAL_SCRATCH (FAMILY_HEADER_MAX + 1)
static_assert(SPECIAL_SCRATCH <= sizeof("{\"$bin\":\"\"}") - 1, "encode_bound has room for the scratch");

static uint8_t *put_bin(const struct scan *s, uint32_t value, uint8_t *at, const struct target *t)
{
    struct base64 b;
    if (base64_open(s, value, at + SPECIAL_SCRATCH, &b)) {
        uint8_t *bytes = put_header(at, &family_bin, b.size);
        if (base64_decode(b.text, b.size, bytes))
            return bytes + b.size;
    }
    refuse(t->error, "\"$bin\" must be a string of padded base64");
    return NULL;
}

static uint8_t *put_ext_header(uint8_t *at, size_t size, int64_t type)
{
    if (size == 1 || size == 2 || size == 4 || size == 8 || size == 16)
        *at++ = 0xd4 + (uint8_t)__builtin_ctzll(size);
    else
        at = put_header(at, &family_ext, size);
    *at = (uint8_t)type;
    return at + 1;
}

static uint8_t *put_ext(const struct scan *s, uint32_t value, uint8_t *at, const struct target *t)
{
    uint32_t type_token = scan_member(s, value, "type"), data = scan_member(s, value, "data");
    struct base64 b;
    int64_t type;
    if (type_token && data && s->tokens[value].count == 2 && scan_int64(s, type_token, &type) &&
        type >= INT8_MIN && type <= INT8_MAX && base64_open(s, data, at + SPECIAL_SCRATCH, &b)) {
        uint8_t *bytes = put_ext_header(at, b.size, type);
        if (base64_decode(b.text, b.size, bytes))
            return bytes + b.size;
    }
    refuse(t->error, "\"$ext\" must be {\"type\":-128 to 127,\"data\":padded base64}");
    return NULL;
}

static uint8_t *refuse_file(const struct scan *s, uint32_t value, uint8_t *at, const struct target *t)
{
    refuse(t->error,
           "\"$file\" is refused: the daemon opens no file for a caller; pass it open as \"$fd\", or "
           "its bytes as \"$bin\"");
    return NULL;
}

static bool is_used(const struct encode_files *f, uint64_t file)
{
    for (unsigned i = 0; i < f->used; i++)
        if (f->holes[i].file == file)
            return true;
    return false;
}

/* A header and a hole, which whoever has the file fills. */
static uint8_t *put_fd(const struct scan *s, uint32_t value, uint8_t *at, const struct target *t)
{
    struct encode_files *f = t->files;
    uint64_t file;

    if (s->tokens[value].type != SCAN_INT || !scan_uint64(s, value, &file)) {
        refuse(t->error,
               "\"$fd\" must be the number of a file descriptor that came with the line, from 0 up");
        return NULL;
    }
    if (!f || file >= f->count || is_used(f, file)) {
        refuse(t->error, "\"$fd\" %llu: %s", (unsigned long long)file,
               f && file < f->count ? "is there twice" : "no such file descriptor came with the line");
        return NULL;
    }
    at = put_header(at, &family_bin, f->size[file]);
    f->holes[f->used++] = (struct encode_hole){.at = (size_t)(at - t->start), .file = (unsigned)file};
    return at + f->size[file];
}

static const struct special {
    const char *key;
    special_writer *write;
} specials[] = {{"$bin", put_bin}, {"$ext", put_ext}, {"$file", refuse_file}, {"$fd", put_fd}};

/* With its only key; but "$file" also as decode writes it, with two others, so that no path is sent by
 * mistake. */
static bool special_is_whole(const struct scan *s, uint32_t object, const struct special *special)
{
    return s->tokens[object].count == 1 ||
           (special->write == refuse_file && s->tokens[object].count == 3 && scan_member(s, object, "size") &&
            scan_member(s, object, "sha256"));
}

/* NULL: it is a plain object. */
static const struct special *special_find(const struct scan *s, uint32_t object)
{
    const struct scan_token *key = &s->tokens[object + 1];
    if (s->tokens[object].count == 0 || (s->text[key->at] != '$' && !key->escaped))
        return NULL;
    for (size_t i = 0; i < sizeof(specials) / sizeof(specials[0]); i++)
        if (scan_string_equals(s, object + 1, specials[i].key))
            return special_is_whole(s, object, &specials[i]) ? &specials[i] : NULL;
    return NULL;
}

/* ---- Values ---- */

static uint8_t *put_string(const struct scan *s, uint32_t token, uint8_t *at)
{
    const struct scan_token *t = &s->tokens[token];
    if (!t->escaped)
        return put_text(at, s->text + t->at, t->len);
    size_t guess = header_size(&family_str, t->len);
    size_t len = scan_string_copy(s, token, (char *)at + guess);
    size_t size = header_size(&family_str, len);
    if (size != guess)
        memmove(at + size, at + guess, len);
    return put_header(at, &family_str, len) + len;
}

static uint8_t *put_integer(const struct scan *s, uint32_t token, uint8_t *at)
{
    uint64_t positive;
    int64_t negative;
    if (scan_uint64(s, token, &positive))
        return put_uint(at, positive);
    scan_int64(s, token, &negative);
    return put_int(at, negative);
}

static uint8_t *put_scalar(const struct scan *s, uint32_t token, uint8_t *at)
{
    switch ((enum scan_type)s->tokens[token].type) {
    case SCAN_FALSE:
        *at = 0xc2;
        return at + 1;
    case SCAN_TRUE:
        *at = 0xc3;
        return at + 1;
    case SCAN_INT:
        return put_integer(s, token, at);
    case SCAN_REAL:
        return put_double(at, scan_double(s, token));
    case SCAN_STRING:
        return put_string(s, token, at);
    default:
        *at = 0xc0;
        return at + 1;
    }
}

/* Tokens from `first` up to `end`, all within a value whose level is `base`. NULL with the error filled. */
static uint8_t *put_tokens(const struct scan *s, uint32_t first, uint32_t end, unsigned base, uint8_t *at,
                           const struct target *target)
{
    for (uint32_t i = first; i < end; i++) {
        const struct scan_token *t = &s->tokens[i];
        if (t->type < SCAN_ARRAY) {
            at = put_scalar(s, i, at);
            continue;
        }
        const struct special *special = t->type == SCAN_OBJECT ? special_find(s, i) : NULL;
        if (special) {
            at = special->write(s, i + 2, at, target);
            if (!at)
                return NULL;
            i = t->next - 1;
        } else if (t->level - base >= MESSAGE_DEPTH_MAX) {
            refuse(target->error, "the value is nested deeper than %d levels", MESSAGE_DEPTH_MAX);
            return NULL;
        } else {
            at = put_header(at, t->type == SCAN_OBJECT ? &family_map : &family_array, t->count);
        }
    }
    return at;
}

/*
 * What each piece of JSON text may need beyond its own length:
 *   - null, booleans, integers: nothing. Up to 2 digits make 1 byte, 3 or 4 at most 3, 5 to 9 at most 5, 10
 * and more at most 9; a sign is a character more.
 *   - reals: 6. They take 9 bytes and have at least 3 characters.
 *   - arrays and objects of n children: nothing. The brackets and the n - 1 commas are n + 1 characters; a
 * header is 1 byte, and 3 or 5 only from 16 children up. Objects that stand for something else shrink.
 *   - strings: one in 256. The quotes pay for the header of up to 255 bytes; up to 65535 it takes one byte
 * more, above three. Escapes shrink. The 2 is for the quotes of a token that is a string, which its len does
 * not count.
 */
size_t encode_bound(const struct scan *s, uint32_t token)
{
    size_t len = s->tokens[token].len;
    return len + len / 256 + 6 * (size_t)s->reals + 2;
}

static bool has_room(const struct encode_buffer *b, size_t need)
{
    return (size_t)(b->end - b->at) >= need;
}

int encode_value(const struct scan *s, uint32_t token, struct encode_buffer *b, struct encode_error *e)
{
    const struct scan_token *t = &s->tokens[token];
    const struct target target = {.start = b->at, .error = e};
    if (!has_room(b, encode_bound(s, token)))
        return -ENOBUFS;
    uint8_t *at = put_tokens(s, token, t->next, t->level, b->at, &target);
    if (!at)
        return -EINVAL;
    b->at = at;
    return 0;
}

/* ---- Messages ---- */

enum shape { SHAPE_STRING, SHAPE_FILLED, SHAPE_INTEGER, SHAPE_MAP };

static const char *const shape_words[] = {
    [SHAPE_STRING] = "a string",
    [SHAPE_FILLED] = "a string that is not empty",
    [SHAPE_INTEGER] = "an integer",
    [SHAPE_MAP] = "an object",
};

/* X(enumerator, name, shape) of the keys that mean something to imd */
#define MESSAGE_KEYS(X)                                   \
    X(TYPE, KEY_MESSAGE_TYPE, SHAPE_FILLED)               \
    X(ID, KEY_MESSAGE_ID, SHAPE_FILLED)                   \
    X(CONVERSATION, KEY_CONVERSATION_TYPE, SHAPE_INTEGER) \
    X(FROM, KEY_FROM, SHAPE_STRING)                       \
    X(TO, KEY_TO, SHAPE_STRING)                           \
    X(SENT_TIME, KEY_SENT_TIME, SHAPE_INTEGER)            \
    X(DIRECTION, KEY_MESSAGE_DIRECTION, SHAPE_INTEGER)    \
    X(SIGNAL, KEY_SIGNAL_NAME, SHAPE_FILLED)              \
    X(CONTENT, KEY_CONTENT, SHAPE_MAP)

#define MESSAGE_KEY_ENUM(id, name, shape) MESSAGE_##id,
enum message_key { MESSAGE_KEYS(MESSAGE_KEY_ENUM) MESSAGE_KEY_COUNT };

#define MESSAGE_KEY_ROW(id, name, shape) {name, sizeof(name) - 1, shape},
static const struct {
    const char *name;
    uint8_t len;
    enum shape shape;
} message_keys[MESSAGE_KEY_COUNT] = {MESSAGE_KEYS(MESSAGE_KEY_ROW)};

/* The value's token of each of these keys; 0: the caller did not give it. */
struct given {
    uint32_t token[MESSAGE_KEY_COUNT];
    int64_t conversation;
};

static enum message_key message_key_find(const struct scan *s, uint32_t key)
{
    const struct scan_token *t = &s->tokens[key];
    for (enum message_key k = 0; k < MESSAGE_KEY_COUNT; k++) {
        if (t->escaped && scan_string_equals(s, key, message_keys[k].name))
            return k;
        if (t->len == message_keys[k].len && memcmp(s->text + t->at, message_keys[k].name, t->len) == 0)
            return k; /* no name has a backslash */
    }
    return MESSAGE_KEY_COUNT;
}

static bool has_shape(const struct scan *s, uint32_t token, enum shape shape)
{
    const struct scan_token *t = &s->tokens[token];
    switch (shape) {
    case SHAPE_STRING:
        return t->type == SCAN_STRING;
    case SHAPE_FILLED:
        return t->type == SCAN_STRING && t->len > 0;
    case SHAPE_INTEGER:
        return t->type == SCAN_INT;
    case SHAPE_MAP:
        return t->type == SCAN_OBJECT && !special_find(s, token);
    }
    return false;
}

/* One pass over the members finds all the keys. */
static int given_collect(const struct scan *s, uint32_t message, struct given *g, struct encode_error *e)
{
    const struct scan_token *tokens = s->tokens;
    if (tokens[message].type != SCAN_OBJECT)
        return refuse(e, "\"message\" must be an object");
    for (uint32_t i = message + 1; i < tokens[message].next; i = tokens[i + 1].next) {
        enum message_key k = message_key_find(s, i);
        if (k == MESSAGE_KEY_COUNT)
            continue;
        if (!has_shape(s, i + 1, message_keys[k].shape))
            return refuse(e, "\"%s\" must be %s", message_keys[k].name, shape_words[message_keys[k].shape]);
        g->token[k] = i + 1;
    }
    return 0;
}

/* What the keys must be together. */
static int given_check(const struct scan *s, struct given *g, struct encode_error *e)
{
    const uint32_t *token = g->token;
    if (token[MESSAGE_CONVERSATION] && (!scan_int64(s, token[MESSAGE_CONVERSATION], &g->conversation) ||
                                        g->conversation < 0 || g->conversation >= CONVERSATION_TYPE_COUNT))
        return refuse(e, "\"" KEY_CONVERSATION_TYPE "\" must be an integer from 0 to %d",
                      CONVERSATION_TYPE_COUNT - 1);
    if (g->conversation != CONVERSATION_SERVER && !token[MESSAGE_TO])
        return refuse(e, "\"" KEY_TO "\" is required for " KEY_CONVERSATION_TYPE " %d", (int)g->conversation);
    if (token[MESSAGE_TYPE] && !token[MESSAGE_SIGNAL] &&
        scan_string_equals(s, token[MESSAGE_TYPE], message_type_wire(MESSAGE_TYPE_SIGNAL)))
        return refuse(e, "\"" KEY_SIGNAL_NAME "\" is required for " KEY_MESSAGE_TYPE " %s",
                      message_type_wire(MESSAGE_TYPE_SIGNAL));
    return 0;
}

/* The longest escape of one byte is \u0041. */
#define ESCAPE_LONGEST 6

static int message_id_fill(const struct scan *s, uint32_t token, const struct encode_defaults *d,
                           struct encode_message *m, struct encode_error *e)
{

    if (!token) {
        m->message_id_len = strlen(d->message_id);
        assert(m->message_id_len <= MESSAGE_ID_MAX);
        memcpy(m->message_id, d->message_id, m->message_id_len);
        return 0;
    }
    char unescaped[MESSAGE_ID_MAX * ESCAPE_LONGEST];
    if (s->tokens[token].len <= sizeof(unescaped)) {
        m->message_id_len = scan_string_copy(s, token, unescaped);
        if (m->message_id_len <= MESSAGE_ID_MAX) {
            memcpy(m->message_id, unescaped, m->message_id_len);
            return 0;
        }
    }
    return refuse(e, "\"" KEY_MESSAGE_ID "\" is longer than %d bytes", MESSAGE_ID_MAX);
}

/* Which keys are added to those that the caller gave. given_check has seen that "to" is missing only for type
 * 0. */
static unsigned defaults_wanted(const struct given *g, const struct encode_defaults *d)
{
    unsigned wanted = 1u << MESSAGE_TYPE | 1u << MESSAGE_ID | 1u << MESSAGE_CONVERSATION | 1u << MESSAGE_TO |
                      1u << MESSAGE_SENT_TIME | 1u << MESSAGE_DIRECTION;
    if (d->from)
        wanted |= 1u << MESSAGE_FROM;
    for (enum message_key k = 0; k < MESSAGE_KEY_COUNT; k++)
        if (g->token[k])
            wanted &= ~(1u << k);
    return wanted;
}

static uint8_t *put_defaults(uint8_t *at, unsigned wanted, const struct encode_defaults *d)
{
    const char *type = message_type_wire(MESSAGE_TYPE_TEXT);
    if (wanted & 1u << MESSAGE_TYPE)
        at = put_text(put_word(at, KEY_MESSAGE_TYPE), type, strlen(type));
    if (wanted & 1u << MESSAGE_ID)
        at = put_text(put_word(at, KEY_MESSAGE_ID), d->message_id, strlen(d->message_id));
    if (wanted & 1u << MESSAGE_CONVERSATION)
        at = put_uint(put_word(at, KEY_CONVERSATION_TYPE), CONVERSATION_SERVER);
    if (wanted & 1u << MESSAGE_FROM)
        at = put_text(put_word(at, KEY_FROM), d->from, strlen(d->from));
    if (wanted & 1u << MESSAGE_TO)
        at = put_word(put_word(at, KEY_TO), SERVER_ADDRESS);
    if (wanted & 1u << MESSAGE_SENT_TIME)
        at = put_int(put_word(at, KEY_SENT_TIME), d->sent_time_ms);
    if (wanted & 1u << MESSAGE_DIRECTION)
        at = put_uint(put_word(at, KEY_MESSAGE_DIRECTION), MESSAGE_DIRECTION_SEND);
    return at;
}

/* Every key with its header, every value but from's, the longer map header and from's header. */
static_assert(sizeof(KEY_MESSAGE_TYPE KEY_MESSAGE_ID KEY_CONVERSATION_TYPE KEY_FROM KEY_TO KEY_SENT_TIME
                         KEY_MESSAGE_DIRECTION "TxtMsg" SERVER_ADDRESS) +
                      MESSAGE_ID_MAX + 16 + 9 + 9 + FAMILY_HEADER_MAX * 2 <=
                  ENCODE_MESSAGE_EXTRA,
              "the defaults fit");

/* Of a file, its header is shorter than the text that stands for it. */
size_t encode_message_bound(const struct scan *s, uint32_t message, const struct encode_defaults *d)
{
    size_t files = 0;
    for (unsigned i = 0; d->files && i < d->files->count; i++)
        files += d->files->size[i];
    return encode_bound(s, message) + ENCODE_MESSAGE_EXTRA + (d->from ? strlen(d->from) : 0) + files;
}
static_assert(FAMILY_HEADER_MAX <= sizeof("{\"$fd\":0}") - 1,
              "encode_bound has room for the header of a file");

int encode_message(const struct scan *s, uint32_t message, const struct encode_defaults *d,
                   struct encode_buffer *b, struct encode_message *m, struct encode_error *e)
{
    const struct scan_token *t = &s->tokens[message];
    const struct target target = {.start = b->at, .files = d->files, .error = e};
    struct given g = {.conversation = CONVERSATION_SERVER};
    if (!has_room(b, encode_message_bound(s, message, d)))
        return -ENOBUFS;
    int r = given_collect(s, message, &g, e);
    if (r == 0)
        r = given_check(s, &g, e);
    if (r == 0)
        r = message_id_fill(s, g.token[MESSAGE_ID], d, m, e);
    if (r < 0)
        return r;
    unsigned wanted = defaults_wanted(&g, d);
    uint8_t *at = put_header(b->at, &family_map, t->count + (unsigned)__builtin_popcount(wanted));
    at = put_tokens(s, message + 1, t->next, t->level, at, &target);
    if (!at)
        return -EINVAL;
    b->at = put_defaults(at, wanted, d);
    return 0;
}
