/*
 * The command line of imd: each option, each error text, and where the places come from that were not given.
 */
#include "options.h"
#include "path.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define WORDS_MAX 16

/* Splits a line at spaces; `_` alone stands for an empty word. */
static int parse(struct options *o, const char *line, char *error, size_t n)
{
    char copy[512], *argv[WORDS_MAX + 1] = {(char *)"imd"}, *rest = copy, *word;
    int argc = 1;

    snprintf(copy, sizeof(copy), "%s", line);
    while ((word = strsep(&rest, " ")))
        if (*word) {
            assert_true(argc < WORDS_MAX);
            argv[argc++] = strcmp(word, "_") == 0 ? (char *)"" : word;
        }
    return options_parse(o, argc, argv, error, n);
}

static struct options good(const char *line)
{
    struct options o;
    char error[256] = "";

    if (parse(&o, line, error, sizeof(error)) != 0)
        fail_msg("%s: %s", line, error);
    return o;
}

static void bad(const char *line, const char *text)
{
    struct options o;
    char error[256] = "";

    assert_int_equal(parse(&o, line, error, sizeof(error)), OPTIONS_EXIT_USAGE);
    assert_string_equal(error, text);
    assert_null(o.account);
    options_deinit(&o);
}

static int environment_set(void **state)
{
    setenv("HOME", "/home/me", 1);
    setenv("XDG_RUNTIME_DIR", "/run/user/7", 1);
    unsetenv("XDG_CONFIG_HOME");
    unsetenv("XDG_STATE_HOME");
    unsetenv("STATE_DIRECTORY");
    return 0;
}

/* Who is not root, for tests that root runs. */
#define NOBODY 65534

static int user_environment_set(void **state)
{
    return geteuid() == 0 && seteuid(NOBODY) < 0 ? -1 : environment_set(state);
}

static int user_end(void **state)
{
    return seteuid(getuid());
}

static void places_of_root(void **state)
{
    struct options o;

    if (geteuid() != 0)
        skip();
    o = good("");
    assert_int_equal(o.action, OPTIONS_RUN);
    assert_string_equal(o.account, "default");
    assert_string_equal(o.config, "/etc/imd/default.conf");
    assert_string_equal(o.socket, "/run/imd/default.sock");
    assert_string_equal(o.state, "/var/lib/imd/default");
    options_deinit(&o);
    options_deinit(&o);
    assert_null(o.account);
}

static void places_of_a_user(void **state)
{
    struct options o = good("--account work");

    assert_string_equal(o.account, "work");
    assert_string_equal(o.config, "/home/me/.config/imd/work.conf");
    assert_string_equal(o.socket, "/run/user/7/imd/work.sock");
    assert_string_equal(o.state, "/home/me/.local/state/imd/work");
    options_deinit(&o);
}

static void everything_given(void **state)
{
    struct options o = good("--account a.b-c@d --config=c.conf --socket s --state /s --check-config");

    assert_int_equal(o.action, OPTIONS_CHECK_CONFIG);
    assert_string_equal(o.account, "a.b-c@d");
    assert_string_equal(o.config, "c.conf");
    assert_string_equal(o.socket, "s");
    assert_string_equal(o.state, "/s");
    options_deinit(&o);
    o = good("--account a --account b");
    assert_string_equal(o.account, "b");
    options_deinit(&o);
}

static void action(const char *line, enum options_action expected)
{
    struct options o = good(line);

    assert_int_equal(o.action, expected);
    options_deinit(&o);
}

static void actions(void **state)
{
    action("--help", OPTIONS_HELP);
    action("--version", OPTIONS_VERSION);
    action("--help --version --check-config", OPTIONS_HELP);
    action("--check-config --version", OPTIONS_VERSION);
    action("--version --account _x", OPTIONS_VERSION);
}

static void usage_errors(void **state)
{
    bad("--nonsense", "unknown option --nonsense");
    bad("--nonsense=1", "unknown option --nonsense=1");
    bad("-x", "unknown option -x");
    bad("-xy", "unknown option -x");
    bad("--account", "--account needs a value");
    bad("--account _", "--account needs a value");
    bad("--config=", "--config needs a value");
    bad("--help=x", "--help takes no value");
    bad("--vers=x", "--version takes no value");
    bad("--acc", "--acc needs a value");
    bad("work", "unexpected word work");
    bad("--account a work", "unexpected word work");
    bad("-- work", "unexpected word work");
    bad("--account a/b", "--account: \"a/b\" is not an account name (letters, digits, . _ - @; at most 64)");
    bad("--account .a", "--account: \".a\" is not an account name (letters, digits, . _ - @; at most 64)");
}

static void long_socket_path(void **state)
{
    char line[256] = "--socket ";

    memset(line + strlen(line), 'x', SOCKET_PATH_MAX);
    action(line, OPTIONS_RUN);
    strcat(line, "x");
    bad(line, "--socket: longer than 107 bytes");
}

static void state_of_systemd(void **state)
{
    struct options o;

    setenv("STATE_DIRECTORY", "/var/lib/imd/one:/var/lib/imd/two", 1);
    o = good("");
    assert_string_equal(o.state, "/var/lib/imd/one");
    options_deinit(&o);
    o = good("--state /mine");
    assert_string_equal(o.state, "/mine");
    options_deinit(&o);
}

static void xdg_folders(void **state)
{
    struct options o;

    setenv("XDG_CONFIG_HOME", "/c", 1);
    setenv("XDG_STATE_HOME", "/s", 1);
    unsetenv("XDG_RUNTIME_DIR");
    o = good("");
    assert_string_equal(o.config, "/c/imd/default.conf");
    assert_string_equal(o.state, "/s/imd/default");
    assert_null(o.socket);
    options_deinit(&o);
    setenv("XDG_CONFIG_HOME", "relative", 1);
    o = good("");
    assert_string_equal(o.config, "/home/me/.config/imd/default.conf");
    options_deinit(&o);
    unsetenv("HOME");
    bad("", "neither XDG_CONFIG_HOME nor HOME is set; give --config");
    unsetenv("XDG_STATE_HOME");
    bad("--config /x", "neither XDG_STATE_HOME nor HOME is set; give --state");
    action("--config /x --check-config", OPTIONS_CHECK_CONFIG);
}

static void help_names_every_option(void **state)
{
    static const char *const names[] = {"account",      "config",  "socket", "state",
                                        "check-config", "version", "help"};
    char *text = NULL;
    size_t len;
    FILE *to = open_memstream(&text, &len);

    options_help(to);
    assert_int_equal(fclose(to), 0);
    assert_memory_equal(
        text,
        "Usage: imd [--account NAME] [--config FILE] [--socket PATH] [--state DIR] [--check-config] "
        "[--version] [--help]\n",
        110);
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        char row[32];

        snprintf(row, sizeof(row), "\n  --%s ", names[i]);
        assert_non_null(strstr(text, row));
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(places_of_root, environment_set),
        cmocka_unit_test_setup_teardown(places_of_a_user, user_environment_set, user_end),
        cmocka_unit_test_setup(everything_given, environment_set),
        cmocka_unit_test_setup(actions, environment_set),
        cmocka_unit_test_setup(usage_errors, environment_set),
        cmocka_unit_test_setup(long_socket_path, environment_set),
        cmocka_unit_test_setup(state_of_systemd, environment_set),
        cmocka_unit_test_setup_teardown(xdg_folders, user_environment_set, user_end),
        cmocka_unit_test_setup(help_names_every_option, environment_set),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
