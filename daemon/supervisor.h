/*
 * The supervisor: the service manager that started imd, if there is one. It is told how imd is, see
 * sd_notify(3), and, if it has asked for that, that imd gets on: a sign of life while both the loop and the
 * store do. Without one, all of this is nothing. No call waits. Loop thread only.
 */
#ifndef IMD_SUPERVISOR_H
#define IMD_SUPERVISOR_H

struct sd_event;
struct storage;
struct supervisor;

int supervisor_new(struct supervisor **out, struct sd_event *e); /* 0, -errno */
void supervisor_free(struct supervisor *s);                      /* NULL is fine */

void supervisor_reloading(struct supervisor *s); /* until the next supervisor_ready */
void supervisor_ready(struct supervisor *s);
void supervisor_stopping(struct supervisor *s); /* for good */
void supervisor_status(struct supervisor *s, const char *words);

/* From now on the store is asked for a sign of life; the storage must live on until supervisor_free. */
int supervisor_watch(struct supervisor *s, const struct storage *storage);

#endif
