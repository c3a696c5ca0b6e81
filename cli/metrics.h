/* The daemon's counters in the text form of Prometheus, for the textfile collector of its node exporter. */
#ifndef IMCTL_METRICS_H
#define IMCTL_METRICS_H

#include <imctl.h>

/* stats: the reply to `stats`; hello: that to `hello`, which has the account. */
void metrics_print(const struct imctl_reply *stats, const struct imctl_reply *hello);

#endif
