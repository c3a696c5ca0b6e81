#include "acks.h"

#include "reach.h"

#include <errno.h>

bool acks_take(struct acks *k, uint64_t seq)
{
    if (k->wanted && seq > k->confirmed && seq <= k->repeated)
        return false;
    if (seq > k->taken)
        k->taken = seq;
    return true;
}

void acks_lost(struct acks *k)
{
    k->repeated = k->taken;
}

void acks_settle(struct acks *k, uint64_t seq)
{
    if (seq > k->settled)
        k->settled = seq;
}

static void ack_done(struct imctl *c, const struct imctl_reply *r, void *userdata)
{
    struct acks *k = userdata;
    enum imctl_error e = imctl_reply_error(r);
    k->waiting = false;
    if (e == IMCTL_OK)
        k->confirmed = k->asked;
    else if (e == IMCTL_UNKNOWN || e == IMCTL_NOT_CONNECTED) /* imctl_dispatch tells */
        k->asked = k->confirmed;
    else
        k->refused = refusal_status(r);
}

int acks_push(struct acks *k, struct imctl *c)
{
    if (!k->wanted || k->waiting || k->settled <= k->asked)
        return 0;
    int error = imctl_ack(c, k->settled, ack_done, k);
    k->waiting = error == 0;
    k->asked = error == 0 ? k->settled : k->asked;
    return error == -ENOTCONN ? 0 : error; /* it comes back */
}

int acks_finish(struct acks *k, struct imctl *c)
{
    struct imctl_reply *r = NULL;
    if (!k->wanted || k->settled <= k->confirmed)
        return 0;
    int status = reach_answer(imctl_ack_wait(c, k->settled, ANSWER_TIMEOUT_MS, &r), &r);
    imctl_reply_free(r);
    return status;
}
