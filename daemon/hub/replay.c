/* See replay.h. */
#include "replay.h"

#include "state.h"

#include "arena.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <utlist.h>

#define PAGE_MAX (64u << 10)
#define PAGE_MIN (4u << 10)
#define PAGES_BUDGET (16u << 20) /* of all pages; a page's share shrinks with the number of replays … */
#define PAGE_LINES 1024
#define READING_MAX \
    8 /* pages being read at a time: what a page of a single huge line may be is not known before */

struct page {
    struct storage_read read; /* its first member */
    struct hub *hub;
    struct client *client;    /* NULL: nobody wants it any more */
    struct filter *filter;    /* a copy: the store's thread looks at it */
    struct ring_block *block; /* for the lines, once they are there */
    bool reading;
};

/* ---- Pages ---- */

static void page_free(struct page *p)
{
    p->hub->page_bytes -= p->read.len;
    p->hub->page_count--;
    filter_free(p->filter);
    ring_block_unref(p->block);
    free(p->read.bytes);
    free(p->read.lines);
    free(p);
}

static void leave_queue(struct client *c)
{
    if (c->replay.starved)
        DL_DELETE2(c->hub->starved, c, replay.starved_prev, replay.starved_next);
    c->replay.starved = false;
}

void replay_end(struct client *c)
{
    struct page *p = c->replay.page;

    c->replay.page = NULL;
    leave_queue(c);
    if (p && p->reading)
        p->client = NULL;
    else if (p)
        page_free(p);
}

static bool has_room(const struct hub *h)
{
    return h->page_bytes < PAGES_BUDGET && h->pages_reading < READING_MAX;
}

static void starve(struct client *c)
{
    if (!c->replay.starved)
        DL_APPEND2(c->hub->starved, c, replay.starved_prev, replay.starved_next);
    c->replay.starved = true;
}

static void ask_for_page(struct client *c);

/*
 * Programs that do not read must not hold up others that would: their pages are taken back, but for the line
 * that is half written. They ask again when they read.
 */
static void take_pages_back(struct hub *h)
{
    for (struct client *c = h->clients; c; c = c->next)
        if (c->blocked && c->kept->subscriber.parked && c->replay.page && !c->replay.page->reading)
            replay_again(c); /* does not fail: it is parked already */
}

void replay_feed_starved(struct hub *h)
{
    struct client *c;

    if (h->starved && h->page_bytes >= PAGES_BUDGET)
        take_pages_back(h);
    while ((c = h->starved) && has_room(h)) {
        leave_queue(c);
        ask_for_page(c);
        if (c->replay.starved)
            break; /* no memory, or the store takes no more for now */
    }
}

static size_t page_size(const struct hub *h)
{
    size_t share = PAGES_BUDGET / h->page_count;

    return share < PAGE_MIN ? PAGE_MIN : share > PAGE_MAX ? PAGE_MAX : share;
}

/* ---- Into the ring ---- */

/* It was away from the ring while lines that have no number passed there. */
static void note_unnumbered(struct client *c, uint64_t ordinal)
{
    const struct hub *h = c->hub;
    struct subscriber *s = &c->kept->subscriber;
    uint64_t from = c->replay.parked_at;

    if (s->kinds >> EVENT_STATUS & 1 && h->last_status >= from && h->last_status < ordinal)
        s->status_missed = true;
    if (s->kinds >> EVENT_OUTBOX & 1 && h->last_outbox >= from && h->last_outbox < ordinal)
        s->outbox_missed = true;
}

static void join(struct client *c, uint64_t ordinal)
{
    note_unnumbered(c, ordinal);
    replay_end(c);
    c->kept->from_oldest = false;
    subscriber_join(&c->kept->subscriber, ordinal);
    if (ordinal < c->hub->kept->ring.guard)
        c->hub->kept->ring.guard = ordinal;
}

static uint64_t seq_at(const struct ring *r, uint64_t ordinal)
{
    return ordinal < r->head ? ring_entry(r, ordinal)->seq : 0;
}

/* The ring has the event that comes next, or there is none yet. */
static bool try_join(struct client *c)
{
    const struct hub *h = c->hub;
    uint64_t at = ring_find(&h->kept->ring, c->replay.after);
    bool is_wanted = c->kept->subscriber.kinds & EVENT_KINDS_WANTED;
    bool is_next = at >= h->kept->ring.whole_from && seq_at(&h->kept->ring, at) == c->replay.after + 1;

    if (!is_wanted)
        at = h->kept->ring.head; /* it asked for nothing that is kept */
    else if (c->replay.after < h->kept->seq && !is_next)
        return false;
    join(c, at);
    return true;
}

/* What lies before this ordinal cannot be had: it is announced. */
static void join_behind_gap(struct client *c, uint64_t at, const char *reason)
{
    const struct hub *h = c->hub;
    struct subscriber *s = &c->kept->subscriber;
    uint64_t from = s->gap_from ? s->gap_from : c->replay.after + 1;

    while (at < h->kept->ring.head && !seq_at(&h->kept->ring, at))
        at++;
    s->gap_to = at < h->kept->ring.head ? seq_at(&h->kept->ring, at) - 1 : h->kept->seq;
    snprintf(s->gap_reason, sizeof s->gap_reason, "%s", reason);
    arena_order();
    s->gap_from = s->gap_to >= from && s->kinds & EVENT_KINDS_WANTED ? from : 0;
    c->hub->counters.drops += s->gap_from ? s->gap_to - s->gap_from + 1 : 0;
    join(c, at);
}

/* The first event behind that number that the ring still has whole. */
static uint64_t whole_behind(const struct ring *r, uint64_t seq)
{
    uint64_t at = ring_find(r, seq);

    return at > r->whole_from ? at : r->whole_from;
}

/* Not at the ring's tail, where the next event would overtake it. */
static uint64_t middle_behind(const struct ring *r, uint64_t seq)
{
    uint64_t first = whole_behind(r, seq), middle = r->tail + (r->head - r->tail) / 2;

    return first > middle ? first : middle;
}

/* ---- From the store ---- */

static void page_done(struct storage_request *r)
{
    struct page *p = (struct page *)r;
    struct client *c = p->client;

    p->reading = false;
    p->hub->pages_reading--;
    p->hub->page_bytes += p->read.len;
    if (!c) {
        page_free(p);
        return;
    }
    hub_mark_dirty(c->hub, c);
    if (r->error || p->read.through <= p->read.after) {
        replay_end(c);
        join_behind_gap(c, middle_behind(&c->hub->kept->ring, c->replay.after), GAP_STORAGE);
        return;
    }
    c->replay.after = p->read.through;
    c->replay.from_oldest = false; /* what goes from here on is missed */
}

/* For the next process: where a page begins that is still to be read, or to be given. */
static void stand_at(struct client *c, uint64_t after, bool from_oldest)
{
    c->kept->after = after;
    c->kept->from_oldest = from_oldest;
    arena_order();
    c->kept->page_given = false;
    arena_order();
}

static struct page *page_make(struct client *c)
{
    struct hub *h = c->hub;
    const struct subscriber *s = &c->kept->subscriber;
    struct page *p = calloc(1, sizeof *p);

    if (!p)
        return NULL;
    h->page_count++;
    p->hub = h;
    p->client = c;
    p->filter = s->filter ? filter_copy(s->filter) : NULL;
    p->block = ring_block_new(h->arena);
    p->read = (struct storage_read){.request = {.op = STORAGE_READ, .done = page_done},
                                    .after = c->replay.after,
                                    .head = h->kept->seq,
                                    .since_ms = INT64_MIN,
                                    .until_ms = INT64_MAX,
                                    .kinds = s->kinds & EVENT_KINDS_LOGGED,
                                    .filter = p->filter,
                                    .limit = PAGE_LINES,
                                    .max_bytes = page_size(h),
                                    .gaps = true,
                                    .from_oldest = c->replay.from_oldest};
    if (p->block && (!s->filter || p->filter))
        return p;
    page_free(p);
    return NULL;
}

static void ask_for_page(struct client *c)
{
    struct hub *h = c->hub;
    struct page *p = has_room(h) ? page_make(c) : NULL;

    if (!p) {
        starve(c);
        return;
    }
    journal_post(h, true); /* so that the store has all that the ring may have dropped */
    if (h->storage.post(h->storage.self, &p->read.request) < 0) {
        page_free(p);
        starve(c);
        return;
    }
    stand_at(c, c->replay.after, c->replay.from_oldest);
    h->counters.pages++;
    h->counters.replays += !c->replay.fed;
    c->replay.fed = true;
    p->reading = true;
    h->pages_reading++;
    c->replay.page = p;
}

/*
 * The page that came goes to the subscriber, which writes it from where it is; the page itself stays for its
 * numbers and its bytes' account.
 */
static void give_page(struct client *c)
{
    struct page *p = c->replay.page;
    struct kept_client *k = c->kept;

    p->block->len = p->read.len;
    if (c->hub->arena)
        memcpy(p->block->bytes, p->read.bytes, p->read.len);
    else
        p->block->bytes = p->read.bytes;
    k->through = c->replay.after;
    subscriber_feed(&k->subscriber, p->block, p->read.count);
    arena_order();
    k->page_given = true;
    p->block = NULL;
    if (c->hub->arena)
        free(p->read.bytes);
    p->read.bytes = NULL;
}

/* Bytes that outlive the process are not malloc's. False: no memory. */
static bool has_place(struct page *p)
{
    struct arena *a = p->hub->arena;

    return !a || p->block->bytes || (p->block->bytes = arena_resize(a, NULL, p->read.len));
}

void replay_step(struct client *c)
{
    struct page *p = c->replay.page;

    if ((p && p->reading) || c->replay.starved)
        return;
    if (p && p->read.bytes && has_place(p)) {
        give_page(c);
        return;
    }
    if (p && p->read.bytes) {
        client_close(c, "no memory for what it missed");
        return;
    }
    replay_end(c); /* it has been written */
    if (try_join(c))
        return;
    if (c->hub->starved)
        starve(c); /* others have waited longer */
    else
        ask_for_page(c);
}

/* ---- Begin ---- */

uint64_t replay_seq(const struct client *c)
{
    const struct page *p = c->replay.page;
    const struct subscriber *s = &c->kept->subscriber;
    uint64_t seq = p ? p->read.after : 0;
    size_t end = 0;

    if (!p || p->reading || !p->read.count)
        return c->replay.after;
    if (p->read.bytes) /* not begun */
        return seq;
    if (!s->rest)
        return c->replay.after;
    for (uint32_t i = 0; i < p->read.count && end < s->rest_at; i++) {
        end += p->read.lines[i].len;
        seq = p->read.lines[i].seq; /* at least begun, so it will be finished */
    }
    return seq;
}

static int park(struct client *c, uint64_t after, bool from_oldest)
{
    uint64_t parked_at = c->kept->subscriber.parked ? c->replay.parked_at : c->kept->subscriber.cursor;

    stand_at(c, after, from_oldest);
    if (subscriber_park(&c->kept->subscriber, &c->hub->kept->ring) < 0)
        return -ENOMEM;
    replay_end(c);
    c->replay.after = after;
    c->replay.from_oldest = from_oldest;
    c->replay.fed = false;
    c->replay.parked_at = parked_at;
    hub_mark_dirty(c->hub, c);
    return 0;
}

/* Into the ring at once, if what comes next is there, or is nowhere. */
static void begin(struct client *c)
{
    struct hub *h = c->hub;
    uint64_t after = c->replay.after;

    if (try_join(c) || h->options.history)
        return;
    if (c->replay.from_oldest)
        join(c, whole_behind(&h->kept->ring, after));
    else
        join_behind_gap(c, whole_behind(&h->kept->ring, after), GAP_NO_HISTORY);
}

int replay_begin(struct client *c, uint64_t after, bool from_oldest)
{
    int r = park(c, after, from_oldest);

    if (r < 0)
        return r;
    c->kept->subscriber.gap_from = c->kept->subscriber.gap_to = 0; /* what it missed where it was before */
    begin(c);
    return 0;
}

int replay_resume(struct client *c, uint64_t after, bool from_oldest)
{
    int r = park(c, after, from_oldest);

    if (r == 0)
        begin(c);
    return r;
}

int replay_again(struct client *c)
{
    const struct page *p = c->replay.page;
    uint64_t seq = replay_seq(c);
    bool unbegun = p && !p->reading && seq == p->read.after;

    return replay_resume(c, seq, unbegun ? p->read.from_oldest : c->replay.from_oldest);
}

int replay_overtaken(struct client *c)
{
    return park(c, subscriber_seq(&c->kept->subscriber, &c->hub->kept->ring, c->hub->kept->seq), false);
}
