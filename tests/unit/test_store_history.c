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
#include <errno.h>
#include <inttypes.h>
#include <sqlite3.h>
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

/* ---- times ---- */

static int64_t jumpy(uint64_t seq) /* the clock goes back by 500 every 100 events, and once far ahead */
{
    return seq == 777 ? 10000000 : (int64_t)(1000 + seq * 10 - seq / 100 * 500);
}

static int64_t time_since, time_until;

static bool is_in_time(uint64_t seq)
{
    return jumpy(seq) >= time_since && jumpy(seq) <= time_until;
}

static void test_times(void **state)
{
    struct rig *r = *state;
    struct rig_batch *batches[50];

    assert_int_equal(rig_start(r), 0);
    for (unsigned round = 0; round < 20; round++) {
        for (unsigned i = 0; i < 50; i++)
            batches[i] = rig_post_append(r, 1, jumpy(r->seq + 1));
        for (unsigned i = 0; i < 50; i++)
            assert_int_equal(rig_wait_append(r, batches[i]), ERROR_NONE);
    }
    for (unsigned i = 0; i < 40; i++) {
        struct storage_read read = rig_read_of(i * 7, r->seq - i);
        time_since = i == 0 ? INT64_MIN : 1000 + i * 100;
        time_until = i % 5 == 4 ? INT64_MAX : time_since + 1000;
        read.since_ms = time_since;
        read.until_ms = time_until;
        for (unsigned way = 0; way < 4; way++) {
            read.reverse = way & 1;
            read.gaps = way & 2;
            check_range(r, read, is_in_time);
        }
    }
}

/* ---- kinds, and lines of any size ---- */

static struct storage_append append_of(struct storage_event *e, const char *line)
{
    return (struct storage_append){.request.op = STORAGE_APPEND, .events = e, .count = 1, .bytes = line};
}

static enum error append_line(struct rig *r, enum event_kind kind, const char *line, size_t len)
{
    struct storage_event e = {
        .seq = ++r->seq, .time_ms = 5, .len = (uint32_t)len, .kind = (uint8_t)kind, .index.conversation = -1};
    struct storage_append a = append_of(&e, line);

    return rig_do(r, &a.request);
}

static void test_kinds(void **state)
{
    struct rig *r = *state;
    char gap[] = "{\"method\":\"GAP\",\"params\":{\"from\":101,\"to\":101,\"reason\":\"too_large\"}}\n",
         sent[] = "{\"method\":\"SENT\",\"params\":{\"seq\":102}}\n";
    struct filter *user3 = rig_filter("user3", NULL, NULL);

    assert_int_equal(rig_start(r), 0);
    fill(r, 1, 100);
    assert_int_equal(append_line(r, EVENT_GAP, gap, strlen(gap)), ERROR_NONE);
    assert_int_equal(append_line(r, EVENT_SENT, sent, strlen(sent)), ERROR_NONE);
    for (unsigned i = 0; i < 200; i++) /* enough for blocks */
        fill(r, 1, 1);
    for (unsigned way = 0; way < 2; way++) {
        struct storage_read read = rig_read_of(100, r->seq);
        read.gaps = false;
        read.reverse = way;
        read.kinds = 1u << EVENT_SENT;
        check(r, read, sent);
        read.kinds = 1u << EVENT_GAP;
        check(r, read, gap);
        read.filter = user3; /* is not for GAPs */
        check(r, read, gap);
        read.kinds = 1u << EVENT_SENT;
        check(r, read, "");
        read.gaps = true;
        check(r, read, way ? "" : gap);
    }
    free(user3);
}

static void test_large_line(void **state)
{
    struct rig *r = *state;
    size_t len = 20 << 20;
    char *line = malloc(len + 1);

    memset(line, 'x', len);
    line[len - 1] = '\n';
    line[len] = '\0';
    assert_int_equal(rig_start(r), 0);
    fill(r, 1, 3);
    assert_int_equal(append_line(r, EVENT_MESSAGE, line, len), ERROR_NONE);
    fill(r, 1, 3);
    struct storage_read read = rig_read_of(3, 4);
    check(r, read, line);
    read.reverse = true;
    check(r, read, line);
    check_range(r, rig_read_of(4, 7), NULL);
    free(line);
}

/* ---- pruning ---- */

static uint64_t wait_for_pruned(struct rig *r, uint64_t oldest)
{
    struct storage_list company = {.request.op = STORAGE_LIST, .limit = 1};

    while (rig_report(r).oldest < oldest) /* chores come between the turns */
        assert_int_equal(rig_do(r, &company.request), ERROR_NONE);
    return rig_report(r).oldest;
}

static void check_pruned(struct rig *r, uint64_t oldest)
{
    uint64_t told = r->seq - oldest + 1;
    unsigned gaps;

    assert_int_equal(rig_check_all(r, r->seq, &gaps), told);
    assert_int_equal(gaps, 1);
    check_gap(r, rig_read_of(0, oldest - 1), 1, oldest - 1, GAP_PRUNED);
    struct storage_read read = rig_read_of(0, r->seq);
    read.from_oldest = true;
    char *all = expect(oldest, r->seq, false, NULL);
    check(r, read, all);
    free(all);
}

static void test_prune_by_size(void **state)
{
    struct rig *r = *state;

    r->options.history_max_bytes = 4 << 20;
    assert_int_equal(rig_start(r), 0);
    for (unsigned i = 0; i < 40; i++)
        fill(r, 1, 1000);
    struct storage_report report = rig_report(r);
    assert_true(report.bytes < 6 << 20); /* some 10 MB were appended */
    wait_for_pruned(r, 20000);
    rig_stop(r);
    r->options.history_max_bytes = 0;
    assert_int_equal(rig_start(r), 0);
    check_pruned(r, rig_report(r).oldest);
    r->options.history_max_bytes = 1; /* all but the newest segment */
    store_configure(r->store, &r->options);
    struct storage_list company = {.request.op = STORAGE_LIST, .limit = 1};
    while (rig_report(r).oldest + 200 < r->seq)
        assert_int_equal(rig_do(r, &company.request), ERROR_NONE);
    assert_true(rig_report(r).oldest != 0);
    check_pruned(r, rig_report(r).oldest);
}

/* One event bears a time to come, from when the clock was wrong: it does not hold up what is behind it. */
static void test_prune_by_age(void **state)
{
    struct rig *r = *state;
    int64_t now = rig_now(), day = 86400000;

    r->options.history_max_age_ms = (uint64_t)day;
    assert_int_equal(rig_start(r), 0);
    assert_int_equal(rig_append(r, 1, now + 10 * day), ERROR_NONE);
    for (unsigned i = 0; i < 100; i++)
        assert_int_equal(rig_append(r, 10, now - 2 * day), ERROR_NONE);
    assert_int_equal(rig_append(r, 10, now - day / 2), ERROR_NONE);
    assert_int_equal(rig_append(r, 10, now + day), ERROR_NONE);
    wait_for_pruned(r, 1002);
    check_pruned(r, 1002);
}

/* Blocks go with their segments. */
static void test_prune_blocks(void **state)
{
    struct rig *r = *state;
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    char path[128];

    r->options.history_max_bytes = 256 << 10;
    assert_int_equal(rig_start(r), 0);
    for (unsigned i = 0; i < 1000; i++)
        fill(r, 1, 1);
    wait_for_pruned(r, 300);
    rig_stop(r);
    snprintf(path, sizeof(path), "%s/imd.db", r->state);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_prepare_v2(db,
                           "SELECT (SELECT count(*) FROM block) BETWEEN 1 AND 12,"
                           "(SELECT count(*) FROM block) = (SELECT count(*) FROM block_segments),"
                           "(SELECT count(DISTINCT block) FROM term) = (SELECT count(*) FROM block),"
                           "(SELECT count(*) FROM block WHERE last < (SELECT min(first) FROM segment))",
                           -1, &s, NULL),
        SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    assert_int_equal(sqlite3_column_int(s, 0), 1);
    assert_int_equal(sqlite3_column_int(s, 1), 1);
    assert_int_equal(sqlite3_column_int(s, 2), 1);
    assert_int_equal(sqlite3_column_int(s, 3), 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
}

/* ---- how much may be under way ---- */

#define MANY 2000

static unsigned many_done;

static void on_many(struct storage_request *q)
{
    many_done++;
}

static void test_bound(void **state)
{
    struct rig *r = *state;
    struct storage_list *lists = calloc(MANY, sizeof(*lists));
    unsigned taken = 0;

    assert_int_equal(rig_start(r), 0);
    many_done = 0;
    for (unsigned i = 0; i < MANY; i++) {
        lists[i].request = (struct storage_request){.op = STORAGE_LIST, .done = on_many};
        int e = r->storage.post(r->storage.self, &lists[i].request);
        assert_true(e == 0 || e == -EAGAIN);
        taken += e == 0;
    }
    assert_int_equal(taken, 1024); /* nothing is done outside of the loop */
    assert_false(store_idle(r->store));
    struct rig_batch *b = rig_post_append(r, 1, 1); /* is never refused */
    rig_stop(r);                                    /* does them all */
    assert_int_equal(many_done, 1024);
    assert_int_equal(rig_start(r), 0);
    assert_true(store_idle(r->store));
    assert_int_equal(rig_wait_append(r, b), ERROR_NONE);
    free(lists);
}

#define with_rig(f) cmocka_unit_test_setup_teardown(f, rig_set_up, rig_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_rig(test_exact),        with_rig(test_pages),         with_rig(test_filters),
        with_rig(test_holes),        with_rig(test_restart),       with_rig(test_no_history),
        with_rig(test_consumers),    with_rig(test_times),         with_rig(test_kinds),
        with_rig(test_large_line),   with_rig(test_prune_by_size), with_rig(test_prune_by_age),
        with_rig(test_prune_blocks), with_rig(test_bound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
