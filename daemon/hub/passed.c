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
        all += p->count > 0;
        mine += p->count > 0 && p->uid == uid;
    }
    return all < PASSED_MAX && mine < PASSED_PER_USER_MAX;
}

void passed_prepare(const struct client *c, struct msghdr *m, struct passed_room *room)
{
    bool taken = !c->hub->passed || there_is_room(c->hub, c->uid);

    m->msg_control = taken ? room->bytes : NULL;
    m->msg_controllen = taken ? CMSG_LEN(sizeof(int) * LINE_FDS_MAX) : 0;
}

/* A lot that was lost whole may stand for those that are lost behind it: so there are never many. */
static struct passed *passed_new(struct client *c)
{
    struct passed **end = &c->passed, *p;

    while (*end && (*end)->count > 0)
        end = &(*end)->later;
    p = *end ? *end : calloc(1, sizeof *p);
    if (!p)
        return NULL;
    if (!*end)
        DL_APPEND(c->hub->passed, p);
    p->hub = c->hub;
    p->uid = c->uid;
    p->at = c->kept->received;
    *end = p;
    return p;
}

static void fill(struct passed *p, const int *fds, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (p)
            p->fd[p->count++] = fds[i];
        else
            close(fds[i]); /* memory ran out: there is no thread to do it */
}

void passed_take(struct client *c, const struct msghdr *m)
{
    struct passed *p = passed_new(c);

    for (struct cmsghdr *h = CMSG_FIRSTHDR(m); h; h = CMSG_NXTHDR((struct msghdr *)(uintptr_t)m, h))
        if (h->cmsg_level == SOL_SOCKET &&
            h->cmsg_type == SCM_RIGHTS) /* once, and no more than there is room for */
            fill(p, (const int *)(const void *)CMSG_DATA(h), (h->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    if (p)
        p->lost = p->lost || m->msg_flags & MSG_CTRUNC;
}

void passed_lost(struct client *c, uint64_t at)
{
    struct passed *p = passed_new(c);

    if (!p)
        return;
    p->at = at;
    p->lost = true;
}

/* Of a line that came in pieces with several lots. */
static void join(struct passed *p, struct passed *more)
{
    if (more->lost || p->count + more->count > LINE_FDS_MAX) {
        p->lost = true;
        passed_discard(more);
        return;
    }
    memcpy(p->fd + p->count, more->fd, more->count * sizeof more->fd[0]);
    p->count += more->count;
    passed_free(more);
}

static struct passed *take_first(struct client *c, uint64_t end)
{
    struct passed *p = c->passed;

    if (!p || p->at > end)
        return NULL;
    c->passed = p->later;
    p->later = NULL;
    return p;
}

struct passed *passed_of_line(struct client *c)
{
    uint64_t end = c->kept->received - line_reader_pending(&c->kept->reader);
    struct passed *p = take_first(c, end), *more;

    while (p && (more = take_first(c, end)))
        join(p, more);
    return p;
}

void passed_drop(struct client *c)
{
    struct passed *p;

    while ((p = take_first(c, UINT64_MAX)))
        passed_discard(p);
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
