/*
 * libedit, the line editor, loaded when somebody types to imctl and not before: with the three libraries that
 * it needs, it adds 0.2 ms to the 1.1 ms that a start of imctl takes.
 */
#ifndef IMCTL_EDITLINE_H
#define IMCTL_EDITLINE_H

#include <histedit.h>
#include <stdbool.h>

/* Its functions by their names. */
struct editline {
    __typeof__(el_init) *el_init;
    __typeof__(el_end) *el_end;
    __typeof__(el_set) *el_set;
    __typeof__(el_get) *el_get;
    __typeof__(el_gets) *el_gets;
    __typeof__(el_wline) *el_wline;
    __typeof__(history_init) *history_init;
    __typeof__(history_end) *history_end;
    __typeof__(history) *history;
};

bool editline_load(struct editline *e); /* false: it is not there */

#endif
