/*
 * The table of options, and what is made from it. getopt_long does the reading: first the options in front of
 * the command, then, with those of the command added, all behind it, where options and operands may be mixed.
 */
#include "options.h"

#include "format.h"
#include "output.h"

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

struct option_row {
    unsigned commands;
    char letter; /* 0: none */
    const char *name;
    const char *argument; /* for the help; NULL: it has none */
    bool (*take)(void *field, const char *value);
    size_t field; /* in struct arguments */
    const char *sentence;
};

static bool take_flag(void *field, const char *value)
{
    *(bool *)field = true;
    return true;
}

static bool take_word(void *field, const char *value)
{
    *(const char **)field = value;
    return true;
}

static bool take_list(void *field, const char *value)
{
    struct words *words = field;
    const char **at = realloc(words->at, (words->count + 1) * sizeof(*at));
    if (!at)
        return false;
    words->at = at;
    words->at[words->count++] = value;
    return true;
}

static bool take_count(void *field, const char *value)
{
    char *end;
    if (value[0] < '0' || value[0] > '9')
        return false;
    unsigned long long count = strtoull(value, &end, 10);
    *(uint64_t *)field = count;
    return *end == '\0' && count > 0 && count < UINT64_MAX;
}

#define SECONDS_MAX 1e6       /* so that milliseconds fit an int, which poll(2) takes */
#define EXPIRES_MAX 2592000.0 /* 30 days, as in imd-protocol(7) */

static bool seconds_parse(void *field, const char *value, double most)
{
    char *end;
    if (strspn(value, "0123456789.") != strlen(value))
        return false;
    double seconds = strtod(value, &end);
    *(int64_t *)field = (int64_t)(seconds * 1000 + 0.5);
    return end != value && *end == '\0' && seconds >= 0.001 && seconds <= most;
}

bool take_seconds(void *field, const char *value)
{
    return seconds_parse(field, value, SECONDS_MAX);
}

static bool take_expiry(void *field, const char *value)
{
    return seconds_parse(field, value, EXPIRES_MAX);
}

static bool take_moment(void *field, const char *value)
{
    return moment_parse(field, value, moment_now());
}

static bool take_time(void *field, const char *value)
{
    return take_moment(field, value) && ((struct moment *)field)->kind == MOMENT_TIME;
}

#define FIELD(name) offsetof(struct arguments, name)
#define MESSAGES (COMMAND_SEND | COMMAND_SIGNAL)
#define EVENTS (COMMAND_LISTEN | COMMAND_HISTORY)

static const struct option_row rows[] = {
    {COMMAND_ANY, 'a', "account", "ACCOUNT", take_word, FIELD(account), "the account to talk to (default)"},
    {COMMAND_ANY, 's', "socket", "PATH", take_word, FIELD(socket), "the socket of imd"},
    {COMMAND_ANY, 0, "json", NULL, take_flag, FIELD(json), "print JSON"},
    {COMMAND_ANY, 'h', "help", NULL, take_flag, FIELD(help), "print this and exit"},
    {COMMAND_ANY, 0, "version", NULL, take_flag, FIELD(version), "print the version and exit"},
    {COMMAND_STATUS, 0, "wait", "STATE[:SECONDS]", take_word, FIELD(wait),
     "wait until the link is in this state; exit 124 when the time is out"},
    {COMMAND_STATUS, 'q', "quiet", NULL, take_flag, FIELD(quiet),
     "print nothing, not even when imd cannot be reached: only the exit status tells"},
    {MESSAGES, 't', "to", "TO", take_word, FIELD(to), "whom it is for (\"server\")"},
    {MESSAGES, 'f', "from", "FROM", take_word, FIELD(from), "whom it is from (the daemon's UserId)"},
    {MESSAGES, 'c', "conversation", "CONVERSATION", take_word, FIELD(conversation),
     "server, private, discussion, group, chatroom or system (server)"},
    {COMMAND_SEND, 0, "type", "TYPE", take_word, FIELD(type),
     "the message's type: text, image, file, signal, or any other name (text)"},
    {MESSAGES, 0, "id", "ID", take_word, FIELD(id), "the message's messageId (a new UUID)"},
    {MESSAGES, 0, "timeout", "SECONDS", take_seconds, FIELD(timeout_ms),
     "how long to wait for the ack (as configured in imd)"},
    {MESSAGES, 0, "queue", NULL, take_flag, FIELD(queue),
     "wait only until imd has it on disk; imd sends it until the server has answered"},
    {MESSAGES, 0, "expires", "SECONDS", take_expiry, FIELD(expires_ms),
     "with --queue: give up after this time (as configured in imd)"},
    {MESSAGES, 0, "set", "KEY=VALUE", take_list, FIELD(sets),
     "set a key of the message, or content.KEY; KEY:=JSON for what is no string; may be repeated"},
    {COMMAND_SEND, 0, "content", "JSON", take_word, FIELD(content),
     "the message's content, an object, in place of TEXT"},
    {COMMAND_SEND, 0, "raw", "JSON", take_word, FIELD(raw),
     "the whole message, an object, in place of TEXT; other options replace its keys"},
    {COMMAND_SEND, 0, "image", "FILE", take_word, FIELD(image), "send an image in place of TEXT"},
    {COMMAND_SEND, 0, "file", "FILE", take_word, FIELD(file), "send a file in place of TEXT"},
    {COMMAND_SEND, 0, "lines", NULL, take_flag, FIELD(lines),
     "send each line of standard input as a message; with --json each is a message object"},
    {COMMAND_SEND, 'j', "jobs", "COUNT", take_count, FIELD(jobs),
     "with --lines: how many messages may wait for their acks at a time (1024)"},
    {COMMAND_LISTEN, 'n', "count", "COUNT", take_count, FIELD(count),
     "end after so many events; STATUS and GAP count only when asked for with --event"},
    {COMMAND_LISTEN, 'W', "wait", "SECONDS", take_seconds, FIELD(listen_ms),
     "end after this time; exit 124 when nothing that counts has come"},
    {COMMAND_LISTEN, 'e', "event", "EVENT", take_list, FIELD(events),
     "MESSAGE, SENT, STATUS or OUTBOX; may be repeated (MESSAGE and STATUS)"},
    {COMMAND_LISTEN, 0, "since", "SEQ|TIME|earliest", take_moment, FIELD(since),
     "begin behind the event SEQ, at TIME, or with all that imd has (now)"},
    {COMMAND_LISTEN, 0, "consumer", "NAME", take_word, FIELD(consumer),
     "begin behind what was dealt with under this name before; --since is for a new name"},
    {COMMAND_LISTEN, 0, "exec", "CMD", take_word, FIELD(exec),
     "run CMD with sh(1) for each event that counts, in place of printing it"},
    {COMMAND_LISTEN, 'j', "jobs", "COUNT", take_count, FIELD(jobs), "with --exec: so many at once (1)"},
    {COMMAND_LISTEN, 0, "save-files", "DIR", take_word, FIELD(save_files),
     "save the files that messages bring in DIR, as SEQ-NAME"},
    {COMMAND_LISTEN, 0, "reconnect", NULL, take_flag, FIELD(reconnect),
     "wait for imd when it is not there or goes away, and go on where it was"},
    {EVENTS, 0, "format", "FMT", take_word, FIELD(format),
     "print this for each event, such as '%t %f: %m'; see imctl(1)"},
    {COMMAND_HISTORY, 'n', "count", "COUNT", take_count, FIELD(count), "the last COUNT of them (100)"},
    {COMMAND_HISTORY, 0, "since", "SEQ|TIME", take_moment, FIELD(since),
     "only those behind the event SEQ, or since TIME"},
    {COMMAND_HISTORY, 0, "until", "TIME", take_time, FIELD(until), "only those until TIME"},
    {COMMAND_HISTORY, 'r', "reverse", NULL, take_flag, FIELD(reverse), "the newest first"},
    {EVENTS, 0, "type", "TYPE", take_list, FIELD(types), "only messages of this type; may be repeated"},
    {EVENTS, 'f', "from", "USER", take_list, FIELD(senders), "only from this sender; may be repeated"},
    {EVENTS, 'c', "conversation", "CONVERSATION", take_list, FIELD(conversations),
     "only of this conversation type; may be repeated"},
    {EVENTS, 0, "signal", "NAME", take_list, FIELD(signals), "only signals of this name; may be repeated"},
    {COMMAND_OUTBOX, 'n', "count", "COUNT", take_count, FIELD(count), "list: only the newest COUNT (all)"},
    {COMMAND_OUTBOX, 0, "since", "TIME", take_time, FIELD(since), "list: only what was queued since TIME"},
    {COMMAND_OUTBOX, 0, "until", "TIME", take_time, FIELD(until), "list: only what was queued until TIME"},
    {COMMAND_OUTBOX, 'r', "reverse", NULL, take_flag, FIELD(reverse), "list: the newest first"},
    {COMMAND_CHAT, 't', "to", "TO", take_word, FIELD(to),
     "talk to TO, and see only messages from and to TO (the server, and all messages)"},
    {COMMAND_CHAT, 'c', "conversation", "CONVERSATION", take_word, FIELD(conversation),
     "server, private, discussion, group, chatroom or system (private; without --to: server)"},
    {COMMAND_STATS, 0, "prometheus", NULL, take_flag, FIELD(prometheus),
     "print the text form of Prometheus, for the textfile collector"},
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))
#define LONG_BASE 256 /* above every letter */

/* ---- Reading ---- */

static bool row_applies(const struct option_row *r, const struct command *c)
{
    return c ? (r->commands & command_bit(c)) != 0 : r->commands == COMMAND_ANY;
}

static int row_value(const struct option_row *r)
{
    return r->letter ? r->letter : LONG_BASE + (int)(r - rows);
}

static const struct option_row *row_of(int value, const struct command *c)
{
    for (const struct option_row *r = rows; r < rows + ROWS; r++)
        if (row_applies(r, c) && row_value(r) == value)
            return r;
    return NULL;
}

/* Writes what getopt_long wants for the options of a command. */
static void getopt_tables(const struct command *c, char *letters, struct option *names)
{
    letters += sprintf(letters, "%s:", c ? "" : "+"); /* stop at the command */
    for (const struct option_row *r = rows; r < rows + ROWS; r++) {
        if (!row_applies(r, c))
            continue;
        *names++ =
            (struct option){r->name, r->argument ? required_argument : no_argument, NULL, row_value(r)};
        if (r->letter)
            letters += sprintf(letters, "%c%s", r->letter, r->argument ? ":" : "");
    }
    *names = (struct option){NULL, 0, NULL, 0};
}

int usage(const struct command *c, const char *what, const char *which)
{
    complain("%s '%s'; see 'imctl %s%s--help'", what, which, c ? c->name : "", c ? " " : "");
    return STATUS_USAGE;
}

/* What getopt_long stumbled over, as it was written. */
static int usage_of_getopt(const struct command *c, int result, char **argv)
{
    const char *what = result == ':' ? "no value for option" : "unknown option";
    char letter[] = {'-', (char)optopt, '\0'};
    return usage(c, what,
                 optopt > 0 && optopt < LONG_BASE && argv[optind - 1][1] != '-' ? letter : argv[optind - 1]);
}

static int options_read(struct arguments *a, const struct command *c, int argc, char **argv)
{
    char letters[3 * ROWS + 3];
    struct option names[ROWS + 1];
    int value;

    getopt_tables(c, letters, names);
    opterr = 0;
    optind = 0; /* begins anew */
    while ((value = getopt_long(argc, argv, letters, names, NULL)) >= 0) {
        const struct option_row *r = row_of(value, c);
        if (!r)
            return usage_of_getopt(c, value, argv);
        if (!r->take((char *)a + r->field, optarg)) {
            complain("'%s' is no value for --%s; see 'imctl %s --help'", optarg, r->name, c ? c->name : "");
            return STATUS_USAGE;
        }
    }
    return 0;
}

int arguments_parse(struct arguments *a, int argc, char **argv)
{
    *a = (struct arguments){.timeout_ms = -1, .expires_ms = -1, .listen_ms = -1};
    int status = options_read(a, NULL, argc, argv);
    if (status || a->help || a->version)
        return status;
    argc -= optind;
    argv += optind;
    if (argc == 0) {
        help_print(NULL, stderr);
        return STATUS_USAGE;
    }
    a->command = command_find(argv[0]);
    if (!a->command)
        return usage(NULL, "unknown command", argv[0]);
    status = options_read(a, a->command, argc, argv);
    if (status || a->help || a->version)
        return status;
    argc -= optind;
    a->operands = argv + optind;
    if (argc < (int)a->command->least)
        return usage(a->command, "missing", a->command->operand);
    if (argc > (int)a->command->most)
        return usage(a->command, "one word too many:", a->operands[argc - 1]);
    return 0;
}

void arguments_deinit(struct arguments *a)
{
    struct words *lists[] = {&a->sets, &a->events, &a->types, &a->senders, &a->conversations, &a->signals};
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++) {
        free(lists[i]->at);
        *lists[i] = (struct words){NULL, 0};
    }
}

/* ---- Help ---- */

#define COMMAND_COLUMN 18 /* where sentences begin */
#define OPTION_COLUMN 28

/* The sentence behind what takes so many columns; if that is too much, on a line of its own. */
static void print_sentence(int used, int column, const char *sentence, FILE *to)
{
    if (used >= column) {
        fputc('\n', to);
        used = 0;
    }
    fprintf(to, "%*s%s\n", column - used, "", sentence);
}

static void print_row(const struct option_row *r, FILE *to)
{
    int used =
        r->letter ? fprintf(to, "  -%c, --%s", r->letter, r->name) : fprintf(to, "      --%s", r->name);
    used += r->argument ? fprintf(to, " %s", r->argument) : 0;
    print_sentence(used, OPTION_COLUMN, r->sentence, to);
}

static void print_rows(bool of_any, const struct command *c, FILE *to)
{
    for (const struct option_row *r = rows; r < rows + ROWS; r++)
        if (row_applies(r, c) && (r->commands == COMMAND_ANY) == of_any)
            print_row(r, to);
}

static void help_of_command(const struct command *c, FILE *to)
{
    fprintf(to, "Usage: imctl %s [OPTION]...%s%s\n\n", c->name, c->operand ? " " : "",
            c->operand ? c->operand : "");
    fprintf(to, "  %s\n\n", c->sentence);
    print_rows(false, c, to);
    print_rows(true, c, to);
}

void help_print(const struct command *c, FILE *to)
{
    if (c) {
        help_of_command(c, to);
        return;
    }
    fputs("Usage: imctl [OPTION]... COMMAND [OPTION]... [OPERAND]...\n\nTalks to imd, the local bridge to an "
          "IM "
          "server.\n\n",
          to);
    for (c = commands; c < commands + command_count; c++) {
        int used = fprintf(to, "  %s %s", c->name, c->operand ? c->operand : "");
        print_sentence(used, COMMAND_COLUMN, c->sentence, to);
    }
    fputs("\nOptions of every command:\n", to);
    print_rows(true, NULL, to);
    fputs("\n'imctl COMMAND --help' shows the options of a command. See imctl(1).\n", to);
}

/* ---- Completions ---- */

void options_each(const struct command *c, option_visit *visit, void *userdata)
{
    for (const struct option_row *r = rows; r < rows + ROWS; r++)
        if (row_applies(r, c))
            visit(&(struct option_told){r->letter, r->name, r->argument, r->sentence, r->take == take_list},
                  userdata);
}

/* ---- Manual page ---- */

/* scdoc takes '_' and '*' for markup, and a line that begins with '.' ends a paragraph. */
static void manual_text(const char *text, FILE *to)
{
    for (; *text; text++) {
        if (strchr("_*\\#", *text))
            fputc('\\', to);
        fputc(*text, to);
    }
}

static void manual_row(const struct option_row *r, FILE *to)
{
    if (r->letter)
        fprintf(to, "*-%c*, ", r->letter);
    fprintf(to, "*--%s*", r->name);
    if (r->argument)
        fprintf(to, " _%s_", r->argument);
    fputs("\n\t", to);
    manual_text(r->sentence, to);
    fputs("\n\n", to);
}

static void manual_rows(bool of_any, const struct command *c, FILE *to)
{
    for (const struct option_row *r = rows; r < rows + ROWS; r++)
        if (row_applies(r, c) && (r->commands == COMMAND_ANY) == of_any)
            manual_row(r, to);
}

static void manual_commands(FILE *to)
{
    for (const struct command *c = commands; c < commands + command_count; c++) {
        fprintf(to, "## %s%s%s\n\n", c->name, c->operand ? " " : "", c->operand ? c->operand : "");
        manual_text(c->sentence, to);
        fputs("\n\n", to);
        manual_rows(false, c, to);
    }
}

bool manual_section(const char *line, FILE *to)
{
    if (strcmp(line, "@COMMANDS@") == 0)
        manual_commands(to);
    else if (strcmp(line, "@OPTIONS@") == 0)
        manual_rows(true, NULL, to);
    else if (strcmp(line, "@LETTERS@") == 0)
        format_manual(to);
    else
        return false;
    return true;
}
