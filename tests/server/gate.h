/*
 * The way in: the listening socket, and what becomes of a new TCP connection and of its upgrade request.
 *
 * The socket is not lws' own, because lws cannot close a listener without its connections. It is watched as a
 * raw file; what accept() gives is handed to lws, or, for `upgrade silent`, held and never answered.
 */
#pragma once

#include <jansson.h>
#include <libwebsockets.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

enum gate_answer {
    GATE_OK,
    GATE_SILENT,
    GATE_GARBAGE,
    GATE_BADACCEPT,
    GATE_STATUS, /* an HTTP status, see struct gate */
};

struct server;
struct held;

struct gate {
    struct sockaddr_storage address; /* with the real port, once it listens */
    socklen_t address_len;
    struct lws *listener; /* NULL: not listening */
    int listen_fd;
    struct held *held;
    size_t n_held;

    enum gate_answer answer;
    const struct gate_status *status;
    bool is_limited; /* only the next `times` requests get it */
    long long times;
    char location[512];

    json_t *last_headers; /* of the last request; NULL: none yet */
    json_t *last_uri;
};

#define GATE_LISTENER_PROTOCOL "gate-listener"
#define GATE_HELD_PROTOCOL "gate-held"
int gate_listener_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in,
                           size_t len);
int gate_held_callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len);
size_t gate_held_size(void);

/* "127.0.0.1:0", "[::1]:4711"; false: not of this form, or no loopback address. */
bool gate_parse(struct gate *gate, const char *address);
int gate_port(const struct gate *gate);
/* Both are no-ops when it is so already. start: false leaves errno. */
bool gate_start(struct server *server);
void gate_stop(struct server *server);
/* times < 0: from now on. False: no such answer. */
bool gate_set_answer(struct gate *gate, const char *answer, const char *location, long long times);

/* Called with the head of each HTTP request: takes note of it and decides. */
enum gate_answer gate_request(struct server *server, const char *head, size_t len);
/* lws' question whether the upgrade may go on; not 0: no, and what is to be sent instead has been sent. */
int gate_filter(struct server *server, struct lws *wsi);

/* Cuts the silent connections; returns how many. */
size_t gate_drop_held(struct gate *gate, bool with_rst);
/* Ends a TCP connection without any farewell of the layers above. */
void gate_cut(int fd, bool with_rst);
void gate_deinit(struct gate *gate);
