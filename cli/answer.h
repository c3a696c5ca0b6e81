/* The answer to a message that was sent. */
#ifndef IMCTL_ANSWER_H
#define IMCTL_ANSWER_H

#include "command.h"

#include <imctl.h>

/* How many ms imd may take for it before it must be taken for dead; -1: nobody knows. */
int answer_timeout(const struct arguments *a);

/* A messageId that was queued before may have come to its end meanwhile: which one. IMCTL_OK: it may still
 * arrive, or has. */
enum imctl_error answer_error(const struct imctl_reply *r);

#endif
