/*
 * See ring.h. Positions are absolute 64-bit counts; the memory address of one is its low bits. Because of the
 * second mapping a line, or a run of lines, that crosses the end of the ring is contiguous all the same.
 */
#include "ring.h"

#include "arena.h"
#include "cleanup.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static_assert(sizeof(struct ring_entry) == 64, "an index entry is one cache line");

#define RING_SIZE_MIN (64u << 10)
#define RING_WRITER_MIN 1024 /* a line's first reservation, beyond twice its hint */

struct ring_block *ring_block_new(struct arena *a)
{
    struct ring_block *b = arena_take(a, sizeof *b);

    if (b)
        *b = (struct ring_block){.refs = 1, .arena = a};
    return b;
}

struct ring_block *ring_block_copy(struct arena *a, const char *bytes, size_t len)
{
    struct ring_block *b = ring_block_new(a);

    if (!b || !(b->bytes = arena_resize(a, NULL, len))) {
        ring_block_unref(b);
        return NULL;
    }
    memcpy(b->bytes, bytes, len);
    b->len = len;
    return b;
}

struct ring_block *ring_block_ref(struct ring_block *b)
{
    b->refs++;
    return b;
}

void ring_block_unref(struct ring_block *b)
{
    if (!b || --b->refs)
        return;
    arena_release(b->arena, b->bytes);
    arena_release(b->arena, b);
}

static size_t round_up(size_t size)
{
    size_t n = RING_SIZE_MIN;

    while (n < size)
        n *= 2;
    return n;
}

/* Both halves of a reservation of twice the size show the same memory. */
char *ring_map_twice(int fd, size_t size, size_t offset, int prot)
{
    char *map = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    for (unsigned half = 0; half < 2 && map != MAP_FAILED; half++) {
        int error;

        if (mmap(map + half * size, size, prot, MAP_SHARED | MAP_FIXED, fd, (off_t)offset) != MAP_FAILED)
            continue;
        error = errno;
        munmap(map, 2 * size);
        errno = error;
        return NULL;
    }
    return map == MAP_FAILED ? NULL : map;
}

static int map_bytes(struct ring *r)
{
    _cleanup_(closep) int own = r->arena ? -1 : memfd_create("imd-ring", MFD_CLOEXEC);
    int fd = r->arena ? arena_fd(r->arena) : own;
    size_t offset = 0;

    if (r->arena && !(r->once = arena_take_pages(r->arena, r->size, &offset)))
        return -ENOMEM;
    if (fd < 0 || (!r->arena && ftruncate(fd, (off_t)r->size) < 0))
        return -errno;
    r->bytes = ring_map_twice(fd, r->size, offset, PROT_READ | PROT_WRITE);
    return r->bytes ? 0 : -errno;
}

static size_t index_bytes(const struct ring *r)
{
    return (r->index_mask + 1) * sizeof *r->index;
}

static int map_index(struct ring *r)
{
    size_t offset;
    void *at;

    r->index_mask = r->size / RING_LINE_MIN - 1;
    if (r->arena)
        return (r->index = arena_take_pages(r->arena, index_bytes(r), &offset)) ? 0 : -ENOMEM;
    at = mmap(NULL, index_bytes(r), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
              0);
    if (at == MAP_FAILED)
        return -errno;
    r->index = at;
    return 0;
}

int ring_init(struct ring *r, size_t size, size_t block_limit, struct arena *a)
{
    int error;

    *r = (struct ring){.size = round_up(size), .block_limit = block_limit, .arena = a};
    error = map_bytes(r);
    if (!error)
        error = map_index(r);
    if (error)
        ring_deinit(r);
    return error;
}

/* ---- What goes ---- */

static void drop_block(struct ring *r, struct ring_entry *e)
{
    struct ring_block *b = e->block;

    if (!b)
        return;
    e->len = 0; /* it has no line from here on … */
    arena_order();
    e->block = NULL;
    arena_order(); /* … and nobody who was left it looks at the block */
    r->block_bytes -= b->len;
    r->block_count--;
    ring_block_unref(b);
}

static struct ring_entry *entry_at(struct ring *r, uint64_t ordinal)
{
    return &r->index[ordinal & r->index_mask];
}

static void evict_oldest(struct ring *r)
{
    if (r->tail >= r->guard && r->overtaking)
        r->overtaking(r->owner, r->tail);
    drop_block(r, entry_at(r, r->tail));
    r->tail++;
    r->tail_byte = r->tail == r->head ? r->head_byte : entry_at(r, r->tail)->at;
    arena_order(); /* before its bytes are written over */
}

static void make_room(struct ring *r, size_t n)
{
    while (r->head != r->tail &&
           (r->size - (r->head_byte - r->tail_byte) < n || r->head - r->tail > r->index_mask))
        evict_oldest(r);
}

/* Seqs rise with ordinals, but for lines that have none. */
uint64_t ring_find(const struct ring *r, uint64_t seq)
{
    uint64_t low = r->tail, high = r->head; /* nothing below low is greater; all logged from high on is */

    while (low < high) {
        uint64_t middle = low + (high - low) / 2, at = middle;

        while (at < high && !ring_entry(r, at)->seq)
            at++;
        if (at < high && ring_entry(r, at)->seq <= seq)
            low = at + 1;
        else
            high = middle;
    }
    while (low < r->head && !ring_entry(r, low)->seq)
        low++;
    return low;
}

void ring_release_blocks(struct ring *r, uint64_t below)
{
    for (uint64_t at = r->blocks_from > r->tail ? r->blocks_from : r->tail; r->block_count && at < below;
         at++) {
        if (entry_at(r, at)->block)
            r->whole_from = at + 1;
        drop_block(r, entry_at(r, at));
        r->blocks_from = at + 1;
    }
}

/* In an arena it stays as it is, for whoever goes on from there. */
void ring_deinit(struct ring *r)
{
    if (r->arena) {
        if (r->bytes)
            munmap(r->bytes, 2 * r->size);
        r->bytes = NULL;
        return;
    }
    ring_abandon(r);
    r->overtaking = NULL;
    while (r->index && r->head != r->tail)
        evict_oldest(r);
    if (r->bytes)
        munmap(r->bytes, 2 * r->size);
    if (r->index && !r->arena)
        munmap(r->index, index_bytes(r));
    *r = (struct ring){0};
}

/* ---- Writing ---- */

/* Old blocks go until this much more fits below the limit; false when it is too much by itself. */
static bool make_block_room(struct ring *r, size_t n)
{
    if (n > r->block_limit)
        return false;
    while (r->head != r->tail && r->block_count && r->block_bytes + n > r->block_limit)
        evict_oldest(r);
    return true;
}

static size_t writer_quarter(const struct ring *r)
{
    return r->size / 4;
}

static void writer_place(struct ring *r, char *start, size_t text, size_t room)
{
    r->writer.base = start + r->writer_lead;
    r->writer.at = r->writer.base + text;
    r->writer.end = start + room;
}

static bool writer_grow_block(struct ring *r, size_t total)
{
    struct ring_block *b = r->writer_block;
    size_t capacity = b->len > total ? b->len : total;
    char *bytes;

    if (!make_block_room(r, capacity))
        capacity = total;
    if (!make_block_room(r, capacity) || !(bytes = arena_resize(b->arena, b->bytes, capacity)))
        return false;
    b->bytes = bytes;
    b->len = capacity;
    return true;
}

/* From the ring into a block of its own, with what is already written. */
static bool writer_move_to_block(struct ring *r, size_t total)
{
    const char *start = r->writer.base ? r->writer.base - r->writer_lead : NULL;
    size_t used = start ? (size_t)(r->writer.at - start) : 0;

    r->writer_block = ring_block_new(r->arena);
    if (!r->writer_block)
        return false;
    if (!writer_grow_block(r, total)) {
        ring_block_unref(r->writer_block);
        r->writer_block = NULL;
        return false;
    }
    if (used)
        memcpy(r->writer_block->bytes, start, used);
    return true;
}

static bool writer_grow(struct json_writer *w, size_t need)
{
    struct ring *r = w->owner;
    size_t text = json_writer_length(w);
    size_t total = r->writer_lead + text + need;
    size_t wanted = total + total / 4 + RING_WRITER_MIN; /* so that growing stays rare */

    if (wanted > r->block_limit && total <= r->block_limit)
        wanted = r->block_limit; /* up to the end: else each byte from here on would be a realloc */

    if (!r->writer_block && wanted <= writer_quarter(r)) {
        make_room(r, wanted);
        w->end = w->base - r->writer_lead + wanted;
        return true;
    }
    if (r->writer_block ? !writer_grow_block(r, wanted) && !writer_grow_block(r, total)
                        : !writer_move_to_block(r, wanted) && !writer_move_to_block(r, total))
        return false;
    writer_place(r, r->writer_block->bytes, text, r->writer_block->len);
    return true;
}

struct json_writer *ring_begin(struct ring *r, size_t hint, size_t lead)
{
    size_t room = lead + 2 * hint + RING_WRITER_MIN;

    r->writer = (struct json_writer){.grow = writer_grow, .owner = r};
    r->writer_lead = lead;
    if (hint >= writer_quarter(r) - lead - RING_WRITER_MIN) {
        if (!writer_move_to_block(r, lead + hint + hint / 16 + RING_WRITER_MIN))
            return NULL;
        writer_place(r, r->writer_block->bytes, 0, r->writer_block->len);
        return &r->writer;
    }
    if (room > writer_quarter(r))
        room = writer_quarter(r);
    make_room(r, room);
    writer_place(r, r->bytes + (r->head_byte & (r->size - 1)), 0, room);
    return &r->writer;
}

void ring_abandon(struct ring *r)
{
    ring_block_unref(r->writer_block);
    r->writer_block = NULL;
    r->writer = (struct json_writer){0};
}

static void fill_entry(struct ring_entry *e, const struct event *event, uint64_t at, size_t len)
{
    *e = (struct ring_entry){.at = at, .seq = event->seq, .len = (uint32_t)len, .kind = (uint8_t)event->kind};
    event_index_fill(&e->index, &event->fields);
}

/* The line as it stands in the writer's memory moves to where lines begin there, and gives back what it did
 * not use. */
static void settle_block(struct ring *r, struct ring_entry *e, size_t skip, size_t len)
{
    struct ring_block *b = r->writer_block;
    char *fitted;

    memmove(b->bytes, b->bytes + skip, len);
    fitted = arena_resize(b->arena, b->bytes, len);
    b->bytes = fitted ? fitted : b->bytes;
    b->len = len;
    e->block = b;
    if (!r->block_count++)
        r->blocks_from = r->head;
    r->block_bytes += len;
    r->writer_block = NULL;
}

bool ring_end(struct ring *r, size_t lead_used, const struct event *event)
{
    size_t skip = r->writer_lead - lead_used;
    size_t len = json_writer_length(&r->writer) + lead_used;
    struct ring_entry *e = entry_at(r, r->head);

    if (r->writer.failed) {
        ring_abandon(r);
        return false;
    }
    make_room(r, 0); /* the index has a place */
    fill_entry(e, event, r->head_byte, len);
    if (r->writer_block) {
        settle_block(r, e, skip, len);
    } else {
        char *start = r->writer.base - r->writer_lead;

        if (skip)
            memmove(start, start + skip, len);
        r->head_byte += len;
    }
    arena_order(); /* a line that is counted is whole */
    r->head++;
    r->writer = (struct json_writer){0};
    return true;
}

/* ---- From one that another process left ---- */

/* A line, where its block has not gone, lies where lines may, and ends. */
static bool is_sound(const struct ring *r, const struct ring_entry *e)
{
    if (!e->len)
        return !e->block;
    if (!e->block && (e->at < r->tail_byte || e->at + e->len > r->head_byte))
        return false;
    return ring_line(r, e)[e->len - 1] == '\n';
}

static int restore_block(struct ring *r, struct ring_entry *to, const struct ring_entry *from,
                         const char *line)
{
    struct ring_block *b = make_block_room(r, from->len) ? ring_block_copy(r->arena, line, from->len) : NULL;

    if (!b)
        return -ENOMEM;
    to->block = b;
    if (!r->block_count++)
        r->blocks_from = r->head;
    r->block_bytes += b->len;
    return 0;
}

/* A line whose block is not to be had leaves an entry without a line, as in ring_release_blocks. */
static void restore_line(struct ring *r, const struct ring *old, const struct ring_entry *e)
{
    bool lost = e->len == 0, large = e->block || e->len > writer_quarter(r);
    struct ring_entry *to;

    make_room(r, large || lost ? 0 : e->len);
    to = entry_at(r, r->head);
    *to = *e;
    to->at = r->head_byte;
    to->block = NULL;
    if (large) {
        lost = restore_block(r, to, e, ring_line(old, e)) < 0;
    } else if (!lost) {
        memcpy(r->bytes + (r->head_byte & (r->size - 1)), ring_line(old, e), e->len);
        r->head_byte += e->len;
    }
    if (lost) {
        to->len = 0;
        r->whole_from = r->head + 1;
    }
    r->head++;
}

/* Places in memory follow absolute positions, which go on from those of the old ring. */
static int restore(struct ring *r, const struct ring *old)
{
    if (old->head < old->tail || old->head - old->tail > old->index_mask + 1 ||
        old->head_byte - old->tail_byte > old->size)
        return -EBADMSG;
    r->head = r->tail = r->blocks_from = old->tail;
    r->head_byte = r->tail_byte = old->tail_byte;
    r->whole_from = old->whole_from;
    for (uint64_t at = old->tail; at != old->head; at++) {
        const struct ring_entry *e = ring_entry(old, at);

        if (!is_sound(old, e))
            return -EBADMSG;
        restore_line(r, old, e);
    }
    return 0;
}

int ring_restore(struct ring *r, const struct ring *old)
{
    void (*overtaking)(void *, uint64_t) = r->overtaking;
    int error;

    r->overtaking = NULL; /* nobody is in it yet */
    error = restore(r, old);
    r->overtaking = overtaking;
    r->guard = r->tail;
    return error;
}
