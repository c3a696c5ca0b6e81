#ifndef IMCTL_CLOCK_H
#define IMCTL_CLOCK_H

#include <stdint.h>

/* Milliseconds that only ever grow. */
int64_t clock_ms(void);

/* How long to wait for a moment, at least 0. */
int clock_left(int64_t moment);

#endif
