/* What events must match, from the options --type, --from, --conversation and --signal. */
#ifndef IMCTL_FILTER_H
#define IMCTL_FILTER_H

#include "command.h"

#include <imctl.h>

/* 0, or the exit status; then it is on stderr why. */
int filter_select(const struct arguments *a, struct imctl_selection *s);

#endif
