#ifndef IMCTL_MESSAGE_H
#define IMCTL_MESSAGE_H

#include "imctl.h"
#include "descriptors.h"
#include "json_writer.h"

/* What went wrong when it was put together; 0: nothing. */
int message_error(const struct imctl_message *m);

/* The params of `send`: the message and how it is to be sent. */
void message_write_params(const struct imctl_message *m, struct json_writer *w);

/* The files that go with them, duplicated; NULL: none. 0, -ENOMEM, -errno; what was made so far is in *out
 * also when it fails. */
int message_files(const struct imctl_message *m, struct descriptors **out);

#endif
