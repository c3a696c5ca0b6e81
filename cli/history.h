/* Where events are in imd's history. */
#ifndef IMCTL_HISTORY_H
#define IMCTL_HISTORY_H

#include <imctl.h>

/* The first number that an event stands for: a GAP has a range of them. 0: it has none. */
uint64_t history_first_seq(const struct imctl_event *e);

/* The number behind which the events since a time are. 0, or the exit status; then it is on stderr why. */
int history_seq_of_time(struct imctl *c, int64_t time_ms, uint64_t *out);

#endif
