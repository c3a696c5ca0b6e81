/* Subscribers that get nothing: what they cost, and whether it sleeps. */
#ifndef LOAD_IDLE_H
#define LOAD_IDLE_H

#include "options.h"

void idle_run(const struct options *options);

#endif
