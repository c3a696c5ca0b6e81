/*
 * See arena.h. Chunks are powers of two, each with a head; those that are free are listed by size, and the
 * pages of large ones go back to the kernel. Nothing here is needed to read what was left, so it may stand
 * anyhow when the process is killed.
 */
#include "arena.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE 4096u
#define CLASS_MIN 6    /* 64 bytes */
#define CLASS_LARGE 16 /* from here on the pages of a free chunk go back */
#define CLASSES 48

struct chunk {
    uint32_t class;
    uint32_t dirty;     /* was used before: to be zeroed */
    struct chunk *next; /* while it is free */
};

static const char MAGIC[8] = "imdarena";

struct head {
    char magic[sizeof MAGIC];
    uint32_t format;
    uint32_t opened;     /* as a view, so often */
    uint64_t base, root; /* root: an address; 0: none yet */
    uint64_t top;        /* no more than this was ever used */
};

struct arena {
    int fd;
    size_t size;
    struct head *head; /* at the arena's base */
    struct chunk *free[CLASSES];
    struct chunk *limbo; /* freed since the last sweep */
};

int arena_new(struct arena **out, const char *name, size_t size)
{
    struct arena *a = calloc(1, sizeof *a);
    void *base = MAP_FAILED;

    if (!a)
        return -ENOMEM;
    a->fd = memfd_create(name, MFD_CLOEXEC);
    if (a->fd >= 0 && ftruncate(a->fd, (off_t)size) == 0)
        base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, a->fd, 0);
    if (base == MAP_FAILED) {
        int error = -errno;

        arena_free(a);
        return error;
    }
    madvise(base, size, MADV_DONTDUMP); /* a core would make memory of all that was never used */
    a->size = size;
    a->head = base;
    *a->head = (struct head){.base = (uintptr_t)base, .top = sizeof *a->head};
    memcpy(a->head->magic, MAGIC, sizeof MAGIC);
    *out = a;
    return 0;
}

void arena_free(struct arena *a)
{
    if (!a)
        return;
    if (a->head)
        munmap(a->head, a->size);
    if (a->fd >= 0)
        close(a->fd);
    free(a);
}

int arena_fd(const struct arena *a)
{
    return a->fd;
}

/* ---- Chunks ---- */

static size_t class_size(uint32_t class)
{
    return (size_t)1 << class;
}

static uint32_t class_of(size_t n)
{
    uint32_t class = CLASS_MIN;

    while (class_size(class) < n)
        class ++;
    return class;
}

static struct chunk *chunk_of(void *p)
{
    return (struct chunk *)p - 1;
}

/* Of the part that was never used. */
static void *carve(struct arena *a, size_t n, size_t alignment)
{
    size_t at = (a->head->top + alignment - 1) & ~(alignment - 1);

    if (at > a->size || n > a->size - at)
        return NULL;
    a->head->top = at + n;
    return (char *)a->head + at;
}

static struct chunk *chunk_take(struct arena *a, uint32_t class)
{
    struct chunk *c = a->free[class];

    if (c) {
        a->free[class] = c->next;
        return c;
    }
    c = carve(a, class_size(class), class_size(class) < PAGE ? class_size(class) : PAGE);
    if (c)
        *c = (struct chunk){.class = class};
    return c;
}

void *arena_take(struct arena *a, size_t n)
{
    struct chunk *c;

    if (!a)
        return calloc(1, n);
    c = n < a->size ? chunk_take(a, class_of(sizeof *c + n)) : NULL;
    if (!c)
        return NULL;
    if (c->dirty)
        memset(c + 1, 0, c->class >= CLASS_LARGE && n > PAGE - sizeof *c ? PAGE - sizeof *c : n);
    return c + 1;
}

void *arena_take_pages(struct arena *a, size_t n, size_t *offset)
{
    void *p = carve(a, (n + PAGE - 1) & ~(size_t)(PAGE - 1), PAGE);

    *offset = p ? (size_t)((char *)p - (char *)a->head) : 0;
    return p;
}

void arena_release(struct arena *a, void *p)
{
    struct chunk *c = p ? chunk_of(p) : NULL;

    if (!a) {
        free(p);
    } else if (c) {
        c->next = a->limbo;
        a->limbo = c;
    }
}

void *arena_resize(struct arena *a, void *p, size_t n)
{
    size_t room = a && p ? class_size(chunk_of(p)->class) - sizeof(struct chunk) : 0;
    void *larger;

    if (!a)
        return realloc(p, n);
    if (n <= room)
        return p;
    larger = arena_take(a, n);
    if (larger && p) {
        memcpy(larger, p, room);
        arena_release(a, p);
    }
    return larger;
}

/* Behind the page with its head. */
static void give_pages_back(struct chunk *c)
{
    if (c->class >= CLASS_LARGE)
        madvise((char *)c + PAGE, class_size(c->class) - PAGE, MADV_REMOVE);
}

void arena_sweep(struct arena *a)
{
    struct chunk *c;

    while (a && (c = a->limbo)) {
        a->limbo = c->next;
        give_pages_back(c);
        c->dirty = 1;
        c->next = a->free[c->class];
        a->free[c->class] = c;
    }
}

void arena_set_root(struct arena *a, void *root, uint32_t format)
{
    a->head->format = format;
    a->head->root = (uintptr_t)root;
}

/* ---- What another process left ---- */

/* In the arena itself, where the next process finds it. */
static int count_opening(int fd, uint32_t opened)
{
    return pwrite(fd, &opened, sizeof opened, offsetof(struct head, opened)) == (ssize_t)sizeof opened ? 0
                                                                                                       : -EIO;
}

void arena_view_uncount(int fd)
{
    struct head head;

    if (pread(fd, &head, sizeof head, 0) == (ssize_t)sizeof head && head.opened)
        count_opening(fd, head.opened - 1);
}

void arena_supersede(int fd)
{
    static const uint64_t none = 0;

    /* What cannot be written is no memory, and so no arena. */
    if (pwrite(fd, &none, sizeof none, offsetof(struct head, root)) < 0)
        return;
}

static int read_head(struct head *head, int fd, uint32_t format)
{
    struct stat st;
    ssize_t n = pread(fd, head, sizeof *head, 0);

    if (n < 0 || fstat(fd, &st) < 0)
        return -errno;
    if (n != (ssize_t)sizeof *head || memcmp(head->magic, MAGIC, sizeof MAGIC) != 0 ||
        head->format != format || head->top < sizeof *head || head->top > (uint64_t)st.st_size)
        return -EPROTO;
    return head->opened >= ARENA_TRIES ? -EBUSY : 0;
}

static int map_view(struct arena_view *v, const struct head *head, int fd)
{
    void *map = mmap(NULL, head->top, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, 0);

    if (map == MAP_FAILED)
        return -errno;
    madvise(map, head->top, MADV_DONTDUMP);
    *v = (struct arena_view){.map = map, .size = head->top, .base = (uintptr_t)head->base};
    v->root = arena_view_at(v, (const void *)(uintptr_t)head->root, 1);
    return v->root ? count_opening(fd, head->opened + 1) : -EPROTO;
}

int arena_view_open(struct arena_view *v, int fd, uint32_t format)
{
    struct head head;
    int r = read_head(&head, fd, format);

    *v = (struct arena_view){0};
    if (r == 0)
        r = map_view(v, &head, fd);
    if (r < 0)
        arena_view_close(v);
    return r;
}

void arena_view_close(struct arena_view *v)
{
    if (v->map)
        munmap(v->map, v->size);
    *v = (struct arena_view){0};
}

void *arena_view_at(const struct arena_view *v, const void *address, size_t n)
{
    uintptr_t at = (uintptr_t)address - v->base;

    return address && at < v->size && n <= v->size - at ? v->map + at : NULL;
}

bool arena_view_holds(const struct arena_view *v, const void *p, size_t n)
{
    size_t offset = (size_t)((const char *)p - v->map);

    return offset < v->size && n <= v->size - offset;
}

size_t arena_view_offset(const struct arena_view *v, const void *address)
{
    const char *at = arena_view_at(v, address, 1);

    return at ? (size_t)(at - v->map) : SIZE_MAX;
}
