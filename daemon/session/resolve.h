/*
 * Name lookup as a task (see task.h), a thread that hands back an immutable result: getaddrinfo blocks
 * (10 s with a silent name server), the loop must not.
 */
#ifndef IMD_RESOLVE_H
#define IMD_RESOLVE_H

#include <netinet/in.h>
#include <stdint.h>

struct sd_event;
struct resolve; /* a lookup under way */

#define RESOLVE_ADDRESSES_MAX 16

struct resolve_result {
    int error; /* 0, or an EAI_… value; then count is 0 */
    unsigned count;
    char address[RESOLVE_ADDRESSES_MAX]
                [INET6_ADDRSTRLEN + 16]; /* numeric, in the order to try; may bear %scope */
};

/*
 * Starts a lookup (AF_UNSPEC, SOCK_STREAM, AI_ADDRCONFIG). `done` is called from the event loop exactly once,
 * unless cancelled; the result is valid during the call, and the lookup is gone after it. 0 or a negative
 * errno.
 */
int resolve_start(struct resolve **out, struct sd_event *ev, const char *host,
                  void (*done)(void *self, const struct resolve_result *r), void *self);

/* Forgets a lookup: done will not be called; the thread ends by itself and its result is thrown away. NULL is
 * fine. */
void resolve_cancel(struct resolve *r);

#endif
