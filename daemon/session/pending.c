/* See pending.h. A chained hash table over a pool; three lists thread through the same entries. */
#include "pending.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* FNV-1a over the seed: ids are UUIDs in general, and the chains are bounded by the pool in any case. */
static uint32_t hash_of(const struct pending *p, const char *id, size_t len)
{
    uint32_t h = 2166136261u ^ p->seed;

    for (size_t i = 0; i < len; i++)
        h = (h ^ (uint8_t)id[i]) * 16777619u;
    return h ^ (h >> 15);
}

static uint32_t bucket_count(size_t entries)
{
    uint32_t n = 16;

    while (n < entries)
        n *= 2;
    return n;
}

static size_t entry_max(const struct pending *p)
{
    return 2 * (p->waiting_max + p->queued_max);
}

int pending_init(struct pending *p, size_t waiting_max, size_t queued_max, uint32_t seed)
{
    *p = (struct pending){.seed = seed, .waiting_max = waiting_max, .queued_max = queued_max};
    p->mask = bucket_count(entry_max(p)) - 1;
    p->pool = calloc(entry_max(p), sizeof *p->pool);
    p->buckets = calloc((size_t)p->mask + 1, sizeof(struct pending_entry *));
    if (!p->pool || !p->buckets) {
        pending_deinit(p);
        return -ENOMEM;
    }
    return 0;
}

void pending_deinit(struct pending *p)
{
    free(p->pool);
    free(p->buckets);
    *p = (struct pending){0};
}

static bool is_queued(const struct pending_entry *e)
{
    return e->deadline_ms == PENDING_NO_DEADLINE;
}

static struct pending_list *list_of(struct pending *p, const struct pending_entry *e)
{
    if (e->state != PENDING_WAITING)
        return &p->finished;
    return is_queued(e) ? &p->queued : &p->waiting;
}

static size_t *count_of(struct pending *p, const struct pending_entry *e)
{
    return is_queued(e) ? &p->queued_count : &p->waiting_count;
}

static void list_remove(struct pending_list *l, struct pending_entry *e)
{
    *(e->older ? &e->older->newer : &l->oldest) = e->newer;
    *(e->newer ? &e->newer->older : &l->newest) = e->older;
    e->older = e->newer = NULL;
}

static void list_insert_after(struct pending_list *l, struct pending_entry *at, struct pending_entry *e)
{
    e->older = at;
    e->newer = at ? at->newer : l->oldest;
    *(e->older ? &e->older->newer : &l->oldest) = e;
    *(e->newer ? &e->newer->older : &l->newest) = e;
}

static void bucket_remove(struct pending *p, struct pending_entry *e)
{
    struct pending_entry **at = &p->buckets[e->hash & p->mask];

    while (*at != e)
        at = &(*at)->chain;
    *at = e->chain;
}

static void entry_release(struct pending *p, struct pending_entry *e)
{
    list_remove(list_of(p, e), e);
    bucket_remove(p, e);
    e->chain = p->free;
    p->free = e;
}

static struct pending_entry *entry_take(struct pending *p)
{
    struct pending_entry *e;

    if (!p->free && p->used < entry_max(p))
        return &p->pool[p->used++];
    if (!p->free && p->finished.oldest)
        entry_release(p, p->finished.oldest);
    e = p->free;
    if (e)
        p->free = e->chain;
    return e;
}

struct pending_entry *pending_find(const struct pending *p, const char *id, size_t len)
{
    uint32_t h = hash_of(p, id, len);

    for (struct pending_entry *e = p->buckets[h & p->mask]; e; e = e->chain)
        if (e->hash == h && e->id_len == len && memcmp(e->id, id, len) == 0)
            return e;
    return NULL;
}

/* Nearly all sends wait equally long, so the place is nearly always the end. */
static void waiting_insert(struct pending *p, struct pending_entry *e)
{
    struct pending_list *l = list_of(p, e);
    struct pending_entry *at = l->newest;

    while (at && at->deadline_ms > e->deadline_ms)
        at = at->older;
    list_insert_after(l, at, e);
    ++*count_of(p, e);
}

static bool is_full(const struct pending *p, uint64_t deadline_ms)
{
    return deadline_ms == PENDING_NO_DEADLINE ? p->queued_count >= p->queued_max
                                              : p->waiting_count >= p->waiting_max;
}

static bool may_follow(const struct pending_entry *e, uint64_t deadline_ms)
{
    return e->state == PENDING_UNKNOWN ||
           (e->state == PENDING_ANSWERED && deadline_ms == PENDING_NO_DEADLINE);
}

enum pending_result pending_add(struct pending *p, const char *id, size_t len, struct link_call *call,
                                uint64_t deadline_ms, uint64_t sent_us)
{
    struct pending_entry *e = pending_find(p, id, len);

    if (e && !may_follow(e, deadline_ms))
        return PENDING_KNOWN;
    if (is_full(p, deadline_ms))
        return PENDING_FULL;
    if (e)
        entry_release(p, e);
    e = entry_take(p); /* never NULL: at most half of the pool's entries wait */
    e->call = call;
    e->deadline_ms = deadline_ms;
    e->sent_us = sent_us;
    e->hash = hash_of(p, id, len);
    e->id_len = (uint16_t)len;
    e->state = PENDING_WAITING;
    memcpy(e->id, id, len);
    e->chain = p->buckets[e->hash & p->mask];
    p->buckets[e->hash & p->mask] = e;
    waiting_insert(p, e);
    return PENDING_ADDED;
}

void pending_finish(struct pending *p, struct pending_entry *e, enum pending_state state)
{
    list_remove(list_of(p, e), e);
    if (e->state == PENDING_WAITING)
        --*count_of(p, e);
    e->state = (uint8_t)state;
    if (state == PENDING_ANSWERED || !is_queued(e))
        e->call = NULL;
    list_insert_after(&p->finished, p->finished.newest, e);
}

void pending_abandon(struct pending *p, struct pending_entry *e)
{
    if (e->state == PENDING_WAITING)
        pending_finish(p, e, PENDING_UNKNOWN);
    e->call = NULL;
}

struct pending_entry *pending_first(const struct pending *p)
{
    return p->waiting.oldest;
}

struct pending_entry *pending_first_queued(const struct pending *p)
{
    return p->queued.oldest;
}
