/* store: the outbox. A message's life, told by what each request gives, across restarts. */
#include "store_rig.h"
#include "vocabulary.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEVER (rig_now() + 86400000)

static struct storage_take take_of(int64_t after)
{
    return (struct storage_take){
        .request.op = STORAGE_TAKE, .after = after, .limit = 100, .max_bytes = 1 << 20, .now_ms = rig_now()};
}

static void check_message(const struct outbox_message *m, const char *id, unsigned attempts)
{
    size_t len;
    const uint8_t *frame = rig_frame(id, &len);

    assert_int_equal(m->entry.id_len, strlen(id));
    assert_memory_equal(m->entry.id, id, strlen(id));
    assert_int_equal(m->entry.state, OUTBOX_SENT);
    assert_int_equal(m->entry.attempts, attempts);
    assert_int_equal(m->frame_len, len);
    assert_memory_equal(m->frame, frame, len);
}

static enum error finish(struct rig *r, const struct outbox_entry *e, enum outbox_state state, int64_t code)
{
    struct storage_finish f = {.request.op = STORAGE_FINISH, .entry = *e};

    f.entry.state = (uint8_t)state;
    f.entry.has_code = true;
    f.entry.code = code;
    f.entry.changed_ms = rig_now();
    return rig_do(r, &f.request);
}

static struct storage_list list(struct rig *r, const char *id, uint32_t limit)
{
    struct storage_list l = {.request.op = STORAGE_LIST, .limit = limit};

    if (id) {
        l.id_len = (uint16_t)strlen(id);
        memcpy(l.id, id, l.id_len);
    }
    assert_int_equal(rig_do(r, &l.request), ERROR_NONE);
    return l;
}

static enum outbox_state state_of(struct rig *r, const char *id)
{
    struct storage_list l = list(r, id, 1);

    assert_int_equal(l.count, 1);
    enum outbox_state state = l.entries[0].state;
    free(l.entries);
    return state;
}

static enum error cancel(struct rig *r, const char *id, enum outbox_state *state)
{
    struct storage_cancel c = {.request.op = STORAGE_CANCEL,
                               .entry = {.id_len = (uint16_t)strlen(id), .changed_ms = rig_now()}};

    memcpy(c.entry.id, id, strlen(id));
    enum error e = rig_do(r, &c.request);
    *state = c.entry.state;
    return e;
}

static void test_life(void **state)
{
    struct rig *r = *state;
    struct storage_queue q;

    assert_int_equal(rig_start(r), 0);
    assert_int_equal(rig_queue(r, "a", NEVER, &q), ERROR_NONE);
    assert_false(q.known);
    assert_int_equal(q.entry.state, OUTBOX_QUEUED);
    assert_int_equal(rig_queue(r, "b", NEVER, NULL), ERROR_NONE);
    assert_int_equal(rig_report(r).queued, 2);
    assert_int_equal(state_of(r, "b"), OUTBOX_QUEUED);

    struct storage_take t = take_of(0);
    assert_int_equal(rig_do(r, &t.request), ERROR_NONE);
    assert_int_equal(t.count, 2);
    assert_false(t.more);
    check_message(&t.messages[0], "a", 1);
    check_message(&t.messages[1], "b", 1);
    assert_int_equal(t.last, t.messages[1].entry.row);
    assert_int_equal(state_of(r, "a"), OUTBOX_SENT);

    int64_t rows[] = {t.messages[1].entry.row};
    struct storage_take again = take_of(0);
    again.rows = rows;
    again.row_count = 1;
    assert_int_equal(rig_do(r, &again.request), ERROR_NONE);
    assert_int_equal(again.count, 1);
    check_message(&again.messages[0], "b", 2);
    free(again.block);

    assert_int_equal(finish(r, &t.messages[0].entry, OUTBOX_ACKED, 0), ERROR_NONE);
    assert_int_equal(finish(r, &t.messages[0].entry, OUTBOX_REJECTED, 7), ERROR_NONE); /* gone: nothing */
    assert_int_equal(finish(r, &t.messages[1].entry, OUTBOX_REJECTED, 7), ERROR_NONE);
    free(t.block);
    assert_int_equal(rig_report(r).queued, 0);
    assert_int_equal(state_of(r, "a"), OUTBOX_ACKED);
    struct storage_list l = list(r, "b", 1);
    assert_int_equal(l.entries[0].state, OUTBOX_REJECTED);
    assert_int_equal(l.entries[0].code, 7);
    assert_int_equal(l.entries[0].attempts, 2);
    free(l.entries);
}

static void test_known(void **state)
{
    struct rig *r = *state;
    struct storage_queue q;

    assert_int_equal(rig_start(r), 0);
    assert_int_equal(rig_queue(r, "a", NEVER, NULL), ERROR_NONE);
    assert_int_equal(rig_queue(r, "a", NEVER, &q), ERROR_NONE);
    assert_true(q.known);
    assert_int_equal(q.entry.state, OUTBOX_QUEUED);
    struct storage_take t = take_of(0);
    assert_int_equal(rig_do(r, &t.request), ERROR_NONE);
    assert_int_equal(t.count, 1);
    assert_int_equal(finish(r, &t.messages[0].entry, OUTBOX_ACKED, 0), ERROR_NONE);
    free(t.block);
    rig_stop(r);
    assert_int_equal(rig_start(r), 0);
    assert_int_equal(rig_queue(r, "a", NEVER, &q), ERROR_NONE);
    assert_true(q.known);
    assert_int_equal(q.entry.state, OUTBOX_ACKED);
    assert_int_equal(rig_report(r).queued, 0);
}

static void test_full(void **state)
{
    struct rig *r = *state;
    enum outbox_state s;

    r->options.outbox_max = 2;
    assert_int_equal(rig_start(r), 0);
    assert_int_equal(rig_queue(r, "a", NEVER, NULL), ERROR_NONE);
    assert_int_equal(rig_queue(r, "b", NEVER, NULL), ERROR_NONE);
    assert_int_equal(rig_queue(r, "c", NEVER, NULL), ERROR_BUSY);
    assert_int_equal(cancel(r, "a", &s), ERROR_NONE);
    assert_int_equal(s, OUTBOX_CANCELLED);
    assert_int_equal(rig_queue(r, "c", NEVER, NULL), ERROR_NONE);
    r->options.outbox_max = 3;
    store_configure(r->store, &r->options);
    assert_int_equal(rig_queue(r, "a", NEVER, NULL), ERROR_NONE); /* is not remembered */
}

static void test_cancel(void **state)
{
    struct rig *r = *state;
    enum outbox_state s;

    assert_int_equal(rig_start(r), 0);
    assert_int_equal(rig_queue(r, "a", NEVER, NULL), ERROR_NONE);
    assert_int_equal(cancel(r, "x", &s), ERROR_NOT_FOUND);
    struct storage_take t = take_of(0);
    assert_int_equal(rig_do(r, &t.request), ERROR_NONE);
    assert_int_equal(cancel(r, "a", &s), ERROR_CONFLICT);
    assert_int_equal(s, OUTBOX_SENT);
    rig_stop(r);
    assert_int_equal(rig_start(r), 0);
    assert_int_equal(cancel(r, "a", &s), ERROR_CONFLICT); /* taken in another run */
    assert_int_equal(finish(r, &t.messages[0].entry, OUTBOX_ACKED, 0), ERROR_NONE);
    free(t.block);
    assert_int_equal(cancel(r, "a", &s), ERROR_CONFLICT);
    assert_int_equal(s, OUTBOX_ACKED);
}

static void test_take_in_parts(void **state)
{
    struct rig *r = *state;
    int64_t after = 0;
    char id[8];

    assert_int_equal(rig_start(r), 0);
    for (unsigned i = 0; i < 10; i++) {
        snprintf(id, sizeof(id), "m%u", i);
        assert_int_equal(rig_queue(r, id, NEVER, NULL), ERROR_NONE);
    }
    for (unsigned i = 0; i < 10; i++) {
        struct storage_take t = take_of(after);
        t.max_bytes = i % 2 ? 1 : 1 << 20;
        t.limit = i % 2 ? 100 : 1;
        assert_int_equal(rig_do(r, &t.request), ERROR_NONE);
        assert_int_equal(t.count, 1);
        snprintf(id, sizeof(id), "m%u", i);
        check_message(&t.messages[0], id, 1);
        assert_int_equal(t.more, i < 9);
        after = t.last;
        free(t.block);
    }
    struct storage_take t = take_of(after);
    assert_int_equal(rig_do(r, &t.request), ERROR_NONE);
    assert_int_equal(t.count, 0);
    assert_null(t.block);
    struct storage_list l = list(r, NULL, 4);
    assert_int_equal(l.count, 4);
    assert_memory_equal(l.entries[0].id, "m6", 2);
    assert_memory_equal(l.entries[3].id, "m9", 2);
    free(l.entries);
}

/* What nobody has taken the store expires; what was taken is the taker's, in this run. */
static void test_expiry(void **state)
{
    struct rig *r = *state;

    assert_int_equal(rig_start(r), 0);
    assert_int_equal(rig_queue(r, "taken", rig_now() + 50, NULL), ERROR_NONE);
    struct storage_take t = take_of(0);
    t.now_ms = 0;
    assert_int_equal(rig_do(r, &t.request), ERROR_NONE);
    assert_int_equal(t.count, 1);
    free(t.block);
    assert_int_equal(rig_queue(r, "late", rig_now() + 60, NULL), ERROR_NONE);
    assert_int_equal(rig_queue(r, "stays", NEVER, NULL), ERROR_NONE);
    while (r->expired_count == 0)
        rig_turn(r);
    assert_int_equal(r->expired_count, 1);
    assert_memory_equal(r->expired[0].id, "late", 4);
    assert_int_equal(r->expired[0].state, OUTBOX_EXPIRED);
    assert_int_equal(state_of(r, "late"), OUTBOX_EXPIRED);
    assert_int_equal(state_of(r, "taken"), OUTBOX_SENT);
    assert_int_equal(state_of(r, "stays"), OUTBOX_QUEUED);
    rig_stop(r);
    assert_int_equal(rig_start(r), 0); /* now it is nobody's */
    while (r->expired_count == 1)
        rig_turn(r);
    assert_memory_equal(r->expired[1].id, "taken", 5);
    assert_int_equal(state_of(r, "taken"), OUTBOX_EXPIRED);
}

/* More than are told at a time; and those that a TAKE passes over are told too. */
static void test_many_expire(void **state)
{
    struct rig *r = *state;
    char id[16];

    assert_int_equal(rig_start(r), 0);
    int64_t soon = rig_now() + 200;
    for (unsigned i = 0; i < 300; i++) {
        snprintf(id, sizeof(id), "m%u", i);
        assert_int_equal(rig_queue(r, id, i % 2 ? NEVER : soon, NULL), ERROR_NONE);
    }
    struct storage_take t = take_of(0);
    t.now_ms = soon;
    t.limit = 1000;
    assert_int_equal(rig_do(r, &t.request), ERROR_NONE);
    assert_int_equal(t.count + r->expired_count, 150 + r->expired_count);
    for (unsigned i = 0; i < t.count; i++)
        assert_int_equal(t.messages[i].entry.id[t.messages[i].entry.id_len - 1] % 2, 1);
    free(t.block);
    while (r->expired_count < 150)
        rig_turn(r);
    assert_int_equal(rig_report(r).queued <= 300, 1);
    struct storage_list l = list(r, NULL, 1000);
    assert_int_equal(l.count, 300);
    for (unsigned i = 0; i < 300; i++)
        assert_int_equal(l.entries[i].state, i < 150 ? OUTBOX_EXPIRED : OUTBOX_SENT);
    free(l.entries);
}

static void test_forgets(void **state)
{
    struct rig *r = *state;
    char id[16];

    r->options.outbox_max = 3; /* 30 are remembered */
    assert_int_equal(rig_start(r), 0);
    for (unsigned i = 0; i < 50; i++) {
        snprintf(id, sizeof(id), "m%u", i);
        assert_int_equal(rig_queue(r, id, NEVER, NULL), ERROR_NONE);
        struct storage_take t = take_of(0);
        assert_int_equal(rig_do(r, &t.request), ERROR_NONE);
        assert_int_equal(finish(r, &t.messages[0].entry, OUTBOX_ACKED, 0), ERROR_NONE);
        free(t.block);
    }
    struct storage_list l;
    do { /* chores come when nothing else waits */
        l = list(r, NULL, 100);
        free(l.entries);
    } while (l.count > 30);
    assert_int_equal(l.count, 30);
    r->options.outbox_keep_ms = 0;
    store_configure(r->store, &r->options);
    do {
        l = list(r, NULL, 100);
        free(l.entries);
    } while (l.count > 0);
}

#define with_rig(f) cmocka_unit_test_setup_teardown(f, rig_set_up, rig_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_rig(test_life),    with_rig(test_known),         with_rig(test_full),
        with_rig(test_cancel),  with_rig(test_expiry),        with_rig(test_many_expire),
        with_rig(test_forgets), with_rig(test_take_in_parts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
