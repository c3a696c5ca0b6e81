#include "loading.h"

#include "state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <utlist.h>

bool loading_allowed(const struct hub *h, uid_t uid)
{
    unsigned all = 0, mine = 0;

    for (const struct loading *l = h->loadings; l; l = l->next) {
        all++;
        mine += l->passed->uid == uid;
    }
    return all < LOADINGS_MAX && mine < LOADINGS_PER_USER_MAX;
}

/* ---- the thread ---- */

static void refuse(struct loading *l, unsigned file, const char *why)
{
    l->error = ERROR_INVALID_PARAMS;
    snprintf(l->detail, sizeof l->detail, "file descriptor %u %s", file, why);
}

static void read_file(struct loading *l, const struct encode_hole *hole)
{
    size_t size = l->files.size[hole->file];
    char why[96];

    for (size_t at = 0; at < size && !l->error;) {
        ssize_t n = pread(l->passed->fd[hole->file], l->frame.bytes + hole->at + at, size - at, (off_t)at);
        if (n < 0 && errno != EINTR) {
            snprintf(why, sizeof why, "cannot be read: %s", strerror(errno));
            refuse(l, hole->file, why);
        } else if (n == 0) {
            refuse(l, hole->file, "has become shorter while it was read");
        } else if (n > 0) {
            at += (size_t)n;
        }
    }
}

static void load(struct task *t)
{
    struct loading *l = (struct loading *)t;

    for (unsigned i = 0; i < l->files.used && !l->error; i++)
        read_file(l, &l->files.holes[i]);
    passed_close(l->passed);
}

/* ---- the loop ---- */

static void loaded(struct task *t)
{
    struct loading *l = (struct loading *)t;
    struct hub *h = l->passed->hub;

    DL_DELETE(h->loadings, l);
    passed_free(l->passed);
    l->passed = NULL;
    l->loaded(l);
}

/* What was cancelled, or did not begin, still has its descriptors. */
static void loading_free(struct task *t)
{
    struct loading *l = (struct loading *)t;

    if (l->passed)
        passed_close(l->passed);
    free(l->passed);
    free(l->frame.block);
    free(l);
}

int loading_start(struct hub *h, struct loading *l)
{
    struct passed *p = l->passed;

    l->task = (struct task){.run = load, .done = loaded, .free = loading_free};
    DL_DELETE(h->passed, p);
    int r = task_start(&l->task, loop_event(h->loop));
    if (r == 0) {
        DL_APPEND(h->passed, p);
        DL_APPEND(h->loadings, l);
    }
    return r;
}

void loading_forget(struct hub *h)
{
    struct loading *l, *next;

    DL_FOREACH_SAFE(h->loadings, l, next) {
        DL_DELETE(h->passed, l->passed);
        task_cancel(&l->task);
    }
    h->loadings = NULL;
}
