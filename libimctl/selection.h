#ifndef IMCTL_SELECTION_H
#define IMCTL_SELECTION_H

#include "imctl.h"
#include "json_writer.h"

/* What it is used for; each has parameters that the other does not know. */
enum selection_use { SELECTION_SUBSCRIBE, SELECTION_HISTORY };

/* What went wrong when it was put together, or -EINVAL: something was set that this use does not know; 0:
 * nothing. */
int selection_error(const struct imctl_selection *s, enum selection_use use);

/* The params of `subscribe` or `history`. */
void selection_write_params(const struct imctl_selection *s, enum selection_use use, struct json_writer *w);

#endif
