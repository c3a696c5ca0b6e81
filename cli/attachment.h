/* A message that is a file. */
#ifndef IMCTL_ATTACHMENT_H
#define IMCTL_ATTACHMENT_H

#include <imctl.h>

/* content: the bytes of the file, its name, MIME type and size; type: "image" or "file". 0, or the exit
 * status: then it is on stderr why. */
int attachment_message(const char *path, const char *type, struct imctl_message **out);

#endif
