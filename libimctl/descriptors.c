#include "descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int descriptor_duplicate(int fd)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return copy < 0 ? -errno : copy;
}

struct descriptors *descriptors_new(void)
{
    return calloc(1, sizeof(struct descriptors));
}

int descriptors_add(struct descriptors *d, int fd)
{
    int copy = d->count < LINE_FDS_MAX ? descriptor_duplicate(fd) : -E2BIG;
    if (copy < 0)
        return copy;
    d->fds[d->count++] = copy;
    return 0;
}

void descriptors_free(struct descriptors *d)
{
    for (size_t i = 0; d && i < d->count; i++)
        close(d->fds[i]);
    free(d);
}

ssize_t descriptors_send(const struct descriptors *d, int socket, const char *bytes, size_t len)
{
    union {
        char room[CMSG_SPACE(sizeof(d->fds))];
        struct cmsghdr align;
    } control = {.room = {0}};
    struct iovec span = {.iov_base = (char *)bytes, .iov_len = len};
    struct msghdr message = {.msg_iov = &span,
                             .msg_iovlen = 1,
                             .msg_control = control.room,
                             .msg_controllen = CMSG_SPACE(d->count * sizeof(int))};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(d->count * sizeof(int));
    memcpy(CMSG_DATA(header), d->fds, d->count * sizeof(int));
    return sendmsg(socket, &message, MSG_NOSIGNAL);
}
