/*
 * The command of --exec: run for one event after the other, so many at once, with the event in its
 * environment and, as JSON, on its standard input. Keeps order of what has come, so that it can tell up to
 * where all is dealt with.
 */
#ifndef IMCTL_HANDLER_H
#define IMCTL_HANDLER_H

#include <imctl.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

struct task;

struct handler {
    const char *command; /* NULL: none was asked for; then nothing below is used */
    size_t at_once;
    bool stop_on_failure;
    bool stopped; /* begins no more; may be set from outside */
    bool failed;  /* a command has */
    int signal;   /* that told us to end; 0: none */
    int signals;  /* signalfd(2), to wait for */
    sigset_t mask;
    struct task *first, **end; /* of what is not dealt with, in the order in which it came */
    size_t running, waiting;
    size_t held;      /* bytes of the events that wait */
    uint64_t settled; /* everything up to this number is dealt with */
};

/* From now on signals that end the program are waited for. 0, or the exit status. */
int handler_begin(struct handler *h, const char *command, size_t at_once, bool stop_on_failure);

/* Takes over event and file (where what it brought was saved, or NULL). run: false: only its number is waited
 * for in its turn. 0 or -ENOMEM; then they are freed. */
int handler_add(struct handler *h, struct imctl_event *e, char *file, bool run);

/* Begins and ends what can be. */
void handler_serve(struct handler *h);

bool handler_idle(const struct handler *h); /* nothing runs, and nothing will */
bool handler_full(const struct handler *h); /* it holds so much that no more should be read */

/* Nothing runs any more: signals end the program again. */
void handler_release(struct handler *h);

void handler_end(struct handler *h); /* also of one that did not begin */

#endif
