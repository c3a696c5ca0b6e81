/* ring: lines across the end, eviction, blocks of their own, growth while writing. */
#include "ring.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SIZE (64u << 10)
#define LEAD 16

static uint64_t overtaken_last;
static unsigned overtaken_count;

static void overtaking(void *owner, uint64_t ordinal)
{
    struct ring *r = owner;

    overtaken_last = ordinal;
    overtaken_count++;
    r->guard = ordinal + 1;
}

static void setup(struct ring *r, size_t block_limit)
{
    assert_int_equal(ring_init(r, SIZE, block_limit, NULL), 0);
    assert_int_equal(r->size, SIZE);
    overtaken_count = 0;
}

/* A line of `len` bytes: fill, '\n', with a lead of which `lead_used` bytes are used. */
static bool put(struct ring *r, size_t len, char fill, size_t hint, size_t lead_used)
{
    struct json_writer *w = ring_begin(r, hint, LEAD);
    struct event e = {.kind = EVENT_MESSAGE, .seq = r->head + 1};

    if (!w)
        return false;
    for (size_t i = lead_used; i < len - 1; i++)
        json_raw(w, &fill, 1);
    json_literal(w, "\n");
    if (!w->failed)
        memset(w->base - lead_used, fill, lead_used);
    return ring_end(r, lead_used, &e);
}

static void assert_line(const struct ring *r, uint64_t ordinal, size_t len, char fill)
{
    const struct ring_entry *e = ring_entry(r, ordinal);
    const char *line = ring_line(r, e);

    assert_int_equal(e->len, len);
    assert_int_equal(line[len - 1], '\n');
    for (size_t i = 0; i < len - 1; i++)
        assert_int_equal(line[i], fill);
}

static void test_lines_are_contiguous(void **state)
{
    struct ring r;

    setup(&r, 0);
    assert_true(put(&r, 100, 'a', 100, LEAD));
    assert_true(
        put(&r, 200, 'b', 10, 5)); /* part of the lead is not used: the line moves up to its neighbour */
    assert_true(put(&r, 300, 'c', 300, 0));
    assert_line(&r, 0, 100, 'a');
    assert_line(&r, 1, 200, 'b');
    assert_line(&r, 2, 300, 'c');
    assert_int_equal(ring_entry(&r, 1)->at, 100);
    assert_int_equal(ring_entry(&r, 2)->at, 300);
    assert_int_equal(ring_lag(&r, 0), 600);
    assert_int_equal(ring_lag(&r, 3), 0);
    ring_deinit(&r);
    ring_deinit(&r);
}

static void test_across_the_end(void **state)
{
    struct ring r;

    setup(&r, 0);
    for (int i = 0; i < 5000; i++) {
        assert_true(put(&r, 997, (char)('a' + i % 26), 997, LEAD));
        assert_line(&r, r.head - 1, 997, (char)('a' + i % 26));
        assert_line(&r, r.tail, 997, (char)('a' + r.tail % 26));
        assert_true(r.head_byte - r.tail_byte <= SIZE);
    }
    assert_true(r.head - r.tail > 50);
    ring_deinit(&r);
}

static void test_guard_is_told(void **state)
{
    struct ring r;

    setup(&r, 0);
    r.overtaking = overtaking;
    r.owner = &r;
    r.guard = 10;
    while (r.tail < 10)
        put(&r, 1000, 'x', 1000, LEAD);
    assert_int_equal(overtaken_count, 0);
    while (r.tail < 11)
        put(&r, 1000, 'x', 1000, LEAD);
    assert_int_equal(overtaken_count, 1);
    assert_int_equal(overtaken_last, 10);
    ring_deinit(&r);
}

static void test_growing_into_a_block(void **state)
{
    struct ring r;

    setup(&r, 1 << 20);
    assert_true(put(&r, 100, 'a', 100, LEAD));
    assert_true(put(&r, 50000, 'b', 10, LEAD)); /* a wrong hint: begins in the ring, ends in a block */
    assert_true(put(&r, 60000, 'c', 60000, 3)); /* a right one */
    assert_true(put(&r, 100, 'd', 100, LEAD));
    assert_null(ring_entry(&r, 0)->block);
    assert_non_null(ring_entry(&r, 1)->block);
    assert_non_null(ring_entry(&r, 2)->block);
    assert_line(&r, 0, 100, 'a');
    assert_line(&r, 1, 50000, 'b');
    assert_line(&r, 2, 60000, 'c');
    assert_line(&r, 3, 100, 'd');
    assert_int_equal(r.tail, 0); /* large lines do not empty the ring */
    assert_int_equal(r.block_bytes, 110000);
    ring_release_blocks(&r, 2);
    assert_int_equal(r.block_bytes, 60000);
    assert_line(&r, 2, 60000, 'c');
    ring_release_blocks(&r, 4);
    assert_int_equal(r.block_bytes, 0);
    ring_deinit(&r);
}

static void test_blocks_have_a_limit(void **state)
{
    struct ring r;

    setup(&r, 200000);
    assert_false(put(&r, 250000, 'a', 10, LEAD));
    assert_int_equal(r.head, 0);
    for (int i = 0; i < 10; i++) {
        assert_true(put(&r, 90000, 'b', 90000, LEAD));
        assert_true(r.block_bytes <= 200000);
    }
    assert_line(&r, r.head - 1, 90000, 'b');
    ring_deinit(&r);
}

static void test_a_block_outlives_its_entry(void **state)
{
    struct ring r;
    struct ring_block *b;

    setup(&r, 200000);
    assert_true(put(&r, 90000, 'b', 90000, LEAD));
    b = ring_block_ref(ring_entry(&r, 0)->block);
    ring_deinit(&r);
    assert_int_equal(b->bytes[0], 'b');
    ring_block_unref(b);
}

static void test_abandon_leaves_no_trace(void **state)
{
    struct ring r;
    struct json_writer *w;

    setup(&r, 1 << 20);
    put(&r, 100, 'a', 100, LEAD);
    w = ring_begin(&r, 100, LEAD);
    json_literal(w, "never seen");
    ring_abandon(&r);
    w = ring_begin(&r, 100000, LEAD); /* in a block */
    json_literal(w, "never seen");
    ring_abandon(&r);
    put(&r, 100, 'b', 100, LEAD);
    assert_line(&r, 1, 100, 'b');
    assert_int_equal(ring_entry(&r, 1)->at, 100);
    ring_deinit(&r);
}

static void test_fields(void **state)
{
    struct ring r;
    struct event e = {.kind = EVENT_SENT, .seq = 77};

    setup(&r, 0);
    e.fields = (struct event_fields){.type = {5, 6}, .signal = {9, 70000}, .conversation = 3};
    json_text(ring_begin(&r, 10, 0), "line\n");
    assert_true(ring_end(&r, 0, &e));
    assert_int_equal(ring_entry(&r, 0)->seq, 77);
    assert_int_equal(ring_entry(&r, 0)->kind, EVENT_SENT);
    assert_int_equal(ring_entry(&r, 0)->index.conversation, 3);
    assert_int_equal(ring_entry(&r, 0)->index.at[EVENT_FIELD_TYPE], 5);
    assert_int_equal(ring_entry(&r, 0)->index.len[EVENT_FIELD_TYPE], 6);
    assert_int_equal(ring_entry(&r, 0)->index.at[EVENT_FIELD_SIGNAL], 0); /* too long to be filtered by */
    ring_deinit(&r);
}

static void test_index_runs_full_before_the_bytes(void **state)
{
    struct ring r;

    setup(&r, 0);
    for (int i = 0; i < 10000; i++)
        put(&r, 20, 'x', 0, 0);
    assert_true(r.head - r.tail <= SIZE / RING_LINE_MIN);
    assert_line(&r, r.tail, 20, 'x');
    ring_deinit(&r);
}

/* What another process reads: the same lines under the same ordinals, in a ring of whatever size. */
static void test_restored(void **state)
{
    static const size_t SIZES[] = {SIZE, 2 * SIZE, 16 * SIZE};

    for (size_t k = 0; k < sizeof SIZES / sizeof *SIZES; k++) {
        struct ring old, r;
        const size_t lengths[] = {100, 30000, 300, 15000, 64, 200000, 70, 9000};

        assert_int_equal(ring_init(&old, 4 * SIZE, 1 << 20, NULL), 0);
        for (unsigned i = 0; i < 80; i++)
            assert_true(put(&old, lengths[i % 8], (char)('a' + i % 20), 100, LEAD));
        assert_int_equal(ring_init(&r, SIZES[k], 1 << 20, NULL), 0);
        r.overtaking = overtaking;
        overtaken_count = 0;
        assert_int_equal(ring_restore(&r, &old), 0);
        assert_int_equal(overtaken_count, 0);
        assert_ptr_equal(r.overtaking, overtaking);
        assert_int_equal(r.head, old.head);
        assert_true(r.tail >= old.tail);
        assert_true(SIZES[k] < 4 * SIZE || r.tail == old.tail);
        assert_int_equal(r.guard, r.tail);
        for (uint64_t at = r.tail; at < r.head; at++) {
            assert_int_equal(ring_entry(&r, at)->seq, at + 1);
            assert_line(&r, at, lengths[at % 8], (char)('a' + at % 20));
        }
        assert_true(put(&r, 500, 'z', 100, LEAD));
        assert_line(&r, r.head - 1, 500, 'z');
        ring_deinit(&old);
        ring_deinit(&r);
    }
}

static void test_released_blocks_leave_a_place_without_a_line(void **state)
{
    struct ring old, r;

    setup(&old, 1 << 20);
    setup(&r, 1 << 20);
    assert_true(put(&old, 100, 'a', 100, LEAD));
    assert_true(put(&old, 40000, 'b', 100, LEAD));
    assert_true(put(&old, 100, 'c', 100, LEAD));
    ring_release_blocks(&old, 2);
    assert_int_equal(ring_restore(&r, &old), 0);
    assert_int_equal(ring_entry(&r, 1)->len, 0);
    assert_int_equal(r.whole_from, 2);
    assert_line(&r, 0, 100, 'a');
    assert_line(&r, 2, 100, 'c');
    ring_deinit(&old);
    ring_deinit(&r);
}

static void test_unsound(void **state)
{
    struct ring old, r;

    setup(&old, 1 << 20);
    assert_true(put(&old, 100, 'a', 100, LEAD));
    assert_true(put(&old, 100, 'b', 100, LEAD));
    for (unsigned fault = 0; fault < 4; fault++) {
        struct ring bad = old;
        struct ring_entry *e = &bad.index[1], good = *e;

        setup(&r, 1 << 20);
        if (fault == 0)
            bad.head = bad.tail - 1;
        else if (fault == 1)
            bad.head = bad.index_mask + 3;
        else if (fault == 2)
            e->at = bad.head_byte;
        else
            e->len = 50; /* does not end there */
        assert_int_equal(ring_restore(&r, &bad), -EBADMSG);
        *e = good;
        ring_deinit(&r);
    }
    ring_deinit(&old);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_are_contiguous),
        cmocka_unit_test(test_across_the_end),
        cmocka_unit_test(test_guard_is_told),
        cmocka_unit_test(test_growing_into_a_block),
        cmocka_unit_test(test_blocks_have_a_limit),
        cmocka_unit_test(test_a_block_outlives_its_entry),
        cmocka_unit_test(test_abandon_leaves_no_trace),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_index_runs_full_before_the_bytes),
        cmocka_unit_test(test_restored),
        cmocka_unit_test(test_released_blocks_leave_a_place_without_a_line),
        cmocka_unit_test(test_unsound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
