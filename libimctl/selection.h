#ifndef IMCTL_SELECTION_H
#define IMCTL_SELECTION_H

#include "imctl.h"
#include "json_writer.h"

/* What went wrong when it was put together; 0: nothing. */
int selection_error(const struct imctl_selection *s);

/* The params of `subscribe`. */
void selection_write_params(const struct imctl_selection *s, struct json_writer *w);

#endif
