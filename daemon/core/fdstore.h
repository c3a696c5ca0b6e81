/*
 * The file descriptor store of the service manager (systemd's FDSTORE=1): descriptors that are given to it
 * come back to the next process of the service, however this one ends. Nothing here waits for the manager:
 * what it cannot take at once goes later, in order. Loop thread only.
 */
#ifndef IMD_FDSTORE_H
#define IMD_FDSTORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct fdstore;
struct loop;

/* To the manager's socket ($NOTIFY_SOCKET: a path, or '@' and an abstract name). 0 or a negative errno. */
int fdstore_new(struct fdstore **out, struct loop *loop, const char *socket);
void fdstore_free(struct fdstore *s); /* NULL is fine; see fdstore_finish */

/* The descriptor must stay open until it is removed or the store is finished. -ENOMEM: it is not kept. */
#define FDSTORE_NAME_MAX 32
int fdstore_put(struct fdstore *s, int fd, const char *name);
void fdstore_remove(struct fdstore *s, const char *name);

/* At the start and before the end: waits, for `ms` at most, until the manager has taken all. Has it? */
bool fdstore_finish(struct fdstore *s, int ms);

#endif
