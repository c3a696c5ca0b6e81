/* The words of the wire, and that each parses back to what it was made from. */
#include "vocabulary.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

static void message_types_have_wire_and_short_words(void **state)
{
    assert_string_equal(message_type_wire(MESSAGE_TYPE_TEXT), "TxtMsg");
    assert_string_equal(message_type_wire(MESSAGE_TYPE_IMAGE), "ImgMsg");
    assert_string_equal(message_type_wire(MESSAGE_TYPE_FILE), "FileMsg");
    assert_string_equal(message_type_wire(MESSAGE_TYPE_PING), "PingMsg");
    assert_string_equal(message_type_wire(MESSAGE_TYPE_SIGNAL), "SignalMsg");
    assert_string_equal(message_type_word(MESSAGE_TYPE_TEXT), "text");
    for (int t = 0; t < MESSAGE_TYPE_COUNT; t++) {
        const char *word = message_type_word(t);
        assert_ptr_equal(message_type_from_word(word, strlen(word)), message_type_wire(t));
    }
}

static void words_that_are_not_short_words_have_no_wire_name(void **state)
{
    static const char *const others[] = {"TxtMsg", "Text", "tex", "texts", "", "custom"};
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
        assert_null(message_type_from_word(others[i], strlen(others[i])));
}

static void words_end_where_their_length_says(void **state)
{
    assert_string_equal(message_type_from_word("textual", 4), "TxtMsg");
    assert_int_equal(conversation_type_parse("groupie", 5), CONVERSATION_GROUP);
    assert_int_equal(conversation_type_parse("groupie", 4), -1);
    assert_int_equal(method_parse("send\0x", 6), -1);
}

static void conversation_types_are_the_numbers_of_the_wire(void **state)
{
    static const char *const words[] = {"server", "private", "discussion", "group", "chatroom", "system"};
    assert_int_equal(CONVERSATION_TYPE_COUNT, 6);
    for (int n = 0; n < 6; n++) {
        assert_string_equal(conversation_type_word(n), words[n]);
        assert_int_equal(conversation_type_parse(words[n], strlen(words[n])), n);
    }
    assert_null(conversation_type_word(6));
    assert_null(conversation_type_word(-1));
    assert_int_equal(conversation_type_parse("Server", 6), -1);
}

static void states_kinds_and_methods_parse_back(void **state)
{
    for (int s = 0; s < LINK_STATE_COUNT; s++)
        assert_int_equal(link_state_parse(link_state_word(s), strlen(link_state_word(s))), s);
    for (int k = 0; k < EVENT_KIND_COUNT; k++)
        assert_int_equal(event_kind_parse(event_kind_word(k), strlen(event_kind_word(k))), k);
    for (int m = 0; m < METHOD_COUNT; m++)
        assert_int_equal(method_parse(method_word(m), strlen(method_word(m))), m);
    assert_int_equal(link_state_parse("up", 2), -1);
    assert_int_equal(event_kind_parse("message", 7), -1);
    assert_int_equal(method_parse("", 0), -1);
}

static void every_reason_is_one_word(void **state)
{
    assert_string_equal(link_reason_word(LINK_REASON_NONE), "");
    for (int r = LINK_REASON_NONE + 1; r < LINK_REASON_COUNT; r++) {
        const char *word = link_reason_word(r);
        assert_true(strlen(word) > 0);
        assert_int_equal(strspn(word, "abcdefghijklmnopqrstuvwxyz_"), strlen(word));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_types_have_wire_and_short_words),
        cmocka_unit_test(words_that_are_not_short_words_have_no_wire_name),
        cmocka_unit_test(words_end_where_their_length_says),
        cmocka_unit_test(conversation_types_are_the_numbers_of_the_wire),
        cmocka_unit_test(states_kinds_and_methods_parse_back),
        cmocka_unit_test(every_reason_is_one_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
