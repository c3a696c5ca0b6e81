/* The lines of a descriptor, read as they come: each read(2) takes what is there. */
#ifndef IMCTL_INTAKE_H
#define IMCTL_INTAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct intake {
    int fd;
    size_t max; /* bytes that a line may have */
    char *buffer;
    size_t start, scanned, filled, capacity;
    bool skipping;  /* the rest of a line that is too long */
    bool ended;     /* nothing more can be read */
    uint64_t taken; /* bytes of the lines that were given out */
};

enum intake_line { INTAKE_NONE, INTAKE_READY, INTAKE_TOO_LONG };

void intake_init(struct intake *in, int fd, size_t max);
void intake_deinit(struct intake *in);

/* Reads once, which waits unless poll(2) said otherwise. 0 or a negative errno. */
int intake_read(struct intake *in);

/* The next line that was read whole, without its line break, which is a NUL now; it lives until the next
 * read. What stands behind the last line break is a line, too. Of one that is too long nothing is given. */
enum intake_line intake_next(struct intake *in, char **line, size_t *len);

/* There is nothing more, and no line is left. */
bool intake_is_over(const struct intake *in);

#endif
