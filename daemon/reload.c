#include "reload.h"

#include "task.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct reload {
    struct task task; /* its first member */
    char *path;
    struct config *next; /* NULL: error says why not */
    char error[512];
    reload_done done;
    void *self;
};

static void run(struct task *t)
{
    struct reload *r = (struct reload *)t;

    if (config_load(&r->next, r->path, r->error, sizeof r->error) < 0)
        r->next = NULL;
}

static void ended(struct task *t)
{
    struct reload *r = (struct reload *)t;
    struct config *next = r->next;

    r->next = NULL;
    r->done(r->self, next, r->error);
}

static void reload_free(struct task *t)
{
    struct reload *r = (struct reload *)t;

    config_free(r->next);
    free(r->path);
    free(r);
}

int reload_start(struct reload **out, struct sd_event *ev, const char *path, reload_done done, void *self)
{
    struct reload *r = calloc(1, sizeof *r);
    char *copy = strdup(path);
    int error;

    if (!r || !copy) {
        free(r);
        free(copy);
        return -ENOMEM;
    }
    *r = (struct reload){
        .task = {.run = run, .done = ended, .free = reload_free}, .path = copy, .done = done, .self = self};
    error = task_start(&r->task, ev);
    *out = error < 0 ? NULL : r;
    return error;
}

void reload_cancel(struct reload *r)
{
    task_cancel(r ? &r->task : NULL);
}
