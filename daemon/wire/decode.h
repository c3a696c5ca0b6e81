/*
 * MessagePack -> JSON, in one pass over the bytes: no tree, no malloc, iterative. Declared lengths and counts
 * are checked against the bytes that are there before they are believed; nesting is capped; every read is in
 * bounds for any input. The text never holds a newline or another control character.
 *
 * The mapping is the table "MessagePack <-> JSON" of imd-protocol(7). Where that leaves room: a float32 is
 * written as the double that it stands for. A timestamp (ext -1) that has none of the three forms, or more
 * than 999999999 nanoseconds, or is outside the years 0000 to 9999, is written like any other ext. A key that
 * is an array or a map is the JSON text of that, as a string.
 */
#ifndef IMD_DECODE_H
#define IMD_DECODE_H

#include "json_writer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The envelope's map is level 1, and its data may nest MESSAGE_DEPTH_MAX levels. */
#define DECODE_DEPTH_MAX 65

/*
 * Arrays and maps as keys of maps, one within the other. Each doubles the backslashes of what it holds;
 * without a cap of its own a frame of 130 bytes could ask for any amount of text.
 */
#define DECODE_KEY_DEPTH_MAX 4

enum decode_result {
    DECODE_OK = 0,
    DECODE_TRUNCATED, /* the bytes end inside the value, or a count or length is more than is there */
    DECODE_TRAILING,  /* bytes are left over behind the value */
    DECODE_INVALID,   /* the byte 0xc1 */
    DECODE_TOO_DEEP,  /* DECODE_DEPTH_MAX or DECODE_KEY_DEPTH_MAX */
    DECODE_NO_ROOM,   /* the writer could not grow */
};

const char *decode_result_text(enum decode_result r); /* for log lines */

/*
 * What is asked about a bin larger than `inline_max`: it writes the JSON for it (an object) into w, or
 * nothing and says false: then the bin is written inline, as all are without a hook.
 */
struct decode_options {
    size_t inline_max;
    bool (*attach)(void *self, struct json_writer *w, const uint8_t *bytes, size_t len);
    void *self;
};

/* A string as it stands in the frame, and where its escaped text is in the JSON (offsets from the first byte
 * written). */
struct decode_string {
    const char *bytes; /* in the frame; NULL: no such key, or its value is no string */
    uint32_t len;
    uint32_t json_at, json_len; /* without the quotes */
};

/* What a frame was, picked up on the way. Of duplicate keys the last one counts, as JSON parsers have it. */
struct decode_frame {
    bool is_envelope; /* a map that has `code` or `data` */
    bool has_code;    /* code is an integer */
    int64_t code;     /* saturated */
    bool has_data;    /* data is a map */
    /* of the data map's own level */
    struct decode_string message_id, type, from, to, signal;
    bool has_conversation;
    int64_t conversation;
};

/*
 * One value as JSON. What was written makes sense only with DECODE_OK. Asks for a few bytes of room more than
 * it needs. o may be NULL: no hook.
 */
enum decode_result decode_value(const struct decode_options *o, const uint8_t *bytes, size_t len,
                                struct json_writer *w);

/*
 * One frame of the server as the members of an event's params, without braces: an envelope's own members as
 * they came (`"code":0,"data":{…},"errMsg":"…"`); what is no envelope, or has a member `seq` or `time` that
 * would stand beside imd's own, as `"data":<the whole value>`. The fields are picked up in both cases.
 */
enum decode_result decode_frame(const struct decode_options *o, const uint8_t *bytes, size_t len,
                                struct json_writer *w, struct decode_frame *f);

#endif
