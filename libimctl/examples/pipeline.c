/* pipeline TEXT...: sends many texts without waiting for each; prints those that the server did not take. */
#include <errno.h>
#include <imctl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define UNDER_WAY_MAX 100 /* imd answers `busy` to those above its limit */

static int failed;

static void on_answer(struct imctl *c, const struct imctl_reply *reply, void *text)
{
    (void)c;
    if (imctl_reply_error(reply) == IMCTL_OK)
        return;
    printf("%s: %s\n", (const char *)text, imctl_reply_message(reply));
    failed = 1;
}

/* Queues it; imctl_dispatch writes it, together with others. */
static int send_text(struct imctl *c, char *text)
{
    struct imctl_message *m = imctl_message_text(text);
    int error = m ? imctl_send(c, m, on_answer, text) : -ENOMEM;

    imctl_message_free(m);
    return error;
}

/* Until there are no more than so many without an answer. */
static int wait_for_answers(struct imctl *c, size_t most)
{
    int error = 0;

    while (error == 0 && imctl_waiting(c) > most) {
        struct pollfd p = {.fd = imctl_fd(c), .events = imctl_events(c)};
        poll(&p, 1, imctl_timeout(c));
        error = imctl_dispatch(c);
    }
    return error;
}

int main(int argc, char **argv)
{
    struct imctl *c = NULL;
    int error = imctl_open(NULL, 5000, &c);

    for (int i = 1; i < argc && error == 0; i++) {
        error = send_text(c, argv[i]);
        if (error == 0)
            error = wait_for_answers(c, UNDER_WAY_MAX - 1);
    }
    if (error == 0)
        error = wait_for_answers(c, 0);
    if (error < 0)
        fprintf(stderr, "pipeline: %s\n", strerror(-error));
    imctl_close(c); /* what has no answer gets one now */
    return error < 0 || failed;
}
