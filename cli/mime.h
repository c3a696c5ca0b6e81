/* The kind of a file. */
#ifndef IMCTL_MIME_H
#define IMCTL_MIME_H

#include <stddef.h>

/* The MIME type that the first bytes of a file tell: "image/png"; "application/octet-stream" when nothing
 * does. */
void mime_of(int fd, char *out, size_t size);

#endif
