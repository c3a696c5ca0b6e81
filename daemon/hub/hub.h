/*
 * The hub: local programs on one side, the link on the other, the ring between. It accepts and reads clients,
 * answers requests, and at the end of each turn of the loop writes to each client, once, what waits for it.
 * Loop thread only.
 */
#ifndef IMD_HUB_H
#define IMD_HUB_H

#include "access.h"
#include "link.h"
#include "storage.h"

#include <stddef.h>
#include <stdint.h>

struct fdstore;
struct hub;
struct loop;

/* Strings are the caller's and must live as long as the hub. */
struct hub_options {
    const char *account;
    size_t ring_size, max_line, max_message;
    unsigned max_clients, max_clients_per_user, max_pending, max_pending_per_user;
    unsigned send_rate; /* messages a second of one user; 0: as many as it likes */
    uint64_t stall_timeout_ms;
    bool history;
    uint64_t outbox_expires_ms;
    struct fdstore *fdstore; /* for what is to outlive the process, see kept.h; NULL: nothing is */
    unsigned fdstore_limit;  /* descriptors that it takes; 0: not known */
    struct access access;    /* its lists too */
};

/* One that came back from the service manager. What hubs give to it has names that begin so. */
#define HUB_DESCRIPTOR_NAME "imd-"
struct hub_descriptor {
    int fd;
    const char *name;
};

/* Of events that the process before left: the last that was given, and the first whose line is there. */
struct hub_numbers {
    uint64_t last, first; /* 0: none */
};

/* 0 or a negative errno. The listener table is for the session; the link is set before hub_listen. */
int hub_new(struct hub **out, struct loop *loop, const struct hub_options *o);
void hub_free(struct hub *h); /* NULL is fine; closes all clients */

const struct link_listener *hub_listener(struct hub *h);
void hub_set_link(struct hub *h, const struct link *link);

/*
 * Takes over what the process before left, to begin with; the descriptors go to the hub whatever comes of
 * that. hub_resume goes on with its clients, before any other is accepted; hub_leave leaves the clients to
 * the next process: nothing more is read.
 */
struct hub_numbers hub_inherit(struct hub *h, const struct hub_descriptor *d, size_t n);
void hub_resume(struct hub *h);
void hub_leave(struct hub *h);
enum link_reason
hub_link_off(const struct hub *h); /* the process before was told so, and why; 0: it was not */

/* What the store tells goes to the listener. seq: the last number that was given to an event; stored: the
 * last that is in the history. */
const struct storage_listener *hub_storage_listener(struct hub *h);
void hub_set_storage(struct hub *h, const struct storage *s, uint64_t seq, uint64_t stored);

/* The last number given to an event. */
uint64_t hub_seq(const struct hub *h);

/*
 * New limits and rights from here on, also for those who are connected; ring_size, max_pending and history
 * stay what they were. A subscriber that may not receive any more is disconnected.
 */
void hub_configure(struct hub *h, const struct hub_options *o);

/* Accepts clients from this listening socket, which stays the caller's. */
int hub_listen(struct hub *h, int fd);
void hub_stop_accepting(struct hub *h);

/* Writes what can be written at once, and gives the store what it has not yet: before the end. */
void hub_flush(struct hub *h);

#endif
