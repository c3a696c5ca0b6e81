/* Who publishes: one connection, and a piece of memory full of ready-made messages in which only counters
 * change. */
#ifndef LOAD_PUBLISHER_H
#define LOAD_PUBLISHER_H

#include "counter.h"
#include "websocket.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A message as it is published. */
struct frame {
    char *bytes;
    size_t len, counter_at;
    size_t type_at; /* `TxtMsg` stands here; every second message of a filtered run has another */
};

struct publisher {
    struct websocket websocket; /* of the other dialects only its stream is used */
    char *chunk;
    size_t per_chunk; /* messages */
    struct frame frame;
    bool alternate;
    struct counter counter; /* of the next */
    uint64_t written;
    uint64_t replies; /* of those dialects that answer each message */
};

/* The frame becomes the publisher's. */
void publisher_prepare(struct publisher *p, struct frame frame, bool alternate);
void publisher_deinit(struct publisher *p);

/* The next n messages, at most per_chunk, become the stream's body, which must be idle. */
void publisher_fill(struct publisher *p, size_t n);

#endif
