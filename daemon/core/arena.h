/*
 * An arena: memory in a file descriptor (memfd). Whoever keeps the descriptor keeps the memory, so it can
 * outlive the process, however that ends; another process finds its way in it from the root. NULL in the
 * place of an arena is plain memory: malloc and free. Loop thread only.
 *
 * What is freed keeps its content, and is given to nobody, until the next arena_sweep: so memory that a
 * process leaves behind in the middle of a turn can be read as it was at any moment of that turn.
 */
#ifndef IMD_ARENA_H
#define IMD_ARENA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct arena;

/* Address space for `size` bytes, of which only what is used takes memory. 0 or a negative errno. */
int arena_new(struct arena **out, const char *name, size_t size);
void arena_free(struct arena *a); /* NULL is fine; all that is in it is gone for this process */
int arena_fd(const struct arena *a);

/* Zeroed, aligned to 16; NULL: no memory. release and resize: as free and realloc. */
void *arena_take(struct arena *a, size_t n);
void *arena_resize(struct arena *a, void *p, size_t n);
void arena_release(struct arena *a, void *p);
/* Whole pages, zeroed, at *offset in the descriptor; never given back. */
void *arena_take_pages(struct arena *a, size_t n, size_t *offset);

void arena_sweep(struct arena *a); /* NULL is fine */

/* What was written before is written first, as far as the next process is concerned; no instruction. */
static inline void arena_order(void)
{
    atomic_signal_fence(memory_order_seq_cst);
}

/* From here on it can be found out what is in it; format: of what the root is, the caller's word. */
void arena_set_root(struct arena *a, void *root, uint32_t format);

/* The arena in this descriptor is none any more, for nobody. */
void arena_supersede(int fd);

/*
 * What another process left. A view is a copy, which may be changed. -EPROTO: it is no arena, not of this
 * format, or has no root. -EBUSY: it was opened ARENA_TRIES times before, by processes that did not live long
 * enough to leave an arena of their own: what is in it may be what ends them.
 */
#define ARENA_TRIES 3
struct arena_view {
    char *map;
    size_t size;
    uintptr_t base; /* where it was in that process */
    void *root;     /* in the view */
};
int arena_view_open(struct arena_view *v, int fd, uint32_t format);
void arena_view_uncount(int fd); /* it was opened, and this process ends in order without having used it */
void arena_view_close(struct arena_view *v); /* twice is fine */
/* Of an address in that process; NULL: n bytes from there on are not in the arena. */
void *arena_view_at(const struct arena_view *v, const void *address, size_t n);
bool arena_view_holds(const struct arena_view *v, const void *p, size_t n); /* p: in the view */
/* Where in the descriptor that is; SIZE_MAX: it is not in the arena. */
size_t arena_view_offset(const struct arena_view *v, const void *address);

#endif
