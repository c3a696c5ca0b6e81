/* The JSON scanner: cases by hand, and jansson as the oracle for these and for random damage to valid texts.
 */
#include "scan.h"

#include "random_json.h"

#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define DEPTH 254 /* jansson allows more: only what nests less is compared */
#define TEN(text) text text text text text text text text text text

/* A copy in memory of exactly its size, so that AddressSanitizer sees a byte too far; '\n' behind it as in a
 * line. */
static char *exact_copy(const char *text, size_t len)
{
    char *copy = malloc(len + 1);
    assert_non_null(copy);
    memcpy(copy, text, len);
    copy[len] = '\n';
    return copy;
}

/* ---- Cases by hand ---- */

struct text_case {
    enum scan_result expected;
    const char *text;
    size_t len;
};

#define BYTES(text) text, sizeof(text) - 1

#define CASE(expected, literal)  \
    {                            \
        expected, BYTES(literal) \
    }

static const struct text_case cases[] = {
    /* any value may be outermost; white space */
    CASE(SCAN_OK, "null"),
    CASE(SCAN_OK, "true"),
    CASE(SCAN_OK, "false"),
    CASE(SCAN_OK, "0"),
    CASE(SCAN_OK, "-1"),
    CASE(SCAN_OK, "\"\""),
    CASE(SCAN_OK, "[]"),
    CASE(SCAN_OK, "{}"),
    CASE(SCAN_OK, " \t\n\r[ \t\n\r] \t\n\r"),
    CASE(SCAN_OK, "{ \"a\" : 1 , \"b\" : [ 1 , 2 ] }"),
    CASE(SCAN_OK, "[[[[[]]]],{},{\"\":{}}]"),
    CASE(SCAN_SYNTAX, " "),
    CASE(SCAN_SYNTAX, "\f1"),
    CASE(SCAN_SYNTAX, "\v1"),
    CASE(SCAN_SYNTAX, "\xc2\xa0"
                      "1"),
    CASE(SCAN_SYNTAX, "\xef\xbb\xbf"
                      "1"),
    CASE(SCAN_SYNTAX, "\0"),
    CASE(SCAN_SYNTAX, "1\0"),
    CASE(SCAN_SYNTAX, "[1\0]"),
    CASE(SCAN_SYNTAX, "{\"a\"\0:1}"),
    /* words */
    CASE(SCAN_SYNTAX, "nul"),
    CASE(SCAN_SYNTAX, "nulll"),
    CASE(SCAN_SYNTAX, "True"),
    CASE(SCAN_SYNTAX, "tru"),
    CASE(SCAN_SYNTAX, "fals"),
    CASE(SCAN_SYNTAX, "[truefalse]"),
    CASE(SCAN_SYNTAX, "undefined"),
    CASE(SCAN_SYNTAX, "NaN"),
    CASE(SCAN_SYNTAX, "Infinity"),
    CASE(SCAN_SYNTAX, "-Infinity"),
    CASE(SCAN_SYNTAX, "abc"),
    CASE(SCAN_SYNTAX, "'a'"),
    /* structure */
    CASE(SCAN_SYNTAX, "["),
    CASE(SCAN_SYNTAX, "]"),
    CASE(SCAN_SYNTAX, "{"),
    CASE(SCAN_SYNTAX, "}"),
    CASE(SCAN_SYNTAX, ","),
    CASE(SCAN_SYNTAX, ":"),
    CASE(SCAN_SYNTAX, "[1"),
    CASE(SCAN_SYNTAX, "[1,"),
    CASE(SCAN_SYNTAX, "[1,]"),
    CASE(SCAN_SYNTAX, "[,1]"),
    CASE(SCAN_SYNTAX, "[,]"),
    CASE(SCAN_SYNTAX, "[1,,2]"),
    CASE(SCAN_SYNTAX, "[1 2]"),
    CASE(SCAN_SYNTAX, "[1:2]"),
    CASE(SCAN_SYNTAX, "[1}"),
    CASE(SCAN_SYNTAX, "{\"a\":1]"),
    CASE(SCAN_SYNTAX, "[]]"),
    CASE(SCAN_SYNTAX, "{}}"),
    CASE(SCAN_SYNTAX, "{}{}"),
    CASE(SCAN_SYNTAX, "1 2"),
    CASE(SCAN_SYNTAX, "[],"),
    CASE(SCAN_SYNTAX, "{\"a\"}"),
    CASE(SCAN_SYNTAX, "{\"a\":}"),
    CASE(SCAN_SYNTAX, "{\"a\":1,}"),
    CASE(SCAN_SYNTAX, "{\"a\":1,,\"b\":2}"),
    CASE(SCAN_SYNTAX, "{,\"a\":1}"),
    CASE(SCAN_SYNTAX, "{\"a\" 1}"),
    CASE(SCAN_SYNTAX, "{\"a\",1}"),
    CASE(SCAN_SYNTAX, "{\"a\"::1}"),
    CASE(SCAN_SYNTAX, "{\"a\":1 \"b\":2}"),
    CASE(SCAN_SYNTAX, "{\"a\":1:2}"),
    CASE(SCAN_SYNTAX, "{a:1}"),
    CASE(SCAN_SYNTAX, "{1:1}"),
    CASE(SCAN_SYNTAX, "{null:1}"),
    CASE(SCAN_SYNTAX, "{[]:1}"),
    CASE(SCAN_SYNTAX, "{\"a\":1"),
    CASE(SCAN_SYNTAX, "{\"a\":"),
    CASE(SCAN_SYNTAX, "{\"a\""),
    CASE(SCAN_SYNTAX, "{\"a"),
    CASE(SCAN_SYNTAX, "{\"a\":1,"),
    CASE(SCAN_SYNTAX, "[1] // no comments"),
    CASE(SCAN_SYNTAX, "/**/1"),
    CASE(SCAN_SYNTAX, "#1"),
    /* integers */
    CASE(SCAN_OK, "-0"),
    CASE(SCAN_OK, "9223372036854775807"),
    CASE(SCAN_OK, "-9223372036854775808"),
    CASE(SCAN_OK, "9223372036854775808"),
    CASE(SCAN_OK, "18446744073709551615"),
    CASE(SCAN_RANGE, "18446744073709551616"),
    CASE(SCAN_RANGE, "-9223372036854775809"),
    CASE(SCAN_RANGE, "99999999999999999999"),
    CASE(SCAN_RANGE, "100000000000000000000000000000000"),
    CASE(SCAN_RANGE, "[-18446744073709551615]"),
    CASE(SCAN_SYNTAX, "01"),
    CASE(SCAN_SYNTAX, "-01"),
    CASE(SCAN_SYNTAX, "00"),
    CASE(SCAN_SYNTAX, "-"),
    CASE(SCAN_SYNTAX, "--1"),
    CASE(SCAN_SYNTAX, "+1"),
    CASE(SCAN_SYNTAX, "- 1"),
    CASE(SCAN_SYNTAX, "1 000"),
    CASE(SCAN_SYNTAX, "0x10"),
    CASE(SCAN_SYNTAX, "1a"),
    CASE(SCAN_SYNTAX, "[1-2]"),
    CASE(SCAN_SYNTAX, "\xef\xbc\x91"),
    /* reals */
    CASE(SCAN_OK, "0.0"),
    CASE(SCAN_OK, "-0.0"),
    CASE(SCAN_OK, "1.5"),
    CASE(SCAN_OK, "1e5"),
    CASE(SCAN_OK, "1E5"),
    CASE(SCAN_OK, "1e+5"),
    CASE(SCAN_OK, "1e-5"),
    CASE(SCAN_OK, "0e0"),
    CASE(SCAN_OK, "1.25E+2"),
    CASE(SCAN_OK, "1e0000000000000000000000000000000000001"),
    CASE(SCAN_OK, "1.7976931348623157e308"),
    CASE(SCAN_OK, "4.9e-324"),
    CASE(SCAN_OK, "1e-400"),
    CASE(SCAN_OK, "0e400"),
    CASE(SCAN_OK, "123456789012345678901234567890.0"),
    CASE(SCAN_OK, "0." TEN(TEN(TEN("0"))) "1"),
    CASE(SCAN_OK, TEN(TEN("123")) ".5"),
    CASE(SCAN_RANGE, "1e400"),
    CASE(SCAN_RANGE, "-1e400"),
    CASE(SCAN_RANGE, "1.8e308"),
    CASE(SCAN_RANGE, TEN(TEN("1234")) ".5"),
    CASE(SCAN_RANGE, "1e99999999999999999999"),
    CASE(SCAN_SYNTAX, "1."),
    CASE(SCAN_SYNTAX, ".5"),
    CASE(SCAN_SYNTAX, "-.5"),
    CASE(SCAN_SYNTAX, "1.e5"),
    CASE(SCAN_SYNTAX, "1e"),
    CASE(SCAN_SYNTAX, "1e+"),
    CASE(SCAN_SYNTAX, "1e-"),
    CASE(SCAN_SYNTAX, "1e5.5"),
    CASE(SCAN_SYNTAX, "1.5.5"),
    CASE(SCAN_SYNTAX, "1.5e5e5"),
    CASE(SCAN_SYNTAX, "1ee5"),
    CASE(SCAN_SYNTAX, "01.5"),
    CASE(SCAN_SYNTAX, "0x1.8p3"),
    CASE(SCAN_SYNTAX, "1,5"),
    /* strings */
    CASE(SCAN_OK, "\"a\""),
    CASE(SCAN_OK, "\"\x7f\""),
    CASE(SCAN_OK, "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""),
    CASE(SCAN_OK, "\"\\u0041\\u00e9\\u4e2d\\uFFFF\""),
    CASE(SCAN_OK, "\"\\u0000\""),
    CASE(SCAN_OK, "[\"a\\u0000b\"]"),
    CASE(SCAN_OK, "\"\\ud83d\\ude00\""),
    CASE(SCAN_OK, "\"\\uD800\\uDC00\\uDBFF\\uDFFF\""),
    CASE(SCAN_OK, "\"1234567\""),
    CASE(SCAN_OK, "\"12345678\""),
    CASE(SCAN_OK, "\"123456789abcdef0\\n\""),
    CASE(SCAN_SYNTAX, "\""),
    CASE(SCAN_SYNTAX, "\"a"),
    CASE(SCAN_SYNTAX, "\"abcdefgh"),
    CASE(SCAN_SYNTAX, "\"a\\"),
    CASE(SCAN_SYNTAX, "\"a\\\""),
    CASE(SCAN_SYNTAX, "\"\\a\""),
    CASE(SCAN_SYNTAX, "\"\\'\""),
    CASE(SCAN_SYNTAX, "\"\\0\""),
    CASE(SCAN_SYNTAX, "\"\\x41\""),
    CASE(SCAN_SYNTAX, "\"\\U0041\""),
    CASE(SCAN_SYNTAX, "\"\\\0\""),
    CASE(SCAN_SYNTAX, "\"\\\n\""),
    CASE(SCAN_SYNTAX, "\"\\u\""),
    CASE(SCAN_SYNTAX, "\"\\u004\""),
    CASE(SCAN_SYNTAX, "\"\\u004g\""),
    CASE(SCAN_SYNTAX, "\"\\u 041\""),
    CASE(SCAN_SYNTAX, "\"\\u-041\""),
    CASE(SCAN_SYNTAX, "\"\\u00"),
    CASE(SCAN_SYNTAX, "\"\\u0041"),
    CASE(SCAN_SYNTAX, "\"\\ud800\""),
    CASE(SCAN_SYNTAX, "\"\\udbff a\""),
    CASE(SCAN_SYNTAX, "\"\\udc00\""),
    CASE(SCAN_SYNTAX, "\"\\udfff\\ud800\""),
    CASE(SCAN_SYNTAX, "\"\\ud800\\ud800\""),
    CASE(SCAN_SYNTAX, "\"\\ud800\\u0041\""),
    CASE(SCAN_SYNTAX, "\"\\ud800\\udc0"),
    CASE(SCAN_SYNTAX, "\"\\ud800\\udc0g\""),
    CASE(SCAN_SYNTAX, "\"\\ud800\\n\""),
    CASE(SCAN_SYNTAX, "\"\\ud800xudc00\""),
    CASE(SCAN_SYNTAX, "\"\0\""),
    CASE(SCAN_SYNTAX, "\"\t\""),
    CASE(SCAN_SYNTAX, "\"\n\""),
    CASE(SCAN_SYNTAX, "\"1234567\x1f\""),
    CASE(SCAN_SYNTAX, "\"1234567890\x01"
                      "12345\""),
    /* UTF-8 */
    CASE(SCAN_OK, "\"\xc2\x80\xdf\xbf\""),
    CASE(SCAN_OK, "\"\xe0\xa0\x80\xed\x9f\xbf\xee\x80\x80\xef\xbf\xbf\""),
    CASE(SCAN_OK, "\"\xf0\x90\x80\x80\xf4\x8f\xbf\xbf\""),
    CASE(SCAN_OK, "\"a中b文😀c\""),
    CASE(SCAN_SYNTAX, "\"\x80\""),
    CASE(SCAN_SYNTAX, "\"\xbf\""),
    CASE(SCAN_SYNTAX, "\"\xc0\x80\""),
    CASE(SCAN_SYNTAX, "\"\xc1\xbf\""),
    CASE(SCAN_SYNTAX, "\"\xc2\""),
    CASE(SCAN_SYNTAX, "\"\xc2"),
    CASE(SCAN_SYNTAX, "\"\xc2\x7f\""),
    CASE(SCAN_SYNTAX, "\"\xc2\xc0\""),
    CASE(SCAN_SYNTAX, "\"\xe0\x80\x80\""),
    CASE(SCAN_SYNTAX, "\"\xe0\x9f\xbf\""),
    CASE(SCAN_SYNTAX, "\"\xe4\xb8\""),
    CASE(SCAN_SYNTAX, "\"\xe4\xb8"),
    CASE(SCAN_SYNTAX, "\"\xe4\xb8z\""),
    CASE(SCAN_SYNTAX, "\"\xed\xa0\x80\""),
    CASE(SCAN_SYNTAX, "\"\xed\xbf\xbf\""),
    CASE(SCAN_SYNTAX, "\"\xf0\x80\x80\x80\""),
    CASE(SCAN_SYNTAX, "\"\xf0\x8f\xbf\xbf\""),
    CASE(SCAN_SYNTAX, "\"\xf0\x9f\x98\""),
    CASE(SCAN_SYNTAX, "\"\xf0\x9f\x98z\""),
    CASE(SCAN_SYNTAX, "\"\xf4\x90\x80\x80\""),
    CASE(SCAN_SYNTAX, "\"\xf5\x80\x80\x80\""),
    CASE(SCAN_SYNTAX, "\"\xff\""),
    CASE(SCAN_SYNTAX, "\"\xfe\""),
    CASE(SCAN_SYNTAX, "{\"\xff\":1}"),
    CASE(SCAN_SYNTAX, "[\xe4\xb8\xad]"),
    /* keys */
    CASE(SCAN_OK, "{\"\":1,\"a\":2,\"A\":3,\"a \":4,\"aa\":5}"),
    CASE(SCAN_OK, "{\"a\":{\"a\":{\"a\":1}},\"b\":{\"a\":1}}"),
    CASE(SCAN_OK, "[{\"a\":1},{\"a\":1}]"),
    CASE(SCAN_OK, "{\"\\u0061\":1,\"\\u0062\":2,\"c\":3}"),
    CASE(SCAN_OK, "{\"\\\\u0061\":1,\"a\":2}"),
    CASE(SCAN_DUPLICATE, "{\"a\":1,\"a\":2}"),
    CASE(SCAN_DUPLICATE, "{\"\":1,\"\":2}"),
    CASE(SCAN_DUPLICATE, "{\"a\":1,\"b\":2,\"c\":3,\"a\":4}"),
    CASE(SCAN_DUPLICATE, "{\"a\":1,\"\\u0061\":2}"),
    CASE(SCAN_DUPLICATE, "{\"\\u0061\":1,\"a\":2}"),
    CASE(SCAN_DUPLICATE, "{\"\\u0061b\":1,\"a\\u0062\":2}"),
    CASE(SCAN_DUPLICATE, "{\"\\u4e2d\":1,\"中\":2}"),
    CASE(SCAN_DUPLICATE, "{\"\\ud83d\\ude00\":1,\"😀\":2}"),
    CASE(SCAN_DUPLICATE, "{\"\\/\":1,\"/\":2}"),
    CASE(SCAN_DUPLICATE, "[{\"x\":{\"y\":[1,{\"k\":[],\"k\":{}}]}}]"),
    CASE(SCAN_SYNTAX, "{\"\\u0000\":1}"),
    CASE(SCAN_SYNTAX, "{\"a\\u0000b\":1}"),
};

static bool jansson_accepts(const char *text, size_t len, json_error_t *error)
{
    json_t *value = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, error);
    json_decref(value);
    return value;
}

static bool has_large_unsigned(const struct scan *s)
{
    int64_t value;
    for (uint32_t i = 0; i < s->count; i++)
        if (s->tokens[i].type == SCAN_INT && !scan_int64(s, i, &value))
            return true;
    return false;
}

/*
 * jansson reads no integer above INT64_MAX, nests deeper than we do, and skips a NUL byte behind a token,
 * which no JSON may have; in all else it must agree.
 */
static bool jansson_agrees(const struct scan *s, enum scan_result r, const char *text, size_t len)
{
    json_error_t error;
    if (memchr(text, '\0', len))
        return r != SCAN_OK;
    bool accepted = jansson_accepts(text, len, &error);
    if (r == SCAN_TOO_DEEP || accepted == (r == SCAN_OK))
        return true;
    return r == SCAN_OK && json_error_code(&error) == json_error_numeric_overflow && has_large_unsigned(s);
}

static void test_cases(void **state)
{
    struct scan s;
    scan_init(&s);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        size_t len = cases[i].len;
        char *text = exact_copy(cases[i].text, len);
        enum scan_result r = scan_text(&s, text, len, DEPTH);
        if (r != cases[i].expected)
            fail_msg("%s: %d, not %d", cases[i].text, r, cases[i].expected);
        if (!jansson_agrees(&s, r, text, len))
            fail_msg("%s: jansson does not agree", cases[i].text);
        assert_int_equal(r == SCAN_OK || r == SCAN_DUPLICATE || r == SCAN_RANGE, s.count > 0);
        assert_int_equal(r == SCAN_OK, s.error == NULL);
        assert_true(s.error_at <= len);
        free(text);
    }
    scan_deinit(&s);
}

/* Every beginning of a valid text is refused: nothing is read that is not there. */
static void test_every_prefix_is_refused(void **state)
{
    static const char whole[] = "{\"a\":[1.5e3,-12,\"x\\ud83d\\ude00中\",true,false,null,{\"b\":{}},[]]}";
    struct scan s;
    scan_init(&s);
    for (size_t len = 0; len < sizeof(whole) - 1; len++) {
        char *text = exact_copy(whole, len);
        assert_int_equal(scan_text(&s, text, len, DEPTH), SCAN_SYNTAX);
        free(text);
    }
    assert_int_equal(scan_text(&s, whole, sizeof(whole) - 1, DEPTH), SCAN_OK);
    scan_deinit(&s);
}

/* What stands behind the text is not part of it, even when it would go on well. */
static void test_text_ends_at_its_length(void **state)
{
    struct scan s;
    scan_init(&s);
    assert_int_equal(scan_text(&s, "[1]", 2, DEPTH), SCAN_SYNTAX);
    assert_int_equal(scan_text(&s, "\"a\"", 2, DEPTH), SCAN_SYNTAX);
    assert_int_equal(scan_text(&s, "{\"a\":1}", 6, DEPTH), SCAN_SYNTAX);
    assert_int_equal(scan_text(&s, "{\"a\":1}", 4, DEPTH), SCAN_SYNTAX);
    assert_int_equal(scan_text(&s, "true", 3, DEPTH), SCAN_SYNTAX);
    assert_int_equal(scan_text(&s, "\"\\u0041\"", 6, DEPTH), SCAN_SYNTAX);
    assert_int_equal(scan_text(&s, "\"\\n\"", 2, DEPTH), SCAN_SYNTAX);
    assert_int_equal(scan_text(&s, "\"\\u004f\"", 6, DEPTH), SCAN_SYNTAX);
    assert_int_equal(scan_text(&s, "\"\\ud800\\udc0f\"", 12, DEPTH), SCAN_SYNTAX);
    assert_int_equal(scan_text(&s, "\"\xe4\xb8\xad\"", 3, DEPTH), SCAN_SYNTAX);
    assert_int_equal(scan_text(&s, "12,", 2, DEPTH), SCAN_OK);
    assert_int_equal(s.tokens[0].len, 2);
    assert_int_equal(scan_text(&s, "1x", 1, DEPTH), SCAN_OK);
    scan_deinit(&s);
}

static void test_errors_tell_where(void **state)
{
    static const struct {
        const char *text, *error;
        uint32_t at;
    } rows[] = {
        {"", "a value is expected", 0},
        {"[1,]", "a value is expected", 3},
        {"[1;", "',' or ']' is expected", 2},
        {"{\"a\":1;", "',' or '}' is expected", 6},
        {"{a", "a key is expected", 1},
        {"{\"a\" 1", "':' is expected behind a key", 5},
        {"[] x", "something follows the value", 3},
        {"\"a\x01", "a control character in a string", 2},
        {"\"ab\xff", "a string is not UTF-8", 3},
        {"\"ab\\x", "a wrong escape in a string", 3},
        {"\"ab\\ud800", "half a surrogate pair in a string", 3},
        {"\"ab", "a string does not end", 3},
        {"[-]", "a digit is expected", 2},
        {"[1.]", "a digit is expected behind '.' or 'e'", 2},
        {"{\"a\":1,\"a\":2}", "an object names a key twice", 8},
    };
    struct scan s;
    scan_init(&s);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_not_equal(scan_text(&s, rows[i].text, strlen(rows[i].text), DEPTH), SCAN_OK);
        assert_string_equal(s.error, rows[i].error);
        assert_int_equal(s.error_at, rows[i].at);
    }
    scan_deinit(&s);
}

/* ---- Depth ---- */

static enum scan_result scan_nested(struct scan *s, const char *open, const char *close, unsigned levels,
                                    unsigned max)
{
    static char text[4096];
    size_t len = 0;
    for (unsigned i = 0; i < levels; i++)
        len += (size_t)sprintf(text + len, "%s", open);
    len += (size_t)sprintf(text + len, "1");
    for (unsigned i = 0; i < levels; i++)
        len += (size_t)sprintf(text + len, "%s", close);
    return scan_text(s, text, len, max);
}

static void test_depth(void **state)
{
    struct scan s;
    scan_init(&s);
    assert_int_equal(scan_nested(&s, "[", "]", SCAN_DEPTH_MAX, SCAN_DEPTH_MAX), SCAN_OK);
    assert_int_equal(s.tokens[s.count - 1].level, SCAN_DEPTH_MAX + 1); /* the number itself does not nest */
    assert_int_equal(scan_nested(&s, "[", "]", SCAN_DEPTH_MAX + 1, SCAN_DEPTH_MAX), SCAN_TOO_DEEP);
    assert_int_equal(s.error_at, SCAN_DEPTH_MAX);
    assert_int_equal(scan_nested(&s, "{\"a\":", "}", SCAN_DEPTH_MAX, SCAN_DEPTH_MAX), SCAN_OK);
    assert_int_equal(scan_nested(&s, "{\"a\":", "}", SCAN_DEPTH_MAX + 1, SCAN_DEPTH_MAX), SCAN_TOO_DEEP);
    assert_int_equal(scan_nested(&s, "[", "]", DEPTH, DEPTH), SCAN_OK);
    assert_int_equal(s.tokens[s.count - 1].level, DEPTH + 1);
    assert_int_equal(scan_text(&s, "1", 1, 0), SCAN_OK);
    assert_int_equal(scan_text(&s, "[]", 2, 0), SCAN_TOO_DEEP);
    assert_int_equal(scan_text(&s, "[[],[]]", 7, 2),
                     SCAN_OK); /* beside each other is not within each other */
    scan_deinit(&s);
}

/* ---- Tokens ---- */

static void test_tokens(void **state)
{
    static const char text[] =
        " {\"a\":[1,-2.5,\"x\\n\"],\"\":{},\"long\":{\"t\":true,\"f\":false,\"n\":null}} ";
    static const struct scan_token expected[] = {
        /* type, escaped, level, at, len, next, count */
        {SCAN_OBJECT, 0, 1, 1, 63, 16, 3}, {SCAN_STRING, 0, 2, 3, 1, 2, 0},
        {SCAN_ARRAY, 0, 2, 6, 14, 6, 3},   {SCAN_INT, 0, 3, 7, 1, 4, 0},
        {SCAN_REAL, 0, 3, 9, 4, 5, 0},     {SCAN_STRING, 1, 3, 15, 3, 6, 0},
        {SCAN_STRING, 0, 2, 22, 0, 7, 0},  {SCAN_OBJECT, 0, 2, 24, 2, 8, 0},
        {SCAN_STRING, 0, 2, 28, 4, 9, 0},  {SCAN_OBJECT, 0, 2, 34, 29, 16, 3},
    };
    struct scan s;
    scan_init(&s);
    assert_int_equal(scan_text(&s, text, sizeof(text) - 1, SCAN_DEPTH_MAX), SCAN_OK);
    assert_int_equal(s.count, 16);
    assert_int_equal(s.reals, 1);
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
        const struct scan_token *t = &s.tokens[i], *e = &expected[i];
        assert_int_equal(t->type, e->type);
        assert_int_equal(t->escaped, e->escaped);
        assert_int_equal(t->level, e->level);
        assert_int_equal(t->at, e->at);
        assert_int_equal(t->len, e->len);
        assert_int_equal(t->next, e->next);
        if (t->type >= SCAN_ARRAY)
            assert_int_equal(t->count, e->count);
    }
    assert_int_equal(s.tokens[11].type, SCAN_TRUE);
    assert_int_equal(s.tokens[13].type, SCAN_FALSE);
    assert_int_equal(s.tokens[15].type, SCAN_NULL);
    assert_int_equal(s.tokens[15].len, 4);
    scan_deinit(&s);
}

static void test_token_memory_is_bounded(void **state)
{
    struct scan s;
    for (size_t items = 1; items < 2000; items = items * 3 / 2 + 1) {
        char *text = malloc(2 * items + 2);
        assert_non_null(text);
        for (size_t i = 0; i < items; i++)
            memcpy(text + 2 * i, ",0", 2);
        text[0] = '[';
        scan_init(&s);
        memcpy(text + 2 * items, "\n\n", 2);
        assert_int_equal(scan_text(&s, text, 2 * items, DEPTH),
                         SCAN_SYNTAX); /* more tokens than a valid one has */
        text[2 * items] = ']';
        assert_int_equal(scan_text(&s, text, 2 * items + 1, DEPTH), SCAN_OK);
        assert_int_equal(s.count, items + 1); /* half the text, rounded up */
        assert_true(s.capacity <= items + 1 + 2 * DEPTH);
        scan_deinit(&s);
        free(text);
    }
}

static void test_tokens_are_kept(void **state)
{
    struct scan s;
    scan_init(&s);
    assert_int_equal(scan_text(&s, "[[[1]]]", 7, DEPTH), SCAN_OK);
    const struct scan_token *tokens = s.tokens;
    assert_int_equal(scan_text(&s, "[", 1, DEPTH), SCAN_SYNTAX);
    assert_int_equal(s.count, 0);
    assert_int_equal(scan_text(&s, "{\"a\":[1,2,3]}", 13, DEPTH), SCAN_OK);
    assert_ptr_equal(s.tokens, tokens);
    scan_deinit(&s);
    scan_deinit(&s);
    assert_null(s.tokens);
}

/* ---- Duplicates ---- */

/* {"k0":0,…}; key number `twice` comes again at the end, escaped if asked. */
static char *object_of(unsigned keys, int twice, bool escaped)
{
    char *text = malloc(keys * 16 + 64), *at = text;
    assert_non_null(text);
    for (unsigned i = 0; i < keys; i++)
        at += sprintf(at, "%c\"k%u\":0", i == 0 ? '{' : ',', i);
    if (twice >= 0)
        at += sprintf(at, escaped ? ",\"\\u006b%d\":0" : ",\"k%d\":0", twice);
    sprintf(at, "}");
    return text;
}

static void test_duplicates_in_objects_of_all_sizes(void **state)
{
    struct scan s;
    scan_init(&s);
    for (unsigned keys = 1; keys < 70; keys++)
        for (int twice = -1; twice < (int)keys; twice++)
            for (int escaped = 0; escaped < 2; escaped++) {
                char *text = object_of(keys, twice, escaped);
                assert_int_equal(scan_text(&s, text, strlen(text), DEPTH),
                                 twice < 0 ? SCAN_OK : SCAN_DUPLICATE);
                free(text);
            }
    scan_deinit(&s);
}

/* A pairwise search would need 5 thousand million comparisons for each of these. */
static void test_large_objects_are_linear(void **state)
{
    enum { KEYS = 100000 };
    struct scan s;
    scan_init(&s);
    for (int twice = -1; twice < KEYS; twice += KEYS / 4) {
        char *text = object_of(KEYS, twice, false);
        assert_int_equal(scan_text(&s, text, strlen(text), DEPTH), twice < 0 ? SCAN_OK : SCAN_DUPLICATE);
        free(text);
    }
    assert_true(s.table_size <= 4 * KEYS);
    scan_deinit(&s);
}

/* Nobody can choose keys that collide, because each scan hashes with a key of its own. */
static void test_hash_keys_are_random(void **state)
{
    struct scan a, b;
    scan_init(&a);
    scan_init(&b);
    assert_memory_not_equal(a.hash_key, b.hash_key, sizeof(a.hash_key));
    scan_deinit(&a);
    scan_deinit(&b);
}

/* ---- Questions ---- */

static void test_members(void **state)
{
    static const char text[] = "{\"a\":1,\"\\u0062\":{\"a\":2},\"to\":[],\"too\":null}";
    struct scan s;
    scan_init(&s);
    assert_int_equal(scan_text(&s, text, sizeof(text) - 1, DEPTH), SCAN_OK);
    assert_int_equal(scan_member(&s, 0, "a"), 2);
    assert_int_equal(scan_member(&s, 0, "b"), 4);
    assert_int_equal(scan_member(&s, 4, "a"), 6);
    assert_int_equal(scan_member(&s, 0, "to"), 8);
    assert_int_equal(scan_member(&s, 0, "too"), 10);
    assert_int_equal(scan_member(&s, 0, "t"), 0);
    assert_int_equal(scan_member(&s, 0, ""), 0);
    assert_int_equal(scan_member(&s, 4, "b"), 0);
    assert_int_equal(scan_member(&s, 8, "a"), 0); /* no object */
    assert_true(scan_string_equals(&s, 3, "b"));
    assert_false(scan_string_equals(&s, 3, "bb"));
    assert_false(scan_string_equals(&s, 3, ""));
    assert_false(scan_string_equals(&s, 2, "1")); /* no string */
    scan_deinit(&s);
}

static void test_string_copy(void **state)
{
    static const struct {
        const char *text, *bytes;
        size_t len;
    } rows[] = {
        {"\"\"", BYTES("")},
        {"\"plain\"", BYTES("plain")},
        {"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", BYTES("\"\\/\b\f\n\r\t")},
        {"\"a\\u0000b\"", BYTES("a\0b")},
        {"\"\\u007f\\u0080\\u07ff\\u0800\\uffff\"", BYTES("\x7f\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf")},
        {"\"\\ud800\\udc00x\\uDBFF\\uDFFF\"", BYTES("\xf0\x90\x80\x80x\xf4\x8f\xbf\xbf")},
        {"\"中\\u6587😀\"", BYTES("中文😀")},
    };
    struct scan s;
    scan_init(&s);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char out[64];
        assert_int_equal(scan_text(&s, rows[i].text, strlen(rows[i].text), DEPTH), SCAN_OK);
        assert_int_equal(scan_string_copy(&s, 0, out), rows[i].len);
        assert_memory_equal(out, rows[i].bytes, rows[i].len);
        assert_true(scan_string_equals(&s, 0, rows[i].bytes) || strlen(rows[i].bytes) != rows[i].len);
    }
    scan_deinit(&s);
}

static void test_integers(void **state)
{
    static const struct {
        const char *text;
        bool is_int64, is_uint64;
        int64_t int64;
        uint64_t uint64;
    } rows[] = {
        {"0", true, true, 0, 0},
        {"-0", true, true, 0, 0},
        {"-1", true, false, -1, 0},
        {"9223372036854775807", true, true, INT64_MAX, INT64_MAX},
        {"9223372036854775808", false, true, 0, (uint64_t)INT64_MAX + 1},
        {"18446744073709551615", false, true, 0, UINT64_MAX},
        {"-9223372036854775808", true, false, INT64_MIN, 0},
        {"1.0", false, false, 0, 0},
        {"\"1\"", false, false, 0, 0},
        {"null", false, false, 0, 0},
    };
    struct scan s;
    scan_init(&s);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        int64_t int64 = 0;
        uint64_t uint64 = 0;
        assert_int_equal(scan_text(&s, rows[i].text, strlen(rows[i].text), DEPTH), SCAN_OK);
        assert_int_equal(scan_int64(&s, 0, &int64), rows[i].is_int64);
        assert_int_equal(scan_uint64(&s, 0, &uint64), rows[i].is_uint64);
        if (rows[i].is_int64)
            assert_true(int64 == rows[i].int64);
        if (rows[i].is_uint64)
            assert_true(uint64 == rows[i].uint64);
    }
    scan_deinit(&s);
}

static void test_doubles(void **state)
{
    static const struct {
        const char *text;
        double value;
    } rows[] = {
        {"0", 0.0},
        {"-0", 0.0},
        {"-0.0", -0.0},
        {"1.5", 1.5},
        {"0.1", 0.1},
        {"1e300", 1e300},
        {"4.9e-324", 4.9e-324},
        {"1e-400", 0.0},
        {"-12", -12.0},
        {"18446744073709551615", 18446744073709551615.0},
    };
    struct scan s;
    scan_init(&s);
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        assert_int_equal(scan_text(&s, rows[i].text, strlen(rows[i].text), DEPTH), SCAN_OK);
        double value = scan_double(&s, 0);
        assert_memory_equal(&value, &rows[i].value, sizeof(value));
    }
    scan_deinit(&s);
}

/* ---- jansson as the oracle ---- */

static bool same_bytes(const struct scan *s, uint32_t token, const char *bytes, size_t len)
{
    char *copy = malloc(s->tokens[token].len + 1);
    assert_non_null(copy);
    bool same = scan_string_copy(s, token, copy) == len && memcmp(copy, bytes, len) == 0;
    free(copy);
    return same;
}

static bool same_value(const struct scan *s, uint32_t token, json_t *value);

static bool same_object(const struct scan *s, uint32_t token, json_t *object)
{
    const char *key;
    json_t *child;
    uint32_t i = token + 1;
    if (s->tokens[token].count != json_object_size(object))
        return false;
    json_object_foreach(object, key, child)
    {
        if (!same_bytes(s, i, key, strlen(key)) || scan_member(s, token, key) != i + 1 ||
            !same_value(s, i + 1, child))
            return false;
        i = s->tokens[i + 1].next;
    }
    return i == s->tokens[token].next;
}

static bool same_array(const struct scan *s, uint32_t token, json_t *array)
{
    size_t index;
    json_t *child;
    uint32_t i = token + 1;
    if (s->tokens[token].count != json_array_size(array))
        return false;
    json_array_foreach(array, index, child)
    {
        if (!same_value(s, i, child))
            return false;
        i = s->tokens[i].next;
    }
    return i == s->tokens[token].next;
}

static bool same_value(const struct scan *s, uint32_t token, json_t *value)
{
    int64_t integer;
    switch ((enum scan_type)s->tokens[token].type) {
    case SCAN_NULL:
        return json_is_null(value);
    case SCAN_FALSE:
        return json_is_false(value);
    case SCAN_TRUE:
        return json_is_true(value);
    case SCAN_INT:
        return json_is_integer(value) && scan_int64(s, token, &integer) &&
               integer == json_integer_value(value);
    case SCAN_REAL:
        return json_is_real(value) && scan_double(s, token) == json_real_value(value);
    case SCAN_STRING:
        return json_is_string(value) &&
               same_bytes(s, token, json_string_value(value), json_string_length(value));
    case SCAN_ARRAY:
        return json_is_array(value) && same_array(s, token, value);
    case SCAN_OBJECT:
        return json_is_object(value) && same_object(s, token, value);
    }
    return false;
}

static void compare_with_jansson(struct scan *s, const char *bytes, size_t len)
{
    char *text = exact_copy(bytes, len);
    enum scan_result r = scan_text(s, text, len, DEPTH);
    if (!jansson_agrees(s, r, text, len))
        fail_msg("jansson does not agree (%d: %s): %.*s", r, s->error ? s->error : "", (int)len, text);
    if (r == SCAN_OK) {
        json_t *value =
            json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        if (value && !same_value(s, 0, value))
            fail_msg("jansson reads another value: %.*s", (int)len, text);
        assert_true(s->count <= (len + 1) / 2);
        json_decref(value);
    }
    free(text);
}

static void test_random_texts(void **state)
{
    struct random_json r = {.state = 1, .spaces = true, .unsigneds = true};
    struct scan s;
    scan_init(&s);
    for (int i = 0; i < 20000; i++) {
        random_json_next(&r, 6);
        compare_with_jansson(&s, r.text, r.len);
    }
    random_json_deinit(&r);
    scan_deinit(&s);
}

static void flip_bit(struct random_json *r)
{
    r->text[random_below(r, (unsigned)r->len)] ^= (char)(1u << random_below(r, 8));
}

/* A byte that means something to JSON or to UTF-8. */
static void set_byte(struct random_json *r)
{
    static const char some[] =
        "{}[]:,\"\\ \t\n\r0123456789+-.eEtfnu/\0\x1f\x7f\x80\xbf\xc0\xc2\xe0\xed\xf0\xf4\xff";
    r->text[random_below(r, (unsigned)r->len)] = some[random_below(r, sizeof(some) - 1)];
}

static void drop_bytes(struct random_json *r)
{
    size_t at = random_below(r, (unsigned)r->len), n = 1 + random_below(r, 3);
    n = n > r->len - at ? r->len - at : n;
    memmove(r->text + at, r->text + at + n, r->len - at - n);
    r->len -= n;
}

/* Doubles a stretch: repeats keys, digits, brackets. */
static void repeat_bytes(struct random_json *r)
{
    size_t at = random_below(r, (unsigned)r->len), n = 1 + random_below(r, 12);
    char stretch[12];
    n = n > r->len - at ? r->len - at : n;
    memcpy(stretch, r->text + at, n);
    random_put(r, stretch, n); /* makes room */
    memmove(r->text + at + n, r->text + at, r->len - n - at);
    memcpy(r->text + at, stretch, n);
}

static void cut_end(struct random_json *r)
{
    r->len = random_below(r, (unsigned)r->len + 1);
}

static void test_random_damage(void **state)
{
    static void (*const damages[])(struct random_json *) = {flip_bit, set_byte, drop_bytes, repeat_bytes,
                                                            cut_end};
    struct random_json r = {.state = 2, .spaces = true, .unsigneds = true};
    struct scan s;
    scan_init(&s);
    for (int i = 0; i < 60000; i++) {
        do
            random_json_next(&r, 4);
        while (r.len > 400);
        for (unsigned n = 1 + random_below(&r, 3); n > 0 && r.len > 0; n--)
            damages[random_below(&r, 5)](&r);
        compare_with_jansson(&s, r.text, r.len);
    }
    random_json_deinit(&r);
    scan_deinit(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_every_prefix_is_refused),
        cmocka_unit_test(test_text_ends_at_its_length),
        cmocka_unit_test(test_errors_tell_where),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_tokens),
        cmocka_unit_test(test_token_memory_is_bounded),
        cmocka_unit_test(test_tokens_are_kept),
        cmocka_unit_test(test_duplicates_in_objects_of_all_sizes),
        cmocka_unit_test(test_large_objects_are_linear),
        cmocka_unit_test(test_hash_keys_are_random),
        cmocka_unit_test(test_members),
        cmocka_unit_test(test_string_copy),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_doubles),
        cmocka_unit_test(test_random_texts),
        cmocka_unit_test(test_random_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
