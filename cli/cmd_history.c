/*
 * history: the last events, asked for page by page from the newest back. To print them in the order of time,
 * the pages are kept until the oldest has come.
 */
#include "filter.h"
#include "history.h"
#include "options.h"
#include "output.h"
#include "reach.h"
#include "show.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define COUNT_DEFAULT 100
#define PAGE_EVENTS 1000

struct reading {
    const struct arguments *arguments;
    struct show show;
    uint64_t left;   /* events that are wanted still */
    uint64_t before; /* the next page ends here; 0: with the newest */
    bool ended;      /* there are none further back, or nobody reads */
    struct imctl_event **kept;
    size_t count, capacity;
};

/* ---- Requests ---- */

static void select_bounds(struct imctl_selection *s, const struct reading *r)
{
    const struct moment *since = &r->arguments->since, *until = &r->arguments->until;
    if (r->before > 0)
        imctl_selection_set_before(s, r->before);
    if (since->kind == MOMENT_SEQ)
        imctl_selection_set_since(s, since->seq);
    imctl_selection_set_times(s, since->kind == MOMENT_TIME ? since->time_ms : INT64_MIN,
                              until->kind == MOMENT_TIME ? until->time_ms : INT64_MAX);
    imctl_selection_set_limit(s, r->left < PAGE_EVENTS ? r->left : PAGE_EVENTS);
    imctl_selection_set_reverse(s);
}

static int ask_page(const struct reading *r, struct imctl *c, struct imctl_reply **out)
{
    struct imctl_selection *s = imctl_selection_new();
    int status = s ? filter_select(r->arguments, s) : failure_status(-ENOMEM);
    if (status == 0) {
        select_bounds(s, r);
        status = reach_answer(imctl_history_wait(c, s, ANSWER_TIMEOUT_MS, out), out);
    }
    imctl_selection_free(s);
    return status;
}

/* ---- Events ---- */

static int keep_event(struct reading *r, struct imctl_event *e)
{
    if (r->count == r->capacity) {
        size_t capacity = r->capacity ? 2 * r->capacity : COUNT_DEFAULT;
        struct imctl_event **kept = realloc(r->kept, capacity * sizeof(struct imctl_event *));
        if (!kept) {
            imctl_event_free(e);
            return -ENOMEM;
        }
        r->kept = kept;
        r->capacity = capacity;
    }
    r->kept[r->count++] = e;
    return 0;
}

/* A form has no use for what is lost. false: it cannot be written. */
static bool print_event(const struct reading *r, const struct imctl_event *e)
{
    if (!r->show.format || imctl_event_kind(e) != IMCTL_EVENT_GAP)
        return show_event(e, &r->show, NULL);
    show_gap_aside(e);
    return true;
}

/* Prints it if its turn has come, else keeps it; in both cases takes it over. */
static int take_event(struct reading *r, struct imctl_event *e)
{
    r->before = history_first_seq(e);
    r->left--;
    if (!r->arguments->reverse)
        return keep_event(r, e);
    if (!print_event(r, e))
        r->ended = true;
    imctl_event_free(e);
    return 0;
}

static int take_page(struct reading *r, const struct imctl_reply *page)
{
    const char *more = imctl_reply_value(page, "more");
    struct imctl_event *e;
    uint64_t left = r->left;
    size_t at = 0;
    int error = 0;
    while (error == 0 && !r->ended && r->left > 0) {
        error = imctl_reply_event(page, &at, &e);
        if (error < 0 || !e)
            break;
        error = take_event(r, e);
    }
    if (r->left == left || r->before == 0 || !more || strcmp(more, "true") != 0)
        r->ended = true;
    return error;
}

static int read_page(struct reading *r, struct imctl *c)
{
    struct imctl_reply *page = NULL;
    int status = ask_page(r, c, &page);
    if (status)
        return status;
    int error = take_page(r, page);
    imctl_reply_free(page);
    return error < 0 ? failure_status(error) : 0;
}

static void print_kept(struct reading *r)
{
    bool written = true;
    while (r->count > 0) {
        struct imctl_event *e = r->kept[--r->count];
        written = written && print_event(r, e);
        imctl_event_free(e);
    }
    free(r->kept);
}

/* ---- The command ---- */

/* Selections know what a filter may be. */
static int filter_check(const struct arguments *a)
{
    struct imctl_selection *s = imctl_selection_new();
    int status = s ? filter_select(a, s) : failure_status(-ENOMEM);
    imctl_selection_free(s);
    return status;
}

int cmd_history(const struct arguments *a)
{
    struct imctl *c = NULL;
    struct format *format = NULL;
    struct reading r = {.arguments = a, .left = a->count ? a->count : COUNT_DEFAULT};
    if (a->format && a->json)
        return usage(a->command, "cannot have both --json and", "--format");
    int status = format_new(a, &format);
    r.show = show_as(a->json, true, format);
    if (status == 0)
        status = filter_check(a);
    if (status == 0)
        status = reach_daemon(a, &c);
    while (status == 0 && !r.ended && r.left > 0)
        status = read_page(&r, c);
    print_kept(&r);
    imctl_close(c);
    format_free(format);
    return status;
}
