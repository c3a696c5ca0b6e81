/* What completions offer, for each shell the same: the commands and options of the tables, and for the value
 * of an option what its name in the help says. */
#ifndef IMCTL_COMPLETION_H
#define IMCTL_COMPLETION_H

#include "options.h"

#include <stdio.h>

enum value_kind { VALUE_FREE, VALUE_WORDS, VALUE_FILE, VALUE_FOLDER, VALUE_PROGRAM, VALUE_ACCOUNT };

/* argument: of an option or a command, as in the help. */
enum value_kind value_kind(const char *argument);
/* The words of a VALUE_WORDS, with spaces between them. */
void value_words(const char *argument, FILE *to);

/* Text within single quotes of a shell; `escapes`: bytes that also get a backslash. In sh a quote becomes
 * '\'', in fish, where it is among the escapes, \'. */
void quoted(const char *text, const char *escapes, FILE *to);

void completion_bash(FILE *to);
void completion_zsh(FILE *to);
void completion_fish(FILE *to);

#endif
