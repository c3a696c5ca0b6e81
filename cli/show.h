/* An event in the form for people: one line, with the time, who wrote to whom, and what. */
#ifndef IMCTL_SHOW_H
#define IMCTL_SHOW_H

#include <imctl.h>

bool show_event(const struct imctl_event *e, bool colours); /* false: it cannot be written */

#endif
