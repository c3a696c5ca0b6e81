/* File descriptors that go to imd with one line: SCM_RIGHTS of unix(7). */
#ifndef IMCTL_DESCRIPTORS_H
#define IMCTL_DESCRIPTORS_H

#include "vocabulary.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct descriptors {
    struct descriptors *next; /* in the list of a writer */
    uint64_t begin, end;      /* of the line, in the stream of bytes to imd */
    size_t count;
    int fds[LINE_FDS_MAX];
};

/* A duplicate that programs started by this one do not get. -errno. */
int descriptor_duplicate(int fd);

struct descriptors *descriptors_new(void);          /* NULL: no memory */
int descriptors_add(struct descriptors *d, int fd); /* a duplicate of it. 0, -E2BIG, -errno */
void descriptors_free(struct descriptors *d);       /* closes them */

/* As send(2). They have gone as soon as one byte has. */
ssize_t descriptors_send(const struct descriptors *d, int socket, const char *bytes, size_t len);

#endif
