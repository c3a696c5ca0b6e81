/* The buffer holds [start, filled): what was read and not yet given out; up to `scanned` it has no line
 * break. */
#include "intake.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BUFFER_LEAST ((size_t)64 * 1024)

void intake_init(struct intake *in, int fd, size_t max)
{
    *in = (struct intake){.fd = fd, .max = max};
}

void intake_deinit(struct intake *in)
{
    free(in->buffer);
    intake_init(in, in->fd, in->max);
}

/* Room for at least one byte, and for a NUL behind the last. The buffer need not hold more than the longest
 * line and one byte that shows that it is longer. */
static int room_make(struct intake *in)
{
    if (in->start > 0) {
        memmove(in->buffer, in->buffer + in->start, in->filled - in->start);
        in->filled -= in->start;
        in->start = 0;
    }
    if (in->filled < in->capacity)
        return 0;
    size_t capacity = in->capacity ? in->capacity * 2 : BUFFER_LEAST;
    char *buffer = realloc(in->buffer, capacity + 1);
    if (!buffer)
        return -ENOMEM;
    in->buffer = buffer;
    in->capacity = capacity;
    return 0;
}

int intake_read(struct intake *in)
{
    int error = room_make(in);
    if (error < 0)
        return error;
    ssize_t n = read(in->fd, in->buffer + in->filled, in->capacity - in->filled);
    if (n < 0)
        return errno == EINTR || errno == EAGAIN ? 0 : -errno;
    in->ended = n == 0;
    in->filled += (size_t)n;
    return 0;
}

/* Where the line ends, or NULL when it is not there whole. */
static char *line_end(struct intake *in)
{
    size_t len = in->filled - in->start;
    char *begin = in->buffer + in->start, *end = NULL;
    if (len > in->scanned)
        end = memchr(begin + in->scanned, '\n', len - in->scanned);
    in->scanned = len;
    return !end && in->ended && (len > 0 || in->skipping) ? begin + len : end;
}

static void bytes_take(struct intake *in, size_t n)
{
    size_t left = in->filled - in->start;
    in->taken += n;
    in->start += n < left ? n : left; /* the last line has no line break */
    in->scanned = 0;
}

/* Nothing of a line is kept that cannot be one any more. */
static enum intake_line line_wait(struct intake *in)
{
    in->skipping = in->skipping || in->filled - in->start > in->max;
    if (in->skipping)
        bytes_take(in, in->filled - in->start);
    return INTAKE_NONE;
}

enum intake_line intake_next(struct intake *in, char **line, size_t *len)
{
    char *end = line_end(in);
    if (!end)
        return line_wait(in);
    *line = in->buffer + in->start;
    *len = (size_t)(end - *line);
    *end = '\0';
    bool too_long = in->skipping || *len > in->max;
    in->skipping = false;
    bytes_take(in, *len + 1);
    return too_long ? INTAKE_TOO_LONG : INTAKE_READY;
}

bool intake_is_over(const struct intake *in)
{
    return in->ended && in->filled == in->start && !in->skipping;
}
