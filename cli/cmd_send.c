/* send and signal: one message, and the wait for its ack; or many. */
#include "answer.h"
#include "draft.h"
#include "lines.h"
#include "output.h"
#include "reach.h"

#include <errno.h>
#include <stdio.h>

/* The messageId; of one that was queued, its state too. */
static void print_ack(const struct arguments *a, const struct imctl_reply *r)
{
    const char *id = imctl_reply_id(r), *state = imctl_reply_state(r);
    if (a->json) {
        puts(imctl_reply_json(r, NULL));
        return;
    }
    output_plain(id ? id : "");
    printf("%s%s\n", state ? " " : "", state ? state : "");
}

static int wait_for_ack(const struct arguments *a, struct imctl *c, const struct imctl_message *m)
{
    struct imctl_reply *r = NULL;
    int status = 0, error = imctl_send_wait(c, m, answer_timeout(a), &r);
    if (error == -ETIMEDOUT) {
        complain("imd does not answer; the message may or may not have arrived");
        return imctl_error_exit_status(IMCTL_UNKNOWN);
    }
    if (error < 0)
        return failure_status(error);
    if (imctl_reply_error(r) == IMCTL_OK) {
        print_ack(a, r);
        status = imctl_error_exit_status(answer_error(r));
    } else {
        status = refusal_status(r);
    }
    imctl_reply_free(r);
    return status;
}

/* Takes the message over. */
static int send_message(const struct arguments *a, struct imctl_message *m)
{
    struct imctl *c = NULL;
    int error = draft_dress(m, a);
    int status = error < 0 ? failure_status(error) : reach_daemon(a, &c);
    if (status == 0)
        status = wait_for_ack(a, c, m);
    imctl_close(c);
    imctl_message_free(m);
    return status;
}

int cmd_send(const struct arguments *a)
{
    struct imctl_message *m = NULL;
    int status = draft_check(a);
    if (status == 0 && a->lines)
        return lines_send(a);
    if (status == 0)
        status = draft_message(a, &m);
    return status ? status : send_message(a, m);
}

int cmd_signal(const struct arguments *a)
{
    int status = draft_check(a);
    struct imctl_message *m = status ? NULL : imctl_message_signal(a->operands[0]);
    if (status)
        return status;
    return m ? send_message(a, m) : failure_status(-ENOMEM);
}
