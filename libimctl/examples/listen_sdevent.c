/* listen_sdevent: prints each event as it came, in a loop of sd-event(3). */
#define _POSIX_C_SOURCE 200809L

#include <imctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <systemd/sd-event.h>
#include <time.h>

struct client {
    struct imctl *c;
    sd_event *loop;
    sd_event_source *timer;
};

static void on_event(struct imctl *c, const struct imctl_event *e, void *userdata)
{
    (void)c, (void)userdata;
    puts(imctl_event_json(e, NULL));
    fflush(stdout);
}

/* Has the timer ring when imctl_timeout says; -1: not at all. */
static int client_arm(struct client *k)
{
    int ms = imctl_timeout(k->c);

    if (ms < 0)
        return sd_event_source_set_enabled(k->timer, SD_EVENT_OFF);
    int error = sd_event_source_set_time_relative(k->timer, (uint64_t)ms * 1000);
    return error < 0 ? error : sd_event_source_set_enabled(k->timer, SD_EVENT_ONESHOT);
}

static int client_serve(struct client *k)
{
    int error = imctl_dispatch(k->c);

    return error < 0 ? sd_event_exit(k->loop, error) : client_arm(k);
}

static int on_ready(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
    (void)s, (void)fd, (void)events;
    return client_serve(userdata);
}

static int on_time(sd_event_source *s, uint64_t usec, void *userdata)
{
    (void)s, (void)usec;
    return client_serve(userdata);
}

/* With imctl_set_reconnect neither the descriptor nor what is waited for ever changes. */
static int client_start(struct client *k)
{
    int error = imctl_open(NULL, 5000, &k->c);

    if (error == 0)
        error = imctl_set_reconnect(k->c, NULL, NULL);
    if (error == 0) {
        imctl_on_event(k->c, on_event, NULL);
        error = imctl_subscribe(k->c, NULL, NULL, NULL);
    }
    if (error == 0)
        error = sd_event_default(&k->loop);
    if (error >= 0)
        error = sd_event_add_io(k->loop, NULL, imctl_fd(k->c), EPOLLIN, on_ready, k);
    if (error >= 0)
        error = sd_event_add_time(k->loop, &k->timer, CLOCK_MONOTONIC, 0, 1, on_time, k);
    return error < 0 ? error : client_arm(k);
}

int main(void)
{
    struct client k = {NULL, NULL, NULL};
    int error = client_start(&k);

    if (error >= 0)
        error = sd_event_loop(k.loop);
    fprintf(stderr, "listen_sdevent: %s\n", strerror(-error));
    sd_event_source_unref(k.timer);
    sd_event_unref(k.loop);
    imctl_close(k.c);
    return 1;
}
