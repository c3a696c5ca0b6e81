/* assembly: what comes in pieces is one message in one buffer, which grows with what is there. */
#include "assembly.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static void add(struct assembly *a, const char *text)
{
    uint8_t *room = assembly_room(a, strlen(text));

    assert_non_null(room);
    memcpy(room, text, strlen(text));
    assembly_filled(a, strlen(text));
}

static void test_pieces(void **state)
{
    struct assembly a = {0};

    for (int i = 0; i < 2; i++) {
        add(&a, "0123");
        add(&a, "");
        add(&a, "456789");
        assert_int_equal(a.len, 10);
        assert_memory_equal(a.bytes, "0123456789", 10);
        assembly_release(&a);
        assert_int_equal(a.len, 0);
    }
    assembly_deinit(&a);
    assembly_deinit(&a);
}

/* Room that was asked for and not filled does not count; what was large is given back, what was small is
 * kept. */
static void test_memory(void **state)
{
    struct assembly a = {0};

    assert_non_null(assembly_room(&a, 1000));
    assembly_filled(&a, 10);
    assert_int_equal(a.len, 10);
    assert_int_equal(a.size, 4096);
    assembly_release(&a);
    assert_int_equal(a.size, 4096);
    assert_non_null(assembly_room(&a, 3 << 20));
    assembly_filled(&a, 3 << 20);
    assembly_release(&a);
    assert_null(a.bytes);
    assert_int_equal(a.size, 0);
    assert_null(assembly_room(&a, SIZE_MAX));
    assembly_deinit(&a);
}

static void test_take(void **state)
{
    struct assembly a = {0};
    uint8_t *taken;

    add(&a, "one");
    add(&a, "two");
    taken = assembly_take(&a);
    assert_memory_equal(taken, "onetwo", 6);
    assert_null(a.bytes);
    add(&a, "three");
    assert_memory_equal(a.bytes, "three", 5);
    free(taken);
    assembly_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_take),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
