#include "answer.h"

#include "reach.h"

#include <string.h>

#define ANSWER_MARGIN_MS 5000 /* imd answers when the time is out; a daemon that hangs does not */

/* imd itself sees to the end of a wait for the server; what it has only to write down takes no such time. */
int answer_timeout(const struct arguments *a)
{
    if (a->queue)
        return ANSWER_TIMEOUT_MS;
    return a->timeout_ms >= 0 ? (int)a->timeout_ms + ANSWER_MARGIN_MS : -1;
}

static const struct {
    const char *state;
    enum imctl_error end;
} ends[] = {{"rejected", IMCTL_REJECTED}, {"expired", IMCTL_UNKNOWN}, {"cancelled", IMCTL_CONFLICT}};

enum imctl_error answer_error(const struct imctl_reply *r)
{
    const char *state = imctl_reply_state(r);
    for (size_t i = 0; state && i < sizeof(ends) / sizeof(ends[0]); i++)
        if (strcmp(ends[i].state, state) == 0)
            return ends[i].end;
    return IMCTL_OK;
}
