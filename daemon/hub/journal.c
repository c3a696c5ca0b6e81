/* See journal.h. Batches are recycled: an event costs a copy of its line and of its index, no malloc. */
#include "journal.h"

#include "arena.h"
#include "log.h"
#include "state.h"

#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define BATCH_EVENTS 4096
#define BATCH_BYTES (1u << 20)
#define SPARES_MAX 2

/* What may be outstanding, in batches, which may be of a single event, and in bytes. */
struct load {
    unsigned batches;
    size_t bytes;
};
static const struct load eager_max = {16, 4u << 20}; /* with more, a batch that is not full waits */
static const struct load full_at = {32, 8u << 20};
static const struct load room_at = {16, 4u << 20};

static void append_done(struct storage_request *r);

static bool has_reached(const struct journal *j, struct load limit)
{
    return j->outstanding >= limit.batches || j->outstanding_bytes >= limit.bytes;
}

/* A line that is alone counts for no more than a full batch: one very large line does not stop the server. */
static size_t batch_load(const struct journal_batch *b)
{
    return b->alone ? BATCH_BYTES : b->used;
}

static struct journal_batch *batch_make(struct hub *h, size_t events, size_t bytes)
{
    struct journal_batch *b = arena_take(h->arena, sizeof *b + events * sizeof *b->events + bytes);

    if (!b)
        return NULL;
    b->hub = h;
    b->bytes = (char *)(b->events + events);
    return b;
}

static void batch_reset(struct journal_batch *b)
{
    b->used = 0;
    b->block = NULL;
    b->append = (struct storage_append){
        .request = {.op = STORAGE_APPEND, .done = append_done}, .events = b->events, .bytes = b->bytes};
}

/* An empty batch in `open`; false: no memory. */
static bool open_batch(struct hub *h)
{
    struct journal *j = &h->journal;
    struct journal_batch *b = j->spare;

    if (h->kept->open)
        return true;
    if (b) {
        j->spare = b->next;
        j->spare_count--;
    } else {
        b = batch_make(h, BATCH_EVENTS, BATCH_BYTES);
    }
    if (b)
        batch_reset(b);
    arena_order();
    h->kept->open = b;
    return b;
}

static void batch_post(struct hub *h, struct journal_batch *b)
{
    b->next = NULL;
    arena_order();
    LL_APPEND(h->kept->posted, b);
    arena_order();
    if (h->kept->open == b)
        h->kept->open = NULL;
    h->journal.outstanding++;
    h->journal.outstanding_bytes += batch_load(b);
    h->journal.posted_ms = loop_now_ms(h->loop);
    if (h->storage.post(h->storage.self, &b->append.request) < 0) {
        b->append.request.error =
            ERROR_STORAGE; /* cannot be: the store has room for what journal_is_full allows */
        append_done(&b->append.request);
    }
}

static void post_open(struct hub *h)
{
    batch_post(h, h->kept->open);
}

static void append_done(struct storage_request *r)
{
    struct journal_batch *b = (struct journal_batch *)r;
    struct journal *j = &b->hub->journal;

    LL_DELETE(b->hub->kept->posted, b);
    arena_order();
    j->outstanding--;
    j->outstanding_bytes -= batch_load(b);
    ring_block_unref(b->block);
    if (b->alone || j->spare_count >= SPARES_MAX) {
        arena_release(b->hub->arena, b);
        return;
    }
    b->next = j->spare;
    j->spare = b;
    j->spare_count++;
}

static struct storage_event event_of(const struct hub *h, const struct ring_entry *e, size_t at)
{
    return (struct storage_event){.seq = e->seq,
                                  .time_ms = loop_wall_ms(h->loop),
                                  .at = (uint32_t)at,
                                  .len = e->len,
                                  .index = e->index,
                                  .kind = e->kind};
}

static void lose(struct hub *h)
{
    h->journal.lost++;
    log_limited(LOG_ERR, "no memory: an event is missing in the history");
}

/*
 * A line that has a batch for itself: one in a block, which is shared and not copied, or one that is longer
 * than a batch (a quarter of the ring may be).
 */
static void take_alone(struct hub *h, const struct ring_entry *e)
{
    struct journal_batch *b;

    if (h->kept->open && h->kept->open->append.count)
        post_open(h); /* order is kept */
    b = batch_make(h, 1, e->block ? 0 : e->len);
    if (!b) {
        lose(h);
        return;
    }
    batch_reset(b);
    b->alone = true;
    if (e->block) {
        b->block = ring_block_ref(e->block);
        b->append.bytes = e->block->bytes;
    } else {
        memcpy(b->bytes, ring_line(&h->kept->ring, e), e->len);
    }
    b->append.count = 1;
    b->events[0] = event_of(h, e, 0);
    batch_post(h, b);
}

/* A batch that has room for a line of this length; NULL: no memory. */
static struct journal_batch *batch_for(struct hub *h, size_t len)
{
    struct journal_batch *b = h->kept->open;

    if (b && (b->append.count == BATCH_EVENTS || (b->append.count && b->used + len > BATCH_BYTES)))
        post_open(h);
    if (open_batch(h))
        return h->kept->open;
    lose(h);
    return NULL;
}

/* A line that is counted is whole. */
static void batch_add(struct journal_batch *b, const struct storage_event *e, const char *line)
{
    memcpy(b->bytes + b->used, line, e->len);
    b->events[b->append.count] = *e;
    b->used += e->len;
    arena_order();
    b->append.count++;
}

static void take_line(struct hub *h, const struct ring_entry *e)
{
    struct journal_batch *b = batch_for(h, e->len);
    struct storage_event event;

    if (!b)
        return;
    event = event_of(h, e, b->used);
    batch_add(b, &event, ring_line(&h->kept->ring, e));
}

void journal_collect(struct hub *h)
{
    struct journal *j = &h->journal;

    for (; j->cursor != h->kept->ring.head; j->cursor++) {
        const struct ring_entry *e = ring_entry(&h->kept->ring, j->cursor);

        if (!e->seq || !e->len || !h->options.history)
            continue; /* without a line: of one that did not come with an inheritance */
        if (e->block || e->len > BATCH_BYTES)
            take_alone(h, e);
        else
            take_line(h, e);
    }
}

/* One that is longer than a batch has one for itself. */
void journal_restore(struct hub *h, const struct storage_event *e, const char *line)
{
    bool alone = e->len > BATCH_BYTES;
    struct journal_batch *b;
    struct storage_event event = *e;

    if (alone && h->kept->open && h->kept->open->append.count)
        post_open(h);
    b = alone ? batch_make(h, 1, e->len) : batch_for(h, e->len);
    if (!b && alone)
        lose(h);
    if (!b)
        return;
    if (alone)
        batch_reset(b);
    b->alone = alone;
    event.at = (uint32_t)b->used;
    batch_add(b, &event, line);
    if (alone)
        batch_post(h, b);
}

uint64_t journal_due_ms(const struct hub *h)
{
    const struct journal *j = &h->journal;

    const struct journal_batch *b = h->kept->open;

    if (!b || !b->append.count || has_reached(j, eager_max))
        return UINT64_MAX;
    return j->posted_ms + JOURNAL_INTERVAL_MS;
}

void journal_post(struct hub *h, bool at_once)
{
    journal_collect(h);
    if (h->kept->open && h->kept->open->append.count &&
        (at_once || journal_due_ms(h) <= loop_now_ms(h->loop)))
        post_open(h);
}

bool journal_is_full(const struct hub *h)
{
    return has_reached(&h->journal, full_at);
}

bool journal_has_room(const struct hub *h)
{
    return !has_reached(&h->journal, room_at);
}

void journal_deinit(struct hub *h)
{
    struct journal *j = &h->journal;
    struct journal_batch *b;

    if (!h->leaving) {
        arena_release(h->arena, h->kept->open);
        h->kept->open = NULL;
    }
    while ((b = j->spare)) {
        j->spare = b->next;
        arena_release(h->arena, b);
    }
    *j = (struct journal){0};
}
