/*
 * Watches what makes another try worth while at once: addresses and routes of this machine (rtnetlink), and
 * resume from suspend (CLOCK_BOOTTIME has run ahead of CLOCK_MONOTONIC since the last look). A burst of
 * changes costs one call.
 */
#ifndef IMD_NETWATCH_H
#define IMD_NETWATCH_H

struct sd_event;
struct netwatch;

enum netwatch_change { NETWATCH_NETWORK, NETWATCH_RESUME };

/*
 * 0 or a negative errno. Where rtnetlink is not to be had (a sandbox), it watches resume only and says so
 * once in the log. `changed` is called from the event loop, some 200 ms after the last change of a burst.
 */
int netwatch_new(struct netwatch **out, struct sd_event *ev,
                 void (*changed)(void *self, enum netwatch_change what), void *self);
void netwatch_free(struct netwatch *n); /* NULL is fine */

#endif
