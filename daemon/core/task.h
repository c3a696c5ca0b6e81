/*
 * A task: work that may block, done by a thread that lives for it alone; its end is told on the loop. The
 * thread touches nothing but the task, which lives until both have let go of it. So a task that was cancelled
 * may end whenever it pleases, even while the process leaves main: no thread is ever waited for.
 */
#ifndef IMD_TASK_H
#define IMD_TASK_H

#include <stdatomic.h>
#include <stdbool.h>

struct sd_event;
struct sd_event_source;

/* The first member of something malloc'ed; the three functions are set by whoever starts it. */
struct task {
    void (*run)(struct task *t);  /* on the thread */
    void (*done)(struct task *t); /* on the loop, once, unless cancelled; what run wrote may be read */
    void (*free)(struct task *t); /* at the very end, on either of the two */

    atomic_int holders; /* loop, thread */
    atomic_bool ended;  /* published after all that run wrote */
    int wake;
    struct sd_event_source *source;
};

/* 0 or a negative errno; then it was freed, and none of run and done is called. */
int task_start(struct task *t, struct sd_event *ev);

/* Loop thread; before done. It is done's no more: only freed, when its thread ends. NULL is fine. */
void task_cancel(struct task *t);

#endif
