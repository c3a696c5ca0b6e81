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

static bool set_int(json_t *params, const char *key, int64_t value)
{
    return json_object_set_new(params, key, json_integer(value)) == 0;
}

static bool set_bounds(json_t *params, const struct reading *r)
{
    const struct moment *since = &r->arguments->since, *until = &r->arguments->until;
    return (r->before == 0 || set_int(params, "before", (int64_t)r->before)) &&
           (since->kind != MOMENT_SEQ || set_int(params, "after", (int64_t)since->seq)) &&
           (since->kind != MOMENT_TIME || set_int(params, "since", since->time_ms)) &&
           (until->kind != MOMENT_TIME || set_int(params, "until", until->time_ms));
}

static bool set_filter(json_t *params, const struct reading *r)
{
    json_t *filter = filter_json(r->arguments);
    if (filter && json_object_size(filter) == 0) {
        json_decref(filter);
        return true;
    }
    return json_object_set_new(params, "filter", filter) == 0;
}

/* NULL: no memory */
static json_t *page_params(const struct reading *r)
{
    json_t *params = json_object();
    int64_t limit = r->left < PAGE_EVENTS ? (int64_t)r->left : PAGE_EVENTS;
    if (params && set_bounds(params, r) && set_filter(params, r) && set_int(params, "limit", limit) &&
        json_object_set_new(params, "reverse", json_true()) == 0)
        return params;
    json_decref(params);
    return NULL;
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
    int status = reach_call_json(c, "history", page_params(r), &page);
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
