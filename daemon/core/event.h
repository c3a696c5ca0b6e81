/*
 * An event, as it travels from the session to the ring and into the store: its line is already written, what
 * filters look at is described by places in that line. Nothing is copied.
 */
#ifndef IMD_EVENT_H
#define IMD_EVENT_H

#include "json_writer.h"
#include "vocabulary.h"

#include <stddef.h>
#include <stdint.h>

/* A string value within a line, without its quotes, in its escaped form; len 0 and at 0: there is none. */
struct place {
    uint32_t at;
    uint32_t len;
};

#define CONVERSATION_NONE INT32_MIN /* no integer conversationType */

struct event_fields {
    struct place type, from, to, signal;
    int32_t conversation;
};

struct event {
    enum event_kind kind;
    uint64_t seq; /* 0: not logged (STATUS, OUTBOX) */
    struct event_fields fields;
};

/* What filters look at, as ring and store keep it. */
enum event_field {
    EVENT_FIELD_TYPE,
    EVENT_FIELD_FROM,
    EVENT_FIELD_TO,
    EVENT_FIELD_SIGNAL,
    EVENT_FIELD_COUNT
};
/* A longer value is not kept and matches no filter; so no filter value may be longer. */
#define EVENT_FIELD_MAX UINT16_MAX

struct event_index {
    uint32_t at[EVENT_FIELD_COUNT]; /* in the line; 0: there is none */
    uint16_t len[EVENT_FIELD_COUNT];
    int32_t conversation;
};
void event_index_fill(struct event_index *i, const struct event_fields *f);

/* Kinds that have a seq and are kept. Who wants one of the first two is told by GAP what is missing. */
#define EVENT_KINDS_WANTED (1u << EVENT_MESSAGE | 1u << EVENT_SENT)
#define EVENT_KINDS_LOGGED (EVENT_KINDS_WANTED | 1u << EVENT_GAP)

/* A line's beginning: `{"jsonrpc":"2.0","method":KIND,"params":{`; to be ended with `}}\n`. */
void event_write_head(struct json_writer *w, enum event_kind kind);

/* A whole GAP line. Reasons: imd-protocol(7), "EVENTS". At most EVENT_GAP_MAX bytes. */
#define EVENT_GAP_MAX 192
#define EVENT_GAP_REASON_MAX 16
void event_write_gap(struct json_writer *w, uint64_t from, uint64_t to, const char *reason);

/* The last number that a whole line speaks of: its seq, or the end of its GAP; 0: it has none. */
uint64_t event_line_seq(const char *line, size_t len);

#define GAP_OVERRUN "overrun"       /* read too slowly, and there is no history */
#define GAP_PRUNED "pruned"         /* older than the history goes back */
#define GAP_NO_HISTORY "no_history" /* asked for, but History is off */
#define GAP_STORAGE "storage"       /* the store could not keep it, or cannot be read now */
#define GAP_CORRUPT "corrupt"       /* what was kept is damaged */
#define GAP_CRASH "crash"           /* imd died; it is not known whether there were any */
#define GAP_TOO_LARGE "too_large"   /* imd could not hold it … */
#define GAP_OUTBOX "outbox"         /* of OUTBOX events, which have no number */
#define GAP_MEMORY "memory"         /* … as JSON, or at all */

#endif
