/* mailbox: order, the bound, and the wake: raised while items wait, once for a burst, from any thread. */
#include "mailbox.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <sys/eventfd.h>

static bool readable(const struct mailbox *m)
{
    struct pollfd p = {.fd = mailbox_fd(m), .events = POLLIN};

    return poll(&p, 1, 0) == 1;
}

static void *number(uintptr_t n)
{
    return (void *)n;
}

static void test_order(void **state)
{
    struct mailbox *m = NULL;
    void *items[8];

    assert_int_equal(mailbox_new(&m, 3), 0);
    assert_int_equal(mailbox_take(m, items, 8), 0);
    for (uintptr_t round = 0; round < 5; round++) { /* goes around the end of the ring */
        assert_int_equal(mailbox_post(m, number(round + 1)), 0);
        assert_int_equal(mailbox_post(m, number(round + 2)), 0);
        assert_int_equal(mailbox_take(m, items, 8), 2);
        assert_ptr_equal(items[0], number(round + 1));
        assert_ptr_equal(items[1], number(round + 2));
    }
    mailbox_free(m);
}

static void test_bound(void **state)
{
    struct mailbox *m = NULL;
    void *items[4];

    assert_int_equal(mailbox_new(&m, 2), 0);
    assert_int_equal(mailbox_post(m, number(1)), 0);
    assert_int_equal(mailbox_post(m, number(2)), 0);
    assert_int_equal(mailbox_post(m, number(3)), -EAGAIN);
    assert_int_equal(mailbox_take(m, items, 1), 1);
    assert_ptr_equal(items[0], number(1));
    assert_int_equal(mailbox_post(m, number(4)), 0);
    assert_int_equal(mailbox_take(m, items, 4), 2);
    assert_ptr_equal(items[0], number(2));
    assert_ptr_equal(items[1], number(4));
    mailbox_free(m);
}

/* Several at once: all of them or none. */
static void test_all(void **state)
{
    struct mailbox *m = NULL;
    void *in[] = {number(1), number(2), number(3)}, *items[4];

    assert_int_equal(mailbox_new(&m, 4), 0);
    assert_int_equal(mailbox_post_all(m, in, 0), 0);
    assert_false(readable(m));
    for (unsigned round = 0; round < 3; round++) { /* goes around the end of the ring */
        assert_int_equal(mailbox_post_all(m, in, 3), 0);
        assert_true(readable(m));
        assert_int_equal(mailbox_post_all(m, in, 2), -EAGAIN);
        assert_int_equal(mailbox_post(m, number(4)), 0);
        assert_int_equal(mailbox_take(m, items, 4), 4);
        for (uintptr_t n = 0; n < 4; n++)
            assert_ptr_equal(items[n], number(n + 1));
        assert_false(readable(m));
    }
    mailbox_free(m);
}

static void test_wake(void **state)
{
    struct mailbox *m = NULL;
    void *items[4];
    eventfd_t raised = 0;

    assert_int_equal(mailbox_new(&m, 8), 0);
    assert_false(readable(m));
    for (uintptr_t n = 1; n <= 3; n++)
        assert_int_equal(mailbox_post(m, number(n)), 0);
    assert_true(readable(m));
    assert_int_equal(mailbox_take(m, items, 2), 2);
    assert_true(readable(m)); /* one is still there */
    assert_int_equal(mailbox_take(m, items, 2), 1);
    assert_false(readable(m));

    for (uintptr_t n = 1; n <= 3; n++)
        assert_int_equal(mailbox_post(m, number(n)), 0);
    assert_int_equal(eventfd_read(mailbox_fd(m), &raised), 0);
    assert_int_equal(raised, 1); /* a burst writes once */
    mailbox_free(m);
}

static void test_refused(void **state)
{
    struct mailbox *m = NULL;

    assert_int_equal(mailbox_new(&m, 0), -EINVAL);
    assert_int_equal(mailbox_new(&m, SIZE_MAX / 2), -EINVAL);
    assert_null(m);
    mailbox_free(NULL);
}

#define WRITERS 4
#define POSTS 20000

struct writer {
    struct mailbox *m;
    uintptr_t id;
};

static void *write_all(void *self)
{
    struct writer *w = self;

    for (uintptr_t n = 0; n < POSTS; n++)
        while (mailbox_post(w->m, number(w->id * POSTS + n + 1)) == -EAGAIN)
            sched_yield();
    return NULL;
}

/* The reader sleeps on the descriptor only: a lost wake would hang, a lost or doubled item breaks a writer's
 * count. */
static void test_threads(void **state)
{
    struct mailbox *m = NULL;
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
    uintptr_t next[WRITERS] = {0};
    void *items[64];

    assert_int_equal(mailbox_new(&m, 100), 0);
    for (uintptr_t i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){m, i};
        assert_int_equal(pthread_create(&threads[i], NULL, write_all, &writers[i]), 0);
    }
    for (size_t taken = 0; taken < WRITERS * POSTS;) {
        struct pollfd p = {.fd = mailbox_fd(m), .events = POLLIN};
        assert_int_equal(poll(&p, 1, -1), 1);
        size_t n = mailbox_take(m, items, 64);
        for (size_t i = 0; i < n; i++) {
            uintptr_t v = (uintptr_t)items[i] - 1;
            assert_int_equal(v % POSTS, next[v / POSTS]++);
        }
        taken += n;
    }
    for (size_t i = 0; i < WRITERS; i++)
        pthread_join(threads[i], NULL);
    assert_false(readable(m));
    mailbox_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order), cmocka_unit_test(test_bound),   cmocka_unit_test(test_all),
        cmocka_unit_test(test_wake),  cmocka_unit_test(test_refused), cmocka_unit_test(test_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
