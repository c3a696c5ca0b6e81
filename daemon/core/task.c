#include "task.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <systemd/sd-event.h>
#include <unistd.h>

static void release(struct task *t)
{
    if (atomic_fetch_sub(&t->holders, 1) > 1)
        return;
    if (t->wake >= 0)
        close(t->wake);
    t->free(t);
}

static void *thread_main(void *shared)
{
    struct task *t = shared;

    pthread_setname_np(pthread_self(), "imd-task");
    t->run(t);
    atomic_store(&t->ended, true);
    eventfd_write(t->wake, 1);
    release(t);
    return NULL;
}

/* Signals are the loop's: the thread is born with all of them blocked. */
static int start_thread(struct task *t)
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;

    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    atomic_fetch_add(&t->holders, 1);
    int r = pthread_create(&thread, &attributes, thread_main, t);
    if (r != 0)
        atomic_fetch_sub(&t->holders, 1);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return -r;
}

static int on_wake(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
    struct task *t = userdata;

    if (!atomic_load(&t->ended))
        return 0;
    sd_event_source_ref(s); /* the caller still uses it */
    t->source = sd_event_source_disable_unref(t->source);
    t->done(t);
    release(t);
    sd_event_source_unref(s);
    return 0;
}

int task_start(struct task *t, struct sd_event *ev)
{
    atomic_init(&t->holders, 1);
    atomic_init(&t->ended, false);
    t->source = NULL;
    t->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    int r = t->wake < 0 ? -errno : 0;
    if (r >= 0)
        r = sd_event_add_io(ev, &t->source, t->wake, EPOLLIN, on_wake, t);
    if (r >= 0)
        r = start_thread(t);
    if (r < 0)
        task_cancel(t);
    return r < 0 ? r : 0;
}

void task_cancel(struct task *t)
{
    if (!t)
        return;
    t->source = sd_event_source_disable_unref(t->source);
    release(t);
}
