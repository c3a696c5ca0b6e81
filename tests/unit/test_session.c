/*
 * session: the state machine alone, with a transport and a listener that write down what they are asked. Time
 * is a number that the tests set.
 */
#include "session.h"

#include "encode.h"
#include "json_writer.h"
#include "scan.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct world {
    struct session *session;
    struct session_time time;
    uint64_t random;
    char log[4096]; /* what was asked and told, one word or line each, separated by ' ' */
    uint8_t frame[4096];
    size_t frame_len;
    bool refuses_append; /* the transport is not open */
    char body[4096];
    struct json_writer writer;
    struct scan line;
    char text[1024];
    const uint8_t *delivered; /* the frame that is being told */
    size_t delivered_len;
    bool no_memory;                 /* for it to be taken */
    struct storage_attach *storing; /* what the storage has; NULL: nothing */
    bool storage_busy;
    uint64_t heard_ms;
};

static struct world *the_world;

static void note(const char *format, ...)
{
    va_list args;
    size_t used = strlen(the_world->log);

    va_start(args, format);
    vsnprintf(the_world->log + used, sizeof the_world->log - used, format, args);
    va_end(args);
}

static void assert_log(struct world *w, const char *expected)
{
    assert_string_equal(w->log, expected);
    w->log[0] = '\0';
}

/* ---- the fake transport ---- */

static void fake_open(void *self)
{
    note("open ");
}

static uint8_t *fake_reserve(void *self, size_t n)
{
    return n <= sizeof the_world->frame ? the_world->frame : NULL;
}

static void fake_commit(void *self, size_t n)
{
    the_world->frame_len = n;
    if (n)
        note("frame ");
}

static bool fake_append(void *self, struct send_block *b, size_t len)
{
    if (the_world->refuses_append)
        return false;
    free(b);
    note("append(%zu) ", len);
    return true;
}

static bool fake_congested(void *self)
{
    return false;
}

static void fake_ping(void *self)
{
    note("ping ");
}

static void fake_close(void *self, unsigned code, enum link_reason reason)
{
    note("close(%u,%s) ", code, link_reason_word(reason));
}

static void fake_abort(void *self, enum link_reason reason)
{
    note("abort(%s) ", link_reason_word(reason));
}

static void fake_pause(void *self, bool on)
{
    note(on ? "pause " : "go ");
}

static uint8_t *fake_take(void *self)
{
    uint8_t *copy = the_world->no_memory ? NULL : malloc(the_world->delivered_len);

    return copy ? memcpy(copy, the_world->delivered, the_world->delivered_len) : NULL;
}

static uint64_t fake_heard(void *self)
{
    return the_world->heard_ms;
}

static uint64_t fake_clock(void *self)
{
    return the_world->time.now_ms * 1000;
}

static uint64_t fake_random(void *self)
{
    return the_world->random;
}

static struct transport_counters fake_counters(void *self)
{
    return (struct transport_counters){0};
}

/* ---- the fake hub ---- */

static struct json_writer *fake_begin(void *self, size_t hint)
{
    json_writer_init(&the_world->writer, the_world->body, sizeof the_world->body);
    return &the_world->writer;
}

static void fake_publish(void *self, enum event_kind kind, const struct event_fields *f)
{
    note("%s(%.*s) ", event_kind_word(kind), (int)json_writer_length(&the_world->writer), the_world->body);
}

static void fake_abandon(void *self)
{
    note("dropped ");
}

static void fake_lost(void *self, const char *reason)
{
    note("lost(%s) ", reason);
}

/* A caller with a name. The world has as many as a test can need. */
struct caller {
    struct link_call link;
    char name[160];
};

static void fake_answered(struct link_call *call, const struct link_answer *a)
{
    static const char *const outcomes[] = {"acked", "rejected", "unknown"};

    note("%s:%s(%.*s) ", ((const struct caller *)call)->name, outcomes[a->outcome], (int)a->envelope_len,
         a->envelope ? a->envelope : "");
}

static void fake_status_changed(void *self)
{
    char text[512];
    struct json_writer w;

    if (!the_world->session)
        return;
    json_writer_init(&w, text, sizeof text);
    session_write_status(the_world->session, &w, false, the_world->time);
    note("[%.*s] ", (int)json_writer_length(&w), text);
}

static void fake_relieved(void *self)
{
    note("relieved ");
}

static const struct session_transport TRANSPORT = {.open = fake_open,
                                                   .reserve = fake_reserve,
                                                   .commit = fake_commit,
                                                   .append = fake_append,
                                                   .congested = fake_congested,
                                                   .ping = fake_ping,
                                                   .close = fake_close,
                                                   .abort = fake_abort,
                                                   .take = fake_take,
                                                   .pause = fake_pause,
                                                   .heard_ms = fake_heard,
                                                   .clock_us = fake_clock,
                                                   .random = fake_random,
                                                   .counters = fake_counters};

/* ---- the fake storage ---- */

static int fake_post(void *self, struct storage_request *r)
{
    if (the_world->storage_busy)
        return -EAGAIN;
    assert_null(the_world->storing);
    assert_int_equal(r->op, STORAGE_ATTACH);
    the_world->storing = (struct storage_attach *)r;
    note("store(%u) ", the_world->storing->count);
    return 0;
}

static const struct storage STORAGE = {.post = fake_post};

/* All but the first `unstored` become files, named A, B … for their first bytes. */
static void storage_answers(struct world *w, unsigned unstored)
{
    struct storage_attach *a = w->storing;

    w->storing = NULL;
    for (unsigned i = 0; i < a->count; i++) {
        a->bins[i].stored = i >= unstored;
        snprintf(a->bins[i].sha256, sizeof a->bins[i].sha256, "%c", a->bytes[a->bins[i].at] - 'a' + 'A');
    }
    a->folder = "/f\"";
    snprintf(a->detail, sizeof a->detail, "full");
    a->request.error = unstored ? ERROR_STORAGE : ERROR_NONE;
    a->request.done(&a->request);
}

static const struct link_listener LISTENER = {.begin = fake_begin,
                                              .publish = fake_publish,
                                              .abandon = fake_abandon,
                                              .lost = fake_lost,
                                              .status_changed = fake_status_changed,
                                              .relieved = fake_relieved};

static const char *const SIGNALS[] = {"bye", "kicked", NULL};
static const uint16_t CODES[] = {4001, 4002};

static const struct session_options OPTIONS = {.url = "ws://x/",
                                               .user_id = "me",
                                               .ping_gap_ms = 6000,
                                               .ping_timeout_ms = 12000,
                                               .reconnect_min_ms = 500,
                                               .reconnect_max_ms = 30000,
                                               .reconnect_stable_ms = 10000,
                                               .ack_timeout_ms = 30000,
                                               .disconnect_signals = SIGNALS,
                                               .no_reconnect_codes = CODES,
                                               .no_reconnect_count = 2,
                                               .pending_max = 4,
                                               .queued_max = 2,
                                               .message_max = 2000,
                                               .inline_binary = 1000};

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);

    the_world = w;
    w->time = (struct session_time){1000, 1700000000000};
    w->random = UINT64_MAX;
    scan_init(&w->line);
    assert_int_equal(session_new(&w->session, &OPTIONS, &TRANSPORT, &LISTENER, w->time), 0);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    session_free(w->session);
    scan_deinit(&w->line);
    free(w);
    return 0;
}

static void connect_now(struct world *w)
{
    session_connect(w->session, w->time);
    session_opened(w->session, w->time);
    w->log[0] = '\0';
}

static void lose(struct world *w, enum link_reason reason, unsigned code)
{
    struct transport_end end = {.reason = reason, .close_code = code, .was_open = true};

    session_closed(w->session, &end, w->time);
}

static void refuse(struct world *w, enum link_reason reason)
{
    struct transport_end end = {.reason = reason, .detail = "what happened"};

    session_closed(w->session, &end, w->time);
}

static void tick_at(struct world *w, uint64_t ms)
{
    w->time.now_ms = ms;
    session_tick(w->session, w->time);
}

static enum error send_text(struct world *w, const char *call, const char *message, uint64_t timeout)
{
    static struct caller callers[64];
    static unsigned next;
    struct caller *c = &callers[next++ % 64];
    struct link_send s = {.line = &w->line, .timeout_ms = timeout, .call = &c->link};

    c->link.answered = fake_answered;
    snprintf(c->name, sizeof c->name, "%s", call);
    snprintf(w->text, sizeof w->text, "%s\n", message);
    assert_int_equal(scan_text(&w->line, w->text, strlen(message), SCAN_DEPTH_MAX), SCAN_OK);
    return session_send(w->session, &s, w->time);
}

static enum error send_id(struct world *w, const char *id)
{
    char message[640];

    snprintf(message, sizeof message, "{\"messageId\":\"%s\"}", id);
    return send_text(w, id, message, 0);
}

/* A frame {"code":c,"data":{"messageType":type,"messageId":id,["signalName":s]}} of short strings. */
static void receive(struct world *w, int code, const char *type, const char *id, const char *signal)
{
    uint8_t f[256];
    size_t n = 0;
    const char *pairs[] = {"messageType", type, "messageId", id, "signalName", signal};
    unsigned count = (type != NULL) + (id != NULL) + (signal != NULL);

    f[n++] = 0x82;
    f[n++] = 0xa4;
    memcpy(f + n, "code", 4);
    n += 4;
    f[n++] = (uint8_t)code;
    f[n++] = 0xa4;
    memcpy(f + n, "data", 4);
    n += 4;
    f[n++] = (uint8_t)(0x80 | count);
    for (unsigned i = 0; i < 6; i += 2) {
        if (!pairs[i + 1])
            continue;
        for (unsigned k = i; k < i + 2; k++) {
            size_t len = strlen(pairs[k]);

            if (len > 31)
                f[n++] = 0xd9;
            f[n++] = (uint8_t)(len > 31 ? len : 0xa0 | len);
            memcpy(f + n, pairs[k], len);
            n += len;
        }
    }
    session_message(w->session, f, n, w->time);
}

/* A frame {"code":0,"data":{"messageId":id,"x":[bins]}}; `bins` are words. */
static void receive_bins(struct world *w, const char *id, const char *bins)
{
    uint8_t f[512] = "\x82\xa4"
                     "code"
                     "\0"
                     "\xa4"
                     "data"
                     "\x82\xa9messageId";
    size_t n = strlen("..code") + 1 +
               strlen(".data"
                      ".."
                      "messageId");
    size_t count_at;

    f[n++] = (uint8_t)(0xa0 | strlen(id));
    memcpy(f + n, id, strlen(id));
    n += strlen(id);
    memcpy(f + n, "\xa1x", 2);
    count_at = n + 2;
    f[count_at] = 0x90;
    n += 3;
    for (const char *at = bins; *at; at += strspn(at, " ")) {
        size_t len = strcspn(at, " ");

        f[n++] = 0xc4;
        f[n++] = (uint8_t)len;
        memcpy(f + n, at, len);
        n += len;
        at += len;
        f[count_at]++;
    }
    w->delivered = f;
    w->delivered_len = n;
    session_message(w->session, f, n, w->time);
    memset(f, 0xc1, sizeof f); /* it is not the session's any more */
}

/* ---- connecting ---- */

static void test_connects_and_reconnects_with_backoff(void **state)
{
    struct world *w = *state;

    session_connect(w->session, w->time);
    assert_log(w, "open [\"state\":\"connecting\",\"time\":1700000000000] "); /* nobody has asked for it */
    refuse(w, LINK_REASON_REFUSED);
    assert_log(w, "[\"state\":\"waiting\",\"reason\":\"refused\",\"attempt\":1,\"nextRetryMs\":500,\"time\":"
                  "1700000000000] ");
    assert_int_equal(session_deadline(w->session), 1500);
    tick_at(w, 1499);
    assert_log(w, "");
    tick_at(w, 1500);
    assert_log(
        w, "open [\"state\":\"connecting\",\"reason\":\"refused\",\"attempt\":1,\"time\":1700000000000] ");
    refuse(w, LINK_REASON_REFUSED);
    assert_int_equal(session_deadline(w->session), 2500);
    assert_log(w, "[\"state\":\"waiting\",\"reason\":\"refused\",\"attempt\":2,\"nextRetryMs\":1000,\"time\":"
                  "1700000000000] ");
    for (int i = 0; i < 50; i++) { /* for ever */
        tick_at(w, session_deadline(w->session));
        refuse(w, LINK_REASON_UNREACHABLE);
    }
    assert_int_equal(session_deadline(w->session) - w->time.now_ms, 30000);
}

static void test_backoff_is_reset_only_when_stable(void **state)
{
    struct world *w = *state;

    connect_now(w);
    w->time.now_ms += 9999;
    lose(w, LINK_REASON_CLOSED, 0);
    assert_int_equal(session_deadline(w->session) - w->time.now_ms, 500);
    tick_at(w, session_deadline(w->session));
    session_opened(w->session, w->time);
    w->time.now_ms += 9999;
    lose(w, LINK_REASON_CLOSED, 0);
    assert_int_equal(session_deadline(w->session) - w->time.now_ms, 1000);
    tick_at(w, session_deadline(w->session));
    session_opened(w->session, w->time);
    w->time.now_ms += 10000;
    lose(w, LINK_REASON_CLOSED, 0);
    assert_int_equal(session_deadline(w->session) - w->time.now_ms, 500);
}

static void test_unauthorized_is_slow_but_endless(void **state)
{
    struct world *w = *state;

    session_connect(w->session, w->time);
    w->random = 0;
    refuse(w, LINK_REASON_UNAUTHORIZED);
    assert_int_equal(session_deadline(w->session) - w->time.now_ms, 15000);
    w->random = UINT64_MAX;
    tick_at(w, session_deadline(w->session));
    refuse(w, LINK_REASON_UNAUTHORIZED);
    assert_int_equal(session_deadline(w->session) - w->time.now_ms, 30000);
}

static void test_network_change_cuts_the_wait_short(void **state)
{
    struct world *w = *state;

    session_connect(w->session, w->time);
    for (int i = 0; i < 9; i++) {
        tick_at(w,
                session_deadline(w->session) == UINT64_MAX ? w->time.now_ms : session_deadline(w->session));
        refuse(w, LINK_REASON_UNREACHABLE);
    }
    assert_int_equal(session_deadline(w->session) - w->time.now_ms, 30000);
    w->time.now_ms += 100;
    session_network_changed(w->session, w->time);
    assert_int_equal(session_deadline(w->session) - w->time.now_ms,
                     400); /* not more often than ReconnectMin */
    w->time.now_ms += 1000;
    session_network_changed(w->session, w->time);
    assert_int_equal(session_deadline(w->session), w->time.now_ms - 600);
    w->log[0] = '\0';
    session_tick(w->session, w->time);
    assert_memory_equal(w->log, "open ", 5);
}

static void test_network_change_probes_a_live_link(void **state)
{
    struct world *w = *state;

    connect_now(w);
    session_network_changed(w->session, w->time);
    session_tick(w->session, w->time);
    assert_log(w, "frame ping ");
}

static void test_never_after_disconnect(void **state)
{
    struct world *w = *state;

    connect_now(w);
    session_disconnect(w->session, LINK_REASON_REQUESTED, w->time);
    assert_log(w, "close(1000,requested) "
                  "[\"state\":\"disconnected\",\"reason\":\"requested\",\"time\":1700000000000] ");
    lose(w, LINK_REASON_REQUESTED, 0);
    assert_log(w, "");
    assert_int_equal(session_deadline(w->session), UINT64_MAX);
    session_network_changed(w->session, w->time);
    assert_int_equal(session_deadline(w->session), UINT64_MAX);
    session_connect(w->session, w->time);
    assert_log(w, "open [\"state\":\"connecting\",\"reason\":\"requested\",\"time\":1700000000000] ");
}

static void test_connect_while_still_closing(void **state)
{
    struct world *w = *state;

    connect_now(w);
    session_disconnect(w->session, LINK_REASON_REQUESTED, w->time);
    w->log[0] = '\0';
    session_connect(w->session, w->time);
    assert_log(w, "[\"state\":\"connecting\",\"reason\":\"requested\",\"time\":1700000000000] ");
    lose(w, LINK_REASON_REQUESTED, 0);
    assert_log(w, "open ");
}

static void test_disconnect_while_waiting(void **state)
{
    struct world *w = *state;

    session_connect(w->session, w->time);
    refuse(w, LINK_REASON_DNS);
    w->log[0] = '\0';
    session_disconnect(w->session, LINK_REASON_REQUESTED, w->time);
    assert_log(w,
               "[\"state\":\"disconnected\",\"reason\":\"requested\",\"attempt\":1,\"time\":1700000000000] ");
    assert_int_equal(session_deadline(w->session), UINT64_MAX);
}

static void test_reconnect(void **state)
{
    struct world *w = *state;

    connect_now(w);
    session_reconnect(w->session, w->time);
    assert_log(
        w,
        "close(1000,requested) [\"state\":\"connecting\",\"reason\":\"requested\",\"time\":1700000000000] ");
    lose(w, LINK_REASON_REQUESTED, 0);
    assert_log(w, "open ");
}

static void test_close_codes(void **state)
{
    struct world *w = *state;

    connect_now(w);
    lose(w, LINK_REASON_CLOSED, 4002);
    assert_log(w, "[\"state\":\"disconnected\",\"reason\":\"close_code\",\"time\":1700000000000] ");
    assert_int_equal(session_deadline(w->session), UINT64_MAX);
    connect_now(w);
    lose(w, LINK_REASON_CLOSED, 4003);
    assert_int_not_equal(session_deadline(w->session), UINT64_MAX);
}

static void test_disconnect_signal(void **state)
{
    struct world *w = *state;

    connect_now(w);
    receive(w, 0, "SignalMsg", NULL, "hello");
    receive(w, 0, "TxtMsg", NULL, "kicked"); /* no signal */
    assert_log(w, "MESSAGE(\"code\":0,\"data\":{\"messageType\":\"SignalMsg\",\"signalName\":\"hello\"}) "
                  "MESSAGE(\"code\":0,\"data\":{\"messageType\":\"TxtMsg\",\"signalName\":\"kicked\"}) ");
    receive(w, 0, "SignalMsg", NULL, "kicked");
    assert_log(w, "MESSAGE(\"code\":0,\"data\":{\"messageType\":\"SignalMsg\",\"signalName\":\"kicked\"}) "
                  "close(1000,server_signal) "
                  "[\"state\":\"disconnected\",\"reason\":\"server_signal\",\"time\":1700000000000] ");
    lose(w, LINK_REASON_SERVER_SIGNAL, 0);
    assert_int_equal(session_deadline(w->session), UINT64_MAX);
}

/* ---- sends ---- */

static void test_frame_bytes(void **state)
{
    static const char expected[] =
        "\x87\xa9messageId\xa1"
        "a\xabmessageType\xa6TxtMsg\xb0"
        "conversationType\x00"
        "\xa4"
        "from\xa2me\xa2to\xa6server\xa8sentTime\xcf\x00\x00\x01\x8b\xcf\xe5\x68\x00"
        "\xb0messageDirection\x01";
    struct world *w = *state;

    connect_now(w);
    assert_int_equal(send_id(w, "a"), ERROR_NONE);
    assert_int_equal(w->frame_len, sizeof expected - 1);
    assert_memory_equal(w->frame, expected, sizeof expected - 1);
}

static void test_ack_and_duplicate(void **state)
{
    struct world *w = *state;

    connect_now(w);
    assert_int_equal(send_id(w, "a"), ERROR_NONE);
    receive(w, 0, NULL, "a", NULL);
    assert_log(w, "frame a:acked(\"code\":0,\"data\":{\"messageId\":\"a\"}) "
                  "SENT(\"code\":0,\"data\":{\"messageId\":\"a\"}) ");
    receive(w, 0, NULL, "a", NULL);
    assert_log(w, "dropped ");
    assert_int_equal(send_id(w, "a"), ERROR_CONFLICT);
}

static void test_rejection(void **state)
{
    struct world *w = *state;

    connect_now(w);
    assert_int_equal(send_id(w, "a"), ERROR_NONE);
    receive(w, 7, NULL, "a", NULL);
    assert_log(w, "frame a:rejected(\"code\":7,\"data\":{\"messageId\":\"a\"}) "
                  "SENT(\"code\":7,\"data\":{\"messageId\":\"a\"}) ");
}

static void test_timeout_and_late_ack(void **state)
{
    struct world *w = *state;

    connect_now(w);
    assert_int_equal(send_text(w, "b", "{\"messageId\":\"b\"}", 2000), ERROR_NONE);
    assert_int_equal(send_text(w, "a", "{\"messageId\":\"a\"}", 1000), ERROR_NONE);
    assert_int_equal(session_deadline(w->session), 2000);
    tick_at(w, 2000);
    assert_log(w, "frame frame a:unknown() ");
    receive(w, 0, NULL, "a", NULL); /* late: nobody waits, but SENT tells */
    assert_log(w, "SENT(\"code\":0,\"data\":{\"messageId\":\"a\"}) ");
    receive(w, 0, NULL, "a", NULL);
    assert_log(w, "dropped ");
    tick_at(w, 3000);
    assert_log(w, "b:unknown() ");
    assert_int_equal(send_id(w, "b"), ERROR_NONE); /* a retry under the same id */
}

static void test_lost_link_answers_unknown(void **state)
{
    struct world *w = *state;

    connect_now(w);
    send_id(w, "a");
    send_id(w, "b");
    w->log[0] = '\0';
    lose(w, LINK_REASON_CLOSED, 1006);
    assert_memory_equal(w->log, "a:unknown() b:unknown() [\"state\":\"waiting\"", 42);
    assert_int_equal(send_id(w, "c"), ERROR_NOT_CONNECTED);
}

static void test_limits_of_a_send(void **state)
{
    struct world *w = *state;
    char message[600];

    assert_int_equal(send_id(w, "a"), ERROR_NOT_CONNECTED);
    connect_now(w);
    assert_int_equal(send_text(w, "x", "{\"to\":7}", 0), ERROR_INVALID_PARAMS);
    assert_int_equal(w->frame_len, 0);
    for (int i = 0; i < 4; i++) {
        snprintf(message, sizeof message, "%d", i);
        assert_int_equal(send_id(w, message), ERROR_NONE);
    }
    assert_int_equal(send_id(w, "5"), ERROR_BUSY);
    receive(w, 0, NULL, "0", NULL);
    assert_int_equal(send_id(w, "5"), ERROR_NONE);
}

/* ---- messages of the outbox ---- */

static enum error send_frame(struct world *w, struct caller *c, const char *id)
{
    struct outbox_message m = {.frame = (const uint8_t *)id, .frame_len = strlen(id)};

    m.entry.id_len = (uint16_t)strlen(id);
    memcpy(m.entry.id, id, m.entry.id_len);
    if (!c->link.answered)
        snprintf(c->name, sizeof c->name, "%s", id);
    c->link.answered = fake_answered;
    return session_send_frame(w->session, &m, &c->link);
}

static enum error compose(struct world *w, const char *message, struct link_frame *f, struct link_send *s)
{
    *s = (struct link_send){.line = &w->line};
    snprintf(w->text, sizeof w->text, "%s\n", message);
    assert_int_equal(scan_text(&w->line, w->text, strlen(message), SCAN_DEPTH_MAX), SCAN_OK);
    return session_compose(w->session, s, f, w->time);
}

/* The same bytes as a send's, whatever the state of the link. */
static void test_compose(void **state)
{
    struct world *w = *state;
    struct link_frame f;
    struct link_send s;
    char big[3000];

    assert_int_equal(compose(w, "{\"messageId\":\"a\"}", &f, &s), ERROR_NONE);
    assert_log(w, "");
    assert_int_equal(f.message_id_len, 1);
    assert_memory_equal(f.message_id, "a", 1);
    connect_now(w);
    assert_int_equal(send_id(w, "a"), ERROR_NONE);
    assert_int_equal(f.len, w->frame_len);
    assert_memory_equal(f.bytes, w->frame, f.len);
    free(f.block);
    session_shutdown(w->session, w->time.now_ms + 5000, w->time);
    assert_int_equal(compose(w, "{}", &f, &s), ERROR_NONE);
    assert_int_equal(f.message_id_len, 36);
    assert_memory_equal(f.message_id, "ffffffff-ffff-4fff-bfff-ffffffffffff", 36);
    assert_non_null(memmem(f.bytes, f.len, f.message_id, 36));
    free(f.block);
    assert_int_equal(compose(w, "{\"to\":7}", &f, &s), ERROR_INVALID_PARAMS);
    assert_non_null(strstr(s.detail, "to"));
    snprintf(big, sizeof big, "{\"k\":\"%0900d\"}", 0);
    assert_int_equal(compose(w, big, &f, &s), ERROR_NONE);
    free(f.block);
}

static void test_compose_keeps_max_message(void **state)
{
    struct session_options o = OPTIONS;
    struct world *w = *state;
    struct link_frame f;
    struct link_send s;

    assert_int_equal(compose(w, "{\"messageId\":\"a\"}", &f, &s), ERROR_NONE);
    o.message_max = f.len;
    free(f.block);
    session_configure(w->session, &o, w->time);
    assert_int_equal(compose(w, "{\"messageId\":\"a\"}", &f, &s), ERROR_NONE);
    free(f.block);
    assert_int_equal(compose(w, "{\"messageId\":\"ab\"}", &f, &s), ERROR_TOO_LARGE);
    assert_string_equal(s.detail, "the message is larger than MaxMessage");
}

/* A frame that was composed is sent as the message itself would have been, and belongs to the transport then.
 */
static void test_composed_is_sent(void **state)
{
    struct world *w = *state;
    struct caller c = {.name = "caller", .link.answered = fake_answered};
    struct link_send s;
    struct link_frame f;

    assert_int_equal(compose(w, "{\"messageId\":\"a\"}", &f, &s), ERROR_NONE);
    s.call = &c.link;
    assert_int_equal(session_send_composed(w->session, &s, &f, w->time), ERROR_NOT_CONNECTED);
    assert_non_null(f.block);
    connect_now(w);
    w->refuses_append = true;
    assert_int_equal(session_send_composed(w->session, &s, &f, w->time), ERROR_NOT_CONNECTED);
    assert_non_null(f.block);
    w->refuses_append = false;
    w->log[0] = '\0';
    assert_int_equal(session_send_composed(w->session, &s, &f, w->time), ERROR_NONE);
    assert_null(f.block);
    assert_non_null(strstr(w->log, "append("));
    w->log[0] = '\0';
    receive(w, 0, NULL, "a", NULL);
    assert_non_null(strstr(w->log, "caller"));
    assert_int_equal(compose(w, "{\"messageId\":\"a\"}", &f, &s), ERROR_NONE);
    s.call = &c.link;
    assert_int_equal(session_send_composed(w->session, &s, &f, w->time), ERROR_CONFLICT);
    free(f.block);
}

/* The places where its files are missing. */
static void test_compose_leaves_holes(void **state)
{
    struct world *w = *state;
    struct encode_files files = {.count = 2, .size = {3, 300}};
    struct link_send s = {.line = &w->line, .files = &files};
    struct link_frame f;
    static const char text[] = "{\"a\":{\"$fd\":1},\"b\":{\"$fd\":0}}";

    snprintf(w->text, sizeof w->text, "%s\n", text);
    assert_int_equal(scan_text(&w->line, w->text, strlen(text), SCAN_DEPTH_MAX), SCAN_OK);
    assert_int_equal(session_compose(w->session, &s, &f, w->time), ERROR_NONE);
    assert_int_equal(files.used, 2);
    assert_int_equal(files.holes[0].file, 1);
    assert_memory_equal(f.bytes + files.holes[0].at - 5,
                        "\xa1"
                        "a\xc5\x01\x2c",
                        5);
    assert_int_equal(files.holes[1].file, 0);
    assert_memory_equal(f.bytes + files.holes[1].at - 4,
                        "\xa1"
                        "b\xc4\x03",
                        4);
    free(f.block);
}

static void test_frame_is_acked(void **state)
{
    struct world *w = *state;
    struct caller c = {0};

    assert_int_equal(send_frame(w, &c, "q"), ERROR_NOT_CONNECTED);
    connect_now(w);
    assert_int_equal(send_frame(w, &c, "q"), ERROR_NONE);
    assert_int_equal(w->frame_len, 1);
    assert_memory_equal(w->frame, "q", 1);
    assert_int_equal(session_deadline(w->session), 7000); /* the ping: it has no deadline of its own */
    receive(w, 0, NULL, "q", NULL);
    assert_log(w, "frame q:acked(\"code\":0,\"data\":{\"messageId\":\"q\"}) "
                  "SENT(\"code\":0,\"data\":{\"messageId\":\"q\"}) ");
    receive(w, 0, NULL, "q", NULL);
    assert_log(w, "dropped ");
    assert_int_equal(send_id(w, "q"), ERROR_CONFLICT);
    assert_int_equal(w->frame_len, 0);
    assert_int_equal(send_frame(w, &c, "q"), ERROR_NONE); /* queued anew when the store has forgotten it */
    receive(w, 0, NULL, "q", NULL);
    assert_log(w, "frame q:acked(\"code\":0,\"data\":{\"messageId\":\"q\"}) "
                  "SENT(\"code\":0,\"data\":{\"messageId\":\"q\"}) ");
}

static void test_frame_again_is_one_send(void **state)
{
    struct world *w = *state;
    struct caller c = {0}, other = {0};

    connect_now(w);
    assert_int_equal(send_frame(w, &c, "q"), ERROR_NONE);
    assert_int_equal(send_frame(w, &c, "q"), ERROR_NONE);
    assert_int_equal(send_frame(w, &other, "q"), ERROR_CONFLICT);
    assert_int_equal(send_id(w, "q"), ERROR_CONFLICT);
    receive(w, 7, NULL, "q", NULL);
    assert_log(w, "frame frame q:rejected(\"code\":7,\"data\":{\"messageId\":\"q\"}) "
                  "SENT(\"code\":7,\"data\":{\"messageId\":\"q\"}) ");
    receive(w, 0, NULL, "q", NULL);
    assert_log(w, "dropped ");
}

static void test_frames_and_sends_have_each_their_limit(void **state)
{
    struct world *w = *state;
    struct caller c[3] = {0};

    connect_now(w);
    assert_int_equal(send_frame(w, &c[0], "q0"), ERROR_NONE);
    assert_int_equal(send_frame(w, &c[1], "q1"), ERROR_NONE);
    assert_int_equal(send_frame(w, &c[2], "q2"), ERROR_BUSY);
    for (const char *const *id = (const char *const[]){"a", "b", "c", "d", NULL}; *id; id++)
        assert_int_equal(send_id(w, *id), ERROR_NONE);
    assert_int_equal(send_id(w, "e"), ERROR_BUSY);
}

/* The outbox is told, sends again on the next link, and a late answer still ends it. */
static void test_frame_and_lost_link(void **state)
{
    struct world *w = *state;
    struct caller c[2] = {0};

    connect_now(w);
    send_frame(w, &c[0], "q0");
    send_frame(w, &c[1], "q1");
    send_id(w, "a");
    w->log[0] = '\0';
    lose(w, LINK_REASON_CLOSED, 1006);
    assert_memory_equal(w->log, "a:unknown() q0:unknown() q1:unknown() [", 39);
    assert_int_equal(send_frame(w, &c[0], "q0"), ERROR_NOT_CONNECTED);
    session_opened(w->session, w->time);
    assert_int_equal(send_frame(w, &c[0], "q0"), ERROR_NONE);
    w->log[0] = '\0';
    receive(w, 0, NULL, "q1", NULL);
    assert_log(w, "q1:acked(\"code\":0,\"data\":{\"messageId\":\"q1\"}) "
                  "SENT(\"code\":0,\"data\":{\"messageId\":\"q1\"}) ");
    receive(w, 0, NULL, "q0", NULL);
    assert_memory_equal(w->log, "q0:acked(", 9);
}

static void test_forgotten_frame_is_told_as_sent_only(void **state)
{
    struct world *w = *state;
    struct caller c = {0}, other = {0};

    connect_now(w);
    send_frame(w, &c, "q");
    w->log[0] = '\0';
    session_forget(w->session, "q", 1, &other.link);
    assert_int_equal(send_frame(w, &other, "q"), ERROR_CONFLICT); /* it still waits */
    session_forget(w->session, "q", 1, &c.link);
    session_forget(w->session, "never sent", 10, &c.link);
    receive(w, 0, NULL, "q", NULL);
    assert_log(w, "SENT(\"code\":0,\"data\":{\"messageId\":\"q\"}) ");
}

static void test_shutdown_waits_for_frames(void **state)
{
    struct world *w = *state;
    struct caller c[2] = {0};

    connect_now(w);
    send_frame(w, &c[0], "q0");
    send_frame(w, &c[1], "q1");
    assert_true(session_can_send(w->session));
    session_shutdown(w->session, w->time.now_ms + 5000, w->time);
    assert_false(session_can_send(w->session));
    assert_int_equal(send_frame(w, &c[0], "q0"), ERROR_NOT_CONNECTED);
    receive(w, 0, NULL, "q0", NULL);
    assert_int_equal(session_deadline(w->session), 6000);
    w->log[0] = '\0';
    tick_at(w, 6000);
    assert_log(w, "q1:unknown() close(1001,shutdown) ");
}

/* ---- heartbeat ---- */

/* The messageId of the frame that was sent last: the only str8 in it, 36 bytes. */
static void last_id(const struct world *w, char out[37])
{
    const uint8_t *at = memmem(w->frame, w->frame_len, "\xa9messageId\xd9\x24", 12);

    assert_non_null(at);
    memcpy(out, at + 12, 36);
    out[36] = '\0';
}

static void test_heartbeat_interval_and_rtt(void **state)
{
    struct world *w = *state;
    char id[37], text[1024];
    struct json_writer out;

    connect_now(w);
    assert_int_equal(session_deadline(w->session), 7000);
    tick_at(w, 6999);
    assert_log(w, "");
    tick_at(w, 7000);
    assert_log(w, "frame ping ");
    last_id(w, id);
    w->time.now_ms += 25;
    session_alive(w->session, w->time);
    receive(w, 0, "PingMsg", id, NULL);
    assert_log(w, "dropped ");
    json_writer_init(&out, text, sizeof text - 1);
    session_write_status(w->session, &out, true, w->time);
    *out.at = '\0';
    assert_string_equal(
        text, "\"state\":\"connected\",\"since\":1700000000000,\"url\":\"ws://x/\",\"userId\":\"me\","
              "\"pingGapMs\":6000,\"rttMs\":25.0,\"lastInboundMs\":0,\"pending\":0");
    tick_at(w, 13000);
    assert_log(w, "frame ping ");
}

static void test_half_open_link_is_cut(void **state)
{
    struct world *w = *state;

    connect_now(w);
    tick_at(w, 7000);
    w->log[0] = '\0';
    assert_int_equal(session_deadline(w->session), 13000);
    tick_at(w, 12999);
    assert_log(w, "");
    tick_at(w, 13000);
    assert_log(w, "abort(heartbeat) ");
    lose(w, LINK_REASON_HEARTBEAT, 0);
    assert_memory_equal(w->log, "[\"state\":\"waiting\",\"reason\":\"heartbeat\"", 39);
}

static void test_any_byte_keeps_the_link(void **state)
{
    struct world *w = *state;

    connect_now(w);
    for (uint64_t ms = 1000; ms < 100000; ms += 1000) {
        tick_at(w, ms);
        if (ms % 5000 == 0)
            session_alive(w->session, w->time);
    }
    assert_null(strstr(w->log, "abort"));
}

/* The kernel counts bytes that nobody was told of; they keep the link as long as if they had been told. */
static void test_bytes_that_were_not_told_keep_the_link(void **state)
{
    struct world *w = *state;
    uint64_t ms = 1000;

    connect_now(w);
    for (; ms <= 50000; ms += 100) {
        tick_at(w, ms);
        if (ms % 6000 == 2500)
            w->heard_ms = ms;
    }
    assert_int_equal(w->heard_ms, 44500);
    for (; !strstr(w->log, "abort"); ms += 100)
        tick_at(w, ms);
    assert_int_equal(w->time.now_ms, w->heard_ms + 12000);
}

static void test_paused_time_is_no_silence(void **state)
{
    struct world *w = *state;

    connect_now(w);
    tick_at(w, 7000);
    session_pause(w->session, true, w->time);
    tick_at(w, 40000);
    session_pause(w->session, false, w->time);
    session_tick(w->session, w->time);
    assert_null(strstr(w->log, "abort"));
}

/* After a stop of the whole process nobody can blame the server: a ping first gets its chance. */
static void test_a_stopped_process_asks_before_it_cuts(void **state)
{
    struct world *w = *state;

    connect_now(w);
    tick_at(w, 60000);
    assert_log(w, "frame ping ");
    tick_at(w, 65999);
    assert_log(w, "");
    tick_at(w, 66000);
    assert_log(w, "abort(heartbeat) ");
}

static void test_foreign_pings_are_dropped(void **state)
{
    struct world *w = *state;

    connect_now(w);
    receive(w, 0, "PingMsg", "somebody else's", NULL);
    receive(w, 0, "PingMsg", NULL, NULL);
    assert_log(w, "dropped dropped ");
}

/* ---- frames ---- */

static void test_what_is_a_message(void **state)
{
    struct world *w = *state;
    static const uint8_t notice[] = "\x82\xa6"
                                    "errMsg\xa5"
                                    "close\xa4"
                                    "code\x04";

    connect_now(w);
    receive(w, 0, "TxtMsg", "not ours", NULL);
    assert_log(w, "MESSAGE(\"code\":0,\"data\":{\"messageType\":\"TxtMsg\",\"messageId\":\"not ours\"}) ");
    session_message(w->session, notice, sizeof notice - 1, w->time);
    assert_log(w, "MESSAGE(\"errMsg\":\"close\",\"code\":4) ");
    session_message(w->session, (const uint8_t *)"\x2a", 1, w->time);
    assert_log(w, "MESSAGE(\"data\":42) ");
}

static void test_bad_frames_survive(void **state)
{
    struct world *w = *state;

    connect_now(w);
    session_message(w->session, (const uint8_t *)"\xc1", 1, w->time);
    session_message(w->session, (const uint8_t *)"", 0, w->time);
    session_text_message(w->session, 5);
    assert_log(w, "dropped dropped ");
    receive(w, 0, "TxtMsg", NULL, NULL);
    assert_log(w, "MESSAGE(\"code\":0,\"data\":{\"messageType\":\"TxtMsg\"}) ");
}

static void test_too_large_as_json_is_announced(void **state)
{
    struct world *w = *state;
    uint8_t nils[2000] = {0xdc, 1997 >> 8, 1997 & 255};

    connect_now(w);
    memset(nils + 3, 0xc0, 1997);
    session_message(w->session, nils, sizeof nils, w->time);
    assert_log(w, "dropped lost(too_large) ");
}

/* ---- the end ---- */

static void test_shutdown_waits_for_acks(void **state)
{
    struct world *w = *state;

    connect_now(w);
    send_id(w, "a");
    send_id(w, "b");
    w->log[0] = '\0';
    session_shutdown(w->session, w->time.now_ms + 5000, w->time);
    assert_log(w, "");
    assert_int_equal(send_id(w, "c"), ERROR_NOT_CONNECTED);
    receive(w, 0, NULL, "a", NULL);
    w->log[0] = '\0';
    tick_at(w, 5999);
    assert_log(w, "");
    tick_at(w, 6000);
    assert_log(w, "b:unknown() close(1001,shutdown) ");
    assert_false(session_finished(w->session));
    lose(w, LINK_REASON_SHUTDOWN, 0);
    assert_true(session_finished(w->session));
    assert_log(w, "");
}

static void test_shutdown_at_once(void **state)
{
    struct world *w = *state;

    connect_now(w);
    session_shutdown(w->session, w->time.now_ms + 5000, w->time);
    assert_log(w, "close(1001,shutdown) ");
    lose(w, LINK_REASON_SHUTDOWN, 0);
    assert_true(session_finished(w->session));
}

static void test_shutdown_while_waiting(void **state)
{
    struct world *w = *state;

    session_connect(w->session, w->time);
    refuse(w, LINK_REASON_DNS);
    session_shutdown(w->session, w->time.now_ms + 5000, w->time);
    assert_true(session_finished(w->session));
    assert_int_equal(session_deadline(w->session), UINT64_MAX);
}

/* ---- large binaries ---- */

#define LOOK "dropped " /* the first look at such a frame */
#define FILE_OF(name) "{\"$file\":\"/f\\\"/" name "\",\"size\":6,\"sha256\":\"" name "\"}"
#define BODY(id, bins) "\"code\":0,\"data\":{\"messageId\":\"" id "\",\"x\":[" bins "]}"
#define ABCDEF "{\"$bin\":\"YWJjZGVm\"}"

static void attach_now(struct world *w)
{
    struct session_options o = OPTIONS;

    o.inline_binary = 5;
    o.attachments = true;
    session_configure(w->session, &o, w->time);
    session_set_storage(w->session, &STORAGE);
    connect_now(w);
}

static void test_large_binaries_become_files(void **state)
{
    struct world *w = *state;

    attach_now(w);
    receive_bins(w, "m", "small abcdef b cdefgh");
    assert_log(w, LOOK "store(2) pause ");
    assert_int_equal(w->storing->bins[1].len, 6);
    storage_answers(w, 0);
    assert_log(w, ""); /* not from within the storage's call */
    assert_int_equal(session_deadline(w->session), 0);
    tick_at(w, 1001);
    assert_log(w, "MESSAGE(" BODY("m", "{\"$bin\":\"c21hbGw=\"}," FILE_OF(
                                           "A") ",{\"$bin\":\"Yg==\"}," FILE_OF("C")) ") go ");
    receive_bins(w, "m", "none large");
    assert_log(w, "MESSAGE(" BODY("m", "{\"$bin\":\"bm9uZQ==\"},{\"$bin\":\"bGFyZ2U=\"}") ") ");
    receive_bins(w, "n", "abcdef"); /* and again */
    assert_log(w, LOOK "store(1) pause ");
    storage_answers(w, 0);
    tick_at(w, 1002);
    assert_log(w, "MESSAGE(" BODY("n", FILE_OF("A")) ") go ");
}

static void test_what_cannot_be_a_file_is_inline(void **state)
{
    struct world *w = *state;

    attach_now(w);
    receive_bins(w, "m", "abcdef bcdefg");
    storage_answers(w, 1);
    tick_at(w, 1001);
    assert_log(w, LOOK "store(2) pause MESSAGE(" BODY("m", ABCDEF "," FILE_OF("B")) ") go ");
    w->storage_busy = true;
    receive_bins(w, "m", "abcdef");
    assert_log(w, LOOK "MESSAGE(" BODY("m", ABCDEF) ") ");
    w->storage_busy = false;
    w->no_memory = true;
    receive_bins(w, "m", "abcdef");
    assert_log(w, LOOK "MESSAGE(" BODY("m", ABCDEF) ") ");
}

static void test_no_attachments(void **state)
{
    struct world *w = *state;
    struct session_options o = OPTIONS;

    attach_now(w);
    o.inline_binary = 5;
    session_configure(w->session, &o, w->time);
    receive_bins(w, "m", "abcdef");
    assert_log(w, "MESSAGE(" BODY("m", ABCDEF) ") ");
}

/* An answer to a send waits as any message; its time does not run out meanwhile. */
static void test_an_answer_with_a_large_binary(void **state)
{
    struct world *w = *state;

    attach_now(w);
    send_text(w, "a", "{\"messageId\":\"a\"}", 100);
    receive_bins(w, "a", "abcdef");
    assert_log(w, "frame " LOOK "store(1) pause ");
    tick_at(w, 1500);
    assert_log(w, "");
    storage_answers(w, 0);
    tick_at(w, 1501);
    assert_log(w, "a:acked(" BODY("a", FILE_OF("A")) ") SENT(" BODY("a", FILE_OF("A")) ") go ");
}

/* The hub's pause and this one are one pause. */
static void test_two_reasons_to_pause(void **state)
{
    struct world *w = *state;

    attach_now(w);
    session_pause(w->session, true, w->time);
    receive_bins(w, "m", "abcdef");
    storage_answers(w, 0);
    tick_at(w, 1001);
    assert_log(w, "pause " LOOK "store(1) MESSAGE(" BODY("m", FILE_OF("A")) ") ");
    session_pause(w->session, false, w->time);
    assert_log(w, "go ");
    receive_bins(w, "m", "abcdef");
    session_pause(w->session, true, w->time);
    session_pause(w->session, false, w->time);
    assert_log(w, LOOK "store(1) pause ");
    storage_answers(w, 0);
    tick_at(w, 1002);
    assert_log(w, "MESSAGE(" BODY("m", FILE_OF("A")) ") go ");
}

static void test_waiting_for_the_disk_is_no_silence(void **state)
{
    struct world *w = *state;

    attach_now(w);
    tick_at(w, 7000);
    receive_bins(w, "m", "abcdef");
    w->log[0] = '\0';
    tick_at(w, 13000);
    tick_at(w, 16999);
    assert_log(w, "frame ping ");
    storage_answers(w, 0);
    tick_at(w, 17000);
    tick_at(w, 19000);
    assert_log(w, "MESSAGE(" BODY("m", FILE_OF("A")) ") go frame ping ");
    tick_at(w, 28999);
    assert_string_equal(w->log, "frame ping ");
    tick_at(w, 29000);
    assert_non_null(strstr(w->log, "abort(heartbeat)"));
}

/* A disk that hangs does not stop the link for ever. */
static void test_a_storage_that_takes_too_long(void **state)
{
    struct world *w = *state;

    attach_now(w);
    receive_bins(w, "m", "abcdef");
    w->log[0] = '\0';
    tick_at(w, 1000 + SESSION_HELD_MS - 1);
    assert_null(strstr(w->log, "MESSAGE"));
    w->log[0] = '\0';
    assert_int_equal(session_deadline(w->session), 1000 + SESSION_HELD_MS);
    tick_at(w, 1000 + SESSION_HELD_MS);
    assert_log(w, "MESSAGE(" BODY("m", ABCDEF) ") go ");
    receive_bins(w, "n", "abcdef"); /* one at a time */
    assert_log(w, "MESSAGE(" BODY("n", ABCDEF) ") ");
    storage_answers(w, 0);
    tick_at(w, w->time.now_ms + 1);
    assert_log(w, "");
    receive_bins(w, "o", "abcdef");
    assert_log(w, LOOK "store(1) pause ");
    storage_answers(w, 0);
    tick_at(w, w->time.now_ms + 1);
    assert_log(w, "MESSAGE(" BODY("o", FILE_OF("A")) ") go ");
}

static void test_link_lost_while_it_waits(void **state)
{
    struct world *w = *state;

    attach_now(w);
    send_id(w, "a");
    receive_bins(w, "a", "abcdef");
    w->log[0] = '\0';
    lose(w, LINK_REASON_CLOSED, 0); /* an answer that came is told before that */
    static const char told[] =
        "a:acked(" BODY("a", ABCDEF) ") SENT(" BODY("a", ABCDEF) ") go [\"state\":\"waiting\"";
    assert_memory_equal(w->log, told, sizeof(told) - 1);
    w->log[0] = '\0';
    storage_answers(w, 0);
    tick_at(w, 1001);
    assert_log(w, "");
}

static void test_link_lost_while_a_message_waits(void **state)
{
    struct world *w = *state;

    attach_now(w);
    receive_bins(w, "m", "abcdef");
    w->log[0] = '\0';
    lose(w, LINK_REASON_CLOSED, 0);
    assert_null(strstr(w->log, "MESSAGE"));
    w->log[0] = '\0';
    storage_answers(w, 0);
    tick_at(w, 1001);
    assert_log(w, "MESSAGE(" BODY("m", FILE_OF("A")) ") go ");
}

static void test_disconnected_while_it_waits(void **state)
{
    struct world *w = *state;

    attach_now(w);
    send_id(w, "a");
    receive_bins(w, "a", "abcdef");
    w->log[0] = '\0';
    session_disconnect(w->session, LINK_REASON_REQUESTED, w->time);
    assert_memory_equal(w->log, "a:acked(", 8);
    storage_answers(w, 0);
    tick_at(w, 1001);
}

static void test_shutdown_while_it_waits(void **state)
{
    struct world *w = *state;

    attach_now(w);
    receive_bins(w, "m", "abcdef");
    w->log[0] = '\0';
    session_shutdown(w->session, 6000, w->time);
    assert_log(w, "");
    tick_at(w, 5999);
    assert_log(w, "");
    storage_answers(w, 0);
    tick_at(w, 5999);
    assert_log(w, "MESSAGE(" BODY("m", FILE_OF("A")) ") go close(1001,shutdown) ");
    receive_bins(w, "n", "abcdef"); /* still comes */
    lose(w, LINK_REASON_SHUTDOWN, 0);
    assert_false(session_finished(w->session));
    assert_int_equal(session_deadline(w->session), 6000);
    w->log[0] = '\0';
    tick_at(w, 6000);
    assert_log(w, "MESSAGE(" BODY("n", ABCDEF) ") go ");
    assert_true(session_finished(w->session));
    assert_int_equal(session_deadline(w->session), UINT64_MAX);
    storage_answers(w, 0);
}

static void test_shutdown_does_not_wait_for_ever(void **state)
{
    struct world *w = *state;

    attach_now(w);
    receive_bins(w, "m", "abcdef");
    session_shutdown(w->session, 6000, w->time);
    w->log[0] = '\0';
    assert_int_equal(session_deadline(w->session), 6000);
    tick_at(w, 6000);
    assert_log(w, "MESSAGE(" BODY("m", ABCDEF) ") go close(1001,shutdown) ");
    storage_answers(w, 0);
}

static void test_freed_while_it_waits(void **state)
{
    struct world *w = *state;

    attach_now(w);
    receive_bins(w, "m", "abcdef");
    session_free(w->session);
    w->session = NULL;
    w->log[0] = '\0';
    storage_answers(w, 0);
    assert_log(w, "");
    assert_int_equal(session_new(&w->session, &OPTIONS, &TRANSPORT, &LISTENER, w->time), 0);
    attach_now(w);
    receive_bins(w, "m", "abcdef");
    storage_answers(w, 0); /* and freed by the teardown */
}

/* A reload does not change what was found already. */
static void test_reload_while_it_waits(void **state)
{
    struct world *w = *state;
    struct session_options o = OPTIONS;

    attach_now(w);
    receive_bins(w, "m", "small abcdef");
    o.inline_binary = 2;
    session_configure(w->session, &o, w->time);
    storage_answers(w, 0);
    w->log[0] = '\0';
    tick_at(w, 1001);
    assert_log(w, "MESSAGE(" BODY("m", "{\"$bin\":\"c21hbGw=\"}," FILE_OF("A")) ") go ");
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_connects_and_reconnects_with_backoff),
        TEST(test_backoff_is_reset_only_when_stable),
        TEST(test_unauthorized_is_slow_but_endless),
        TEST(test_network_change_cuts_the_wait_short),
        TEST(test_network_change_probes_a_live_link),
        TEST(test_never_after_disconnect),
        TEST(test_connect_while_still_closing),
        TEST(test_disconnect_while_waiting),
        TEST(test_reconnect),
        TEST(test_close_codes),
        TEST(test_disconnect_signal),
        TEST(test_frame_bytes),
        TEST(test_ack_and_duplicate),
        TEST(test_rejection),
        TEST(test_timeout_and_late_ack),
        TEST(test_lost_link_answers_unknown),
        TEST(test_limits_of_a_send),
        TEST(test_compose),
        TEST(test_compose_keeps_max_message),
        TEST(test_composed_is_sent),
        TEST(test_compose_leaves_holes),
        TEST(test_frame_is_acked),
        TEST(test_frame_again_is_one_send),
        TEST(test_frames_and_sends_have_each_their_limit),
        TEST(test_frame_and_lost_link),
        TEST(test_forgotten_frame_is_told_as_sent_only),
        TEST(test_shutdown_waits_for_frames),
        TEST(test_heartbeat_interval_and_rtt),
        TEST(test_half_open_link_is_cut),
        TEST(test_any_byte_keeps_the_link),
        TEST(test_bytes_that_were_not_told_keep_the_link),
        TEST(test_paused_time_is_no_silence),
        TEST(test_a_stopped_process_asks_before_it_cuts),
        TEST(test_foreign_pings_are_dropped),
        TEST(test_what_is_a_message),
        TEST(test_bad_frames_survive),
        TEST(test_too_large_as_json_is_announced),
        TEST(test_shutdown_waits_for_acks),
        TEST(test_shutdown_at_once),
        TEST(test_shutdown_while_waiting),
        TEST(test_large_binaries_become_files),
        TEST(test_what_cannot_be_a_file_is_inline),
        TEST(test_no_attachments),
        TEST(test_an_answer_with_a_large_binary),
        TEST(test_two_reasons_to_pause),
        TEST(test_waiting_for_the_disk_is_no_silence),
        TEST(test_a_storage_that_takes_too_long),
        TEST(test_link_lost_while_it_waits),
        TEST(test_link_lost_while_a_message_waits),
        TEST(test_disconnected_while_it_waits),
        TEST(test_shutdown_while_it_waits),
        TEST(test_shutdown_does_not_wait_for_ever),
        TEST(test_freed_while_it_waits),
        TEST(test_reload_while_it_waits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
