/* loop: every kind of wake reaches its callback, removal in the middle of a batch is exact, hooks and clock. */
#include "loop.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>
#include <unistd.h>

static int loop_set_up(void **state)
{
    struct loop *l = NULL;
    int r = loop_new(&l);

    *state = l;
    return r;
}

static int loop_tear_down(void **state)
{
    loop_free(*state);
    return 0;
}

/* ---- sources ---- */

struct end { /* one end of a socketpair on the loop, the other in our hand */
    struct loop_source source;
    struct loop *loop;
    int far;
    int called;
    uint32_t events;
    struct end *victim; /* removed when this one is called */
    bool stops;
};

static void on_ready(struct loop_source *s, uint32_t events)
{
    struct end *e = (struct end *)s;

    e->called++;
    e->events = events;
    if (e->victim)
        loop_source_remove(e->loop, &e->victim->source);
    if (e->stops)
        loop_stop(e->loop);
}

static void end_init(struct end *e, struct loop *l, uint32_t events)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    *e = (struct end){.source = {.ready = on_ready}, .loop = l, .far = pair[1], .stops = true};
    assert_int_equal(loop_source_add(l, &e->source, pair[0], events), 0);
    e->source.fd = pair[0];
}

static void end_deinit(struct end *e, int near)
{
    loop_source_remove(e->loop, &e->source);
    loop_source_remove(e->loop, &e->source);
    close(near);
    close(e->far);
}

static void test_source_wakes(void **state)
{
    struct end e;

    end_init(&e, *state, EPOLLIN | EPOLLRDHUP);
    int near = e.source.fd;
    assert_int_equal(write(e.far, "x", 1), 1);
    assert_int_equal(loop_run(*state), 0);
    assert_int_equal(e.called, 1);
    assert_int_equal(e.events, EPOLLIN);

    assert_int_equal(loop_run(*state), 0); /* level-triggered: the byte is still there */
    assert_int_equal(e.called, 2);

    assert_int_equal(loop_source_arm(*state, &e.source, EPOLLOUT), 0);
    assert_int_equal(loop_run(*state), 0);
    assert_int_equal(e.events, EPOLLOUT);

    assert_int_equal(loop_source_arm(*state, &e.source, EPOLLRDHUP), 0);
    assert_int_equal(shutdown(e.far, SHUT_WR), 0);
    assert_int_equal(loop_run(*state), 0);
    assert_true(e.events & EPOLLRDHUP);
    end_deinit(&e, near);
}

static void test_arm_without_change_is_no_call(void **state)
{
    struct end e;

    end_init(&e, *state, EPOLLIN);
    int near = e.source.fd;
    e.source.fd = -1; /* a system call would fail on this */
    assert_int_equal(loop_source_arm(*state, &e.source, EPOLLIN), 0);
    assert_int_equal(loop_source_arm(*state, &e.source, EPOLLOUT), -EBADF);
    assert_int_equal(e.source.events, EPOLLIN);
    e.source.fd = near;
    end_deinit(&e, near);
}

/* All are ready in one batch, and each removes all others: only one may be called. */
static void test_remove_in_batch(void **state)
{
    struct end e[3];
    int near[3], called = 0;

    for (int i = 0; i < 3; i++) {
        end_init(&e[i], *state, EPOLLIN);
        near[i] = e[i].source.fd;
        assert_int_equal(write(e[i].far, "x", 1), 1);
    }
    e[0].victim = &e[1];
    e[1].victim = &e[0];
    assert_int_equal(loop_run(*state), 0);
    for (int i = 0; i < 3; i++)
        called += e[i].called;
    assert_int_equal(e[0].called + e[1].called, 1);
    assert_int_equal(called, 2);
    for (int i = 0; i < 3; i++)
        end_deinit(&e[i], near[i]);
}

static void test_remove_itself(void **state)
{
    struct end e;

    end_init(&e, *state, EPOLLIN);
    int near = e.source.fd;
    e.victim = &e;
    assert_int_equal(write(e.far, "x", 1), 1);
    assert_int_equal(loop_run(*state), 0);
    assert_int_equal(e.called, 1);
    assert_int_equal(loop_source_add(*state, &e.source, near, EPOLLIN), 0); /* it is really off the epoll */
    end_deinit(&e, near);
}

/* More ready sources than one batch holds: each is served, none twice before all were. */
#define MANY 400
static void test_more_than_a_batch(void **state)
{
    static struct end e[MANY];
    static int near[MANY];
    int served = 0;

    for (int i = 0; i < MANY; i++) {
        end_init(&e[i], *state, EPOLLIN);
        near[i] = e[i].source.fd;
        assert_int_equal(write(e[i].far, "x", 1), 1);
    }
    while (served < MANY) { /* all stay ready: those that were served must not keep others from it */
        assert_int_equal(loop_run(*state), 0);
        served = 0;
        for (int i = 0; i < MANY; i++)
            served += e[i].called > 0;
    }
    for (int i = 0; i < MANY; i++) {
        assert_true(e[i].called <= 2);
        end_deinit(&e[i], near[i]);
    }
}

/* ---- sd-event ---- */

static int stop_on_time(sd_event_source *s, uint64_t usec, void *self)
{
    loop_stop(self);
    return 0;
}

static int stop_on_defer(sd_event_source *s, void *self)
{
    loop_stop(self);
    return 0;
}

static void test_timer(void **state)
{
    uint64_t at = (loop_now_ms(*state) + 20) * 1000;

    assert_int_equal(sd_event_add_time(loop_event(*state), NULL, CLOCK_BOOTTIME, at, 1, stop_on_time, *state),
                     0);
    assert_int_equal(loop_run(*state), 0);
    assert_true(loop_now_ms(*state) * 1000 >= at);
}

static void test_defer(void **state)
{
    assert_int_equal(sd_event_add_defer(loop_event(*state), NULL, stop_on_defer, *state), 0);
    assert_int_equal(loop_run(*state), 0);
}

/* What a hook defers comes after the prepare of its turn: it must not wait for another wake. */
struct deferring_hook {
    struct loop_hook hook; /* first */
    struct loop *loop;
};

static void defer_from_hook(struct loop_hook *h)
{
    struct deferring_hook *d = (struct deferring_hook *)h;

    sd_event_add_defer(loop_event(d->loop), NULL, stop_on_defer, d->loop);
    loop_hook_remove(d->loop, h);
}

static int nothing_on_defer(sd_event_source *source, void *self)
{
    return 0;
}

static void test_defer_from_hook(void **state)
{
    struct deferring_hook d = {{.turn = defer_from_hook}, *state};

    loop_hook_add(*state, &d.hook);
    assert_int_equal(sd_event_add_defer(loop_event(*state), NULL, nothing_on_defer, NULL), 0);
    assert_int_equal(loop_run(*state), 0);
}

/* ---- hooks, clock, turns ---- */

struct noting_hook {
    struct loop_hook hook;
    char name;
    char *notes;
};

static void note(struct loop_hook *h)
{
    struct noting_hook *n = (struct noting_hook *)h;

    strncat(n->notes, &n->name, 1);
}

static void test_hooks_in_order(void **state)
{
    char notes[64] = "";
    struct noting_hook hooks[] = {{{.turn = note}, 'a', notes},
                                  {{.turn = note, .last = true}, 'y', notes},
                                  {{.turn = note}, 'b', notes},
                                  {{.turn = note, .last = true}, 'z', notes},
                                  {{.turn = note}, 'c', notes}};
    uint64_t before = loop_turns(*state);

    for (size_t i = 0; i < 5; i++)
        loop_hook_add(*state, &hooks[i].hook);
    assert_int_equal(sd_event_add_defer(loop_event(*state), NULL, stop_on_defer, *state), 0);
    assert_int_equal(loop_run(*state), 0);
    assert_string_equal(notes, "abcyz");
    assert_int_equal(loop_turns(*state), before + 1);
}

struct removing_hook {
    struct loop_hook hook;
    struct loop *loop;
    struct loop_hook *victims[2];
    int called;
};

static void remove_hooks(struct loop_hook *h)
{
    struct removing_hook *r = (struct removing_hook *)h;

    r->called++;
    for (int i = 0; i < 2; i++)
        if (r->victims[i])
            loop_hook_remove(r->loop, r->victims[i]);
}

static void test_hooks_removed_from_within(void **state)
{
    struct removing_hook a = {.hook.turn = remove_hooks, .loop = *state};
    struct removing_hook b = a, c = a, d = a;

    a.victims[0] = &a.hook;
    a.victims[1] = &b.hook; /* the next one */
    c.victims[0] = &d.hook; /* the last one */
    loop_hook_add(*state, &a.hook);
    loop_hook_add(*state, &b.hook);
    loop_hook_add(*state, &c.hook);
    loop_hook_add(*state, &d.hook);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(sd_event_add_defer(loop_event(*state), NULL, stop_on_defer, *state), 0);
        assert_int_equal(loop_run(*state), 0);
    }
    assert_int_equal(a.called, 1);
    assert_int_equal(b.called, 0);
    assert_int_equal(c.called, 2);
    assert_int_equal(d.called, 0);
    loop_hook_add(*state, &d.hook); /* at the end, which has moved */
    assert_int_equal(sd_event_add_defer(loop_event(*state), NULL, stop_on_defer, *state), 0);
    c.victims[0] = NULL;
    assert_int_equal(loop_run(*state), 0);
    assert_int_equal(d.called, 1);
}

/* The time that a callback sees is that of the wake, not that from before the sleep. */
struct clock_reader {
    struct loop *loop;
    uint64_t before, seen;
};

static int read_clock(sd_event_source *s, uint64_t usec, void *self)
{
    struct clock_reader *c = self;

    c->seen = loop_now_ms(c->loop);
    loop_stop(c->loop);
    return 0;
}

static void test_clock_after_sleep(void **state)
{
    struct clock_reader c = {.loop = *state, .before = loop_now_ms(*state)};

    assert_int_equal(sd_event_add_time(loop_event(*state), NULL, CLOCK_BOOTTIME, (c.before + 30) * 1000, 1,
                                       read_clock, &c),
                     0);
    assert_int_equal(loop_run(*state), 0);
    assert_true(c.seen >= c.before + 30);
    assert_true(loop_wall_ms(*state) > 1600000000000);
}

static void test_stop_before_run(void **state)
{
    loop_stop(*state);
    assert_int_equal(loop_run(*state), 0);
}

static void test_descriptors_are_given_back(void **state)
{
    int before = dup(0);
    struct loop *l = NULL;

    assert_true(before >= 0);
    close(before);
    assert_int_equal(loop_new(&l), 0);
    loop_free(l);
    int after = dup(0);
    close(after);
    assert_int_equal(after, before);
    loop_free(NULL);
}

#define on_loop(f) cmocka_unit_test_setup_teardown(f, loop_set_up, loop_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        on_loop(test_source_wakes),
        on_loop(test_arm_without_change_is_no_call),
        on_loop(test_remove_in_batch),
        on_loop(test_remove_itself),
        on_loop(test_more_than_a_batch),
        on_loop(test_timer),
        on_loop(test_defer),
        on_loop(test_defer_from_hook),
        on_loop(test_hooks_in_order),
        on_loop(test_hooks_removed_from_within),
        on_loop(test_clock_after_sleep),
        on_loop(test_stop_before_run),
        cmocka_unit_test(test_descriptors_are_given_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
