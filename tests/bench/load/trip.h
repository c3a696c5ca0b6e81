/* Sends of local programs, to the IM server and back as answers. */
#ifndef LOAD_TRIP_H
#define LOAD_TRIP_H

#include "options.h"

void trip_run(const struct options *options);

#endif
