/* See passed.h. */
#include "passed.h"

#include "client.h"
#include "encode.h"
#include "log.h"
#include "state.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utlist.h>

/* ---- Taking them ---- */

static bool there_is_room(const struct hub *h, uid_t uid)
{
    unsigned all = 0, mine = 0;

    for (const struct passed *p = h->passed; p; p = p->next) {
        all++;
        mine += p->uid == uid;
    }
    return all < PASSED_MAX && mine < PASSED_PER_USER_MAX;
}

void passed_prepare(const struct client *c, struct msghdr *m, struct passed_room *room)
{
    unsigned free = c->passed ? LINE_FDS_MAX - c->passed->count : LINE_FDS_MAX;

    if (!c->passed && c->hub->passed && !there_is_room(c->hub, c->uid))
        free = 0;
    m->msg_control = free ? room->bytes : NULL;
    m->msg_controllen = free ? CMSG_LEN(sizeof(int) * free) : 0; /* its padding could hold one more */
}

static struct passed *passed_new(struct hub *h, uid_t uid)
{
    struct passed *p = calloc(1, sizeof *p);

    if (!p)
        return NULL;
    p->hub = h;
    p->uid = uid;
    DL_APPEND(h->passed, p);
    return p;
}

/* Memory ran out: nothing can be kept, and there is no thread to close them. */
static void close_all(const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        close(fds[i]);
}

static void add(struct client *c, const int *fds, size_t count)
{
    if (!c->passed)
        c->passed = passed_new(c->hub, c->uid);
    if (!c->passed) {
        close_all(fds, count);
        return;
    }
    if (count > 0)
        memcpy(c->passed->fd + c->passed->count, fds, count * sizeof *fds);
    c->passed->count += (unsigned)count;
    c->passed->at = c->received;
}

void passed_take(struct client *c, struct msghdr *m)
{
    for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR(m, h))
        if (h->cmsg_level == SOL_SOCKET && h->cmsg_type == SCM_RIGHTS) /* free room was as much as there is */
            add(c, (const int *)(const void *)CMSG_DATA(h), (h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    if (m->msg_flags & MSG_CTRUNC) {
        add(c, NULL, 0);
        if (c->passed)
            c->passed->lost = true;
    }
}

struct passed *passed_of_line(struct client *c)
{
    struct passed *p = c->passed;

    if (!p || p->at > c->received - line_reader_pending(&c->reader))
        return NULL;
    c->passed = NULL;
    return p;
}

/* ---- What they are ---- */

/* AT_STATX_DONT_SYNC: what the kernel knows; a file system that is not here is not asked. */
static enum error measure(int fd, unsigned number, size_t *size, char *detail, size_t n)
{
    struct statx s;

    if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_TYPE | STATX_SIZE, &s) < 0 ||
        !S_ISREG(s.stx_mode)) {
        snprintf(detail, n, "file descriptor %u is no regular file", number);
        return ERROR_INVALID_PARAMS;
    }
    *size = s.stx_size;
    return s.stx_size > SIZE_MAX / 2 ? ERROR_TOO_LARGE : ERROR_NONE;
}

enum error passed_measure(const struct passed *p, size_t max, struct encode_files *out, char *detail,
                          size_t n)
{
    enum error error = ERROR_NONE;
    size_t total = 0;

    *out = (struct encode_files){.count = p->count};
    for (unsigned i = 0; i < p->count && !error; i++) {
        error = measure(p->fd[i], i, &out->size[i], detail, n);
        if (!error && out->size[i] > max - total)
            error = ERROR_TOO_LARGE;
        total += error ? 0 : out->size[i];
    }
    if (error == ERROR_TOO_LARGE)
        snprintf(detail, n, "the files are larger than MaxMessage");
    return error;
}

/* ---- Closing them: the last close of a file may have to wait for its file system ---- */

void passed_close(struct passed *p)
{
    for (unsigned i = 0; i < p->count; i++) {
        if (p->fd[i] >= 0)
            close(p->fd[i]);
        p->fd[i] = -1;
    }
}

void passed_free(struct passed *p)
{
    DL_DELETE(p->hub->passed, p);
    free(p);
}

static void closing_run(struct task *t)
{
    passed_close((struct passed *)t);
}

static void closing_done(struct task *t)
{
    struct passed *p = (struct passed *)t;

    DL_DELETE(p->hub->passed, p);
}

static void closing_free(struct task *t)
{
    passed_close((struct passed *)t); /* it did not even begin */
    free(t);
}

void passed_discard(struct passed *p)
{
    struct hub *h = p ? p->hub : NULL;

    if (!p)
        return;
    if (p->count == 0) {
        passed_free(p);
        return;
    }
    p->task = (struct task){.run = closing_run, .done = closing_done, .free = closing_free};
    DL_DELETE(h->passed, p);
    if (task_start(&p->task, loop_event(h->loop)) < 0)
        log_limited(LOG_WARNING, "no thread to close a client's files");
    else
        DL_APPEND(h->passed, p);
}

void passed_forget(struct hub *h)
{
    struct passed *p, *next;

    DL_FOREACH_SAFE(h->passed, p, next)
        if (p->task.run)
            task_cancel(&p->task);
    h->passed = NULL;
}
