/* One time a message, and what they say together. */
#ifndef LOAD_LATENCY_H
#define LOAD_LATENCY_H

#include <stddef.h>
#include <stdint.h>

struct latency {
    uint64_t *ns;
    size_t count, size;
};

void latency_init(struct latency *l, size_t size);
void latency_deinit(struct latency *l);
static inline void latency_add(struct latency *l, uint64_t ns)
{
    if (l->count < l->size)
        l->ns[l->count++] = ns;
}

/* Sorts, and prints `,"latencyUs":{…}` to stdout. */
void latency_print(struct latency *l);

#endif
