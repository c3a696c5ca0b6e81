/*
 * listen: events as they come, each written out at once. It waits for the daemon and, without wanting to
 * write, for the reader of its output to go away: else `imctl listen | head -1` would stay until the next
 * event.
 */
#include "deadline.h"
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
    bool json, colours;
    int64_t deadline;
    uint64_t counted;
    bool ended;
};

/* ---- What to listen to ---- */

static int match_all(struct imctl_selection *s, const char *key, const struct words *values)
{
    for (size_t i = 0; i < values->count; i++)
        if (imctl_selection_match(s, key, values->at[i]) < 0) {
            complain("'%s' is no %s; see 'imctl listen --help'", values->at[i], key);
            return STATUS_USAGE;
        }
    return 0;
}

static int select_events(struct imctl_selection *s, const struct words *events)
{
    for (size_t i = 0; i < events->count; i++)
        if (imctl_selection_add_event(s, events->at[i]) < 0) {
            complain("'%s' is no event; see 'imctl listen --help'", events->at[i]);
            return STATUS_USAGE;
        }
    return 0;
}

static int selection_make(const struct arguments *a, struct imctl_selection *s)
{
    const struct {
        const char *key;
        const struct words *values;
    } filters[] = {
        {"messageType", &a->types},
        {"from", &a->senders},
        {"conversationType", &a->conversations},
        {"signalName", &a->signals},
    };
    int status = select_events(s, &a->events);
    for (size_t i = 0; status == 0 && i < sizeof(filters) / sizeof(filters[0]); i++)
        status = match_all(s, filters[i].key, filters[i].values);
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
    size_t len;
    const char *json = imctl_event_json(e, &len);
    bool written = l->json ? output_line(json, len) : show_event(e, l->colours);
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
    while (!l->ended && error == 0) {
        error = wait_and_dispatch(l, c);
        if (!l->ended)
            take_events(l, c);
    }
    if (error < 0 && !l->ended)
        return failure_status(error);
    bool nothing = l->arguments->listen_ms >= 0 && l->counted == 0;
    return nothing ? imctl_error_exit_status(IMCTL_UNKNOWN) : EXIT_SUCCESS;
}

int cmd_listen(const struct arguments *a)
{
    struct imctl *c = NULL;
    struct imctl_selection *s = imctl_selection_new();
    struct listening l = {.arguments = a,
                          .json = a->json || !output_is_terminal(),
                          .colours = output_has_colours(),
                          .deadline = deadline_after(a->listen_ms)};
    int status = s ? selection_make(a, s) : failure_status(-ENOMEM);
    if (status == 0)
        status = reach_daemon(a, &c);
    if (status == 0)
        status = subscribe(c, s);
    if (status == 0)
        status = listen_on(&l, c);
    imctl_selection_free(s);
    imctl_close(c);
    return status;
}
