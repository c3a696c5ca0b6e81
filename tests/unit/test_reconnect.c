/*
 * A connection that comes back: the test plays imd, which goes away and returns, on a socket of its own. Both
 * are in one thread: while imd waits for something, the client is served, as a program's event loop would.
 */
#include "clock.h"
#include "connection.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

#include "client_log.h"

#define PATIENCE_MS 20000

static char folder[32], path[64];
static int listener, imd; /* -1: none */
static struct imctl *c;

static void logged(const char *expected)
{
    assert_string_equal(log_text, expected);
    log_text[0] = '\0';
}

static void log_change(struct imctl *connection, int error, void *userdata)
{
    log_line(error == 0 ? "back;" : "lost %d;", error);
}

/* ---- imd ---- */

static void imd_comes(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    unlink(path);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(listener, 8), 0);
}

static void imd_hangs_up(void)
{
    close(imd);
    imd = -1;
}

static void imd_goes(void)
{
    imd_hangs_up();
    close(listener);
    listener = -1;
}

/* Waits as an event loop does, but not for ever. */
static void client_step(void)
{
    struct pollfd p = {imctl_fd(c), imctl_events(c), 0};
    int limit = imctl_timeout(c);
    poll(&p, 1, limit >= 0 && limit < 5 ? limit : 5);
    assert_int_equal(imctl_dispatch(c), 0);
}

static void imd_accepts(void)
{
    int64_t end = clock_ms() + PATIENCE_MS;
    while ((imd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) < 0) {
        assert_true(clock_ms() < end);
        client_step();
    }
}

static void imd_says(const char *bytes)
{
    assert_int_equal(write(imd, bytes, strlen(bytes)), strlen(bytes));
}

/* The next line of the client is this, without what all of them begin with. */
static void imd_hears(const char *expected)
{
    static const char begin[] = "{\"jsonrpc\":\"2.0\",";
    char line[1024];
    size_t len = 0;
    int64_t end = clock_ms() + PATIENCE_MS;
    while (len == 0 || line[len - 1] != '\n') {
        if (recv(imd, line + len, 1, MSG_DONTWAIT) == 1) {
            len++;
            continue;
        }
        assert_true(clock_ms() < end);
        client_step();
    }
    line[len - 1] = '\0';
    assert_memory_equal(line, begin, strlen(begin));
    assert_string_equal(line + strlen(begin), expected);
}

/* Until this was logged. */
static void client_logs(const char *expected)
{
    int64_t end = clock_ms() + PATIENCE_MS;
    while (strcmp(log_text, expected) != 0 && clock_ms() < end)
        client_step();
    logged(expected);
}

/* ---- The client ---- */

static int setup(void **state)
{
    strcpy(folder, "/tmp/test_reconnect.XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/s", folder);
    log_text[0] = '\0';
    imd_comes();
    assert_int_equal(imctl_open(path, 1000, &c), 0);
    imd = accept(listener, NULL, NULL);
    assert_int_equal(imctl_set_reconnect(c, log_change, NULL), 0);
    imctl_on_event(c, log_event, NULL);
    return 0;
}

static int teardown(void **state)
{
    imctl_close(c);
    c = NULL;
    close(imd);
    close(listener);
    unlink(path);
    rmdir(folder);
    return 0;
}

/* Subscribed with these params, which the line shows, and the reply came. */
static void subscribe(const char *params, const char *line, const char *answer)
{
    assert_int_equal(imctl_call(c, "subscribe", params, log_reply, named("s")), 0);
    imd_hears(line);
    imd_says(answer);
    client_logs("s:;");
}

static void comes_back_with(const char *line)
{
    imd_hangs_up();
    client_logs("lost -104;");
    imd_accepts();
    imd_hears(line);
}

/* ---- Requests ---- */

static void what_waits_is_answered_and_never_sent_again(void **state)
{
    int fd = imctl_fd(c);
    assert_int_equal(imctl_call(c, "a", NULL, log_reply, named("a")), 0);
    imd_hears("\"id\":1,\"method\":\"a\"}");
    assert_int_equal(imctl_call(c, "b", NULL, log_reply, named("b")), 0);
    imd_hangs_up();
    while (!log_text[0])
        client_step();
    logged("a:unknown;b:not_connected;lost -104;");
    assert_int_equal(imctl_call(c, "x", NULL, log_reply, named("x")), -ENOTCONN);
    assert_in_range(imctl_timeout(c), 1, 100);
    imd_accepts();
    imd_hears("\"id\":3,\"method\":\"hello\"}");
    assert_int_equal(imctl_call(c, "x", NULL, log_reply, named("x")), -ENOTCONN); /* not yet */
    assert_int_equal(imctl_waiting(c), 0);
    imd_says("{\"id\":3,\"result\":{}}\n");
    client_logs("back;");
    assert_int_equal(imctl_timeout(c), -1);
    assert_int_equal(imctl_fd(c), fd);
    assert_int_equal(imctl_call(c, "c", NULL, log_reply, named("c")), 0);
    assert_int_equal(imctl_waiting(c), 1);
    imd_hears("\"id\":4,\"method\":\"c\"}");
    imd_says("{\"id\":4,\"result\":{}}\n");
    client_logs("c:;");
}

/* Requests made by callbacks, at the worst moments. */
static void ask_again(struct imctl *connection, const struct imctl_reply *r, void *name)
{
    log_reply(connection, r, name);
    log_line("%d;", imctl_call(connection, "again", NULL, log_reply, named("again")));
}

static void ask_on_change(struct imctl *connection, int error, void *userdata)
{
    log_change(connection, error, userdata);
    log_line("%d;", imctl_call(connection, "x", NULL, log_reply, named("x")));
}

static void callbacks_may_ask(void **state)
{
    assert_int_equal(imctl_set_reconnect(c, ask_on_change, NULL), 0);
    assert_int_equal(imctl_call(c, "a", NULL, ask_again, named("a")), 0);
    imd_hears("\"id\":1,\"method\":\"a\"}");
    imd_hangs_up();
    client_logs("a:unknown;-107;lost -104;-107;");
    imd_accepts();
    imd_hears("\"id\":2,\"method\":\"hello\"}");
    imd_says("{\"id\":2,\"result\":{}}\n");
    client_logs("back;0;");
    imd_hears("\"id\":3,\"method\":\"x\"}");
}

static void blocking_calls_end_or_go_on(void **state)
{
    struct imctl_reply *r = NULL;
    struct imctl_event *e = NULL;
    imctl_on_event(c, NULL, NULL);
    imd_says("{\"method\":\"MESSAGE\",\"params\":{\"seq\":1}}\n");
    imd_hangs_up();
    assert_int_equal(imctl_call_wait(c, "a", NULL, PATIENCE_MS, &r), 0);
    assert_int_equal(imctl_reply_error(r), IMCTL_NOT_CONNECTED);
    imctl_reply_free(r);
    assert_int_equal(imctl_call_wait(c, "a", NULL, PATIENCE_MS, &r), -ENOTCONN);
    assert_int_equal(imctl_event_wait(c, 0, &e), 0); /* it came before */
    imctl_event_free(e);
    assert_int_equal(imctl_event_wait(c, 1, &e), -ETIMEDOUT);

    /* imd is there again and has said all before it is asked: the ids are known */
    while ((imd = accept(listener, NULL, NULL)) < 0)
        assert_int_equal(imctl_event_wait(c, 5, &e), -ETIMEDOUT);
    imd_says("{\"id\":2,\"result\":{}}\n{\"method\":\"MESSAGE\",\"params\":{\"seq\":2}}\n");
    assert_int_equal(imctl_event_wait(c, -1, &e), 0);
    imctl_event_free(e);
    logged("lost -104;back;");
}

/* ---- Subscriptions ---- */

static void goes_on_behind_the_last_event(void **state)
{
    subscribe("{\"since\":3,\"events\":[\"MESSAGE\",\"SENT\"]}",
              "\"id\":1,\"method\":\"subscribe\",\"params\":{\"since\":3,\"events\":[\"MESSAGE\",\"SENT\"]}}",
              "{\"id\":1,\"result\":{\"seq\":3,\"status\":{}}}\n");
    imd_says("{\"method\":\"MESSAGE\",\"params\":{\"seq\":7}}\n{\"method\":\"STATUS\",\"params\":{}}\n");
    client_logs("MESSAGE 7;STATUS 0;");
    comes_back_with(
        "\"id\":2,\"method\":\"subscribe\",\"params\":{\"events\":[\"MESSAGE\",\"SENT\"],\"since\":7}}");
    imd_says("{\"id\":2,\"result\":{\"seq\":7}}\n{\"method\":\"GAP\",\"params\":{\"from\":8,\"to\":"
             "18446744073709551614}}\n{\"method\":\"GAP\",\"params\":{\"from\":0,\"to\":0}}\n");
    client_logs("back;GAP 18446744073709551614;GAP 0;");
    comes_back_with("\"id\":3,\"method\":\"subscribe\",\"params\":{\"events\":[\"MESSAGE\",\"SENT\"],"
                    "\"since\":18446744073709551614}}");
}

static void goes_on_from_where_it_began(void **state)
{
    assert_int_equal(imctl_subscribe(c, NULL, log_reply, named("s")), 0);
    imd_hears("\"id\":1,\"method\":\"subscribe\"}");
    imd_says("{\"id\":1,\"result\":{\"seq\":41}}\n");
    client_logs("s:;");
    comes_back_with("\"id\":2,\"method\":\"subscribe\",\"params\":{\"since\":41}}");
    imd_hangs_up(); /* before it answered: nothing is news */
    imd_accepts();
    imd_hears("\"id\":3,\"method\":\"subscribe\",\"params\":{\"since\":41}}");
    logged("");
}

static void events_that_nobody_took_yet_are_not_asked_for_again(void **state)
{
    subscribe("{\"since\":\"earliest\"}",
              "\"id\":1,\"method\":\"subscribe\",\"params\":{\"since\":\"earliest\"}}",
              "{\"id\":1,\"result\":{}}\n");
    imctl_on_event(c, NULL, NULL);
    imd_says(
        "{\"method\":\"MESSAGE\",\"params\":{\"seq\":5}}\n{\"method\":\"MESSAGE\",\"params\":{\"seq\":6}}\n");
    comes_back_with("\"id\":2,\"method\":\"subscribe\",\"params\":{\"since\":6}}");
    imd_says("{\"id\":2,\"result\":{\"seq\":6}}\n{\"method\":\"MESSAGE\",\"params\":{\"seq\":7}}\n");
    client_logs("back;");
    imctl_on_event(c, log_event, NULL);
    client_logs("MESSAGE 5;MESSAGE 6;MESSAGE 7;");
}

static void a_consumer_goes_on_from_what_it_acked(void **state)
{
    const char *line =
        "\"id\":1,\"method\":\"subscribe\",\"params\":{\"since\":\"earliest\",\"consumer\":\"deploy\"}}";
    struct imctl_selection *s = imctl_selection_new();
    assert_int_equal(imctl_selection_set_earliest(s), 0);
    assert_int_equal(imctl_selection_set_consumer(s, "deploy"), 0);
    assert_int_equal(imctl_subscribe(c, s, log_reply, named("s")), 0);
    imctl_selection_free(s);
    imd_hears(line);
    imd_says("{\"id\":1,\"result\":{\"seq\":3}}\n{\"method\":\"MESSAGE\",\"params\":{\"seq\":7}}\n");
    client_logs("s:;MESSAGE 7;");
    comes_back_with(
        "\"id\":2,\"method\":\"subscribe\",\"params\":{\"since\":\"earliest\",\"consumer\":\"deploy\"}}");
}

static void the_last_that_imd_agreed_to_counts(void **state)
{
    subscribe("{\"since\":1}", "\"id\":1,\"method\":\"subscribe\",\"params\":{\"since\":1}}",
              "{\"id\":1,\"result\":{\"seq\":1}}\n");
    subscribe("{\"since\":2}", "\"id\":2,\"method\":\"subscribe\",\"params\":{\"since\":2}}",
              "{\"id\":2,\"result\":{\"seq\":2}}\n");
    assert_int_equal(imctl_call(c, "subscribe", "{\"since\":3}", log_reply, named("busy")), 0);
    assert_int_equal(imctl_call(c, "subscribe", "{\"since\":4}", log_reply, named("lost")), 0);
    imd_hears("\"id\":3,\"method\":\"subscribe\",\"params\":{\"since\":3}}");
    imd_hears("\"id\":4,\"method\":\"subscribe\",\"params\":{\"since\":4}}");
    imd_says("{\"id\":3,\"error\":{\"code\":-75}}\n");
    client_logs("busy:busy;");
    imd_hangs_up();
    client_logs("lost:unknown;lost -104;");
    imd_accepts();
    imd_hears("\"id\":5,\"method\":\"subscribe\",\"params\":{\"since\":2}}");
}

static void who_wants_no_events_gets_none(void **state)
{
    subscribe(NULL, "\"id\":1,\"method\":\"subscribe\"}", "{\"id\":1,\"result\":{\"seq\":1}}\n");
    assert_int_equal(imctl_call(c, "unsubscribe", NULL, log_reply, named("u")), 0);
    imd_hears("\"id\":2,\"method\":\"unsubscribe\"}");
    imd_says("{\"id\":2,\"result\":{}}\n");
    client_logs("u:;");
    comes_back_with("\"id\":3,\"method\":\"hello\"}");
    imd_says("{\"id\":3,\"result\":{}}\n");
    client_logs("back;");

    subscribe(NULL, "\"id\":4,\"method\":\"subscribe\"}", "{\"id\":4,\"result\":{\"seq\":1}}\n");
    assert_int_equal(imctl_call(c, "unsubscribe", NULL, log_reply, named("u")), 0);
    imd_hears("\"id\":5,\"method\":\"unsubscribe\"}");
    imd_hangs_up(); /* whether it came to that or not */
    client_logs("u:unknown;lost -104;");
    imd_accepts();
    imd_hears("\"id\":6,\"method\":\"hello\"}");
}

static void answers_may_come_in_any_order(void **state)
{
    assert_int_equal(imctl_call(c, "subscribe", NULL, log_reply, named("s")), 0);
    assert_int_equal(imctl_call(c, "unsubscribe", NULL, log_reply, named("u")), 0);
    imd_hears("\"id\":1,\"method\":\"subscribe\"}");
    imd_hears("\"id\":2,\"method\":\"unsubscribe\"}");
    imd_says("{\"id\":2,\"result\":{}}\n{\"id\":1,\"result\":{\"seq\":1}}\n");
    client_logs("u:;s:;");
    comes_back_with("\"id\":3,\"method\":\"hello\"}");
}

/* ---- While imd is away ---- */

static void a_refused_return_is_tried_again(void **state)
{
    static const char *const refusals[] = {
        "{\"id\":2,\"error\":{\"code\":-80,\"data\":{\"reason\":\"conflict\"}}}\n",
        "{\"id\":null,\"error\":{\"code\":-75,\"data\":{\"reason\":\"busy\",\"limit\":\"MaxClients\"}}}\n",
        "hello\n",
    };
    char line[128];
    subscribe(NULL, "\"id\":1,\"method\":\"subscribe\"}", "{\"id\":1,\"result\":{\"seq\":9}}\n");
    imd_hangs_up();
    client_logs("lost -104;");
    for (int i = 0; i < 3; i++) {
        imd_accepts();
        snprintf(line, sizeof(line), "\"id\":%d,\"method\":\"subscribe\",\"params\":{\"since\":9}}", i + 2);
        imd_hears(line);
        imd_says(refusals[i]);
        while (recv(imd, line, 1, MSG_DONTWAIT) != 0) /* the client hangs up */
            client_step();
        assert_in_range(imctl_timeout(c), (100 << i) + 1, 200 << i);
        logged(i == 0 ? "lost -16;" : ""); /* told once: it is there, and refuses */
        close(imd);
    }
    imd_accepts();
    imd_hears("\"id\":5,\"method\":\"subscribe\",\"params\":{\"since\":9}}");
    logged("");
    imd_says("{\"id\":5,\"result\":{\"seq\":9}}\n");
    client_logs("back;");
    imd_hangs_up();
    client_logs("lost -104;");
    assert_in_range(imctl_timeout(c), 0, 100); /* soon again */
}

/* A history of its own, with lower numbers: all of it is new. */
static void another_history_is_taken_from_its_start(void **state)
{
    subscribe(NULL, "\"id\":1,\"method\":\"subscribe\"}", "{\"id\":1,\"result\":{\"seq\":9}}\n");
    imd_hangs_up();
    client_logs("lost -104;");
    imd_accepts();
    imd_hears("\"id\":2,\"method\":\"subscribe\",\"params\":{\"since\":9}}");
    imd_says("{\"id\":2,\"error\":{\"code\":-32602,\"data\":{\"reason\":\"invalid_params\"}}}\n");
    client_logs("lost -16;");
    close(imd);
    imd_accepts();
    imd_hears("\"id\":3,\"method\":\"subscribe\",\"params\":{\"since\":\"earliest\"}}");
    imd_says("{\"id\":3,\"result\":{\"seq\":2}}\n");
    client_logs("back;");
    imd_hangs_up();
    client_logs("lost -104;");
    imd_accepts();
    imd_hears("\"id\":4,\"method\":\"subscribe\",\"params\":{\"since\":2}}");
}

static void it_is_tried_less_and_less_often(void **state)
{
    static const int delays[] = {100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000};
    imd_goes();
    client_logs("lost -104;");
    for (size_t i = 0; i < sizeof(delays) / sizeof(delays[0]); i++) {
        assert_in_range(imctl_timeout(c), delays[i] / 2, delays[i]);
        assert_int_equal(imctl_dispatch(c), 0); /* too early */
        assert_in_range(imctl_timeout(c), delays[i] / 2, delays[i]);
        c->again->due = clock_ms();
        assert_int_equal(imctl_dispatch(c), 0);
    }
    imd_comes();
    c->again->due = clock_ms();
    imd_accepts();
    imd_hears("\"id\":1,\"method\":\"hello\"}");
    logged("");
}

static size_t open_files(void)
{
    size_t count = 0;
    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* Tries to send this file; what comes of it. */
static int send_file(int fd)
{
    struct imctl_message *m = imctl_message_json("{}");
    assert_int_equal(imctl_message_attach_fd(m, "message", fd), 0);
    int error = imctl_send(c, m, log_reply, named("file"));
    imctl_message_free(m);
    return error;
}

static void files_of_a_lost_connection_are_closed(void **state)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    size_t before = open_files();
    assert_int_equal(send_file(fd), 0); /* not written yet */
    imd_hangs_up();
    client_logs("file:not_connected;lost -104;");
    assert_int_equal(open_files(), before - 2); /* the two ends */
    assert_int_equal(send_file(fd), -ENOTCONN);
    assert_int_equal(open_files(), before - 2);
    close(fd);
}

static void no_descriptor_stays_behind(void **state)
{
    size_t before = open_files();
    char answer[32];
    for (int i = 0; i < 3; i++) {
        imd_hangs_up();
        client_logs("lost -104;");
        assert_int_equal(open_files(), before - 2);
        c->again->due = clock_ms();
        imd_accepts();
        assert_int_equal(open_files(), before);
        snprintf(answer, sizeof(answer), "{\"id\":%d,\"result\":{}}\n", i + 1);
        imd_says(answer);
        client_logs("back;");
    }
    imd_hangs_up();
    client_logs("lost -104;");
    imctl_close(c); /* while it is away */
    c = NULL;
    assert_int_equal(open_files(), before - 3);
}

/* ---- The event loop ---- */

static bool ready(void)
{
    struct pollfd p = {imctl_fd(c), POLLIN, 0};
    return poll(&p, 1, 0) == 1;
}

/* Who watches the descriptor for reading misses nothing, whenever requests are made. */
static void the_descriptor_tells_all(void **state)
{
    assert_false(ready());
    assert_int_equal(imctl_events(c), POLLIN);
    assert_int_equal(imctl_call(c, "a", NULL, log_reply, named("a")), 0);
    assert_int_equal(imctl_events(c), POLLIN);
    assert_true(ready());
    assert_int_equal(imctl_dispatch(c), 0);
    assert_false(ready());
    imd_says("{\"id\":1,\"result\":{}}\n");
    assert_true(ready());
    assert_int_equal(imctl_dispatch(c), 0);
    logged("a:;");
    assert_false(ready());
    imd_hangs_up();
    assert_true(ready());
    assert_int_equal(imctl_dispatch(c), 0);
    assert_false(ready());
    logged("lost -104;");
}

static void close_on_lost(struct imctl *connection, int error, void *userdata)
{
    log_change(connection, error, userdata);
    if (error < 0)
        imctl_close(connection);
}

static void close_on_back(struct imctl *connection, int error, void *userdata)
{
    log_change(connection, error, userdata);
    if (error == 0)
        imctl_close(connection);
}

static int client_end(void)
{
    int error = 0;
    for (int64_t end = clock_ms() + PATIENCE_MS; error == 0 && clock_ms() < end;) {
        struct pollfd p = {imctl_fd(c), POLLIN, 0};
        poll(&p, 1, 5);
        error = imctl_dispatch(c);
    }
    c = NULL;
    return error;
}

static void changed_may_close(void **state)
{
    assert_int_equal(imctl_set_reconnect(c, close_on_lost, NULL), 0);
    assert_int_equal(imctl_call(c, "a", NULL, log_reply, named("a")), 0);
    imd_hears("\"id\":1,\"method\":\"a\"}");
    imd_hangs_up();
    assert_int_equal(client_end(), -ECANCELED);
    logged("a:unknown;lost -104;");
}

static void changed_may_close_when_it_is_back(void **state)
{
    assert_int_equal(imctl_set_reconnect(c, close_on_back, NULL), 0);
    comes_back_with("\"id\":1,\"method\":\"hello\"}");
    imd_says("{\"id\":1,\"result\":{}}\n{\"method\":\"MESSAGE\",\"params\":{\"seq\":2}}\n");
    assert_int_equal(client_end(), -ECANCELED);
    logged("back;");
}

static void close_in_callback(struct imctl *connection, const struct imctl_reply *r, void *name)
{
    log_reply(connection, r, name);
    imctl_close(connection);
}

/* Then nobody is told that it was lost. */
static void who_is_answered_may_close(void **state)
{
    assert_int_equal(imctl_call(c, "a", NULL, close_in_callback, named("a")), 0);
    assert_int_equal(imctl_call(c, "b", NULL, log_reply, named("b")), 0);
    imd_hears("\"id\":1,\"method\":\"a\"}");
    imd_hangs_up();
    assert_int_equal(client_end(), -ECANCELED);
    logged("a:unknown;b:unknown;");
}

static void only_what_has_a_path_comes_back(void **state)
{
    struct imctl *other = NULL;
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_int_equal(imctl_open_fd(pair[0], &other), 0);
    assert_int_equal(imctl_set_reconnect(other, NULL, NULL), -EINVAL);
    assert_int_equal(imctl_fd(other), pair[0]);
    imctl_close(other);
    close(pair[1]);
    assert_int_equal(imctl_set_reconnect(c, NULL, NULL), 0); /* nobody need be told */
    imd_hangs_up();
    imd_accepts();
    imd_hears("\"id\":1,\"method\":\"hello\"}");
    imd_says("{\"id\":1,\"result\":{}}\n");
    while (imctl_call(c, "a", NULL, log_reply, named("a")) < 0)
        client_step();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_waits_is_answered_and_never_sent_again),
        TEST(callbacks_may_ask),
        TEST(blocking_calls_end_or_go_on),
        TEST(goes_on_behind_the_last_event),
        TEST(goes_on_from_where_it_began),
        TEST(events_that_nobody_took_yet_are_not_asked_for_again),
        TEST(a_consumer_goes_on_from_what_it_acked),
        TEST(the_last_that_imd_agreed_to_counts),
        TEST(who_wants_no_events_gets_none),
        TEST(answers_may_come_in_any_order),
        TEST(a_refused_return_is_tried_again),
        TEST(another_history_is_taken_from_its_start),
        TEST(it_is_tried_less_and_less_often),
        TEST(files_of_a_lost_connection_are_closed),
        TEST(no_descriptor_stays_behind),
        TEST(the_descriptor_tells_all),
        TEST(changed_may_close),
        TEST(changed_may_close_when_it_is_back),
        TEST(who_is_answered_may_close),
        TEST(only_what_has_a_path_comes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
