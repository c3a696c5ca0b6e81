/*
 * What waits to be sent. One frame is shared by all connections that it goes to, so it is never changed after
 * it was queued; connections hold references. The payload has LWS_PRE bytes of room before it, because lws
 * writes the websocket header there. (All connections get the same header: a server does not mask.)
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum frame_kind {
    FRAME_BINARY,
    FRAME_TEXT,
    FRAME_RAW,   /* bytes for the TCP socket, no websocket framing */
    FRAME_CLOSE, /* the payload is the reason */
};

struct frame {
    unsigned refs;
    enum frame_kind kind;
    uint16_t close_code;
    unsigned pause_ms; /* between two fragments */
    size_t *ends;      /* where each fragment ends; NULL: not fragmented */
    size_t n_ends;
    size_t len;
    unsigned char room[];
};

/* Returns one reference. bytes may be NULL: the caller fills frame_payload() in before it is queued. */
struct frame *frame_new(enum frame_kind kind, const void *bytes, size_t len);
struct frame *frame_ref(struct frame *frame);
/* Accepts NULL, returns NULL. */
struct frame *frame_unref(struct frame *frame);

unsigned char *frame_payload(struct frame *frame);

/* Splits into n fragments of about the same size, or at the given sizes (what is left over forms the last
 * one). False: the sizes do not fit into the payload. */
void frame_split_evenly(struct frame *frame, size_t n);
bool frame_split_at(struct frame *frame, const size_t *sizes, size_t n);
