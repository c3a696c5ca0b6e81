/* send and signal: one message, and the wait for its ack. */
#include "output.h"
#include "reach.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_MARGIN_MS 5000 /* imd answers when the time is out; a daemon that hangs does not */

/* All of standard input, without its last line break, as $(…) takes it. 0 or a negative errno; -EILSEQ: it
 * holds a NUL, which no text does. */
static int read_text(char **out)
{
    char *text = NULL;
    size_t size = 0;
    ssize_t len = getdelim(&text, &size, '\0', stdin);
    int error = ferror(stdin) ? -errno : 0;
    if (len > 0 && text[len - 1] == '\0')
        error = -EILSEQ;
    if (error == 0 && len < 0) /* nothing at all */
        error = (*out = strdup("")) ? 0 : -ENOMEM;
    else if (error == 0) {
        if (text[len - 1] == '\n')
            text[len - 1] = '\0';
        *out = text;
        return 0;
    }
    free(text);
    return error;
}

/* Options that make no sense together. */
static int manner_check(const struct arguments *a)
{
    const char *why = a->expires_ms > 0 && !a->queue  ? "--expires is for --queue"
                      : a->timeout_ms > 0 && a->queue ? "--timeout is not for --queue"
                                                      : NULL;
    if (!why)
        return 0;
    complain("%s; see 'imctl %s --help'", why, a->command->name);
    return STATUS_USAGE;
}

/* What the options say about the message; the library remembers the first error. */
static int message_address(struct imctl_message *m, const struct arguments *a)
{
    int conversation = a->conversation ? imctl_conversation_parse(a->conversation) : 0;
    if (conversation < 0) {
        complain("'%s' is no conversation type; see 'imctl %s --help'", a->conversation, a->command->name);
        return STATUS_USAGE;
    }
    if (a->to)
        imctl_message_set_to(m, a->to);
    if (a->from)
        imctl_message_set_from(m, a->from);
    if (a->id)
        imctl_message_set_id(m, a->id);
    if (a->type)
        imctl_message_set_type(m, a->type);
    if (a->conversation)
        imctl_message_set_conversation(m, conversation);
    if (a->timeout_ms > 0)
        imctl_message_set_timeout(m, a->timeout_ms);
    if (a->queue)
        imctl_message_set_queue(m, a->expires_ms > 0 ? a->expires_ms : 0);
    return manner_check(a);
}

/* The messageId; of one that was queued, its state too. */
static void print_ack(const struct arguments *a, const struct imctl_reply *r)
{
    const char *id = imctl_reply_id(r), *state = imctl_reply_state(r);
    if (a->json)
        puts(imctl_reply_json(r, NULL));
    else
        printf("%s%s%s\n", id ? id : "", state ? " " : "", state ? state : "");
}

/* A messageId that was queued before may have come to its end meanwhile. */
static const struct {
    const char *state;
    enum imctl_error end;
} ends[] = {{"rejected", IMCTL_REJECTED}, {"expired", IMCTL_UNKNOWN}, {"cancelled", IMCTL_CONFLICT}};

static int state_status(const struct imctl_reply *r)
{
    const char *state = imctl_reply_state(r);
    for (size_t i = 0; state && i < sizeof(ends) / sizeof(ends[0]); i++)
        if (strcmp(ends[i].state, state) == 0)
            return imctl_error_exit_status(ends[i].end);
    return 0;
}

/* imd itself sees to the end of a wait for the server; what it has only to write down takes no such time. */
static int answer_timeout(const struct arguments *a)
{
    if (a->queue)
        return ANSWER_TIMEOUT_MS;
    return a->timeout_ms >= 0 ? (int)a->timeout_ms + ANSWER_MARGIN_MS : -1;
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
        status = state_status(r);
    } else {
        status = refusal_status(r);
    }
    imctl_reply_free(r);
    return status;
}

static int send_message(const struct arguments *a, struct imctl_message *m)
{
    struct imctl *c = NULL;
    if (!m)
        return failure_status(-ENOMEM);
    int status = message_address(m, a);
    if (status == 0)
        status = reach_daemon(a, &c);
    if (status == 0)
        status = wait_for_ack(a, c, m);
    imctl_close(c);
    imctl_message_free(m);
    return status;
}

int cmd_send(const struct arguments *a)
{
    if (strcmp(a->operands[0], "-") != 0)
        return send_message(a, imctl_message_text(a->operands[0]));
    char *text = NULL;
    int error = read_text(&text);
    if (error < 0)
        return failure_status(error);
    int status = send_message(a, imctl_message_text(text));
    free(text);
    return status;
}

int cmd_signal(const struct arguments *a)
{
    return send_message(a, imctl_message_signal(a->operands[0]));
}
