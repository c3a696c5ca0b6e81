/* An event on one line: as imd wrote it, or, for people, with the time, who wrote to whom, and what. */
#ifndef IMCTL_SHOW_H
#define IMCTL_SHOW_H

#include <imctl.h>

struct show {
    bool json; /* as imd wrote it */
    bool colours;
    bool dates; /* the day too, not only the time of day */
};

/* `json`: asked for; so it is anyway where nobody reads it on a terminal. */
struct show show_as(bool json, bool dates);

bool show_event(const struct imctl_event *e, const struct show *s); /* false: it cannot be written */

#endif
