/*
 * What of the hub outlives the process. Under a service manager that keeps descriptors (fdstore.h), the ring,
 * and of each client where it stands, lie in an arena whose descriptor the manager keeps beside the clients'
 * connections. However this process ends, the next one goes on from there: no program has to connect anew,
 * misses an event or gets one twice. Without such a manager the same memory is malloc's.
 *
 * So all here must be true at any moment, also between two statements. Two things happen in the kernel and
 * are noted beforehand, so that the next process can find out how far they came: a write to a client and a
 * read from one. They are made by sendmmsg and recvmmsg, which note the number of bytes in our memory before
 * the call returns, that is, before a signal can end the process.
 *
 * The structures of this page, and those that they refer to (ring.h, subscriber.h, filter.h, line.h,
 * journal.h, storage.h, struct call), and the order of words in vocabulary.h, are a format that processes of
 * different builds share: whoever changes one of them counts KEPT_FORMAT up (their sizes are part of the
 * format by themselves); connections are then not taken over from a process of the format before.
 */
#ifndef IMD_KEPT_H
#define IMD_KEPT_H

#include "hub.h"
#include "line.h"
#include "ring.h"
#include "storage.h"
#include "subscriber.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define KEPT_FORMAT 2
#define KEPT_SIZE ((size_t)1 << 36) /* address space: ring, large lines, what waits for clients */
#define KEPT_SLOTS (1u << 16)
/*
 * More clients are served, but not kept: the names of all are one variable in the next process's environment,
 * which has room for 128 KiB, and the units' FileDescriptorStoreMax= is for so many and some more.
 */
#define KEPT_CLIENTS_MAX 4096u
#define KEPT_SPARE 4 /* descriptors at the manager that are not clients': the memory, and the one before */
#define KEPT_NONE UINT32_MAX

struct call;
struct client;
struct fdstore;
struct hub;
struct journal_batch;

/* Replies that wait to be written. */
struct replies {
    struct replies *next; /* of those that no client needs at the moment */
    size_t capacity, start, end;
    uint64_t base; /* place in the stream of the client's replies of bytes[0] */
    char bytes[];
};

/* Where a client stands. */
struct kept_client {
    uint32_t slot; /* KEPT_NONE: it is not kept */
    struct subscriber subscriber;
    struct filter *filter; /* a copy of the subscriber's; NULL: none, or it is not kept */
    struct replies *out;   /* NULL: none */
    struct line_reader reader;
    uint64_t received; /* bytes of its stream */
    uint64_t passed;   /* where descriptors came with it last, see passed.h */
    uint64_t replied;  /* place in the stream of its replies, while there is no `out` */
    uint64_t telling;  /* 1 + the place before the line that tells what it missed; 0: none is being written */
    enum subscriber_missed tells; /* of which kind; no longer to be told once that line is there */
    bool sends;                   /* has sent: what holds up frames to the server holds it up too */
    bool stores;                  /* has asked for what the store does: likewise */
    char *consumer;               /* the name of the one that it is; NUL-terminated; NULL: none */

    /* While its subscriber is parked: the next page begins behind `after`; or, once a page was given and is
     * written, behind `through`. */
    uint64_t after, through;
    bool page_given, from_oldest;
};

/* A write under way, from when it is made ready to when it is counted. */
struct kept_writing {
    uint32_t slot; /* KEPT_NONE: none */
    struct subscriber before;
    size_t start, own; /* of its replies: the first byte, and how many are in it */
    struct mmsghdr message;
};

/* A read under way, from before there is room for it to when it is counted. */
struct kept_reading {
    uint32_t slot;
    struct line_reader before;
    uint64_t received;
    struct mmsghdr message;
};

/* A request under way. */
struct kept_request {
    uint32_t slot;
    uint64_t number;  /* of requests, never twice */
    uint64_t replied; /* kept_replied, before */
    size_t start;     /* of its client's reader, before … */
    bool skipping;
    const char *line; /* NULL: it is still looked for */
    size_t len;
};

struct kept {
    uint64_t generation; /* of processes: the highest is the one to go on from */
    uint64_t seq;        /* the last number given to an event */
    struct ring ring;
    struct kept_writing writing;
    struct kept_reading reading;
    struct kept_request request;
    struct call *calls; /* `calls_used` were ever used */
    size_t calls_used;
    struct journal_batch *posted, *open; /* events on their way to the disk, in order; one that is filled */
    bool ended;                          /* the process has left all in order */
    uint8_t off; /* enum link_reason: why there is to be no link; 0: there is to be one */
    struct kept_client *clients[KEPT_SLOTS]; /* by slot */
};

/*
 * 0 or a negative errno. With fdstore, which stays the caller's: in an arena, if one can be had; NULL: in
 * plain memory. limit: how many descriptors the manager keeps; 0: not known.
 */
int kept_init(struct hub *h, struct fdstore *s, unsigned limit);
void kept_deinit(struct hub *h); /* twice is fine */
/* The manager gets the arena: from here on it is what the next process goes on from. False: it does not take
 * it. */
bool kept_publish(struct hub *h);
uint32_t kept_format(void); /* of the memory, as arena.h has it */

struct kept_client *kept_client_new(struct hub *h);               /* NULL: no memory */
struct kept_client *kept_client_at(struct hub *h, uint32_t slot); /* likewise, or the slot is taken */
void kept_client_free(struct hub *h, struct kept_client *k);
int kept_filter(struct hub *h, struct kept_client *k, const struct filter *f); /* 0 or -ENOMEM; NULL: none */

/* The manager gets a client's connection, unless it has it. */
void kept_store(struct client *c);
void kept_forget(struct client *c); /* for good: it is closed */

/* Place in the stream of its replies behind the last whole one: one value, so it is never half true. */
static inline uint64_t kept_replied(const struct kept_client *k)
{
    return k->out ? k->out->base + k->out->end : k->replied;
}

/* Names that descriptors have at the manager. */
#define KEPT_MEMORY_NAME HUB_DESCRIPTOR_NAME "memory-%" PRIu64 /* generation */
#define KEPT_CLIENT_NAME HUB_DESCRIPTOR_NAME "client-%" PRIu32 /* slot */

#endif
