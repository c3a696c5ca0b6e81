/*
 * status: the link to the server, for people as a small block, for programs as the daemon's object. --wait
 * subscribes to STATUS first and looks at the state that the answer has: so no change between looking and
 * listening is missed.
 */
#include "deadline.h"
#include "moment.h"
#include "options.h"
#include "output.h"
#include "reach.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- For people ---- */

static void print_string(const struct imctl_reply *r, const char *label, const char *path)
{
    const char *text = imctl_reply_string(r, path);
    if (!text || !*text)
        return;
    output_label(label);
    output_plain(text);
    putchar('\n');
}

static void print_link(const struct imctl_reply *r)
{
    const char *state = imctl_reply_string(r, "state"), *reason = imctl_reply_string(r, "reason");
    int64_t since, now = moment_now();
    output_label("Link");
    output_plain(state ? state : "unknown");
    if (reason && *reason) {
        fputs(" (", stdout);
        output_plain(reason);
        putchar(')');
    }
    if (imctl_reply_int(r, "since", &since)) {
        fputs(" since ", stdout);
        output_date(since);
        fputs("; ", stdout);
        output_span(now > since ? now - since : 0);
        fputs(" ago", stdout);
    }
    putchar('\n');
}

static void print_retry(const struct imctl_reply *r)
{
    int64_t attempt, retry;
    if (!imctl_reply_int(r, "nextRetryMs", &retry))
        return;
    output_label("Next try");
    fputs("in ", stdout);
    output_span(retry);
    if (imctl_reply_int(r, "attempt", &attempt))
        printf(" (try %lld in a row)", (long long)attempt);
    putchar('\n');
}

static void print_last_error(const struct imctl_reply *r)
{
    const char *reason = imctl_reply_string(r, "lastError.reason");
    const char *detail = imctl_reply_string(r, "lastError.detail");
    int64_t time;
    if (!reason)
        return;
    output_label("Last error");
    output_plain(detail && *detail ? detail : reason);
    if (imctl_reply_int(r, "lastError.time", &time)) {
        fputs(" at ", stdout);
        output_date(time);
    }
    putchar('\n');
}

static void print_heartbeat(const struct imctl_reply *r)
{
    const char *rtt = imctl_reply_value(r, "rttMs");
    int64_t gap, inbound;
    if (!imctl_reply_int(r, "pingGapMs", &gap))
        return;
    output_label("Heartbeat");
    fputs("every ", stdout);
    output_span(gap);
    if (rtt)
        printf(", round trip %s ms", rtt);
    if (imctl_reply_int(r, "lastInboundMs", &inbound)) {
        fputs(", last heard ", stdout);
        output_span(inbound);
        fputs(" ago", stdout);
    }
    putchar('\n');
}

static void print_number(const struct imctl_reply *r, const char *label, const char *path)
{
    int64_t number;
    if (!imctl_reply_int(r, path, &number))
        return;
    output_label(label);
    printf("%lld\n", (long long)number);
}

/* Nothing is said of a storage that works. */
static void print_storage(const struct imctl_reply *r)
{
    const char *storage = imctl_reply_string(r, "storage");
    const char *detail = imctl_reply_string(r, "storageDetail");
    if (!storage || strcmp(storage, "ok") == 0)
        return;
    output_label("Storage");
    output_plain(storage);
    if (detail && *detail) {
        fputs(": ", stdout);
        output_plain(detail);
    }
    putchar('\n');
}

static void print_status(const struct arguments *a, const struct imctl_reply *r)
{
    if (a->json) {
        puts(imctl_reply_json(r, NULL));
        return;
    }
    print_link(r);
    print_string(r, "Server", "url");
    print_string(r, "User", "userId");
    print_retry(r);
    print_last_error(r);
    print_heartbeat(r);
    print_storage(r);
    print_number(r, "Unanswered", "pending");
    print_number(r, "Queued", "queued");
    print_number(r, "Clients", "clients");
    print_number(r, "Subscribers", "subscribers");
    print_number(r, "Last event", "seq");
}

/* ---- Waiting ---- */

struct goal {
    char state[32];
    int64_t timeout_ms; /* -1: none */
};

static bool is_state(const char *word)
{
    for (int i = 0; imctl_state_word(i); i++)
        if (strcmp(imctl_state_word(i), word) == 0)
            return true;
    return false;
}

/* STATE[:SECONDS] */
static bool goal_parse(struct goal *g, const char *text)
{
    size_t len = strcspn(text, ":");
    g->timeout_ms = -1;
    if (len >= sizeof(g->state) || (text[len] && !take_seconds(&g->timeout_ms, text + len + 1)))
        return false;
    memcpy(g->state, text, len);
    g->state[len] = '\0';
    return is_state(g->state);
}

/* Subscribes to STATUS; *reached tells whether the state is there already. */
static int subscribe_status(struct imctl *c, const char *state, bool *reached)
{
    struct imctl_selection *s = imctl_selection_new();
    struct imctl_reply *r = NULL;
    if (!s)
        return failure_status(-ENOMEM);
    imctl_selection_add_event(s, imctl_event_word(IMCTL_EVENT_STATUS));
    int status = reach_answer(imctl_subscribe_wait(c, s, ANSWER_TIMEOUT_MS, &r), &r);
    imctl_selection_free(s);
    if (status)
        return status;
    const char *now = imctl_reply_string(r, "status.state");
    *reached = now && strcmp(now, state) == 0;
    imctl_reply_free(r);
    return status;
}

static int wait_for_change(struct imctl *c, int64_t deadline, const char *state, bool *reached)
{
    struct imctl_event *e = NULL;
    int error = imctl_event_wait(c, deadline_left(deadline), &e);
    if (error == -ETIMEDOUT) {
        complain("the link is not %s yet", state);
        return imctl_error_exit_status(IMCTL_UNKNOWN);
    }
    if (error < 0)
        return failure_status(error);
    const char *now = imctl_event_state(e);
    *reached = now && strcmp(now, state) == 0;
    imctl_event_free(e);
    return 0;
}

static int wait_for_state(struct imctl *c, const struct goal *g)
{
    int64_t deadline = deadline_after(g->timeout_ms);
    bool reached = false;
    int status = subscribe_status(c, g->state, &reached);
    while (status == 0 && !reached)
        status = wait_for_change(c, deadline, g->state, &reached);
    return status;
}

/* ---- The command ---- */

static int link_status(const struct imctl_reply *r)
{
    const char *state = imctl_reply_string(r, "state");
    return state && strcmp(state, "connected") == 0 ? EXIT_SUCCESS
                                                    : imctl_error_exit_status(IMCTL_NOT_CONNECTED);
}

int cmd_status(const struct arguments *a)
{
    struct imctl *c = NULL;
    struct imctl_reply *r = NULL;
    struct goal goal;

    if (a->wait && !goal_parse(&goal, a->wait)) {
        complain("'%s' is no STATE[:SECONDS]; see 'imctl status --help'", a->wait);
        return STATUS_USAGE;
    }
    if (a->quiet)
        complain_no_more();
    int status = reach_daemon(a, &c);
    if (status == 0 && a->wait)
        status = wait_for_state(c, &goal);
    if (status == 0)
        status = reach_call(c, "status", NULL, &r);
    if (status == 0) {
        if (!a->quiet)
            print_status(a, r);
        status = a->wait ? EXIT_SUCCESS : link_status(r);
    }
    imctl_reply_free(r);
    imctl_close(c);
    return status;
}
