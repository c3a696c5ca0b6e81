#include "peer.h"

#include "cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>

#define GROUPS_USUAL 64

/* gids has room for one in front, the group that is not among the further ones. Returns how many they are. */
static size_t groups_read(int fd, gid_t gid, gid_t *gids, socklen_t room)
{
    socklen_t size = room * (socklen_t)sizeof *gids;

    gids[0] = gid;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, gids + 1, &size) < 0)
        return errno == ERANGE ? 1 + size / sizeof *gids : 1;
    return 1 + size / sizeof *gids;
}

/* Who is in more groups than can be held is taken to be in fewer: lists only let in. */
unsigned peer_rights(int fd, uid_t uid, gid_t gid, const struct access *a)
{
    gid_t usual[1 + GROUPS_USUAL];
    _cleanup_(freep) gid_t *more = NULL;
    size_t count;

    if (!access_names_groups(a))
        return access_rights(a, uid, NULL, 0);
    count = groups_read(fd, gid, usual, GROUPS_USUAL);
    if (count <= 1 + GROUPS_USUAL)
        return access_rights(a, uid, usual, count);
    more = malloc(count * sizeof *more);
    if (!more)
        return access_rights(a, uid, usual, 1);
    count = groups_read(fd, gid, more, (socklen_t)count - 1);
    return access_rights(a, uid, more, count);
}
