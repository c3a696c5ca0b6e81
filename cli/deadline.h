/* A point in time on the monotonic clock, in ms, until which something is waited for; -1: for ever. */
#ifndef IMCTL_DEADLINE_H
#define IMCTL_DEADLINE_H

#include <stdint.h>

int64_t deadline_after(int64_t span_ms); /* -1: none */
int deadline_left(int64_t deadline);     /* as poll(2) takes it */

#endif
