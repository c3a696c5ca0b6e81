/*
 * The command line: getopt_long reads it by a table whose rows say where a value goes or what is to be done;
 * what was not given is then derived from who runs the daemon.
 */
#include "options.h"
#include "path.h"

#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NO_FIELD SIZE_MAX

struct option_row {
    const char *name;
    const char *argument; /* for the help; NULL: it has none */
    size_t field;         /* where the argument goes in struct options */
    enum options_action action;
    const char *sentence;
};

static const struct option_row rows[] = {
    {"account", "NAME", offsetof(struct options, account), OPTIONS_RUN,
     "the account to serve (" ACCOUNT_DEFAULT ")"},
    {"config", "FILE", offsetof(struct options, config), OPTIONS_RUN,
     "its configuration (/etc/imd/NAME.conf; ~/.config/imd/NAME.conf when not root)"},
    {"socket", "PATH", offsetof(struct options, socket), OPTIONS_RUN,
     "where programs connect (/run/imd/NAME.sock; $XDG_RUNTIME_DIR/imd/NAME.sock)"},
    {"state", "DIR", offsetof(struct options, state), OPTIONS_RUN,
     "what must outlive a restart (/var/lib/imd/NAME; ~/.local/state/imd/NAME)"},
    {"check-config", NULL, NO_FIELD, OPTIONS_CHECK_CONFIG, "check the configuration, print it, and exit"},
    {"version", NULL, NO_FIELD, OPTIONS_VERSION, "print the version and exit"},
    {"help", NULL, NO_FIELD, OPTIONS_HELP, "print this and exit"},
};
#define ROWS (sizeof(rows) / sizeof(*rows))

void options_help(FILE *to)
{
    fputs("Usage: imd", to);
    for (const struct option_row *r = rows; r < rows + ROWS; r++)
        fprintf(to, " [--%s%s%s]", r->name, r->argument ? " " : "", r->argument ? r->argument : "");
    fputs("\nKeeps one session to an IM server and serves it to local programs.\n\n", to);
    for (const struct option_row *r = rows; r < rows + ROWS; r++) {
        int used = fprintf(to, "  --%s%s%s", r->name, r->argument ? " " : "", r->argument ? r->argument : "");

        fprintf(to, "%*s%s\n", 18 - used, "", r->sentence);
    }
    fputs("\nSee imd(8), imd.conf(5) and imd-protocol(7).\n", to);
}

static int usage(char *error, size_t n, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int usage(char *error, size_t n, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(error, n, format, args);
    va_end(args);
    return OPTIONS_EXIT_USAGE;
}

/* ---- Places that were not given ---- */

static bool is_root(void)
{
    return geteuid() == 0;
}

/*
 * An XDG base directory: the variable if it is an absolute path (others are to be ignored), else below HOME.
 */
static int base_directory(char **out, const char *variable, const char *below_home)
{
    const char *base = getenv(variable), *home = getenv("HOME");

    if (base && *base == '/')
        *out = strdup(base);
    else if (!home || *home != '/')
        return -ENOENT;
    else if (asprintf(out, "%s/%s", home, below_home) < 0)
        *out = NULL;
    return *out ? 0 : -ENOMEM;
}

static int user_place(char **out, const char *variable, const char *below_home, const char *account,
                      const char *suffix)
{
    char *base = NULL;
    int r = base_directory(&base, variable, below_home);

    if (r == 0 && asprintf(out, "%s/imd/%s%s", base, account, suffix) < 0) {
        *out = NULL;
        r = -ENOMEM;
    }
    free(base);
    return r;
}

static int system_place(char **out, const char *folder, const char *account, const char *suffix)
{
    if (asprintf(out, "%s/%s%s", folder, account, suffix) >= 0)
        return 0;
    *out = NULL;
    return -ENOMEM;
}

static int config_default(struct options *o, char *error, size_t n)
{
    int r;

    if (o->config)
        return 0;
    r = is_root() ? system_place(&o->config, "/etc/imd", o->account, ".conf")
                  : user_place(&o->config, "XDG_CONFIG_HOME", ".config", o->account, ".conf");
    return r == -ENOENT ? usage(error, n, "neither XDG_CONFIG_HOME nor HOME is set; give --config") : r;
}

static int state_default(struct options *o, char *error, size_t n)
{
    const char *given = getenv("STATE_DIRECTORY");
    int r;

    if (o->state || o->action != OPTIONS_RUN)
        return 0;
    if (given && *given == '/') {
        o->state = strndup(given, strcspn(given, ":"));
        return o->state ? 0 : -ENOMEM;
    }
    r = is_root() ? system_place(&o->state, "/var/lib/imd", o->account, "")
                  : user_place(&o->state, "XDG_STATE_HOME", ".local/state", o->account, "");
    return r == -ENOENT ? usage(error, n, "neither XDG_STATE_HOME nor HOME is set; give --state") : r;
}

static int socket_default(struct options *o, char *error, size_t n)
{
    char path[SOCKET_PATH_MAX + 1];
    int r;

    if (o->socket)
        return strlen(o->socket) <= SOCKET_PATH_MAX
                   ? 0
                   : usage(error, n, "--socket: longer than %d bytes", SOCKET_PATH_MAX);
    r = is_root() ? socket_path_system(o->account, path) : socket_path_user(o->account, path);
    if (r == -ENOENT)
        return 0;
    if (r < 0)
        return usage(error, n, "the path of the socket is longer than %d bytes; give --socket",
                     SOCKET_PATH_MAX);
    o->socket = strdup(path);
    return o->socket ? 0 : -ENOMEM;
}

static int defaults_fill(struct options *o, char *error, size_t n)
{
    int r;

    if (!o->account && !(o->account = strdup(ACCOUNT_DEFAULT)))
        return -ENOMEM;
    if (!account_name_valid(o->account))
        return usage(error, n,
                     "--account: \"%.80s\" is not an account name (letters, digits, . _ - @; at most %d)",
                     o->account, ACCOUNT_MAX);
    r = config_default(o, error, n);
    if (r == 0)
        r = state_default(o, error, n);
    if (r == 0)
        r = socket_default(o, error, n);
    return r;
}

/* ---- The command line ---- */

static int row_apply(struct options *o, const struct option_row *row, const char *argument, char *error,
                     size_t n)
{
    char **field;

    if (row->field == NO_FIELD) {
        /* --help wins over --version wins over --check-config, wherever they stand. */
        if (row->action > o->action)
            o->action = row->action;
        return 0;
    }
    if (!*argument)
        return usage(error, n, "--%s needs a value", row->name);
    field = (char **)((char *)o + row->field);
    free(*field);
    *field = strdup(argument);
    return *field ? 0 : -ENOMEM;
}

/* getopt's values of the rows; above all characters, which it tells of short options (there are none). */
#define ROW_VALUE 256

/* What getopt has refused. */
static int word_refused(int c, char *const argv[], char *error, size_t n)
{
    const char *word = argv[optind - 1];

    if (c == ':')
        return usage(error, n, "%.80s needs a value", word);
    if (optopt >= ROW_VALUE)
        return usage(error, n, "--%s takes no value", rows[optopt - ROW_VALUE].name);
    if (optopt)
        return usage(error, n, "unknown option -%c", optopt);
    return usage(error, n, "unknown option %.80s", word);
}

static int words_read(struct options *o, int argc, char *const argv[], char *error, size_t n)
{
    struct option long_options[ROWS + 1] = {0};
    int r = 0;

    for (size_t i = 0; i < ROWS; i++)
        long_options[i] = (struct option){.name = rows[i].name,
                                          .has_arg = rows[i].argument ? required_argument : no_argument,
                                          .val = (int)i + ROW_VALUE};
    optind = 0; /* from the start, for the GNU getopt_long */
    opterr = 0;
    while (r == 0) {
        int c = getopt_long(argc, argv, "+:", long_options, NULL);

        if (c == -1)
            break;
        r = c == '?' || c == ':' ? word_refused(c, argv, error, n)
                                 : row_apply(o, &rows[c - ROW_VALUE], optarg, error, n);
    }
    if (r == 0 && optind < argc)
        return usage(error, n, "unexpected word %.80s", argv[optind]);
    return r;
}

int options_parse(struct options *o, int argc, char *const argv[], char *error, size_t n)
{
    int r;

    *o = (struct options){.action = OPTIONS_RUN};
    r = words_read(o, argc, argv, error, n);
    if (r == 0 && o->action <= OPTIONS_CHECK_CONFIG)
        r = defaults_fill(o, error, n);
    if (r != 0)
        options_deinit(o);
    return r;
}

void options_deinit(struct options *o)
{
    for (const struct option_row *r = rows; r < rows + ROWS; r++)
        if (r->field != NO_FIELD) {
            char **field = (char **)((char *)o + r->field);

            free(*field);
            *field = NULL;
        }
}
