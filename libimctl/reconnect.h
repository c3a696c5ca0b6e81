/*
 * Coming back by itself. A connection that is lost is tried again until imd answers; what it is asked then is
 * the subscription, or `hello` when there is none. An epoll(7) descriptor stands for the sockets, which come
 * and go.
 */
#ifndef IMCTL_RECONNECT_H
#define IMCTL_RECONNECT_H

#include "imctl.h"

struct reconnect {
    int epoll;
    uint32_t armed;    /* what epoll waits for; 0: it has no socket */
    bool away;         /* from the loss until imd has answered */
    bool refused;      /* imd answered, but not as was hoped … */
    bool refusal_told; /* … which was told, and is not told again before it is back */
    int64_t due;       /* while there is no socket: when to try next */
    int delay_ms;
    void (*changed)(struct imctl *c, int error, void *userdata);
    void *userdata;
};

void reconnect_free(struct reconnect *r);

/* The connection is over, for now; its requests were answered. */
void reconnect_lost(struct imctl *c, int error);

/* Tries it when it is time. */
void reconnect_attempt(struct imctl *c);

/* Has epoll wait for what the connection waits for. */
void reconnect_arm(struct imctl *c);

/* Until the next attempt; -1: none is due. */
int reconnect_timeout(const struct imctl *c);

#endif
