/*
 * A reload: the configuration is read by a task, because a name service that is asked for users, or a disk,
 * may take its time and the loop must not wait for it.
 */
#ifndef IMD_RELOAD_H
#define IMD_RELOAD_H

#include "config.h"

struct reload;
struct sd_event;

/* Loop thread, once: next is the callee's; NULL: error says why. r is gone behind it. */
typedef void (*reload_done)(void *self, struct config *next, const char *error);

/* 0 or a negative errno: then done is not called. */
int reload_start(struct reload **out, struct sd_event *ev, const char *path, reload_done done, void *self);
void reload_cancel(struct reload *r); /* done is not called any more; NULL is fine */

#endif
