/*
 * listen: events as they come, each written out, or given to a command, at once. It waits for the daemon, for
 * the commands and, without wanting to write, for the reader of its output to go away: else
 * `imctl listen | head -1` would stay until the next event.
 */
#include "acks.h"
#include "deadline.h"
#include "filter.h"
#include "format.h"
#include "handler.h"
#include "history.h"
#include "options.h"
#include "output.h"
#include "reach.h"
#include "saving.h"
#include "show.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAUSE_MS 500      /* before imd is asked again that had not answered */
#define COMMANDS_MAX 1000 /* at once; above it is a mistake */

struct listening {
    const struct arguments *arguments;
    struct format *format;
    struct show show;
    struct saving saving;
    struct handler handler;
    struct acks acks;
    int64_t deadline;
    uint64_t counted;
    bool ended; /* nothing more is taken */
    int status; /* of what went wrong with an event */
    int error;  /* the end of the connection, a negative errno */
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
    int status = reach_answer(imctl_subscribe_wait(c, s, ANSWER_TIMEOUT_MS, &r), &r);
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

/* Nothing more is taken: the end, or the way to it. */
static bool is_over(const struct listening *l)
{
    return l->ended || l->status || l->error || l->acks.refused || l->handler.stopped;
}

static void print_event(struct listening *l, struct imctl_event *e, char *file, bool wanted)
{
    bool shown = l->show.format || !l->show.json;
    if (wanted && !show_event(e, &l->show, file))
        l->ended = true;
    else
        acks_settle(&l->acks, imctl_event_seq(e));
    if (file && !shown)
        complain("saved %s", file);
    imctl_event_free(e);
    free(file);
}

/* A form or a command has no use for what was not asked for; only what is lost must be told. */
static void deal_with(struct listening *l, struct imctl_event *e, char *file, bool counts)
{
    bool wanted = counts || !(l->format || l->handler.command);
    if (!wanted && imctl_event_kind(e) == IMCTL_EVENT_GAP)
        show_gap_aside(e);
    if (!l->handler.command)
        print_event(l, e, file, wanted);
    else if (handler_add(&l->handler, e, file, wanted) < 0)
        l->status = failure_status(-ENOMEM);
}

static void take_event(struct listening *l, struct imctl_event *e)
{
    char *file;
    bool counts = event_counts(l, e), again = !acks_take(&l->acks, imctl_event_seq(e));
    if (!again)
        l->status = saving_event(&l->saving, e, &file);
    if (again || l->status) {
        imctl_event_free(e);
        return;
    }
    deal_with(l, e, file, counts);
    l->counted += counts;
    l->ended = l->ended || (counts && l->counted == l->arguments->count);
}

/* What comes when all is over is for the next time. */
static void take_events(struct listening *l, struct imctl *c)
{
    struct imctl_event *e;
    while ((e = imctl_event_next(c))) {
        if (is_over(l))
            imctl_event_free(e);
        else
            take_event(l, e);
    }
}

/* ---- The loop ---- */

/* No more is read than can be held; so imd keeps it. At the end only acks are waited for. */
static bool is_served(const struct listening *l)
{
    return !l->error && (is_over(l) ? l->acks.waiting : !handler_full(&l->handler));
}

/* Negative: none */
static int shorter(int a, int b)
{
    return a < 0 || (b >= 0 && b < a) ? b : a;
}

static int patience(const struct listening *l, struct imctl *c)
{
    int left = is_over(l) ? -1 : deadline_left(l->deadline);
    return is_served(l) && !is_over(l) ? shorter(left, imctl_timeout(c)) : left;
}

/* Commands that have not begun stay so when the time is out or nobody reads: only -n has all of them run. */
static void stop(struct listening *l)
{
    l->ended = true;
    l->handler.stopped = true;
}

/* Waits once and serves what is ready. */
static void wait_and_serve(struct listening *l, struct imctl *c)
{
    struct pollfd p[] = {{is_served(l) ? imctl_fd(c) : -1, imctl_events(c), 0},
                         {is_over(l) ? -1 : STDOUT_FILENO, 0, 0},
                         {l->handler.signals, POLLIN, 0}};
    int n = poll(p, 3, patience(l, c));
    if (n < 0 && errno != EINTR)
        l->error = -errno;
    if (n < 0)
        return;
    if (p[1].revents & (POLLERR | POLLHUP))
        stop(l);
    if (p[0].revents || (is_served(l) && imctl_timeout(c) == 0))
        l->error = imctl_dispatch(c);
}

/* Has commands begin and end, and what they did be acked. Without a connection that cannot be: then what has
 * not begun is left to the next time; but not without a consumer, because it would not come again. */
static void serve_handler(struct listening *l)
{
    if (l->status || l->acks.refused || (l->error && l->acks.wanted))
        l->handler.stopped = true;
    if (l->handler.command)
        handler_serve(&l->handler);
    acks_settle(&l->acks, l->handler.settled);
}

static bool has_ended(const struct listening *l)
{
    return is_over(l) && (!l->handler.command || handler_idle(&l->handler));
}

/* One turn. What is there when the time is out is taken still. */
static void turn(struct listening *l, struct imctl *c)
{
    bool time_is_out = deadline_left(l->deadline) == 0;
    if (!l->error && (is_over(l) || is_served(l)))
        l->error = acks_push(&l->acks, c);
    wait_and_serve(l, c);
    take_events(l, c);
    if (time_is_out && !is_over(l))
        stop(l);
    serve_handler(l);
}

static void listen_on(struct listening *l, struct imctl *c)
{
    take_events(l, c);
    serve_handler(l);
    while (!has_ended(l))
        turn(l, c);
    handler_release(&l->handler);
}

/* The exit status; what has no sentence yet gets it. */
static int listen_ended(struct listening *l, struct imctl *c)
{
    if (l->handler.waiting > 0 && !l->acks.wanted)
        complain("%zu events were not given to the command", l->handler.waiting);
    if (l->acks.refused)
        return l->acks.refused;
    int status = l->error ? (l->ended ? 0 : failure_status(l->error)) : acks_finish(&l->acks, c);
    if (status == 0)
        status = l->status;
    if (status == 0 && l->handler.failed)
        status = EXIT_FAILURE;
    if (status == 0 && l->saving.missed)
        status = imctl_error_exit_status(IMCTL_STORAGE);
    bool nothing = l->arguments->listen_ms >= 0 && l->counted == 0;
    return status ? status : nothing ? imctl_error_exit_status(IMCTL_UNKNOWN) : EXIT_SUCCESS;
}

/* ---- Reaching imd, once or again and again ---- */

static void connection_changed(struct imctl *c, int error, void *userdata)
{
    struct listening *l = userdata;
    if (error < 0) {
        acks_lost(&l->acks);
        complain("%s; waiting for it",
                 error == -EBUSY
                     ? "imd refuses the subscription (is the consumer in use, or the user not in Receive?)"
                     : failure_sentence(error));
    } else
        complain("imd is back");
}

static int reach_once(struct listening *l, struct imctl **c)
{
    if (!l->arguments->reconnect)
        return reach_daemon(l->arguments, c);
    int status = reach_daemon_by(l->arguments, l->deadline, c);
    int error = status ? 0 : imctl_set_reconnect(*c, connection_changed, l);
    return error < 0 ? failure_status(error) : status;
}

static int begin_once(struct listening *l, struct imctl_selection *s, struct imctl **c)
{
    int status = reach_once(l, c);
    if (status == 0)
        status = select_begin(l->arguments, *c, s);
    if (status == 0)
        status = subscribe(*c, s);
    return status;
}

/* imd was there and went away again before it had answered. */
static bool is_worth_a_try(const struct listening *l, const struct imctl *c, int status)
{
    return c && l->arguments->reconnect && deadline_left(l->deadline) != 0 &&
           (status == imctl_error_exit_status(IMCTL_NOT_CONNECTED) ||
            status == imctl_error_exit_status(IMCTL_UNKNOWN));
}

static int begin(struct listening *l, struct imctl_selection *s, struct imctl **c)
{
    int status = begin_once(l, s, c);
    while (is_worth_a_try(l, *c, status)) {
        imctl_close(*c);
        *c = NULL;
        poll(NULL, 0, PAUSE_MS);
        status = begin_once(l, s, c);
    }
    return status;
}

/* ---- The command ---- */

/* Options that make no sense together. */
static int manner_check(const struct arguments *a)
{
    const char *why = a->format && a->json                ? "--format and --json do not go together"
                      : a->exec && (a->format || a->json) ? "with --exec, nothing is printed"
                      : a->jobs && !a->exec               ? "--jobs is for --exec"
                      : a->jobs > COMMANDS_MAX            ? "--jobs takes at most 1000"
                                                          : NULL;
    if (!why)
        return 0;
    complain("%s; see 'imctl listen --help'", why);
    return STATUS_USAGE;
}

static int listening_begin(struct listening *l, const struct arguments *a)
{
    *l = (struct listening){
        .arguments = a, .deadline = deadline_after(a->listen_ms), .acks.wanted = a->consumer};
    l->handler.signals = l->saving.fd = -1;
    int status = manner_check(a);
    if (status == 0)
        status = format_new(a, &l->format);
    if (status == 0)
        status = saving_begin(&l->saving, a->save_files, a->consumer);
    l->show = show_as(a->json, false, l->format);
    return status;
}

/* A signal that was waited for still ends the program, so that who sent it sees that. */
static void listening_end(struct listening *l)
{
    int number = l->handler.signal;
    handler_end(&l->handler);
    saving_end(&l->saving);
    format_free(l->format);
    if (number)
        raise(number);
}

int cmd_listen(const struct arguments *a)
{
    struct listening l;
    struct imctl *c = NULL;
    struct imctl_selection *s = imctl_selection_new();
    int status = listening_begin(&l, a);
    if (status == 0)
        status = s ? selection_make(a, s) : failure_status(-ENOMEM);
    if (status == 0)
        status = begin(&l, s, &c);
    if (status == 0)
        status = handler_begin(&l.handler, a->exec, a->jobs ? a->jobs : 1, a->consumer);
    if (status == 0) {
        listen_on(&l, c);
        status = listen_ended(&l, c);
    }
    imctl_selection_free(s);
    imctl_close(c);
    listening_end(&l);
    return status;
}
