/*
 * Methods: what the files method_*.c share with request.c, which has the table of them. A handler looks into
 * the scanned line. What it finds wrong it returns as an error, with a sentence in `detail`; success it
 * writes itself, at once, or later through a call (call_begin …).
 */
#ifndef IMD_METHOD_H
#define IMD_METHOD_H

#include "error.h"
#include "state.h"

#include <stddef.h>
#include <stdint.h>

struct request {
    struct hub *hub;
    struct client *client;
    const struct scan *scan;
    const char *id;  /* its JSON text, in the line */
    size_t id_len;   /* 0: a notification */
    uint32_t params; /* token; 0: none */
    char detail[160];
    const char *limit;
    struct passed *passed; /* descriptors that came with the line; whoever takes them clears it; NULL: none */
};

enum error handle_hello(struct request *r); /* method_link.c */
enum error handle_status(struct request *r);
enum error handle_stats(struct request *r);
enum error handle_connect(struct request *r);
enum error handle_disconnect(struct request *r);
enum error handle_reconnect(struct request *r);
enum error handle_send(struct request *r);      /* method_send.c */
enum error handle_subscribe(struct request *r); /* method_subscribe.c */
enum error handle_unsubscribe(struct request *r);
enum error handle_ack(struct request *r);
enum error handle_history(struct request *r); /* method_history.c */
enum error handle_outbox(struct request *r);  /* method_outbox.c */
enum error handle_outbox_cancel(struct request *r);

/* ---- Parameters ---- */

/* format has one %s. */
enum error request_invalid(struct request *r, const char *format, const char *what);

uint32_t request_param(const struct request *r, const char *name); /* token; 0: not given */

/* *out stays as it is when the parameter is not given. */
enum error request_number(struct request *r, const char *name, uint64_t min, uint64_t max, uint64_t *out);
enum error request_switch(struct request *r, const char *name, bool *out);
/* Unescaped, up to `max` bytes, not empty; *len 0: not given. */
enum error request_string(struct request *r, const char *name, size_t max, char *out, size_t *len);

/* ---- Answers ---- */

/* `"result":{`, to be closed by result_end; NULL for a notification. */
struct json_writer *result_begin(struct request *r);
void result_end(struct request *r, struct json_writer *w);

/* The same for a call, which ends with it: call_result_begin, also when that gives NULL (nobody waits), then
 * call_result_end; or one of call_refuse. */
struct json_writer *call_reply_begin(struct call *call); /* likewise: nothing yet but the id */
struct json_writer *call_result_begin(struct call *call);
void call_result_end(struct call *call, struct json_writer *w);
void call_refuse(struct call *call, enum error e, const char *detail, const char *limit);
void call_refuse_stored(struct call *call, enum error e, const char *limit); /* says what the storage said */

/* `"error":{"code":…,"message":…,"data":{"reason":…`: to be continued, and closed by `}}`. */
void write_error_head(struct json_writer *w, enum error e, const char *detail);

/* Members of the status result, without braces. */
void write_status(struct hub *h, struct json_writer *w);

/*
 * A call that waits for the store. NULL: too many wait already; r->limit says so. It counts until
 * hub_call_free.
 */
struct call *stored_call(struct request *r);

#endif
