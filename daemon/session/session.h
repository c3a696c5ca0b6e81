/*
 * The session: one link to one IM server as a state machine. Pure: it does no I/O and reads no clock. What
 * happens comes in as calls with the time; what is to be done goes out through the transport table; what
 * local programs must know goes out through the link_listener table.
 *
 *                 connect                      opened                    lost
 *   disconnected ─────────▶ connecting ─────────────────▶ connected ─────────────▶ waiting ─▶ connecting …
 *        ▲                      │ failed: waiting              │
 *        └──────────────────────┴──────────────────────────────┘ asked for: see session_disconnect
 *
 * Every send that was accepted ends in exactly one `answered`; see session_send_frame for messages of the
 * outbox. Loop thread only.
 */
#ifndef IMD_SESSION_H
#define IMD_SESSION_H

#include "link.h"
#include "storage.h"
#include "transport.h"
#include "decode.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Strings and arrays are the caller's and must live as long as the session, or until session_configure. */
struct session_options {
    const char *url;     /* as people may see it: credentials blanked */
    const char *user_id; /* NULL: none */
    uint64_t ping_gap_ms, ping_timeout_ms;
    uint64_t reconnect_min_ms, reconnect_max_ms, reconnect_stable_ms;
    uint64_t ack_timeout_ms;
    const char *const *disconnect_signals; /* NULL-terminated, or NULL */
    const uint16_t *no_reconnect_codes;
    size_t no_reconnect_count;
    size_t pending_max; /* direct sends that wait for their answer; fixed at session_new */
    size_t queued_max;  /* messages of the outbox that do; fixed at session_new */
    size_t message_max; /* of a frame to the server */
    size_t inline_binary;
    bool attachments; /* larger ones become files, where the storage can */
};

/* CLOCK_BOOTTIME for deadlines, CLOCK_REALTIME for timestamps; both in ms. */
struct session_time {
    uint64_t now_ms;
    int64_t wall_ms;
};

/* What the session asks of the transport; the same contracts as in transport.h. */
struct session_transport {
    void *self;
    void (*open)(void *self);
    uint8_t *(*reserve)(void *self, size_t n);
    void (*commit)(void *self, size_t n);
    bool (*append)(void *self, struct send_block *b, size_t len);
    bool (*congested)(void *self);
    void (*ping)(void *self);
    void (*close)(void *self, unsigned code, enum link_reason reason);
    void (*abort)(void *self, enum link_reason reason);
    uint8_t *(*take)(void *self);
    void (*pause)(void *self, bool on);
    uint64_t (*heard_ms)(void *self);
    uint64_t (*clock_us)(void *self); /* CLOCK_MONOTONIC, for round trips only */
    uint64_t (*random)(void *self);   /* 64 uniform bits */
    struct transport_counters (*counters)(void *self);
};

struct session;

int session_new(struct session **out, const struct session_options *o, const struct session_transport *t,
                const struct link_listener *l, struct session_time now);
void session_free(struct session *s); /* NULL is fine; waiting sends are not answered any more */
/* Before the first message, once; until then binaries are told inline. What it points to must live on. */
void session_set_storage(struct session *s, const struct storage *storage);

/*
 * New options from here on; a shorter PingGap or ReconnectMax counts at once; pending_max and queued_max stay
 * what they were.
 */
void session_configure(struct session *s, const struct session_options *o, struct session_time now);

/*
 * What happens. A message with binaries that are to become files waits for the storage, and nothing is read
 * meanwhile, so that order is kept; for SESSION_HELD_MS at most, then they are told inline.
 */
#define SESSION_HELD_MS 10000
void session_opened(struct session *s, struct session_time now);
void session_closed(struct session *s, const struct transport_end *end, struct session_time now);
void session_message(struct session *s, const uint8_t *bytes, size_t len, struct session_time now);
void session_text_message(struct session *s, size_t len);
void session_alive(struct session *s, struct session_time now); /* any bytes came */
void session_pong(struct session *s, struct session_time now);
void session_drained(struct session *s);
void session_network_changed(struct session *s, struct session_time now); /* also: resumed from suspend */

/* Does what is due. session_deadline: when the next call is needed; UINT64_MAX: none is. */
void session_tick(struct session *s, struct session_time now);
uint64_t session_deadline(const struct session *s);

/* What local programs ask; see struct link. */
enum error session_send(struct session *s, struct link_send *r, struct session_time now);
enum error session_compose(struct session *s, struct link_send *r, struct link_frame *out,
                           struct session_time now);
enum error session_send_composed(struct session *s, struct link_send *r, struct link_frame *f,
                                 struct session_time now);
void session_connect(struct session *s, struct session_time now);
/* Also: a signal of DisconnectSignals came, or a close code of NoReconnectCodes. */
void session_disconnect(struct session *s, enum link_reason reason, struct session_time now);
void session_reconnect(struct session *s, struct session_time now);
enum link_state session_state(const struct session *s);
enum link_reason session_reason(const struct session *s); /* why it is in this state */

/* At the start: the process before was told so, and why. */
void session_stay_disconnected(struct session *s, enum link_reason reason, struct session_time now);
uint64_t session_changes(const struct session *s); /* of the state, so far */
/* The state in words, for people. */
void session_describe(const struct session *s, char *text, size_t size, struct session_time now);
void session_write_status(const struct session *s, struct json_writer *w, bool whole,
                          struct session_time now);
void session_write_stats(const struct session *s, struct json_writer *w);
void session_pause(struct session *s, bool on, struct session_time now);
bool session_congested(const struct session *s);

/*
 * Sends a message of the outbox, whose frame was composed once. Its call is answered: acked or rejected, at
 * most once, with no deadline; LINK_UNKNOWN each time that the link is lost before that, upon which it is the
 * caller's to send it again (an answer that the server gives all the same is told). While it waits, the same
 * call may send it again. ERROR_NOT_CONNECTED; ERROR_BUSY: queued_max wait; ERROR_CONFLICT: the id waits for
 * somebody else's answer, or was answered lately.
 */
enum error session_send_frame(struct session *s, const struct outbox_message *m, struct link_call *call);
/* The call waits no more, and will not be told anything. */
void session_forget(struct session *s, const char *id, size_t id_len, const struct link_call *call);
bool session_can_send(const struct session *s);
uint64_t session_random(struct session *s); /* 64 uniform bits */

/* The stop of the daemon: no new sends; close with 1001 once nothing waits or `deadline_ms` has come. */
void session_shutdown(struct session *s, uint64_t deadline_ms, struct session_time now);
bool session_finished(const struct session *s); /* shut down, the transport is closed, no message waits */

#endif
