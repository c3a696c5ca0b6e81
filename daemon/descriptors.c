/* See descriptors.h. */
#include "descriptors.h"

#include "hub.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <systemd/sd-daemon.h>

/* A listening socket, or what an earlier process gave to the manager to keep. */
static int sort_descriptor(struct descriptors *all, int fd, const char *name)
{
    bool listens = sd_is_socket(fd, AF_UNIX, SOCK_STREAM, 1) > 0;

    /* What another version has kept is among it: the hub closes what it does not know. */
    if (!listens && strncmp(name, HUB_DESCRIPTOR_NAME, strlen(HUB_DESCRIPTOR_NAME)) == 0) {
        all->hub[all->hub_count++] = (struct hub_descriptor){fd, name};
        return 0;
    }
    if (all->listening >= 0 || !listens)
        return -ENOTSOCK;
    all->listening = fd;
    return 0;
}

int descriptors_take(struct descriptors *all)
{
    int r = 0, n = sd_listen_fds_with_names(1, &all->names);

    if (n <= 0)
        return n;
    all->count = n;
    all->hub = calloc((size_t)n, sizeof *all->hub);
    if (!all->hub)
        return -ENOMEM;
    for (int i = 0; i < n && r == 0; i++)
        r = sort_descriptor(all, SD_LISTEN_FDS_START + i, all->names[i]);
    return r;
}

void descriptors_deinit(struct descriptors *all)
{
    for (int i = 0; i < all->count; i++)
        free(all->names[i]);
    free(all->names);
    free(all->hub);
}
