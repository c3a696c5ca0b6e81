/* An event is a line of imd with the place of its params. */
#ifndef IMCTL_EVENT_H
#define IMCTL_EVENT_H

#include "imctl.h"
#include "document.h"

struct imctl_event {
    struct imctl_event *next; /* in the connection's list of events that nobody took yet */
    enum imctl_event_kind kind;
    struct view line;
    struct view method;
    struct document *params;
    struct document document;
};

/* The line must be NUL-terminated and stay as long as the event. */
void event_init(struct imctl_event *e, struct view line, struct view method, struct view params);
void event_deinit(struct imctl_event *e);

/* An event of its own from a line that need not stay. 0, -ENOMEM. */
int event_new(struct view line, struct imctl_event **out);

/* The same from an entry of the outbox, as an OUTBOX. */
int event_new_outbox(struct view entry, struct imctl_event **out);

#endif
