/* How imctl reaches the daemon, and what becomes of errors: a sentence and an exit status. */
#ifndef IMCTL_REACH_H
#define IMCTL_REACH_H

#include "command.h"

#include <imctl.h>

/* 0, or the exit status; then it is on stderr why. */
int reach_daemon(const struct arguments *a, struct imctl **out);

/* The same, but waits until there is a daemon; IMCTL_UNKNOWN's status, in silence, when it is not there by
 * the deadline. */
int reach_daemon_by(const struct arguments *a, int64_t deadline, struct imctl **out);

/* Calls a method and waits. As above. */
int reach_call(struct imctl *c, const char *method, const char *params, struct imctl_reply **out);

/* What one of the library's waiting calls has returned: 0 if *r is a result. Else, as above, the exit status;
 * then *r is freed. */
int reach_answer(int error, struct imctl_reply **r);

/* Complains about a negative errno of the library, or about an error of the daemon; gives the exit status. */
int failure_status(int error);
const char *failure_sentence(int error); /* without the status */
int refusal_status(const struct imctl_reply *r);

/* What refusal_status says, without a line break. */
void refusal_sentence(const struct imctl_reply *r, char *out, size_t size);

#define REFUSAL_SIZE 1024 /* enough for it */

#define ANSWER_TIMEOUT_MS \
    30000 /* for what imd answers from memory or disk: it is far below that, or something is wrong */

#endif
