/* resolve: results come through the loop, once; a cancelled lookup is never heard of again. Run it under
 * ThreadSanitizer too. */
#include "loop.h"
#include "resolve.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <dirent.h>
#include <netdb.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#define HOSTS 20

struct answer {
    struct loop *loop;
    int wanted, called;
    struct resolve_result result;
    pthread_t thread;
    bool restart; /* looks the name up again, from within done */
};

static void on_done(void *self, const struct resolve_result *r)
{
    struct answer *a = self;
    struct resolve *again = NULL;

    a->called++;
    a->result = *r;
    a->thread = pthread_self();
    if (a->restart) {
        a->restart = false;
        assert_int_equal(resolve_start(&again, loop_event(a->loop), "localhost", on_done, a), 0);
    }
    if (a->called == a->wanted)
        loop_stop(a->loop);
}

static int set_up(void **state)
{
    struct loop *l = NULL;
    int r = loop_new(&l);

    *state = l;
    return r;
}

static int tear_down(void **state)
{
    loop_free(*state);
    return 0;
}

static bool has(const struct resolve_result *r, const char *address)
{
    for (unsigned i = 0; i < r->count; i++)
        if (strcmp(r->address[i], address) == 0)
            return true;
    return false;
}

static void test_addresses(void **state)
{
    struct answer a = {.loop = *state, .wanted = 1};
    struct resolve *r = NULL;

    assert_int_equal(resolve_start(&r, loop_event(*state), "localhost", on_done, &a), 0);
    assert_int_equal(a.called, 0);
    assert_int_equal(loop_run(*state), 0);
    assert_int_equal(a.called, 1);
    assert_int_equal(a.result.error, 0);
    assert_true(has(&a.result, "127.0.0.1") || has(&a.result, "::1"));
    for (unsigned i = 0; i < a.result.count; i++)
        for (unsigned j = 0; j < i; j++)
            assert_string_not_equal(a.result.address[i], a.result.address[j]);
    assert_true(pthread_equal(a.thread, pthread_self()));
}

static void test_unknown_name(void **state)
{
    struct answer a = {.loop = *state, .wanted = 1};
    struct resolve *r = NULL;
    char name[71];

    memset(name, 'a', 70); /* no label is as long: refused without asking anybody */
    name[70] = '\0';
    assert_int_equal(resolve_start(&r, loop_event(*state), name, on_done, &a), 0);
    assert_int_equal(loop_run(*state), 0);
    assert_int_not_equal(a.result.error, 0);
    assert_int_equal(a.result.count, 0);
}

static void test_start_from_within_done(void **state)
{
    struct answer a = {.loop = *state, .wanted = 2, .restart = true};
    struct resolve *r = NULL;

    assert_int_equal(resolve_start(&r, loop_event(*state), "localhost", on_done, &a), 0);
    assert_int_equal(loop_run(*state), 0);
    assert_int_equal(a.called, 2);
}

static int threads(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/task");

    for (struct dirent *e; (e = readdir(d));)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

static int threads_at_start;

static void *do_nothing(void *self)
{
    return self;
}

/* A sanitizer makes a thread of its own when the first one is made; one that was joined is listed a moment
 * longer. */
static void count_threads_at_start(void)
{
    pthread_t t;

    pthread_create(&t, NULL, do_nothing, NULL);
    pthread_join(t, NULL);
    threads_at_start = threads();
    for (int i = 0; i < 1000; i++) {
        int now = threads();
        if (now < threads_at_start)
            threads_at_start = now;
    }
}

static void wait_for_threads(void)
{
    while (threads() > threads_at_start)
        sched_yield();
}

static int descriptors(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");

    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

/* Some are cancelled at once, some when the thread has ended and its result waits; the others all come. */
static void test_cancel(void **state)
{
    struct answer a = {.loop = *state, .wanted = HOSTS / 2}, never = {.loop = *state};
    struct resolve *r[HOSTS];

    wait_for_threads();
    int before = descriptors();

    for (int i = 0; i < HOSTS; i++)
        assert_int_equal(resolve_start(&r[i], loop_event(*state), "localhost", on_done, i % 2 ? &a : &never),
                         0);
    for (int i = 0; i < HOSTS; i += 4)
        resolve_cancel(r[i]);
    wait_for_threads();
    for (int i = 2; i < HOSTS; i += 4)
        resolve_cancel(r[i]);
    resolve_cancel(NULL);
    assert_int_equal(loop_run(*state), 0);
    assert_int_equal(a.called, HOSTS / 2);
    assert_int_equal(never.called, 0);
    assert_int_equal(descriptors(), before);
}

/* All signals are blocked while the thread is made: afterwards the loop has its own mask again. */
static sigset_t mask_at_start;

static void test_signals_stay_with_the_loop(void **state)
{
    struct answer a = {.loop = *state, .wanted = 1};
    struct resolve *r = NULL;
    sigset_t after;

    assert_int_equal(resolve_start(&r, loop_event(*state), "localhost", on_done, &a), 0);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    for (int signal = 1; signal < NSIG; signal++)
        assert_int_equal(sigismember(&mask_at_start, signal), sigismember(&after, signal));
    assert_int_equal(loop_run(*state), 0);
}

#define on_loop(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_loop(test_addresses),
        on_loop(test_unknown_name),
        on_loop(test_cancel),
        on_loop(test_start_from_within_done),
        on_loop(test_signals_stay_with_the_loop),
    };

    count_threads_at_start();
    pthread_sigmask(SIG_SETMASK, NULL, &mask_at_start);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
