/*
 * The inheritance: what the process before left (kept.h), and how the hub takes it over: the ring as it was,
 * and each client where it stood. Whoever waited for an answer that only that process could give is told so.
 */
#ifndef IMD_INHERITANCE_H
#define IMD_INHERITANCE_H

#include "hub.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct inheritance;

/*
 * Takes over the memory and the numbers; at the beginning, before the hub has a storage. The descriptors are
 * taken over in any case. NULL: nothing was left, or none of it can be used (which is logged).
 */
struct inheritance *inheritance_open(struct hub *h, const struct hub_descriptor *d, size_t n);

/* The number of the first event whose line was left; one more than the last that was given when none was. */
uint64_t inheritance_first(const struct hub *h, const struct inheritance *i);

/* Events that were on their way to the disk, which has those up to `stored`, set out again. */
void inheritance_journal(struct hub *h, const struct inheritance *i, uint64_t stored);

/* The clients, once the hub can serve them; then the manager is told what is kept from here on. Frees it. */
void inheritance_take(struct hub *h, struct inheritance *i);
/* NULL is fine. Nobody is taken over; leave: but may be by a later process. */
void inheritance_free(struct hub *h, struct inheritance *i, bool leave);

#endif
