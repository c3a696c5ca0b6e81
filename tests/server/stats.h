/*
 * What the server counts, by name, and waiting for one of the numbers.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

struct server;
struct stats_row;

/* A `wait` that is under way. */
struct stats_wait {
    const struct stats_row *row;
    json_int_t min;
    json_int_t max;
    json_int_t timeout_ms;
    bool is_over; /* the time has run out */
};

void stats_fill(const struct server *server, json_t *reply);
/* NULL, or what is wrong with the request. */
const char *stats_wait_parse(json_t *request, struct stats_wait *wait);
/* NULL: not yet. */
json_t *stats_wait_reply(const struct server *server, const struct stats_wait *wait);
