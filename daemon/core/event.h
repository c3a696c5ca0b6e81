/*
 * An event, as it travels from the session to the ring: its line is already written, what filters look at is
 * described by places in that line. Nothing is copied.
 */
#ifndef IMD_EVENT_H
#define IMD_EVENT_H

#include "vocabulary.h"

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
    uint64_t seq; /* 0: not logged (STATUS) */
    struct event_fields fields;
};

#endif
