/*
 * libimctl: talk to imd, the local bridge to an IM server, from C or C++.
 *
 * A connection (struct imctl) is a Unix stream socket to the daemon. It never blocks, starts no thread,
 * installs no signal handler, prints nothing, never ends the program and keeps no global state. It lives in
 * any event loop:
 *
 *     struct pollfd p = {imctl_fd(c), imctl_events(c), 0};
 *     poll(&p, 1, imctl_timeout(c));
 *     if (imctl_dispatch(c) < 0) ...the connection is over
 *
 * Requests are asynchronous: imctl_call, imctl_send and their like queue a request, imctl_dispatch
 * writes it and later calls `done` with the answer. Many may be under way at once. A program without an event
 * loop uses the calls that end in _wait: they do the polling themselves.
 *
 * Errors. A function that can fail returns 0, or a negative errno: this process or the connection is in
 * trouble. What the daemon or the server refused is no such failure: it arrives as a reply with an enum
 * imctl_error. A connection that breaks is over, or comes back by itself: imctl_set_reconnect.
 *
 * Ownership. A reply or an event that is handed to a callback belongs to the library and dies when the
 * callback returns (imctl_reply_copy and imctl_event_copy keep it); one that is written to an `out` parameter
 * belongs to the caller. Every string belongs to the object that it was asked of. All *_free functions and
 * imctl_close accept NULL.
 *
 * Threads. A connection, message, selection, reply or event is used by one thread at a time; different ones
 * are independent of each other.
 *
 * Text is UTF-8, times are milliseconds (since the epoch, where they are dates). The words of the protocol
 * are explained in imd-protocol(7).
 */
#ifndef IMCTL_H
#define IMCTL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define IMCTL_API __attribute__((visibility("default")))
#else
#define IMCTL_API
#endif

struct imctl;           /* a connection to imd */
struct imctl_message;   /* a message that is to be sent */
struct imctl_selection; /* which events one wants */
struct imctl_reply;     /* how a request ended */
struct imctl_event;     /* something that imd tells its subscribers */

/* ---- Errors of a reply ---- */

enum imctl_error {
    IMCTL_OK = 0,
    IMCTL_PARSE_ERROR,
    IMCTL_INVALID_REQUEST,
    IMCTL_METHOD_NOT_FOUND,
    IMCTL_INVALID_PARAMS,
    IMCTL_INTERNAL,      /* also: a reason that this version of the library does not know */
    IMCTL_NOT_CONNECTED, /* nothing was sent */
    IMCTL_STORAGE,       /* the message was not accepted */
    IMCTL_BUSY,          /* a limit is reached; try again */
    IMCTL_REJECTED,      /* the server answered with a code that is not 0 */
    IMCTL_DENIED,
    IMCTL_TOO_LARGE,
    IMCTL_NOT_FOUND,
    IMCTL_CONFLICT,
    IMCTL_UNKNOWN, /* no answer in time, or the way to it broke: it may or may not have arrived */
};

/* The protocol's word (`not_connected`), a sentence, and the exit status that imctl(1) ends with. */
IMCTL_API const char *imctl_error_reason(enum imctl_error e);
IMCTL_API const char *imctl_error_sentence(enum imctl_error e);
IMCTL_API int imctl_error_exit_status(enum imctl_error e);

/* ---- Words ---- */

enum imctl_conversation {
    IMCTL_SERVER = 0,
    IMCTL_PRIVATE = 1,
    IMCTL_DISCUSSION = 2,
    IMCTL_GROUP = 3,
    IMCTL_CHATROOM = 4,
    IMCTL_SYSTEM = 5,
};

enum imctl_event_kind {
    IMCTL_EVENT_OTHER = -1, /* of a newer daemon; imctl_event_name tells which */
    IMCTL_EVENT_MESSAGE = 0,
    IMCTL_EVENT_SENT,
    IMCTL_EVENT_STATUS,
    IMCTL_EVENT_OUTBOX,
    IMCTL_EVENT_GAP,
};

/* The word of a number; NULL when it has none, so that counting from 0 lists all words. */
IMCTL_API const char *imctl_conversation_word(int conversation); /* "server", "private", … */
IMCTL_API const char *imctl_state_word(int index);               /* "connected", … */
IMCTL_API const char *imctl_event_word(int kind);                /* "MESSAGE", … */
IMCTL_API const char *imctl_type_word(int index);                /* "text", "image", … */

/* The number of a word, or -1. */
IMCTL_API int imctl_conversation_parse(const char *word);

/* The short word of a message type as it is on the wire ("TxtMsg" -> "text"); the type itself when it has
 * none. */
IMCTL_API const char *imctl_type_short(const char *wire);

/* The version of the library, e.g. "0.1.0". */
IMCTL_API const char *imctl_version(void);

/* ---- Connection ---- */

/*
 * Where the daemon of an account listens (NULL: "default"): $IMCTL_SOCKET if set, else the user's own socket
 * if there is one, else the system's. -EINVAL: no account name; -ENAMETOOLONG: the path, or `size` (108 is
 * always enough).
 */
IMCTL_API int imctl_socket_path(const char *account, char *out, size_t size);

/*
 * Connects to the socket at `path` (NULL: that of the default account), waiting up to timeout_ms (-1: as long
 * as it takes). The errno of connect(2): -ENOENT and -ECONNREFUSED: no daemon; -EACCES; -ETIMEDOUT;
 * -ENAMETOOLONG.
 */
IMCTL_API int imctl_open(const char *path, int timeout_ms, struct imctl **out);

/* The same for a stream socket that is connected already; takes it over (also when it fails). */
IMCTL_API int imctl_open_fd(int fd, struct imctl **out);

/*
 * Has the connection come back by itself when it breaks. Requests without an answer get one as by imctl_close
 * (nothing is sent twice); then it is tried again, after 100 ms, doubling to 10 s, and what was subscribed is
 * subscribed again from behind the last event that came (a consumer: from what it acked). `changed` (may be
 * NULL) is called from imctl_dispatch: error < 0: lost, and why (as imctl_dispatch would return); once more
 * with -EBUSY: imd is there, but refuses the subscription for now (another has the consumer, say); 0: imd is
 * back, and subscribed again; what follows are the events that were missed. While it is away requests return
 * -ENOTCONN, and imctl_dispatch 0. The link's own STATUS may have changed meanwhile: ask `status`.
 *
 * From now on imctl_fd is an epoll(7) descriptor that stays the same, and imctl_events is POLLIN: so call
 * this before they are given to an event loop. Ask imctl_timeout after each dispatch. -EINVAL: it was opened
 * by imctl_open_fd. May be called again, for another `changed`.
 */
IMCTL_API int imctl_set_reconnect(struct imctl *c,
                                  void (*changed)(struct imctl *c, int error, void *userdata),
                                  void *userdata);

/*
 * Ends the connection. What has no answer yet gets one first: IMCTL_UNKNOWN, or IMCTL_NOT_CONNECTED when it
 * was never written. May be called from a callback; imctl_dispatch then returns -ECANCELED and c is gone.
 */
IMCTL_API void imctl_close(struct imctl *c);

/* For an event loop: the descriptor, the poll(2) events that are wanted now (level-triggered), and how many
 * milliseconds it may wait before the next imctl_dispatch (-1: no limit). Ask anew after each dispatch and
 * each request. */
IMCTL_API int imctl_fd(const struct imctl *c);
IMCTL_API short imctl_events(const struct imctl *c);
IMCTL_API int imctl_timeout(const struct imctl *c);

/*
 * Writes and reads what is possible without waiting, and calls the callbacks. Negative: the connection is
 * over
 * (-ECONNRESET: the daemon closed it; -EMSGSIZE: a line above 256 MiB; -EPROTO: no JSON-RPC; -EBUSY: imd has
 * too many clients); every request
 * was answered as by imctl_close, and every further call returns the same. -EDEADLK: called from a callback.
 */
IMCTL_API int imctl_dispatch(struct imctl *c);

/* Requests without an answer. */
IMCTL_API size_t imctl_waiting(const struct imctl *c);

/* ---- Requests ---- */

/*
 * `done` is called exactly once, from imctl_dispatch or imctl_close, never from within the call itself; it
 * may be NULL. The calls return 0, -ENOMEM, the error that ended the connection, or -ENOTCONN while it is
 * away (imctl_set_reconnect); then `done` is not called.
 */

/*
 * Any method of the protocol. `params` is the JSON text of an object, or NULL. Without params: `hello`,
 * `status`, `stats`, `connect`, `disconnect`, `reconnect`, `unsubscribe`. -EINVAL: params is no JSON object.
 */
IMCTL_API int imctl_call(struct imctl *c, const char *method, const char *params,
                         void (*done)(struct imctl *c, const struct imctl_reply *reply, void *userdata),
                         void *userdata);

/*
 * Sends a message; it is read before the call returns and may be changed or freed. Sends of one connection
 * reach the server in the order of the calls. Also returns what went wrong when the message was put together.
 */
IMCTL_API int imctl_send(struct imctl *c, const struct imctl_message *m,
                         void (*done)(struct imctl *c, const struct imctl_reply *reply, void *userdata),
                         void *userdata);

/* Asks for events (NULL: every MESSAGE and STATUS). The reply has `seq` and `status`, as they are when it
 * begins. */
IMCTL_API int imctl_subscribe(struct imctl *c, const struct imctl_selection *s,
                              void (*done)(struct imctl *c, const struct imctl_reply *reply, void *userdata),
                              void *userdata);

/*
 * Moves the consumer of this connection (imctl_selection_set_consumer) forward: all up to `seq` was dealt
 * with and never comes again. One ack may stand for many events. Answered when it is on disk.
 */
IMCTL_API int imctl_ack(struct imctl *c, uint64_t seq,
                        void (*done)(struct imctl *c, const struct imctl_reply *reply, void *userdata),
                        void *userdata);

/*
 * Asks for events of the past (NULL: the first 100 that imd has kept), which imctl_reply_event walks. The
 * reply also has `more` ("true" or "false"): whether there are others behind the last one.
 */
IMCTL_API int imctl_history(struct imctl *c, const struct imctl_selection *s,
                            void (*done)(struct imctl *c, const struct imctl_reply *reply, void *userdata),
                            void *userdata);

/* Asks how queued messages stand (NULL: all that imd remembers), which imctl_reply_event walks.
 * IMCTL_NOT_FOUND: no such messageId. */
IMCTL_API int imctl_outbox(struct imctl *c, const char *id,
                           void (*done)(struct imctl *c, const struct imctl_reply *reply, void *userdata),
                           void *userdata);

/* Takes a queued message back. IMCTL_CONFLICT: it went to the server already, or is finished. */
IMCTL_API int imctl_outbox_cancel(struct imctl *c, const char *id,
                                  void (*done)(struct imctl *c, const struct imctl_reply *reply,
                                               void *userdata),
                                  void *userdata);

/* ---- Blocking requests ---- */

/*
 * The same, waiting for the answer, up to timeout_ms (-1: as long as it takes). 0: *out is the reply, which
 * may be an error of the daemon. -ETIMEDOUT: none came; it is ignored when it comes later. Events that arrive
 * meanwhile go to the handler, or wait for imctl_event_next. -EDEADLK: called from a callback. `out` may be
 * NULL: the reply is dropped.
 */
IMCTL_API int imctl_call_wait(struct imctl *c, const char *method, const char *params, int timeout_ms,
                              struct imctl_reply **out);
IMCTL_API int imctl_send_wait(struct imctl *c, const struct imctl_message *m, int timeout_ms,
                              struct imctl_reply **out);
IMCTL_API int imctl_subscribe_wait(struct imctl *c, const struct imctl_selection *s, int timeout_ms,
                                   struct imctl_reply **out);
IMCTL_API int imctl_ack_wait(struct imctl *c, uint64_t seq, int timeout_ms, struct imctl_reply **out);
IMCTL_API int imctl_history_wait(struct imctl *c, const struct imctl_selection *s, int timeout_ms,
                                 struct imctl_reply **out);
IMCTL_API int imctl_outbox_wait(struct imctl *c, const char *id, int timeout_ms, struct imctl_reply **out);
IMCTL_API int imctl_outbox_cancel_wait(struct imctl *c, const char *id, int timeout_ms,
                                       struct imctl_reply **out);

/* ---- Events ---- */

/* Has events handed to `handler` as they come (NULL: they wait for imctl_event_next instead). */
IMCTL_API void imctl_on_event(struct imctl *c,
                              void (*handler)(struct imctl *c, const struct imctl_event *e, void *userdata),
                              void *userdata);

/* Without a handler: the next event that was read, or NULL. The caller frees it. */
IMCTL_API struct imctl_event *imctl_event_next(struct imctl *c);

/* The same, waiting for one up to timeout_ms (-1: as long as it takes). -ETIMEDOUT: none came. */
IMCTL_API int imctl_event_wait(struct imctl *c, int timeout_ms, struct imctl_event **out);

IMCTL_API struct imctl_event *imctl_event_copy(const struct imctl_event *e); /* NULL: no memory */
IMCTL_API void imctl_event_free(struct imctl_event *e);

IMCTL_API enum imctl_event_kind imctl_event_kind(const struct imctl_event *e);
IMCTL_API const char *imctl_event_name(const struct imctl_event *e); /* "MESSAGE", … */

/* Its number, which imctl_ack and imctl_selection_set_since take; of GAP: the last one that it covers. 0: it
 * has none. */
IMCTL_API uint64_t imctl_event_seq(const struct imctl_event *e);
IMCTL_API int64_t imctl_event_time(const struct imctl_event *e); /* when imd received it; of OUTBOX, when it
                                                                    came to this state; 0: not told */

/* Of MESSAGE and SENT; id and code of OUTBOX too. Strings are NULL, numbers the given value, when the event
 * has none. */
IMCTL_API int64_t imctl_event_code(const struct imctl_event *e);      /* 0 */
IMCTL_API const char *imctl_event_error(const struct imctl_event *e); /* errMsg */
IMCTL_API const char *imctl_event_id(const struct imctl_event *e);    /* messageId */
IMCTL_API const char *imctl_event_type(const struct imctl_event *e);  /* messageType as on the wire */
IMCTL_API const char *imctl_event_from(const struct imctl_event *e);
IMCTL_API const char *imctl_event_to(const struct imctl_event *e);
IMCTL_API int imctl_event_conversation(const struct imctl_event *e);   /* -1 */
IMCTL_API const char *imctl_event_signal(const struct imctl_event *e); /* signalName */
IMCTL_API const char *imctl_event_text(const struct imctl_event *e); /* content.message; JSON if no string */

/* Of STATUS: the state of the link to the server. Of OUTBOX: that of the message ("queued", "acked", …). */
IMCTL_API const char *imctl_event_state(const struct imctl_event *e);

/* Any member of params: `path` is its name, or names joined by '.' ("data.content.message"). String: decoded,
 * NULL when it is none (a NUL in it becomes U+FFFD). Value: its JSON text. Int: false when it is no integer
 * of 64 bits. */
IMCTL_API const char *imctl_event_string(const struct imctl_event *e, const char *path);
IMCTL_API const char *imctl_event_value(const struct imctl_event *e, const char *path);
IMCTL_API bool imctl_event_int(const struct imctl_event *e, const char *path, int64_t *out);

/* The line as it came, NUL-terminated, without '\n'; its length if `len` is not NULL. */
IMCTL_API const char *imctl_event_json(const struct imctl_event *e, size_t *len);

/* ---- Replies ---- */

IMCTL_API struct imctl_reply *imctl_reply_copy(const struct imctl_reply *r); /* NULL: no memory */
IMCTL_API void imctl_reply_free(struct imctl_reply *r);

IMCTL_API enum imctl_error imctl_reply_error(const struct imctl_reply *r);

/* The word, as the daemon wrote it, and a sentence; "" for success. */
IMCTL_API const char *imctl_reply_reason(const struct imctl_reply *r);
IMCTL_API const char *imctl_reply_message(const struct imctl_reply *r);

/* Of a send: messageId (of an error too, where it is known), and the server's code and errMsg. */
IMCTL_API const char *imctl_reply_id(const struct imctl_reply *r);           /* NULL */
IMCTL_API int64_t imctl_reply_code(const struct imctl_reply *r);             /* 0 */
IMCTL_API const char *imctl_reply_server_error(const struct imctl_reply *r); /* NULL */

/* Of a send that was queued: the state of the message ("queued"; when its messageId was known already, any
 * state of the outbox). NULL: it was not. */
IMCTL_API const char *imctl_reply_state(const struct imctl_reply *r);

/*
 * The events of a history, one after the other, or the entries of an outbox, as OUTBOX events (all members of
 * an entry are found as those of an event): `at` is 0 at first and is moved by each call. 0: *out is an event
 * that the caller frees, or NULL behind the last; -ENOMEM.
 */
IMCTL_API int imctl_reply_event(const struct imctl_reply *r, size_t *at, struct imctl_event **out);

/* Any member of the result, or of the error object ("data.limit"). As for events. */
IMCTL_API const char *imctl_reply_string(const struct imctl_reply *r, const char *path);
IMCTL_API const char *imctl_reply_value(const struct imctl_reply *r, const char *path);
IMCTL_API bool imctl_reply_int(const struct imctl_reply *r, const char *path, int64_t *out);

/* The result, or the error object, as it came, NUL-terminated; "{}" when the connection ended without an
 * answer. */
IMCTL_API const char *imctl_reply_json(const struct imctl_reply *r, size_t *len);

/* ---- Messages ---- */

/*
 * A message is a flat map; setting a key again replaces it. The setters return 0, -ENOMEM, -EINVAL (a value
 * that cannot be), -EILSEQ (no UTF-8), or what an earlier setter returned: a program may check once, at
 * imctl_send.
 */

/* `type` as on the wire ("TxtMsg"), or a short word ("text"), or a name of one's own. NULL: no memory. */
IMCTL_API struct imctl_message *imctl_message_new(const char *type);
IMCTL_API struct imctl_message *imctl_message_text(const char *text);   /* a text with this content */
IMCTL_API struct imctl_message *imctl_message_signal(const char *name); /* a signal of this name */

/* A message as the text of a JSON object: its keys as they are. (What is wrong with it is remembered as by
 * the setters.) */
IMCTL_API struct imctl_message *imctl_message_json(const char *json);
IMCTL_API void imctl_message_free(struct imctl_message *m);

IMCTL_API int imctl_message_set_type(struct imctl_message *m, const char *type);
IMCTL_API int imctl_message_set_to(struct imctl_message *m, const char *to);
IMCTL_API int imctl_message_set_from(struct imctl_message *m, const char *from);
IMCTL_API int imctl_message_set_id(struct imctl_message *m, const char *id);
IMCTL_API int imctl_message_set_conversation(struct imctl_message *m, int conversation);

/* Any key of the message, and any key of its `content`. `json` is the text of one value. */
IMCTL_API int imctl_message_set_string(struct imctl_message *m, const char *key, const char *value);
IMCTL_API int imctl_message_set_int(struct imctl_message *m, const char *key, int64_t value);
IMCTL_API int imctl_message_set_json(struct imctl_message *m, const char *key, const char *json);
IMCTL_API int imctl_message_set_content_string(struct imctl_message *m, const char *key, const char *value);
IMCTL_API int imctl_message_set_content_int(struct imctl_message *m, const char *key, int64_t value);
IMCTL_API int imctl_message_set_content_json(struct imctl_message *m, const char *key, const char *json);

/*
 * Sets a key of `content` to the bytes of a file: fd is a regular file or a memfd, which imd reads from its
 * start when it takes the message; nothing is copied here. fd is duplicated: the caller may close his.
 * -EINVAL: no regular file; -E2BIG: more than 16 of one message.
 */
IMCTL_API int imctl_message_attach_fd(struct imctl_message *m, const char *key, int fd);

/* How long imd waits for the server's ack before it answers IMCTL_UNKNOWN; 0: as configured there. */
IMCTL_API int imctl_message_set_timeout(struct imctl_message *m, int64_t timeout_ms);

/*
 * Has imd keep it on disk and send it until the server has answered, for at most expires_ms (0: as configured
 * there). The reply comes when it is on disk (imctl_reply_state); what becomes of it is told by OUTBOX. The
 * same messageId is not queued twice, so a program that does not know whether it came to that may send it
 * again. Not together with a timeout.
 */
IMCTL_API int imctl_message_set_queue(struct imctl_message *m, int64_t expires_ms);

/* ---- Selections ---- */

/* Which events, for imctl_subscribe or imctl_history: for each key that was matched, those with one of its
 * values. The setters return as those of messages. What the other request does not know is -EINVAL there. */
IMCTL_API struct imctl_selection *imctl_selection_new(void); /* NULL: no memory */
IMCTL_API void imctl_selection_free(struct imctl_selection *s);

/* `key`: messageType (short words too), conversationType (a word or a number), from, to or signalName.
 * -EINVAL: another key, or no conversation type. */
IMCTL_API int imctl_selection_match(struct imctl_selection *s, const char *key, const char *value);

/* Behind this number; without it, a subscription begins now, a history at its first event. */
IMCTL_API int imctl_selection_set_since(struct imctl_selection *s, uint64_t seq);

/* Of a subscription: a kind by its word; none added: MESSAGE and STATUS. -EINVAL: no such kind. */
IMCTL_API int imctl_selection_add_event(struct imctl_selection *s, const char *word);

/* Of a subscription: all that imd has; replaces imctl_selection_set_since, and the other way round. */
IMCTL_API int imctl_selection_set_earliest(struct imctl_selection *s);

/*
 * Of a subscription: a name (1 to 128 bytes) under which imd remembers what was acked (imctl_ack): it begins
 * behind that. One that imd does not know begins where the calls above say. A name is used by one connection
 * at a time: else the reply is IMCTL_CONFLICT.
 */
IMCTL_API int imctl_selection_set_consumer(struct imctl_selection *s, const char *name);

/* Of a history: before this number; of these times and between them (INT64_MIN, INT64_MAX: any); so many at
 * most (without: 100; not above 10000); the newest first. */
IMCTL_API int imctl_selection_set_before(struct imctl_selection *s, uint64_t seq);
IMCTL_API int imctl_selection_set_times(struct imctl_selection *s, int64_t since_ms, int64_t until_ms);
IMCTL_API int imctl_selection_set_limit(struct imctl_selection *s, uint64_t count);
IMCTL_API int imctl_selection_set_reverse(struct imctl_selection *s);

#ifdef __cplusplus
}
#endif

#endif
