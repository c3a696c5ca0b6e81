/*
 * The loop: one thread, one wait. Its epoll watches the sources that must be cheap (the websocket, and local
 * clients by the thousand) and, as one more descriptor, sd-event's epoll: listener, timers, signals,
 * watchdog, mailboxes. One turn: sd_event_prepare, the wait, cheap sources, sd-event, then every turn hook.
 * Timers: absolute times on CLOCK_BOOTTIME made from loop_now_ms; sd_event_now, and so
 * sd_event_add_time_relative, may be as old as the loop's last sleep. Loop thread only.
 */
#ifndef IMD_LOOP_H
#define IMD_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct sd_event;

struct loop;

int loop_new(struct loop **out);
void loop_free(struct loop *l); /* NULL is fine */

struct sd_event *loop_event(struct loop *l);

/* Runs until loop_stop; returns 0 or a negative errno. */
int loop_run(struct loop *l);
void loop_stop(struct loop *l);

/*
 * A cheap source. `ready` is called with the epoll events. A source may be removed (and
 * its memory freed) from within any callback, its own or another's: events of it that were already collected
 * are not delivered.
 */
struct loop_source {
    void (*ready)(struct loop_source *s, uint32_t events);
    int fd;
    uint32_t events; /* what is armed now */
};
int loop_source_add(struct loop *l, struct loop_source *s, int fd, uint32_t events);
int loop_source_arm(struct loop *l, struct loop_source *s,
                    uint32_t events);                           /* no syscall when nothing changes */
void loop_source_remove(struct loop *l, struct loop_source *s); /* does not close fd; twice is fine */

/* Called at the end of every turn, after all that the turn brought was handled; in the order registered, but
 * those that are `last` after all others. */
struct loop_hook {
    void (*turn)(struct loop_hook *h);
    bool last;
    struct loop_hook *next; /* the loop's */
};
void loop_hook_add(struct loop *l, struct loop_hook *h);
void loop_hook_remove(struct loop *l, struct loop_hook *h); /* from within a hook too; twice is fine */

/* CLOCK_BOOTTIME in ms, read once a turn: the clock of all deadlines, which goes on during suspend. */
uint64_t loop_now_ms(struct loop *l);
/* CLOCK_REALTIME in ms, read once a turn: for timestamps only. */
int64_t loop_wall_ms(struct loop *l);

/* Turns of the loop so far; a watchdog's food. */
uint64_t loop_turns(const struct loop *l);

#endif
