/*
 * See session.h. The state that programs see (disconnected, connecting, connected, waiting) is kept apart
 * from what the transport is doing: it may still be closing the last connection while we are already
 * `connecting` again.
 */
#include "session.h"

#include "backoff.h"
#include "cleanup.h"
#include "encode.h"
#include "held.h"
#include "log.h"
#include "pending.h"
#include "scan.h"
#include "send_queue.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLOSE_NORMAL 1000
#define CLOSE_GOING_AWAY 1001
#define UUID_LENGTH 36
#define SURVEY_HINT 65536  /* for a frame of which most may be binaries that are not told inline */
#define PINGS_REMEMBERED 8 /* echoes of pings older than this are taken for somebody else's */

/* X(member, name in `stats`) */
#define SESSION_COUNTERS(X)                                                          \
    X(frames_in, "framesIn")                                                         \
    X(frames_out, "framesOut")                                                       \
    X(messages, "messages")                                                          \
    X(acks, "acks")                                                                  \
    X(rejections, "rejections")                                                      \
    X(unknowns, "unknowns")                                                          \
    X(late_acks, "lateAcks")                                                         \
    X(duplicate_acks, "duplicateAcks")                                               \
    X(foreign_pings, "foreignPings")                                                 \
    X(bad_frames, "badFrames")                                                       \
    X(text_frames, "textFrames")                                                     \
    X(untellable, "untellable") /* valid, but too large as JSON; announced as GAP */ \
    X(attempts, "attempts")                                                          \
    X(connects, "connects")                                                          \
    X(reconnects, "reconnects")                                                      \
    X(pings_sent, "pingsSent")                                                       \
    X(pongs_received, "pongsReceived")

struct counters {
#define COUNTER_MEMBER(member, name) uint64_t member;
    SESSION_COUNTERS(COUNTER_MEMBER)
#undef COUNTER_MEMBER
    uint64_t ack_us_sum, ack_us_max;
};

struct last_error {
    enum link_reason reason; /* LINK_REASON_NONE: there was none */
    char detail[sizeof((struct transport_end *)0)->detail];
    int64_t wall_ms;
};

struct heartbeat {
    uint64_t next_ms;       /* the next ping */
    uint64_t inbound_ms;    /* the last byte that came */
    uint64_t unanswered_ms; /* the first ping since then; 0: none */
    uint64_t sent_us;       /* the last ping, until it is answered; 0: answered */
    uint64_t rtt_us;
    bool rtt_known;
    unsigned newest;
    char ids[PINGS_REMEMBERED][UUID_LENGTH + 1];
    uint64_t sent_ms[PINGS_REMEMBERED];
};

struct session {
    struct session_options options;
    struct session_transport transport;
    const struct link_listener *listener;
    const struct storage *storage; /* NULL: none yet */

    enum link_state state;
    enum link_reason reason;
    int64_t since_wall_ms;
    uint64_t changes; /* of the state */
    uint64_t connected_ms, attempted_ms, retry_ms;
    bool transport_busy;     /* between open and closed */
    bool transport_open;     /* frames may be written */
    bool open_when_idle;     /* as soon as the transport has closed what it still holds */
    bool paused, hub_pauses; /* paused: by the hub, or by a message that waits */
    bool shutting_down, closing_down;
    uint64_t shutdown_ms;
    struct held *held;  /* the message of which the store has the binaries; NULL: none */
    struct held *spare; /* for the next one: a message without large binaries costs no malloc */
    uint64_t held_until_ms;

    struct backoff backoff;
    struct heartbeat heartbeat;
    struct last_error last_error;
    struct pending pending;
    struct scan ping; /* the ping's own fields, scanned once */
    struct counters counters;
};

static const char PING_FIELDS[] = "{\"" KEY_MESSAGE_TYPE "\":\"PingMsg\"}";

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void backoff_configure(struct session *s)
{
    s->backoff.min_ms = s->options.reconnect_min_ms;
    s->backoff.max_ms = s->options.reconnect_max_ms;
}

int session_new(struct session **out, const struct session_options *o, const struct session_transport *t,
                const struct link_listener *l, struct session_time now)
{
    struct session *s = calloc(1, sizeof *s);

    if (!s)
        return -ENOMEM;
    s->options = *o;
    s->transport = *t;
    s->listener = l;
    s->state = LINK_DISCONNECTED;
    s->since_wall_ms = now.wall_ms;
    backoff_configure(s);
    scan_init(&s->ping);
    if (scan_text(&s->ping, PING_FIELDS, sizeof PING_FIELDS - 1, SCAN_DEPTH_MAX) != SCAN_OK ||
        pending_init(&s->pending, o->pending_max, o->queued_max, (uint32_t)t->random(t->self)) < 0) {
        session_free(s);
        return -ENOMEM;
    }
    *out = s;
    return 0;
}

void session_free(struct session *s)
{
    if (!s)
        return;
    held_abandon(s->held);
    held_free(s->spare);
    pending_deinit(&s->pending);
    scan_deinit(&s->ping);
    free(s);
}

void session_set_storage(struct session *s, const struct storage *storage)
{
    s->storage = storage;
}

void session_configure(struct session *s, const struct session_options *o, struct session_time now)
{
    s->options = *o;
    backoff_configure(s);
    s->heartbeat.next_ms = earlier(s->heartbeat.next_ms, now.now_ms + o->ping_gap_ms);
    s->retry_ms = earlier(s->retry_ms, now.now_ms + o->reconnect_max_ms);
}

/* ---- States ---- */

static void set_state(struct session *s, enum link_state state, enum link_reason reason,
                      struct session_time now)
{
    s->state = state;
    s->reason = reason;
    s->since_wall_ms = now.wall_ms;
    s->changes++;
    s->listener->status_changed(s->listener->self);
}

static void start_open(struct session *s, struct session_time now)
{
    s->transport_busy = true;
    s->open_when_idle = false;
    s->attempted_ms = now.now_ms;
    s->counters.attempts++;
    s->transport.open(s->transport.self);
}

/* To `connecting`: at once, or when the transport has let go of the last connection. */
static void begin_connecting(struct session *s, enum link_reason reason, struct session_time now)
{
    if (s->transport_busy)
        s->open_when_idle = true;
    else
        start_open(s, now);
    set_state(s, LINK_CONNECTING, reason, now);
}

static void answer_unknown(struct session *s, struct pending_entry *e, const char *why)
{
    struct link_call *call = e->call;
    struct link_answer a = {
        .outcome = LINK_UNKNOWN, .message_id = e->id, .message_id_len = e->id_len, .why = why};

    pending_finish(&s->pending, e, PENDING_UNKNOWN);
    call->answered(call, &a);
}

/* The end of a direct send. */
static void end_unknown(struct session *s, struct pending_entry *e, const char *why)
{
    s->counters.unknowns++;
    answer_unknown(s, e, why);
}

static void answer_all_unknown(struct session *s, const char *why)
{
    struct pending_entry *e;

    while ((e = pending_first(&s->pending)))
        end_unknown(s, e, why);
    while ((e = pending_first_queued(&s->pending)))
        answer_unknown(s, e, why); /* not its end: the outbox sends it again */
}

static bool is_no_reconnect_code(const struct session *s, unsigned code)
{
    for (size_t i = 0; i < s->options.no_reconnect_count; i++)
        if (s->options.no_reconnect_codes[i] == code)
            return true;
    return false;
}

static void remember_error(struct session *s, const struct transport_end *end, struct session_time now)
{
    s->last_error.reason = end->reason;
    s->last_error.wall_ms = now.wall_ms;
    snprintf(s->last_error.detail, sizeof s->last_error.detail, "%s", end->detail);
}

/* As the link is now. */
static struct log_event link_event(const struct session *s, int level)
{
    return (struct log_event){.level = level,
                              .id = LOG_LINK_CHANGED,
                              .state = link_state_word(s->state),
                              .reason = s->reason ? link_reason_word(s->reason) : NULL};
}

static void log_end(const struct session *s, const struct transport_end *end)
{
    const char *what = end->was_open ? "connection lost" : "cannot connect";
    struct log_event e = link_event(s, LOG_WARNING);

    log_event_limited(&e, "%s to %s: %s%s%s%s", what, s->options.url, link_reason_word(end->reason),
                      end->detail[0] ? " (" : "", end->detail, end->detail[0] ? ")" : "");
}

static void log_connected(const struct session *s)
{
    struct log_event e = link_event(s, LOG_NOTICE);

    log_event_limited(&e, "connected to %s", s->options.url);
}

static void log_disconnected(const struct session *s)
{
    struct log_event e = link_event(s, LOG_NOTICE);

    log_event_limited(&e, "disconnected from %s: %s", s->options.url, link_reason_word(s->reason));
}

/* Only somebody's action can mend a refused credential: no hurry, but no end either. */
static void schedule_retry(struct session *s, const struct transport_end *end, struct session_time now)
{
    uint64_t random = s->transport.random(s->transport.self);
    bool slow = end->reason == LINK_REASON_UNAUTHORIZED;

    s->retry_ms =
        now.now_ms + (slow ? backoff_at_cap(&s->backoff, random) : backoff_next(&s->backoff, random));
    set_state(s, LINK_WAITING, end->reason, now);
}

static void lost(struct session *s, const struct transport_end *end, struct session_time now)
{
    remember_error(s, end, now);
    if (end->was_open && now.now_ms - s->connected_ms >= s->options.reconnect_stable_ms)
        backoff_reset(&s->backoff);
    if (end->was_open && end->close_code && is_no_reconnect_code(s, end->close_code))
        set_state(s, LINK_DISCONNECTED, LINK_REASON_CLOSE_CODE, now);
    else
        schedule_retry(s, end, now);
    log_end(s, end);
}

static void tell_held_answer(struct session *s, struct session_time now);

void session_closed(struct session *s, const struct transport_end *end, struct session_time now)
{
    s->transport_busy = s->transport_open = false;
    tell_held_answer(s, now);
    answer_all_unknown(s, "the connection was lost before the server answered");
    if (s->shutting_down || s->state == LINK_DISCONNECTED)
        return;
    if (s->open_when_idle)
        start_open(s, now);
    else
        lost(s, end, now);
}

void session_opened(struct session *s, struct session_time now)
{
    s->transport_open = true;
    s->connected_ms = now.now_ms;
    s->heartbeat.next_ms = now.now_ms + s->options.ping_gap_ms;
    s->heartbeat.inbound_ms = now.now_ms;
    s->heartbeat.unanswered_ms = s->heartbeat.sent_us = 0;
    s->heartbeat.rtt_known = false;
    if (s->counters.connects++)
        s->counters.reconnects++;
    set_state(s, LINK_CONNECTED, LINK_REASON_NONE, now);
    log_connected(s);
}

/* ---- What local programs ask of the link ---- */

void session_connect(struct session *s, struct session_time now)
{
    if (s->shutting_down || s->state == LINK_CONNECTED || s->state == LINK_CONNECTING)
        return;
    backoff_reset(&s->backoff);
    begin_connecting(s, s->reason ? LINK_REASON_REQUESTED : LINK_REASON_NONE, now); /* none: the start */
}

/* Gives up what the transport holds; the callers wait for no answer of it any more. */
static void release_transport(struct session *s, enum link_reason reason, struct session_time now)
{
    tell_held_answer(s, now);
    s->transport_open = false;
    answer_all_unknown(s, "the connection was closed before the server answered");
    if (s->transport_busy)
        s->transport.close(s->transport.self, CLOSE_NORMAL, reason);
}

void session_disconnect(struct session *s, enum link_reason reason, struct session_time now)
{
    s->open_when_idle = false;
    if (s->shutting_down || s->state == LINK_DISCONNECTED)
        return;
    release_transport(s, reason, now);
    set_state(s, LINK_DISCONNECTED, reason, now);
    log_disconnected(s);
}

void session_reconnect(struct session *s, struct session_time now)
{
    if (s->shutting_down)
        return;
    backoff_reset(&s->backoff);
    release_transport(s, LINK_REASON_REQUESTED, now);
    begin_connecting(s, LINK_REASON_REQUESTED, now);
}

enum link_reason session_reason(const struct session *s)
{
    return s->reason;
}

void session_stay_disconnected(struct session *s, enum link_reason reason, struct session_time now)
{
    set_state(s, LINK_DISCONNECTED, reason, now);
}

enum link_state session_state(const struct session *s)
{
    return s->state;
}

bool session_congested(const struct session *s)
{
    return s->transport_open && s->transport.congested(s->transport.self);
}

/* A message that came and is not told yet. */
static bool is_holding(const struct session *s)
{
    return s->held && !s->held->told;
}

static void update_pause(struct session *s, struct session_time now)
{
    bool on = s->hub_pauses || is_holding(s);

    if (s->paused == on)
        return;
    s->paused = on;
    s->heartbeat.inbound_ms = now.now_ms; /* time in which we did not read is no silence of the server's */
    s->heartbeat.unanswered_ms = 0;
    s->transport.pause(s->transport.self, on);
}

void session_pause(struct session *s, bool on, struct session_time now)
{
    s->hub_pauses = on;
    update_pause(s, now);
}

void session_drained(struct session *s)
{
    s->listener->relieved(s->listener->self);
}

/* Somebody plugged a cable in: try at once, but not more often than the shortest wait. Connected: is it still
 * true? */
void session_network_changed(struct session *s, struct session_time now)
{
    uint64_t soonest = s->attempted_ms + s->options.reconnect_min_ms;

    if (soonest < now.now_ms)
        soonest = now.now_ms;
    if (s->state == LINK_WAITING && soonest < s->retry_ms)
        s->retry_ms = soonest;
    if (s->transport_open)
        s->heartbeat.next_ms = now.now_ms;
}

/* ---- Frames to the server ---- */

static void uuid_make(struct session *s, char out[UUID_LENGTH + 1])
{
    uint64_t a = s->transport.random(s->transport.self), b = s->transport.random(s->transport.self);
    static const char digits[] = "0123456789abcdef";
    char *at = out;

    a = (a & 0xffffffffffff0fffull) | 0x0000000000004000ull; /* version 4 */
    b = (b & 0x3fffffffffffffffull) | 0x8000000000000000ull; /* variant */
    for (unsigned i = 0; i < 32; i++) {
        if (i == 8 || i == 12 || i == 16 || i == 20)
            *at++ = '-';
        *at++ = digits[((i < 16 ? a : b) >> (60 - 4 * (i % 16))) & 15];
    }
    *at = '\0';
}

/* A message on its way to becoming a frame. */
struct draft {
    const struct scan *line;
    uint32_t message;
    struct encode_files *files;
    char id[UUID_LENGTH + 1];    /* which it gets if it has none */
    struct encode_message known; /* once encoded: the id that it has */
    struct encode_error error;
    size_t size; /* of the frame */
};

static struct encode_defaults defaults_of(const struct session *s, const struct draft *d,
                                          struct session_time now)
{
    return (struct encode_defaults){
        .message_id = d->id, .from = s->options.user_id, .sent_time_ms = now.wall_ms, .files = d->files};
}

static size_t draft_bound(const struct session *s, const struct draft *d, struct session_time now)
{
    struct encode_defaults defaults = defaults_of(s, d, now);

    return encode_message_bound(d->line, d->message, &defaults);
}

static enum error draft_encode(const struct session *s, struct draft *d, uint8_t *room, size_t bound,
                               struct session_time now)
{
    struct encode_defaults defaults = defaults_of(s, d, now);
    struct encode_buffer b = {.at = room, .end = room + bound};

    if (encode_message(d->line, d->message, &defaults, &b, &d->known, &d->error) < 0)
        return d->error.error;
    d->size = (size_t)(b.at - room);
    return ERROR_NONE;
}

/* Encodes straight into the send queue. Without error, it is to be committed or taken back by the caller. */
static enum error draft_place(struct session *s, struct draft *d, struct session_time now)
{
    size_t bound = draft_bound(s, d, now);
    uint8_t *room = s->transport.reserve(s->transport.self, bound);
    enum error error;

    if (!room) { /* it is being closed, or there is no memory */
        snprintf(d->error.detail, sizeof d->error.detail, "%s", error_sentence(ERROR_NOT_CONNECTED));
        return ERROR_NOT_CONNECTED;
    }
    error = draft_encode(s, d, room, bound, now);
    if (error)
        s->transport.commit(s->transport.self, 0);
    return error;
}

static enum error refuse(struct link_send *r, enum error e, const char *limit, const char *detail)
{
    r->limit = limit;
    snprintf(r->detail, sizeof r->detail, "%s", detail);
    return e;
}

static enum error refuse_size(struct link_send *r)
{
    return refuse(r, ERROR_TOO_LARGE, NULL, "the message is larger than MaxMessage");
}

static void note_id(struct link_call *call, const char *id, size_t len)
{
    memcpy(call->message_id, id, len);
    call->message_id_len = len;
}

static enum error add_pending(struct session *s, struct link_send *r, const char *id, size_t id_len,
                              struct session_time now)
{
    uint64_t timeout_ms = r->timeout_ms ? r->timeout_ms : s->options.ack_timeout_ms;
    uint64_t now_us = s->transport.clock_us(s->transport.self);

    switch (pending_add(&s->pending, id, id_len, r->call, now.now_ms + timeout_ms, now_us)) {
    case PENDING_ADDED:
        note_id(r->call, id, id_len);
        return ERROR_NONE;
    case PENDING_FULL:
        return refuse(r, ERROR_BUSY, "MaxPending", "too many messages wait for the server's answer");
    case PENDING_KNOWN:
        break;
    }
    return refuse(r, ERROR_CONFLICT, NULL,
                  "this messageId is waiting for its answer, or was answered lately");
}

/* Whether anything can be sent now. */
static enum error check_open(struct session *s, struct link_send *r)
{
    if (s->shutting_down)
        return refuse(r, ERROR_NOT_CONNECTED, NULL, "imd is being stopped; nothing was sent");
    if (!s->transport_open)
        return refuse(r, ERROR_NOT_CONNECTED, NULL, error_sentence(ERROR_NOT_CONNECTED));
    if (s->pending.waiting_count >= s->pending.waiting_max)
        return refuse(r, ERROR_BUSY, "MaxPending", "too many messages wait for the server's answer");
    return ERROR_NONE;
}

enum error session_send(struct session *s, struct link_send *r, struct session_time now)
{
    struct draft d;
    enum error error = check_open(s, r);

    if (error)
        return error;
    d.line = r->line;
    d.message = r->message;
    d.files = NULL;
    uuid_make(s, d.id);
    error = draft_place(s, &d, now);
    if (error)
        return refuse(r, error, NULL, d.error.detail);
    error = d.size > s->options.message_max
                ? refuse_size(r)
                : add_pending(s, r, d.known.message_id, d.known.message_id_len, now);
    s->transport.commit(s->transport.self, error ? 0 : d.size);
    s->counters.frames_out += !error;
    return error;
}

enum error session_compose(struct session *s, struct link_send *r, struct link_frame *out,
                           struct session_time now)
{
    struct draft d = {.line = r->line, .message = r->message, .files = r->files};
    size_t bound = draft_bound(s, &d, now);
    uint8_t *room;
    _cleanup_(freep) struct send_block *block = send_block_new(bound, &room);
    enum error error;

    if (!block)
        return refuse(r, ERROR_BUSY, "memory", "no memory for the message");
    uuid_make(s, d.id);
    error = draft_encode(s, &d, room, bound, now);
    if (error)
        return refuse(r, error, NULL, d.error.detail);
    if (d.size > s->options.message_max)
        return refuse_size(r);
    *out = (struct link_frame){
        .block = block, .bytes = room, .len = d.size, .message_id_len = d.known.message_id_len};
    memcpy(out->message_id, d.known.message_id, d.known.message_id_len);
    block = NULL;
    return ERROR_NONE;
}

enum error session_send_composed(struct session *s, struct link_send *r, struct link_frame *f,
                                 struct session_time now)
{
    enum error error = check_open(s, r);
    struct pending_entry *e;

    if (!error)
        error = add_pending(s, r, f->message_id, f->message_id_len, now);
    if (error)
        return error;
    if (!s->transport.append(s->transport.self, f->block, f->len)) {
        e = pending_find(&s->pending, f->message_id, f->message_id_len);
        pending_abandon(&s->pending, e);
        return refuse(r, ERROR_NOT_CONNECTED, NULL, error_sentence(ERROR_NOT_CONNECTED));
    }
    f->block = NULL;
    s->counters.frames_out++;
    return ERROR_NONE;
}

/* ---- Messages of the outbox ---- */

bool session_can_send(const struct session *s)
{
    return s->transport_open && !s->shutting_down;
}

uint64_t session_random(struct session *s)
{
    return s->transport.random(s->transport.self);
}

static enum error add_queued(struct session *s, const struct outbox_message *m, struct link_call *call)
{
    const struct outbox_entry *o = &m->entry;
    struct pending_entry *e = pending_find(&s->pending, o->id, o->id_len);
    uint64_t now_us = s->transport.clock_us(s->transport.self);

    if (e && e->state == PENDING_WAITING && e->call == call) {
        e->sent_us = now_us;
        return ERROR_NONE;
    }
    switch (pending_add(&s->pending, o->id, o->id_len, call, PENDING_NO_DEADLINE, now_us)) {
    case PENDING_ADDED:
        return ERROR_NONE;
    case PENDING_FULL:
        return ERROR_BUSY;
    case PENDING_KNOWN:
        break;
    }
    return ERROR_CONFLICT;
}

enum error session_send_frame(struct session *s, const struct outbox_message *m, struct link_call *call)
{
    enum error error;
    uint8_t *room;

    if (!session_can_send(s))
        return ERROR_NOT_CONNECTED;
    room = s->transport.reserve(s->transport.self, m->frame_len);
    if (!room)
        return ERROR_NOT_CONNECTED;
    error = add_queued(s, m, call);
    if (!error)
        memcpy(room, m->frame, m->frame_len);
    s->transport.commit(s->transport.self, error ? 0 : m->frame_len);
    s->counters.frames_out += !error;
    return error;
}

void session_forget(struct session *s, const char *id, size_t id_len, const struct link_call *call)
{
    struct pending_entry *e = pending_find(&s->pending, id, id_len);

    if (e && e->call == call)
        pending_abandon(&s->pending, e);
}

/* ---- Heartbeat ---- */

static void send_ping(struct session *s, struct session_time now)
{
    struct heartbeat *h = &s->heartbeat;
    struct draft d = {.line = &s->ping};

    h->newest = (h->newest + 1) % PINGS_REMEMBERED;
    uuid_make(s, d.id);
    memcpy(h->ids[h->newest], d.id, sizeof d.id);
    if (draft_place(s, &d, now) == ERROR_NONE) {
        s->transport.commit(s->transport.self, d.size);
        s->counters.frames_out++;
    }
    s->transport.ping(s->transport.self);
    s->counters.pings_sent++;
    h->sent_us = s->transport.clock_us(s->transport.self);
    h->sent_ms[h->newest] = now.now_ms;
    if (!h->unanswered_ms)
        h->unanswered_ms = now.now_ms;
}

/*
 * When the link counts as dead: PingTimeout after the last byte, but a ping must have had its chance to be
 * answered. UINT64_MAX: no ping is unanswered.
 */
static uint64_t dead_ms(const struct session *s)
{
    const struct heartbeat *h = &s->heartbeat;
    uint64_t timeout = s->options.ping_timeout_ms, gap = s->options.ping_gap_ms;
    uint64_t silence = h->inbound_ms + timeout;
    uint64_t chance = h->unanswered_ms + (gap < timeout ? gap : timeout);

    if (!h->unanswered_ms || s->paused)
        return UINT64_MAX;
    return silence > chance ? silence : chance;
}

static void take_pong(struct session *s)
{
    struct heartbeat *h = &s->heartbeat;

    if (!h->sent_us)
        return;
    h->rtt_us = s->transport.clock_us(s->transport.self) - h->sent_us;
    h->rtt_known = true;
    h->sent_us = 0;
    s->counters.pongs_received++;
}

/* 0: none. */
static uint64_t first_ping_after(const struct heartbeat *h, uint64_t ms)
{
    uint64_t first = 0;

    for (unsigned i = 0; i < PINGS_REMEMBERED; i++)
        if (h->sent_ms[i] > ms && (!first || h->sent_ms[i] < first))
            first = h->sent_ms[i];
    return first;
}

/* Before the link is cut for silence, the kernel is asked for bytes that nobody was told of. */
static void look_for_bytes(struct session *s)
{
    struct heartbeat *h = &s->heartbeat;
    uint64_t heard_ms = s->transport.heard_ms(s->transport.self);

    if (heard_ms <= h->inbound_ms)
        return;
    h->inbound_ms = heard_ms;
    if (heard_ms >= h->unanswered_ms)
        h->unanswered_ms = first_ping_after(h, heard_ms);
}

void session_alive(struct session *s, struct session_time now)
{
    s->heartbeat.inbound_ms = now.now_ms;
    s->heartbeat.unanswered_ms = 0;
}

void session_pong(struct session *s, struct session_time now)
{
    session_alive(s, now);
    take_pong(s);
}

static bool equals(const struct decode_string *a, const char *text, size_t len)
{
    return a->bytes && a->len == len && memcmp(a->bytes, text, len) == 0;
}

/* An echo of a ping of ours; only the newest one measures the round trip. */
static bool take_ping_echo(struct session *s, const struct decode_frame *f)
{
    for (unsigned i = 0; i < PINGS_REMEMBERED; i++) {
        if (!s->heartbeat.ids[i][0] || !equals(&f->message_id, s->heartbeat.ids[i], UUID_LENGTH))
            continue;
        if (i == s->heartbeat.newest)
            take_pong(s);
        return true;
    }
    return false;
}

/* ---- Frames of the server ---- */

static struct place place_of(const struct decode_string *d)
{
    return d->bytes ? (struct place){d->json_at, d->json_len} : (struct place){0, 0};
}

static struct event_fields fields_of(const struct decode_frame *f)
{
    bool fits = f->has_conversation && f->conversation > INT32_MIN && f->conversation <= INT32_MAX;

    return (struct event_fields){
        .type = place_of(&f->type),
        .from = place_of(&f->from),
        .to = place_of(&f->to),
        .signal = place_of(&f->signal),
        .conversation = fits ? (int32_t)f->conversation : CONVERSATION_NONE,
    };
}

static void publish(struct session *s, enum event_kind kind, const struct decode_frame *f)
{
    struct event_fields fields = fields_of(f);

    s->listener->publish(s->listener->self, kind, &fields);
}

static void measure_ack(struct session *s, const struct pending_entry *e)
{
    uint64_t us = s->transport.clock_us(s->transport.self) - e->sent_us;

    s->counters.ack_us_sum += us;
    if (us > s->counters.ack_us_max)
        s->counters.ack_us_max = us;
}

/* The answer to a send of ours: its caller is told first, then everybody who asked for SENT. */
static void take_answer(struct session *s, struct pending_entry *e, const struct decode_frame *f,
                        const struct json_writer *w)
{
    bool rejected = f->has_code && f->code != 0;
    struct link_call *call = e->call;
    struct link_answer a = {.outcome = rejected ? LINK_REJECTED : LINK_ACKED,
                            .code = f->has_code ? f->code : 0,
                            .message_id = e->id,
                            .message_id_len = e->id_len,
                            .envelope = w->base,
                            .envelope_len = json_writer_length(w)};
    bool waiting = e->state == PENDING_WAITING;

    if (e->state == PENDING_ANSWERED) {
        s->counters.duplicate_acks++;
        s->listener->abandon(s->listener->self);
        return;
    }
    s->counters.late_acks += !waiting;
    s->counters.acks += waiting && !rejected;
    s->counters.rejections += waiting && rejected;
    measure_ack(s, e);
    pending_finish(&s->pending, e, PENDING_ANSWERED);
    if (call)
        call->answered(call, &a);
    publish(s, EVENT_SENT, f);
}

static bool is_disconnect_signal(const struct session *s, const struct decode_frame *f)
{
    const char *signal = message_type_wire(MESSAGE_TYPE_SIGNAL);

    if (!f->signal.bytes || !s->options.disconnect_signals || !equals(&f->type, signal, strlen(signal)))
        return false;
    for (const char *const *name = s->options.disconnect_signals; *name; name++)
        if (equals(&f->signal, *name, strlen(*name)))
            return true;
    return false;
}

static void take_frame(struct session *s, const struct decode_frame *f, const struct json_writer *w,
                       struct session_time now)
{
    const char *ping = message_type_wire(MESSAGE_TYPE_PING);
    struct pending_entry *e;

    if (f->message_id.bytes && take_ping_echo(s, f)) {
        s->listener->abandon(s->listener->self);
    } else if (f->message_id.bytes && f->message_id.len <= MESSAGE_ID_MAX &&
               (e = pending_find(&s->pending, f->message_id.bytes, f->message_id.len))) {
        take_answer(s, e, f, w);
    } else if (equals(&f->type, ping, strlen(ping))) {
        s->counters.foreign_pings++;
        s->listener->abandon(s->listener->self);
    } else {
        s->counters.messages++;
        publish(s, EVENT_MESSAGE, f);
        if (is_disconnect_signal(s, f))
            session_disconnect(s, LINK_REASON_SERVER_SIGNAL, now);
    }
}

static void drop_frame(struct session *s, size_t len, enum decode_result r)
{
    s->listener->abandon(s->listener->self);
    if (r == DECODE_NO_ROOM) {
        s->counters.untellable++;
        s->listener->lost(s->listener->self, GAP_TOO_LARGE);
    } else {
        s->counters.bad_frames++;
    }
    log_limited(LOG_WARNING, "frame of %zu bytes from the server dropped: %s", len, decode_result_text(r));
}

/* The frame as JSON in the listener's writer; NULL: it was dropped. hint: how much JSON it may be. */
static struct json_writer *decode(struct session *s, const struct decode_options *o, const uint8_t *bytes,
                                  size_t len, size_t hint, struct decode_frame *f)
{
    struct json_writer *w = s->listener->begin(s->listener->self, hint);
    enum decode_result r;

    if (!w) {
        s->counters.untellable++;
        s->listener->lost(s->listener->self, GAP_MEMORY);
        return NULL;
    }
    r = decode_frame(o, bytes, len, w, f);
    if (r == DECODE_OK)
        return w;
    drop_frame(s, len, r);
    return NULL;
}

/* All that is binary within the line. */
static void tell_inline(struct session *s, const uint8_t *bytes, size_t len, struct session_time now)
{
    struct decode_frame f;
    struct json_writer *w = decode(s, NULL, bytes, len, len, &f);

    if (w)
        take_frame(s, &f, w, now);
}

/* ---- Messages with large binaries ---- */

static void complain_unstored(const char *why)
{
    log_limited(LOG_WARNING, "a binary of a message goes within the line, since it cannot be in a file: %s",
                why);
}

static void tell_stored(struct session *s, struct held *h, struct session_time now)
{
    struct decode_options o = held_resolve(h);
    struct decode_frame f;
    struct json_writer *w = decode(s, &o, h->bytes, h->len, held_rest(h), &f);

    if (h->attach.request.error)
        complain_unstored(h->attach.detail);
    if (w)
        take_frame(s, &f, w, now);
}

/* The store has the bytes from now on. false: it does not take them. */
static bool post_held(struct session *s, struct held *h, struct session_time now)
{
    uint8_t *bytes = s->transport.take(s->transport.self);

    if (!bytes || !held_post(h, bytes, s->storage))
        return false;
    s->held = h;
    s->held_until_ms = now.now_ms + SESSION_HELD_MS;
    if (s->shutting_down)
        s->held_until_ms = earlier(s->held_until_ms, s->shutdown_ms);
    update_pause(s, now);
    return true;
}

static void hold(struct session *s, struct held *h, const uint8_t *bytes, size_t len, struct session_time now)
{
    s->listener->abandon(s->listener->self);
    if (post_held(s, h, now))
        return;
    complain_unstored(h->bytes ? "the store has too much to do" : "no memory");
    tell_inline(s, bytes, len, now); /* still there, whoever has them */
    held_free(h);
}

static bool answers_waiting(const struct session *s, const struct decode_frame *f)
{
    const struct decode_string *id = &f->message_id;
    const struct pending_entry *e =
        id->bytes && id->len <= MESSAGE_ID_MAX ? pending_find(&s->pending, id->bytes, id->len) : NULL;

    return e && e->state == PENDING_WAITING;
}

/* A first look at a frame that may have large binaries: they are left out. Without any, that was all. */
static void survey(struct session *s, struct held *h, const uint8_t *bytes, size_t len,
                   struct session_time now)
{
    struct decode_options o = held_survey(h, bytes, len);
    struct decode_frame f;
    struct json_writer *w = decode(s, &o, bytes, len, SURVEY_HINT, &f);

    if (w && h->attach.count) {
        h->is_answer = answers_waiting(s, &f);
        hold(s, h, bytes, len, now);
        return;
    }
    s->spare = h;
    if (w)
        take_frame(s, &f, w, now);
}

static bool may_attach(const struct session *s, size_t len)
{
    return s->options.attachments && s->storage && len > s->options.inline_binary && !s->held;
}

void session_message(struct session *s, const uint8_t *bytes, size_t len, struct session_time now)
{
    struct held *h = may_attach(s, len) ? held_begin(s->spare, s->options.inline_binary) : NULL;

    s->counters.frames_in++;
    if (!h) {
        tell_inline(s, bytes, len, now);
        return;
    }
    s->spare = NULL;
    survey(s, h, bytes, len, now);
}

static void tell_held(struct session *s, struct session_time now)
{
    struct held *h = s->held;

    h->told = true; /* first: what it says may close the link, which tells what is held */
    if (h->answered) {
        tell_stored(s, h, now);
    } else {
        complain_unstored("it was not written in time");
        tell_inline(s, h->bytes, h->len, now);
    }
    update_pause(s, now);
}

/* It came before the end of its link: so its send did not end as unknown. */
static void tell_held_answer(struct session *s, struct session_time now)
{
    if (is_holding(s) && s->held->is_answer)
        tell_held(s, now);
}

static void tick_held(struct session *s, struct session_time now)
{
    struct held *h = s->held;

    if (!h->told && (h->answered || s->held_until_ms <= now.now_ms))
        tell_held(s, now);
    if (h->answered) {
        s->held = NULL;
        held_free(h);
    }
    update_pause(s, now);
}

static uint64_t held_deadline(const struct session *s)
{
    if (s->held->answered)
        return 0;
    return s->held->told ? UINT64_MAX : s->held_until_ms;
}

void session_text_message(struct session *s, size_t len)
{
    s->counters.frames_in++;
    s->counters.text_frames++;
    log_limited(LOG_WARNING, "text frame of %zu bytes from the server dropped: MessagePack frames are binary",
                len);
}

/* ---- Time ---- */

static void expire_pending(struct session *s, struct session_time now)
{
    struct pending_entry *e;

    while ((e = pending_first(&s->pending)) && e->deadline_ms <= now.now_ms)
        end_unknown(s, e, "the server did not answer in time");
}

static void tick_connected(struct session *s, struct session_time now)
{
    if (dead_ms(s) <= now.now_ms)
        look_for_bytes(s);
    if (dead_ms(s) <= now.now_ms) {
        s->transport_open = false;
        s->transport.abort(s->transport.self, LINK_REASON_HEARTBEAT);
        return;
    }
    if (s->heartbeat.next_ms <= now.now_ms) {
        send_ping(s, now);
        s->heartbeat.next_ms = now.now_ms + s->options.ping_gap_ms;
    }
}

static bool waits(const struct session *s)
{
    return s->pending.waiting_count || s->pending.queued_count || is_holding(s);
}

static void tick_shutdown(struct session *s, struct session_time now)
{
    if (s->closing_down || (waits(s) && now.now_ms < s->shutdown_ms))
        return;
    s->closing_down = true;
    s->transport_open = false;
    answer_all_unknown(s, "imd was stopped before the server answered");
    if (s->transport_busy)
        s->transport.close(s->transport.self, CLOSE_GOING_AWAY, LINK_REASON_SHUTDOWN);
}

void session_tick(struct session *s, struct session_time now)
{
    if (s->held)
        tick_held(s, now);
    if (!is_holding(s)) /* what is held may be the answer */
        expire_pending(s, now);
    if (s->transport_open)
        tick_connected(s, now);
    if (s->state == LINK_WAITING && s->retry_ms <= now.now_ms && !s->shutting_down)
        begin_connecting(s, s->reason, now);
    if (s->shutting_down)
        tick_shutdown(s, now);
}

uint64_t session_deadline(const struct session *s)
{
    const struct pending_entry *e = is_holding(s) ? NULL : pending_first(&s->pending);
    uint64_t at = e ? e->deadline_ms : UINT64_MAX;

    if (s->held)
        at = earlier(at, held_deadline(s));
    if (s->transport_open)
        at = earlier(at, earlier(s->heartbeat.next_ms, dead_ms(s)));
    if (s->state == LINK_WAITING && !s->shutting_down)
        at = earlier(at, s->retry_ms);
    if (s->shutting_down && !s->closing_down)
        at = waits(s) ? earlier(at, s->shutdown_ms) : 0;
    return at;
}

void session_shutdown(struct session *s, uint64_t deadline_ms, struct session_time now)
{
    s->shutting_down = true;
    s->open_when_idle = false;
    s->shutdown_ms = deadline_ms;
    s->held_until_ms = earlier(s->held_until_ms, deadline_ms);
    tick_shutdown(s, now);
}

bool session_finished(const struct session *s)
{
    return s->closing_down && !s->transport_busy && !is_holding(s);
}

/* ---- What it says of itself ---- */

static void write_last_error(const struct last_error *e, struct json_writer *w)
{
    json_next_key(w, "lastError");
    json_literal(w, "{\"reason\":");
    json_cstring(w, link_reason_word(e->reason));
    json_next_key(w, "detail");
    json_cstring(w, e->detail);
    json_next_key(w, "time");
    json_int(w, e->wall_ms);
    json_literal(w, "}");
}

static void write_heartbeat(const struct session *s, struct json_writer *w, struct session_time now)
{
    uint64_t inbound_ms = s->heartbeat.inbound_ms, heard_ms = s->transport.heard_ms(s->transport.self);

    json_next_key(w, "pingGapMs");
    json_uint(w, s->options.ping_gap_ms);
    if (!s->transport_open)
        return;
    if (s->heartbeat.rtt_known) {
        json_next_key(w, "rttMs");
        json_double(w, (double)s->heartbeat.rtt_us / 1000.0);
    }
    json_next_key(w, "lastInboundMs");
    json_uint(w, now.now_ms - (heard_ms > inbound_ms ? heard_ms : inbound_ms));
}

static void write_whole(const struct session *s, struct json_writer *w, struct session_time now)
{
    json_next_key(w, "url");
    json_cstring(w, s->options.url);
    if (s->options.user_id) {
        json_next_key(w, "userId");
        json_cstring(w, s->options.user_id);
    }
    if (s->last_error.reason)
        write_last_error(&s->last_error, w);
    write_heartbeat(s, w, now);
    json_next_key(w, "pending");
    json_uint(w, s->pending.waiting_count);
}

uint64_t session_changes(const struct session *s)
{
    return s->changes;
}

static void describe_waiting(const struct session *s, char *text, size_t size, struct session_time now)
{
    uint64_t left_ms = s->retry_ms > now.now_ms ? s->retry_ms - now.now_ms : 0;

    snprintf(text, size, "Waiting %" PRIu64 " s before try %u: %s", (left_ms + 999) / 1000,
             s->backoff.attempt, link_reason_word(s->reason));
}

void session_describe(const struct session *s, char *text, size_t size, struct session_time now)
{
    const char *user = s->options.user_id;

    if (s->state == LINK_CONNECTED)
        snprintf(text, size, "Connected to %s%s%s", s->options.url, user ? " as " : "", user ? user : "");
    else if (s->state == LINK_CONNECTING)
        snprintf(text, size, "Connecting to %s", s->options.url);
    else if (s->state == LINK_WAITING)
        describe_waiting(s, text, size, now);
    else if (s->reason == LINK_REASON_REQUESTED)
        snprintf(text, size, "Disconnected on request");
    else
        snprintf(text, size, "Disconnected: %s", link_reason_word(s->reason));
}

void session_write_status(const struct session *s, struct json_writer *w, bool whole, struct session_time now)
{
    json_first_key(w, "state");
    json_cstring(w, link_state_word(s->state));
    if (s->reason) {
        json_next_key(w, "reason");
        json_cstring(w, link_reason_word(s->reason));
    }
    if (s->state != LINK_CONNECTED && s->backoff.attempt) {
        json_next_key(w, "attempt");
        json_uint(w, s->backoff.attempt);
    }
    if (s->state == LINK_WAITING) {
        json_next_key(w, "nextRetryMs");
        json_uint(w, s->retry_ms > now.now_ms ? s->retry_ms - now.now_ms : 0);
    }
    if (whole) {
        json_next_key(w, "since");
        json_int(w, s->since_wall_ms);
        write_whole(s, w, now);
    } else {
        json_next_key(w, "time");
        json_int(w, s->since_wall_ms);
    }
}

void session_write_stats(const struct session *s, struct json_writer *w)
{
    const struct counters *c = &s->counters;
    struct transport_counters t = s->transport.counters(s->transport.self);
    uint64_t answered = c->acks + c->rejections + c->late_acks;

#define COUNTER_WRITE(member, name) \
    json_next_key(w, name);         \
    json_uint(w, c->member);
    SESSION_COUNTERS(COUNTER_WRITE)
#undef COUNTER_WRITE
    json_next_key(w, "bytesIn");
    json_uint(w, t.bytes_in);
    json_next_key(w, "bytesOut");
    json_uint(w, t.bytes_out);
    json_next_key(w, "ackMeanUs");
    json_uint(w, answered ? c->ack_us_sum / answered : 0);
    json_next_key(w, "ackMaxUs");
    json_uint(w, c->ack_us_max);
}
