/*
 * Scope-bound cleanup: `_cleanup_(foo_freep) struct foo *x = NULL;` and handing over: `*out = x; x = NULL;`.
 */
#ifndef IMD_CLEANUP_H
#define IMD_CLEANUP_H

#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))

static inline void freep(void *p)
{
    free(*(void **)p);
}

static inline void closep(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

/* Defines foo_freep for a foo_free that accepts NULL. */
#define DEFINE_CLEANUP(type, free_function)      \
    static inline void free_function##p(type *p) \
    {                                            \
        free_function(*p);                       \
    }

#endif
