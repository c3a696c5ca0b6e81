/* Where a service manager listens: the address in $NOTIFY_SOCKET, see sd_notify(3). */
#ifndef IMD_NOTIFY_H
#define IMD_NOTIFY_H

#include <sys/socket.h>
#include <sys/un.h>

/* A path, or @ and a name that is in no file system. 0; -EINVAL: neither. */
int notify_address(struct sockaddr_un *a, socklen_t *len, const char *text);

#endif
