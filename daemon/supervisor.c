/*
 * See supervisor.h. sd_notify would do, but it blocks while the service manager does not read; the protocol,
 * text in a datagram, is documented and stable (sd_notify(3)). What was not taken is told again, as it is by
 * then: in between nothing is lost that anybody would miss.
 *
 * A sign of life is given when the store has made a step since the last one. It is asked four times in the
 * time that the service manager waits: a step may so take three quarters of it, whenever it begins. Threads
 * that look up a name or read files are not looked at: they may take as long as they like.
 */
#include "supervisor.h"

#include "notify.h"
#include "storage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <systemd/sd-event.h>
#include <time.h>
#include <unistd.h>

#define STATUS_MAX 256
#define RETRY_US 1000000
#define RETRY_ACCURACY_US 100000
#define SIGNS 4 /* asked for in the time that the service manager waits */

enum state { STARTING, READY, RELOADING, STOPPING };

struct supervisor {
    struct sd_event *event;
    int fd; /* -1: nobody listens */
    struct sockaddr_un path;
    socklen_t path_len;
    enum state state;
    char status[STATUS_MAX];
    bool owing; /* what was told last was not taken */
    struct sd_event_source *retry, *watchdog;
    uint64_t watchdog_us;
    const struct storage *storage;
    uint64_t beats;
};

static uint64_t now_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* ---- the socket ---- */

static int find_socket(struct supervisor *s)
{
    const char *path = getenv("NOTIFY_SOCKET");

    if (!path || notify_address(&s->path, &s->path_len, path) < 0)
        return 0;
    s->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    return s->fd < 0 ? -errno : 0;
}

/* false: it is to be told again. A service manager that is gone is told nothing. */
static bool say(struct supervisor *s, const char *text)
{
    ssize_t n = sendto(s->fd, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL,
                       (const struct sockaddr *)&s->path, s->path_len);

    return n >= 0 || (errno != EAGAIN && errno != ENOBUFS);
}

static int set_timer(struct sd_event_source *timer, uint64_t in_us)
{
    int r = sd_event_source_set_time(timer, now_us() + in_us);

    return r < 0 ? r : sd_event_source_set_enabled(timer, SD_EVENT_ONESHOT);
}

int supervisor_new(struct supervisor **out, struct sd_event *e)
{
    struct supervisor *s = calloc(1, sizeof(*s));

    if (!s)
        return -ENOMEM;
    s->event = sd_event_ref(e);
    s->fd = -1;
    int r = find_socket(s);
    if (r < 0) {
        supervisor_free(s);
        return r;
    }
    *out = s;
    return 0;
}

void supervisor_free(struct supervisor *s)
{
    if (!s)
        return;
    sd_event_source_disable_unref(s->retry);
    sd_event_source_disable_unref(s->watchdog);
    sd_event_unref(s->event);
    if (s->fd >= 0)
        close(s->fd);
    free(s);
}

/* ---- how it is ---- */

static void write_state(const struct supervisor *s, char *text, size_t size)
{
    static const char *const words[] = {
        [STARTING] = "", [READY] = "READY=1\n", [RELOADING] = "RELOADING=1\n", [STOPPING] = "STOPPING=1\n"};
    size_t len = (size_t)snprintf(text, size, "%s", words[s->state]);

    if (s->state == RELOADING)
        snprintf(text + len, size - len, "MONOTONIC_USEC=%" PRIu64 "\n", now_us());
}

static void tell(struct supervisor *s, bool state, bool status);

static int on_retry(sd_event_source *source, uint64_t usec, void *userdata)
{
    tell(userdata, true, true);
    return 0;
}

static void tell_again_later(struct supervisor *s)
{
    int r = 0;

    s->owing = true;
    if (!s->retry)
        r = sd_event_add_time(s->event, &s->retry, CLOCK_MONOTONIC, now_us() + RETRY_US, RETRY_ACCURACY_US,
                              on_retry, s);
    if (r >= 0)
        set_timer(s->retry, RETRY_US);
}

static void tell(struct supervisor *s, bool state, bool status)
{
    char text[STATUS_MAX + 96] = "";

    if (s->fd < 0)
        return;
    if (state || s->owing)
        write_state(s, text, sizeof(text));
    if ((status || s->owing) && s->status[0])
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "STATUS=%s\n", s->status);
    if (!say(s, text))
        tell_again_later(s);
    else
        s->owing = false;
}

static void enter(struct supervisor *s, enum state state)
{
    if (s->state == STOPPING)
        return;
    s->state = state;
    tell(s, true, false);
}

void supervisor_reloading(struct supervisor *s)
{
    enter(s, RELOADING);
}

void supervisor_ready(struct supervisor *s)
{
    enter(s, READY);
}

void supervisor_stopping(struct supervisor *s)
{
    enter(s, STOPPING);
}

/* Not within a character: systemd takes no status that is not UTF-8. */
static size_t whole_characters(const char *text, size_t max)
{
    size_t n = strnlen(text, max + 1);

    if (n <= max)
        return n;
    for (n = max; n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80;)
        n--;
    return n;
}

void supervisor_status(struct supervisor *s, const char *words)
{
    snprintf(s->status, sizeof(s->status), "%.*s", (int)whole_characters(words, sizeof(s->status) - 1),
             words);
    tell(s, false, true);
}

/* ---- the watchdog ---- */

static bool store_gets_on(struct supervisor *s)
{
    uint64_t before = s->beats;

    s->beats = s->storage->beats(s->storage->self);
    return s->beats != before;
}

/* A sign that is not taken is no loss: the next one is due soon. */
static int on_watchdog(sd_event_source *source, uint64_t usec, void *userdata)
{
    struct supervisor *s = userdata;

    if (store_gets_on(s))
        say(s, "WATCHDOG=1\n");
    return set_timer(s->watchdog, s->watchdog_us / SIGNS);
}

int supervisor_watch(struct supervisor *s, const struct storage *storage)
{
    uint64_t period;

    if (s->fd < 0 || sd_watchdog_enabled(0, &s->watchdog_us) <= 0)
        return 0;
    period = s->watchdog_us / SIGNS;
    s->storage = storage;
    store_gets_on(s); /* it answers by the first time that it counts */
    int r = sd_event_add_time(s->event, &s->watchdog, CLOCK_MONOTONIC, now_us() + period, period / SIGNS,
                              on_watchdog, s);
    return r < 0 ? r : 0;
}
