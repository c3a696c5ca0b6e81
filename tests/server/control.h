/*
 * The control socket: one JSON object a line in, one out, in order. What the commands do is in command.c.
 */
#pragma once

#include <jansson.h>
#include <libwebsockets.h>
#include <stdbool.h>

struct server;
struct controller;

struct control {
    char *path; /* NULL: no control socket */
    struct controller *first;
};

#define CONTROL_LISTENER_PROTOCOL "control-listener"
#define CONTROL_PROTOCOL "control"
int control_listener_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                              size_t len);
int control_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len);
size_t control_session_size(void);

/* False leaves errno. */
bool control_start(struct server *server, const char *path);
/* Sends what is pending, answers the `wait`s that have come true; call after each turn of the loop. */
void control_turn(struct server *server);
/* Removes the socket file. */
void control_deinit(struct control *control);
