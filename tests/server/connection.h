/*
 * One websocket: what comes in is put together and given to the behaviour, what goes out waits in a queue of
 * frames.
 */
#pragma once

#include <libwebsockets.h>
#include <stdbool.h>
#include <stddef.h>

#include "frame.h"
#include "memory.h"

struct server;

struct connection {
    struct connection *prev;
    struct connection *next;
    struct server *server;
    struct lws *wsi;
    bool is_sham; /* upgraded with a wrong Sec-WebSocket-Accept: takes no part in anything */
    bool is_cut;  /* dropped or being closed by us: gets nothing more */

    struct frame **queue; /* a ring */
    size_t room;
    size_t first;
    size_t count;
    size_t fragment; /* the next fragment of the first frame */
    size_t sent;     /* FRAME_RAW: what the kernel has of the first frame */
    bool is_paused;
    lws_sorted_usec_list_t pause;

    struct bytes incoming; /* the part of a message that came so far */
};

struct connections {
    struct connection *first;
    size_t open;   /* without the shams */
    size_t queued; /* frames in all queues */
    bool is_reading_stopped;
};

/* The websocket protocol's callback; its session data is a struct connection. */
int connection_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len);

/* Queues; the caller keeps its reference. */
void connection_send(struct connection *connection, struct frame *frame);
/* To all that are open; returns how many. */
size_t connections_broadcast(struct server *server, struct frame *frame);
/* As broadcast, and from now on they get nothing more and no notice. */
size_t connections_close(struct server *server, struct frame *close_frame);
size_t connections_drop(struct server *server, bool with_rst);
void connections_set_reading(struct server *server, bool on);
