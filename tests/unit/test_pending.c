/* pending: the table of sends that wait, and the memory of those that were answered. */
#include "pending.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static enum pending_result add(struct pending *p, const char *id, uint64_t deadline)
{
    return pending_add(p, id, strlen(id), (void *)(uintptr_t)deadline, deadline, 0);
}

static struct pending_entry *find(struct pending *p, const char *id)
{
    return pending_find(p, id, strlen(id));
}

static void test_life_of_an_entry(void **state)
{
    struct pending p;

    assert_int_equal(pending_init(&p, 4, 2, 1), 0);
    assert_null(find(&p, "a"));
    assert_int_equal(add(&p, "a", 10), PENDING_ADDED);
    assert_int_equal(add(&p, "a", 11), PENDING_KNOWN);
    assert_int_equal(find(&p, "a")->state, PENDING_WAITING);
    assert_ptr_equal(find(&p, "a")->call, (void *)10);
    pending_finish(&p, find(&p, "a"), PENDING_ANSWERED);
    assert_int_equal(p.waiting_count, 0);
    assert_int_equal(find(&p, "a")->state, PENDING_ANSWERED);
    assert_int_equal(add(&p, "a", 12), PENDING_KNOWN);
    pending_deinit(&p);
    pending_deinit(&p);
}

static void test_unknown_may_be_sent_again(void **state)
{
    struct pending p;

    assert_int_equal(pending_init(&p, 4, 2, 1), 0);
    assert_int_equal(add(&p, "a", 10), PENDING_ADDED);
    pending_finish(&p, find(&p, "a"), PENDING_UNKNOWN);
    assert_int_equal(add(&p, "a", 20), PENDING_ADDED);
    assert_int_equal(find(&p, "a")->state, PENDING_WAITING);
    assert_int_equal(find(&p, "a")->deadline_ms, 20);
    assert_int_equal(p.waiting_count, 1);
    pending_finish(&p, find(&p, "a"), PENDING_UNKNOWN);
    pending_finish(&p, find(&p, "a"), PENDING_ANSWERED); /* the late ack */
    assert_int_equal(p.waiting_count, 0);
    pending_deinit(&p);
}

static void test_earliest_deadline_is_first(void **state)
{
    struct pending p;

    assert_int_equal(pending_init(&p, 8, 2, 1), 0);
    assert_null(pending_first(&p));
    add(&p, "b", 20);
    add(&p, "c", 30);
    add(&p, "a", 10);
    add(&p, "b2", 20);
    for (const char *const *id = (const char *const[]){"a", "b", "b2", "c", NULL}; *id; id++) {
        assert_ptr_equal(pending_first(&p), find(&p, *id));
        pending_finish(&p, pending_first(&p), PENDING_ANSWERED);
    }
    assert_null(pending_first(&p));
    pending_deinit(&p);
}

static void test_full_and_forgetting(void **state)
{
    struct pending p;
    char id[16];

    assert_int_equal(pending_init(&p, 4, 0, 1), 0);
    for (int i = 0; i < 4; i++) {
        snprintf(id, sizeof id, "%d", i);
        assert_int_equal(add(&p, id, 10), PENDING_ADDED);
    }
    assert_int_equal(add(&p, "5", 10), PENDING_FULL);
    /* 100 more go through, one at a time; the last ones stay known, the first ones are forgotten. */
    for (int i = 4; i < 104; i++) {
        pending_finish(&p, pending_first(&p), PENDING_ANSWERED);
        snprintf(id, sizeof id, "%d", i);
        assert_int_equal(add(&p, id, 10), PENDING_ADDED);
    }
    assert_null(find(&p, "0"));
    assert_null(find(&p, "95"));
    assert_int_equal(find(&p, "96")->state, PENDING_ANSWERED);
    assert_int_equal(find(&p, "99")->state, PENDING_ANSWERED);
    assert_int_equal(find(&p, "100")->state, PENDING_WAITING);
    assert_int_equal(p.waiting_count, 4);
    pending_deinit(&p);
}

static void test_outbox_has_its_own_room(void **state)
{
    struct pending p;

    assert_int_equal(pending_init(&p, 1, 2, 1), 0);
    assert_int_equal(add(&p, "q1", PENDING_NO_DEADLINE), PENDING_ADDED);
    assert_int_equal(add(&p, "q2", PENDING_NO_DEADLINE), PENDING_ADDED);
    assert_int_equal(add(&p, "q3", PENDING_NO_DEADLINE), PENDING_FULL);
    assert_null(pending_first(&p));
    assert_int_equal(add(&p, "a", 10), PENDING_ADDED);
    assert_int_equal(add(&p, "b", 10), PENDING_FULL);
    assert_ptr_equal(pending_first(&p), find(&p, "a"));
    assert_ptr_equal(pending_first_queued(&p), find(&p, "q1"));
    assert_int_equal(p.waiting_count, 1);
    assert_int_equal(p.queued_count, 2);
    pending_finish(&p, find(&p, "q1"), PENDING_ANSWERED);
    assert_null(find(&p, "q1")->call);
    assert_ptr_equal(pending_first_queued(&p), find(&p, "q2"));
    assert_int_equal(p.queued_count, 1);
    assert_int_equal(add(&p, "q3", PENDING_NO_DEADLINE), PENDING_ADDED);
    pending_deinit(&p);
}

/* A late answer ends a message of the outbox as well: its call stays until it is abandoned. */
static void test_unknown_of_the_outbox_keeps_its_call(void **state)
{
    struct pending p;

    assert_int_equal(pending_init(&p, 2, 2, 1), 0);
    add(&p, "a", 10);
    add(&p, "q", PENDING_NO_DEADLINE);
    pending_finish(&p, find(&p, "a"), PENDING_UNKNOWN);
    pending_finish(&p, find(&p, "q"), PENDING_UNKNOWN);
    assert_null(find(&p, "a")->call);
    assert_ptr_equal(find(&p, "q")->call, (void *)(uintptr_t)PENDING_NO_DEADLINE);
    assert_int_equal(p.queued_count, 0);
    pending_abandon(&p, find(&p, "q"));
    assert_null(find(&p, "q")->call);
    assert_int_equal(add(&p, "q", PENDING_NO_DEADLINE), PENDING_ADDED);
    pending_abandon(&p, find(&p, "q")); /* while it waits */
    assert_int_equal(find(&p, "q")->state, PENDING_UNKNOWN);
    assert_null(find(&p, "q")->call);
    assert_int_equal(p.queued_count, 0);
    assert_null(pending_first_queued(&p));
    pending_deinit(&p);
}

/* Against a model: random adds, finishes and finds over few ids. */
static void test_random_against_model(void **state)
{
    enum { IDS = 24, WAITING = 8 };
    int model[IDS]; /* -1: never, or perhaps forgotten */
    struct pending p;
    size_t waiting = 0;

    srand(7);
    memset(model, -1, sizeof model);
    assert_int_equal(pending_init(&p, WAITING, 0, 99), 0);
    for (int step = 0; step < 200000; step++) {
        int n = rand() % IDS;
        char id[8];
        struct pending_entry *e;

        snprintf(id, sizeof id, "id%d", n);
        e = find(&p, id);
        if (!e) {
            assert_int_not_equal(model[n], PENDING_WAITING);
            model[n] = -1;
        } else {
            assert_int_equal(e->state, model[n]);
        }
        if (e && e->state == PENDING_WAITING && rand() % 2) {
            model[n] = rand() % 2 ? PENDING_UNKNOWN : PENDING_ANSWERED;
            pending_finish(&p, e, (enum pending_state)model[n]);
            waiting--;
        } else {
            enum pending_result r = add(&p, id, (uint64_t)(rand() % 1000));

            if (model[n] == PENDING_WAITING || model[n] == PENDING_ANSWERED) {
                assert_int_equal(r, PENDING_KNOWN);
            } else if (waiting == WAITING) {
                assert_int_equal(r, PENDING_FULL);
            } else {
                assert_int_equal(r, PENDING_ADDED);
                model[n] = PENDING_WAITING;
                waiting++;
            }
        }
        assert_int_equal(p.waiting_count, waiting);
        for (const struct pending_entry *w = pending_first(&p); w && w->newer; w = w->newer)
            assert_true(w->deadline_ms <= w->newer->deadline_ms);
    }
    pending_deinit(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_life_of_an_entry),
        cmocka_unit_test(test_unknown_may_be_sent_again),
        cmocka_unit_test(test_earliest_deadline_is_first),
        cmocka_unit_test(test_full_and_forgetting),
        cmocka_unit_test(test_outbox_has_its_own_room),
        cmocka_unit_test(test_unknown_of_the_outbox_keeps_its_call),
        cmocka_unit_test(test_random_against_model),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
