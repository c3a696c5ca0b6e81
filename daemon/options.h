/*
 * The command line of imd, and the places that follow from it. One table in options.c gives parser and help.
 */
#ifndef IMD_OPTIONS_H
#define IMD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#define OPTIONS_EXIT_USAGE 64  /* sysexits.h: EX_USAGE */
#define OPTIONS_EXIT_CONFIG 78 /* EX_CONFIG */

enum options_action { OPTIONS_RUN, OPTIONS_CHECK_CONFIG, OPTIONS_VERSION, OPTIONS_HELP };

struct options {
    enum options_action action;
    char *account;
    char *config; /* OPTIONS_RUN, OPTIONS_CHECK_CONFIG: never NULL */
    char *socket; /* NULL: XDG_RUNTIME_DIR is not set, so there is none unless systemd hands one over or
                     --socket is given */
    char *state;  /* OPTIONS_RUN: never NULL */
};

/*
 * 0; -ENOMEM; or OPTIONS_EXIT_USAGE with a sentence in error (no "imd: ", no newline). Where the places come
 * from, the first that applies: the option; for the state systemd's STATE_DIRECTORY; the system's folders
 * when root, else the user's (XDG base directories). To be called before threads are made: getopt is not
 * thread-safe.
 */
int options_parse(struct options *o, int argc, char *const argv[], char *error, size_t n);
void options_deinit(struct options *o); /* twice is fine */

void options_help(FILE *to);

#endif
