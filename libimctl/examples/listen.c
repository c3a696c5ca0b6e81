/* listen: prints who says what, over restarts of imd. */
#include <imctl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

static void on_event(struct imctl *c, const struct imctl_event *e, void *userdata)
{
    const char *from = imctl_event_from(e), *text = imctl_event_text(e);

    (void)c, (void)userdata;
    if (imctl_event_kind(e) == IMCTL_EVENT_MESSAGE)
        printf("%s: %s\n", from ? from : "?", text ? text : imctl_event_json(e, NULL));
    else
        printf("%s\n", imctl_event_json(e, NULL));
    fflush(stdout);
}

static void on_changed(struct imctl *c, int error, void *userdata)
{
    (void)c, (void)userdata;
    if (error < 0)
        fprintf(stderr, "imd is away: %s\n", strerror(-error));
    else
        fputs("imd is back\n", stderr);
}

int main(void)
{
    struct imctl *c = NULL;
    int error = imctl_open(NULL, 5000, &c);

    if (error == 0)
        error = imctl_set_reconnect(c, on_changed, NULL);
    if (error == 0) {
        imctl_on_event(c, on_event, NULL);
        error = imctl_subscribe(c, NULL, NULL, NULL);
    }
    while (error == 0) {
        struct pollfd p = {.fd = imctl_fd(c), .events = imctl_events(c)};
        poll(&p, 1, imctl_timeout(c));
        error = imctl_dispatch(c);
    }
    fprintf(stderr, "listen: %s\n", strerror(-error));
    imctl_close(c);
    return 1;
}
