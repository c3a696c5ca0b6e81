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
    return 0;
}

static void print_ack(const struct arguments *a, const struct imctl_reply *r)
{
    const char *id = imctl_reply_id(r);
    if (a->json)
        puts(imctl_reply_json(r, NULL));
    else
        puts(id ? id : "");
}

static int wait_for_ack(const struct arguments *a, struct imctl *c, const struct imctl_message *m)
{
    struct imctl_reply *r = NULL;
    int timeout = a->timeout_ms >= 0 ? (int)a->timeout_ms + ANSWER_MARGIN_MS : -1, status = 0;
    int error = imctl_send_wait(c, m, timeout, &r);
    if (error == -ETIMEDOUT) {
        complain("imd does not answer; the message may or may not have arrived");
        return imctl_error_exit_status(IMCTL_UNKNOWN);
    }
    if (error < 0)
        return failure_status(error);
    if (imctl_reply_error(r) == IMCTL_OK)
        print_ack(a, r);
    else
        status = refusal_status(r);
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
