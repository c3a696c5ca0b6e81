/* epoll, and the publisher's place in it. */
#ifndef LOAD_READY_H
#define LOAD_READY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

#define READY_MAX 1024

struct ready {
    int epoll;
    struct epoll_event events[READY_MAX];
};

void ready_init(struct ready *r);
void ready_deinit(struct ready *r);
void ready_add(struct ready *r, int fd, void *owner);
void ready_want_write(struct ready *r, int fd, void *owner, bool write);
/* Events that are there, waiting for one if `wait`; 0 also after a signal. */
int ready_wait(struct ready *r, bool wait);

#endif
