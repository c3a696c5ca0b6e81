/*
 * The ring: the lines of the last events, each written once, delivered to any number of subscribers from
 * where it stands.
 *
 * One byte ring, mapped twice end to end so that every run of lines is contiguous, and an index with one
 * entry a line. Entries are named by their ordinal, which only grows; a subscriber is a cursor (ordinal,
 * offset in the line). A line longer than a quarter of the ring lives in a block of its own that its entry
 * refers to. Not thread-safe.
 *
 * Writing: ring_begin, write with the writer, then ring_end or ring_abandon. What is oldest goes when room is
 * needed; before an entry at or behind `guard` goes, `overtaking` is called, which must move the cursors that
 * are there.
 */
#ifndef IMD_RING_H
#define IMD_RING_H

#include "event.h"
#include "json_writer.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Shared by the ring and by subscribers that still send from it; freed with the last reference. */
struct ring_block {
    uint32_t refs;
    size_t len;
    char *bytes;
    struct arena *arena; /* that it and its bytes lie in; NULL: plain memory */
};
struct arena;
/* One reference; without bytes, or with a copy of these. NULL: no memory. */
struct ring_block *ring_block_new(struct arena *a);
struct ring_block *ring_block_copy(struct arena *a, const char *bytes, size_t len);

struct ring_block *ring_block_ref(struct ring_block *b);
void ring_block_unref(struct ring_block *b); /* NULL is fine */

/* 64 bytes: one cache line. */
struct ring_entry {
    uint64_t at;  /* absolute byte position of the line; meaningless with a block */
    uint64_t seq; /* 0: not logged */
    struct ring_block *block;
    uint32_t len;
    uint8_t kind;
    struct event_index index;
};

struct ring {
    struct arena *arena; /* all that it has lies in it; NULL: plain memory */
    char *bytes;         /* 2 x size, mapped twice */
    char *once;          /* the same in the arena, once */
    size_t size;
    struct ring_entry *index;
    uint64_t index_mask;
    uint64_t head, tail;             /* ordinals: the next to be written, the oldest that is there */
    uint64_t head_byte, tail_byte;   /* absolute byte positions */
    uint64_t guard;                  /* no cursor is below this ordinal */
    size_t block_bytes, block_limit; /* of all blocks together */
    size_t block_count;
    uint64_t blocks_from; /* no block is below this ordinal */
    uint64_t whole_from;  /* from this ordinal on, no line has lost its block */

    void (*overtaking)(void *owner, uint64_t ordinal); /* entry `ordinal` is about to go */
    void *owner;

    struct json_writer writer; /* the line being written */
    size_t writer_lead;
    struct ring_block *writer_block;
};

/* The shortest line; the index has an entry for each such line that the ring can hold. */
#define RING_LINE_MIN 64

/* size is rounded up to a power of two of at least 64 KiB. 0 or a negative errno. */
int ring_init(struct ring *r, size_t size, size_t block_limit, struct arena *a);

/* So much of a descriptor, from this offset, twice in a row; prot as in mmap(2). NULL: errno says why. */
char *ring_map_twice(int fd, size_t size, size_t offset, int prot);

/*
 * For a new ring, in which nothing is yet: all lines of an old one, under the same ordinals; the oldest do
 * not come when it is smaller, or memory ends. -EBADMSG: the old one contradicts itself; some lines came.
 */
int ring_restore(struct ring *r, const struct ring *old);
void ring_deinit(struct ring *r); /* safe to call twice, but for one in an arena */

/*
 * A writer for one line of about `hint` bytes, which grows as needed; `lead` bytes before it are the caller's
 * too. The writer's base is behind the lead. NULL: no memory.
 */
struct json_writer *ring_begin(struct ring *r, size_t hint, size_t lead);

/*
 * The line begins `lead_used` bytes (<= lead) before the writer's base and must end with '\n'; event's places
 * count from the line's first byte. Returns false when the writer had failed: the same as ring_abandon.
 */
bool ring_end(struct ring *r, size_t lead_used, const struct event *e);
void ring_abandon(struct ring *r);

static inline const struct ring_entry *ring_entry(const struct ring *r, uint64_t ordinal)
{
    return &r->index[ordinal & r->index_mask];
}

static inline const char *ring_line(const struct ring *r, const struct ring_entry *e)
{
    return e->block ? e->block->bytes : r->bytes + (e->at & (r->size - 1));
}

/* Bytes of ring lines from this ordinal to the head; blocks not counted. */
static inline uint64_t ring_lag(const struct ring *r, uint64_t ordinal)
{
    return ordinal == r->head ? 0 : r->head_byte - ring_entry(r, ordinal)->at;
}

/* The ordinal of the first logged line whose seq is greater; the head when there is none. */
uint64_t ring_find(const struct ring *r, uint64_t seq);

/* Entries below this ordinal are needed by nobody: their blocks can go. No cursor may then be put below
 * whole_from. */
void ring_release_blocks(struct ring *r, uint64_t below);

#endif
