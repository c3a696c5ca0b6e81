/* The table of errors against the one of the protocol document. */
#include "error.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>

/* Typed in from the protocol document, not made from the table under test. */
static const struct {
    const char *reason;
    int code, exit_status;
} documented[] = {
    {"parse_error", -32700, 65},
    {"invalid_request", -32600, 65},
    {"method_not_found", -32601, 65},
    {"invalid_params", -32602, 65},
    {"internal", -32603, 70},
    {"not_connected", -69, 69},
    {"storage", -74, 74},
    {"busy", -75, 75},
    {"rejected", -76, 76},
    {"denied", -77, 77},
    {"too_large", -78, 65},
    {"not_found", -79, 65},
    {"conflict", -80, 65},
    {"unknown", -124, 124},
};

static void the_table_is_the_documented_one(void **state)
{
    assert_int_equal(ERROR_COUNT - 1, sizeof(documented) / sizeof(documented[0]));
    for (int e = 1; e < ERROR_COUNT; e++) {
        assert_string_equal(error_reason(e), documented[e - 1].reason);
        assert_int_equal(error_code(e), documented[e - 1].code);
        assert_int_equal(error_exit_status(e), documented[e - 1].exit_status);
        assert_true(strlen(error_sentence(e)) > 0);
    }
    assert_int_equal(error_exit_status(ERROR_NONE), 0);
}

static void errors_are_found_by_reason_and_by_code(void **state)
{
    for (int e = 1; e < ERROR_COUNT; e++) {
        assert_int_equal(error_from_reason(error_reason(e), strlen(error_reason(e))), e);
        assert_int_equal(error_from_code(error_code(e)), e);
    }
}

static void what_is_not_in_the_table_is_internal(void **state)
{
    assert_int_equal(error_from_reason("quota", 5), ERROR_INTERNAL);
    assert_int_equal(error_from_reason("busy!", 5), ERROR_INTERNAL);
    assert_int_equal(error_from_reason("", 0), ERROR_INTERNAL);
    assert_int_equal(error_from_code(0), ERROR_INTERNAL);
    assert_int_equal(error_from_code(-32602 - (1LL << 32)), ERROR_INTERNAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_the_documented_one),
        cmocka_unit_test(errors_are_found_by_reason_and_by_code),
        cmocka_unit_test(what_is_not_in_the_table_is_internal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
