/* --save-files: the files that messages bring, kept in a directory as SEQ-NAME. */
#ifndef IMCTL_SAVING_H
#define IMCTL_SAVING_H

#include <imctl.h>
#include <stdbool.h>

struct saving {
    const char *directory; /* NULL: nothing is saved */
    int fd;
    bool durable; /* each file is on disk before it counts as saved */
    bool missed;  /* one could not be had of imd any more */
};

/* These two give 0, or the exit status; then it is on stderr why. */
int saving_begin(struct saving *s, const char *directory, bool durable);

/* Saves what the event brought; *path, which the caller frees, is where, or NULL. That imd has it no longer
 * is only complained of, and remembered: it will not come back. */
int saving_event(struct saving *s, const struct imctl_event *e, char **path);

void saving_end(struct saving *s); /* also of one that did not begin */

/* The part of the name that the sender gave which may be part of a name here; "file" when nothing is left.
 * Freed by the caller; NULL: no memory. */
char *saving_name(const char *given);

#endif
