/*
 * The commands of the control socket; README.md says what each does.
 */
#pragma once

#include <jansson.h>

#include "stats.h"

struct server;

/* The reply (the caller owns it), or NULL: *wait was filled in, stats_wait_reply() has the reply later. */
json_t *command_run(struct server *server, json_t *request, struct stats_wait *wait);
