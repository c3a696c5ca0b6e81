/* assembly: whole messages without a copy, others in one buffer; the bound is exact, and seen as early as it
 * can be. */
#include "assembly.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static const uint8_t bytes[] = "0123456789abcdef";

static enum assembly_result add(struct assembly *a, size_t at, size_t len, bool final, size_t announced)
{
    const struct assembly_piece p = {bytes + at, len, final, announced};
    const uint8_t *message = NULL;
    size_t n = 0;
    enum assembly_result r = assembly_add(a, &p, &message, &n);

    if (r != ASSEMBLY_WHOLE)
        return r;
    assert_int_equal(n, at + len);
    assert_memory_equal(message, bytes, n);
    if (at == 0)
        assert_ptr_equal(message, bytes); /* not copied */
    assembly_release(a);
    return r;
}

static void test_pieces(void **state)
{
    struct assembly a = {.max = 16};

    assert_int_equal(add(&a, 0, 5, true, 0), ASSEMBLY_WHOLE);
    assert_null(a.bytes);
    assert_int_equal(add(&a, 0, 0, true, 0), ASSEMBLY_WHOLE);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(add(&a, 0, 4, false, 8), ASSEMBLY_MORE);
        assert_int_equal(add(&a, 4, 8, false, 0), ASSEMBLY_MORE);
        assert_int_equal(add(&a, 12, 0, false, 0), ASSEMBLY_MORE);
        assert_int_equal(add(&a, 12, 4, true, 0), ASSEMBLY_WHOLE);
    }
    assembly_deinit(&a);
    assembly_deinit(&a);
}

static void test_bound(void **state)
{
    struct assembly a = {.max = 10};

    assert_int_equal(add(&a, 0, 10, true, 0), ASSEMBLY_WHOLE);
    assert_int_equal(add(&a, 0, 11, true, 0), ASSEMBLY_TOO_LARGE);
    assert_int_equal(add(&a, 0, 4, false, 6), ASSEMBLY_MORE);
    assert_int_equal(add(&a, 4, 6, true, 0), ASSEMBLY_WHOLE);
    assert_int_equal(add(&a, 0, 4, false, 7), ASSEMBLY_TOO_LARGE); /* announced only */
    assert_int_equal(add(&a, 0, 4, false, SIZE_MAX), ASSEMBLY_TOO_LARGE);
    assert_int_equal(add(&a, 0, 4, false, 0), ASSEMBLY_MORE);
    assert_int_equal(add(&a, 4, 7, true, 0), ASSEMBLY_TOO_LARGE);
    assembly_deinit(&a);
    assert_int_equal(a.max, 10);
}

/* What is announced takes no memory; what was large is given back, what was small is kept. */
static void test_memory(void **state)
{
    static uint8_t large[3 << 20];
    struct assembly a = {.max = SIZE_MAX / 4};
    struct assembly_piece p = {large, 1000, false, SIZE_MAX / 8};
    const uint8_t *message;
    size_t len;

    assert_int_equal(assembly_add(&a, &p, &message, &len), ASSEMBLY_MORE);
    assert_int_equal(a.size, 4096);
    p = (struct assembly_piece){large, 1000, true, 0};
    assert_int_equal(assembly_add(&a, &p, &message, &len), ASSEMBLY_WHOLE);
    assembly_release(&a);
    assert_int_equal(a.size, 4096);
    p = (struct assembly_piece){large, sizeof(large), false, 0};
    assert_int_equal(assembly_add(&a, &p, &message, &len), ASSEMBLY_MORE);
    p = (struct assembly_piece){large, 1, true, 0};
    assert_int_equal(assembly_add(&a, &p, &message, &len), ASSEMBLY_WHOLE);
    assert_int_equal(len, sizeof(large) + 1);
    assembly_release(&a);
    assert_int_equal(a.size, 0);
    assert_null(a.bytes);
    assert_int_equal(a.len, 0);
}

/* What is taken is the caller's, and only what came in one piece is a copy. */
static void test_take(void **state)
{
    struct assembly a = {.max = 100};
    struct assembly_piece p = {(const uint8_t *)"one", 3, true, 0};
    const uint8_t *message;
    uint8_t *taken;
    size_t len;

    assert_int_equal(assembly_add(&a, &p, &message, &len), ASSEMBLY_WHOLE);
    taken = assembly_take(&a, message, len);
    assert_ptr_not_equal(taken, message);
    assert_memory_equal(taken, "one", 3);
    free(taken);
    assembly_release(&a);

    p.final = false;
    assert_int_equal(assembly_add(&a, &p, &message, &len), ASSEMBLY_MORE);
    p = (struct assembly_piece){(const uint8_t *)"two", 3, true, 0};
    assert_int_equal(assembly_add(&a, &p, &message, &len), ASSEMBLY_WHOLE);
    taken = assembly_take(&a, message, len);
    assert_ptr_equal(taken, message);
    assembly_release(&a);
    assert_memory_equal(taken, "onetwo", 6);
    free(taken);
    assert_null(a.bytes);
    assert_int_equal(a.max, 100);

    assert_int_equal(assembly_add(&a, &p, &message, &len), ASSEMBLY_WHOLE); /* and so on */
    assert_int_equal(len, 3);
    assembly_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_take),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
