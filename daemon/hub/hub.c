/*
 * See hub.h. Events come from the session through the link_listener table, are finished in the ring, and are
 * written to the clients at the end of the turn, whatever number of them the turn brought.
 */
#include "hub.h"

#include "arena.h"
#include "inheritance.h"
#include "json_writer.h"
#include "log.h"
#include "peer.h"
#include "state.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <systemd/sd-event.h>
#include <utlist.h>

#define PAUSE_MAX_MS 100         /* how long a slow subscriber may hold the server up … */
#define PAUSE_REST_MS 1000       /* … and how long not, after it did for so long */
#define RESERVE_AHEAD (1u << 20) /* numbers reserved at a time; a crash leaves out as many at most */

/* ---- Timers ---- */

int hub_timer_set(struct hub *h, sd_event_source **s, uint64_t at_ms, hub_timer_fired fired)
{
    if (!*s)
        return sd_event_add_time(loop_event(h->loop), s, CLOCK_BOOTTIME, at_ms * 1000, 1000, fired, h);
    sd_event_source_set_time(*s, at_ms * 1000);
    return sd_event_source_set_enabled(*s, SD_EVENT_ONESHOT);
}

bool hub_timer_armed(sd_event_source *s)
{
    return s && sd_event_source_get_enabled(s, NULL) > 0;
}

/* ---- Events from the session ---- */

/* The longest beginning of a line: the method, seq and time in full length. */
#define EVENT_LEAD 128

void hub_write_status_event(struct hub *h, struct json_writer *w)
{
    event_write_head(w, EVENT_STATUS);
    h->link.write_status(h->link.self, w, false);
    hub_write_storage(h, w, false);
    json_literal(w, "}}\n");
}

/* What stands before the body of a logged event. Returns its length. */
static size_t make_lead(const struct hub *h, enum event_kind kind, char lead[EVENT_LEAD])
{
    struct json_writer w;

    json_writer_init(&w, lead, EVENT_LEAD);
    event_write_head(&w, kind);
    json_first_key(&w, "seq");
    json_uint(&w, h->kept->seq + 1);
    json_next_key(&w, "time");
    json_int(&w, loop_wall_ms(h->loop));
    json_literal(&w, ",");
    return json_writer_length(&w);
}

/*
 * The lead of a MESSAGE is written before the body at once: the usual event is never moved or touched again.
 */
static struct json_writer *event_begin(void *self, size_t hint)
{
    struct hub *h = self;
    char lead[EVENT_LEAD];
    struct json_writer *w;

    h->lead = make_lead(h, EVENT_MESSAGE, lead);
    w = ring_begin(&h->kept->ring, hint, h->lead);
    if (w)
        memcpy(w->base - h->lead, lead, h->lead);
    return w;
}

static struct place shifted(struct place p, size_t by)
{
    return p.at ? (struct place){p.at + (uint32_t)by, p.len} : p;
}

static void finish_event(struct hub *h, size_t lead_used, const struct event *e)
{
    if (!ring_end(&h->kept->ring, lead_used, e))
        return;
    h->published = true;
    h->counters.events++;
}

static void event_lost(void *self, const char *reason);

/* It turned out to be another kind, whose lead is shorter. */
static size_t rewrite_lead(struct hub *h, enum event_kind kind)
{
    char lead[EVENT_LEAD];
    size_t len = make_lead(h, kind, lead);

    memcpy(h->kept->ring.writer.base - len, lead, len);
    return len;
}

static void event_publish(void *self, enum event_kind kind, const struct event_fields *f)
{
    struct hub *h = self;
    size_t len;
    struct event e = {.kind = kind, .seq = h->kept->seq + 1};

    json_literal(&h->kept->ring.writer, "}}\n");
    if (h->kept->ring.writer.failed) {
        ring_abandon(&h->kept->ring);
        event_lost(h, GAP_TOO_LARGE);
        return;
    }
    len = kind == EVENT_MESSAGE ? h->lead : rewrite_lead(h, kind);
    e.fields = (struct event_fields){.type = shifted(f->type, len),
                                     .from = shifted(f->from, len),
                                     .to = shifted(f->to, len),
                                     .signal = shifted(f->signal, len),
                                     .conversation = f->conversation};
    finish_event(h, len, &e);
    arena_order();
    h->kept->seq++;
}

static void event_abandon(void *self)
{
    struct hub *h = self;

    ring_abandon(&h->kept->ring);
}

/* It takes a seq, so that the gap has a number. */
static void event_lost(void *self, const char *reason)
{
    struct hub *h = self;
    struct json_writer *w = ring_begin(&h->kept->ring, EVENT_LEAD, 0);
    struct event e = {.kind = EVENT_GAP, .seq = h->kept->seq + 1, .fields.conversation = CONVERSATION_NONE};

    h->counters.gaps++;
    h->counters.drops++;
    if (w) {
        event_write_gap(w, e.seq, e.seq, reason);
        finish_event(h, 0, &e);
    }
    arena_order();
    h->kept->seq++;
}

/* That there is to be no link goes on to be so in the next process; that this one ends does not. */
static void note_link(struct hub *h)
{
    bool is_off = h->link.state(h->link.self) == LINK_DISCONNECTED;

    if (!h->leaving)
        h->kept->off = is_off ? (uint8_t)h->link.reason(h->link.self) : LINK_REASON_NONE;
}

enum link_reason hub_link_off(const struct hub *h)
{
    return h->kept->off;
}

static void event_status_changed(void *self)
{
    struct hub *h = self;
    struct json_writer *w = ring_begin(&h->kept->ring, EVENT_LEAD, 0);
    struct event e = {.kind = EVENT_STATUS, .fields.conversation = CONVERSATION_NONE};

    note_link(h);
    if (!w)
        return;
    hub_write_status_event(h, w);
    h->last_status = h->kept->ring.head;
    finish_event(h, 0, &e);
}

void hub_write_outbox_state(struct json_writer *w, const struct outbox_entry *e)
{
    json_first_key(w, KEY_MESSAGE_ID);
    json_quoted(w, e->id, e->id_len);
    json_next_key(w, "state");
    json_cstring(w, outbox_state_word(e->state));
    if (e->has_code) {
        json_next_key(w, KEY_CODE);
        json_int(w, e->code);
    }
}

/* Whoever queued it may be gone, and nobody else may listen. */
static void log_not_delivered(const struct outbox_entry *e)
{
    struct log_event event = {.level = LOG_WARNING,
                              .id = LOG_MESSAGE_NOT_DELIVERED,
                              .state = outbox_state_word(e->state),
                              .message_id = e->id,
                              .message_id_len = e->id_len,
                              .code = e->has_code ? &e->code : NULL};

    if (e->state == OUTBOX_REJECTED)
        log_event_limited(&event, "queued message %.*s was rejected by the server: code %" PRId64,
                          (int)e->id_len, e->id, e->code);
    else if (e->state == OUTBOX_EXPIRED)
        log_event_limited(&event, "queued message %.*s has expired: it was not delivered in time",
                          (int)e->id_len, e->id);
}

void hub_outbox_changed(struct hub *h, const struct outbox_entry *entry)
{
    struct json_writer *w = ring_begin(&h->kept->ring, EVENT_LEAD + MESSAGE_ID_MAX, 0);
    struct event e = {.kind = EVENT_OUTBOX, .fields.conversation = CONVERSATION_NONE};

    log_not_delivered(entry);
    if (!w)
        return;
    event_write_head(w, EVENT_OUTBOX);
    hub_write_outbox_state(w, entry);
    json_next_key(w, "time");
    json_int(w, entry->changed_ms);
    json_literal(w, "}}\n");
    h->last_outbox = h->kept->ring.head;
    finish_event(h, 0, &e);
}

static void event_outbox_changed(void *self, const struct outbox_entry *entry)
{
    hub_outbox_changed(self, entry);
}

static void resume_throttled(struct hub *h)
{
    struct client *c, *next;

    if (h->throttled_count)
        DL_FOREACH_SAFE(h->clients, c, next)
            client_resume(c);
}

static void event_relieved(void *self)
{
    resume_throttled(self);
}

const struct link_listener *hub_listener(struct hub *h)
{
    return &h->listener;
}

/* ---- The store ---- */

void hub_write_storage(struct hub *h, struct json_writer *w, bool whole)
{
    struct storage_report report;

    h->storage.report(h->storage.self, &report);
    json_next_key(w, "storage");
    json_cstring(w, report.failed ? "failed" : "ok");
    if (!whole)
        return;
    if (report.failed) {
        json_next_key(w, "storageDetail");
        json_cstring(w, report.detail);
    }
    json_next_key(w, "queued");
    json_uint(w, report.queued);
}

/* X(member, name in `stats`) */
#define STORAGE_COUNTERS(X)                \
    X(oldest, "oldestSeq")                 \
    X(bytes, "storeBytes")                 \
    X(queued, "queued")                    \
    X(transactions, "transactions")        \
    X(appended, "appended")                \
    X(lost, "notStored")                   \
    X(pruned, "pruned")                    \
    X(failures, "storeFailures")           \
    X(attachment_bytes, "attachmentBytes") \
    X(attached, "attachments")             \
    X(evicted, "attachmentsEvicted")       \
    X(attach_failed, "attachmentsFailed")

static void write_storage_stats(struct hub *h, struct json_writer *w)
{
    struct storage_report report;

    h->storage.report(h->storage.self, &report);
    report.lost += h->journal.lost;
#define COUNTER_WRITE(member, name) \
    json_next_key(w, name);         \
    json_uint(w, report.member);
    STORAGE_COUNTERS(COUNTER_WRITE)
#undef COUNTER_WRITE
}

static bool storage_failed(const struct hub *h)
{
    struct storage_report report;

    h->storage.report(h->storage.self, &report);
    return report.failed;
}

static void reserved(struct storage_request *r)
{
    struct storage_reserve *reserve = (struct storage_reserve *)r;
    struct hub *h = (struct hub *)((char *)reserve - offsetof(struct hub, reserve));

    h->reserving = false;
    if (!r->error)
        h->reserved = reserve->through;
}

/* Numbers are reserved long before they are needed. */
static void reserve(struct hub *h)
{
    if (h->reserving || h->reserved > h->kept->seq + RESERVE_AHEAD / 2)
        return;
    h->reserve = (struct storage_reserve){.request = {.op = STORAGE_RESERVE, .done = reserved},
                                          .through = h->kept->seq + RESERVE_AHEAD};
    h->reserving = h->storage.post(h->storage.self, &h->reserve.request) == 0;
}

/* The server waits while the disk cannot keep up; not for a disk that fails, of which there is no end. */
static bool is_store_full(const struct hub *h)
{
    bool behind = h->store_full ? !journal_has_room(h) : journal_is_full(h);

    return (behind || h->kept->seq >= h->reserved) && !storage_failed(h);
}

/* The end of the turn does what is due. */
static int journal_due(sd_event_source *s, uint64_t usec, void *userdata)
{
    return 0;
}

static void post_journal(struct hub *h)
{
    uint64_t due_ms;

    journal_post(h, false);
    due_ms = journal_due_ms(h);
    if (due_ms != UINT64_MAX && !hub_timer_armed(h->journal_timer))
        hub_timer_set(h, &h->journal_timer, due_ms, journal_due);
}

static void set_pause(struct hub *h)
{
    h->link.pause(h->link.self, h->paused || h->store_full);
}

static void pause_for_store(struct hub *h)
{
    bool full = is_store_full(h);

    if (full == h->store_full)
        return;
    h->store_full = full;
    h->counters.store_pauses += full;
    set_pause(h);
}

static void storage_changed(void *self)
{
    event_status_changed(self);
}

static void storage_expired(void *self, const struct outbox_entry *entry)
{
    hub_outbox_changed(self, entry);
}

const struct storage_listener *hub_storage_listener(struct hub *h)
{
    return &h->storage_listener;
}

void hub_set_storage(struct hub *h, const struct storage *s, uint64_t seq, uint64_t stored)
{
    h->storage = *s;
    h->kept->seq = h->reserved = seq;
    if (h->inheritance && h->options.history)
        inheritance_journal(h, h->inheritance, stored);
    h->journal.cursor = h->kept->ring.head;
    reserve(h);
}

uint64_t hub_seq(const struct hub *h)
{
    return h->kept->seq;
}

/* ---- Slow subscribers ---- */

static bool holds_cursor(const struct client *c)
{
    return (c->kept->subscriber.kinds && !c->kept->subscriber.parked) || c->kept->subscriber.offset;
}

static uint64_t lowest_cursor(const struct hub *h)
{
    uint64_t lowest = h->journal.cursor;

    for (const struct client *c = h->clients; c; c = c->next)
        if (holds_cursor(c) && c->kept->subscriber.cursor < lowest)
            lowest = c->kept->subscriber.cursor;
    return lowest;
}

/*
 * The ring drops an entry that somebody has not had. With a history, they are fed from there; without, they
 * go on in the middle of the ring: at its tail the next event would overtake them again. What they miss is
 * announced.
 */
static int overtake(struct hub *h, struct client *c, uint64_t middle)
{
    if (h->options.history && c->kept->subscriber.kinds & EVENT_KINDS_WANTED)
        return replay_overtaken(c);
    return subscriber_overtake(&c->kept->subscriber, &h->kept->ring, middle, &h->counters.drops);
}

static void ring_overtaking(void *owner, uint64_t ordinal)
{
    struct hub *h = owner;
    uint64_t middle = ordinal + 1 + (h->kept->ring.head - ordinal - 1) / 2;
    struct client *c, *next;

    if (h->journal.cursor <= ordinal)
        journal_collect(h);
    DL_FOREACH_SAFE(h->clients, c, next) {
        if (holds_cursor(c) && c->kept->subscriber.cursor <= ordinal && overtake(h, c, middle) < 0)
            client_close(c, "no memory for the rest of its line");
    }
    h->kept->ring.guard = lowest_cursor(h);
}

/* A subscriber that takes something now and then, but is about to be overtaken. */
static bool is_struggling(const struct hub *h, const struct client *c, uint64_t now_ms)
{
    return c->blocked && c->kept->subscriber.kinds && !c->kept->subscriber.parked &&
           now_ms - c->progress_ms < PAUSE_MAX_MS &&
           ring_lag(&h->kept->ring, c->kept->subscriber.cursor) > h->kept->ring.size / 2;
}

static bool somebody_struggles(const struct hub *h)
{
    uint64_t now_ms = loop_now_ms(h->loop);

    for (const struct client *c = h->clients; c; c = c->next)
        if (is_struggling(h, c, now_ms))
            return true;
    return false;
}

static void end_pause(struct hub *h, uint64_t again_ms)
{
    h->paused = false;
    h->pause_again_ms = again_ms;
    sd_event_source_set_enabled(h->pause_timer, SD_EVENT_OFF);
    set_pause(h);
}

static int pause_over(sd_event_source *s, uint64_t usec, void *userdata)
{
    struct hub *h = userdata;

    end_pause(h, loop_now_ms(h->loop) + PAUSE_REST_MS);
    return 0;
}

/* The server waits a moment for a subscriber that is nearly there; never long, and not again at once. */
static void pause_for_slow(struct hub *h)
{
    uint64_t now_ms = loop_now_ms(h->loop);
    bool full = h->kept->ring.head_byte - h->kept->ring.tail_byte > h->kept->ring.size / 2;

    if (h->paused && !somebody_struggles(h)) {
        end_pause(h, 0);
    } else if (!h->paused && full && now_ms >= h->pause_again_ms && somebody_struggles(h)) {
        if (hub_timer_set(h, &h->pause_timer, now_ms + PAUSE_MAX_MS, pause_over) < 0)
            return;
        h->paused = true;
        h->counters.pauses++;
        set_pause(h);
    }
}

/*
 * The kernel says that a socket can be written to only once a good part of it is free: a slow reader is asked
 * whether it takes anything before it is taken for a dead one.
 */
static bool is_moving(struct client *c)
{
    uint64_t before_ms = c->progress_ms;

    c->blocked = false;
    client_flush(c);
    return c->closed || !c->blocked || c->progress_ms != before_ms;
}

/* Disconnects who took nothing for StallTimeout; looks again when the next one may be due. */
static int stall_due(sd_event_source *s, uint64_t usec, void *userdata)
{
    struct hub *h = userdata;
    uint64_t now_ms = loop_now_ms(h->loop), next_ms = UINT64_MAX;
    struct client *c, *next;

    DL_FOREACH_SAFE(h->clients, c, next) {
        uint64_t due_ms = c->progress_ms + h->options.stall_timeout_ms;

        if (!c->blocked)
            continue;
        if (due_ms <= now_ms && is_moving(c))
            due_ms = now_ms + h->options.stall_timeout_ms;
        if (c->closed) {
            continue;
        } else if (due_ms <= now_ms) {
            h->counters.stalled++;
            client_close(c, "it read nothing for StallTimeout");
        } else if (due_ms < next_ms) {
            next_ms = due_ms;
        }
    }
    if (next_ms != UINT64_MAX)
        hub_timer_set(h, &h->stall_timer, next_ms, stall_due);
    return 0;
}

void hub_watch_stall(struct hub *h, const struct client *c)
{
    if (!hub_timer_armed(h->stall_timer))
        hub_timer_set(h, &h->stall_timer, c->progress_ms + h->options.stall_timeout_ms, stall_due);
}

/* ---- The end of a turn ---- */

void hub_mark_dirty(struct hub *h, struct client *c)
{
    if (c->dirty)
        return;
    c->dirty = true;
    c->dirty_next = h->dirty;
    h->dirty = c;
}

static void flush_dirty(struct hub *h)
{
    struct client *c;

    while ((c = h->dirty)) {
        h->dirty = c->dirty_next;
        c->dirty = false;
        client_flush(c);
    }
}

static void flush_all(struct hub *h)
{
    struct client *c, *next;

    h->published = false;
    DL_FOREACH_SAFE(h->clients, c, next)
        client_flush(c);
    pause_for_slow(h);
}

/* What is written may bring more: a client that is found gone may have left a `disconnect` behind. */
static void flush_until_quiet(struct hub *h)
{
    while (h->published || h->dirty) {
        if (h->published)
            flush_all(h);
        flush_dirty(h);
    }
}

/* A client whose replies held it up may go on as soon as they are written, and nothing else would wake it. */
static void flush(struct hub *h)
{
    flush_until_quiet(h);
    while (h->throttled_count) {
        resume_throttled(h);
        if (!h->dirty && !h->published)
            break;
        flush_until_quiet(h);
    }
    replay_feed_starved(h);
    post_journal(h);
    reserve(h);
    h->shared.valid = false;
    if (h->kept->ring.block_count)
        ring_release_blocks(&h->kept->ring, lowest_cursor(h));
    if (h->paused)
        pause_for_slow(h);
    pause_for_store(h);
}

void hub_flush(struct hub *h)
{
    flush(h);
    journal_post(h, true);
}

static void bury(struct hub *h)
{
    struct client *c;

    while ((c = h->graveyard)) {
        h->graveyard = c->grave_next;
        client_free(c);
    }
    arena_sweep(h->arena);
}

static void turn(struct loop_hook *hook)
{
    struct hub *h = (struct hub *)((char *)hook - offsetof(struct hub, hook));

    flush(h);
    bury(h);
}

/* ---- Calls ---- */

struct call *hub_call_new(struct hub *h, struct client *c, const char *id, size_t id_len)
{
    struct call *call = h->calls_free;

    if (call)
        h->calls_free = call->next;
    else if (h->kept->calls_used < h->calls_max)
        call = &h->kept->calls[h->kept->calls_used++];
    else
        return NULL;
    call->hub = h;
    call->client = c;
    call->user = NULL;
    call->stored = false;
    call->slot = c->kept->slot;
    call->request = h->kept->request.number;
    call->replied_from = 0;
    call->bytes = 0;
    call->link.message_id_len = 0;
    call->id_len = (uint16_t)id_len;
    if (id_len)
        memcpy(call->id, id, id_len);
    arena_order();
    call->taken = true;
    DL_PREPEND(c->calls, call);
    return call;
}

void hub_call_free(struct call *call)
{
    struct hub *h = call->hub;

    if (call->client) {
        DL_DELETE(call->client->calls, call);
        hub_mark_dirty(h, call->client); /* it may have waited for nothing else */
    }
    if (call->user)
        users_answered(&h->users, call->user, call->stored, loop_now_ms(h->loop));
    call->taken = false;
    h->stored_calls -= call->stored;
    h->stored_bytes -= call->bytes;
    call->next = h->calls_free;
    h->calls_free = call;
}

/* ---- From one process to the next ---- */

struct hub_numbers hub_inherit(struct hub *h, const struct hub_descriptor *d, size_t n)
{
    struct hub_numbers numbers = {0};

    h->inheritance = inheritance_open(h, d, n);
    if (h->inheritance)
        numbers = (struct hub_numbers){.last = h->kept->seq, .first = inheritance_first(h, h->inheritance)};
    return numbers;
}

static bool receives(const struct client *c)
{
    return c->kept->subscriber.kinds || c->opening;
}

static void close_if_denied(struct client *c)
{
    if (receives(c) && !(c->rights & RIGHT_RECEIVE))
        client_close(c, "it is not in Receive of imd.conf any more");
}

/* The rights of those who are there. What a client has asked for already is still answered. */
static void revise_rights(struct hub *h)
{
    struct client *c, *next;

    DL_FOREACH_SAFE(h->clients, c, next) {
        c->rights = peer_rights(c->fd, c->uid, c->gid, &h->options.access);
        close_if_denied(c);
    }
}

void hub_resume(struct hub *h)
{
    struct client *c, *next;

    inheritance_take(h, h->inheritance);
    h->inheritance = NULL;
    DL_FOREACH_SAFE(h->clients, c, next)
        close_if_denied(c); /* the configuration may be another than when they subscribed */
}

void hub_leave(struct hub *h)
{
    struct client *c, *next;

    if (!h->arena)
        return;
    h->leaving = true;
    DL_FOREACH_SAFE(h->clients, c, next) {
        hub_store_client(h, c);
        client_unwatch(c);
    }
}

/* ---- The hub itself ---- */

static int make_kept(struct hub *h)
{
    int r = kept_init(h, h->options.fdstore, h->options.fdstore_limit);

    if (r == 0)
        r = ring_init(&h->kept->ring, h->options.ring_size, 2 * h->options.max_message, h->arena);
    if (r < 0)
        return r;
    h->kept->ring.overtaking = ring_overtaking;
    h->kept->ring.owner = h;
    h->calls_max = h->options.max_pending + STORED_CALLS_MAX;
    h->kept->calls = arena_take(h->arena, h->calls_max * sizeof *h->kept->calls);
    return h->kept->calls ? 0 : -ENOMEM;
}

int hub_new(struct hub **out, struct loop *loop, const struct hub_options *o)
{
    struct hub *h = calloc(1, sizeof *h);
    struct rlimit fds;
    int error;

    if (!h)
        return -ENOMEM;
    h->options = *o;
    h->users.rate = o->send_rate;
    h->loop = loop;
    h->listener = (struct link_listener){.self = h,
                                         .begin = event_begin,
                                         .publish = event_publish,
                                         .abandon = event_abandon,
                                         .lost = event_lost,
                                         .outbox_changed = event_outbox_changed,
                                         .status_changed = event_status_changed,
                                         .relieved = event_relieved};
    h->storage_listener =
        (struct storage_listener){.self = h, .changed = storage_changed, .expired = storage_expired};
    h->last_status = h->last_outbox = UINT64_MAX;
    scan_init(&h->scan);
    h->fds_max = getrlimit(RLIMIT_NOFILE, &fds) == 0 && fds.rlim_cur < INT_MAX ? (int)fds.rlim_cur : INT_MAX;
    error = make_kept(h);
    if (error < 0) {
        hub_free(h);
        return error;
    }
    h->hook.turn = turn;
    loop_hook_add(loop, &h->hook);
    *out = h;
    return 0;
}

void hub_free(struct hub *h)
{
    struct client *c, *next;

    if (!h)
        return;
    DL_FOREACH_SAFE(h->clients, c, next)
        client_close(c, NULL);
    bury(h);
    if (h->leaving)
        h->kept->ended = true;
    sd_event_source_unref(h->accept_source);
    sd_event_source_unref(h->accept_timer);
    sd_event_source_unref(h->stall_timer);
    sd_event_source_unref(h->pause_timer);
    sd_event_source_unref(h->journal_timer);
    sd_event_source_unref(h->newcomer_timer);
    inheritance_free(h, h->inheritance, true);
    loading_forget(h);
    passed_forget(h);
    scan_deinit(&h->scan);
    if (h->kept) {
        journal_deinit(h);
        ring_deinit(&h->kept->ring);
        arena_release(h->arena, h->line_spare.buffer);
        reply_spares_free(h);
        arena_release(h->arena, h->kept->calls);
    }
    kept_deinit(h);
    users_deinit(&h->users);
    free(h);
}

void hub_set_link(struct hub *h, const struct link *link)
{
    h->link = *link;
}

void hub_configure(struct hub *h, const struct hub_options *o)
{
    size_t ring_size = h->options.ring_size;
    unsigned max_pending = h->options.max_pending;
    bool history = h->options.history;

    h->options = *o;
    h->options.history = history;
    h->options.fdstore = h->fdstore; /* and what else is for the start only */
    h->options.ring_size = ring_size;
    h->options.max_pending = max_pending;
    h->users.rate = o->send_rate;
    h->kept->ring.block_limit = 2 * o->max_message;
    revise_rights(h);
    if (hub_timer_armed(h->stall_timer))
        stall_due(h->stall_timer, 0, h);
}

unsigned hub_subscribers(const struct hub *h)
{
    unsigned n = 0;

    for (const struct client *c = h->clients; c; c = c->next)
        n += c->kept->subscriber.kinds != 0;
    return n;
}

void hub_write_stats(struct hub *h, struct json_writer *w)
{
    json_first_key(w, "clients");
    json_uint(w, h->client_count);
    json_next_key(w, "subscribers");
    json_uint(w, hub_subscribers(h));
#define COUNTER_WRITE(member, name) \
    json_next_key(w, name);         \
    json_uint(w, h->counters.member);
    HUB_COUNTERS(COUNTER_WRITE)
#undef COUNTER_WRITE
    write_storage_stats(h, w);
    h->link.write_stats(h->link.self, w);
}
