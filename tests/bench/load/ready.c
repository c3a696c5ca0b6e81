#include "ready.h"
#include "failure.h"

#include <errno.h>
#include <unistd.h>

void ready_init(struct ready *r)
{
    r->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (r->epoll < 0)
        fail("epoll");
}

void ready_deinit(struct ready *r)
{
    close(r->epoll);
    r->epoll = -1;
}

void ready_add(struct ready *r, int fd, void *owner)
{
    struct epoll_event e = {.events = EPOLLIN, .data.ptr = owner};

    if (epoll_ctl(r->epoll, EPOLL_CTL_ADD, fd, &e) < 0)
        fail("epoll_ctl");
}

void ready_want_write(struct ready *r, int fd, void *owner, bool write)
{
    struct epoll_event e = {.events = EPOLLIN | (write ? EPOLLOUT : 0), .data.ptr = owner};

    if (epoll_ctl(r->epoll, EPOLL_CTL_MOD, fd, &e) < 0)
        fail("epoll_ctl");
}

int ready_wait(struct ready *r, bool wait)
{
    int n = epoll_wait(r->epoll, r->events, READY_MAX, wait ? -1 : 0);

    if (n < 0 && errno != EINTR)
        fail("epoll_wait");
    return n < 0 ? 0 : n;
}
