/* The options of imctl: one table gives parser, --help, manual page and completions. */
#ifndef IMCTL_OPTIONS_H
#define IMCTL_OPTIONS_H

#include "command.h"

#include <stdio.h>

/* Reads options, the command and its operands. 0, or an exit status: what is wrong is on stderr. With a->help
 * or a->version set, nothing else is checked. */
int arguments_parse(struct arguments *a, int argc, char **argv);
void arguments_deinit(struct arguments *a);

/* Complains that the command line is wrong, `WHAT 'WHICH'; see …`; gives STATUS_USAGE. c: NULL before there
 * is a command. */
int usage(const struct command *c, const char *what, const char *which);

/* A time in seconds, such as 30 or 0.5, as milliseconds (an int64_t). false: it is none. */
bool take_seconds(void *field, const char *value);

void help_print(const struct command *c, FILE *to); /* NULL: of imctl as a whole */

struct option_told {
    char letter; /* 0: none */
    const char *name;
    const char *argument; /* NULL: it has none */
    const char *sentence;
    bool repeated;
};
typedef void option_visit(const struct option_told *o, void *userdata);

/* Tells of each option that a command takes. NULL: of those in front of the command. */
void options_each(const struct command *c, option_visit *visit, void *userdata);

/* What stands for one of these lines in the manual page's source: @COMMANDS@, @OPTIONS@ or @LETTERS@. false:
 * none. */
bool manual_section(const char *line, FILE *to);

#endif
