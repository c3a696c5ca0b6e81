/* The peer of a local connection: its user and groups as the kernel noted them when it connected. */
#ifndef IMD_PEER_H
#define IMD_PEER_H

#include "access.h"

#include <sys/types.h>

/*
 * The rights of the process that made this connection, whose user and group (SO_PEERCRED) are these; its
 * further groups (SO_PEERGROUPS) are asked for here, if a list names one. Later changes of the process, or of
 * who is in a group, change nothing; no name is looked up.
 */
unsigned peer_rights(int fd, uid_t uid, gid_t gid, const struct access *a);

#endif
