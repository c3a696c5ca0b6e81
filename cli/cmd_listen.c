/*
 * listen: events as they come, each written out at once. It waits for the daemon and, without wanting to
 * write, for the reader of its output to go away: else `imctl listen | head -1` would stay until the next
 * event.
 */
#include "deadline.h"
#include "filter.h"
#include "history.h"
#include "options.h"
#include "output.h"
#include "reach.h"
#include "show.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct listening {
    const struct arguments *arguments;
    struct show show;
    int64_t deadline;
    uint64_t counted;
    bool ended;
    uint64_t printed, acked; /* the last number that was printed; that an ack was written for */
    bool acking;             /* an ack has no answer yet */
    int refused;             /* the exit status of an ack that was refused */
};

/* ---- What to listen to ---- */

static int select_events(struct imctl_selection *s, const struct words *events)
{
    for (size_t i = 0; i < events->count; i++)
        if (imctl_selection_add_event(s, events->at[i]) < 0) {
            complain("'%s' is no event; see 'imctl listen --help'", events->at[i]);
            return STATUS_USAGE;
        }
    return 0;
}

static int select_begin(const struct arguments *a, struct imctl *c, struct imctl_selection *s)
{
    uint64_t seq = a->since.seq;
    int status = a->since.kind == MOMENT_TIME ? history_seq_of_time(c, a->since.time_ms, &seq) : 0;
    if (a->since.kind == MOMENT_EARLIEST)
        imctl_selection_set_earliest(s);
    else if (a->since.kind != MOMENT_NONE)
        imctl_selection_set_since(s, seq);
    return status;
}

static int selection_make(const struct arguments *a, struct imctl_selection *s)
{
    int status = select_events(s, &a->events);
    if (status == 0)
        status = filter_select(a, s);
    if (status == 0 && a->consumer && imctl_selection_set_consumer(s, a->consumer) < 0)
        status = usage(a->command, "no UTF-8 in", "--consumer");
    return status;
}

static int subscribe(struct imctl *c, const struct imctl_selection *s)
{
    struct imctl_reply *r = NULL;
    int error = imctl_subscribe_wait(c, s, ANSWER_TIMEOUT_MS, &r);
    if (error < 0)
        return failure_status(error);
    int status = imctl_reply_error(r) == IMCTL_OK ? 0 : refusal_status(r);
    imctl_reply_free(r);
    return status;
}

/* ---- Listening ---- */

static bool event_counts(const struct listening *l, const struct imctl_event *e)
{
    const struct words *asked = &l->arguments->events;
    for (size_t i = 0; i < asked->count; i++)
        if (strcmp(asked->at[i], imctl_event_name(e)) == 0)
            return true;
    return asked->count == 0 && imctl_event_kind(e) == IMCTL_EVENT_MESSAGE;
}

static void take_event(struct listening *l, const struct imctl_event *e)
{
    bool written = show_event(e, &l->show);
    if (written && imctl_event_seq(e) > l->printed)
        l->printed = imctl_event_seq(e);
    if (event_counts(l, e))
        l->counted++;
    l->ended = !written || l->counted == l->arguments->count;
}

static void take_events(struct listening *l, struct imctl *c)
{
    struct imctl_event *e;
    while (!l->ended && (e = imctl_event_next(c))) {
        take_event(l, e);
        imctl_event_free(e);
    }
}

/* ---- Acks of a consumer ---- */

static void ack_done(struct imctl *c, const struct imctl_reply *r, void *userdata)
{
    struct listening *l = userdata;
    enum imctl_error e = imctl_reply_error(r);
    l->acking = false;
    if (e != IMCTL_OK && e != IMCTL_UNKNOWN && e != IMCTL_NOT_CONNECTED) /* these: imctl_dispatch tells */
        l->refused = refusal_status(r);
}

/* One ack at a time: while imd writes it down, the next one gathers what is printed. */
static int ack_printed(struct listening *l, struct imctl *c)
{
    if (!l->arguments->consumer || l->acking || l->printed == l->acked)
        return 0;
    int error = imctl_ack(c, l->printed, ack_done, l);
    l->acking = error == 0;
    l->acked = l->printed;
    return error;
}

/* At the end the last ack is waited for, else it might be lost and what was printed come again. */
static int ack_rest(struct listening *l, struct imctl *c)
{
    struct imctl_reply *r = NULL;
    if (!l->arguments->consumer || (l->printed == l->acked && !l->acking))
        return 0;
    int error = imctl_ack_wait(c, l->printed, ANSWER_TIMEOUT_MS, &r);
    if (error < 0)
        return failure_status(error);
    int status = imctl_reply_error(r) == IMCTL_OK ? 0 : refusal_status(r);
    imctl_reply_free(r);
    return status;
}

/* ---- The loop ---- */

/* Waits once and serves the connection. 0 or a negative errno; sets ended when the time is out or nobody
 * reads. */
static int wait_and_dispatch(struct listening *l, struct imctl *c)
{
    struct pollfd p[] = {{imctl_fd(c), imctl_events(c), 0}, {STDOUT_FILENO, 0, 0}};
    int left = deadline_left(l->deadline), n = poll(p, 2, left);
    if (n < 0)
        return errno == EINTR ? 0 : -errno;
    l->ended = (n == 0 && left == 0) || (p[1].revents & (POLLERR | POLLHUP));
    return p[0].revents ? imctl_dispatch(c) : 0;
}

static int listen_on(struct listening *l, struct imctl *c)
{
    int error = 0;
    take_events(l, c);
    while (!l->ended && error == 0 && l->refused == 0) {
        error = ack_printed(l, c);
        if (error == 0)
            error = wait_and_dispatch(l, c);
        if (!l->ended)
            take_events(l, c);
    }
    if (l->refused)
        return l->refused;
    if (error < 0 && !l->ended)
        return failure_status(error);
    int status = ack_rest(l, c);
    bool nothing = l->arguments->listen_ms >= 0 && l->counted == 0;
    return status ? status : nothing ? imctl_error_exit_status(IMCTL_UNKNOWN) : EXIT_SUCCESS;
}

int cmd_listen(const struct arguments *a)
{
    struct imctl *c = NULL;
    struct imctl_selection *s = imctl_selection_new();
    struct listening l = {
        .arguments = a, .show = show_as(a->json, false), .deadline = deadline_after(a->listen_ms)};
    int status = s ? selection_make(a, s) : failure_status(-ENOMEM);
    if (status == 0)
        status = reach_daemon(a, &c);
    if (status == 0)
        status = select_begin(a, c, s);
    if (status == 0)
        status = subscribe(c, s);
    if (status == 0)
        status = listen_on(&l, c);
    imctl_selection_free(s);
    imctl_close(c);
    return status;
}
