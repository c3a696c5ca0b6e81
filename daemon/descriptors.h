/*
 * Descriptors that the service manager hands over at the start (sd_listen_fds_with_names(3)): the listening
 * socket, and what an earlier process gave to it to keep.
 */
#ifndef IMD_DESCRIPTORS_H
#define IMD_DESCRIPTORS_H

#include <stddef.h>

struct hub_descriptor;

struct descriptors {
    char **names; /* of all that came, in order */
    int count;
    int listening;              /* -1: none */
    struct hub_descriptor *hub; /* those that hubs gave */
    size_t hub_count;
};

/* 0 or a negative errno: -ENOTSOCK: one is neither of these, or there are two listening sockets. */
int descriptors_take(struct descriptors *all);
void descriptors_deinit(struct descriptors *all); /* closes none; safe to call twice */

#endif
