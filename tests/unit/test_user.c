/* What a user's clients have together: how many they are, what waits, and how fast they send. */
#include "user.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

/* Long after the machine's start, as it mostly is. */
#define NOW 100000000u

static unsigned count(const struct users *u)
{
    unsigned n = 0;

    for (const struct user *user = u->list; user; user = user->next)
        n++;
    return n;
}

/* Sends as many as it may; how many. */
static unsigned burst(const struct users *u, struct user *user, uint64_t now_ms)
{
    unsigned n = 0;

    while (n < 10000 && users_may_send(u, user, now_ms)) {
        users_sent(u, user);
        n++;
    }
    return n;
}

static void a_user_is_one_for_all_its_clients(void **state)
{
    struct users u = {0};
    struct user *a = users_join(&u, 1000, NOW), *b = users_join(&u, 1001, NOW);

    assert_ptr_not_equal(a, b);
    assert_ptr_equal(users_join(&u, 1000, NOW), a);
    assert_int_equal(a->clients, 2);
    assert_int_equal(b->clients, 1);
    users_leave(&u, a, NOW);
    assert_ptr_equal(users_join(&u, 1000, NOW), a);
    assert_int_equal(a->clients, 2);
    users_deinit(&u);
    users_deinit(&u);
}

static void it_goes_when_nothing_needs_it(void **state)
{
    struct users u = {0};
    struct user *a = users_join(&u, 1000, NOW), *b = users_join(&u, 1001, NOW);

    users_leave(&u, a, NOW);
    assert_int_equal(count(&u), 1);
    users_ask(b, false);
    users_ask(b, false);
    users_leave(&u, b, NOW);
    assert_int_equal(count(&u), 1); /* its messages wait for their answers */
    users_answered(&u, b, false, NOW);
    assert_int_equal(count(&u), 1);
    users_answered(&u, b, false, NOW);
    assert_int_equal(count(&u), 0);
}

static void a_second_is_sent_at_once_and_then_so_many_a_second(void **state)
{
    struct users u = {.rate = 4};
    struct user *a = users_join(&u, 1000, NOW);

    assert_int_equal(burst(&u, a, NOW), 4);
    assert_int_equal(burst(&u, a, NOW + 249), 0);
    assert_int_equal(burst(&u, a, NOW + 250), 1);
    assert_int_equal(burst(&u, a, NOW + 750), 2);
    assert_int_equal(burst(&u, a, NOW + 1749), 3);
    assert_int_equal(burst(&u, a, NOW + 1750), 1);
    assert_int_equal(burst(&u, a, NOW + 1000000), 4); /* no more than a second's worth is kept */
    users_deinit(&u);
}

static void parts_of_a_message_are_not_lost(void **state)
{
    struct users u = {.rate = 3};
    struct user *a = users_join(&u, 1000, NOW);
    unsigned sent = burst(&u, a, NOW);

    for (unsigned ms = 1; ms <= 10000; ms++)
        sent += burst(&u, a, NOW + ms);
    assert_int_equal(sent, 3 + 30);
    users_deinit(&u);
}

static void no_rate_is_no_limit(void **state)
{
    struct users u = {0};
    struct user *a = users_join(&u, 1000, NOW);

    assert_int_equal(burst(&u, a, NOW), 10000);
    users_deinit(&u);
}

static void users_do_not_share_a_rate(void **state)
{
    struct users u = {.rate = 2};
    struct user *a = users_join(&u, 1000, NOW), *b = users_join(&u, 1001, NOW);

    assert_int_equal(burst(&u, a, NOW), 2);
    assert_int_equal(burst(&u, b, NOW), 2);
    users_deinit(&u);
}

/* `while imctl send …` is a new connection each time. */
static void a_new_connection_is_no_way_round_the_rate(void **state)
{
    struct users u = {.rate = 2};
    struct user *a = users_join(&u, 1000, NOW);

    assert_int_equal(burst(&u, a, NOW), 2);
    users_leave(&u, a, NOW);
    users_join(&u, 1001, NOW);
    a = users_join(&u, 1000, NOW);
    assert_int_equal(burst(&u, a, NOW), 0);
    users_leave(&u, a, NOW + 999);
    assert_int_equal(count(&u), 2);
    users_join(&u, 1002, NOW + 1000);
    assert_int_equal(count(&u), 2); /* by now it would be as if it were new */
    users_deinit(&u);
}

static void a_new_rate_is_for_all(void **state)
{
    struct users u = {0};
    struct user *a = users_join(&u, 1000, NOW);

    burst(&u, a, NOW);
    u.rate = 5;
    assert_int_equal(burst(&u, a, NOW), 5);
    u.rate = 100;
    assert_int_equal(burst(&u, a, NOW + 100), 10);
    assert_int_equal(burst(&u, a, NOW + 5000), 100);
    assert_true(users_may_send(&u, a, NOW + 10000));
    u.rate = 1;
    assert_int_equal(burst(&u, a, NOW + 10000), 1);
    u.rate = 0;
    assert_int_equal(burst(&u, a, NOW + 10000), 10000);
    users_deinit(&u);
}

static void the_highest_rate_does_not_overflow(void **state)
{
    struct users u = {.rate = 1000000};
    struct user *a = users_join(&u, 1000, 1);

    assert_int_equal(burst(&u, a, 1), 10000);
    assert_int_equal(a->bucket.level, 990000000u);
    assert_true(users_may_send(&u, a, UINT64_MAX));
    assert_int_equal(a->bucket.level, 1000000000u);
    users_deinit(&u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_user_is_one_for_all_its_clients),
        cmocka_unit_test(it_goes_when_nothing_needs_it),
        cmocka_unit_test(a_second_is_sent_at_once_and_then_so_many_a_second),
        cmocka_unit_test(parts_of_a_message_are_not_lost),
        cmocka_unit_test(no_rate_is_no_limit),
        cmocka_unit_test(users_do_not_share_a_rate),
        cmocka_unit_test(a_new_connection_is_no_way_round_the_rate),
        cmocka_unit_test(a_new_rate_is_for_all),
        cmocka_unit_test(the_highest_rate_does_not_overflow),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
