/*
 * See listener.h. Whether a socket file is stale is found out by connecting to it. The folder is locked
 * meanwhile, so that of two daemons that start at one moment one wins and the other sees a live socket.
 */
#include "listener.h"

#include "cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG 512
#define LOCK_TRIES 40 /* 2 s in all: another daemon holds the lock for a moment only */
#define LOCK_WAIT_US 50000

static int lock_folder(const char *path)
{
    char copy[sizeof((struct listener *)0)->path];
    const char *folder;
    int fd;

    snprintf(copy, sizeof copy, "%s", path);
    folder = dirname(copy);
    if (mkdir(folder, 0755) < 0 && errno != EEXIST)
        return -errno;
    fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    for (unsigned tries = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; tries++) {
        int error = -errno;

        if (error != -EWOULDBLOCK || tries == LOCK_TRIES) {
            close(fd);
            return error == -EWOULDBLOCK ? -EBUSY : error;
        }
        usleep(LOCK_WAIT_US);
    }
    return fd;
}

static bool is_alive(const struct sockaddr_un *a)
{
    _cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    return fd < 0 || connect(fd, (const struct sockaddr *)a, sizeof *a) == 0 || errno != ECONNREFUSED;
}

static int remove_stale(const struct sockaddr_un *a)
{
    struct stat st;

    if (lstat(a->sun_path, &st) < 0)
        return errno == ENOENT ? 0 : -errno;
    if (!S_ISSOCK(st.st_mode))
        return -EEXIST;
    if (is_alive(a))
        return -EADDRINUSE;
    return unlink(a->sun_path) < 0 ? -errno : 0;
}

/* The mode is right from the first moment: the umask makes it, no chmod comes later. */
static int bind_with_mode(int fd, const struct sockaddr_un *a)
{
    mode_t before = umask(0777 & ~LISTENER_MODE);
    int r = bind(fd, (const struct sockaddr *)a, sizeof *a) < 0 ? -errno : 0;

    umask(before);
    return r;
}

static int bind_path(struct listener *l, const struct sockaddr_un *a)
{
    struct stat st;
    int r = remove_stale(a);

    if (!r)
        r = bind_with_mode(l->fd, a);
    if (r)
        return r;
    if (listen(l->fd, BACKLOG) < 0 || lstat(a->sun_path, &st) < 0) {
        r = -errno;
        unlink(a->sun_path);
        return r;
    }
    memcpy(l->path, a->sun_path, sizeof l->path);
    l->dev = st.st_dev;
    l->ino = st.st_ino;
    return 0;
}

static int open_own(struct listener *l, const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    _cleanup_(closep) int folder = -1;
    int r;

    if (strlen(path) >= sizeof a.sun_path)
        return -ENAMETOOLONG;
    memcpy(a.sun_path, path, strlen(path));
    folder = lock_folder(path);
    if (folder < 0)
        return folder;
    l->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (l->fd < 0)
        return -errno;
    r = bind_path(l, &a);
    if (r)
        listener_close(l);
    return r;
}

int listener_open(struct listener *l, const char *path, int handed_over)
{
    *l = (struct listener){.fd = handed_over};
    if (handed_over < 0)
        return open_own(l, path);
    return fcntl(l->fd, F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
}

void listener_close(struct listener *l)
{
    struct stat st;

    if (l->path[0] && lstat(l->path, &st) == 0 && st.st_dev == l->dev && st.st_ino == l->ino)
        unlink(l->path);
    l->path[0] = '\0';
    if (l->fd >= 0)
        close(l->fd);
    l->fd = -1;
}
