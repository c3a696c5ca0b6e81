/* See store.h. The loop's side: it counts what is under way, and calls `done` for what comes back. */
#include "store.h"
#include "beat.h"
#include "loop.h"
#include "mailbox.h"
#include "worker.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#define TAKEN_AT_ONCE 64

struct store {
    struct loop_source source;
    struct loop *loop;
    struct storage_listener listener;
    struct worker_port port;
    char *folder;
    pthread_t thread;
    bool running, closing;
    bool nudging;                /* the nudge is under way */
    unsigned waiting, refusable; /* posted and not done: all, and those that may be refused */
};

#define container_of(pointer, type, member) ((type *)(void *)((char *)(pointer)-offsetof(type, member)))

/* ---- what comes back ---- */

static bool may_be_refused(int op)
{
    return op != STORAGE_APPEND && op != STORAGE_RESERVE && op != STORAGE_TAKE && op != STORAGE_FINISH;
}

static void on_nudged(struct storage_request *r)
{
    container_of(r, struct store, port.nudge)->nudging = false;
}

static void on_changed(struct storage_request *r)
{
    struct store *s = container_of(r, struct store, port.changed);

    if (s->listener.changed)
        s->listener.changed(s->listener.self);
    mailbox_post(s->port.in, r);
}

static void on_expired(struct storage_request *r)
{
    struct store *s = container_of(r, struct store, port.expired.note);

    for (unsigned i = 0; i < s->port.expired.count && s->listener.expired; i++)
        s->listener.expired(s->listener.self, &s->port.expired.entries[i]);
    mailbox_post(s->port.in, r);
}

static void end_request(struct store *s, struct storage_request *r)
{
    if ((int)r->op < WORKER_STOP) {
        s->waiting--;
        s->refusable -= may_be_refused(r->op);
    }
    r->done(r);
}

static bool take_back(struct store *s)
{
    void *items[TAKEN_AT_ONCE];
    size_t n = mailbox_take(s->port.out, items, TAKEN_AT_ONCE);

    for (size_t i = 0; i < n; i++)
        end_request(s, items[i]);
    return n > 0;
}

static void on_ready(struct loop_source *source, uint32_t events)
{
    take_back(container_of(source, struct store, source));
}

/* ---- starting and ending ---- */

static void port_init(struct store *s, const struct store_options *o)
{
    struct worker_port *p = &s->port;

    p->options = *o;
    p->options.folder = s->folder;
    p->stop.op = (enum storage_op)WORKER_STOP;
    p->nudge = (struct storage_request){.op = (enum storage_op)WORKER_NUDGE, .done = on_nudged};
    p->alive.op = (enum storage_op)WORKER_ALIVE;
    p->changed = (struct storage_request){.op = (enum storage_op)WORKER_CHANGED, .done = on_changed};
    p->expired.note =
        (struct storage_request){.op = (enum storage_op)WORKER_EXPIRED_NOTE, .done = on_expired};
    pthread_mutex_init(&p->lock, NULL); /* cannot fail with default attributes */
    sem_init(&p->opened, 0, 0);
}

/* Signals are the loop's: the thread is born with all of them blocked. */
static int start_thread(struct store *s)
{
    sigset_t all, before;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int r = pthread_create(&s->thread, NULL, worker_run, &s->port);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    s->running = r == 0;
    if (r == 0)
        pthread_setname_np(s->thread, "imd-store");
    return -r;
}

static int start(struct store *s, char *why, size_t n)
{
    beat_with_files();
    int r = mailbox_new(&s->port.in, WORKER_REQUESTS + WORKER_NOTES);

    if (r == 0)
        r = mailbox_new(&s->port.out, WORKER_REQUESTS + WORKER_NOTES);
    if (r == 0)
        r = loop_source_add(s->loop, &s->source, mailbox_fd(s->port.out), EPOLLIN);
    if (r == 0)
        r = start_thread(s);
    if (r < 0) {
        snprintf(why, n, "the store cannot be started: %s", strerror(-r));
        return r;
    }
    while (sem_wait(&s->port.opened) < 0)
        ; /* a signal */
    snprintf(why, n, "%s", s->port.why);
    return s->port.result;
}

/* The worker ends by itself when it could not begin. */
static void stop(struct store *s)
{
    if (!s->running)
        return;
    if (s->port.result == 0)
        mailbox_post(s->port.in, &s->port.stop);
    pthread_join(s->thread, NULL);
    s->running = false;
    while (take_back(s))
        ;
}

void store_free(struct store *s, uint64_t seq)
{
    if (!s)
        return;
    s->closing = true;
    s->port.stop_seq = seq;
    stop(s);
    if (s->source.ready)
        loop_source_remove(s->loop, &s->source);
    mailbox_free(s->port.in);
    mailbox_free(s->port.out);
    pthread_mutex_destroy(&s->port.lock);
    sem_destroy(&s->port.opened);
    free(s->folder);
    free(s);
}

int store_new(struct store **out, struct loop *loop, const struct store_options *o,
              const struct storage_listener *l, uint64_t *seq, uint64_t *stored, char *why, size_t n)
{
    struct store *s = calloc(1, sizeof(*s));
    char *folder = strdup(o->folder);

    if (!s || !folder) {
        free(s);
        free(folder);
        snprintf(why, n, "the store cannot be started: %s", strerror(ENOMEM));
        return -ENOMEM;
    }
    s->loop = loop;
    s->folder = folder;
    s->listener = *l;
    s->source.ready = on_ready;
    s->source.fd = -1;
    port_init(s, o);
    int r = start(s, why, n);
    if (r < 0) {
        store_free(s, 0);
        return r;
    }
    *seq = s->port.seq;
    *stored = s->port.stored;
    *out = s;
    return 0;
}

/* ---- what may be asked ---- */

void store_configure(struct store *s, const struct store_options *o)
{
    pthread_mutex_lock(&s->port.lock);
    s->port.options.history_max_age_ms = o->history_max_age_ms;
    s->port.options.history_max_bytes = o->history_max_bytes;
    s->port.options.outbox_max = o->outbox_max;
    s->port.options.outbox_keep_ms = o->outbox_keep_ms;
    s->port.options.attachments_max = o->attachments_max;
    pthread_mutex_unlock(&s->port.lock);
    if (s->nudging)
        return;
    s->nudging = true;
    mailbox_post(s->port.in, &s->port.nudge);
}

bool store_idle(const struct store *s)
{
    return s->waiting == 0;
}

static int post(void *self, struct storage_request *r)
{
    struct store *s = self;
    bool refusable = may_be_refused(r->op);

    if (s->closing || s->waiting >= WORKER_REQUESTS || (refusable && s->refusable >= WORKER_REFUSABLE))
        return -EAGAIN;
    r->error = ERROR_NONE;
    r->next = NULL;
    s->waiting++;
    s->refusable += refusable;
    mailbox_post(s->port.in, r); /* there is room: it holds WORKER_REQUESTS */
    return 0;
}

static void report(void *self, struct storage_report *out)
{
    struct store *s = self;

    pthread_mutex_lock(&s->port.lock);
    *out = s->port.report;
    pthread_mutex_unlock(&s->port.lock);
}

/* An idle worker makes a step when it takes the note. */
static uint64_t beats(void *self)
{
    struct store *s = self;

    if (!s->closing && !atomic_exchange(&s->port.asked, true))
        mailbox_post(s->port.in, &s->port.alive);
    return atomic_load(&s->port.beats);
}

struct storage store_storage(struct store *s)
{
    return (struct storage){.self = s, .post = post, .report = report, .beats = beats};
}
