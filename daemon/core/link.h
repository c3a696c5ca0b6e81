/*
 * The link between the two rooms that do not know each other: the session (which talks to the server) and the
 * hub (which talks to local programs). Each side fills one table; main joins them. Loop thread only.
 */
#ifndef IMD_LINK_H
#define IMD_LINK_H

#include "error.h"
#include "event.h"
#include "vocabulary.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct encode_files; /* of a line, see encode.h */
struct json_writer;
struct link_answer;
struct outbox_entry; /* see storage.h */
struct scan;         /* a scanned request line, see scan.h */

/* Whoever waits for the server's answer: the first member of something of his. */
struct link_call {
    void (*answered)(struct link_call *c, const struct link_answer *a);
    char message_id[MESSAGE_ID_MAX]; /* of what was sent; written by `send` and `send_composed` */
    size_t message_id_len;
};

/* A send as the hub hands it over. */
struct link_send {
    const struct scan *line;
    uint32_t message;           /* token of the message object in it */
    struct encode_files *files; /* that came with it; of `compose` only; NULL: none */
    uint64_t timeout_ms;        /* how long to wait for the ack; 0: the configured AckTimeout */
    struct link_call *call;     /* told the answer */
    /* Filled when it is refused at once: what is wrong, for error.message and error.data */
    char detail[160];
    const char *limit; /* ERROR_BUSY: the name of the limit that is reached */
};

/* A message as it goes to the server. */
struct link_frame {
    void *block;    /* in which it lies; malloc'ed; the caller frees it */
    uint8_t *bytes; /* where its files are missing, the caller fills them in */
    size_t len;
    char message_id[MESSAGE_ID_MAX]; /* no NUL behind it */
    size_t message_id_len;
};

/* What the hub may ask of the session. */
struct link {
    void *self;
    /* ERROR_NONE: it is on its way and `answered` will be called exactly once for call. Else nothing was
     * sent. */
    enum error (*send)(void *self, struct link_send *s);
    /* The same message, not sent but made into a frame; needs no connection. s->call and s->timeout_ms are
     * not used. */
    enum error (*compose)(void *self, struct link_send *s, struct link_frame *out);
    /* As send, for a frame that was composed; s->line and s->message are not used. Takes f->block over, and
     * clears it, unless it is refused. */
    enum error (*send_composed)(void *self, struct link_send *s, struct link_frame *f);
    void (*queued)(void *self); /* a message was put into the outbox: posted, perhaps not on disk yet */
    void (*connect)(void *self);
    void (*disconnect)(void *self);
    void (*reconnect)(void *self);
    enum link_state (*state)(void *self);
    enum link_reason (*reason)(void *self); /* why it is in this state */
    /* Members of the status object, `"state":…` first, no braces: of the STATUS event, or (whole) of the
     * status result. */
    void (*write_status)(void *self, struct json_writer *w, bool whole);
    void (*write_stats)(void *self, struct json_writer *w); /* members `,"name":n`, each with its comma */
    /* true while so much waits to be written to the server that requests should not be read. */
    bool (*congested)(void *self);
    /* Stop or go on reading from the server. */
    void (*pause)(void *self, bool on);
};

/* How a send ended. */
enum link_outcome { LINK_ACKED, LINK_REJECTED, LINK_UNKNOWN };

struct link_answer {
    enum link_outcome outcome;
    int64_t code; /* the server's; 0 for LINK_UNKNOWN */
    const char *message_id;
    size_t message_id_len;
    const char *envelope; /* its members as JSON, without the braces; NULL for LINK_UNKNOWN */
    size_t envelope_len;
    const char *why; /* LINK_UNKNOWN: a sentence */
};

/* What the session tells the hub. */
struct link_listener {
    void *self;
    /*
     * An event's body is written by the session: members of params behind seq and time, without braces.
     * begin gives the writer, at a place where the body can stay; hint is the frame's size. Then exactly one
     * of publish (fields' places count from the body's first byte) and abandon. A link_call may be answered
     * in between. begin may give NULL: no memory; the event is lost, which the hub announces as GAP.
     */
    struct json_writer *(*begin)(void *self, size_t hint);
    void (*publish)(void *self, enum event_kind kind, const struct event_fields *fields);
    void (*abandon)(void *self);
    /* An event that came but cannot be told (too large as JSON): takes a seq and is announced as GAP. */
    void (*lost)(void *self, const char *reason);
    void (*status_changed)(void *self);
    void (*relieved)(void *self); /* congested() has become false */
    /* A message of the outbox is in another state now, and that is on disk; `sent` may be told without, while
     * the disk is full. */
    void (*outbox_changed)(void *self, const struct outbox_entry *e);
};

#endif
