#include "history.h"

#include "reach.h"

#include <errno.h>

uint64_t history_first_seq(const struct imctl_event *e)
{
    int64_t from = 0;
    if (imctl_event_kind(e) != IMCTL_EVENT_GAP)
        return imctl_event_seq(e);
    return imctl_event_int(e, "from", &from) && from > 0 ? (uint64_t)from : 0;
}

/* In front of the first event since then; when there is none yet, behind the last that there was. */
static int seq_of_page(const struct imctl_reply *page, uint64_t last, uint64_t *out)
{
    struct imctl_event *e = NULL;
    size_t at = 0;
    int error = imctl_reply_event(page, &at, &e);
    if (error < 0)
        return failure_status(error);
    uint64_t first = e ? history_first_seq(e) : last + 1;
    *out = first > 0 ? first - 1 : 0;
    imctl_event_free(e);
    return 0;
}

static int first_since(struct imctl *c, int64_t time_ms, struct imctl_reply **out)
{
    struct imctl_selection *s = imctl_selection_new();
    if (!s)
        return failure_status(-ENOMEM);
    imctl_selection_set_times(s, time_ms, INT64_MAX);
    imctl_selection_set_limit(s, 1);
    int status = reach_answer(imctl_history_wait(c, s, ANSWER_TIMEOUT_MS, out), out);
    imctl_selection_free(s);
    return status;
}

/* The last number is asked for first: so what comes between the two questions is not passed over. */
int history_seq_of_time(struct imctl *c, int64_t time_ms, uint64_t *out)
{
    struct imctl_reply *r = NULL, *page = NULL;
    int64_t last = 0;
    int status = reach_call(c, "status", NULL, &r);
    if (status == 0) {
        imctl_reply_int(r, "seq", &last);
        status = first_since(c, time_ms, &page);
    }
    if (status == 0)
        status = seq_of_page(page, (uint64_t)last, out);
    imctl_reply_free(r);
    imctl_reply_free(page);
    return status;
}
