/* See kept.h. */
#include "kept.h"

#include "arena.h"
#include "client.h"
#include "fdstore.h"
#include "log.h"
#include "state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <utlist.h>

#define PUBLISH_MS 1000 /* how long the service manager may take, at the start */

/* ---- The whole ---- */

static void *resize_line(struct line_memory *m, void *p, size_t n)
{
    struct arena *a = ((struct hub_lines *)m)->arena;

    if (n)
        return arena_resize(a, p, n);
    arena_release(a, p);
    return NULL;
}

/* imd does without, where there is no address space for one. */
static void make_arena(struct hub *h)
{
    int r = h->fdstore ? arena_new(&h->arena, "imd", KEPT_SIZE) : 0;

    if (r < 0)
        log_warning("connections will not outlive this process: %s", strerror(-r));
    h->lines = (struct hub_lines){.memory.resize = resize_line, .arena = h->arena};
}

static unsigned clients_max(unsigned limit)
{
    unsigned clients = limit > KEPT_SPARE ? limit - KEPT_SPARE : 0;

    return !limit || clients > KEPT_CLIENTS_MAX ? KEPT_CLIENTS_MAX : clients;
}

int kept_init(struct hub *h, struct fdstore *s, unsigned limit)
{
    h->fdstore = s;
    h->kept_max = clients_max(limit);
    make_arena(h);
    h->kept = arena_take(h->arena, sizeof *h->kept);
    if (!h->kept) {
        arena_free(h->arena);
        h->arena = NULL;
        return -ENOMEM;
    }
    h->kept->writing.slot = h->kept->reading.slot = h->kept->request.slot = KEPT_NONE;
    return 0;
}

void kept_deinit(struct hub *h)
{
    arena_release(h->arena, h->kept);
    h->kept = NULL;
    arena_free(h->arena);
    h->arena = NULL;
}

uint32_t kept_format(void)
{
    return KEPT_FORMAT << 24 ^
           (uint32_t)(sizeof(struct kept) + 3 * sizeof(struct kept_client) + 5 * sizeof(struct ring_entry) +
                      7 * sizeof(struct ring_block) + 11 * sizeof(struct call) + 13 * sizeof(struct filter) +
                      17 * sizeof(struct journal_batch) + 19 * sizeof(struct storage_event) +
                      23 * sizeof(struct replies) + 29 * EVENT_KIND_COUNT);
}

bool kept_publish(struct hub *h)
{
    char name[FDSTORE_NAME_MAX];

    arena_set_root(h->arena, h->kept, kept_format());
    snprintf(name, sizeof name, KEPT_MEMORY_NAME, h->kept->generation);
    fdstore_put(h->fdstore, arena_fd(h->arena), name);
    return fdstore_finish(h->fdstore, PUBLISH_MS);
}

/* ---- A client ---- */

static uint32_t free_slot(struct hub *h)
{
    if (!h->arena || h->kept_count >= h->kept_max)
        return KEPT_NONE; /* most are free: one is within reach */
    while (h->kept->clients[h->slot_hint % KEPT_SLOTS])
        h->slot_hint++;
    return h->slot_hint++ % KEPT_SLOTS;
}

struct kept_client *kept_client_at(struct hub *h, uint32_t slot)
{
    bool is_taken = slot != KEPT_NONE && h->kept->clients[slot];
    struct kept_client *k = is_taken ? NULL : arena_take(h->arena, sizeof *k);

    if (!k)
        return NULL;
    line_reader_init(&k->reader, h->options.max_line, &h->lines.memory);
    k->slot = slot;
    arena_order();
    if (slot == KEPT_NONE)
        return k;
    h->kept->clients[slot] = k;
    h->kept_count++;
    return k;
}

struct kept_client *kept_client_new(struct hub *h)
{
    return kept_client_at(h, free_slot(h));
}

static void leave_slot(struct hub *h, struct kept_client *k)
{
    if (k->slot != KEPT_NONE) {
        h->kept->clients[k->slot] = NULL;
        h->kept_count--;
    }
    k->slot = KEPT_NONE;
    arena_order();
}

void kept_client_free(struct hub *h, struct kept_client *k)
{
    leave_slot(h, k);
    line_reader_deinit(&k->reader);
    subscriber_deinit(&k->subscriber);
    arena_release(h->arena, k->filter);
    arena_release(h->arena, k->out);
    arena_release(h->arena, k->consumer);
    arena_release(h->arena, k);
}

int kept_filter(struct hub *h, struct kept_client *k, const struct filter *f)
{
    struct filter *copy = NULL;

    if (k->slot == KEPT_NONE)
        return 0;
    if (f && !(copy = arena_take(h->arena, f->size)))
        return -ENOMEM;
    if (f)
        memcpy(copy, f, f->size);
    arena_order();
    arena_release(h->arena, k->filter);
    k->filter = copy;
    arena_order();
    return 0;
}

void kept_store(struct client *c)
{
    char name[FDSTORE_NAME_MAX];

    if (c->stored || c->closed || c->kept->slot == KEPT_NONE)
        return;
    snprintf(name, sizeof name, KEPT_CLIENT_NAME, c->kept->slot);
    c->stored = fdstore_put(c->hub->fdstore, c->fd, name) == 0;
}

/* The manager's copy would keep the connection open; shut down it is over at once, whenever that goes. */
void kept_forget(struct client *c)
{
    char name[FDSTORE_NAME_MAX];

    if (c->stored) {
        snprintf(name, sizeof name, KEPT_CLIENT_NAME, c->kept->slot);
        shutdown(c->fd, SHUT_RDWR);
        fdstore_remove(c->hub->fdstore, name);
    }
    c->stored = false;
    leave_slot(c->hub, c->kept);
}
