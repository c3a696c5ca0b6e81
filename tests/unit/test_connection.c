/*
 * libimctl through its public header, the test playing imd at the other end of a socket pair: exact bytes
 * out, canned bytes in. Ids are counted from 1, so that an answer can lie there before its request is
 * written, and no thread is needed even for the blocking calls.
 */
#include <imctl.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "client_log.h"

static struct imctl *c;
static int imd; /* the other end */

static int connection_setup(void **state)
{
    int pair[2];
    log_text[0] = '\0';
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return -1;
    imd = pair[1];
    return imctl_open_fd(pair[0], &c);
}

static int connection_teardown(void **state)
{
    imctl_close(c);
    c = NULL;
    if (imd >= 0)
        close(imd);
    return 0;
}

static void imd_says(const char *bytes)
{
    assert_int_equal(write(imd, bytes, strlen(bytes)), strlen(bytes));
}

static void imd_ends(void)
{
    close(imd);
    imd = -1;
}

/* What the client has written so far is exactly this. */
static void imd_heard(const char *expected)
{
    char got[8192];
    ssize_t n = recv(imd, got, sizeof(got) - 1, MSG_DONTWAIT);
    got[n < 0 ? 0 : n] = '\0';
    assert_string_equal(got, expected);
}

/* ---- Requests ---- */

static void requests_are_written_as_one_line_each(void **state)
{
    struct imctl_selection *s = imctl_selection_new();
    assert_int_equal(imctl_call(c, "status", NULL, log_reply, named("status")), 0);
    assert_int_equal(imctl_call(c, "history", "{\"limit\":\n 5}", NULL, NULL), 0);
    assert_int_equal(imctl_subscribe(c, NULL, NULL, NULL), 0);
    assert_int_equal(imctl_selection_add_event(s, "SENT"), 0);
    assert_int_equal(imctl_selection_match(s, "messageType", "text"), 0);
    assert_int_equal(imctl_selection_match(s, "messageType", "x\"y"), 0);
    assert_int_equal(imctl_selection_match(s, "conversationType", "group"), 0);
    assert_int_equal(imctl_selection_match(s, "conversationType", "9"), 0);
    assert_int_equal(imctl_subscribe(c, s, NULL, NULL), 0);
    imctl_selection_free(s);
    assert_int_equal(imctl_waiting(c), 4);
    imd_heard(""); /* nothing is written before dispatch */
    assert_int_equal(imctl_events(c), POLLIN | POLLOUT);
    assert_int_equal(imctl_dispatch(c), 0);
    assert_int_equal(imctl_events(c), POLLIN);
    imd_heard(
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"status\"}\n"
        "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"history\",\"params\":{\"limit\":  5}}\n"
        "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"subscribe\"}\n"
        "{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"subscribe\",\"params\":{\"events\":[\"SENT\"],\"filter\":"
        "{\"messageType\":[\"text\",\"x\\\"y\"],\"conversationType\":[3,9]}}}\n");
}

static void a_message_is_written_in_the_order_of_its_keys(void **state)
{
    struct imctl_message *m = imctl_message_text("hi \"there\"\n\xe4\xbd\xa0");
    assert_int_equal(imctl_message_set_to(m, "bob"), 0);
    assert_int_equal(imctl_message_set_from(m, "alice"), 0);
    assert_int_equal(imctl_message_set_id(m, "id-1"), 0);
    assert_int_equal(imctl_message_set_conversation(m, IMCTL_PRIVATE), 0);
    assert_int_equal(imctl_message_set_json(m, "big", "18446744073709551615"), 0);
    assert_int_equal(imctl_message_set_content_int(m, "n", -7), 0);
    assert_int_equal(imctl_message_set_content_json(m, "list", " [1,\n2] "), 0);
    assert_int_equal(imctl_message_set_to(m, "carol"), 0); /* replaces */
    assert_int_equal(imctl_message_set_timeout(m, 1500), 0);
    assert_int_equal(imctl_send(c, m, NULL, NULL), 0);
    imctl_message_free(m);
    m = imctl_message_signal("end");
    assert_int_equal(imctl_send(c, m, NULL, NULL), 0);
    assert_int_equal(imctl_message_set_content_string(m, "a", "b"), 0);
    assert_int_equal(imctl_message_set_json(m, "content", "{\"whole\":true}"), 0);
    assert_int_equal(imctl_send(c, m, NULL, NULL), 0);
    imctl_message_free(m);
    assert_int_equal(imctl_dispatch(c), 0);
    imd_heard("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"send\",\"params\":{\"message\":{\"messageType\":"
              "\"TxtMsg\","
              "\"to\":\"carol\",\"from\":\"alice\",\"messageId\":\"id-1\",\"conversationType\":1,"
              "\"big\":18446744073709551615,"
              "\"content\":{\"message\":\"hi \\\"there\\\"\\n\xe4\xbd\xa0\",\"n\":-7,\"list\":[1, 2]}},"
              "\"timeoutMs\":1500}}\n"
              "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"send\",\"params\":{\"message\":"
              "{\"messageType\":\"SignalMsg\",\"signalName\":\"end\"}}}\n"
              "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"send\",\"params\":{\"message\":"
              "{\"messageType\":\"SignalMsg\",\"signalName\":\"end\",\"content\":{\"whole\":true}}}}\n");
}

static void a_message_may_be_queued(void **state)
{
    struct imctl_message *m = imctl_message_signal("end");
    assert_int_equal(imctl_message_set_queue(m, 0), 0);
    assert_int_equal(imctl_send(c, m, NULL, NULL), 0);
    assert_int_equal(imctl_message_set_queue(m, 2592000000), 0);
    assert_int_equal(imctl_send(c, m, NULL, NULL), 0);
    assert_int_equal(imctl_message_set_queue(m, -1), -EINVAL);
    assert_int_equal(imctl_send(c, m, NULL, NULL), -EINVAL);
    imctl_message_free(m);
    assert_int_equal(imctl_dispatch(c), 0);
#define SIGNAL "\"message\":{\"messageType\":\"SignalMsg\",\"signalName\":\"end\"}"
    imd_heard("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"send\",\"params\":{" SIGNAL ",\"queue\":true}}\n"
              "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"send\",\"params\":{" SIGNAL
              ",\"queue\":true,\"expiresMs\":2592000000}}\n");
}

static void a_subscription_may_begin_earlier(void **state)
{
    struct imctl_selection *s = imctl_selection_new();
    assert_int_equal(imctl_selection_set_since(s, UINT64_MAX), 0);
    assert_int_equal(imctl_subscribe(c, s, NULL, NULL), 0);
    assert_int_equal(imctl_selection_add_event(s, "OUTBOX"), 0);
    assert_int_equal(imctl_selection_match(s, "from", "bob"), 0);
    assert_int_equal(imctl_selection_set_consumer(s, "old"), 0);
    assert_int_equal(imctl_selection_set_consumer(s, "my \"own\""), 0);
    assert_int_equal(imctl_selection_set_earliest(s), 0);
    assert_int_equal(imctl_subscribe(c, s, NULL, NULL), 0);
    assert_int_equal(imctl_selection_set_consumer(s, "\xff"), -EILSEQ);
    assert_int_equal(imctl_subscribe(c, s, NULL, NULL), -EILSEQ);
    imctl_selection_free(s);
    assert_int_equal(imctl_dispatch(c), 0);
    imd_heard("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"subscribe\",\"params\":"
              "{\"since\":18446744073709551615}}\n"
              "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"subscribe\",\"params\":{\"events\":[\"OUTBOX\"],"
              "\"filter\":{\"from\":[\"bob\"]},\"since\":\"earliest\",\"consumer\":\"my \\\"own\\\"\"}}\n");
}

static void a_history_is_asked_for(void **state)
{
    struct imctl_selection *s = imctl_selection_new();
    assert_int_equal(imctl_history(c, NULL, NULL, NULL), 0);
    assert_int_equal(imctl_selection_match(s, "from", "bob"), 0);
    assert_int_equal(imctl_selection_set_times(s, INT64_MIN, INT64_MAX), 0);
    assert_int_equal(imctl_history(c, s, NULL, NULL), 0);
    assert_int_equal(imctl_selection_set_since(s, 5), 0);
    assert_int_equal(imctl_subscribe(c, s, NULL, NULL), 0); /* of both */
    assert_int_equal(imctl_selection_set_before(s, UINT64_MAX), 0);
    assert_int_equal(imctl_selection_set_times(s, -1, 1700000000123), 0);
    assert_int_equal(imctl_selection_set_limit(s, 7), 0);
    assert_int_equal(imctl_selection_set_limit(s, 8), 0);
    assert_int_equal(imctl_selection_set_reverse(s), 0);
    assert_int_equal(imctl_history(c, s, NULL, NULL), 0);
    imctl_selection_free(s);
    assert_int_equal(imctl_dispatch(c), 0);
    imd_heard(
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"history\"}\n"
        "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"history\",\"params\":{\"filter\":{\"from\":[\"bob\"]}}}\n"
        "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"subscribe\",\"params\":{\"filter\":{\"from\":[\"bob\"]},"
        "\"since\":5}}\n"
        "{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"history\",\"params\":{\"filter\":{\"from\":[\"bob\"]},"
        "\"after\":5,\"before\":18446744073709551615,\"since\":-1,\"until\":1700000000123,\"limit\":8,"
        "\"reverse\":true}}\n");
}

static int set_event(struct imctl_selection *s)
{
    return imctl_selection_add_event(s, "SENT");
}

static int set_consumer(struct imctl_selection *s)
{
    return imctl_selection_set_consumer(s, "c");
}

static int set_before(struct imctl_selection *s)
{
    return imctl_selection_set_before(s, 1);
}

static int set_since_time(struct imctl_selection *s)
{
    return imctl_selection_set_times(s, 1, INT64_MAX);
}

static int set_until_time(struct imctl_selection *s)
{
    return imctl_selection_set_times(s, INT64_MIN, 1);
}

static int set_limit(struct imctl_selection *s)
{
    return imctl_selection_set_limit(s, 1);
}

static void what_a_request_does_not_know_is_not_sent(void **state)
{
    static const struct {
        int (*set)(struct imctl_selection *s);
        int subscribe, history;
    } cases[] = {
        {set_event, 0, -EINVAL},      {imctl_selection_set_earliest, 0, -EINVAL},
        {set_consumer, 0, -EINVAL},   {set_before, -EINVAL, 0},
        {set_since_time, -EINVAL, 0}, {set_until_time, -EINVAL, 0},
        {set_limit, -EINVAL, 0},      {imctl_selection_set_reverse, -EINVAL, 0},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct imctl_selection *s = imctl_selection_new();
        assert_int_equal(cases[i].set(s), 0);
        assert_int_equal(imctl_subscribe(c, s, NULL, NULL), cases[i].subscribe);
        assert_int_equal(imctl_history(c, s, NULL, NULL), cases[i].history);
        imctl_selection_free(s);
    }
    assert_int_equal(imctl_waiting(c), 8);
}

static void the_outbox_is_asked(void **state)
{
    struct imctl_reply *r = NULL;
    assert_int_equal(imctl_outbox(c, NULL, NULL, NULL), 0);
    assert_int_equal(imctl_outbox(c, "a\"b", NULL, NULL), 0);
    assert_int_equal(imctl_outbox_cancel(c, "m", NULL, NULL), 0);
    assert_int_equal(imctl_outbox(c, "\xff", NULL, NULL), -EILSEQ);
    imd_says("{\"id\":4,\"result\":{}}\n");
    assert_int_equal(imctl_outbox_wait(c, "x", 1000, &r), 0);
    imctl_reply_free(r);
    imd_says("{\"id\":5,\"result\":{}}\n");
    assert_int_equal(imctl_outbox_cancel_wait(c, "y", 1000, NULL), 0);
    imd_says("{\"id\":6,\"result\":{}}\n");
    assert_int_equal(imctl_history_wait(c, NULL, 1000, &r), 0);
    imctl_reply_free(r);
    imd_heard("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"outbox\"}\n"
              "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"outbox\",\"params\":{\"messageId\":\"a\\\"b\"}}\n"
              "{\"jsonrpc\":\"2.0\",\"id\":3,\"method\":\"outbox.cancel\",\"params\":{\"messageId\":\"m\"}}\n"
              "{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"outbox\",\"params\":{\"messageId\":\"x\"}}\n"
              "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"outbox.cancel\",\"params\":{\"messageId\":\"y\"}}\n"
              "{\"jsonrpc\":\"2.0\",\"id\":6,\"method\":\"history\"}\n");
}

static void events_are_acked(void **state)
{
    struct imctl_reply *r = NULL;
    assert_int_equal(imctl_ack(c, 0, log_reply, named("a")), 0);
    imd_says(
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n{\"jsonrpc\":\"2.0\",\"id\":2,\"error\":{\"code\":-80,"
        "\"message\":\"m\",\"data\":{\"reason\":\"conflict\"}}}\n");
    assert_int_equal(imctl_ack_wait(c, UINT64_MAX, 1000, &r), 0);
    assert_int_equal(imctl_reply_error(r), IMCTL_CONFLICT);
    imctl_reply_free(r);
    assert_string_equal(log_text, "a:;");
    imd_heard(
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ack\",\"params\":{\"seq\":0}}\n"
        "{\"jsonrpc\":\"2.0\",\"id\":2,\"method\":\"ack\",\"params\":{\"seq\":18446744073709551615}}\n");
}

#define SEND(id, message) \
    "{\"jsonrpc\":\"2.0\",\"id\":" #id ",\"method\":\"send\",\"params\":{\"message\":{" message "}}}\n"

static void a_message_may_be_given_as_json(void **state)
{
    struct imctl_message *m =
        imctl_message_json(" {\"to\":\"bob\",\"a\\u0062\":\n18446744073709551615,\"content\":{\"x\":1,"
                           "\"message\":\"hi\"},\"messageType\":\"text\"}");
    assert_int_equal(imctl_send(c, m, NULL, NULL), 0);
    assert_int_equal(imctl_message_set_int(m, "ab", 2), 0); /* the same key */
    assert_int_equal(imctl_message_set_content_string(m, "message", "ho"), 0);
    assert_int_equal(imctl_message_set_content_int(m, "y", 3), 0);
    assert_int_equal(imctl_send(c, m, NULL, NULL), 0);
    imctl_message_free(m);
    m = imctl_message_json("{\"content\":{}}");
    assert_int_equal(imctl_message_set_content_int(m, "n", 1), 0);
    assert_int_equal(imctl_send(c, m, NULL, NULL), 0);
    imctl_message_free(m);
    assert_int_equal(imctl_dispatch(c), 0);
    imd_heard(SEND(1, "\"to\":\"bob\",\"ab\":18446744073709551615,\"content\":{\"x\":1,\"message\":\"hi\"},"
                      "\"messageType\":\"text\"")
                  SEND(2, "\"to\":\"bob\",\"ab\":2,\"messageType\":\"text\",\"content\":{\"x\":1,"
                          "\"message\":\"ho\",\"y\":3}") SEND(3, "\"content\":{\"n\":1}"));
}

/* Each is refused where it is made, again by imctl_send, and leaves no byte on the line. */
static void wrong_values_are_refused(void **state)
{
    static const char *const bad_utf8[] = {"\xff", "\xc0\xaf", "\xed\xa0\x80", "\xe4\xbd",
                                           "\xf4\x90\x80\x80"};
    static const char *const bad_json[] = {"",    "{",           "{}{}", "{\"a\":1,\"a\":2}",
                                           "nul", "\"\\ud800\"", "[1,]"};
    for (size_t i = 0; i < sizeof(bad_utf8) / sizeof(bad_utf8[0]); i++) {
        struct imctl_message *m = imctl_message_text(bad_utf8[i]);
        assert_int_equal(imctl_message_set_to(m, "x"), -EILSEQ); /* it sticks */
        assert_int_equal(imctl_send(c, m, NULL, NULL), -EILSEQ);
        imctl_message_free(m);
    }
    for (size_t i = 0; i < sizeof(bad_json) / sizeof(bad_json[0]); i++) {
        struct imctl_message *m = imctl_message_new("text");
        assert_int_equal(imctl_message_set_json(m, "k", bad_json[i]), -EINVAL);
        assert_int_equal(imctl_send(c, m, NULL, NULL), -EINVAL);
        imctl_message_free(m);
        m = imctl_message_json(bad_json[i]);
        assert_int_equal(imctl_send(c, m, NULL, NULL), -EINVAL);
        imctl_message_free(m);
        assert_int_equal(imctl_call(c, "x", bad_json[i], NULL, NULL), -EINVAL);
    }
    assert_int_equal(imctl_call(c, "x", "[]", NULL, NULL), -EINVAL);
    assert_int_equal(imctl_waiting(c), 0);
    assert_int_equal(imctl_dispatch(c), 0);
    imd_heard("");
}

static void wrong_words_are_refused(void **state)
{
    struct imctl_message *m = imctl_message_new("text");
    assert_int_equal(imctl_message_set_conversation(m, 6), -EINVAL);
    imctl_message_free(m);
    m = imctl_message_new("text");
    assert_int_equal(imctl_message_set_timeout(m, -1), -EINVAL);
    imctl_message_free(m);
    m = imctl_message_new("text");
    assert_int_equal(imctl_message_set_json(m, "content", "[]"), 0);
    assert_int_equal(imctl_message_set_content_int(m, "n", 1), -EINVAL);
    imctl_message_free(m);

    static const char *const matches[][2] = {
        {"type", "text"}, {"conversationType", "club"}, {"conversationType", "-1"}};
    for (size_t i = 0; i < 3; i++) {
        struct imctl_selection *s = imctl_selection_new();
        assert_int_equal(imctl_selection_match(s, matches[i][0], matches[i][1]), -EINVAL);
        assert_int_equal(imctl_subscribe(c, s, NULL, NULL), -EINVAL);
        imctl_selection_free(s);
    }
    struct imctl_selection *s = imctl_selection_new();
    assert_int_equal(imctl_selection_add_event(s, "message"), -EINVAL);
    imctl_selection_free(s);
}

static void nesting_is_capped_as_in_the_protocol(void **state)
{
    char deep[129];
    for (size_t depth = 62; depth <= 64; depth++) {
        memset(deep, '[', depth);
        memset(deep + depth, ']', depth);
        deep[2 * depth] = '\0';
        struct imctl_message *m = imctl_message_new("text"), *n = imctl_message_new("text");
        assert_int_equal(imctl_message_set_json(m, "k", deep), depth <= 63 ? 0 : -EINVAL);
        assert_int_equal(imctl_message_set_content_json(n, "k", deep), depth <= 62 ? 0 : -EINVAL);
        imctl_message_free(m);
        imctl_message_free(n);
    }
}

/* ---- Replies ---- */

static void answers_find_their_requests_in_any_order(void **state)
{
    assert_int_equal(imctl_call(c, "a", NULL, log_reply, named("a")), 0);
    assert_int_equal(imctl_call(c, "b", NULL, log_reply, named("b")), 0);
    assert_int_equal(imctl_call(c, "c", NULL, log_reply, named("c")), 0);
    imd_says(
        "{\"jsonrpc\":\"2.0\",\"id\":3,\"result\":{}}\n{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-75,"
        "\"message\":\"m\",\"data\":{\"reason\":\"busy\"}}}\n{\"jsonrpc\":\"2.0\",\"resu");
    assert_int_equal(imctl_dispatch(c), 0);
    assert_string_equal(log_text, "c:;a:busy;");
    imd_says("lt\":{},\"id\":2}\n");
    assert_int_equal(imctl_dispatch(c), 0);
    assert_string_equal(log_text, "c:;a:busy;b:;");
    assert_int_equal(imctl_waiting(c), 0);
    assert_int_equal(imctl_call(c, "d", NULL, log_reply, named("d")),
                     0); /* the list is whole after its last went */
    imd_says("{\"jsonrpc\":\"2.0\",\"id\":4,\"result\":{}}\n");
    assert_int_equal(imctl_dispatch(c), 0);
    assert_string_equal(log_text, "c:;a:busy;b:;d:;");
}

static void an_ack_is_read(void **state)
{
    struct imctl_message *m = imctl_message_text("hi");
    struct imctl_reply *r = NULL;
    int64_t value = 0;
    size_t len;
    imd_says("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"code\":0,\"data\":{\"messageId\":\"a\\u00e9\\n\","
             "\"n\":9223372036854775807,\"u\":18446744073709551615,\"x\":1.5},\"errMsg\":\"success!\"}}\n");
    assert_int_equal(imctl_send_wait(c, m, 1000, &r), 0);
    imctl_message_free(m);
    assert_int_equal(imctl_reply_error(r), IMCTL_OK);
    assert_string_equal(imctl_reply_reason(r), "");
    assert_string_equal(imctl_reply_message(r), "");
    assert_string_equal(imctl_reply_id(r), "a\xc3\xa9\n");
    assert_int_equal(imctl_reply_code(r), 0);
    assert_string_equal(imctl_reply_server_error(r), "success!");
    assert_true(imctl_reply_int(r, "data.n", &value));
    assert_true(value == INT64_MAX);
    assert_false(imctl_reply_int(r, "data.u", &value));
    assert_false(imctl_reply_int(r, "data.x", &value));
    assert_false(imctl_reply_int(r, "data.none", &value));
    assert_string_equal(imctl_reply_value(r, "data.u"), "18446744073709551615");
    assert_string_equal(imctl_reply_value(r, "data.messageId"), "\"a\\u00e9\\n\"");
    assert_null(imctl_reply_string(r, "data.n"));
    assert_string_equal(imctl_reply_json(r, &len),
                        "{\"code\":0,\"data\":{\"messageId\":\"a\\u00e9\\n\",\"n\":9223372036854775807,"
                        "\"u\":18446744073709551615,\"x\":1.5},\"errMsg\":\"success!\"}");
    assert_int_equal(len, strlen(imctl_reply_json(r, NULL)));
    imctl_reply_free(r);
}

static void a_rejection_is_read(void **state)
{
    struct imctl_message *m = imctl_message_text("hi");
    struct imctl_reply *r = NULL;
    imd_says("{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-76,\"message\":\"the server rejected the "
             "message\","
             "\"data\":{\"reason\":\"rejected\",\"messageId\":\"id-1\",\"envelope\":{\"code\":7,\"data\":{},"
             "\"errMsg\":\"no such user\"}}}}\n");
    assert_int_equal(imctl_send_wait(c, m, 1000, &r), 0);
    imctl_message_free(m);
    assert_int_equal(imctl_reply_error(r), IMCTL_REJECTED);
    assert_string_equal(imctl_reply_message(r), "the server rejected the message");
    assert_string_equal(imctl_reply_id(r), "id-1");
    assert_int_equal(imctl_reply_code(r), 7);
    assert_string_equal(imctl_reply_server_error(r), "no such user");
    assert_int_equal(imctl_error_exit_status(imctl_reply_error(r)), 76);
    imctl_reply_free(r);
}

static void the_state_of_a_queued_send_is_read(void **state)
{
    struct imctl_message *m = imctl_message_text("hi");
    struct imctl_reply *r = NULL;
    imd_says("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"messageId\":\"m\",\"state\":\"rejected\",\"code\":"
             "7}}\n");
    assert_int_equal(imctl_send_wait(c, m, 1000, &r), 0);
    assert_int_equal(imctl_reply_error(r), IMCTL_OK);
    assert_string_equal(imctl_reply_id(r), "m");
    assert_string_equal(imctl_reply_state(r), "rejected");
    assert_int_equal(imctl_reply_code(r), 7);
    imctl_reply_free(r);
    imd_says("{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"code\":0,\"data\":{\"messageId\":\"m\",\"state\":"
             "\"no\"}}}\n");
    assert_int_equal(imctl_send_wait(c, m, 1000, &r), 0);
    assert_null(imctl_reply_state(r)); /* it was not queued */
    imctl_reply_free(r);
    imctl_message_free(m);
}

/* The events of these results, by their names and numbers. */
static void has_events(const char *result, const char *expected)
{
    struct imctl_reply *r = NULL;
    struct imctl_event *e = NULL;
    char line[512];
    size_t at = 0;
    static int id;
    snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"id\":%d,\"result\":%s}\n", ++id, result);
    imd_says(line);
    assert_int_equal(imctl_call_wait(c, "history", NULL, 1000, &r), 0);
    log_text[0] = '\0';
    while (imctl_reply_event(r, &at, &e) == 0 && e) {
        log_event(c, e, NULL);
        imctl_event_free(e);
    }
    assert_null(e);
    assert_int_equal(imctl_reply_event(r, &at, &e), 0); /* behind the last, again */
    assert_null(e);
    imctl_reply_free(r);
    assert_string_equal(log_text, expected);
}

#define LOGGED(kind, params) "{\"jsonrpc\":\"2.0\",\"method\":\"" kind "\",\"params\":{" params "}}"

static void the_events_of_a_history_are_read(void **state)
{
    has_events(
        "{\"events\":[" LOGGED("MESSAGE", "\"seq\":1,\"data\":[[],\"]\"]") "," LOGGED(
            "SENT", "\"seq\":18446744073709551615") " , " LOGGED("GAP",
                                                                 "\"from\":3,\"to\":5") "],\"more\":true}",
        "MESSAGE 1;SENT 18446744073709551615;GAP 5;");
    has_events("{\"events\":[]}", "");
    has_events("{\"events\":[7]}", " 0;");
    has_events("{\"events\":{}}", "");
    has_events("{}", "");
    has_events("[]", "");
}

static void the_entries_of_an_outbox_are_read(void **state)
{
    struct imctl_reply *r = NULL;
    struct imctl_event *e = NULL;
    int64_t attempts = 0;
    size_t at = 0;
    imd_says("{\"id\":1,\"result\":{\"entries\":[{\"messageId\":\"a\",\"state\":\"rejected\",\"attempts\":3,"
             "\"queuedTime\":1,\"changedTime\":1700000000020,\"code\":7},{\"messageId\":\"b\",\"state\":"
             "\"queued\"}]}}\n");
    assert_int_equal(imctl_outbox_wait(c, NULL, 1000, &r), 0);
    assert_int_equal(imctl_reply_event(r, &at, &e), 0);
    assert_int_equal(imctl_event_kind(e), IMCTL_EVENT_OUTBOX);
    assert_string_equal(imctl_event_name(e), "OUTBOX");
    assert_string_equal(imctl_event_id(e), "a");
    assert_string_equal(imctl_event_state(e), "rejected");
    assert_int_equal(imctl_event_code(e), 7);
    assert_true(imctl_event_time(e) == 1700000000020);
    assert_true(imctl_event_int(e, "attempts", &attempts) && attempts == 3);
    imctl_event_free(e);
    assert_int_equal(imctl_reply_event(r, &at, &e), 0);
    imctl_reply_free(r);
    struct imctl_event *copy = imctl_event_copy(e);
    imctl_event_free(e);
    assert_int_equal(imctl_event_kind(copy), IMCTL_EVENT_OUTBOX);
    assert_string_equal(imctl_event_json(copy, NULL), "{\"messageId\":\"b\",\"state\":\"queued\"}");
    imctl_event_free(copy);
}

static void errors_are_judged_by_reason_then_by_code(void **state)
{
    static const struct {
        const char *error;
        enum imctl_error expected;
        const char *reason;
    } cases[] = {
        {"{\"code\":-32603,\"data\":{\"reason\":\"busy\",\"limit\":\"MaxPending\"}}", IMCTL_BUSY, "busy"},
        {"{\"code\":-69}", IMCTL_NOT_CONNECTED, "not_connected"},
        {"{\"code\":-32601,\"message\":\"no such method\"}", IMCTL_METHOD_NOT_FOUND, "method_not_found"},
        {"{\"code\":-99,\"data\":{\"reason\":\"quota\"}}", IMCTL_INTERNAL, "quota"},
        {"{}", IMCTL_INTERNAL, "internal"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct imctl_reply *r = NULL;
        char line[256];
        snprintf(line, sizeof(line), "{\"jsonrpc\":\"2.0\",\"id\":%zu,\"error\":%s}\n", i + 1,
                 cases[i].error);
        imd_says(line);
        assert_int_equal(imctl_call_wait(c, "status", NULL, 1000, &r), 0);
        assert_int_equal(imctl_reply_error(r), cases[i].expected);
        assert_string_equal(imctl_reply_reason(r), cases[i].reason);
        assert_true(strlen(imctl_reply_message(r)) > 0);
        imctl_reply_free(r);
    }
}

/* imd cannot tell whose line was too long: it is the longest that waits, the first of equals. */
static void a_too_long_line_is_answered_without_an_id(void **state)
{
    const char *too_large =
        "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-78,\"message\":\"m\",\"data\":"
        "{\"reason\":\"too_large\"}}}\n";
    assert_int_equal(imctl_call(c, "a", NULL, log_reply, named("a")), 0);
    assert_int_equal(imctl_call(c, "b", "{\"long\":\"long\"}", log_reply, named("b")), 0);
    assert_int_equal(imctl_call(c, "c", "{\"long\":\"long\"}", log_reply, named("c")), 0);
    imd_says(too_large);
    assert_int_equal(imctl_dispatch(c), 0);
    assert_string_equal(log_text, "b:too_large;");
    imd_says(too_large);
    assert_int_equal(imctl_dispatch(c), 0);
    assert_string_equal(log_text, "b:too_large;c:too_large;");
    imd_says(
        "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32700}}\n"); /* only one is left: it is that */
    assert_int_equal(imctl_dispatch(c), 0);
    assert_string_equal(log_text, "b:too_large;c:too_large;a:parse_error;");
}

static void too_many_clients_is_told_unasked(void **state)
{
    const char *busy =
        "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-75,\"message\":\"too many clients\","
        "\"data\":{\"reason\":\"busy\",\"limit\":\"MaxClients\"}}}\n";
    imd_says(busy);
    assert_int_equal(imctl_dispatch(c), -EBUSY);
    connection_teardown(NULL);
    assert_int_equal(connection_setup(NULL), 0);
    assert_int_equal(imctl_call(c, "a", NULL, log_reply, named("a")), 0);
    assert_int_equal(imctl_call(c, "b", NULL, log_reply, named("b")), 0);
    imd_says(busy);
    assert_int_equal(imctl_dispatch(c), -EBUSY);
    assert_string_equal(log_text, "a:busy;b:busy;");
}

static void what_is_no_answer_ends_the_connection(void **state)
{
    static const char *const lines[] = {
        "hello\n",
        "\n",
        "[]\n",
        "{}\n",
        "{\"id\":7,\"result\":{}}\n",
        "{\"id\":1}\n",
        "{\"id\":\"1\",\"result\":{}}\n",
        "{\"id\":null,\"error\":{\"code\":-32700}}\n", /* of two: whose? */
    };
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
        assert_int_equal(imctl_call(c, "a", NULL, log_reply, named("a")), 0);
        assert_int_equal(imctl_call(c, "b", NULL, log_reply, named("b")), 0);
        imd_says(lines[i]);
        assert_int_equal(imctl_dispatch(c), -EPROTO);
        assert_int_equal(imctl_dispatch(c), -EPROTO);
        assert_int_equal(imctl_call(c, "a", NULL, log_reply, named("late")), -EPROTO);
        assert_string_equal(log_text, "a:unknown;b:unknown;");
        connection_teardown(NULL);
        assert_int_equal(connection_setup(NULL), 0);
    }
}

/* ---- Files ---- */

/* A file with these bytes. */
static int file_with(const char *bytes)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    assert_int_equal(write(fd, bytes, strlen(bytes)), strlen(bytes));
    return fd;
}

/* Attaches such a file and closes it, as a program may. */
static void attach(struct imctl_message *m, const char *key, const char *bytes)
{
    int fd = file_with(bytes);
    assert_int_equal(imctl_message_attach_fd(m, key, fd), 0);
    close(fd);
}

/* Sends {content:{KEY:the file}}. */
static void send_file(const char *key, const char *bytes)
{
    struct imctl_message *m = imctl_message_json("{}");
    attach(m, key, bytes);
    assert_int_equal(imctl_send(c, m, log_reply, named(key)), 0);
    imctl_message_free(m);
}

static size_t open_files(void)
{
    size_t count = 0;
    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* One recvmsg(2) of at most `size` bytes gives these bytes, and files with these contents. */
static void imd_receives(size_t size, const char *expected, const char *const *contents, size_t count)
{
    char got[8192] = "", content[64];
    union {
        char room[CMSG_SPACE(17 * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec span = {got, size < sizeof(got) ? size : sizeof(got) - 1};
    struct msghdr message = {
        .msg_iov = &span, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
    ssize_t n = recvmsg(imd, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    got[n < 0 ? 0 : n] = '\0';
    assert_string_equal(got, expected);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    assert_int_equal(header ? (header->cmsg_len - CMSG_LEN(0)) / sizeof(int) : 0, count);
    for (size_t i = 0; i < count; i++) {
        int fd = ((int *)CMSG_DATA(header))[i];
        ssize_t length = pread(fd, content, sizeof(content), 0);
        assert_int_equal(length, strlen(contents[i]));
        assert_memory_equal(content, contents[i], strlen(contents[i]));
        close(fd);
    }
}

/* Even a reader that takes all it can get is given one line with its own files at a time. */
static void files_go_with_the_first_byte_of_their_line(void **state)
{
    size_t before = open_files();
    struct imctl_message *m = imctl_message_json("{}");
    assert_int_equal(imctl_call(c, "a", NULL, NULL, NULL), 0);
    attach(m, "message", "one");
    attach(m, "thumb\"", "two");
    assert_int_equal(imctl_message_set_content_string(m, "name", "x"), 0);
    assert_int_equal(imctl_send(c, m, NULL, NULL), 0);
    imctl_message_free(m);
    send_file("k", "three");
    assert_int_equal(imctl_call(c, "b", NULL, NULL, NULL), 0);
    assert_int_equal(imctl_call(c, "c", NULL, NULL, NULL), 0);
    assert_int_equal(imctl_dispatch(c), 0);
    assert_int_equal(imctl_events(c), POLLIN);
    imd_receives(8000,
                 "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"a\"}\n" SEND(
                     2, "\"content\":{\"message\":{\"$fd\":0},\"thumb\\\"\":{\"$fd\":1},\"name\":\"x\"}"),
                 (const char *const[]){"one", "two"}, 2);
    imd_receives(8000, SEND(3, "\"content\":{\"k\":{\"$fd\":0}}"), (const char *const[]){"three"}, 1);
    imd_receives(8000,
                 "{\"jsonrpc\":\"2.0\",\"id\":4,\"method\":\"b\"}\n"
                 "{\"jsonrpc\":\"2.0\",\"id\":5,\"method\":\"c\"}\n",
                 NULL, 0);
    assert_int_equal(open_files(), before);
}

static void a_file_is_replaced_by_any_other_value(void **state)
{
    size_t before = open_files();
    struct imctl_message *m = imctl_message_json("{}");
    attach(m, "a", "one");
    attach(m, "b", "two");
    attach(m, "b", "three");
    assert_int_equal(open_files(), before + 2);
    assert_int_equal(imctl_message_set_content_int(m, "a", 1), 0);
    assert_int_equal(imctl_send(c, m, NULL, NULL), 0);
    assert_int_equal(imctl_dispatch(c), 0);
    imd_receives(8000, SEND(1, "\"content\":{\"a\":1,\"b\":{\"$fd\":0}}"), (const char *const[]){"three"}, 1);
    assert_int_equal(imctl_message_set_json(m, "content", "{\"c\":2}"), 0);
    assert_int_equal(open_files(), before);
    attach(m, "d", "four");
    assert_int_equal(imctl_send(c, m, NULL, NULL), 0);
    assert_int_equal(imctl_send(c, m, NULL, NULL), 0); /* as often as one likes */
    imctl_message_free(m);
    assert_int_equal(imctl_dispatch(c), 0);
    imd_receives(8000, SEND(2, "\"content\":{\"c\":2,\"d\":{\"$fd\":0}}"), (const char *const[]){"four"}, 1);
    imd_receives(8000, SEND(3, "\"content\":{\"c\":2,\"d\":{\"$fd\":0}}"), (const char *const[]){"four"}, 1);
    assert_int_equal(open_files(), before);
}

static void what_imd_cannot_read_is_no_file(void **state)
{
    size_t before = open_files();
    struct imctl_message *m = imctl_message_json("{}");
    int fd = file_with("x"), pipe_fds[2];
    for (int i = 0; i < 16; i++) {
        char key[] = {(char)('a' + i), '\0'};
        assert_int_equal(imctl_message_attach_fd(m, key, fd), 0);
    }
    assert_int_equal(imctl_message_attach_fd(m, "a", fd), 0); /* there are 16 still */
    assert_int_equal(imctl_message_attach_fd(m, "z", fd), -E2BIG);
    assert_int_equal(imctl_send(c, m, NULL, NULL), -E2BIG);
    imctl_message_free(m);
    m = imctl_message_json("{}");
    assert_int_equal(imctl_message_attach_fd(m, "\xff", fd), -EILSEQ);
    imctl_message_free(m);
    close(fd);
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    m = imctl_message_json("{}");
    assert_int_equal(imctl_message_attach_fd(m, "a", pipe_fds[0]), -EINVAL);
    imctl_message_free(m);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    m = imctl_message_json("{}");
    assert_int_equal(imctl_message_attach_fd(m, "a", -1), -EBADF);
    imctl_message_free(m);
    assert_int_equal(open_files(), before);
}

/* The socket holds less than the line: its first part has the file, the rest has none. */
static void a_partial_write_has_passed_the_files(void **state)
{
    size_t before = open_files(), length = 4 << 20, got = 0;
    struct imctl_message *m = imctl_message_json("{}");
    char *large = malloc(length), part[4096];
    memset(large, 'x', length);
    large[length - 1] = '\0';
    attach(m, "a", "one");
    assert_int_equal(imctl_message_set_content_string(m, "b", large), 0);
    free(large);
    assert_int_equal(imctl_send(c, m, log_reply, named("large")), 0);
    imctl_message_free(m);
    send_file("k", "two");
    assert_int_equal(imctl_dispatch(c), 0);
    assert_int_equal(open_files(), before + 1); /* the second waits */
    imd_receives(4, "{\"js", (const char *const[]){"one"}, 1);
    while (imctl_events(c) & POLLOUT || got == 0) {
        ssize_t n = recv(imd, part, sizeof(part), MSG_DONTWAIT);
        got += n > 0 ? (size_t)n : 0;
        assert_int_equal(imctl_dispatch(c), 0);
    }
    assert_int_equal(open_files(), before);
    while (recv(imd, part, 1, MSG_DONTWAIT) == 1 && part[0] != '\n')
        ;
    imd_receives(8000, SEND(2, "\"content\":{\"k\":{\"$fd\":0}}"), (const char *const[]){"two"}, 1);
}

static void close_and_send_file(struct imctl *connection, const struct imctl_reply *r, void *name)
{
    log_reply(connection, r, name);
    send_file("late", "x");
    imctl_close(connection);
}

/* Whatever becomes of the requests, no file stays open. */
static void files_that_never_went_are_closed(void **state)
{
    size_t before = open_files();
    send_file("a", "x");
    imctl_close(c);
    assert_string_equal(log_text, "a:not_connected;");
    close(imd);

    log_text[0] = '\0';
    assert_int_equal(connection_setup(NULL), 0);
    assert_int_equal(imctl_call(c, "x", NULL, close_and_send_file, named("x")), 0);
    imd_says("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n");
    assert_int_equal(imctl_dispatch(c), -ECANCELED);
    assert_string_equal(log_text, "x:;late:not_connected;");
    close(imd);

    assert_int_equal(connection_setup(NULL), 0);
    send_file("a", "x");
    struct imctl_message *m = imctl_message_json("{}");
    attach(m, "a", "x");
    imd_ends();
    while (imctl_dispatch(c) == 0)
        ;
    assert_int_equal(imctl_send(c, m, NULL, NULL), -ECONNRESET);
    imctl_message_free(m);
    imctl_close(c);
    c = NULL;
    assert_int_equal(open_files(), before - 2);
}

/* A user may have only so many on the way; then they wait, without the program being woken for nothing. */
static void too_many_files_under_way_wait(void **state)
{
    struct rlimit saved, low;
    uid_t user = geteuid();
    getrlimit(RLIMIT_NOFILE, &saved);
    low = (struct rlimit){64, saved.rlim_max};
    for (int i = 0; i < 100; i++)
        send_file("k", "x");
    if (user == 0 && seteuid(65534) < 0) /* root may have any number */
        skip();
    setrlimit(RLIMIT_NOFILE, &low);
    int error = imctl_dispatch(c);
    short events = imctl_events(c);
    int timeout = imctl_timeout(c);
    assert_int_equal(seteuid(user), 0);
    setrlimit(RLIMIT_NOFILE, &saved);
    assert_int_equal(error, 0);
    assert_int_equal(events, POLLIN);
    assert_true(timeout > 0 && timeout < 1000);
    assert_int_equal(imctl_dispatch(c), 0); /* there is room again */
    assert_int_equal(imctl_timeout(c), -1);
}

/* ---- The end of a connection ---- */

static void what_was_written_is_unknown_and_what_was_not_is_not_connected(void **state)
{
    char *large = malloc(4 << 20);
    memset(large, 'x', 4 << 20);
    large[(4 << 20) - 1] = '\0';
    struct imctl_message *m = imctl_message_text(large);
    free(large);
    assert_int_equal(imctl_call(c, "a", NULL, log_reply, named("a")), 0);
    assert_int_equal(imctl_send(c, m, log_reply, named("b")), 0); /* more than the socket holds */
    assert_int_equal(imctl_call(c, "c", NULL, log_reply, named("c")), 0);
    imctl_message_free(m);
    assert_int_equal(imctl_dispatch(c), 0);
    assert_string_equal(log_text, "");
    imd_ends();
    int error;
    while ((error = imctl_dispatch(c)) == 0)
        ;
    assert_int_equal(error, -ECONNRESET);
    assert_string_equal(log_text, "a:unknown;b:not_connected;c:not_connected;");
    assert_int_equal(imctl_waiting(c), 0);
    assert_int_equal(imctl_timeout(c), 0);
}

static void answers_before_the_end_are_read(void **state)
{
    assert_int_equal(imctl_call(c, "a", NULL, log_reply, named("a")), 0);
    imd_says("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n");
    imd_ends(); /* before a was written: writing fails with EPIPE, SIGPIPE must not come */
    assert_int_equal(imctl_dispatch(c), 0);
    assert_string_equal(log_text, "a:;");
    assert_int_equal(imctl_dispatch(c), -ECONNRESET);
}

static void close_answers_what_waits(void **state)
{
    assert_int_equal(imctl_call(c, "a", NULL, log_reply, named("a")), 0);
    assert_int_equal(imctl_dispatch(c), 0);
    assert_int_equal(imctl_call(c, "b", NULL, log_reply, named("b")), 0);
    imctl_close(c);
    c = NULL;
    assert_string_equal(log_text, "a:unknown;b:not_connected;");
    imctl_close(NULL);
}

static void close_in_callback(struct imctl *connection, const struct imctl_reply *r, void *name)
{
    log_reply(connection, r, name);
    imctl_close(connection);
}

static void a_callback_may_close(void **state)
{
    assert_int_equal(imctl_call(c, "a", NULL, close_in_callback, named("a")), 0);
    assert_int_equal(imctl_call(c, "b", NULL, close_in_callback, named("b")), 0);
    imd_says("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n");
    assert_int_equal(imctl_dispatch(c), -ECANCELED);
    c = NULL;
    assert_string_equal(log_text, "a:;b:unknown;");
}

static void send_in_callback(struct imctl *connection, const struct imctl_reply *r, void *name)
{
    struct imctl_reply *out;
    log_reply(connection, r, name);
    assert_int_equal(imctl_dispatch(connection), -EDEADLK);
    assert_int_equal(imctl_call_wait(connection, "x", NULL, 1000, &out), -EDEADLK);
    assert_int_equal(imctl_call(connection, "x", NULL, log_reply, named("x")), 0);
}

static void a_callback_may_ask_but_not_wait(void **state)
{
    assert_int_equal(imctl_call(c, "a", NULL, send_in_callback, named("a")), 0);
    imd_says("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{}}\n");
    assert_int_equal(imctl_dispatch(c), 0);
    assert_string_equal(log_text, "a:;x:;");
}

/* ---- Blocking ---- */

static void waiting_ends_in_time_and_the_late_answer_is_dropped(void **state)
{
    struct imctl_reply *r = NULL;
    assert_int_equal(imctl_call_wait(c, "status", NULL, 10, &r), -ETIMEDOUT);
    imd_says("{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"late\":1}}\n");
    assert_int_equal(imctl_call_wait(c, "status", NULL, 10, &r), -ETIMEDOUT);
    imd_says("{\"jsonrpc\":\"2.0\",\"id\":2,\"result\":{\"late\":2}}\n{\"jsonrpc\":\"2.0\",\"id\":3,"
             "\"result\":{}}\n");
    assert_int_equal(imctl_call_wait(c, "status", NULL, 1000, &r), 0);
    assert_string_equal(imctl_reply_json(r, NULL), "{}");
    imctl_reply_free(r);
}

static void a_connection_that_ends_answers_who_waits(void **state)
{
    struct imctl_reply *r = NULL;
    imd_ends();
    assert_int_equal(imctl_call_wait(c, "status", NULL, 1000, &r), 0);
    assert_int_equal(imctl_reply_error(r), IMCTL_NOT_CONNECTED); /* it was never written */
    assert_string_equal(imctl_reply_json(r, NULL), "{}");
    assert_null(imctl_reply_id(r));
    imctl_reply_free(r);
    assert_int_equal(imctl_call_wait(c, "status", NULL, 1000, &r), -ECONNRESET);
}

/* ---- Events ---- */

#define MESSAGE_LINE                                                                                      \
    "{\"jsonrpc\":\"2.0\",\"method\":\"MESSAGE\",\"params\":{\"seq\":18446744073709551615,\"time\":"      \
    "1700000000123,"                                                                                      \
    "\"code\":4,\"data\":{\"messageType\":\"TextMsg\",\"messageId\":\"m\",\"from\":\"al\\\\ice\",\"to\":" \
    "\"b\\u0000\","                                                                                       \
    "\"conversationType\":1,\"signalName\":\"s\",\"content\":{\"a\":{\"message\":\"no\"},"                \
    "\"message\":\"\\ud83d\\ude00 \\ud800 \\/\"}},\"errMsg\":\"close\"}}"

static void an_event_is_read(void **state)
{
    struct imctl_event *e = NULL;
    size_t len;
    imd_says(MESSAGE_LINE "\n");
    assert_int_equal(imctl_event_wait(c, 1000, &e), 0);
    assert_int_equal(imctl_event_kind(e), IMCTL_EVENT_MESSAGE);
    assert_string_equal(imctl_event_name(e), "MESSAGE");
    assert_true(imctl_event_seq(e) == UINT64_MAX);
    assert_true(imctl_event_time(e) == 1700000000123);
    assert_int_equal(imctl_event_code(e), 4);
    assert_string_equal(imctl_event_error(e), "close");
    assert_string_equal(imctl_event_id(e), "m");
    assert_string_equal(imctl_event_type(e), "TextMsg");
    assert_string_equal(imctl_event_from(e), "al\\ice");
    assert_string_equal(imctl_event_to(e), "b\xef\xbf\xbd");
    assert_int_equal(imctl_event_conversation(e), 1);
    assert_string_equal(imctl_event_signal(e), "s");
    assert_string_equal(imctl_event_text(e), "\xf0\x9f\x98\x80 \xef\xbf\xbd /");
    assert_ptr_equal(imctl_event_text(e), imctl_event_text(e)); /* decoded once */
    assert_string_equal(imctl_event_string(e, "data.content.a.message"), "no");
    assert_string_equal(imctl_event_json(e, &len), MESSAGE_LINE);
    assert_int_equal(len, strlen(MESSAGE_LINE));
    struct imctl_event *copy = imctl_event_copy(e);
    imctl_event_free(e);
    assert_string_equal(imctl_event_from(copy), "al\\ice");
    assert_string_equal(imctl_event_json(copy, NULL), MESSAGE_LINE);
    imctl_event_free(copy);
}

static void what_an_event_does_not_have_is_null(void **state)
{
    struct imctl_event *e = NULL;
    imd_says("{\"jsonrpc\":\"2.0\",\"method\":\"MESSAGE\",\"params\":{\"seq\":5,\"time\":1,\"code\":4,"
             "\"data\":\"close\"}}\n{\"method\":\"NEW\"}\n{\"method\":\"MESSAGE\",\"params\":{\"data\":{"
             "\"content\":"
             "{\"message\":{\"n\":[1]}},\"conversationType\":\"x\"}}}\n");
    assert_int_equal(imctl_event_wait(c, 1000, &e), 0);
    assert_null(imctl_event_id(e));
    assert_null(imctl_event_type(e));
    assert_null(imctl_event_text(e));
    assert_null(imctl_event_error(e));
    assert_int_equal(imctl_event_conversation(e), -1);
    imctl_event_free(e);
    e = imctl_event_next(c);
    assert_int_equal(imctl_event_kind(e), IMCTL_EVENT_OTHER);
    assert_string_equal(imctl_event_name(e), "NEW");
    assert_true(imctl_event_seq(e) == 0);
    assert_null(imctl_event_state(e));
    imctl_event_free(e);
    e = imctl_event_next(c);
    assert_string_equal(imctl_event_text(e), "{\"n\":[1]}"); /* no string: its JSON */
    assert_int_equal(imctl_event_conversation(e), -1);
    imctl_event_free(e);
    assert_null(imctl_event_next(c));
}

static void an_outbox_event_is_read(void **state)
{
    struct imctl_event *e = NULL;
    imd_says(
        "{\"jsonrpc\":\"2.0\",\"method\":\"OUTBOX\",\"params\":{\"messageId\":\"m\",\"state\":\"rejected\","
        "\"code\":7,\"time\":1700000000123}}\n");
    assert_int_equal(imctl_event_wait(c, 1000, &e), 0);
    assert_int_equal(imctl_event_kind(e), IMCTL_EVENT_OUTBOX);
    assert_string_equal(imctl_event_id(e), "m");
    assert_string_equal(imctl_event_state(e), "rejected");
    assert_int_equal(imctl_event_code(e), 7);
    assert_true(imctl_event_time(e) == 1700000000123);
    assert_true(imctl_event_seq(e) == 0);
    imctl_event_free(e);
}

static void events_go_to_the_handler_or_wait(void **state)
{
    struct imctl_reply *r = NULL;
    imd_says("{\"method\":\"MESSAGE\",\"params\":{\"seq\":1}}\n{\"id\":1,\"result\":{}}\n"
             "{\"method\":\"STATUS\",\"params\":{\"state\":\"waiting\"}}\n");
    assert_int_equal(imctl_call_wait(c, "status", NULL, 1000, &r), 0);
    imctl_reply_free(r);
    assert_int_equal(imctl_timeout(c), 0); /* two wait */
    imctl_on_event(c, log_event, NULL);
    assert_int_equal(imctl_dispatch(c), 0);
    assert_string_equal(log_text, "MESSAGE 1;STATUS 0;");
    assert_int_equal(imctl_timeout(c), -1);
    imd_says("{\"method\":\"MESSAGE\",\"params\":{\"seq\":2}}\n");
    assert_int_equal(imctl_dispatch(c), 0);
    assert_string_equal(log_text, "MESSAGE 1;STATUS 0;MESSAGE 2;");
    imctl_on_event(c, NULL, NULL);
    imd_says("{\"method\":\"GAP\",\"params\":{\"from\":3,\"to\":4}}\n");
    imd_ends();
    struct imctl_event *e = NULL;
    int64_t from = 0;
    assert_int_equal(imctl_event_wait(c, -1, &e), 0);
    assert_true(imctl_event_int(e, "from", &from) && from == 3);
    assert_true(imctl_event_seq(e) == 4); /* all up to there is dealt with */
    imctl_event_free(e);
    assert_int_equal(imctl_event_wait(c, -1, &e), -ECONNRESET);
}

static void waiting_for_an_event_ends_in_time(void **state)
{
    struct imctl_event *e = NULL;
    assert_int_equal(imctl_event_wait(c, 10, &e), -ETIMEDOUT);
    assert_int_equal(imctl_event_wait(c, 0, &e), -ETIMEDOUT);
    imd_says("{\"method\":\"GAP\",\"params\":{}}\n");
    assert_int_equal(imctl_event_wait(c, 0, &e), 0); /* what lies there needs no time */
    imctl_event_free(e);
}

/* ---- Opening ---- */

static int listen_at(const char *path, int backlog)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strcpy(address.sun_path, path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(fd, backlog), 0);
    return fd;
}

static void opening(void **state)
{
    char folder[] = "/tmp/test_connection.XXXXXX", path[64], found[108], long_path[200];
    struct imctl *other = NULL;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/s", folder);
    assert_int_equal(imctl_open(path, 1000, &other), -ENOENT);
    int fd = listen_at(path, 1);
    assert_int_equal(imctl_open(path, 1000, &other), 0);
    assert_true(fcntl(imctl_fd(other), F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(imctl_fd(other), F_GETFD) & FD_CLOEXEC);
    imctl_close(other);

    setenv("IMCTL_SOCKET", path, 1);
    assert_int_equal(imctl_open(NULL, -1, &other), 0);
    assert_int_equal(imctl_socket_path("work", found, sizeof(found)), 0);
    assert_string_equal(found, path);
    assert_int_equal(imctl_socket_path("work", found, strlen(path)), -ENAMETOOLONG);
    assert_int_equal(imctl_socket_path("../work", found, sizeof(found)), -EINVAL);
    unsetenv("IMCTL_SOCKET");

    struct imctl *third = NULL;
    assert_int_equal(imctl_open(path, 10, &third), -ETIMEDOUT); /* nobody accepts, the backlog is full */
    imctl_close(other);
    close(fd);
    assert_int_equal(imctl_open(path, 1000, &other), -ECONNREFUSED);
    memset(long_path, 'x', sizeof(long_path) - 1);
    long_path[sizeof(long_path) - 1] = '\0';
    assert_int_equal(imctl_open(long_path, 1000, &other), -ENAMETOOLONG);
    unlink(path);
    rmdir(folder);
}

static void words(void **state)
{
    assert_string_equal(imctl_type_short("TxtMsg"), "text");
    assert_string_equal(imctl_type_short("TextMsg"), "text");
    assert_string_equal(imctl_type_short("Own"), "Own");
    assert_string_equal(imctl_conversation_word(3), "group");
    assert_null(imctl_conversation_word(6));
    assert_int_equal(imctl_conversation_parse("chatroom"), IMCTL_CHATROOM);
    assert_int_equal(imctl_conversation_parse("x"), -1);
    assert_string_equal(imctl_event_word(IMCTL_EVENT_GAP), "GAP");
    assert_null(imctl_event_word(-1));
    assert_null(imctl_event_word(5));
    assert_null(imctl_state_word(4));
    assert_null(imctl_type_word(5));
    assert_string_equal(imctl_error_reason(IMCTL_UNKNOWN), "unknown");
    assert_int_equal(imctl_error_exit_status(IMCTL_UNKNOWN), 124);
    assert_string_equal(imctl_error_reason((enum imctl_error)99), "internal");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, connection_setup, connection_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(requests_are_written_as_one_line_each),
        TEST(a_message_is_written_in_the_order_of_its_keys),
        TEST(a_message_may_be_queued),
        TEST(a_subscription_may_begin_earlier),
        TEST(a_history_is_asked_for),
        TEST(what_a_request_does_not_know_is_not_sent),
        TEST(the_outbox_is_asked),
        TEST(events_are_acked),
        TEST(a_message_may_be_given_as_json),
        TEST(wrong_values_are_refused),
        TEST(wrong_words_are_refused),
        TEST(nesting_is_capped_as_in_the_protocol),
        TEST(answers_find_their_requests_in_any_order),
        TEST(an_ack_is_read),
        TEST(a_rejection_is_read),
        TEST(the_state_of_a_queued_send_is_read),
        TEST(the_events_of_a_history_are_read),
        TEST(the_entries_of_an_outbox_are_read),
        TEST(errors_are_judged_by_reason_then_by_code),
        TEST(a_too_long_line_is_answered_without_an_id),
        TEST(too_many_clients_is_told_unasked),
        TEST(what_is_no_answer_ends_the_connection),
        TEST(files_go_with_the_first_byte_of_their_line),
        TEST(a_file_is_replaced_by_any_other_value),
        TEST(what_imd_cannot_read_is_no_file),
        TEST(a_partial_write_has_passed_the_files),
        TEST(files_that_never_went_are_closed),
        TEST(too_many_files_under_way_wait),
        TEST(what_was_written_is_unknown_and_what_was_not_is_not_connected),
        TEST(answers_before_the_end_are_read),
        TEST(close_answers_what_waits),
        TEST(a_callback_may_close),
        TEST(a_callback_may_ask_but_not_wait),
        TEST(waiting_ends_in_time_and_the_late_answer_is_dropped),
        TEST(a_connection_that_ends_answers_who_waits),
        TEST(an_event_is_read),
        TEST(what_an_event_does_not_have_is_null),
        TEST(an_outbox_event_is_read),
        TEST(events_go_to_the_handler_or_wait),
        TEST(waiting_for_an_event_ends_in_time),
        cmocka_unit_test(opening),
        cmocka_unit_test(words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
