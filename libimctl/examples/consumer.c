/* consumer NAME: deals with each message, also with those that came while it was not running. */
#include <errno.h>
#include <imctl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

/* An event is acked when it is dealt with: what was not comes again, should the program end in between. */
static void on_event(struct imctl *c, const struct imctl_event *e, void *userdata)
{
    const char *text = imctl_event_text(e);

    (void)userdata;
    if (imctl_event_kind(e) == IMCTL_EVENT_GAP)
        fprintf(stderr, "some events were lost: %s\n", imctl_event_json(e, NULL));
    else
        printf("%s\n", text ? text : imctl_event_json(e, NULL));
    fflush(stdout);
    if (imctl_event_seq(e) > 0)
        imctl_ack(c, imctl_event_seq(e), NULL, NULL); /* if this fails, it comes again */
}

static void on_subscribed(struct imctl *c, const struct imctl_reply *reply, void *userdata)
{
    (void)userdata;
    if (imctl_reply_error(reply) == IMCTL_OK)
        return;
    fprintf(stderr, "no events: %s\n", imctl_reply_message(reply));
    imctl_close(c); /* ends the loop: imctl_dispatch returns -ECANCELED */
}

/* Every MESSAGE from now on, or from where the consumer of this name was last. */
static int subscribe(struct imctl *c, const char *name)
{
    struct imctl_selection *s = imctl_selection_new();
    int error = -ENOMEM;

    if (s) {
        imctl_selection_add_event(s, "MESSAGE");
        imctl_selection_set_consumer(s, name);
        error = imctl_subscribe(c, s, on_subscribed, NULL); /* tells what went wrong before, too */
    }
    imctl_selection_free(s);
    return error;
}

int main(int argc, char **argv)
{
    struct imctl *c = NULL;
    int error = imctl_open(NULL, 5000, &c);

    if (error == 0)
        error = imctl_set_reconnect(c, NULL, NULL);
    if (error == 0) {
        imctl_on_event(c, on_event, NULL);
        error = subscribe(c, argc > 1 ? argv[1] : "example");
    }
    while (error == 0) {
        struct pollfd p = {.fd = imctl_fd(c), .events = imctl_events(c)};
        poll(&p, 1, imctl_timeout(c));
        error = imctl_dispatch(c);
    }
    fprintf(stderr, "consumer: %s\n", strerror(-error));
    if (error != -ECANCELED) /* then it is closed already */
        imctl_close(c);
    return 1;
}
