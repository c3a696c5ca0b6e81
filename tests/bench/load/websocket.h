/* The server's side of one websocket: its upgrade, and the frames that come over it. */
#ifndef LOAD_WEBSOCKET_H
#define LOAD_WEBSOCKET_H

#include "stream.h"

#include <stddef.h>
#include <stdint.h>

struct websocket {
    struct stream stream;
    char *in;
    size_t in_len, in_size;
    char *whole; /* a message that comes in fragments */
    size_t whole_len, whole_size;
    uint64_t messages;
};

/* Waits for the upgrade request on a blocking, accepted socket and answers it; with TLS first that. */
void websocket_accept(struct websocket *w, int fd, SSL_CTX *tls);
void websocket_deinit(struct websocket *w);

/* Called with each data message; answers go to the stream's tail. */
typedef void websocket_taker(struct websocket *w, char *bytes, size_t len);

/* Reads once and hands out what came; a PING is answered. Flushing is the caller's. */
void websocket_read(struct websocket *w, websocket_taker *take);

/* A server's binary frame before a payload of len bytes; returns the header's length, at most this. */
#define WEBSOCKET_HEADER_MAX 10
size_t websocket_header(char *to, size_t len);

/* A taker: answers `{code: 0, data: <the same map>}`, as the IM server does for sends and pings. */
void websocket_acknowledge(struct websocket *w, char *bytes, size_t len);

#endif
