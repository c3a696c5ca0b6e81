/*
 * subscriber: whatever sizes the socket takes, what comes out is whole lines, in order, own bytes only
 * between lines, and what is missing is exactly what the gap says.
 */
#include "subscriber.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALL (1u << EVENT_MESSAGE | 1u << EVENT_STATUS | 1u << EVENT_GAP)

struct wire {
    char *bytes; /* what the socket took */
    size_t len, capacity;
};

static void wire_add(struct wire *w, const struct iovec *v, size_t n)
{
    for (; n; v++) {
        size_t take = n < v->iov_len ? n : v->iov_len;

        if (w->len + take > w->capacity) {
            w->capacity = 2 * (w->len + take);
            w->bytes = realloc(w->bytes, w->capacity);
            assert_non_null(w->bytes);
        }
        memcpy(w->bytes + w->len, v->iov_base, take);
        w->len += take;
        n -= take;
    }
}

/* A line `M <seq> <padding>\n`; kind M or S (STATUS has no seq of its own: numbered all the same for the
 * test). */
static void put(struct ring *r, enum event_kind kind, uint64_t number, size_t padding)
{
    struct json_writer *w = ring_begin(r, padding + 64, 0);
    struct event e = {.kind = kind, .seq = kind == EVENT_STATUS ? 0 : number};
    char head[40];

    snprintf(head, sizeof head, "%c %llu ",
             kind == EVENT_STATUS ? 'S'
             : kind == EVENT_SENT ? 'A'
                                  : 'M',
             (unsigned long long)number);
    json_text(w, head);
    for (size_t i = 0; i < padding; i++)
        json_raw(w, "x", 1);
    json_literal(w, "\n");
    assert_true(ring_end(r, 0, &e));
}

static size_t write_some(struct subscriber *s, const struct ring *r, struct wire *w, const char *own,
                         size_t own_len, size_t max)
{
    struct delivery d;
    uint32_t lines;
    size_t n;

    subscriber_gather(s, r, own, own_len, &d);
    n = d.total < max ? d.total : max;
    wire_add(w, d.iov, n);
    if (!d.total) {
        s->cursor = d.end;
        return 0;
    }
    return subscriber_advance(s, r, &d, n, &lines);
}

static void test_nothing_before_the_start(void **state)
{
    struct subscriber s = {0};
    struct ring r;
    struct wire w = {0};

    assert_int_equal(ring_init(&r, 65536, 1 << 20, NULL), 0);
    put(&r, EVENT_MESSAGE, 1, 5);
    assert_int_equal(subscriber_start(&s, &r, ALL, NULL), 0);
    assert_false(subscriber_waiting(&s, &r));
    put(&r, EVENT_SENT, 2, 5); /* not asked for */
    assert_false(subscriber_waiting(&s, &r));
    put(&r, EVENT_MESSAGE, 3, 5);
    assert_true(subscriber_waiting(&s, &r));
    write_some(&s, &r, &w, NULL, 0, SIZE_MAX);
    assert_int_equal(w.len, 10);
    assert_memory_equal(w.bytes, "M 3 xxxxx\n", 10);
    subscriber_stop(&s);
    put(&r, EVENT_MESSAGE, 4, 5);
    assert_false(subscriber_waiting(&s, &r));
    free(w.bytes);
    subscriber_deinit(&s);
    ring_deinit(&r);
}

static void test_own_bytes_wait_for_the_end_of_a_line(void **state)
{
    struct subscriber s = {0};
    struct ring r;
    struct wire w = {0};

    assert_int_equal(ring_init(&r, 65536, 1 << 20, NULL), 0);
    assert_int_equal(subscriber_start(&s, &r, ALL, NULL), 0);
    put(&r, EVENT_MESSAGE, 1, 0);
    put(&r, EVENT_MESSAGE, 2, 0);
    write_some(&s, &r, &w, NULL, 0, 2);
    assert_true(subscriber_mid_line(&s));
    assert_int_equal(write_some(&s, &r, &w, "own\n", 4, SIZE_MAX), 4);
    assert_int_equal(w.len, 14);
    assert_memory_equal(w.bytes, "M 1 \nown\nM 2 \n", 14);
    free(w.bytes);
    subscriber_deinit(&s);
    ring_deinit(&r);
}

static void test_resubscribing_finishes_the_line(void **state)
{
    struct subscriber s = {0};
    struct ring r;
    struct wire w = {0};

    assert_int_equal(ring_init(&r, 65536, 1 << 20, NULL), 0);
    assert_int_equal(subscriber_start(&s, &r, ALL, NULL), 0);
    put(&r, EVENT_MESSAGE, 1, 0);
    put(&r, EVENT_MESSAGE, 2, 0);
    write_some(&s, &r, &w, NULL, 0, 2);
    assert_int_equal(subscriber_start(&s, &r, 1u << EVENT_STATUS, NULL), 0);
    put(&r, EVENT_STATUS, 3, 0);
    assert_int_equal(write_some(&s, &r, &w, "own\n", 4, SIZE_MAX), 4);
    assert_int_equal(w.len, 14);
    assert_memory_equal(w.bytes, "M 1 \nown\nS 3 \n", 14);
    free(w.bytes);
    subscriber_deinit(&s);
    ring_deinit(&r);
}

/* What it missed of what it does not want any more is not told; of the rest it is. */
static void test_resubscribing_forgets_what_was_missed(void **state)
{
    static const struct {
        uint32_t kinds;
        bool gap, status, outbox;
    } cases[] = {{ALL, true, true, false},
                 {1u << EVENT_SENT | 1u << EVENT_GAP, true, false, false},
                 {1u << EVENT_STATUS, false, true, false},
                 {1u << EVENT_OUTBOX, false, false, true}};

    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct subscriber s = {0};
        struct ring r;

        assert_int_equal(ring_init(&r, 65536, 1 << 20, NULL), 0);
        assert_int_equal(subscriber_start(&s, &r, ALL, NULL), 0);
        s.gap_from = s.gap_to = 7;
        s.status_missed = s.outbox_missed = true;
        assert_int_equal(subscriber_start(&s, &r, cases[i].kinds, NULL), 0);
        assert_int_equal(s.gap_from, cases[i].gap ? 7 : 0);
        assert_int_equal(s.gap_to, s.gap_from);
        assert_int_equal(s.status_missed, cases[i].status);
        assert_int_equal(s.outbox_missed, cases[i].outbox);
        subscriber_deinit(&s);
        ring_deinit(&r);
    }
}

static void test_a_run_is_one_vector(void **state)
{
    struct subscriber s = {0};
    struct delivery d;
    struct ring r;

    assert_int_equal(ring_init(&r, 65536, 1 << 20, NULL), 0);
    assert_int_equal(subscriber_start(&s, &r, ALL, NULL), 0);
    for (unsigned i = 1; i <= 5000; i++) { /* the ring wraps many times: still one vector */
        put(&r, EVENT_MESSAGE, i, 90);
        put(&r, EVENT_MESSAGE, i, 91);
        subscriber_gather(&s, &r, NULL, 0, &d);
        assert_int_equal(d.count, 1);
        assert_int_equal(d.lines, 2);
        s.cursor = d.end;
    }
    subscriber_deinit(&s);
    ring_deinit(&r);
}

static void test_vectors_never_run_out(void **state)
{
    struct subscriber s = {0};
    struct delivery d;
    struct ring r;

    assert_int_equal(ring_init(&r, 65536, 1 << 20, NULL), 0);
    assert_int_equal(subscriber_start(&s, &r, ALL, NULL), 0);
    put(&r, EVENT_MESSAGE, 1, 0);
    s.offset = 1;
    for (unsigned i = 2; i < 200; i++)
        put(&r, i % 2 ? EVENT_MESSAGE : EVENT_SENT, i, 0);
    subscriber_gather(&s, &r, "own\n", 4, &d);
    assert_in_range(d.count, 10, DELIVERY_VECTORS);
    subscriber_deinit(&s);
    ring_deinit(&r);
}

/* ---- Everything at random ---- */

struct world {
    struct ring ring;
    struct subscriber s;
    struct wire wire;
    uint64_t missed;
};

static void world_overtaking(void *owner, uint64_t ordinal)
{
    struct world *x = owner;
    uint64_t to = ordinal + 1 + (x->ring.head - ordinal - 1) / 2;

    assert_true(x->s.cursor >= ordinal);
    if (x->s.cursor == ordinal)
        assert_int_equal(subscriber_overtake(&x->s, &x->ring, to, &x->missed), 0);
    x->ring.guard = x->s.cursor;
}

/* Own bytes are the announcements of gaps. */
static unsigned run_random(unsigned seed, bool filtered)
{
    static struct world x;
    static char own[1 << 16];
    size_t own_at = 0, own_len = 0;
    unsigned long long expected = 1, number, from, to, seen = 0;
    unsigned announced = 0;
    char *line, *next;

    memset(&x, 0, sizeof x);
    srand(seed);
    assert_int_equal(ring_init(&x.ring, 65536, 300000, NULL), 0);
    x.ring.overtaking = world_overtaking;
    x.ring.owner = &x;
    assert_int_equal(subscriber_start(&x.s, &x.ring, ALL, NULL), 0);
    for (number = 1; number <= 3000; number++) {
        bool large = rand() % 200 == 0;

        put(&x.ring, filtered && rand() % 2 ? EVENT_SENT : EVENT_MESSAGE, number,
            large ? 20000 + (size_t)rand() % 60000 : (size_t)rand() % 400);
        while (rand() % 3 == 0) {
            if (x.s.gap_from) {
                own_len += (size_t)snprintf(own + own_len, sizeof own - own_len, "G %llu %llu\n",
                                            (unsigned long long)x.s.gap_from, (unsigned long long)x.s.gap_to);
                x.s.gap_from = x.s.gap_to = 0;
            }
            own_at +=
                write_some(&x.s, &x.ring, &x.wire, own + own_at, own_len - own_at, 1 + (size_t)rand() % 900);
            x.ring.guard = x.s.cursor;
        }
    }
    wire_add(&x.wire, &(struct iovec){own + sizeof own - 1, 1}, 1);
    for (line = x.wire.bytes; (next = strchr(line, '\n')); line = next + 1) {
        if (sscanf(line, "G %llu %llu", &from, &to) == 2) {
            assert_true(from >= expected && to >= from);
            expected = to + 1;
            announced++;
            continue;
        }
        assert_int_equal(sscanf(line, "M %llu x", &number), 1);
        assert_true(filtered ? number >= expected : number == expected);
        expected = number + 1;
        seen++;
    }
    assert_true(seen > 100);
    free(x.wire.bytes);
    subscriber_deinit(&x.s);
    ring_deinit(&x.ring);
    return announced;
}

static void test_random_sizes_and_overtaking(void **state)
{
    unsigned announced = 0;

    for (unsigned seed = 1; seed <= 40; seed++)
        announced += run_random(seed, false);
    assert_true(announced > 40);
}

static void test_random_with_kinds_left_out(void **state)
{
    unsigned announced = 0;

    for (unsigned seed = 1; seed <= 40; seed++)
        announced += run_random(seed, true);
    assert_true(announced > 40);
}

static struct ring_block *page_of(const char *lines)
{
    struct ring_block *b = calloc(1, sizeof *b);

    assert_non_null(b);
    *b = (struct ring_block){.refs = 1, .len = strlen(lines), .bytes = strdup(lines)};
    return b;
}

/* Fed pages; parked again (a second subscribe) or stopped: what was begun is finished, what was not is
 * dropped. */
static void test_pages(void **state)
{
    static const struct {
        const char *page;
        uint32_t lines;
        size_t written; /* of it, before */
        const char *all;
    } cases[] = {
        {"M 1\n", 1, 0, ""},
        {"M 1\n", 1, 1, "M 1\n"},
        {"M 1\nM 2\nM 3\n", 3, 0, ""},
        {"M 1\nM 2\nM 3\n", 3, 4, "M 1\n"},
        {"M 1\nM 2\nM 3\n", 3, 6, "M 1\nM 2\n"},
    };

    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        struct subscriber s = {0};
        struct ring r;
        struct wire w = {0};
        size_t n = i / 2;

        assert_int_equal(ring_init(&r, 65536, 1 << 20, NULL), 0);
        assert_int_equal(subscriber_start(&s, &r, ALL, NULL), 0);
        assert_int_equal(subscriber_park(&s, &r), 0);
        put(&r, EVENT_MESSAGE, 9, 0); /* does not concern it yet */
        assert_false(subscriber_waiting(&s, &r));
        subscriber_feed(&s, page_of(cases[n].page), cases[n].lines);
        write_some(&s, &r, &w, NULL, 0, cases[n].written);
        if (i % 2)
            assert_int_equal(subscriber_park(&s, &r), 0);
        else
            subscriber_stop(&s);
        while (write_some(&s, &r, &w, "R\n", 2, SIZE_MAX) == 0)
            ;
        assert_int_equal(w.len, strlen(cases[n].all) + 2);
        assert_memory_equal(w.bytes, cases[n].all, strlen(cases[n].all));
        assert_memory_equal(w.bytes + w.len - 2, "R\n", 2);
        free(w.bytes);
        subscriber_deinit(&s);
        ring_deinit(&r);
    }
}

/* What is left of a line that the ring dropped is no page: it is finished whatever comes. */
static void test_a_kept_line_is_no_page(void **state)
{
    struct subscriber s = {0};
    struct ring r;
    struct wire w = {0};

    assert_int_equal(ring_init(&r, 65536, 1 << 20, NULL), 0);
    assert_int_equal(subscriber_start(&s, &r, ALL, NULL), 0);
    put(&r, EVENT_MESSAGE, 1, 5);
    write_some(&s, &r, &w, NULL, 0, 3);
    assert_int_equal(subscriber_park(&s, &r), 0);
    assert_int_equal(subscriber_park(&s, &r), 0);
    subscriber_stop(&s);
    write_some(&s, &r, &w, NULL, 0, SIZE_MAX);
    assert_int_equal(w.len, 10);
    assert_memory_equal(w.bytes, "M 1 xxxxx\n", 10);
    free(w.bytes);
    subscriber_deinit(&s);
    ring_deinit(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_a_kept_line_is_no_page),
        cmocka_unit_test(test_nothing_before_the_start),
        cmocka_unit_test(test_own_bytes_wait_for_the_end_of_a_line),
        cmocka_unit_test(test_resubscribing_finishes_the_line),
        cmocka_unit_test(test_resubscribing_forgets_what_was_missed),
        cmocka_unit_test(test_a_run_is_one_vector),
        cmocka_unit_test(test_vectors_never_run_out),
        cmocka_unit_test(test_random_sizes_and_overtaking),
        cmocka_unit_test(test_random_with_kinds_left_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
