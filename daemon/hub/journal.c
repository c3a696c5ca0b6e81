/* See journal.h. Batches are recycled: an event costs a copy of its line and of its index, no malloc. */
#include "journal.h"

#include "log.h"
#include "state.h"

#include <stdlib.h>
#include <string.h>

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

struct journal_batch {
    struct storage_append append; /* its first member */
    struct hub *hub;
    struct journal_batch *next;
    struct ring_block *block; /* what its one line lies in; NULL: bytes, below */
    bool alone;               /* made for one line */
    size_t used;
    char *bytes;
    struct storage_event events[];
};

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
    struct journal_batch *b = malloc(sizeof *b + events * sizeof *b->events + bytes);

    if (!b)
        return NULL;
    *b = (struct journal_batch){.hub = h, .bytes = (char *)(b->events + events)};
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

    if (j->open)
        return true;
    j->open = j->spare;
    if (j->open) {
        j->spare = j->open->next;
        j->spare_count--;
    } else {
        j->open = batch_make(h, BATCH_EVENTS, BATCH_BYTES);
    }
    if (j->open)
        batch_reset(j->open);
    return j->open;
}

static void batch_post(struct hub *h, struct journal_batch *b)
{
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
    struct journal_batch *b = h->journal.open;

    h->journal.open = NULL;
    batch_post(h, b);
}

static void append_done(struct storage_request *r)
{
    struct journal_batch *b = (struct journal_batch *)r;
    struct journal *j = &b->hub->journal;

    j->outstanding--;
    j->outstanding_bytes -= batch_load(b);
    ring_block_unref(b->block);
    if (b->alone || j->spare_count >= SPARES_MAX) {
        free(b);
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

    if (h->journal.open && h->journal.open->append.count)
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

static void take_line(struct hub *h, const struct ring_entry *e)
{
    struct journal_batch *b = h->journal.open;

    if (b && (b->append.count == BATCH_EVENTS || (b->append.count && b->used + e->len > BATCH_BYTES)))
        post_open(h);
    if (!open_batch(h)) {
        lose(h);
        return;
    }
    b = h->journal.open;
    memcpy(b->bytes + b->used, ring_line(&h->kept->ring, e), e->len);
    b->events[b->append.count++] = event_of(h, e, b->used);
    b->used += e->len;
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

uint64_t journal_due_ms(const struct hub *h)
{
    const struct journal *j = &h->journal;

    if (!j->open || !j->open->append.count || has_reached(j, eager_max))
        return UINT64_MAX;
    return j->posted_ms + JOURNAL_INTERVAL_MS;
}

void journal_post(struct hub *h, bool at_once)
{
    journal_collect(h);
    if (h->journal.open && h->journal.open->append.count &&
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

    free(j->open);
    while ((b = j->spare)) {
        j->spare = b->next;
        free(b);
    }
    *j = (struct journal){0};
}
