/* backoff: the bounds of each wait, with the randomness at its ends. */
#include "backoff.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

static void test_doubles_up_to_the_cap(void **state)
{
    struct backoff b = {.min_ms = 500, .max_ms = 30000};
    static const uint64_t ceilings[] = {500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000};

    for (unsigned i = 0; i < sizeof ceilings / sizeof *ceilings; i++) {
        assert_int_equal(b.attempt, i);
        assert_int_equal(backoff_next(&b, UINT64_MAX), ceilings[i]);
    }
}

static void test_jitter_is_full(void **state)
{
    struct backoff b = {.min_ms = 1000, .max_ms = 1000};

    assert_int_equal(backoff_next(&b, 0), 0);
    assert_int_equal(backoff_next(&b, UINT64_MAX / 2), 500);
    assert_int_equal(backoff_next(&b, UINT64_MAX), 1000);
}

static void test_many_attempts_do_not_overflow(void **state)
{
    struct backoff b = {.min_ms = 1, .max_ms = UINT32_MAX, .attempt = 4000000000u};

    assert_int_equal(backoff_next(&b, UINT64_MAX), UINT32_MAX);
}

static void test_reset(void **state)
{
    struct backoff b = {.min_ms = 500, .max_ms = 30000, .attempt = 9};

    backoff_reset(&b);
    assert_int_equal(backoff_next(&b, UINT64_MAX), 500);
}

static void test_at_the_cap(void **state)
{
    struct backoff b = {.min_ms = 500, .max_ms = 30000};

    assert_int_equal(backoff_at_cap(&b, 0), 15000);
    assert_int_equal(backoff_at_cap(&b, UINT64_MAX), 30000);
    assert_int_equal(b.attempt, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_doubles_up_to_the_cap),
        cmocka_unit_test(test_jitter_is_full),
        cmocka_unit_test(test_many_attempts_do_not_overflow),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_at_the_cap),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
