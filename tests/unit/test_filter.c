/* filter: parsing, and matching against an event's index. */
#include "filter_parse.h"

#include "json_writer.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

struct fixture {
    struct scan scan;
    struct filter *filter;
    char detail[FILTER_DETAIL];
};

static enum error parse(struct fixture *f, const char *text)
{
    scan_init(&f->scan);
    f->detail[0] = '\0';
    assert_int_equal(scan_text(&f->scan, text, strlen(text), SCAN_DEPTH_MAX), SCAN_OK);
    return filter_parse(&f->filter, &f->scan, 0, f->detail);
}

static void drop(struct fixture *f)
{
    filter_free(f->filter);
    scan_deinit(&f->scan);
}

/* An entry and its line; texts as they stand escaped in lines. */
struct line {
    struct event_index index;
    char text[256];
};

static struct line make(const char *type, const char *from, const char *to, const char *signal,
                        int32_t conversation)
{
    struct line l = {.index.conversation = conversation};
    const char *values[] = {type, from, to, signal};
    size_t at = 1;

    for (unsigned i = 0; i < EVENT_FIELD_COUNT; i++) {
        if (!values[i])
            continue;
        l.index.at[i] = (uint32_t)at;
        l.index.len[i] = (uint16_t)strlen(values[i]);
        memcpy(l.text + at, values[i], strlen(values[i]));
        at += strlen(values[i]) + 1;
    }
    return l;
}

static bool matches(const char *filter, const char *type, const char *from, const char *to,
                    const char *signal, int32_t conversation)
{
    struct fixture f;
    struct line l = make(type, from, to, signal, conversation);
    bool r;

    assert_int_equal(parse(&f, filter), ERROR_NONE);
    r = !f.filter || filter_match(f.filter, &l.index, l.text);
    drop(&f);
    return r;
}

static void test_empty_matches_all(void **state)
{
    assert_true(matches("{}", NULL, NULL, NULL, NULL, CONVERSATION_NONE));
}

static void test_one_of_a_list(void **state)
{
    assert_true(matches("{\"from\":[\"bob\",\"alice\"]}", "TxtMsg", "alice", NULL, NULL, 0));
    assert_false(matches("{\"from\":[\"bob\",\"alice\"]}", "TxtMsg", "alic", NULL, NULL, 0));
    assert_false(matches("{\"from\":[\"bob\"]}", "TxtMsg", NULL, NULL, NULL, 0));
    assert_false(matches("{\"from\":[]}", "TxtMsg", "bob", NULL, NULL, 0));
}

static void test_all_lists(void **state)
{
    const char *f =
        "{\"from\":[\"bob\"],\"to\":[\"me\"],\"signalName\":[\"go\"],\"messageType\":[\"signal\"]}";

    assert_true(matches(f, "SignalMsg", "bob", "me", "go", 0));
    assert_false(matches(f, "SignalMsg", "bob", "me", "stop", 0));
    assert_false(matches(f, "SignalMsg", "bob", "you", "go", 0));
    assert_false(matches(f, "TxtMsg", "bob", "me", "go", 0));
}

static void test_text_has_two_names(void **state)
{
    assert_true(matches("{\"messageType\":[\"text\"]}", "TxtMsg", NULL, NULL, NULL, 0));
    assert_true(matches("{\"messageType\":[\"text\"]}", "TextMsg", NULL, NULL, NULL, 0));
    assert_false(matches("{\"messageType\":[\"text\"]}", "ImgMsg", NULL, NULL, NULL, 0));
    assert_false(matches("{\"messageType\":[\"TxtMsg\"]}", "TextMsg", NULL, NULL, NULL, 0));
    assert_true(matches("{\"messageType\":[\"image\",\"Custom\"]}", "Custom", NULL, NULL, NULL, 0));
    assert_true(matches("{\"messageType\":[\"file\",\"image\"]}", "ImgMsg", NULL, NULL, NULL, 0));
}

static void test_conversations(void **state)
{
    assert_true(matches("{\"conversationType\":[1,\"group\"]}", NULL, NULL, NULL, NULL, 1));
    assert_true(matches("{\"conversationType\":[1,\"group\"]}", NULL, NULL, NULL, NULL, 3));
    assert_false(matches("{\"conversationType\":[1,\"group\"]}", NULL, NULL, NULL, NULL, 0));
    assert_false(matches("{\"conversationType\":[0]}", NULL, NULL, NULL, NULL, CONVERSATION_NONE));
    assert_false(matches("{\"conversationType\":[0]}", NULL, NULL, NULL, NULL, 32));
    assert_false(matches("{\"conversationType\":[0]}", NULL, NULL, NULL, NULL, -1));
}

static void test_escapes_are_compared_as_they_stand_in_lines(void **state)
{
    /* The filter writes the same text in other escapes than the line does. */
    assert_true(matches("{\"from\":[\"a\\u0022b\\u00e9\\/\"]}", NULL, "a\\\"b\xc3\xa9/", NULL, NULL, 0));
}

static void assert_wrong(const char *filter, const char *detail)
{
    struct fixture f;

    assert_int_equal(parse(&f, filter), ERROR_INVALID_PARAMS);
    assert_string_equal(f.detail, detail);
    assert_null(f.filter);
    drop(&f);
}

static void test_what_is_wrong(void **state)
{
    assert_wrong("[]", "\"filter\" must be an object");
    assert_wrong("{\"form\":[\"bob\"]}", "filter: unknown key \"form\"");
    assert_wrong("{\"from\":\"bob\"}", "filter: \"from\" must be a list");
    assert_wrong("{\"from\":[7]}", "filter: \"from\" must be a list of strings");
    assert_wrong(
        "{\"conversationType\":[6]}",
        "filter: \"conversationType\" must be a list of conversation types (0 to 5, or their words)");
    assert_wrong(
        "{\"conversationType\":[\"grup\"]}",
        "filter: \"conversationType\" must be a list of conversation types (0 to 5, or their words)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty_matches_all),
        cmocka_unit_test(test_one_of_a_list),
        cmocka_unit_test(test_all_lists),
        cmocka_unit_test(test_text_has_two_names),
        cmocka_unit_test(test_conversations),
        cmocka_unit_test(test_escapes_are_compared_as_they_stand_in_lines),
        cmocka_unit_test(test_what_is_wrong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
