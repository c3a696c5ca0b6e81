/*
 * See dispatcher.h. A message that was taken is an item of the pool until the store has recorded its end:
 *
 *            TAKE        sent            ack timeout, conflict
 *   (outbox) ────▶ ─────────────▶ WIRE ──────────────────────▶ WAITING
 *                  ▲               │ link lost                    │ backoff over, link lost
 *                  │ TAKE by rows  ▼                              │
 *              FETCHING ◀──────── READY ◀─────────────────────────┘
 *
 *   all of them ── answered, or expired while not on the wire ──▶ ENDED ── FINISH ──▶ RECORDING ──▶ (gone)
 *
 * Frames are not kept: whatever is sent again is read again. READY goes before what is new, so each link sees
 * messages in the order of their rows. Answers and results of the store come without a clock; they only move
 * items, and dispatcher_turn does the rest.
 */
#include "dispatcher.h"

#include "backoff.h"
#include "json_writer.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <utlist.h>

#define TAKE_ITEMS_MAX 256u
#define TAKE_BYTES_MAX \
    (1u << 20) /* what one TAKE may put into the session's send queue, but for a long one */
#define TAKE_RETRY_MS 1000
#define RETRY_MIN_MS 1000
#define RETRY_MAX_MS 300000
#define LOOK_MS 60000 /* how long a jump of the wall clock may go unnoticed by what expires */

/* X(member, name in `stats`) */
#define DISPATCHER_COUNTERS(X)                                                       \
    X(taken, "outboxTaken")                                                          \
    X(sent, "outboxSent") /* with those that were sent again, which are … */       \
    X(retried, "outboxRetried")                                                      \
    X(ack_timeouts, "outboxAckTimeouts")                                             \
    X(refused, "outboxRefused") /* by the session: its id is in use, or no memory */ \
    X(acked, "outboxAcked")                                                          \
    X(rejected, "outboxRejected")                                                    \
    X(expired, "outboxExpired") /* those that were taken */                          \
    X(missing, "outboxMissing") /* rows that the store did not give again */         \
    X(take_failures, "outboxTakeFailures")                                           \
    X(finish_failures, "outboxFinishFailures")

struct counters {
#define COUNTER_MEMBER(member, name) uint64_t member;
    DISPATCHER_COUNTERS(COUNTER_MEMBER)
#undef COUNTER_MEMBER
};

enum item_state { ITEM_READY, ITEM_FETCHING, ITEM_WIRE, ITEM_WAITING, ITEM_ENDED, ITEM_RECORDING };
#define ITEM_STATE_COUNT (ITEM_RECORDING + 1)

struct item {
    struct link_call call; /* first */
    struct dispatcher *dispatcher;
    struct item *prev, *next; /* of its state's list */
    struct item *chain;       /* same bucket, or the free list */
    uint64_t order; /* in the list. WIRE: when it was sent; WAITING: when it is READY; READY: its row */
    uint8_t state;  /* enum item_state */
    bool was_sent;
    struct storage_finish finish; /* its entry is the item's */
};

struct item_list {
    struct item *head;
    unsigned count;
};

enum take_state { TAKE_NONE, TAKE_POSTED, TAKE_DONE };

struct take {
    struct storage_take request; /* first */
    enum take_state state;
    uint64_t not_before_ms; /* the last one failed; 0: it did not */
    int64_t rows[TAKE_ITEMS_MAX];
};

struct dispatcher {
    struct dispatcher_options options;
    struct session *session;
    struct storage storage;
    const struct link_listener *listener;

    struct take take;
    int64_t cursor;   /* rows up to this were taken by this run */
    bool more;        /* there may be rows behind it */
    bool interrupted; /* the link was lost since the TAKE was posted */
    bool stopping;
    uint64_t look_ms; /* when to look for what is expired: READY and WAITING */

    struct counters counters;
    struct item_list lists[ITEM_STATE_COUNT];
    struct item *free;
    unsigned used, taken; /* items of the pool that were ever used; that are in use */
    struct item *buckets[DISPATCHER_ITEMS];
    struct item pool[DISPATCHER_ITEMS];
};

int dispatcher_new(struct dispatcher **out, const struct dispatcher_options *o, struct session *s,
                   const struct storage *st, const struct link_listener *l)
{
    struct dispatcher *d = calloc(1, sizeof *d); /* its pages are touched only when items need them */

    if (!d)
        return -ENOMEM;
    d->options = *o;
    d->session = s;
    d->storage = *st;
    d->listener = l;
    d->more = true; /* what earlier runs left */
    *out = d;
    return 0;
}

void dispatcher_free(struct dispatcher *d)
{
    if (d && d->take.state == TAKE_DONE)
        free(d->take.request.block);
    free(d);
}

void dispatcher_configure(struct dispatcher *d, const struct dispatcher_options *o)
{
    d->options = *o;
}

/* ---- Items ---- */

static struct outbox_entry *entry_of(struct item *i)
{
    return &i->finish.entry;
}

static struct item **bucket_of(struct dispatcher *d, int64_t row)
{
    return &d->buckets[(uint64_t)row % DISPATCHER_ITEMS]; /* rows are handed out one after the other */
}

static struct item *item_find(struct dispatcher *d, int64_t row)
{
    for (struct item *i = *bucket_of(d, row); i; i = i->chain)
        if (entry_of(i)->row == row)
            return i;
    return NULL;
}

static struct item *last_of(const struct item_list *l)
{
    return l->head ? l->head->prev : NULL;
}

/* Its place is nearly always the end. */
static void list_insert(struct item_list *l, struct item *i)
{
    struct item *at = last_of(l);

    while (at && at->order > i->order)
        at = at == l->head ? NULL : at->prev;
    if (at)
        DL_APPEND_ELEM(l->head, at, i);
    else
        DL_PREPEND(l->head, i);
    l->count++;
}

static void list_remove(struct item_list *l, struct item *i)
{
    DL_DELETE(l->head, i);
    l->count--;
}

static void item_enter(struct item *i, enum item_state state, uint64_t order)
{
    struct dispatcher *d = i->dispatcher;

    i->state = (uint8_t)state;
    i->order = order;
    list_insert(&d->lists[state], i);
    if (state == ITEM_READY || state == ITEM_WAITING)
        d->look_ms = 0; /* it may be past its expiry */
}

static void item_move(struct item *i, enum item_state state, uint64_t order)
{
    list_remove(&i->dispatcher->lists[i->state], i);
    item_enter(i, state, order);
}

static void item_ready(struct item *i)
{
    item_move(i, ITEM_READY, (uint64_t)entry_of(i)->row);
}

static void item_wait(struct item *i, struct session_time now)
{
    uint32_t attempts = entry_of(i)->attempts;
    struct backoff b = {
        .min_ms = RETRY_MIN_MS, .max_ms = RETRY_MAX_MS, .attempt = attempts ? attempts - 1 : 0};

    item_move(i, ITEM_WAITING, now.now_ms + backoff_next(&b, session_random(i->dispatcher->session)));
}

static void item_end(struct item *i, enum outbox_state state, uint64_t *counter)
{
    entry_of(i)->state = (uint8_t)state;
    ++*counter;
    item_move(i, ITEM_ENDED, 0);
}

static void item_expire(struct item *i)
{
    struct outbox_entry *e = entry_of(i);

    session_forget(i->dispatcher->session, e->id, e->id_len, &i->call);
    item_end(i, OUTBOX_EXPIRED, &i->dispatcher->counters.expired);
}

static bool is_expired(struct item *i, struct session_time now)
{
    return entry_of(i)->expires_ms <= now.wall_ms;
}

/* The server's answer, or the loss of the link. */
static void item_answered(struct link_call *c, const struct link_answer *a)
{
    struct item *i = (struct item *)c;
    struct counters *n = &i->dispatcher->counters;

    if (a->outcome == LINK_UNKNOWN) {
        i->dispatcher->interrupted = true;
        item_ready(i);
        return;
    }
    entry_of(i)->has_code = true;
    entry_of(i)->code = a->code;
    if (a->outcome == LINK_ACKED)
        item_end(i, OUTBOX_ACKED, &n->acked);
    else
        item_end(i, OUTBOX_REJECTED, &n->rejected);
}

static struct item *item_new(struct dispatcher *d, const struct outbox_entry *e)
{
    struct item **bucket = bucket_of(d, e->row);
    struct item *i = d->free;

    assert(i || d->used < DISPATCHER_ITEMS); /* no TAKE asks for more */
    if (i)
        d->free = i->chain;
    else
        i = &d->pool[d->used++];
    *i = (struct item){.call.answered = item_answered, .dispatcher = d, .chain = *bucket, .finish.entry = *e};
    *bucket = i;
    d->taken++;
    item_enter(i, ITEM_READY, (uint64_t)e->row);
    return i;
}

static void item_free(struct item *i)
{
    struct dispatcher *d = i->dispatcher;
    struct item **at = bucket_of(d, entry_of(i)->row);

    while (*at != i)
        at = &(*at)->chain;
    *at = i->chain;
    list_remove(&d->lists[i->state], i);
    i->chain = d->free;
    d->free = i;
    d->taken--;
}

/* ---- Sending what was taken ---- */

static bool may_send(const struct dispatcher *d)
{
    return !d->stopping && session_can_send(d->session);
}

static void item_sent(struct item *i, struct session_time now)
{
    struct dispatcher *d = i->dispatcher;

    d->counters.sent++;
    d->counters.retried += i->was_sent;
    i->was_sent = true;
    item_move(i, ITEM_WIRE, now.now_ms);
}

/* After an interruption, what waits since then and has a lower row must go first. */
static void item_send(struct item *i, const struct outbox_message *m, struct session_time now)
{
    struct dispatcher *d = i->dispatcher;

    if (is_expired(i, now)) {
        item_expire(i);
    } else if (d->interrupted || !may_send(d)) {
        item_ready(i);
    } else if (session_send_frame(d->session, m, &i->call) == ERROR_NONE) {
        item_sent(i, now);
    } else {
        d->counters.refused++;
        item_wait(i, now);
    }
}

static void tell_change(struct dispatcher *d, const struct outbox_entry *e)
{
    d->listener->outbox_changed(d->listener->self, e);
}

static void use_new(struct dispatcher *d, const struct outbox_message *m, struct session_time now)
{
    struct item *i;

    if (item_find(d, m->entry.row))
        return;
    i = item_new(d, &m->entry);
    d->counters.taken++;
    if (m->entry.attempts <= 1) /* else an earlier run told it */
        tell_change(d, entry_of(i));
    item_send(i, m, now);
}

/* It may have been answered meanwhile, and even be recorded and gone. */
static void use_again(struct dispatcher *d, const struct outbox_message *m, struct session_time now)
{
    struct item *i = item_find(d, m->entry.row);

    if (!i || i->state != ITEM_FETCHING)
        return;
    entry_of(i)->attempts = m->entry.attempts;
    item_send(i, m, now);
}

static void take_failed(struct dispatcher *d, struct session_time now)
{
    d->counters.take_failures++;
    d->take.not_before_ms = now.now_ms + TAKE_RETRY_MS;
    d->more = true;
}

static void take_succeeded(struct dispatcher *d, struct session_time now)
{
    struct storage_take *t = &d->take.request;

    for (uint32_t n = 0; n < t->count; n++)
        (t->row_count ? use_again : use_new)(d, &t->messages[n], now);
    if (t->row_count)
        return;
    d->more |= t->more;
    if (t->last > d->cursor)
        d->cursor = t->last;
}

/*
 * Rows that were asked for and not given: those behind the last message did not fit and come next. The others
 * are not there, which only a damaged database can bring about; asked for again, but in no hurry.
 */
static void give_back(struct dispatcher *d, struct session_time now)
{
    const struct storage_take *t = &d->take.request;
    bool some = !t->request.error && t->count;
    bool failed = t->request.error != ERROR_NONE;
    struct item *i;

    while ((i = d->lists[ITEM_FETCHING].head)) {
        if (failed || (some && entry_of(i)->row > t->messages[t->count - 1].entry.row)) {
            item_ready(i);
            continue;
        }
        d->counters.missing++;
        entry_of(i)->attempts++;
        item_wait(i, now);
    }
}

static void use_take(struct dispatcher *d, struct session_time now)
{
    struct storage_take *t = &d->take.request;

    if (d->take.state != TAKE_DONE)
        return;
    if (t->request.error)
        take_failed(d, now);
    else
        take_succeeded(d, now);
    give_back(d, now);
    free(t->block);
    d->take.state = TAKE_NONE;
}

/* ---- Taking ---- */

static void take_done(struct storage_request *r)
{
    ((struct take *)r)->state = TAKE_DONE;
}

static void post_take(struct dispatcher *d, struct storage_take t, struct session_time now)
{
    t.request.op = STORAGE_TAKE;
    t.request.done = take_done;
    t.max_bytes = TAKE_BYTES_MAX;
    t.now_ms = now.wall_ms;
    d->take.request = t;
    d->take.state = TAKE_POSTED;
    d->interrupted = false;
    if (d->storage.post(d->storage.self, &d->take.request.request) < 0) {
        d->take.request.request.error = ERROR_STORAGE;
        d->take.state = TAKE_DONE;
    }
}

static unsigned smaller(unsigned a, unsigned b)
{
    return a < b ? a : b;
}

static unsigned free_window(const struct dispatcher *d)
{
    unsigned on_wire = d->lists[ITEM_WIRE].count;

    return on_wire < d->options.window ? smaller(d->options.window - on_wire, TAKE_ITEMS_MAX) : 0;
}

static void take_ready(struct dispatcher *d, unsigned limit, struct session_time now)
{
    uint32_t n = 0;

    while (n < limit && d->lists[ITEM_READY].head) {
        struct item *i = d->lists[ITEM_READY].head;

        d->take.rows[n++] = entry_of(i)->row;
        item_move(i, ITEM_FETCHING, 0);
    }
    post_take(d, (struct storage_take){.rows = d->take.rows, .row_count = n, .limit = n}, now);
}

static void take_new(struct dispatcher *d, unsigned limit, struct session_time now)
{
    d->more = false;
    post_take(d, (struct storage_take){.after = d->cursor, .limit = limit}, now);
}

static bool may_take(struct dispatcher *d, struct session_time now)
{
    if (d->take.not_before_ms > now.now_ms)
        return false;
    d->take.not_before_ms = 0;
    return d->take.state == TAKE_NONE && (d->lists[ITEM_READY].head || d->more) && may_send(d) &&
           !session_congested(d->session);
}

static void take(struct dispatcher *d, struct session_time now)
{
    unsigned window = free_window(d);
    unsigned room = smaller(window, DISPATCHER_ITEMS - d->taken);

    if (!window || !may_take(d, now))
        return;
    if (d->lists[ITEM_READY].head)
        take_ready(d, window, now);
    else if (room)
        take_new(d, room, now);
}

void dispatcher_queued(struct dispatcher *d, struct session_time now)
{
    d->more = true;
    take(d, now);
}

/* ---- Recording how a message ended ---- */

static void finish_done(struct storage_request *r)
{
    struct item *i = (struct item *)((char *)r - offsetof(struct item, finish));

    if (r->error)
        i->dispatcher->counters.finish_failures++; /* sent again by the next run */
    else
        tell_change(i->dispatcher, entry_of(i));
    item_free(i);
}

static void item_record(struct item *i, struct session_time now)
{
    struct dispatcher *d = i->dispatcher;
    struct storage_request *r = &i->finish.request;

    entry_of(i)->changed_ms = now.wall_ms;
    item_move(i, ITEM_RECORDING, 0);
    r->op = STORAGE_FINISH;
    r->done = finish_done;
    if (d->storage.post(d->storage.self, r) < 0) {
        r->error = ERROR_STORAGE;
        finish_done(r);
    }
}

static void record_ends(struct dispatcher *d, struct session_time now)
{
    while (d->lists[ITEM_ENDED].head)
        item_record(d->lists[ITEM_ENDED].head, now);
}

/* ---- Time ---- */

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t ack_deadline(const struct dispatcher *d, const struct item *on_wire)
{
    return on_wire->order + d->options.ack_timeout_ms;
}

static void time_out(struct dispatcher *d, struct session_time now)
{
    struct item *i;

    while ((i = d->lists[ITEM_WIRE].head) && ack_deadline(d, i) <= now.now_ms) {
        d->counters.ack_timeouts++;
        item_wait(i, now);
    }
}

static void end_waits(struct dispatcher *d, struct session_time now)
{
    struct item *i;

    while ((i = d->lists[ITEM_WAITING].head) && i->order <= now.now_ms)
        item_ready(i);
}

/* Expires what is due; returns when the next of the list may be. */
static uint64_t expire_list(struct item_list *l, struct session_time now)
{
    uint64_t next = now.now_ms + LOOK_MS;
    struct item *i, *following;

    DL_FOREACH_SAFE(l->head, i, following) {
        if (is_expired(i, now))
            item_expire(i);
        else
            next = earlier(next, now.now_ms + (uint64_t)(entry_of(i)->expires_ms - now.wall_ms));
    }
    return next;
}

static void expire(struct dispatcher *d, struct session_time now)
{
    if (d->look_ms <= now.now_ms)
        d->look_ms =
            earlier(expire_list(&d->lists[ITEM_READY], now), expire_list(&d->lists[ITEM_WAITING], now));
}

void dispatcher_turn(struct dispatcher *d, struct session_time now)
{
    use_take(d, now);
    time_out(d, now);
    end_waits(d, now);
    expire(d, now);
    record_ends(d, now); /* before the next TAKE, so that both are in one transaction */
    take(d, now);
}

uint64_t dispatcher_deadline(const struct dispatcher *d)
{
    const struct item *wire = d->lists[ITEM_WIRE].head, *waiting = d->lists[ITEM_WAITING].head;
    uint64_t at = d->take.not_before_ms ? d->take.not_before_ms : UINT64_MAX;

    if (d->take.state == TAKE_DONE || d->lists[ITEM_ENDED].head)
        return 0;
    if (wire)
        at = earlier(at, ack_deadline(d, wire));
    if (waiting)
        at = earlier(at, waiting->order);
    if (waiting || d->lists[ITEM_READY].head)
        at = earlier(at, d->look_ms);
    return at;
}

/* ---- The end, and what it says of itself ---- */

void dispatcher_stop(struct dispatcher *d)
{
    d->stopping = true;
}

bool dispatcher_idle(const struct dispatcher *d)
{
    return d->take.state == TAKE_NONE && !d->lists[ITEM_ENDED].head && !d->lists[ITEM_RECORDING].head;
}

void dispatcher_write_stats(const struct dispatcher *d, struct json_writer *w)
{
#define COUNTER_WRITE(member, name) \
    json_next_key(w, name);         \
    json_uint(w, d->counters.member);
    DISPATCHER_COUNTERS(COUNTER_WRITE)
#undef COUNTER_WRITE
    json_next_key(w, "outboxOnWire");
    json_uint(w, d->lists[ITEM_WIRE].count);
    json_next_key(w, "outboxHeld");
    json_uint(w, d->taken);
}
