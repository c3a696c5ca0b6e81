/* send --lines: each line of standard input is a message. */
#ifndef IMCTL_LINES_H
#define IMCTL_LINES_H

#include "command.h"

/* The options have been checked. Gives the exit status: that of the first line that failed. */
int lines_send(const struct arguments *a);

#endif
