/* Sockets that are connected to imd. */
#ifndef IMCTL_DIAL_H
#define IMCTL_DIAL_H

/* Waits up to timeout_ms (-1: as long as it takes), and not at all. The descriptor, or -errno. */
int dial(const char *path, int timeout_ms);
int dial_now(const char *path);

#endif
