/*
 * The JSON writer. Text is copied and checked in the same pass, sixteen bytes (eight without SSE2) at a time,
 * until a byte comes that does not stand for itself. Two facts keep the checks for room rare and exact:
 *   - what a string becomes is never shorter than the string, so room for all that is left of it can be asked
 * for at once, and only what grows (an escape, a U+FFFD) must ask again;
 *   - the last, shorter block is loaded and stored overlapping the one before, so nothing is touched beside
 * the string.
 */
#include "json_writer.h"

#include <endian.h>
#include <float.h>
#include <stdio.h>
#include <stdlib.h>

/* After a failure `end` is `at`, so that json_room sends every later write here too. */
bool json_grow(struct json_writer *w, size_t need)
{
    if (!w->failed && w->grow && w->grow(w, need) && (size_t)(w->end - w->at) >= need)
        return true;
    w->failed = true;
    w->end = w->at;
    return false;
}

/* ---- Integers ---- */

static const char digit_pairs[200] = "00010203040506070809101112131415161718192021222324"
                                     "25262728293031323334353637383940414243444546474849"
                                     "50515253545556575859606162636465666768697071727374"
                                     "75767778798081828384858687888990919293949596979899";

static const uint64_t powers_of_ten[20] = {
    0, /* not 1: so that 0 has one digit */
    10,
    100,
    1000,
    10000,
    100000,
    1000000,
    10000000,
    100000000,
    1000000000,
    10000000000,
    100000000000,
    1000000000000,
    10000000000000,
    100000000000000,
    1000000000000000,
    10000000000000000,
    100000000000000000,
    1000000000000000000,
    10000000000000000000u,
};

static inline unsigned decimal_length(uint64_t value)
{
    unsigned bits = 64 - (unsigned)__builtin_clzll(value | 1);
    unsigned least = bits * 1233 >> 12; /* bits * log10(2) */
    return least + (value >= powers_of_ten[least]);
}

/* Exactly eight digits, leading zeros kept; the four pairs do not wait for each other. */
static inline void write_eight_digits(char *at, uint32_t value)
{
    uint32_t high = value / 10000, low = value % 10000;
    memcpy(at, digit_pairs + high / 100 * 2, 2);
    memcpy(at + 2, digit_pairs + high % 100 * 2, 2);
    memcpy(at + 4, digit_pairs + low / 100 * 2, 2);
    memcpy(at + 6, digit_pairs + low % 100 * 2, 2);
}

static inline void write_digits(char *at, uint64_t value, unsigned length)
{
    char *end = at + length;
    for (; length > 8; length -= 8, end -= 8, value /= 100000000)
        write_eight_digits(end - 8, (uint32_t)(value % 100000000));
    uint32_t rest = (uint32_t)value;
    for (; rest >= 10; rest /= 100, end -= 2)
        memcpy(end - 2, digit_pairs + rest % 100 * 2, 2);
    if (end > at)
        end[-1] = (char)('0' + rest);
}

void json_uint(struct json_writer *w, uint64_t value)
{
    unsigned length = decimal_length(value);
    if (!json_room(w, length))
        return;
    write_digits(w->at, value, length);
    w->at += length;
}

void json_int(struct json_writer *w, int64_t value)
{
    if (value >= 0) {
        json_uint(w, (uint64_t)value);
        return;
    }
    uint64_t magnitude = 0 - (uint64_t)value;
    unsigned length = decimal_length(magnitude);
    if (!json_room(w, 1 + length))
        return;
    *w->at = '-';
    write_digits(w->at + 1, magnitude, length);
    w->at += 1 + length;
}

/* ---- Doubles ---- */

/* d.ddd x 10^exponent: digits without trailing zeros, at least one. */
struct decimal {
    char digits[24];
    int length;
    int exponent;
};

static void decimal_trim(struct decimal *d)
{
    while (d->length > 1 && d->digits[d->length - 1] == '0')
        d->length--;
}

static void decimal_set(struct decimal *d, uint64_t digits, int decimals)
{
    d->length = (int)decimal_length(digits);
    write_digits(d->digits, digits, (unsigned)d->length);
    d->exponent = d->length - 1 - decimals;
    decimal_trim(d);
}

/*
 * The way without printf, for what people write: at most 15 digits, up to 20 of them behind the point. An
 * integer below 10^15 and a power of ten up to 10^22 are both exact, so their quotient is correctly rounded,
 * which is what any reader of that decimal gets: equal means that it reads back. And of up to 15 digits no
 * two decimals are the same double, so the first that is equal is the shortest.
 */
static bool decimal_from_short(struct decimal *d, double magnitude)
{
    if (magnitude < 9007199254740992.0 && magnitude == (double)(uint64_t)magnitude) {
        decimal_set(d, (uint64_t)magnitude, 0);
        return true;
    }
#if FLT_EVAL_METHOD == 0 /* else quotients are rounded twice */
    if (magnitude < 1e-5)
        return false;
    double power = 10;
    for (int decimals = 1; decimals <= 20; decimals++, power *= 10) {
        double scaled = magnitude * power;
        if (scaled >= 1e15)
            return false;
        uint64_t digits = (uint64_t)(scaled + 0.5);
        if ((double)digits / power == magnitude) {
            decimal_set(d, digits, decimals);
            return true;
        }
    }
#endif
    return false;
}

/*
 * The decimal mark is the locale's, in what printf writes and strtod reads; a library must not change the
 * locale of its program. So the two talk to each other as they like, and whatever stands between the digits
 * is left out after that.
 */
static void decimal_read(struct decimal *d, const char *text)
{
    d->length = 0;
    for (; *text != 'e'; text++)
        if (*text >= '0' && *text <= '9')
            d->digits[d->length++] = *text;
    d->exponent = atoi(text + 1);
    decimal_trim(d);
}

/* 15 digits may do and 17 always do; the fewer bits of a subnormal need fewer. */
static void decimal_from_printf(struct decimal *d, double magnitude)
{
    char text[64];
    for (int digits = magnitude < DBL_MIN ? 1 : DBL_DIG; digits <= DBL_DECIMAL_DIG; digits++) {
        snprintf(text, sizeof(text), "%.*e", digits - 1, magnitude);
        if (strtod(text, NULL) == magnitude)
            break;
    }
    decimal_read(d, text);
}

static char *write_fraction(char *at, const struct decimal *d) /* 0.00ddd */
{
    memcpy(at, "0.0000", 6);
    at += 1 - d->exponent;
    memcpy(at, d->digits, (size_t)d->length);
    return at + d->length;
}

static char *write_fixed(char *at, const struct decimal *d) /* ddd.ddd, or ddd000.0 */
{
    int whole = d->exponent + 1;
    int head = d->length < whole ? d->length : whole;
    memcpy(at, d->digits, (size_t)head);
    memset(at + head, '0', (size_t)(whole - head));
    at += whole;
    *at++ = '.';
    if (d->length <= whole) {
        *at++ = '0';
        return at;
    }
    memcpy(at, d->digits + whole, (size_t)(d->length - whole));
    return at + d->length - whole;
}

static char *write_scientific(char *at, const struct decimal *d) /* d.ddde-dd */
{
    *at++ = d->digits[0];
    if (d->length > 1) {
        *at++ = '.';
        memcpy(at, d->digits + 1, (size_t)d->length - 1);
        at += d->length - 1;
    }
    *at++ = 'e';
    if (d->exponent < 0)
        *at++ = '-';
    uint64_t exponent = (uint64_t)(d->exponent < 0 ? -d->exponent : d->exponent);
    unsigned length = decimal_length(exponent);
    write_digits(at, exponent, length);
    return at + length;
}

void json_double(struct json_writer *w, double value)
{
    if (!__builtin_isfinite(value)) {
        json_literal(w, "null");
        return;
    }
    char text[40];
    char *at = text;
    double magnitude = __builtin_fabs(value);
    struct decimal d;
    if (__builtin_signbit(value))
        *at++ = '-';
    if (!decimal_from_short(&d, magnitude))
        decimal_from_printf(&d, magnitude);
    if (d.exponent < -4 || d.exponent > 15)
        at = write_scientific(at, &d);
    else
        at = d.exponent < 0 ? write_fraction(at, &d) : write_fixed(at, &d);
    json_raw(w, text, (size_t)(at - text));
}

/* ---- Strings ---- */

/*
 * The bytes that do not stand for themselves: below 0x20, '"', '\', above 0x7f. In the result the lowest bit
 * that is set belongs to the first such byte; bits above it may be wrong, for the subtraction borrows.
 */
static inline uint64_t specials_of_eight(uint64_t word) /* first byte lowest */
{
    const uint64_t ones = 0x0101010101010101, tops = ones * 0x80;
    uint64_t quote = word ^ ones * '"', backslash = word ^ ones * '\\';
    uint64_t control = (word - ones * 0x20) & ~word;
    return (control | ((quote - ones) & ~quote) | ((backslash - ones) & ~backslash) | word) & tops;
}

static inline uint64_t load_eight(const uint8_t *from)
{
    uint64_t word;
    memcpy(&word, from, 8);
    return le64toh(word);
}

/* Each copies a block and returns the place of the first special byte in it, or its size. */
static inline size_t copy_eight(char *to, const uint8_t *from)
{
    uint64_t special = specials_of_eight(load_eight(from));
    memcpy(to, from, 8);
    return special ? (size_t)__builtin_ctzll(special) / 8 : 8;
}

static inline size_t copy_block(char *to, const uint8_t *from)
{
#ifdef __SSE2__
    unsigned special = json_copy_block(to, (const char *)from);
    return special ? (size_t)__builtin_ctz(special) : JSON_BLOCK;
#else
    size_t run = copy_eight(to, from);
    return run < 8 ? run : 8 + copy_eight(to + 8, from + 8);
#endif
}

static inline bool is_plain(uint8_t c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

static size_t copy_bytes(char *to, const uint8_t *from, size_t len)
{
    size_t i = 0;
    for (; i < len && is_plain(from[i]); i++)
        to[i] = (char)from[i];
    return i;
}

/* Fewer than eight, all at once in one word in which some of them may stand twice; one by one if there is a
 * special. */
static inline size_t copy_short(char *to, const uint8_t *from, size_t len)
{
    uint32_t first, last;
    if (len >= 4) {
        memcpy(&first, from, 4);
        memcpy(&last, from + len - 4, 4);
        if (specials_of_eight((uint64_t)last << 32 | first))
            return copy_bytes(to, from, len);
        memcpy(to, &first, 4);
        memcpy(to + len - 4, &last, 4);
        return len;
    }
    return copy_bytes(to, from, len);
}

/* Copies up to the first special byte and says how many that were; `to` must have room for len. */
static inline size_t copy_plain(char *to, const uint8_t *from, size_t len)
{
    size_t run;
    if (len < 8)
        return copy_short(to, from, len);
    if (len < JSON_BLOCK) {
        run = copy_eight(to, from);
        return run < 8 ? run : len - 8 + copy_eight(to + len - 8, from + len - 8);
    }
    for (size_t i = 0; i + JSON_BLOCK < len; i += JSON_BLOCK)
        if ((run = copy_block(to + i, from + i)) < JSON_BLOCK)
            return i + run;
    return len - JSON_BLOCK + copy_block(to + len - JSON_BLOCK, from + len - JSON_BLOCK);
}

static const char hex_digits[16] = "0123456789abcdef";

/* What stands behind the backslash; 0: \u00xx. */
static const char short_escapes[0x60] = {
    ['\b'] = 'b', ['\f'] = 'f', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't', ['"'] = '"', ['\\'] = '\\'};

/* `left` bytes of the string follow, for which there must be room still. */
static inline bool write_escape(struct json_writer *w, uint8_t c, size_t left)
{
    char letter = short_escapes[c];
    if (!json_room(w, (letter ? 2 : 6) + left))
        return false;
    *w->at++ = '\\';
    if (letter) {
        *w->at++ = letter;
        return true;
    }
    memcpy(w->at, "u00", 3);
    w->at[3] = hex_digits[c >> 4];
    w->at[4] = hex_digits[c & 15];
    w->at += 5;
    return true;
}

static bool write_replacement(struct json_writer *w, size_t left)
{
    if (!json_room(w, 3 + left))
        return false;
    memcpy(w->at, "\xef\xbf\xbd", 3);
    w->at += 3;
    return true;
}

/* The well-formed range of the second byte by the first one (Unicode, table 3-7); size 0: no sequence begins
 * so. */
struct utf8_lead {
    uint8_t size, low, high;
};

static struct utf8_lead utf8_lead(uint8_t c)
{
    if (c < 0xc2 || c > 0xf4)
        return (struct utf8_lead){0};
    if (c < 0xe0)
        return (struct utf8_lead){2, 0x80, 0xbf};
    if (c < 0xf0)
        return (struct utf8_lead){3, c == 0xe0 ? 0xa0 : 0x80, c == 0xed ? 0x9f : 0xbf};
    return (struct utf8_lead){4, c == 0xf0 ? 0x90 : 0x80, c == 0xf4 ? 0x8f : 0xbf};
}

/*
 * The length of the sequence at p; *valid is false when it is ill-formed, and then the length is that of its
 * maximal subpart: what one U+FFFD stands for (Unicode 3.9, "U+FFFD Substitution of Maximal Subparts"; the
 * WHATWG decoder too).
 */
static size_t utf8_sequence(const uint8_t *p, const uint8_t *end, bool *valid)
{
    struct utf8_lead lead = utf8_lead(*p);
    size_t n = 1;
    if (lead.size && p + 1 < end && p[1] >= lead.low && p[1] <= lead.high)
        for (n = 2; n < lead.size && p + n < end && (p[n] & 0xc0) == 0x80;)
            n++;
    *valid = n == lead.size;
    return n;
}

/*
 * Chinese, Japanese, Korean text is one three-byte sequence after the other: four bytes are loaded, three are
 * looked at, at once. 0x20 of the second byte is what tells overlong forms (e0 80-9f) and surrogates (ed
 * a0-bf) from the good ones. `to` must have room for what is between p and end. Returns how far it came.
 */
static const uint8_t *copy_three_byte_run(char *to, const uint8_t *p, const uint8_t *end)
{
    for (; end - p >= 4; p += 3, to += 3) {
        uint32_t four;
        memcpy(&four, p, 4);
        memcpy(to, p, 4);
        four = le32toh(four);
        uint32_t edge = four & 0x200f;
        if ((four & 0xc0c0f0) != 0x8080e0 || edge == 0 || edge == 0x200d)
            break;
    }
    return p;
}

/* From a byte above 0x7f to the next below 0x80, or the end; NULL when there is no room. */
static const uint8_t *write_non_ascii(struct json_writer *w, const uint8_t *p, const uint8_t *end)
{
    while (p < end && *p >= 0x80) {
        const uint8_t *run_end = copy_three_byte_run(w->at, p, end);
        w->at += run_end - p;
        p = run_end;
        if (*p < 0x80)
            break;
        bool valid;
        size_t n = utf8_sequence(p, end, &valid);
        if (valid) {
            memcpy(w->at, p, n);
            w->at += n;
        } else if (!write_replacement(w, (size_t)(end - p) - n)) {
            return NULL;
        }
        p += n;
    }
    return p;
}

/*
 * The string from the first special byte on. There is room for (end - p) bytes, and it stays so to the end.
 */
static void write_string_rest(struct json_writer *w, const uint8_t *p, const uint8_t *end)
{
    while (p < end) {
        if (*p >= 0x80) {
            p = write_non_ascii(w, p, end);
            if (!p)
                return;
        } else {
            if (!write_escape(w, *p, (size_t)(end - p) - 1))
                return;
            p++;
        }
        size_t run = copy_plain(w->at, p, (size_t)(end - p));
        w->at += run;
        p += run;
    }
}

void json_string_inner(struct json_writer *w, const char *bytes, size_t len)
{
    if (!json_room(w, len))
        return;
    size_t run = copy_plain(w->at, (const uint8_t *)bytes, len);
    w->at += run;
    if (run < len)
        write_string_rest(w, (const uint8_t *)bytes + run, (const uint8_t *)bytes + len);
}

void json_quoted(struct json_writer *w, const char *bytes, size_t len)
{
    if (!json_room(w, len + 2))
        return;
    char *at = w->at;
    *at = '"';
    size_t run = copy_plain(at + 1, (const uint8_t *)bytes, len);
    w->at = at + 1 + run;
    if (__builtin_expect(run < len, 0)) {
        write_string_rest(w, (const uint8_t *)bytes + run, (const uint8_t *)bytes + len);
        if (!json_room(w, 1))
            return;
    }
    *w->at++ = '"';
}

void json_cstring(struct json_writer *w, const char *text)
{
    json_quoted(w, text, strlen(text));
}

/* ---- Base64 ---- */

static const char base64_digits[64] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void base64_four(char *at, uint32_t bits) /* of 24 */
{
    at[0] = base64_digits[bits >> 18];
    at[1] = base64_digits[bits >> 12 & 63];
    at[2] = base64_digits[bits >> 6 & 63];
    at[3] = base64_digits[bits & 63];
}

void json_base64(struct json_writer *w, const uint8_t *bytes, size_t len)
{
    size_t size = (len + 2) / 3 * 4;
    if (!json_room(w, size))
        return;
    char *at = w->at;
    w->at += size;
    for (; len >= 3; len -= 3, bytes += 3, at += 4)
        base64_four(at, (uint32_t)bytes[0] << 16 | (uint32_t)bytes[1] << 8 | bytes[2]);
    if (len == 0)
        return;
    base64_four(at, (uint32_t)bytes[0] << 16 | (len == 2 ? (uint32_t)bytes[1] << 8 : 0));
    at[3] = '=';
    if (len == 1)
        at[2] = '=';
}
