/* The listening socket: our own, or the one that systemd hands over. */
#ifndef IMD_LISTENER_H
#define IMD_LISTENER_H

#include <sys/types.h>

struct listener {
    int fd;
    char path[108]; /* of our own socket; empty: handed over, and never removed by us */
    dev_t dev;
    ino_t ino;
};

#define LISTENER_MODE 0660

/*
 * Takes the socket that systemd has handed over, or, where that is -1, binds path: the last folder of it is
 * made when it is missing, a stale socket of a dead daemon is replaced, a live daemon's is not (-EADDRINUSE).
 * 0 or a negative errno.
 */
int listener_open(struct listener *l, const char *path, int handed_over);
void listener_close(struct listener *l); /* removes the path while it is still ours; safe to call twice */

#endif
