/*
 * Scanned JSON -> MessagePack, straight from the text. Integers take the smallest form that holds them, reals
 * are float64, objects are maps in the order written. {"$bin":"<base64>"} and
 * {"$ext":{"type":n,"data":"<base64>"}} become bin and ext; so does {"$fd":n}, a file that came with the
 * line, whose bytes are left out: a hole, to be filled later. {"$file":…} is refused. An object is one of
 * these only when that is its only key; {"$file"} is refused also with the `size` and `sha256` that decode
 * writes beside it.
 */
#ifndef IMD_ENCODE_H
#define IMD_ENCODE_H

#include "error.h"
#include "scan.h"
#include "vocabulary.h"

#include <stddef.h>
#include <stdint.h>

/* Where the frame goes: a fixed span. encode_bound says how much is always enough. */
struct encode_buffer {
    uint8_t *at, *end;
};

/* This value never needs more bytes of MessagePack than this: the length of its text, and a little for reals
 * and headers. */
size_t encode_bound(const struct scan *s, uint32_t token);

struct encode_error {
    enum error error; /* ERROR_INVALID_PARAMS, ERROR_TOO_LARGE */
    char detail[160]; /* a sentence that names the key */
};

/*
 * 0; -EINVAL with *e filled; -ENOBUFS when the buffer was smaller than encode_bound. b->at moves only with 0,
 * though bytes behind it may have been written. Depth counts from this token; at most MESSAGE_DEPTH_MAX
 * arrays and objects.
 */
int encode_value(const struct scan *s, uint32_t token, struct encode_buffer *b, struct encode_error *e);

/* The files that came with a line, and where each one's bytes are missing. A file is used at most once. */
struct encode_files {
    unsigned count;
    size_t size[LINE_FDS_MAX];
    /* Filled: */
    unsigned used;
    struct encode_hole {
        size_t at; /* from the first byte of the frame */
        unsigned file;
    } holes[LINE_FDS_MAX];
};

/* What a message gets where the caller did not say otherwise. */
struct encode_defaults {
    const char *message_id; /* a fresh UUID, 36 characters */
    const char *from;       /* UserId; NULL: none is configured, and then the key is left out */
    int64_t sent_time_ms;
    struct encode_files *files; /* NULL: none; their sizes together must fit size_t and the buffer */
};

/* What the session must know of the message that was encoded. */
struct encode_message {
    char message_id[MESSAGE_ID_MAX]; /* unescaped; no NUL behind it */
    size_t message_id_len;
};

#define ENCODE_MESSAGE_EXTRA 512 /* bytes that the defaults may need beyond encode_bound, but for `from` */

/* This message never needs more bytes, its files' among them. */
size_t encode_message_bound(const struct scan *s, uint32_t message, const struct encode_defaults *d);

/*
 * The flat map of a send (imd-protocol(7), "Client -> server"): the caller's keys in the order written, then
 * the defaults of those that are missing: messageType TxtMsg, messageId, conversationType 0, from, to
 * "server" (type 0 only), sentTime, messageDirection 1. Checks: messageType a non-empty string; messageId a
 * non-empty string of at most MESSAGE_ID_MAX bytes; conversationType 0 … 5; from, to strings; `to` required
 * unless the type is 0; signalName a non-empty string, required for SignalMsg; sentTime and messageDirection
 * integers; content an object. Returns as encode_value does; the buffer needs
 * encode_message_bound.
 */
int encode_message(const struct scan *s, uint32_t message, const struct encode_defaults *d,
                   struct encode_buffer *b, struct encode_message *m, struct encode_error *e);

#endif
