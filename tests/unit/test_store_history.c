/*
 * store: the history. What is appended is read back byte by byte, upwards and downwards, filtered, in pages;
 * what is missing is told.
 */
#include "store_rig.h"
#include "event.h"
#include "filter.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The lines of those of from .. to that `wanted` likes (NULL: all). */
static char *expect(uint64_t from, uint64_t to, bool reverse, bool (*wanted)(uint64_t seq))
{
    char *all = calloc(1, (to - from + 1) * RIG_LINE + 1);
    size_t len = 0;

    for (uint64_t n = 0; n <= to - from; n++) {
        uint64_t seq = reverse ? to - n : from + n;
        if (!wanted || wanted(seq))
            len += rig_line(all + len, seq);
    }
    all[len] = '\0';
    return all;
}

static void check(struct rig *r, struct storage_read read, const char *wanted)
{
    unsigned count;
    char *got = rig_read_all(r, read, &count);

    assert_string_equal(got, wanted);
    free(got);
}

static void check_range(struct rig *r, struct storage_read read, bool (*wanted)(uint64_t))
{
    char *lines = expect(read.after + 1, read.head, read.reverse, wanted);

    check(r, read, lines);
    free(lines);
}

static void fill(struct rig *r, unsigned batches, unsigned count)
{
    for (unsigned i = 0; i < batches; i++)
        assert_int_equal(rig_append(r, count, 1000000 + (int64_t)r->seq), ERROR_NONE);
}

static void test_exact(void **state)
{
    struct rig *r = *state;

    assert_int_equal(rig_start(r), 0);
    assert_int_equal(r->seq, 0);
    fill(r, 3, 1000);
    struct storage_read read = rig_read_of(0, r->seq);
    check_range(r, read, NULL);
    read.after = 17;
    read.head = 2345;
    check_range(r, read, NULL);
    read.reverse = true;
    check_range(r, read, NULL);
    read.after = read.head;
    check(r, read, "");
    assert_int_equal(rig_report(r).appended, 3000);
    assert_int_equal(rig_report(r).oldest, 1);
}

static void test_pages(void **state)
{
    struct rig *r = *state;

    assert_int_equal(rig_start(r), 0);
    fill(r, 1, 300);
    for (unsigned reverse = 0; reverse < 2; reverse++) {
        struct storage_read read = rig_read_of(0, r->seq);
        read.reverse = reverse;
        read.limit = 7;
        check_range(r, read, NULL);
        read.limit = 1000;
        read.max_bytes = 1; /* one line at a time all the same */
        check_range(r, read, NULL);
        read.max_bytes = 1000;
        check_range(r, read, NULL);
    }
    struct storage_read read = rig_read_of(10, r->seq);
    read.limit = 5;
    assert_int_equal(rig_do(r, &read.request), ERROR_NONE);
    assert_int_equal(read.count, 5);
    assert_int_equal(read.through, 15);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(read.lines[i].seq, 11 + i);
    free(read.bytes);
    free(read.lines);
}

static bool is_user3(uint64_t seq)
{
    return seq % RIG_SENDERS == 3;
}

static bool is_conversation1(uint64_t seq)
{
    return seq % 3 == 1;
}

static bool is_none(uint64_t seq)
{
    return false;
}

/* Small batches: segments of one event, so that there are several blocks and some that have none yet. */
static void test_filters(void **state)
{
    struct rig *r = *state;
    struct filter *user3 = rig_filter("user3", NULL, NULL), *both = rig_filter("user3", "TxtMsg", NULL),
                  *nobody = rig_filter("user33", NULL, NULL), *signal = rig_filter(NULL, NULL, "x"),
                  *conversation = rig_filter(NULL, NULL, NULL);

    conversation->conversations_given = true;
    conversation->conversations = 1u << 1;
    assert_int_equal(rig_start(r), 0);
    struct rig_batch *batches[16];
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < 16; i++)
            batches[i] = rig_post_append(r, 1 + i % 3, 5000 + (int64_t)r->seq);
        for (unsigned i = 0; i < 16; i++)
            assert_int_equal(rig_wait_append(r, batches[i]), ERROR_NONE);
    }
    for (unsigned way = 0; way < 4; way++) {
        struct storage_read read = rig_read_of(0, r->seq);
        read.reverse = way & 1;
        read.gaps = way & 2;
        read.filter = user3;
        check_range(r, read, is_user3);
        read.filter = both;
        check_range(r, read, is_user3);
        read.limit = 1;
        check_range(r, read, is_user3);
        read.after = 100;
        read.head = 333;
        check_range(r, read, is_user3);
        read.filter = nobody;
        check_range(r, read, is_none);
        read.filter = signal;
        check_range(r, read, is_none);
        read.filter = conversation;
        check_range(r, read, is_conversation1);
        read.filter = NULL;
        read.kinds = 1u << EVENT_SENT;
        check_range(r, read, is_none);
    }
    free(user3);
    free(both);
    free(nobody);
    free(signal);
    free(conversation);
}

static void check_gap(struct rig *r, struct storage_read read, uint64_t from, uint64_t to, const char *reason)
{
    char line[EVENT_GAP_MAX];
    struct json_writer w;

    json_writer_init(&w, line, sizeof(line) - 1);
    event_write_gap(&w, from, to, reason);
    *w.at = '\0';
    check(r, read, line);
}

static void test_holes(void **state)
{
    struct rig *r = *state;

    assert_int_equal(rig_start(r), 0);
    r->seq = 10; /* 1 to 10 were never appended */
    fill(r, 1, 10);
    r->seq = 30;
    fill(r, 1, 10);
    check_gap(r, rig_read_of(0, 10), 1, 10, GAP_PRUNED);
    check_gap(r, rig_read_of(20, 30), 21, 30, GAP_STORAGE);
    check_gap(r, rig_read_of(40, 50), 41, 50, GAP_STORAGE);
    check_gap(r, rig_read_of(23, 27), 24, 27, GAP_STORAGE);
    check_range(r, rig_read_of(10, 20), NULL);
    struct storage_read read = rig_read_of(0, 20);
    read.from_oldest = true;
    unsigned count;
    char *got = rig_read_all(r, read, &count), *wanted = expect(11, 20, false, NULL);
    assert_string_equal(got, wanted);
    free(got);
    read = rig_read_of(0, 50);
    got = rig_read_all(r, read, &count);
    assert_int_equal(count, 3 + 20);
    free(got);
    read.gaps = false;
    got = rig_read_all(r, read, &count);
    assert_int_equal(count, 20);
    free(got);
    free(wanted);
}

static void test_restart(void **state)
{
    struct rig *r = *state;

    assert_int_equal(rig_start(r), 0);
    fill(r, 2, 500);
    struct storage_reserve reserve = {.request.op = STORAGE_RESERVE, .through = 5000};
    assert_int_equal(rig_do(r, &reserve.request), ERROR_NONE);
    rig_stop(r);
    assert_int_equal(rig_start(r), 0);
    assert_int_equal(r->seq, 1000);
    fill(r, 1, 500);
    check_range(r, rig_read_of(0, r->seq), NULL);
}

static void test_no_history(void **state)
{
    struct rig *r = *state;

    r->options.history = false;
    assert_int_equal(rig_start(r), 0);
    fill(r, 1, 10);
    check_gap(r, rig_read_of(0, 10), 1, 10, GAP_NO_HISTORY);
    rig_stop(r);
    r->options.history = true;
    assert_int_equal(rig_start(r), 0);
    assert_int_equal(r->seq, 10);
    fill(r, 1, 10);
    check_gap(r, rig_read_of(3, 10), 4, 10, GAP_NO_HISTORY);
    check_range(r, rig_read_of(10, 20), NULL);
}

static void test_consumers(void **state)
{
    struct rig *r = *state;
    struct storage_consumer c = {.request.op = STORAGE_CONSUMER, .name = "deploy", .name_len = 6, .seq = 5};

    assert_int_equal(rig_start(r), 0);
    assert_int_equal(rig_do(r, &c.request), ERROR_NOT_FOUND);
    c.create = true;
    assert_int_equal(rig_do(r, &c.request), ERROR_NONE);
    assert_int_equal(c.seq, 5);
    c.seq = 99;
    assert_int_equal(rig_do(r, &c.request), ERROR_NONE);
    assert_int_equal(c.seq, 5);
    c.create = false;
    c.seq = 9;
    assert_int_equal(rig_do(r, &c.request), ERROR_NONE);
    c.seq = 7; /* never back */
    assert_int_equal(rig_do(r, &c.request), ERROR_NONE);
    assert_int_equal(c.seq, 9);
    rig_stop(r);
    assert_int_equal(rig_start(r), 0);
    c.create = true;
    c.seq = 0;
    assert_int_equal(rig_do(r, &c.request), ERROR_NONE);
    assert_int_equal(c.seq, 9);
}

#define with_rig(f) cmocka_unit_test_setup_teardown(f, rig_set_up, rig_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_rig(test_exact),   with_rig(test_pages),      with_rig(test_filters),   with_rig(test_holes),
        with_rig(test_restart), with_rig(test_no_history), with_rig(test_consumers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
