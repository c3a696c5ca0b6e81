/*
 * The transport: one websocket client connection (RFC 6455), from name lookup to close. It knows nothing of
 * MessagePack, acks or backoff: it opens when told, hands over whole messages, and says exactly once how each
 * open ended. Loop thread only, from within a turn: what is to be sent goes out at the turn's end.
 */
#ifndef IMD_TRANSPORT_H
#define IMD_TRANSPORT_H

#include "url.h"
#include "vocabulary.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;
struct send_block;
struct transport;

/* All strings and arrays are copied. */
struct transport_options {
    struct url url;
    const char *ca_file;   /* never NULL: the system's bundle unless configured */
    const char *cert_file; /* NULL: no client certificate */
    const char *key_file;
    const char *const *headers; /* "Name: value" lines, NULL-terminated array; NULL: none */
    const char *header_file;    /* such lines, read anew at each attempt; NULL: none */
    const char *proxy_host;     /* NULL: no proxy, whatever the environment says */
    uint16_t proxy_port;
    size_t message_max; /* a longer message of the server closes with 1009 */
};

/* Why and how a connection, or the try to make one, ended. */
struct transport_end {
    enum link_reason reason;
    unsigned close_code;  /* of the server's close frame; 0: none came */
    unsigned http_status; /* of an upgrade that was not answered by 101; 0: none */
    bool was_open;
    char detail[200]; /* for people: "certificate has expired", "Connection refused", … no secrets */
};

struct transport_listener {
    void *self;
    void (*opened)(void *self);
    /* Exactly once for each transport_open, opened or not; the transport is idle again, and may be opened. */
    void (*closed)(void *self, const struct transport_end *end);
    /* A whole binary message; the bytes are valid during the call, see transport_take. */
    void (*message)(void *self, const uint8_t *bytes, size_t len);
    void (*text_message)(void *self, size_t len); /* a whole text message, content not kept */
    void (*alive)(void *self);                    /* something was read; before what it brought is told */
    void (*pong)(void *self);
    void (*drained)(void *self); /* what waited to be written has fallen below TRANSPORT_QUEUE_LOW */
};

#define TRANSPORT_QUEUE_HIGH (4u << 20) /* bytes waiting to be written: transport_congested */
#define TRANSPORT_QUEUE_LOW (1u << 20)

int transport_new(struct transport **out, struct loop *loop, const struct transport_listener *l);
void transport_free(struct transport *t); /* NULL is fine; no callback comes any more */

/* For the next open (CA, certificates, URL, headers …). 0, or a negative errno: the old options stay. */
int transport_configure(struct transport *t, const struct transport_options *o);

/*
 * Looks the name up (resolver thread), then dials each address in turn until one completes the upgrade. Never
 * fails at once: what goes wrong comes as `closed`, from the loop, never from within this call. Only when
 * idle.
 */
void transport_open(struct transport *t);

/*
 * Room for a binary message of up to n bytes at the end of the send queue; NULL: no memory. The caller fills
 * it and commits what it used (<= n), or commits 0 to take it back. Order is kept; what one turn brings
 * goes out with few syscalls. Only while open.
 */
uint8_t *transport_reserve(struct transport *t, size_t n);
void transport_commit(struct transport *t, size_t n);

/* The same for a message of len bytes in a block of its own (see send_queue.h), which is taken over. false:
 * not open; the block stays the caller's. */
bool transport_append(struct transport *t, struct send_block *b, size_t len);
bool transport_congested(const struct transport *t);

/* A websocket PING, ahead of queued messages, or between the fragments of a long one. */
void transport_ping(struct transport *t);

/*
 * Close handshake with this code after what is queued was written; `closed` follows, within
 * TRANSPORT_CLOSE_MS even when the peer never answers. Before the connection is open: the attempt is given
 * up. The reason in `closed` is the one given here.
 */
#define TRANSPORT_CLOSE_MS 1000
void transport_close(struct transport *t, unsigned code, enum link_reason reason);

/* Cut at once, no handshake (a half-open link); `closed` follows from the loop with this reason. */
void transport_abort(struct transport *t, enum link_reason reason);

/*
 * Only while `message` is being told: its bytes, malloc'ed, for the caller to keep and to free; those of a
 * large one are not copied. NULL: no memory.
 */
uint8_t *transport_take(struct transport *t);

/* Stop or go on reading; survives reconnects. While it is stopped no message and no pong is told, even when
 * it was stopped by what the last message said and others came with it: they wait. */
void transport_pause(struct transport *t, bool on);

/* When the last byte came, also one that is told to nobody (a ping, a part of a frame): loop_now_ms's clock.
 * Bytes that the kernel had when it was last asked are not looked at again. 0: not known. */
uint64_t transport_heard_ms(struct transport *t);

/* Bytes of all connections since start, TLS and websocket frames included, as the kernel counts them. */
struct transport_counters {
    uint64_t bytes_in, bytes_out;
};
struct transport_counters transport_counters(const struct transport *t);

#endif
