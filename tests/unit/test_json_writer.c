/*
 * The JSON writer: exact bytes, exact room. Every text is written into a heap block of exactly the size that
 * it needs, so that AddressSanitizer sees a byte too many; strings are read from such blocks too.
 */
#include "json_writer.h"

#include <float.h>
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

static uint64_t random_state = 88172645463325252;

static uint64_t random_next(void) /* xorshift */
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    return random_state ^= random_state << 17;
}

/* ---- Room ---- */

static void test_room_is_exact(void **state)
{
    static const char text[] = "a\nb\x01"
                               "c\xff\xe4\xbd\xa0 and some more that is plain";
    static const char json[] = "\"a\\nb\\u0001c\xef\xbf\xbd\xe4\xbd\xa0 and some more that is plain\"";
    for (size_t size = 0; size <= sizeof(json); size++) {
        char *span = malloc(size + 1);
        struct json_writer w;
        json_writer_init(&w, span, size);
        json_quoted(&w, text, sizeof(text) - 1);
        assert_int_equal(w.failed, size < sizeof(json) - 1);
        if (!w.failed) {
            assert_int_equal(json_writer_length(&w), sizeof(json) - 1);
            assert_memory_equal(span, json, sizeof(json) - 1);
        }
        free(span);
    }
}

static void test_nothing_is_written_after_a_failure(void **state)
{
    char span[8] = "........";
    struct json_writer w;
    json_writer_init(&w, span, sizeof(span));
    json_literal(&w, "abc");
    json_literal(&w, "too long for it");
    assert_true(w.failed);
    json_literal(&w, "d");
    json_uint(&w, 1);
    json_quoted(&w, "", 0);
    assert_int_equal(json_writer_length(&w), 3);
    assert_memory_equal(span, "abc.....", 8);
}

/* Room for exactly what is asked for, in a block of its own each time. */
static bool grow_by_moving(struct json_writer *w, size_t need)
{
    size_t length = json_writer_length(w), *limit = w->owner;
    if (length + need > *limit)
        return false;
    char *moved = malloc(length + need);
    if (length)
        memcpy(moved, w->base, length);
    free(w->base);
    *w = (struct json_writer){moved, moved + length, moved + length + need, w->grow, w->owner, w->failed};
    return true;
}

static void write_some_of_all(struct json_writer *w)
{
    for (int i = 0; i < 20; i++) {
        json_int(w, -i * 12345678);
        json_uint(w, UINT64_MAX);
        json_double(w, i / 8.0);
        json_cstring(w, "\xe4\xbd\xa0\xe5\xa5\xbd\n\n\xf0\x9f\x98\x80\xc0 plain, plain, plain, plain");
        json_string_inner(w, "\"\"\"\"", 4);
        json_base64(w, (const uint8_t *)"any carnal pleas", 16);
    }
}

static void test_grow_may_move(void **state)
{
    char fixed[8192];
    struct json_writer expected;
    json_writer_init(&expected, fixed, sizeof(fixed));
    write_some_of_all(&expected);
    assert_false(expected.failed);
    size_t limit = json_writer_length(&expected), all = limit;
    struct json_writer w = {.grow = grow_by_moving, .owner = &limit};
    write_some_of_all(&w);
    assert_false(w.failed);
    assert_int_equal(json_writer_length(&w), all);
    assert_memory_equal(w.base, fixed, all);
    free(w.base);
    limit = all - 1;
    w = (struct json_writer){.grow = grow_by_moving, .owner = &limit};
    write_some_of_all(&w);
    assert_true(w.failed);
    free(w.base);
}

/* ---- Numbers ---- */

static void expect_written(const struct json_writer *w, const char *expected)
{
    assert_false(w->failed);
    if (json_writer_length(w) != strlen(expected) || memcmp(w->base, expected, strlen(expected)) != 0)
        fail_msg("\"%.*s\" was written instead of \"%s\"", (int)json_writer_length(w), w->base, expected);
}

static void expect_integer(uint64_t value)
{
    char expected[32], *span;
    struct json_writer w;
    snprintf(expected, sizeof(expected), "%" PRIu64, value);
    json_writer_init(&w, span = malloc(strlen(expected)), strlen(expected));
    json_uint(&w, value);
    expect_written(&w, expected);
    free(span);
    snprintf(expected, sizeof(expected), "%" PRId64, (int64_t)value);
    json_writer_init(&w, span = malloc(strlen(expected)), strlen(expected));
    json_int(&w, (int64_t)value);
    expect_written(&w, expected);
    free(span);
}

static void test_integers(void **state)
{
    uint64_t power = 1;
    for (int i = 0; i < 20; i++, power *= 10)
        for (uint64_t value = power - 2; value != power + 3; value++) {
            expect_integer(value);
            expect_integer(0 - value);
        }
    for (int bit = 0; bit < 64; bit++) {
        expect_integer(UINT64_C(1) << bit);
        expect_integer((UINT64_C(1) << bit) - 1);
        expect_integer(0 - (UINT64_C(1) << bit));
    }
    for (int i = 0; i < 100000; i++)
        expect_integer(random_next() >> random_next() % 64);
}

static void expect_double(double value, const char *expected)
{
    size_t size = strlen(expected);
    char *span = malloc(size);
    struct json_writer w;
    json_writer_init(&w, span, size);
    json_double(&w, value);
    expect_written(&w, expected);
    free(span);
}

static void test_doubles(void **state)
{
    static const struct {
        double value;
        const char *text;
    } rows[] = {
        {0.0, "0.0"},
        {-0.0, "-0.0"},
        {1, "1.0"},
        {-17, "-17.0"},
        {0.1, "0.1"},
        {0.1f, "0.10000000149011612"},
        {-0.5, "-0.5"},
        {3.14, "3.14"},
        {1234.5678, "1234.5678"},
        {0.0001, "0.0001"},
        {0.00012, "0.00012"},
        {0.00001, "1e-5"},
        {0.000012, "1.2e-5"},
        {1.0 / 3, "0.3333333333333333"},
        {2.0 / 3, "0.6666666666666666"},
        {0.1 + 0.2, "0.30000000000000004"},
        {1700000000123, "1700000000123.0"},
        {1700000000123.25, "1700000000123.25"},
        {9007199254740991, "9007199254740991.0"},
        {9007199254740992, "9007199254740992.0"},
        {9007199254740994, "9007199254740994.0"},
        {9999999999999998, "9999999999999998.0"},
        {1e15, "1000000000000000.0"},
        {1e16, "1e16"},
        {1.5e16, "1.5e16"},
        {123456789012345680, "1.2345678901234568e17"},
        {1e22, "1e22"},
        {1e23, "1e23"},
        {-1e300, "-1e300"},
        {DBL_MAX, "1.7976931348623157e308"},
        {-DBL_MAX, "-1.7976931348623157e308"},
        {DBL_MIN, "2.2250738585072014e-308"},
        {DBL_EPSILON, "2.220446049250313e-16"},
        {5e-324, "5e-324"},
        {-5e-324, "-5e-324"},
        {2.2250738585072011e-308, "2.225073858507201e-308"},
        {1e-310, "1e-310"},
        {FLT_MAX, "3.4028234663852886e38"},
        {NAN, "null"},
        {INFINITY, "null"},
        {-INFINITY, "null"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        expect_double(rows[i].value, rows[i].text);
}

static unsigned digits_of(const char *number) /* significant ones */
{
    unsigned digits = 0, zeros = 0;
    for (; *number && *number != 'e'; number++)
        if (*number == '0')
            zeros += digits > 0;
        else if (*number >= '1' && *number <= '9')
            digits += 1 + zeros, zeros = 0;
    return digits;
}

static unsigned fewest_digits(double value)
{
    char text[64];
    for (int digits = 1; digits < 17; digits++) {
        snprintf(text, sizeof(text), "%.*e", digits - 1, value);
        if (strtod(text, NULL) == value)
            return (unsigned)digits;
    }
    return 17;
}

static void expect_read_back(double value)
{
    char text[64];
    struct json_writer w;
    json_writer_init(&w, text, sizeof(text) - 1);
    json_double(&w, value);
    *w.at = '\0';
    if (strtod(text, NULL) != value || !strpbrk(text, ".e") || strpbrk(text, ".e")[1] == '\0')
        fail_msg("%.17g was written as %s", value, text);
    if (value != 0 && digits_of(text) > fewest_digits(value))
        fail_msg("%.17g was written as %s, which is too long", value, text);
}

static void test_doubles_read_back(void **state)
{
    for (int i = 0; i < 20000; i++) {
        double value;
        uint64_t bits = random_next();
        memcpy(&value, &bits, sizeof(value));
        if (isfinite(value))
            expect_read_back(value);
        expect_read_back((double)(int64_t)bits / 4096);
        expect_read_back((double)(bits % 100000000) / 1000);
        expect_read_back((double)(bits % 1000000000000000) / 1e12);
        expect_read_back((double)(bits % 1000) * 1e-15);
    }
    for (int exponent = -1074; exponent < 1024; exponent++)
        expect_read_back(ldexp(1, exponent));
}

/* A locale of our own, for the machine need not have one: localedef is part of the C library. */
static bool comma_locale_set(const char *folder)
{
    char path[256], command[600];
    snprintf(path, sizeof(path), "%s/source", folder);
    FILE *source = fopen(path, "w");
    if (!source)
        return false;
    fputs("LC_NUMERIC\ndecimal_point \",\"\nthousands_sep \".\"\ngrouping 3;3\nEND LC_NUMERIC\n", source);
    fclose(source);
    snprintf(command, sizeof(command), "localedef -c -i %s/source %s/comma >%s/log 2>&1", folder, folder,
             folder);
    if (system(command) < 0) /* it warns about all that the locale lacks */
        return false;
    setenv("LOCPATH", folder, 1);
    return setlocale(LC_NUMERIC, "comma") != NULL;
}

static void test_doubles_in_a_locale_with_a_comma(void **state)
{
    char folder[] = "/tmp/test_json_writer.XXXXXX", command[64], shown[16];
    assert_non_null(mkdtemp(folder));
    bool set = comma_locale_set(folder);
    snprintf(command, sizeof(command), "rm -r %s", folder);
    assert_int_equal(system(command), 0);
    if (!set)
        skip();
    snprintf(shown, sizeof(shown), "%.1f", 0.5);
    assert_string_equal(shown, "0,5");
    test_doubles(state);
    setlocale(LC_NUMERIC, "C");
}

/* ---- Strings ---- */

/* The plain way: one state machine, byte by byte, as the WHATWG describes its UTF-8 decoder. */
struct slow_utf8 {
    uint8_t bytes[4], have, need, low, high;
};

static bool slow_lead(struct slow_utf8 *u, uint8_t c)
{
    *u = (struct slow_utf8){.low = 0x80, .high = 0xbf};
    if (c >= 0xc2 && c <= 0xdf)
        u->need = 2;
    else if (c >= 0xe0 && c <= 0xef)
        u->need = 3;
    else if (c >= 0xf0 && c <= 0xf4)
        u->need = 4;
    else
        return false;
    if (c == 0xe0)
        u->low = 0xa0;
    if (c == 0xed)
        u->high = 0x9f;
    if (c == 0xf0)
        u->low = 0x90;
    if (c == 0xf4)
        u->high = 0x8f;
    u->bytes[u->have++] = c;
    return true;
}

static size_t slow_ascii(char *out, uint8_t c)
{
    static const char *const escapes[128] = {['\b'] = "\\b", ['\f'] = "\\f", ['\n'] = "\\n", ['\r'] = "\\r",
                                             ['\t'] = "\\t", ['"'] = "\\\"", ['\\'] = "\\\\"};
    if (escapes[c])
        return (size_t)sprintf(out, "%s", escapes[c]);
    if (c < 0x20)
        return (size_t)sprintf(out, "\\u%04x", c);
    *out = (char)c;
    return 1;
}

static size_t slow_string(char *out, const uint8_t *in, size_t len)
{
    char *at = out;
    struct slow_utf8 u = {0};
    *at++ = '"';
    for (size_t i = 0; i < len; i++) {
        if (u.have && in[i] >= u.low && in[i] <= u.high) {
            u.bytes[u.have++] = in[i];
            u.low = 0x80;
            u.high = 0xbf;
            if (u.have < u.need)
                continue;
            memcpy(at, u.bytes, u.need);
            at += u.need;
            u.have = 0;
            continue;
        }
        if (u.have) {
            memcpy(at, "\xef\xbf\xbd", 3);
            at += 3;
            u.have = 0;
        }
        if (in[i] < 0x80) {
            at += slow_ascii(at, in[i]);
        } else if (!slow_lead(&u, in[i])) {
            memcpy(at, "\xef\xbf\xbd", 3);
            at += 3;
        }
    }
    if (u.have) {
        memcpy(at, "\xef\xbf\xbd", 3);
        at += 3;
    }
    *at++ = '"';
    return (size_t)(at - out);
}

static void expect_string_bytes(const uint8_t *bytes, size_t len, const char *expected, size_t size)
{
    char *in = malloc(len + 1), *out = malloc(size);
    struct json_writer w;
    memcpy(in + 1, bytes, len); /* not aligned */
    json_writer_init(&w, out, size);
    json_quoted(&w, in + 1, len);
    assert_false(w.failed);
    assert_int_equal(json_writer_length(&w), size);
    assert_memory_equal(out, expected, size);
    free(in);
    free(out);
    /* with room to spare and bytes behind it, which must not show */
    char *padded = malloc(len + JSON_BLOCK), *wide = malloc(size + 64);
    memset(padded, '"', len + JSON_BLOCK);
    memcpy(padded, bytes, len);
    json_writer_init(&w, wide, size + 64);
    json_quoted_padded(&w, padded, len);
    assert_int_equal(json_writer_length(&w), size);
    assert_memory_equal(wide, expected, size);
    free(padded);
    free(wide);
}

/* In too small a block it fails, and not by writing behind it. */
static void expect_no_room(const uint8_t *bytes, size_t len, size_t size)
{
    char *out = malloc(size ? size : 1);
    struct json_writer w;
    json_writer_init(&w, out, size);
    json_quoted(&w, (const char *)bytes, len);
    assert_true(w.failed);
    free(out);
}

static void expect_as_the_slow_way(const uint8_t *bytes, size_t len)
{
    char expected[4096];
    size_t size = slow_string(expected, bytes, len);
    expect_string_bytes(bytes, len, expected, size);
    expect_no_room(bytes, len, size - 1);
    expect_no_room(bytes, len, random_next() % size);
}

static void test_strings(void **state)
{
    static const struct {
        const char *bytes, *json;
    } rows[] = {
        {"", "\"\""},
        {"a", "\"a\""},
        {"\"", "\"\\\"\""},
        {"\\", "\"\\\\\""},
        {"/", "\"/\""},
        {"\b\f\n\r\t", "\"\\b\\f\\n\\r\\t\""},
        {"\x01\x1f\x7f\x0b", "\"\\u0001\\u001f\x7f\\u000b\""},
        {"你好,世界", "\"你好,世界\""},
        {"é, ß, 😀, 𐍈", "\"é, ß, 😀, 𐍈\""},
        {"\xe2\x80\xa8", "\"\xe2\x80\xa8\""}, /* U+2028 is JSON */
        {"\xef\xbf\xbf\xf4\x8f\xbf\xbf", "\"\xef\xbf\xbf\xf4\x8f\xbf\xbf\""},
        {"\xc2\x80\xe0\xa0\x80\xf0\x90\x80\x80",
         "\"\xc2\x80\xe0\xa0\x80\xf0\x90\x80\x80\""},                 /* the smallest */
        {"\xed\x9f\xbf\xee\x80\x80", "\"\xed\x9f\xbf\xee\x80\x80\""}, /* around the surrogates */
        /* ill-formed; R stands for U+FFFD. The rows up to here must not change, those below must. */
        {"\x80", "\"R\""},
        {"\xbf", "\"R\""},
        {"\xc0\x80", "\"RR\""},
        {"\xc1\xbf", "\"RR\""},
        {"\xc2", "\"R\""},
        {"\xc2\x41", "\"RA\""},
        {"\xe0\x80\x80", "\"RRR\""},
        {"\xe0\x9f\xbf", "\"RRR\""},
        {"\xe4\xbd", "\"R\""},
        {"\xe4", "\"R\""},
        {"\xe4\xbd\x41", "\"RA\""},
        {"\xe4\xbd\"", "\"R\\\"\""},
        {"\xed\xa0\x80", "\"RRR\""},
        {"\xed\xbf\xbf", "\"RRR\""},
        {"\xed\xa0\xbd\xed\xb8\x80", "\"RRRRRR\""},
        {"\xf0\x80\x80\x80", "\"RRRR\""},
        {"\xf0\x8f\xbf\xbf", "\"RRRR\""},
        {"\xf0\x9f\x98", "\"R\""},
        {"\xf0\x9f\x98\x41", "\"RA\""},
        {"\xf0\x9f", "\"R\""},
        {"\xf4\x90\x80\x80", "\"RRRR\""},
        {"\xf5\x80\x80\x80", "\"RRRR\""},
        {"\xf8\x88\x80\x80\x80", "\"RRRRR\""},
        {"\xfc\x84\x80\x80\x80\x80", "\"RRRRRR\""},
        {"\xfe\xff", "\"RR\""},
        /* Unicode 15, table 3-8 and 3-11 */
        {"\xc0\xaf\xe0\x80\xbf\xf0\x81\x82\x41", "\"RRRRRRRRA\""},
        {"\xed\xa0\x80\xed\xbf\xbf\xed\xaf\x41", "\"RRRRRRRRA\""},
        {"\xf4\x91\x92\x93\xff\x41\x80\xbf\x42", "\"RRRRRARRB\""},
        {"\xe1\x80\xe2\xf0\x91\x92\xf1\xbf\x41", "\"RRRRA\""},
        {"\xe4\xbd\xa0\xe4\xbd\xe5\xa5\xbd", "\"\xe4\xbd\xa0R\xe5\xa5\xbd\""},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char expected[64], *at = expected;
        for (const char *p = rows[i].json; *p; p++) {
            memcpy(at, *p == 'R' ? "\xef\xbf\xbd" : p, *p == 'R' ? 3 : 1);
            at += *p == 'R' ? 3 : 1;
        }
        expect_string_bytes((const uint8_t *)rows[i].bytes, strlen(rows[i].bytes), expected,
                            (size_t)(at - expected));
        expect_as_the_slow_way((const uint8_t *)rows[i].bytes, strlen(rows[i].bytes));
    }
    expect_string_bytes((const uint8_t *)"a\0b", 3, "\"a\\u0000b\"", 10);
}

static void test_every_byte_at_every_place(void **state)
{
    uint8_t bytes[48];
    for (size_t len = 1; len <= sizeof(bytes); len++)
        for (size_t at = 0; at < len; at++)
            for (unsigned c = 0; c < 256; c += len % 16 < 2 ? 1 : 11) {
                memset(bytes, 'x', len);
                bytes[at] = (uint8_t)c;
                expect_as_the_slow_way(bytes, len);
            }
}

static void test_random_strings(void **state)
{
    static const char *const pieces[] = {
        "plain text ", "\"",       "\\",           "\n",   "\x01", "你",       "好",       "é",       "😀",
        "\xe4\xbd",    "\xf0\x9f", "\xed\xa0\x80", "\xff", "a",    "世界和平", "\xf4\x90", "\xe0\x80"};
    for (int i = 0; i < 30000; i++) {
        uint8_t bytes[256];
        size_t len = 0, wanted = random_next() % 200;
        while (len < wanted) {
            const char *piece = pieces[random_next() % (sizeof(pieces) / sizeof(pieces[0]))];
            memcpy(bytes + len, piece, strlen(piece));
            len += strlen(piece);
            if (random_next() % 16 == 0)
                bytes[random_next() % len] = (uint8_t)random_next();
        }
        expect_as_the_slow_way(bytes, len);
    }
}

static void test_string_variants(void **state)
{
    char span[64];
    struct json_writer w;
    json_writer_init(&w, span, sizeof(span));
    json_string_inner(&w, "a\"b", 3);
    json_cstring(&w, "c\\");
    json_string_inner(&w, "", 0);
    json_text(&w, "[");
    json_next_key(&w, "k");
    json_first_key(&w, "l");
    expect_written(&w, "a\\\"b\"c\\\\\"[,\"k\":\"l\":");
}

static void test_base64(void **state)
{
    static const char *const rows[][2] = {
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
        {"\xff\xff\xff\xfe\xfb\xf0", "/////vvw"},
        {"\xfb\xef\xbe", "++++"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        size_t len = strlen(rows[i][0]), size = strlen(rows[i][1]);
        char *in = malloc(len + 1), *out = malloc(size + 1);
        struct json_writer w;
        memcpy(in + 1, rows[i][0], len);
        json_writer_init(&w, out, size);
        json_base64(&w, (const uint8_t *)in + 1, len);
        expect_written(&w, rows[i][1]);
        free(in);
        free(out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_room_is_exact),
        cmocka_unit_test(test_nothing_is_written_after_a_failure),
        cmocka_unit_test(test_grow_may_move),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_doubles),
        cmocka_unit_test(test_doubles_read_back),
        cmocka_unit_test(test_doubles_in_a_locale_with_a_comma),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_every_byte_at_every_place),
        cmocka_unit_test(test_random_strings),
        cmocka_unit_test(test_string_variants),
        cmocka_unit_test(test_base64),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
