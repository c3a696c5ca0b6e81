/*
 * A request of the control socket.
 */
#pragma once

#include <jansson.h>

struct server;

/* A command: fills reply in; returns NULL, or what was wrong (then nothing has happened). */
typedef const char *command_fn(struct server *server, json_t *request, json_t *reply);

/* As json_unpack(); end the format with "!", so that a key that is not in it is an error. Returns NULL, or
 * what is wrong (valid until the next call). */
const char *request_unpack(json_t *request, const char *format, ...);
