/* Where the socket is looked for. Each test sets the environment that it needs. */
#include "path.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <cmocka.h>

static char out[SOCKET_PATH_MAX + 1];

static int environment_clear(void **state)
{
    unsetenv(SOCKET_ENVIRONMENT);
    unsetenv("XDG_RUNTIME_DIR");
    return 0;
}

static void account_names(void **state)
{
    static const char *const good[] = {"default", "a", "A-b_c.d@e9", "x."};
    static const char *const bad[] = {"", ".", "..", ".hidden", "a/b", "a b", "a\n", "\xc3\xa9", "a:b"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(account_name_valid(good[i]));
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(account_name_valid(bad[i]));
}

static void account_name_length(void **state)
{
    char name[ACCOUNT_MAX + 2] = "";
    memset(name, 'a', ACCOUNT_MAX);
    assert_true(account_name_valid(name));
    name[ACCOUNT_MAX] = 'a';
    assert_false(account_name_valid(name));
}

static void system_and_user_paths(void **state)
{
    assert_int_equal(socket_path_system("default", out), 0);
    assert_string_equal(out, "/run/imd/default.sock");
    assert_int_equal(socket_path_user("default", out), -ENOENT);
    setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
    assert_int_equal(socket_path_user("work", out), 0);
    assert_string_equal(out, "/run/user/7/imd/work.sock");
    setenv("XDG_RUNTIME_DIR", "relative", 1);
    assert_int_equal(socket_path_user("work", out), -ENOENT);
}

static void bad_accounts_give_no_path(void **state)
{
    assert_int_equal(socket_path_system("../x", out), -EINVAL);
    assert_int_equal(socket_path_user("../x", out), -EINVAL);
    assert_int_equal(socket_path_connect("../x", out), -EINVAL);
    setenv(SOCKET_ENVIRONMENT, "/tmp/x.sock", 1);
    assert_int_equal(socket_path_connect("../x", out), -EINVAL);
}

static void paths_that_do_not_fit_are_refused(void **state)
{
    char folder[128] = "/";
    memset(folder + 1, 'd', 107 - 11 - 1); /* 11: "/imd/a.sock" */
    setenv("XDG_RUNTIME_DIR", folder, 1);
    assert_int_equal(socket_path_user("a", out), 0);
    assert_int_equal(strlen(out), SOCKET_PATH_MAX);
    assert_int_equal(socket_path_user("ab", out), -ENAMETOOLONG);
    memset(folder + 1, 'd', 107);
    setenv(SOCKET_ENVIRONMENT, folder, 1);
    assert_int_equal(socket_path_connect("a", out), -ENAMETOOLONG);
}

static void the_environment_overrides(void **state)
{
    setenv(SOCKET_ENVIRONMENT, "/elsewhere/s", 1);
    assert_int_equal(socket_path_connect("default", out), 0);
    assert_string_equal(out, "/elsewhere/s");
    setenv(SOCKET_ENVIRONMENT, "", 1);
    assert_int_equal(socket_path_connect("default", out), 0);
    assert_string_equal(out, "/run/imd/default.sock");
}

static void listen_at(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    strcpy(address.sun_path, path);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    close(fd);
}

static void the_users_own_socket_comes_before_the_systems(void **state)
{
    char folder[] = "/tmp/test_path.XXXXXX", path[128], inside[64];
    assert_non_null(mkdtemp(folder));
    setenv("XDG_RUNTIME_DIR", folder, 1);
    snprintf(inside, sizeof(inside), "%s/imd", folder);
    snprintf(path, sizeof(path), "%s/default.sock", inside);
    assert_int_equal(mkdir(inside, 0700), 0);

    assert_int_equal(socket_path_connect("default", out), 0);
    assert_string_equal(out, "/run/imd/default.sock"); /* there is none of the user */
    fclose(fopen(path, "w"));
    assert_int_equal(socket_path_connect("default", out), 0);
    assert_string_equal(out, "/run/imd/default.sock"); /* a file of that name is no socket */
    unlink(path);
    listen_at(path);
    assert_int_equal(socket_path_connect("default", out), 0);
    assert_string_equal(out, path);

    unlink(path);
    rmdir(inside);
    rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(account_names, environment_clear),
        cmocka_unit_test_setup(account_name_length, environment_clear),
        cmocka_unit_test_setup(system_and_user_paths, environment_clear),
        cmocka_unit_test_setup(bad_accounts_give_no_path, environment_clear),
        cmocka_unit_test_setup(paths_that_do_not_fit_are_refused, environment_clear),
        cmocka_unit_test_setup(the_environment_overrides, environment_clear),
        cmocka_unit_test_setup(the_users_own_socket_comes_before_the_systems, environment_clear),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
