/* The message that the options of send and signal describe. */
#ifndef IMCTL_DRAFT_H
#define IMCTL_DRAFT_H

#include "command.h"

#include <imctl.h>

/* Whether the options make sense, by themselves and together. 0, or STATUS_USAGE: then it is on stderr why.
 */
int draft_check(const struct arguments *a);

/* The message, apart from what the options set: a text, a signal, or what --content, --raw, --image or --file
 * give. 0, or the exit status: then it is on stderr why. */
int draft_message(const struct arguments *a, struct imctl_message **out);

/* Sets what the options say; they have been checked. 0, or the first error of the message. */
int draft_dress(struct imctl_message *m, const struct arguments *a);

/* A message of one line of standard input: a text, or with --json an object. It may have failed, which
 * imctl_send tells. NULL: no memory. */
struct imctl_message *draft_of_line(const struct arguments *a, const char *line);

#endif
