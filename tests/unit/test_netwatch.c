/* netwatch: a change of the network is told once for a burst. In a network namespace of its own, so that
 * nobody else is disturbed. */
#include "loop.h"
#include "netwatch.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>
#include <unistd.h>

struct told {
    struct loop *loop;
    int network, resume;
};

static void on_change(void *self, enum netwatch_change what)
{
    struct told *t = self;

    if (what == NETWATCH_NETWORK)
        t->network++;
    else
        t->resume++;
    loop_stop(t->loop);
}

static void set_loopback(bool up)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = up ? IFF_UP : 0};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    assert_int_equal(ioctl(fd, SIOCSIFFLAGS, &request), 0);
    close(fd);
}

static int stop(sd_event_source *s, uint64_t usec, void *self)
{
    loop_stop(self);
    return 0;
}

static void run_for(struct loop *l, uint64_t ms)
{
    sd_event_source *end = NULL;

    sd_event_add_time(loop_event(l), &end, CLOCK_BOOTTIME, (loop_now_ms(l) + ms) * 1000, 1, stop, l);
    assert_int_equal(loop_run(l), 0);
    sd_event_source_disable_unref(end);
}

#define CHANGES 6
#define BETWEEN_MS 40 /* well below the time of a burst */
#define LATE_MS 150   /* nearly that time: on a busy machine it happens, and then it is not one burst */

struct burst {
    struct told *told;
    int left;
    int told_before_the_last; /* there should be nothing */
    uint64_t last_ms;         /* the change before */
    bool late;
};

static int change_again(sd_event_source *s, uint64_t usec, void *self)
{
    struct burst *b = self;

    uint64_t now_ms = loop_now_ms(b->told->loop);

    b->late |= b->last_ms && now_ms - b->last_ms > LATE_MS;
    b->last_ms = now_ms;
    b->told_before_the_last = b->told->network;
    set_loopback(b->left % 2 == 0);
    if (--b->left == 0)
        return 0;
    sd_event_source_set_time(s, (loop_now_ms(b->told->loop) + BETWEEN_MS) * 1000);
    return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

/* false: it came too late to be one. */
static bool make_burst(struct told *t)
{
    struct burst b = {.told = t, .left = CHANGES};
    sd_event_source *timer = NULL;
    int before = t->network;

    sd_event_add_time(loop_event(t->loop), &timer, CLOCK_BOOTTIME, loop_now_ms(t->loop) * 1000, 1,
                      change_again, &b);
    while (b.left > 0 || t->network == before)
        assert_int_equal(loop_run(t->loop), 0);
    sd_event_source_disable_unref(timer);
    if (b.late) {
        run_for(t->loop, 600);
        return false;
    }
    assert_int_equal(b.told_before_the_last, before);
    assert_int_equal(t->network, before + 1);
    return true;
}

static void test_burst(void **state)
{
    struct told t = {0};
    struct netwatch *n = NULL;

    if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0)
        skip();
    assert_int_equal(loop_new(&t.loop), 0);
    assert_int_equal(netwatch_new(&n, loop_event(t.loop), on_change, &t), 0);
    int told;

    while (!make_burst(&t))
        ;
    told = t.network;
    run_for(t.loop, 600); /* nothing is told twice */
    assert_int_equal(t.network, told);
    while (!make_burst(&t))
        ;
    told = t.network;
    assert_int_equal(t.resume, 0);
    set_loopback(true);
    set_loopback(false);
    netwatch_free(n); /* with a change under way */
    netwatch_free(NULL);
    run_for(t.loop, 300);
    assert_int_equal(t.network, told);
    loop_free(t.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_burst)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
