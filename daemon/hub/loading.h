/*
 * Loading: the files that came with a send are read into its frame, by a task, while the loop goes on. Loop
 * thread, but for what the task does.
 */
#ifndef IMD_LOADING_H
#define IMD_LOADING_H

#include "encode.h"
#include "link.h"
#include "passed.h"
#include "task.h"

struct loading {
    struct task task;            /* its first member */
    struct loading *prev, *next; /* the hub's */
    struct passed *passed;
    struct link_frame frame;
    struct encode_files files;
    enum error error; /* ERROR_INVALID_PARAMS: a file cannot be read, or is shorter than it was */
    char detail[160];
    void (*loaded)(struct loading *l); /* on the loop, once; what it leaves of the frame is freed behind it */
};

#define LOADINGS_MAX 16 /* each may hold MaxMessage bytes */
#define LOADINGS_PER_USER_MAX 4

bool loading_allowed(const struct hub *h, uid_t uid);

/*
 * l is the first member of something malloc'ed, with passed, frame, files and loaded set; all of it is taken
 * over, also when it fails. 0 or a negative errno.
 */
int loading_start(struct hub *h, struct loading *l);

void loading_forget(struct hub *h); /* at the end: none is waited for */

#endif
