/*
 * A user of the machine: what all of its clients together have, so that one user's programs cannot take what
 * others need. It stays as long as something refers to it: a client, a message that waits for the server's
 * answer; and until what it has sent no longer counts against SendRate, so that a new connection is no way
 * round that. Loop thread only.
 */
#ifndef IMD_USER_H
#define IMD_USER_H

#include "log.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* SendRate: a token bucket that holds one second's worth; in thousandths of a message. */
struct send_bucket {
    uint64_t level;
    uint64_t at_ms; /* when it had that level */
};

struct user {
    struct user *prev, *next;
    uid_t uid;
    unsigned clients;
    unsigned pending;     /* messages that wait for the server's answer; their client may have gone */
    unsigned stored;      /* requests that wait for the store; likewise */
    struct log_limit log; /* of lines about it: nobody else's are left out for it */
    struct send_bucket bucket;
};

/* The users of a hub. */
struct users {
    struct user *list; /* doubly linked */
    unsigned rate;     /* SendRate: messages a second; 0: as many as they like */
};

void users_deinit(struct users *u);

/*
 * The user with one client more; NULL: no memory. Each is given back once. Of users that nothing refers to
 * any more some may still be there.
 */
struct user *users_join(struct users *u, uid_t uid, uint64_t now_ms);
void users_leave(struct users *u, struct user *user, uint64_t now_ms);

/* It waits for one more answer, of the server or (stored) of the store; or that has come. */
void users_ask(struct user *user, bool stored);
void users_answered(struct users *u, struct user *user, bool stored, uint64_t now_ms);

/* May it send one message now? That it did is told by users_sent. */
bool users_may_send(const struct users *u, struct user *user, uint64_t now_ms);
void users_sent(const struct users *u, struct user *user);

#endif
