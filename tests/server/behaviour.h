/*
 * How the server answers what clients send.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum behaviour_ack {
    ACK_ECHO,
    ACK_SELF,
    ACK_SWALLOW,
    ACK_REJECT,
    ACK_DUPLICATE,
    ACK_DELAY,
};

struct server;
struct connection;
struct delayed;

struct behaviour {
    enum behaviour_ack ack;
    enum behaviour_ack ping;  /* ACK_ECHO, ACK_SELF, ACK_SWALLOW */
    enum behaviour_ack leave; /* ACK_ECHO, ACK_SWALLOW */
    int64_t code;
    char err_msg[256];
    int64_t delay_ms;
    char match[256]; /* "": ack applies to all */
    struct delayed *delayed;
    size_t n_delayed;
};

void behaviour_init(struct behaviour *behaviour);
/* Drops the answers that still wait. */
void behaviour_deinit(struct behaviour *behaviour);

/* The request of `mode`; NULL, or what is wrong with it (nothing was changed then). */
const char *behaviour_set(struct behaviour *behaviour, json_t *request);
json_t *behaviour_json(const struct behaviour *behaviour);

/* A whole message came. */
void behaviour_message(struct connection *sender, const void *bytes, size_t len, bool is_binary);
/* Somebody left: tell the others. */
void behaviour_leave(struct server *server);
