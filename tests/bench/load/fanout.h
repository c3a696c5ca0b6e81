/* Messages to many subscribers, as fast as they go or so many a second. */
#ifndef LOAD_FANOUT_H
#define LOAD_FANOUT_H

#include "options.h"

void fanout_run(const struct options *options);

#endif
