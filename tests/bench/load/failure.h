/* How the load ends when it cannot go on: a text on stderr, status 1. */
#ifndef LOAD_FAILURE_H
#define LOAD_FAILURE_H

#include <stdbool.h>

/* As printf; what errno says is added when it is not 0. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* From now on deadline_check fails after so many seconds, and blocking calls end with EINTR. */
void deadline_start(unsigned seconds);
bool deadline_over(void);
/* After a system call failed with EINTR. */
void deadline_check(const char *what_is_missing);

#endif
