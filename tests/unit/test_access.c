/* Who has which rights: users, groups, everybody, root and imd's own user; one table. */
#include "access.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))
#define LIST(array) ((struct access_list){array, COUNT(array)})

#define OWNER 990

static const struct access_entry everybody[] = {{ACCESS_EVERYBODY, 0}};
static const struct access_entry some[] = {{ACCESS_USER, 1000}, {ACCESS_GROUP, 50}, {ACCESS_USER, 1002}};
static const struct access_entry wheel[] = {{ACCESS_GROUP, 10}};

static const struct access usual = {
    .owner = OWNER, .receivers = LIST(everybody), .senders = LIST(some), .controllers = LIST(wheel)};

static void lists_give_rights(void **state)
{
    static const struct {
        const char *who;
        uid_t uid;
        gid_t gids[4];
        size_t count;
        unsigned rights;
    } cases[] = {
        {"on no list", 7, {7}, 1, RIGHT_RECEIVE},
        {"the first on a list", 1000, {1000}, 1, RIGHT_RECEIVE | RIGHT_SEND},
        {"the last on a list", 1002, {1002}, 1, RIGHT_RECEIVE | RIGHT_SEND},
        {"a user whose number is one beside it", 1001, {1001}, 1, RIGHT_RECEIVE},
        {"by its main group", 7, {50}, 1, RIGHT_RECEIVE | RIGHT_SEND},
        {"by the last of its further groups", 7, {7, 8, 9, 50}, 4, RIGHT_RECEIVE | RIGHT_SEND},
        {"by two lists", 7, {7, 10, 50}, 3, RIGHT_ALL},
        {"a group beyond those that count", 7, {7, 8, 9, 50}, 3, RIGHT_RECEIVE},
        {"a user with the number of a group", 50, {7}, 1, RIGHT_RECEIVE},
        {"a group with the number of a user", 7, {1000}, 1, RIGHT_RECEIVE},
        {"a user whose number is that of `everybody`", 1, {0}, 1, RIGHT_RECEIVE},
        {"root", 0, {0}, 1, RIGHT_ALL},
        {"the user that imd runs as", OWNER, {7}, 1, RIGHT_ALL},
        {"nobody who could be told", (uid_t)-1, {(gid_t)-1}, 1, RIGHT_RECEIVE},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        unsigned rights = access_rights(&usual, cases[i].uid, cases[i].gids, cases[i].count);

        if (rights != cases[i].rights)
            fail_msg("%s: %#x, not %#x", cases[i].who, rights, cases[i].rights);
    }
}

static void empty_lists_are_for_root_and_the_owner(void **state)
{
    const struct access none = {.owner = OWNER};
    const gid_t root_group = 0;

    assert_int_equal(access_rights(&none, 1000, &root_group, 1), 0);
    assert_int_equal(access_rights(&none, 0, &root_group, 1), RIGHT_ALL);
    assert_int_equal(access_rights(&none, OWNER, NULL, 0), RIGHT_ALL);
}

static void each_list_is_for_its_right(void **state)
{
    const struct access receive = {.owner = OWNER, .receivers = LIST(everybody)};
    const struct access send = {.owner = OWNER, .senders = LIST(everybody)};
    const struct access control = {.owner = OWNER, .controllers = LIST(everybody)};

    assert_int_equal(access_rights(&receive, 7, NULL, 0), RIGHT_RECEIVE);
    assert_int_equal(access_rights(&send, 7, NULL, 0), RIGHT_SEND);
    assert_int_equal(access_rights(&control, 7, NULL, 0), RIGHT_CONTROL);
}

static void groups_are_asked_for_when_one_is_named(void **state)
{
    const struct access users = {.receivers = LIST(everybody), .senders = {some, 1}};

    assert_true(access_names_groups(&usual));
    assert_false(access_names_groups(&users));
    assert_true(access_names_groups(&(struct access){.receivers = LIST(wheel)}));
    assert_true(access_names_groups(&(struct access){.senders = LIST(some)}));
    assert_true(access_names_groups(&(struct access){.controllers = LIST(wheel)}));
    assert_false(access_names_groups(&(struct access){0}));
}

static void rights_are_named(void **state)
{
    assert_string_equal(right_key(RIGHT_RECEIVE), "Receive");
    assert_string_equal(right_key(RIGHT_SEND), "Send");
    assert_string_equal(right_key(RIGHT_CONTROL), "Control");
    assert_int_equal(RIGHT_ALL, RIGHT_RECEIVE | RIGHT_SEND | RIGHT_CONTROL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_give_rights),
        cmocka_unit_test(empty_lists_are_for_root_and_the_owner),
        cmocka_unit_test(each_list_is_for_its_right),
        cmocka_unit_test(groups_are_asked_for_when_one_is_named),
        cmocka_unit_test(rights_are_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
