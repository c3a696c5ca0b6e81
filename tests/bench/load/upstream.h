/* From the first word on stdout to a publisher that can begin. */
#ifndef LOAD_UPSTREAM_H
#define LOAD_UPSTREAM_H

#include "dialect.h"
#include "link.h"
#include "options.h"
#include "publisher.h"

/* Opens the publisher's connection and reads `start`; heartbeats are answered while it waits. */
struct start upstream_open(struct publisher *p, const struct dialect *dialect, const struct options *options);

#endif
