#include "dial.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

/* For connect(2) too; 0 would mean: no limit. */
static int socket_limit(int fd, int timeout_ms)
{
    struct timeval limit = {.tv_sec = timeout_ms / 1000, .tv_usec = timeout_ms % 1000 * 1000};
    if (timeout_ms == 0)
        limit.tv_usec = 1;
    return timeout_ms >= 0 ? setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) : 0;
}

static int socket_connect(int fd, const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof(address.sun_path))
        return -ENAMETOOLONG;
    strcpy(address.sun_path, path);
    while (connect(fd, (const struct sockaddr *)&address, sizeof(address)) < 0)
        if (errno != EINTR)
            return errno == EAGAIN ? -ETIMEDOUT : -errno;
    return 0;
}

static int fd_or_error(int fd, int error)
{
    if (error == 0)
        return fd;
    close(fd);
    return error;
}

/* A non-blocking connect to a Unix socket whose backlog is full fails with EAGAIN and cannot be polled for:
 * so the socket blocks while it connects, for as long as its send timeout says. */
int dial(const char *path, int timeout_ms)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    return fd_or_error(fd, socket_limit(fd, timeout_ms) < 0 ? -errno : socket_connect(fd, path));
}

int dial_now(const char *path)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    return fd < 0 ? -errno : fd_or_error(fd, socket_connect(fd, path));
}
