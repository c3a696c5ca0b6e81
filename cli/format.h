/* The form of --format: text, and letters that stand for what an event has. Read once, then printed often. */
#ifndef IMCTL_FORMAT_H
#define IMCTL_FORMAT_H

#include "command.h"

#include <imctl.h>
#include <stdio.h>

struct format;

/* *out is NULL when none was asked for. 0, or the exit status; then it is on stderr why. */
int format_new(const struct arguments *a, struct format **out);
void format_free(struct format *f);

/* Prints the event and a line break; file: where it was saved, or NULL. false: it cannot be written. */
bool format_print(const struct format *f, const struct imctl_event *e, const char *file);

/* The letters, for the manual page. */
void format_manual(FILE *to);

#endif
