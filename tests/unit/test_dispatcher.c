/*
 * dispatcher: with the real session, on a transport that writes down what is sent, and with a store that
 * answers when the test says so. Row n of the outbox is the message "m<n>", and its frame is its id.
 */
#include "dispatcher.h"

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

#define ROWS_MAX 8192
#define NEVER INT64_MAX
#define WALL 1700000000000
#define ACK_TIMEOUT 30000

struct row {
    uint8_t state; /* enum outbox_state, on disk */
    uint32_t attempts;
    int64_t expires_ms;
    bool missing;
    unsigned finished;
    /* As the server sees it. */
    unsigned link; /* on which it was sent last */
    uint64_t sent_ms;
    bool on_wire;
};

struct world {
    struct session *session;
    struct dispatcher *dispatcher;
    struct dispatcher_options options;
    struct session_time time;
    uint64_t random;
    bool congested, no_memory, silent, post_fails;
    struct row rows[ROWS_MAX];                /* from 1 on */
    unsigned row_count, low;                  /* all up to low are finished */
    struct storage_request *posted[ROWS_MAX]; /* not answered yet, in order */
    unsigned posted_count;
    uint32_t give_max;  /* messages of a TAKE, whatever its limit; 0: as many as asked for */
    int64_t give_after; /* the next TAKE begins behind this row; -1: as asked */
    unsigned link;
    int64_t last_first; /* the highest row of those that this link saw */
    unsigned first_disorders;
    uint8_t frame[256];
    char body[1024];
    struct json_writer writer;
    char log[8192];
};

static struct world *the_world;

static void note(const char *format, ...)
{
    va_list args;
    size_t used = strlen(the_world->log);

    if (the_world->silent)
        return;
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
}

static uint8_t *fake_reserve(void *self, size_t n)
{
    assert_true(n <= sizeof the_world->frame);
    return the_world->no_memory ? NULL : the_world->frame;
}

static void saw_row(struct world *w, unsigned n)
{
    struct row *r = &w->rows[n];

    if (r->link != w->link) {
        w->first_disorders += n < w->last_first;
        w->last_first = n;
    }
    r->link = w->link;
    r->sent_ms = w->time.now_ms;
    r->on_wire = true;
}

static void fake_commit(void *self, size_t n)
{
    the_world->frame[n] = '\0';
    if (n)
        note("%s ", (char *)the_world->frame);
    if (n && the_world->frame[0] == 'm')
        saw_row(the_world, (unsigned)atoi((char *)the_world->frame + 1));
}

static bool fake_append(void *self, struct send_block *b, size_t len)
{
    return false; /* messages of the outbox are not appended */
}

static bool fake_congested(void *self)
{
    return the_world->congested;
}

static void fake_ping(void *self)
{
}

static void fake_close(void *self, unsigned code, enum link_reason reason)
{
    note("close ");
}

static void fake_abort(void *self, enum link_reason reason)
{
}

static void fake_pause(void *self, bool on)
{
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

static const struct session_transport TRANSPORT = {.open = fake_open,
                                                   .reserve = fake_reserve,
                                                   .commit = fake_commit,
                                                   .append = fake_append,
                                                   .congested = fake_congested,
                                                   .ping = fake_ping,
                                                   .close = fake_close,
                                                   .abort = fake_abort,
                                                   .pause = fake_pause,
                                                   .heard_ms = fake_clock,
                                                   .clock_us = fake_clock,
                                                   .random = fake_random,
                                                   .counters = fake_counters};

/* ---- the fake hub ---- */

static struct json_writer *fake_begin(void *self, size_t hint)
{
    json_writer_init(&the_world->writer, the_world->body, sizeof the_world->body);
    return &the_world->writer;
}

static void fake_publish(void *self, enum event_kind kind, const struct event_fields *f)
{
}

static void fake_abandon(void *self)
{
}

static void fake_lost(void *self, const char *reason)
{
}

static void fake_status_changed(void *self)
{
}

static void fake_relieved(void *self)
{
}

static void fake_outbox_changed(void *self, const struct outbox_entry *e)
{
    note("%.*s=%s", (int)e->id_len, e->id, outbox_state_word((enum outbox_state)e->state));
    if (e->has_code && e->code)
        note(":%lld", (long long)e->code);
    note(" ");
}

static const struct link_listener LISTENER = {.begin = fake_begin,
                                              .publish = fake_publish,
                                              .abandon = fake_abandon,
                                              .lost = fake_lost,
                                              .status_changed = fake_status_changed,
                                              .relieved = fake_relieved,
                                              .outbox_changed = fake_outbox_changed};

/* ---- the fake store ---- */

static void note_request(const struct storage_request *r)
{
    const struct storage_take *t = (const struct storage_take *)r;
    const struct storage_finish *f = (const struct storage_finish *)r;

    if (r->op == STORAGE_FINISH) {
        note("FINISH(m%lld,%s) ", (long long)f->entry.row,
             outbox_state_word((enum outbox_state)f->entry.state));
    } else if (t->row_count) {
        note("TAKE[");
        for (uint32_t i = 0; i < t->row_count; i++)
            note("%s%lld", i ? "," : "", (long long)t->rows[i]);
        note("] ");
    } else {
        note("TAKE(%lld,%u) ", (long long)t->after, t->limit);
    }
}

static int fake_post(void *self, struct storage_request *r)
{
    struct world *w = the_world;

    if (w->post_fails)
        return -EAGAIN;
    note_request(r);
    w->posted[w->posted_count++] = r;
    return 0;
}

static void give(struct world *w, struct storage_take *t, unsigned n)
{
    struct outbox_message *m = &t->messages[t->count++];
    struct row *r = &w->rows[n];
    char id[16];

    r->attempts++;
    r->state = OUTBOX_SENT;
    *m = (struct outbox_message){
        .entry = {.row = n, .state = OUTBOX_SENT, .attempts = r->attempts, .expires_ms = r->expires_ms}};
    m->entry.id_len = (uint16_t)snprintf(id, sizeof id, "m%u", n);
    memcpy(m->entry.id, id, m->entry.id_len);
    memcpy(m->entry.id + 64, id, m->entry.id_len); /* the frame: anywhere in the block */
    m->frame = (uint8_t *)m->entry.id + 64;
    m->frame_len = m->entry.id_len;
}

static uint32_t take_max(const struct world *w, const struct storage_take *t)
{
    return w->give_max && w->give_max < t->limit ? w->give_max : t->limit;
}

static void give_rows(struct world *w, struct storage_take *t)
{
    for (uint32_t i = 0; i < t->row_count && t->count < take_max(w, t); i++) {
        struct row *r = &w->rows[t->rows[i]];

        assert_true(i == 0 || t->rows[i] > t->rows[i - 1]);
        if (!r->missing && r->state <= OUTBOX_SENT)
            give(w, t, (unsigned)t->rows[i]);
        t->last = t->rows[i];
    }
}

static void give_new(struct world *w, struct storage_take *t)
{
    unsigned n = (unsigned)(w->give_after >= 0 ? w->give_after : t->after) + 1;

    w->give_after = -1;
    for (; n <= w->row_count && t->count < take_max(w, t); n++) {
        struct row *r = &w->rows[n];

        if (r->state <= OUTBOX_SENT && r->expires_ms <= t->now_ms) {
            r->state = OUTBOX_EXPIRED; /* by the store */
            r->finished++;
        } else if (r->state <= OUTBOX_SENT) {
            give(w, t, n);
        }
        t->last = n;
    }
    t->more = n <= w->row_count;
}

static void carry_out(struct world *w, struct storage_request *r)
{
    struct storage_take *t = (struct storage_take *)r;
    struct storage_finish *f = (struct storage_finish *)r;
    struct row *row;

    if (r->op == STORAGE_TAKE) {
        assert_true(t->limit > 0 && t->max_bytes > 0 && t->now_ms > 0);
        t->block = t->messages = calloc(t->limit, sizeof *t->messages);
        (t->row_count ? give_rows : give_new)(w, t);
        return;
    }
    row = &w->rows[f->entry.row];
    assert_true(row->state <= OUTBOX_SENT);
    assert_true(f->entry.state > OUTBOX_SENT);
    row->state = f->entry.state;
    row->finished++;
}

/* e: what it is answered instead of being carried out. */
static void answer_at(struct world *w, unsigned at, enum error e)
{
    struct storage_request *r = w->posted[at];

    assert_true(at < w->posted_count);
    memmove(w->posted + at, w->posted + at + 1, (--w->posted_count - at) * sizeof *w->posted);
    r->error = e;
    if (!e)
        carry_out(w, r);
    r->done(r);
}

/* The oldest request that waits. */
static void answer(struct world *w, enum error e)
{
    answer_at(w, 0, e);
}

/* The one that was posted last; the store could not write those before it yet. */
static void answer_last(struct world *w)
{
    answer_at(w, w->posted_count - 1, ERROR_NONE);
}

static unsigned queue(struct world *w, int64_t expires_ms)
{
    w->rows[++w->row_count] = (struct row){.state = OUTBOX_QUEUED, .expires_ms = expires_ms};
    return w->row_count;
}

static void queue_many(struct world *w, unsigned n)
{
    while (n--)
        queue(w, NEVER);
}

/* ---- the world ---- */

static const struct session_options SESSION = {.url = "ws://x/",
                                               .ping_gap_ms = 1ull << 40,
                                               .ping_timeout_ms = 1ull << 40,
                                               .reconnect_min_ms = 1ull << 40,
                                               .reconnect_max_ms = 1ull << 40,
                                               .reconnect_stable_ms = 1,
                                               .ack_timeout_ms = ACK_TIMEOUT,
                                               .pending_max = 4,
                                               .queued_max = DISPATCHER_ITEMS,
                                               .message_max = 2000,
                                               .inline_binary = 1000};

static void start(struct world *w)
{
    struct storage st = {.post = fake_post};

    assert_int_equal(session_new(&w->session, &SESSION, &TRANSPORT, &LISTENER, w->time), 0);
    assert_int_equal(dispatcher_new(&w->dispatcher, &w->options, w->session, &st, &LISTENER), 0);
}

static int setup(void **state)
{
    struct world *w = calloc(1, sizeof *w);

    the_world = w;
    w->time = (struct session_time){1000, WALL};
    w->random = UINT64_MAX;
    w->options = (struct dispatcher_options){.window = 4, .ack_timeout_ms = ACK_TIMEOUT};
    w->give_after = -1;
    start(w);
    *state = w;
    return 0;
}

/* The store has gone: what it was asked is not answered any more. */
static void finish(struct world *w)
{
    w->posted_count = 0;
    dispatcher_free(w->dispatcher);
    session_free(w->session);
}

static int teardown(void **state)
{
    struct world *w = *state;

    finish(w);
    free(w);
    return 0;
}

static void turn(struct world *w)
{
    dispatcher_turn(w->dispatcher, w->time);
}

static void pass(struct world *w, uint64_t ms)
{
    w->time.now_ms += ms;
    w->time.wall_ms += (int64_t)ms;
}

/* Some ms later; the deadline must have announced it if anything is to be done then. */
static void turn_after(struct world *w, uint64_t ms)
{
    pass(w, ms);
    turn(w);
}

static void answer_and_turn(struct world *w)
{
    answer(w, ERROR_NONE);
    turn(w);
}

static void connect_now(struct world *w)
{
    if (session_state(w->session) == LINK_DISCONNECTED || session_state(w->session) == LINK_WAITING)
        session_connect(w->session, w->time);
    w->link++;
    w->last_first = 0;
    session_opened(w->session, w->time);
}

static void lose(struct world *w)
{
    struct transport_end end = {.reason = LINK_REASON_CLOSED, .was_open = true};

    for (unsigned n = 1; n <= w->row_count; n++)
        w->rows[n].on_wire = false;
    session_closed(w->session, &end, w->time);
}

/* {"code":c,"data":{"messageId":id}} */
static void receive(struct world *w, int code, const char *id)
{
    uint8_t f[64] = "\x82\xa4"
                    "code?\xa4"
                    "data\x81\xa9messageId?";
    size_t len = strlen(id);

    f[6] = (uint8_t)code;
    f[23] = (uint8_t)(0xa0 | len);
    memcpy(f + 24, id, len);
    if (id[0] == 'm')
        w->rows[atoi(id + 1)].on_wire = false;
    session_message(w->session, f, 24 + len, w->time);
}

/* Connected, and n messages (the first ones of the outbox) on the wire. */
static void send_first(struct world *w, unsigned n)
{
    queue_many(w, n);
    connect_now(w);
    turn(w);
    answer_and_turn(w);
    w->log[0] = '\0';
}

/* ---- the usual way ---- */

static void test_takes_sends_and_records(void **state)
{
    struct world *w = *state;

    queue_many(w, 3);
    turn(w);
    assert_log(w, ""); /* not connected */
    assert_int_equal(dispatcher_deadline(w->dispatcher), UINT64_MAX);
    connect_now(w);
    turn(w);
    turn(w);
    assert_log(w, "TAKE(0,4) ");
    answer(w, ERROR_NONE);
    assert_log(w, "");
    assert_int_equal(dispatcher_deadline(w->dispatcher), 0);
    turn(w);
    assert_log(w, "m1=sent m1 m2=sent m2 m3=sent m3 ");
    assert_int_equal(dispatcher_deadline(w->dispatcher), 1000 + ACK_TIMEOUT);
    receive(w, 0, "m2");
    receive(w, 0, "m1");
    assert_int_equal(dispatcher_deadline(w->dispatcher), 0);
    turn(w);
    assert_log(w, "FINISH(m2,acked) FINISH(m1,acked) ");
    assert_false(dispatcher_idle(w->dispatcher));
    answer(w, ERROR_NONE);
    assert_log(w, "m2=acked ");
    answer(w, ERROR_NONE);
    assert_log(w, "m1=acked ");
    assert_true(dispatcher_idle(w->dispatcher));
    turn(w);
    assert_log(w, "");
}

static void test_queued_is_taken_at_once(void **state)
{
    struct world *w = *state;

    connect_now(w);
    turn(w);
    answer_and_turn(w);
    assert_log(w, "TAKE(0,4) ");
    turn(w); /* empty: it does not ask again */
    assert_log(w, "");
    queue(w, NEVER);
    dispatcher_queued(w->dispatcher, w->time);
    assert_log(w, "TAKE(0,4) ");
    answer(w, ERROR_NONE);
    queue(w, NEVER);
    dispatcher_queued(w->dispatcher, w->time); /* that TAKE may have come too early for this one */
    turn(w);
    assert_log(w, "m1=sent m1 TAKE(1,3) ");
    answer_and_turn(w);
    assert_log(w, "m2=sent m2 ");
    turn(w);
    assert_log(w, "");
}

/* Behind the cursor there may be one that was queued while the TAKE was away. */
static void test_queued_while_taking(void **state)
{
    struct world *w = *state;

    connect_now(w);
    turn(w);
    assert_log(w, "TAKE(0,4) ");
    answer(w, ERROR_NONE); /* nothing */
    queue(w, NEVER);
    dispatcher_queued(w->dispatcher, w->time);
    assert_log(w, "");
    turn(w);
    assert_log(w, "TAKE(0,4) ");
}

static void test_window(void **state)
{
    struct world *w = *state;
    struct dispatcher_options wider = {.window = 6, .ack_timeout_ms = ACK_TIMEOUT};

    queue_many(w, 9);
    connect_now(w);
    turn(w);
    answer_and_turn(w);
    assert_log(w, "TAKE(0,4) m1=sent m1 m2=sent m2 m3=sent m3 m4=sent m4 ");
    turn(w);
    assert_log(w, "");
    receive(w, 0, "m1");
    receive(w, 0, "m3");
    turn(w);
    assert_log(w, "FINISH(m1,acked) FINISH(m3,acked) TAKE(4,2) ");
    answer(w, ERROR_NONE);
    answer(w, ERROR_NONE);
    answer_and_turn(w);
    assert_log(w, "m1=acked m3=acked m5=sent m5 m6=sent m6 ");
    dispatcher_configure(w->dispatcher, &wider);
    turn(w);
    assert_log(w, "TAKE(6,2) ");
    dispatcher_configure(w->dispatcher, &w->options);
    answer_and_turn(w);
    assert_log(w, "m7=sent m7 m8=sent m8 ");
    receive(w, 0, "m2");
    turn(w);
    assert_log(w, "FINISH(m2,acked) "); /* 5 on the wire, 4 allowed */
}

static void test_more_than_one_take(void **state)
{
    struct world *w = *state;

    queue_many(w, 3);
    w->give_max = 2;
    connect_now(w);
    turn(w);
    answer_and_turn(w);
    answer_and_turn(w);
    assert_log(w, "TAKE(0,4) m1=sent m1 m2=sent m2 TAKE(2,2) m3=sent m3 ");
}

/* An earlier run sent it already: it comes in its place, and `sent` is no news. */
static void test_rows_of_an_earlier_run(void **state)
{
    struct world *w = *state;

    queue_many(w, 2);
    w->rows[1].state = OUTBOX_SENT;
    w->rows[1].attempts = 3;
    connect_now(w);
    turn(w);
    answer_and_turn(w);
    assert_log(w, "TAKE(0,4) m1 m2=sent m2 ");
}

static void test_rejected_is_final(void **state)
{
    struct world *w = *state;

    send_first(w, 1);
    receive(w, 7, "m1");
    turn(w);
    answer_and_turn(w);
    assert_log(w, "FINISH(m1,rejected) m1=rejected:7 ");
    turn_after(w, 10 * ACK_TIMEOUT);
    assert_log(w, "");
}

static void test_finish_that_fails_is_dropped(void **state)
{
    struct world *w = *state;

    send_first(w, 1);
    receive(w, 0, "m1");
    turn(w);
    answer(w, ERROR_STORAGE);
    turn(w);
    assert_log(w, "FINISH(m1,acked) ");
    assert_true(dispatcher_idle(w->dispatcher));
    assert_int_equal(dispatcher_deadline(w->dispatcher), UINT64_MAX);
}

/* ---- the link is lost ---- */

static void test_lost_link_sends_again_in_order(void **state)
{
    struct world *w = *state;

    queue_many(w, 2);
    send_first(w, 4); /* 6 rows, 4 on the wire */
    receive(w, 0, "m2");
    lose(w);
    turn(w);
    answer_and_turn(w);
    assert_log(w, "FINISH(m2,acked) m2=acked ");
    turn_after(w, 10 * ACK_TIMEOUT);
    assert_log(w, "");
    connect_now(w);
    turn(w);
    answer_and_turn(w);
    assert_log(w, "TAKE[1,3,4] m1 m3 m4 TAKE(4,1) ");
    answer_and_turn(w);
    assert_log(w, "m5=sent m5 ");
    assert_int_equal(w->rows[1].attempts, 2);
}

static void test_lost_link_with_a_smaller_window(void **state)
{
    struct world *w = *state;
    struct dispatcher_options narrow = {.window = 2, .ack_timeout_ms = ACK_TIMEOUT};

    send_first(w, 4);
    lose(w);
    dispatcher_configure(w->dispatcher, &narrow);
    connect_now(w);
    turn(w);
    w->give_max = 1; /* and of these only one fits into the TAKE's bytes */
    answer_and_turn(w);
    answer_and_turn(w);
    assert_log(w, "TAKE[1,2] m1 TAKE[2] m2 ");
    receive(w, 0, "m1");
    turn(w);
    assert_log(w, "FINISH(m1,acked) TAKE[3] ");
}

/* Lost while the store reads: what it gives waits for the link. */
static void test_link_lost_while_taking(void **state)
{
    struct world *w = *state;

    queue_many(w, 2);
    connect_now(w);
    turn(w);
    lose(w);
    answer_and_turn(w);
    assert_log(w, "TAKE(0,4) m1=sent m2=sent ");
    connect_now(w);
    turn(w);
    answer_and_turn(w);
    assert_log(w, "TAKE[1,2] m1 m2 ");
}

/* Lost and there again while the store reads: those with lower rows are first all the same. */
static void test_link_flaps_while_taking(void **state)
{
    struct world *w = *state;

    queue_many(w, 2);
    connect_now(w);
    turn(w);
    answer_and_turn(w);
    queue_many(w, 1);
    dispatcher_queued(w->dispatcher, w->time);
    w->log[0] = '\0';
    lose(w);
    connect_now(w);
    answer_and_turn(w);
    assert_log(w, "m3=sent TAKE[1,2,3] ");
    lose(w);
    connect_now(w);
    answer_and_turn(w);
    assert_log(w, "m1 m2 m3 "); /* nothing was on the wire: nothing else can be ahead */
}

/* The server answers on the next link what it got on the last one. */
static void test_answer_after_the_link_was_lost(void **state)
{
    struct world *w = *state;

    send_first(w, 2);
    lose(w);
    turn(w);
    connect_now(w);
    receive(w, 0, "m1");
    turn(w);
    answer(w, ERROR_NONE);
    assert_log(w, "FINISH(m1,acked) TAKE[2] m1=acked ");
    receive(w, 0, "m2"); /* while the store reads it again; and both are done before the next turn */
    answer(w, ERROR_NONE);
    turn(w);
    answer_and_turn(w);
    assert_log(w, "FINISH(m2,acked) m2=acked ");
    assert_true(dispatcher_idle(w->dispatcher));
}

/* ---- no answer comes ---- */

static void test_ack_timeout(void **state)
{
    struct world *w = *state;

    send_first(w, 5); /* the fifth waits for a place */
    turn_after(w, ACK_TIMEOUT - 1);
    assert_log(w, "");
    turn_after(w, 1);
    assert_log(w, "TAKE(4,4) "); /* the window is free again */
    answer_and_turn(w);
    assert_log(w, "m5=sent m5 ");
    assert_int_equal(dispatcher_deadline(w->dispatcher), w->time.now_ms + 1000);
    turn_after(w, 999);
    assert_log(w, "");
    turn_after(w, 1);
    answer_and_turn(w);
    assert_log(w, "TAKE[1,2,3] m1 m2 m3 "); /* … and retries count for it */
    for (const char *const *id = (const char *const[]){"m1", "m2", "m3", NULL}; *id; id++) {
        receive(w, 0, *id);
        receive(w, 0, *id); /* one for each time that it was sent */
    }
    turn(w);
    assert_log(w, "FINISH(m1,acked) FINISH(m2,acked) FINISH(m3,acked) TAKE[4] ");
}

static void test_backoff_grows_to_its_cap(void **state)
{
    struct world *w = *state;

    send_first(w, 1);
    for (uint64_t wait = 1000;; wait *= 2) {
        turn_after(w, ACK_TIMEOUT);
        if (wait > 300000)
            wait = 300000;
        assert_int_equal(dispatcher_deadline(w->dispatcher) - w->time.now_ms, wait < 60000 ? wait : 60000);
        turn_after(w, wait - 1);
        assert_log(w, "");
        turn_after(w, 1);
        answer_and_turn(w);
        assert_log(w, "TAKE[1] m1 ");
        if (wait == 300000)
            break;
    }
    w->random = 0; /* full jitter */
    turn_after(w, ACK_TIMEOUT);
    answer_and_turn(w);
    assert_log(w, "TAKE[1] m1 ");
}

static void test_late_answer(void **state)
{
    struct world *w = *state;

    send_first(w, 2);
    turn_after(w, ACK_TIMEOUT);
    receive(w, 0, "m1"); /* before it is sent again */
    turn(w);
    assert_log(w, "FINISH(m1,acked) ");
    answer_and_turn(w);
    turn_after(w, 1000);
    assert_log(w, "m1=acked TAKE[2] ");
    receive(w, 9, "m2"); /* while the store reads it again */
    turn(w);
    answer(w, ERROR_NONE);
    answer(w, ERROR_NONE); /* done before the next turn, as the TAKE is */
    turn(w);
    assert_log(w, "FINISH(m2,rejected) m2=rejected:9 ");
    assert_true(dispatcher_idle(w->dispatcher));
    turn_after(w, 10 * ACK_TIMEOUT);
    assert_log(w, "");
}

static void test_lost_link_ends_the_backoff(void **state)
{
    struct world *w = *state;

    send_first(w, 3);
    turn_after(w, ACK_TIMEOUT);
    lose(w);
    connect_now(w);
    turn(w);
    assert_log(w, "TAKE[1,2,3] ");
}

/* ---- what cannot be sent ---- */

static void answered(struct link_call *c, const struct link_answer *a)
{
}

static enum error send_directly(struct world *w, const char *id)
{
    static struct link_call call = {.answered = answered};
    struct outbox_message m = {.frame = (const uint8_t *)"x", .frame_len = 1};

    m.entry.id_len = (uint16_t)strlen(id);
    memcpy(m.entry.id, id, m.entry.id_len);
    return session_send_frame(w->session, &m, &call);
}

static void test_id_of_somebody_else(void **state)
{
    struct world *w = *state;

    connect_now(w);
    assert_int_equal(send_directly(w, "m1"), ERROR_NONE);
    queue_many(w, 2);
    turn(w);
    answer_and_turn(w);
    assert_log(w, "x TAKE(0,4) m1=sent m2=sent m2 ");
    turn_after(w, 1000);
    answer_and_turn(w);
    assert_log(w, "TAKE[1] ");
    turn_after(w, 1999);
    assert_log(w, "");
    turn_after(w, 1);
    lose(w); /* nobody knows how that other one ended: the id is free again */
    answer_and_turn(w);
    connect_now(w);
    turn(w);
    answer_and_turn(w);
    assert_log(w, "TAKE[1] TAKE[1,2] m1 m2 ");
}

static void test_no_memory(void **state)
{
    struct world *w = *state;

    queue_many(w, 1);
    connect_now(w);
    turn(w);
    w->no_memory = true;
    answer_and_turn(w);
    turn(w);
    assert_log(w, "TAKE(0,4) m1=sent ");
    w->no_memory = false;
    turn_after(w, 1000);
    answer_and_turn(w);
    assert_log(w, "TAKE[1] m1 ");
}

static void test_congestion(void **state)
{
    struct world *w = *state;

    queue_many(w, 1);
    connect_now(w);
    w->congested = true;
    turn(w);
    dispatcher_queued(w->dispatcher, w->time);
    assert_log(w, "");
    assert_int_equal(dispatcher_deadline(w->dispatcher), UINT64_MAX); /* being relieved wakes the loop */
    w->congested = false;
    turn(w);
    assert_log(w, "TAKE(0,4) ");
}

/* ---- what the store does ---- */

static void test_take_fails(void **state)
{
    struct world *w = *state;

    send_first(w, 1);
    queue_many(w, 1);
    dispatcher_queued(w->dispatcher, w->time);
    answer(w, ERROR_STORAGE);
    turn(w);
    assert_log(w, "TAKE(1,3) ");
    dispatcher_queued(w->dispatcher, w->time);
    assert_log(w, "");
    assert_int_equal(dispatcher_deadline(w->dispatcher), w->time.now_ms + 1000);
    turn_after(w, 999);
    assert_log(w, "");
    turn_after(w, 1);
    assert_log(w, "TAKE(1,3) ");
    answer_and_turn(w);
    assert_log(w, "m2=sent m2 ");
    lose(w);
    connect_now(w);
    turn(w);
    answer(w, ERROR_STORAGE);
    turn(w);
    turn_after(w, 1000);
    answer_and_turn(w);
    assert_log(w, "TAKE[1,2] TAKE[1,2] m1 m2 TAKE(2,2) ");
}

static void test_take_fails_while_the_link_is_down(void **state)
{
    struct world *w = *state;

    queue_many(w, 1);
    connect_now(w);
    turn(w);
    answer(w, ERROR_STORAGE);
    lose(w);
    turn(w);
    turn_after(w, 1000);
    assert_log(w, "TAKE(0,4) ");
    assert_int_equal(dispatcher_deadline(w->dispatcher), UINT64_MAX);
}

static void test_store_that_takes_nothing(void **state)
{
    struct world *w = *state;

    send_first(w, 1);
    w->post_fails = true;
    receive(w, 0, "m1");
    dispatcher_queued(w->dispatcher, w->time);
    turn(w);
    assert_log(w, "");
    assert_true(dispatcher_idle(w->dispatcher));
    assert_int_equal(dispatcher_deadline(w->dispatcher), w->time.now_ms + 1000);
    w->post_fails = false;
    turn_after(w, 1000);
    assert_log(w, "TAKE(1,4) ");
}

/* The disk is full: it gives rows again whose end it could not write yet. */
static void test_rows_known_already(void **state)
{
    struct world *w = *state;

    send_first(w, 3);
    receive(w, 0, "m2");
    turn(w);
    queue_many(w, 1);
    dispatcher_queued(w->dispatcher, w->time);
    w->give_after = 0;
    answer_last(w);
    turn(w);
    assert_log(w, "FINISH(m2,acked) TAKE(3,2) TAKE(3,2) ");
    assert_int_equal(w->rows[2].attempts, 2);
    answer_last(w);
    turn(w);
    assert_log(w, "m4=sent m4 ");
    turn_after(w, 2000);
    assert_log(w, ""); /* there is no second m1 that waits for its id */
}

/* A damaged database: neither forgotten nor asked for in a loop. */
static void test_rows_that_are_missing(void **state)
{
    struct world *w = *state;

    send_first(w, 3);
    w->rows[1].missing = w->rows[3].missing = true;
    lose(w);
    connect_now(w);
    turn(w);
    answer_and_turn(w);
    assert_log(w, "TAKE[1,2,3] m2 TAKE[3] "); /* the third may only have had no room */
    answer_and_turn(w);
    turn(w);
    assert_log(w, "");
    turn_after(w, 2000);
    assert_log(w, "TAKE[1,3] ");
    w->rows[1].missing = false;
    answer_and_turn(w);
    assert_log(w, "m1 TAKE[3] ");
    answer_and_turn(w);
    turn_after(w, 3999); /* less and less often */
    assert_log(w, "");
    turn_after(w, 1);
    assert_log(w, "TAKE[3] ");
}

static void test_full_pool(void **state)
{
    struct world *w = *state;
    unsigned acked = 0;
    char id[16];

    w->silent = true;
    w->options.window = 100;
    dispatcher_configure(w->dispatcher, &w->options);
    queue_many(w, DISPATCHER_ITEMS + 10);
    connect_now(w);
    turn(w);
    while (acked < DISPATCHER_ITEMS) {
        assert_int_equal(w->posted[w->posted_count - 1]->op, STORAGE_TAKE);
        answer_last(w);
        turn(w);
        for (unsigned n = acked + 1; w->rows[n].on_wire; n++, acked++) {
            snprintf(id, sizeof id, "m%u", n);
            receive(w, 0, id);
        }
        turn(w);
    }
    assert_int_equal(w->posted_count, DISPATCHER_ITEMS); /* each of them a FINISH */
    w->silent = false;
    turn(w);
    assert_log(w, "");
    answer_and_turn(w);
    assert_log(w, "m1=acked TAKE(4096,1) ");
}

/* ---- expiry ---- */

static void test_expires_without_a_link(void **state)
{
    struct world *w = *state;

    queue(w, WALL + 5000);
    queue(w, WALL + 200000);
    connect_now(w);
    turn(w);
    answer_and_turn(w);
    lose(w);
    w->log[0] = '\0';
    assert_int_equal(dispatcher_deadline(w->dispatcher), 0);
    turn(w);
    assert_int_equal(dispatcher_deadline(w->dispatcher), 6000);
    turn_after(w, 4999);
    assert_log(w, "");
    turn_after(w, 1);
    answer_and_turn(w);
    assert_log(w, "FINISH(m1,expired) m1=expired ");
    assert_int_equal(dispatcher_deadline(w->dispatcher), 66000); /* looks at the clock now and then */
    w->time.wall_ms += 195000;
    w->time.now_ms += 60000; /* it jumped */
    turn(w);
    assert_log(w, "FINISH(m2,expired) ");
    connect_now(w);
    receive(w, 0, "m1"); /* nobody's any more */
    receive(w, 0, "m2");
    turn(w);
    answer_and_turn(w);
    assert_log(w, "m2=expired ");
}

static void test_expires_on_the_wire(void **state)
{
    struct world *w = *state;

    queue(w, WALL + 5000);
    queue(w, WALL + ACK_TIMEOUT + 500);
    connect_now(w);
    turn(w);
    answer_and_turn(w);
    w->log[0] = '\0';
    turn_after(w, 5000);
    assert_log(w, ""); /* it has its chance to be answered */
    turn_after(w, ACK_TIMEOUT - 5000);
    assert_log(w, "FINISH(m1,expired) ");
    receive(w, 0, "m1");
    answer_and_turn(w);
    assert_log(w, "m1=expired ");
    assert_int_equal(dispatcher_deadline(w->dispatcher), w->time.now_ms + 500);
    turn_after(w, 500); /* the second, while it waits for its next try */
    assert_log(w, "FINISH(m2,expired) ");
}

static void test_expires_while_the_store_reads(void **state)
{
    struct world *w = *state;

    queue(w, WALL + ACK_TIMEOUT + 1500);
    connect_now(w);
    turn(w);
    answer_and_turn(w);
    turn_after(w, ACK_TIMEOUT);
    turn_after(w, 1000);
    w->log[0] = '\0';
    answer(w, ERROR_NONE);
    pass(w, 500);
    turn(w);
    assert_log(w, "FINISH(m1,expired) ");
}

/* ---- the stop ---- */

static void test_stop(void **state)
{
    struct world *w = *state;

    queue_many(w, 5);
    send_first(w, 0);
    receive(w, 0, "m1");
    turn(w);
    assert_log(w, "FINISH(m1,acked) TAKE(4,1) ");
    dispatcher_stop(w->dispatcher);
    session_shutdown(w->session, w->time.now_ms + 5000, w->time);
    receive(w, 0, "m2");
    assert_false(dispatcher_idle(w->dispatcher));
    turn(w);
    assert_log(w, "FINISH(m2,acked) ");
    answer(w, ERROR_NONE);
    answer_and_turn(w);
    assert_log(w, "m1=acked m5=sent "); /* taken, but not sent any more */
    assert_false(dispatcher_idle(w->dispatcher));
    answer_and_turn(w);
    assert_log(w, "m2=acked ");
    assert_true(dispatcher_idle(w->dispatcher)); /* what is on the wire is the session's to wait for */
    pass(w, 5000);
    session_tick(w->session, w->time);
    turn(w);
    assert_log(w, "close ");
    lose(w);
    turn(w);
    assert_true(session_finished(w->session));
    assert_true(dispatcher_idle(w->dispatcher));
    assert_log(w, "");
}

static void test_stop_takes_nothing(void **state)
{
    struct world *w = *state;

    queue_many(w, 1);
    connect_now(w);
    dispatcher_stop(w->dispatcher);
    turn(w);
    dispatcher_queued(w->dispatcher, w->time);
    assert_log(w, "");
    assert_true(dispatcher_idle(w->dispatcher));
}

static void test_idle(void **state)
{
    struct world *w = *state;

    queue_many(w, 1);
    assert_true(dispatcher_idle(w->dispatcher));
    connect_now(w);
    turn(w);
    assert_false(dispatcher_idle(w->dispatcher)); /* the TAKE is away */
    answer(w, ERROR_NONE);
    assert_false(dispatcher_idle(w->dispatcher)); /* … is there, unread */
    turn(w);
    assert_true(dispatcher_idle(w->dispatcher));
    receive(w, 0, "m1");
    assert_false(dispatcher_idle(w->dispatcher)); /* an answer, unread */
    turn(w);
    assert_false(dispatcher_idle(w->dispatcher)); /* the FINISH is away */
    answer(w, ERROR_NONE);
    assert_true(dispatcher_idle(w->dispatcher));
}

static void test_free_with_an_answer_unread(void **state)
{
    struct world *w = *state;

    queue_many(w, 1);
    connect_now(w);
    turn(w);
    answer(w, ERROR_NONE); /* teardown frees it */
}

static void test_stats(void **state)
{
    struct world *w = *state;
    struct json_writer out;
    char text[512];

    send_first(w, 3);
    receive(w, 0, "m1");
    receive(w, 1, "m2");
    lose(w);
    connect_now(w);
    turn(w);
    while (w->posted_count)
        answer(w, ERROR_NONE);
    turn(w);
    json_writer_init(&out, text, sizeof text - 1);
    dispatcher_write_stats(w->dispatcher, &out);
    *out.at = '\0';
    assert_string_equal(text,
                        ",\"outboxTaken\":3,\"outboxSent\":4,\"outboxRetried\":1,\"outboxAckTimeouts\":0,"
                        "\"outboxRefused\":0,\"outboxAcked\":1,\"outboxRejected\":1,\"outboxExpired\":0,"
                        "\"outboxMissing\":0,\"outboxTakeFailures\":0,\"outboxFinishFailures\":0,"
                        "\"outboxOnWire\":1,\"outboxHeld\":1");
}

/* ---- all of it at random ---- */

static unsigned chance(unsigned n)
{
    return (unsigned)rand() % n;
}

static unsigned unfinished(struct world *w)
{
    unsigned count = 0;

    while (w->low < w->row_count && w->rows[w->low + 1].finished)
        w->low++;
    for (unsigned n = w->low + 1; n <= w->row_count; n++)
        count += !w->rows[n].finished;
    return count;
}

/* What the server has got since the link is up, and has had no time to answer. */
static unsigned on_wire(const struct world *w)
{
    unsigned count = 0;

    for (unsigned n = w->low + 1; n <= w->row_count; n++)
        count += w->rows[n].on_wire && w->rows[n].state <= OUTBOX_SENT &&
                 w->rows[n].sent_ms + ACK_TIMEOUT > w->time.now_ms;
    return count;
}

/* Answers a message, sometimes one of the last link's, sometimes twice. */
static void random_answer(struct world *w)
{
    unsigned n = w->low + 1 + chance(1 + w->row_count - w->low);
    bool any = !chance(10);
    char id[16];

    while (n < w->row_count && !any && !w->rows[n].on_wire)
        n++;
    snprintf(id, sizeof id, "m%u", n);
    if (n <= w->row_count && w->rows[n].link)
        receive(w, chance(10) ? 0 : 5, id);
}

static void random_time(struct world *w)
{
    uint64_t deadline = dispatcher_deadline(w->dispatcher), ms = 1 + chance(3000);

    if (deadline > w->time.now_ms && deadline - w->time.now_ms < ms)
        ms = deadline - w->time.now_ms;
    pass(w, ms);
    if (!chance(200))
        w->time.wall_ms += (int64_t)chance(20000) - 10000;
    if (deadline <= w->time.now_ms) /* else nothing may be due */
        turn(w);
}

static void random_store(struct world *w)
{
    w->give_max = chance(3) ? 0 : 1 + chance(3);
    for (unsigned n = chance(4); n && w->posted_count; n--)
        answer(w, w->posted[0]->op == STORAGE_TAKE && !chance(10) ? ERROR_STORAGE : ERROR_NONE);
    turn(w);
}

static void random_link(struct world *w)
{
    if (session_can_send(w->session))
        lose(w);
    if (chance(4))
        connect_now(w);
    if (chance(2))
        turn(w);
}

/* A crash: what was posted may be carried out or not, but from the first one on. */
static void restart(struct world *w)
{
    unsigned done = chance(w->posted_count + 1);

    for (unsigned i = 0; i < done; i++)
        if (w->posted[i]->op == STORAGE_FINISH)
            carry_out(w, w->posted[i]);
    finish(w);
    for (unsigned n = 1; n <= w->row_count; n++)
        w->rows[n].on_wire = false;
    start(w);
}

static void random_queue(struct world *w)
{
    if (w->row_count + 1 < ROWS_MAX && unfinished(w) < 40) {
        queue(w, chance(4) ? NEVER : w->time.wall_ms + chance(90000));
        dispatcher_queued(w->dispatcher, w->time);
    }
}

static void random_step(struct world *w)
{
    static void (*const steps[])(struct world *) = {
        random_queue, random_queue, random_answer, random_answer, random_answer, random_answer,
        random_store, random_store, random_store,  random_time,   random_time};

    w->random = (uint64_t)rand() << 33;
    w->congested = !chance(20);
    if (!chance(5000))
        restart(w);
    else if (!chance(150))
        random_link(w);
    else if (w->row_count || chance(2))
        (w->row_count ? steps[chance(sizeof steps / sizeof steps[0])] : random_queue)(w);
}

/* Everything works again: all that is left is sent and answered. */
static void drain(struct world *w)
{
    char id[16];

    w->congested = false;
    w->give_max = 0;
    if (!session_can_send(w->session))
        connect_now(w);
    for (unsigned rounds = 0; unfinished(w) || !dispatcher_idle(w->dispatcher); rounds++) {
        assert_true(rounds < 10000);
        turn(w);
        while (w->posted_count)
            answer_and_turn(w);
        for (unsigned n = 1; n <= w->row_count; n++) {
            snprintf(id, sizeof id, "m%u", n);
            if (w->rows[n].on_wire)
                receive(w, 0, id);
        }
        pass(w, 1000);
    }
}

static void test_random(void **state)
{
    struct world *w = *state;

    srand(11);
    w->silent = true;
    for (unsigned round = 0; round < 20; round++) {
        w->row_count = w->low = 0;
        w->options.window = 1 + chance(8);
        restart(w);
        for (unsigned step = 0; step < 10000; step++) {
            random_step(w);
            assert_true(on_wire(w) <= w->options.window);
            assert_int_equal(w->first_disorders, 0);
        }
        drain(w);
        for (unsigned n = 1; n <= w->row_count; n++)
            assert_int_equal(w->rows[n].finished, 1);
    }
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_takes_sends_and_records),
        TEST(test_queued_is_taken_at_once),
        TEST(test_queued_while_taking),
        TEST(test_window),
        TEST(test_more_than_one_take),
        TEST(test_rows_of_an_earlier_run),
        TEST(test_rejected_is_final),
        TEST(test_finish_that_fails_is_dropped),
        TEST(test_lost_link_sends_again_in_order),
        TEST(test_lost_link_with_a_smaller_window),
        TEST(test_link_lost_while_taking),
        TEST(test_link_flaps_while_taking),
        TEST(test_answer_after_the_link_was_lost),
        TEST(test_ack_timeout),
        TEST(test_backoff_grows_to_its_cap),
        TEST(test_late_answer),
        TEST(test_lost_link_ends_the_backoff),
        TEST(test_id_of_somebody_else),
        TEST(test_no_memory),
        TEST(test_congestion),
        TEST(test_take_fails),
        TEST(test_take_fails_while_the_link_is_down),
        TEST(test_store_that_takes_nothing),
        TEST(test_rows_known_already),
        TEST(test_rows_that_are_missing),
        TEST(test_full_pool),
        TEST(test_expires_without_a_link),
        TEST(test_expires_on_the_wire),
        TEST(test_expires_while_the_store_reads),
        TEST(test_stop),
        TEST(test_stop_takes_nothing),
        TEST(test_idle),
        TEST(test_free_with_an_answer_unread),
        TEST(test_stats),
        TEST(test_random),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
