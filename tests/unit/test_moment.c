/* What people may write for a point in the history, and what is none. */
#include "moment.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

#define NOW INT64_C(1700000000500)

static void is_time(const char *text, int64_t time_ms)
{
    struct moment m = {0};
    assert_true(moment_parse(&m, text, NOW));
    assert_int_equal(m.kind, MOMENT_TIME);
    assert_int_equal(m.time_ms, time_ms);
}

static void numbers_are_numbers_of_events(void **state)
{
    static const char *const texts[] = {"0", "41", "9223372036854775807"};
    static const uint64_t seqs[] = {0, 41, INT64_MAX};
    struct moment m = {0};
    for (size_t i = 0; i < 3; i++) {
        assert_true(moment_parse(&m, texts[i], NOW));
        assert_int_equal(m.kind, MOMENT_SEQ);
        assert_true(m.seq == seqs[i]);
    }
    assert_true(moment_parse(&m, "earliest", NOW));
    assert_int_equal(m.kind, MOMENT_EARLIEST);
}

static void times_since_1970(void **state)
{
    is_time("@0", 0);
    is_time("@1700000000", 1700000000000);
    is_time("@1700000000.5", 1700000000500);
    is_time("@1.0019", 1001);
}

static void spans_count_back_from_now(void **state)
{
    is_time("2h", NOW - 7200000);
    is_time("-2h", NOW - 7200000);
    is_time("30min", NOW - 1800000);
    is_time("7d", NOW - 604800000);
    is_time("1h 30min", NOW - 5400000);
    is_time("1m5s10ms", NOW - 65010);
    is_time("10sec", NOW - 10000);
}

static void dates_are_local_or_have_a_zone(void **state)
{
    is_time("2023-11-14T22:13:20Z", 1700000000000);
    is_time("2023-11-14t22:13:20.5z", 1700000000500);
    is_time("2023-11-14 23:43:20+01:30", 1700000000000);
    is_time("2023-11-14T12:13:20-10:00", 1700000000000);
    is_time("1970-01-01T00:00Z", 0);
    is_time("2024-02-29T00:00Z", 1709164800000);
    setenv("TZ", "XXX-02:00", 1); /* two hours east */
    tzset();
    is_time("2023-11-15 00:13:20", 1700000000000);
    is_time("2023-11-15T00:13", 1699999980000);
    is_time("2023-11-15", 1699999200000);
    unsetenv("TZ");
    tzset();
}

static void anything_else_is_refused(void **state)
{
    static const char *const texts[] = {
        "",
        " ",
        "-",
        "x",
        "-5",
        "9223372036854775808",
        "latest",
        "earliest ",
        "@",
        "@-1",
        "@x",
        "@1.",
        "@1.x",
        "@99999999999999",
        "2x",
        "h",
        "2h 3",
        "2 h",
        "--2h",
        "99999999999d",
        "9999999999999999999d",
        "2023-11",
        "2023-13-01",
        "2023-00-01",
        "2023-02-29",
        "2023-11-00",
        "2023-11-31",
        "2023-11-14 ",
        "2023-11-14 22",
        "2023-11-14 24:00",
        "2023-11-14 22:60",
        "2023-11-14 22:13:",
        "2023-11-14 22:13:61",
        "2023-11-14 22:13:20.",
        "2023-11-14 22:13:20+1",
        "2023-11-14 22:13:20+24:00",
        "2023-11-14 22:13:20Zx",
        "2023-11-14Z",
        "23-11-14",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        struct moment m = {0};
        if (moment_parse(&m, texts[i], NOW))
            fail_msg("'%s' was taken", texts[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers_are_numbers_of_events), cmocka_unit_test(times_since_1970),
        cmocka_unit_test(spans_count_back_from_now),     cmocka_unit_test(dates_are_local_or_have_a_zone),
        cmocka_unit_test(anything_else_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
