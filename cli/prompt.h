/*
 * The line that somebody types, with editing and a history, while other things are written above it. The
 * history is kept in memory only: what people write to each other belongs in no file that they did not ask
 * for.
 */
#ifndef IMCTL_PROMPT_H
#define IMCTL_PROMPT_H

#include <poll.h>

struct prompt;

/* What else there is to wait for while somebody types. */
struct prompt_guest {
    int (*wait)(struct pollfd *p,
                void *userdata);  /* fills in fd and events; gives the time limit in ms, or -1 */
    int (*serve)(void *userdata); /* after each wait; negative: prompt_read ends */
    void *userdata;
};

/* Standard input and output are the terminal. NULL: it cannot be had; then it is on stderr why. */
struct prompt *prompt_new(const struct prompt_guest *guest);
void prompt_free(struct prompt *p);

/* What stands before the line, from now on. Control characters are shown as '?'. */
void prompt_set(struct prompt *p, const char *text);

/* To be called before anything is written to standard output: takes the line away; it is drawn again, below
 * what was written, before the next wait. Does nothing while no line is read. */
void prompt_hide(struct prompt *p);

/* The next line, without its line break; belongs to the prompt, until the next call. NULL: the end. */
const char *prompt_read(struct prompt *p);

#endif
