/*
 * The whole state of the program: one thread, one libwebsockets context, one vhost without a listener of its
 * own.
 */
#pragma once

#include <libwebsockets.h>
#include <msgpack.h>
#include <stdbool.h>

#include "behaviour.h"
#include "connection.h"
#include "control.h"
#include "gate.h"
#include "record.h"

/* What `stats` tells; the table in stats.c gives the names. */
struct counters {
    long long accepted;
    long long upgrades;
    long long tcp;
    long long frames;
    long long pings;
    long long ws_pings;
    long long ws_pongs;
    long long bytes;
    long long text;
    long long invalid;
    long long last_close_code;
    char last_close_reason[124];
};

struct server {
    struct lws_context *lws;
    struct lws_vhost *vhost;
    bool is_tls;
    bool is_quitting;
    struct counters count;
    struct gate gate;
    struct connections connections;
    struct behaviour behaviour;
    struct record record;
    struct control control;
    msgpack_sbuffer scratch; /* where an answer is built; kept, so that the usual answer needs no malloc */
};

/* The server that a callback belongs to. */
struct server *server_of(struct lws *wsi);
/* lws runs timers before it waits, not after: what a timer changed is seen by the `wait`s only after the next
 * event. Call this where a timer may have changed something, so that the next event is now. */
void server_stir(struct server *server);
