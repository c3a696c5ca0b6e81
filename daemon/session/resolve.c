/* See resolve.h: a task that knows the name, and then the result. */
#include "resolve.h"

#include "task.h"

#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

struct resolve {
    struct task task; /* its first member */
    void (*done)(void *self, const struct resolve_result *r);
    void *self;
    struct resolve_result result;
    char host[];
};

/* ---- the thread ---- */

static bool is_known(const struct resolve_result *r, const char *address)
{
    for (unsigned i = 0; i < r->count; i++)
        if (strcmp(r->address[i], address) == 0)
            return true;
    return false;
}

static void add_address(struct resolve_result *r, const struct addrinfo *a)
{
    char *address = r->address[r->count];

    if (getnameinfo(a->ai_addr, a->ai_addrlen, address, sizeof(r->address[0]), NULL, 0, NI_NUMERICHOST) ==
            0 &&
        !is_known(r, address))
        r->count++;
}

static void look_up(struct task *t)
{
    struct resolve *r = (struct resolve *)t;
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *found = NULL;

    r->result.error = getaddrinfo(r->host, NULL, &hints, &found);
    if (r->result.error != 0)
        return;
    for (const struct addrinfo *a = found; a && r->result.count < RESOLVE_ADDRESSES_MAX; a = a->ai_next)
        add_address(&r->result, a);
    freeaddrinfo(found);
    if (r->result.count == 0)
        r->result.error = EAI_NONAME;
}

/* ---- the loop ---- */

static void looked_up(struct task *t)
{
    struct resolve *r = (struct resolve *)t;

    r->done(r->self, &r->result);
}

static void resolve_free(struct task *t)
{
    free(t);
}

int resolve_start(struct resolve **out, struct sd_event *ev, const char *host,
                  void (*done)(void *self, const struct resolve_result *r), void *self)
{
    size_t size = strlen(host) + 1;
    struct resolve *r = calloc(1, sizeof(*r) + size);

    if (!r)
        return -ENOMEM;
    *r = (struct resolve){
        .task = {.run = look_up, .done = looked_up, .free = resolve_free}, .done = done, .self = self};
    memcpy(r->host, host, size);
    int e = task_start(&r->task, ev);
    if (e == 0)
        *out = r;
    return e;
}

void resolve_cancel(struct resolve *r)
{
    if (r)
        task_cancel(&r->task);
}
