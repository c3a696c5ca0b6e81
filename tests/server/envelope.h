/*
 * MessagePack: what is in a client's message, and the envelopes that answer it. Values of the client are
 * never decoded: their bytes are found and copied.
 */
#pragma once

#include <jansson.h>
#include <msgpack.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes inside somebody else's memory. */
struct slice {
    const unsigned char *at; /* NULL: absent */
    size_t len;
};

/* A client's flat map; all slices point into its payload. */
struct message {
    struct slice entries; /* keys and values, one after the other */
    uint32_t n_entries;
    struct slice type;       /* text of messageType, when it is a string */
    struct slice message_id; /* the whole encoded value */
    struct slice text;       /* text of content.message, when it is a string */
    bool has_uid;
    bool has_time;
};

/* False: this is no MessagePack map, or something follows it. */
bool message_read(struct message *message, const void *bytes, size_t len);
bool message_has_type(const struct message *message, const char *type);

/* These replace the buffer's content. */
void envelope_echo(msgpack_sbuffer *out, const struct message *message);
void envelope_reject(msgpack_sbuffer *out, const struct message *message, int64_t code, const char *err_msg);
void envelope_leave(msgpack_sbuffer *out);
/* n < 0: without the key n. */
void envelope_load(msgpack_sbuffer *out, const char *from, int64_t n, size_t text_size);
void envelope_json(msgpack_sbuffer *out, json_t *value);
