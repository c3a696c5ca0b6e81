/*
 * The storage: what hub and session may ask of the store, which is a thread of its own and which they do not
 * know. main joins them.
 *
 * A request is posted and belongs to the store until its `done` is called, on the loop, exactly once.
 * Requests are carried out in the order in which they were posted, all that wait as one transaction, and
 * `done` comes after its commit: what is answered without error is on disk. Memory that a request points to
 * must stay as it is until then; what the store hands out is malloc'ed and goes to the asker, who frees it.
 * Times are milliseconds since 1970 (CLOCK_REALTIME).
 */
#ifndef IMD_STORAGE_H
#define IMD_STORAGE_H

#include "error.h"
#include "event.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct filter;

enum storage_op {
    STORAGE_APPEND,   /* struct storage_append */
    STORAGE_RESERVE,  /* struct storage_reserve */
    STORAGE_READ,     /* struct storage_read */
    STORAGE_CONSUMER, /* struct storage_consumer: opens one, or moves one forward */
    STORAGE_QUEUE,    /* struct storage_queue */
    STORAGE_TAKE,     /* struct storage_take */
    STORAGE_FINISH,   /* struct storage_finish */
    STORAGE_LIST,     /* struct storage_list */
    STORAGE_CANCEL,   /* struct storage_cancel */
    STORAGE_ATTACH,   /* struct storage_attach */
};

struct storage_request {
    enum storage_op op;
    enum error error; /* ERROR_NONE, ERROR_STORAGE, or what the request's comment names */
    void (*done)(struct storage_request *r);
    struct storage_request *next; /* whoever owns it may link it */
};

/* ---- History ---- */

/* A line and where it is in the batch; kept on disk beside the lines, in the machine's byte order. */
struct storage_event {
    uint64_t seq;
    int64_t time_ms;
    uint32_t at, len; /* the line, with its '\n' */
    struct event_index index;
    uint8_t kind;
    uint8_t zero[3];
};

/*
 * Events with rising seqs. Never refused for want of disk: the store keeps it until it is written or has to
 * be given up for newer ones, which leaves a GAP "storage" in the history; error is then ERROR_STORAGE.
 */
struct storage_append {
    struct storage_request request;
    const struct storage_event *events;
    uint32_t count;
    const char *bytes;
};

/*
 * Numbers up to `through` may be given to events. Those between the last event that was kept and the highest
 * reserved one are never given again after a crash.
 */
struct storage_reserve {
    struct storage_request request;
    uint64_t through;
};

struct storage_line {
    uint64_t seq; /* of a GAP made here: its `to` */
    uint32_t len;
};

/* Events behind `after` up to `head`, or, reversed, from `head` down to behind `after`. */
struct storage_read {
    struct storage_request request;
    uint64_t after, head; /* head: the last number given when this was posted; all up to it were appended */
    int64_t since_ms, until_ms;  /* both included; INT64_MIN, INT64_MAX: any */
    uint32_t kinds;              /* bit n: enum event_kind n */
    const struct filter *filter; /* NULL: all; applies to EVENT_KINDS_WANTED */
    uint32_t limit;              /* lines */
    size_t max_bytes;            /* of lines; the first is given whatever its length */
    bool reverse;                /* the newest first */
    bool gaps;                   /* write GAP lines for numbers that are missing (forward only) … */
    bool from_oldest;            /* … but not for those before the oldest event there is */
    /* Answered. ERROR_STORAGE: nothing can be read. */
    char *bytes; /* the lines, in order; NULL when there are none */
    size_t len;
    struct storage_line *lines;
    uint32_t count;
    uint64_t
        through; /* looked at all up to this (reversed: down to this, included); head (after + 1): at all.
                    A read looks at a bounded number of events: no lines does not mean that there are none */
};

/* ---- Consumers ---- */

#define CONSUMER_NAME_MAX 128 /* bytes */
#define CONSUMERS_MAX 10000   /* rows that nobody would ever tidy up */

/* ERROR_BUSY: there are CONSUMERS_MAX. */
struct storage_consumer {
    struct storage_request request;
    char name[CONSUMER_NAME_MAX];
    uint8_t name_len;
    bool create;  /* made, at `seq`, if there is none; else moved forward to seq, never back */
    uint64_t seq; /* in: see create; out: where it is now */
};

/* ---- Outbox: messages that are on disk until the server has answered ---- */

/* A message as the outbox knows it. */
struct outbox_entry {
    int64_t row; /* rises in the order of queueing; 0: it is finished */
    char id[MESSAGE_ID_MAX];
    uint16_t id_len;
    uint8_t state; /* enum outbox_state */
    bool has_code;
    int64_t code; /* the server's */
    uint32_t attempts;
    int64_t queued_ms, expires_ms, changed_ms;
};

/*
 * ERROR_NONE: it is on disk; entry is its state, which is not OUTBOX_QUEUED, or not new, when its messageId
 * was known already (then nothing was added: `known`). ERROR_BUSY: there are OutboxMax.
 */
struct storage_queue {
    struct storage_request request;
    struct outbox_entry entry; /* in: id, queued_ms, expires_ms; out: all of it */
    const uint8_t *frame;
    size_t frame_len;
    bool known;
};

struct outbox_message {
    struct outbox_entry entry;
    const uint8_t *frame; /* in `block` */
    size_t frame_len;
};

/*
 * The next messages behind row `after`, in order, to be sent now: each becomes OUTBOX_SENT and has one
 * attempt more; those that are past their expiry are passed over (the store expires them). Or, with
 * row_count, these rows again, whatever their expiry. What was taken is the taker's until STORAGE_FINISH: the
 * store does not expire it. When the disk is full the messages are given all the same, their change of state
 * unwritten.
 */
struct storage_take {
    struct storage_request request;
    int64_t after;
    const int64_t *rows; /* ascending */
    uint32_t row_count;
    uint32_t limit;   /* messages */
    size_t max_bytes; /* of frames; the first is given whatever its length */
    int64_t now_ms;
    /* Answered */
    struct outbox_message *messages;
    uint32_t count;
    void *block;  /* what messages and frames lie in: the one thing to be freed; may be NULL */
    int64_t last; /* the last row looked at */
    bool more;    /* there are further ones behind it */
};

/* Its final state: acked, rejected or expired. Kept by the store until it is written, whatever the disk says.
 */
struct storage_finish {
    struct storage_request request;
    struct outbox_entry
        entry; /* in: row, id, state, code, changed_ms; row may be gone: then nothing is done */
};

/* All messages, the oldest first, those that are finished before the others; or one. */
struct storage_list {
    struct storage_request request;
    char id[MESSAGE_ID_MAX];
    uint16_t id_len; /* 0: all */
    uint32_t limit;  /* of the newest */
    /* Answered */
    struct outbox_entry *entries;
    uint32_t count;
};

/* ERROR_NOT_FOUND; ERROR_CONFLICT: it went to the server already, or is finished. entry is its state. */
struct storage_cancel {
    struct storage_request request;
    struct outbox_entry entry; /* in: id, changed_ms */
};

/* ---- Attachments: large binaries of messages as files ---- */

#define STORAGE_BINS_MAX 256 /* of one message */

struct storage_bin {
    size_t at, len; /* in the bytes of the request */
    /* Answered */
    bool stored;         /* it is on disk, in a file of the folder */
    char sha256[64 + 1]; /* of it, in hex: the file's name */
};

/*
 * Each bin becomes a file, or not: ERROR_STORAGE: not all of them did; detail says why. Carried out by
 * itself, whatever the database is like, after what was posted before.
 */
struct storage_attach {
    struct storage_request request;
    const uint8_t *bytes;
    struct storage_bin *bins;
    unsigned count;
    /* Answered */
    const char *folder; /* absolute; lives as long as the store */
    char detail[96];
};

/* ---- The store as a whole ---- */

/* What it says of itself; a copy, as of the last transaction. */
struct storage_report {
    bool failed;      /* what was asked last could not be written */
    char detail[160]; /* why, for people */
    int64_t since_ms; /* when it failed, or was last well again; 0: it never failed */
    uint64_t oldest;  /* seq of the oldest event that is kept; 0: none is */
    uint64_t bytes;   /* of the database */
    uint64_t queued;  /* messages in the outbox that are not finished */
    uint64_t transactions, appended, lost, pruned, failures; /* since start; lost, pruned: events */
    uint64_t attachment_bytes;                 /* of the files in the folder, see attachments.h */
    uint64_t attached, evicted, attach_failed; /* files, since start */
};

struct storage {
    void *self;
    /* 0; -EAGAIN: too much waits (never for STORAGE_APPEND, STORAGE_RESERVE, STORAGE_TAKE and STORAGE_FINISH,
     * which their askers bound). */
    int (*post)(void *self, struct storage_request *r);
    void (*report)(void *self, struct storage_report *out);
    /* A number that rises as long as the store gets on with what it does; also with nothing to do, soon after
     * this was called. */
    uint64_t (*beats)(void *self);
};

/* What the store tells unasked, on the loop. */
struct storage_listener {
    void *self;
    void (*changed)(void *self);                                   /* report.failed is not what it was */
    void (*expired)(void *self, const struct outbox_entry *entry); /* a message nobody had taken */
};

#endif
