/* arena: memory that another process finds again, whatever state it was left in; none of it is given out
 * twice. */
#include "arena.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE ((size_t)1 << 32)
#define FORMAT 7

static struct arena *make(void)
{
    struct arena *a = NULL;

    assert_int_equal(arena_new(&a, "test", SIZE), 0);
    return a;
}

static void test_chunks_do_not_overlap(void **state)
{
    static char *chunks[2000];
    static size_t sizes[2000];
    struct arena *a = make();
    uint64_t random = 1;

    for (unsigned step = 0; step < 40000; step++) {
        random = random * 6364136223846793005u + 1442695040888963407u;
        unsigned n = (random >> 33) % 2000;

        if (chunks[n]) {
            for (size_t i = 0; i < sizes[n]; i += 97)
                assert_int_equal(chunks[n][i], (char)n);
            arena_release(a, chunks[n]);
            chunks[n] = NULL;
        } else {
            sizes[n] = (random >> 45) % (n % 50 ? 400 : 100000) + 1;
            chunks[n] = arena_take(a, sizes[n]);
            assert_non_null(chunks[n]);
            assert_int_equal((uintptr_t)chunks[n] % 16, 0);
            for (size_t i = 0; i < sizes[n]; i++)
                assert_int_equal(chunks[n][i], 0);
            memset(chunks[n], (int)n, sizes[n]);
        }
        if (step % 11 == 0)
            arena_sweep(a);
    }
    arena_free(a);
}

static void test_growing_keeps_what_is_there(void **state)
{
    struct arena *a = make();
    char *p = arena_resize(a, NULL, 10);

    memset(p, 'a', 10);
    for (size_t n = 10; n < 3000000; n *= 3) {
        char *before = p;
        size_t was = n / 3;

        p = arena_resize(a, p, n);
        assert_non_null(p);
        if (p != before)
            assert_memory_equal(p, before, was); /* freed, and still to be read */
        memset(p, 'a', n);
    }
    assert_ptr_equal(arena_resize(a, p, 5), p);
    arena_free(a);
}

/* What is freed in a turn is as it was, and nobody's, until its end. */
static void test_freed_memory_stays_until_it_is_swept(void **state)
{
    struct arena *a = make();
    char *p = arena_take(a, 200000);

    strcpy(p, "content");
    strcpy(p + 150000, "of pages behind the first");
    arena_release(a, p);
    assert_string_equal(p, "content");
    assert_string_equal(p + 150000, "of pages behind the first");
    assert_ptr_not_equal(arena_take(a, 200000), p);
    arena_sweep(a);
    assert_ptr_equal(arena_take(a, 200000), p);
    assert_int_equal(p[0], 0);
    assert_int_equal(p[150000], 0);
    arena_free(a);
}

static blkcnt_t blocks(const struct arena *a)
{
    struct stat st;

    assert_int_equal(fstat(arena_fd(a), &st), 0);
    return st.st_blocks;
}

static void test_large_chunks_go_back_to_the_kernel(void **state)
{
    struct arena *a = make();
    char *p = arena_take(a, 64 << 20);
    blkcnt_t full;

    memset(p, 1, 64 << 20);
    full = blocks(a);
    assert_true(full >= (64 << 20) / 512);
    arena_release(a, p);
    arena_sweep(a);
    assert_true(blocks(a) < 64);
    arena_free(a);
}

static void test_the_end_of_the_arena(void **state)
{
    struct arena *a = NULL;

    assert_int_equal(arena_new(&a, "small", 1 << 20), 0);
    assert_null(arena_take(a, 2 << 20));
    assert_null(arena_take(a, SIZE_MAX));
    assert_non_null(arena_take(a, 300000));
    assert_null(arena_take(a, 600000));
    assert_non_null(arena_take(a, 100000));
    arena_free(a);
}

static void test_plain_memory(void **state)
{
    char *p = arena_take(NULL, 100);

    assert_int_equal(p[99], 0);
    p = arena_resize(NULL, p, 1000);
    assert_non_null(p);
    arena_release(NULL, p);
    arena_release(NULL, NULL);
    arena_sweep(NULL);
}

struct root {
    char *text;
    void *nothing;
};

static void test_what_was_left_is_found(void **state)
{
    struct arena *a = make();
    struct root *root = arena_take(a, sizeof *root);
    struct arena_view v;
    int fd = dup(arena_fd(a));
    const struct root *found;
    size_t offset;
    char *pages = arena_take_pages(a, 8192, &offset);

    root->text = arena_take(a, 32);
    strcpy(root->text, "left");
    assert_int_equal(arena_view_open(&v, fd, FORMAT), -EPROTO); /* no root yet */
    arena_set_root(a, root, FORMAT);
    assert_int_equal(arena_view_open(&v, fd, FORMAT + 1), -EPROTO);
    char *text = root->text;
    arena_free(a);
    assert_int_equal(arena_view_open(&v, fd, FORMAT), 0);
    found = v.root;
    assert_ptr_equal(found->text, text);
    assert_string_equal(arena_view_at(&v, found->text, 5), "left");
    assert_null(arena_view_at(&v, found->nothing, 1));
    assert_null(arena_view_at(&v, found->text, SIZE));
    assert_null(arena_view_at(&v, &v, 1));
    assert_int_equal(arena_view_offset(&v, pages), offset);
    assert_true(arena_view_holds(&v, found, sizeof *found));
    assert_false(arena_view_holds(&v, found, SIZE));
    assert_false(arena_view_holds(&v, &v, 1));
    arena_view_close(&v);
    arena_view_close(&v);
    close(fd);
}

static void test_it_is_not_opened_for_ever(void **state)
{
    struct arena *a = make();
    struct arena_view v;

    arena_set_root(a, arena_take(a, 8), FORMAT);
    for (unsigned i = 0; i < ARENA_TRIES; i++) {
        assert_int_equal(arena_view_open(&v, arena_fd(a), FORMAT), 0);
        arena_view_close(&v);
    }
    assert_int_equal(arena_view_open(&v, arena_fd(a), FORMAT), -EBUSY);
    assert_null(v.map);
    arena_free(a);
}

static void test_what_is_no_arena(void **state)
{
    struct arena_view v;
    int fd = memfd_create("other", MFD_CLOEXEC);

    assert_int_equal(arena_view_open(&v, fd, FORMAT), -EPROTO);
    assert_int_equal(ftruncate(fd, 100000), 0);
    assert_int_equal(arena_view_open(&v, fd, FORMAT), -EPROTO);
    close(fd);
    assert_int_equal(arena_view_open(&v, fd, FORMAT), -EBADF);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chunks_do_not_overlap),
        cmocka_unit_test(test_growing_keeps_what_is_there),
        cmocka_unit_test(test_freed_memory_stays_until_it_is_swept),
        cmocka_unit_test(test_large_chunks_go_back_to_the_kernel),
        cmocka_unit_test(test_the_end_of_the_arena),
        cmocka_unit_test(test_plain_memory),
        cmocka_unit_test(test_what_was_left_is_found),
        cmocka_unit_test(test_it_is_not_opened_for_ever),
        cmocka_unit_test(test_what_is_no_arena),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
