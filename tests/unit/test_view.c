/* Looking into JSON text: what is there is found, and text that is broken is never read beyond its end. */
#include "view.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct view view(const char *text)
{
    return view_of(text, strlen(text));
}

static void finds(const char *text, const char *path, const char *expected)
{
    struct view v = view_find(view(text), path);
    if (!expected) {
        assert_null(v.at);
        return;
    }
    assert_non_null(v.at);
    assert_int_equal(v.len, strlen(expected));
    assert_memory_equal(v.at, expected, v.len);
}

static void members_are_found(void **state)
{
    static const char text[] =
        " { \"a\" : {\"b\":[1,{\"c\":\"}\"}], \"c\" : -1.5e3 } ,\"\\\\\":\"\\\\\",\"q\":\"\\\"}\","
        "\"c\":true,\"d\":\"\",\"e\":{}} ";
    finds(text, "a", "{\"b\":[1,{\"c\":\"}\"}], \"c\" : -1.5e3 }");
    finds(text, "a.b", "[1,{\"c\":\"}\"}]");
    finds(text, "a.c", "-1.5e3");
    finds(text, "\\\\", "\"\\\\\"");
    finds(text, "q", "\"\\\"}\"");
    finds(text, "c", "true");
    finds(text, "d", "\"\"");
    finds(text, "e", "{}");
    finds(text, "e.x", NULL);
    finds(text, "d.x", NULL);
    finds(text, "b", NULL);
    finds(text, "", NULL);
    finds(text, "a.", NULL);
    finds("[1]", "a", NULL);
    finds("{}", "a", NULL);
}

static void elements_are_walked(void **state)
{
    static const char *const expected[] = {"1", "[2,\"]\"]", "{\"a\":[]}", "null"};
    struct view rest = view(" [1 ,[2,\"]\"], {\"a\":[]},null ] "), item;
    for (size_t i = 0; i < 4; i++) {
        assert_true(view_item(&rest, &item));
        assert_true(view_is(item, expected[i]));
    }
    assert_false(view_item(&rest, &item));
    static const char *const none[] = {"[]", "[ ]", "{\"a\":1}", "1", "\"\""};
    for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
        rest = view(none[i]);
        assert_false(view_item(&rest, &item));
    }
}

/* Every beginning of a text, in a block of exactly its size so that the sanitizer sees a byte too many. */
static void text_that_is_cut_short_ends_quietly(void **state)
{
    static const char text[] = "{\"a\":[1,\"\\\"\\u12\\ud83d\\ude00\"],\"b\":{\"c\":-12},\"d\":null}";
    for (size_t len = 0; len < sizeof(text); len++) {
        char *copy = malloc(len ? len : 1), out[sizeof(text)];
        struct view rest = {copy, len}, key, value;
        memcpy(copy, text, len);
        while (view_next(&rest, &key, &value))
            if (view_is_string(value))
                view_decode(value, out);
        view_find((struct view){copy, len}, "b.c");
        size_t begin = len < 5 ? len : 5; /* the array */
        rest = (struct view){copy + begin, len - begin};
        while (view_item(&rest, &value))
            assert_true(value.at + value.len <= copy + len);
        view_depth((struct view){copy, len});
        free(copy);
    }
}

static void broken_text_has_no_members(void **state)
{
    static const char *const broken[] = {"",      "{",         "}",   "{\"a\"}", "{\"a\":}",
                                         "{a:1}", "{\"a\" 1}", "{,}", ":",       "\""};
    for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++)
        finds(broken[i], "a", NULL);
}

static void integers_are_exact(void **state)
{
    int64_t i;
    uint64_t u;
    assert_true(view_int(view("-9223372036854775808"), &i) && i == INT64_MIN);
    assert_true(view_int(view("9223372036854775807"), &i) && i == INT64_MAX);
    assert_false(view_int(view("9223372036854775808"), &i));
    assert_true(view_uint(view("18446744073709551615"), &u) && u == UINT64_MAX);
    assert_false(view_uint(view("18446744073709551616"), &u));
    assert_false(view_uint(view("-1"), &u));
    static const char *const others[] = {"1.0", "1e3", "\"1\"", "null", "true", "[1]"};
    for (size_t n = 0; n < sizeof(others) / sizeof(others[0]); n++) {
        assert_false(view_int(view(others[n]), &i));
        assert_false(view_uint(view(others[n]), &u));
    }
    assert_false(view_int((struct view){NULL, 0}, &i));
}

static void decodes(const char *json, const char *expected)
{
    char out[64];
    struct view v = view(json);
    assert_true(view_is_string(v));
    view_decode(v, out);
    assert_string_equal(out, expected);
}

static void strings_are_decoded(void **state)
{
    decodes("\"\"", "");
    decodes("\"plain \xc3\xa9\"", "plain \xc3\xa9");
    decodes("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t");
    decodes("\"\\u0041\\u00e9\\u20AC\\ud83D\\uDE00!\"", "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80!");
    decodes("\"a\\u0000b\"", "a\xef\xbf\xbd"
                             "b");
    decodes("\"\\ud83d\\ud83d\\ude00\"", "\xef\xbf\xbd\xf0\x9f\x98\x80");
    decodes("\"\\ude00\\ud83dx\"", "\xef\xbf\xbd\xef\xbf\xbdx");
    decodes("\"\\u12\"", "\xef\xbf\xbd");
}

static void depth_is_counted(void **state)
{
    assert_int_equal(view_depth(view("1")), 0);
    assert_int_equal(view_depth(view("\"[[\"")), 0);
    assert_int_equal(view_depth(view("{}")), 1);
    assert_int_equal(view_depth(view("[{\"a\":[]},[]]")), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elements_are_walked),
        cmocka_unit_test(members_are_found),
        cmocka_unit_test(text_that_is_cut_short_ends_quietly),
        cmocka_unit_test(broken_text_has_no_members),
        cmocka_unit_test(integers_are_exact),
        cmocka_unit_test(strings_are_decoded),
        cmocka_unit_test(depth_is_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
