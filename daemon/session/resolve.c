/*
 * A lookup is two objects: what the loop knows of it (struct resolve: whom to call) and what loop and thread
 * share (struct job: the name, the result, an eventfd), which lives until both have let go. The thread
 * touches nothing but the job; so a cancelled lookup may end whenever getaddrinfo pleases, even while the
 * process leaves main.
 */
#include "resolve.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>
#include <unistd.h>

struct job {
    atomic_int holders; /* loop, thread */
    atomic_bool done;   /* published after the result, which is immutable from then on */
    int wake;
    struct resolve_result result;
    char host[];
};

struct resolve {
    struct job *job;
    sd_event_source *source;
    void (*done)(void *self, const struct resolve_result *r);
    void *self;
};

static void job_release(struct job *j)
{
    if (atomic_fetch_sub(&j->holders, 1) > 1)
        return;
    close(j->wake);
    free(j);
}

static int job_new(struct job **out, const char *host)
{
    size_t len = strlen(host);
    struct job *j = calloc(1, sizeof(*j) + len + 1);

    if (!j)
        return -ENOMEM;
    j->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (j->wake < 0) {
        int r = -errno;
        free(j);
        return r;
    }
    memcpy(j->host, host, len + 1);
    atomic_init(&j->holders, 1);
    atomic_init(&j->done, false);
    *out = j;
    return 0;
}

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

static void look_up(const char *host, struct resolve_result *r)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    struct addrinfo *found = NULL;

    r->error = getaddrinfo(host, NULL, &hints, &found);
    if (r->error != 0)
        return;
    for (const struct addrinfo *a = found; a && r->count < RESOLVE_ADDRESSES_MAX; a = a->ai_next)
        add_address(r, a);
    freeaddrinfo(found);
    if (r->count == 0)
        r->error = EAI_NONAME;
}

static void *run(void *shared)
{
    struct job *j = shared;

    look_up(j->host, &j->result);
    atomic_store(&j->done, true);
    eventfd_write(j->wake, 1);
    job_release(j);
    return NULL;
}

/* Signals are the loop's: the thread is born with all of them blocked. */
static int start_thread(struct job *j)
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;

    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    atomic_fetch_add(&j->holders, 1);
    int r = pthread_create(&thread, &attributes, run, j);
    if (r != 0)
        atomic_fetch_sub(&j->holders, 1);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return -r;
}

/* ---- the loop ---- */

static int on_done(sd_event_source *s, int fd, uint32_t events, void *self)
{
    struct resolve *r = self;

    if (!atomic_load(&r->job->done))
        return 0;
    struct resolve ended = *r;
    sd_event_source_ref(s); /* the caller still uses it */
    sd_event_source_disable_unref(r->source);
    free(r);
    ended.done(ended.self, &ended.job->result);
    job_release(ended.job);
    sd_event_source_unref(s);
    return 0;
}

int resolve_start(struct resolve **out, struct sd_event *ev, const char *host,
                  void (*done)(void *self, const struct resolve_result *r), void *self)
{
    struct resolve *r = calloc(1, sizeof(*r));

    if (!r)
        return -ENOMEM;
    *r = (struct resolve){.done = done, .self = self};
    int e = job_new(&r->job, host);
    if (e >= 0)
        e = sd_event_add_io(ev, &r->source, r->job->wake, EPOLLIN, on_done, r);
    if (e >= 0)
        e = start_thread(r->job);
    if (e < 0) {
        resolve_cancel(r);
        return e;
    }
    *out = r;
    return 0;
}

void resolve_cancel(struct resolve *r)
{
    if (!r)
        return;
    sd_event_source_disable_unref(r->source);
    if (r->job)
        job_release(r->job);
    free(r);
}
