/* An event on one line: as imd wrote it, or, for people, with the time, who wrote to whom, and what. */
#ifndef IMCTL_SHOW_H
#define IMCTL_SHOW_H

#include "format.h"

#include <imctl.h>

struct show {
    bool json; /* as imd wrote it */
    bool colours;
    bool dates;                  /* the day too, not only the time of day */
    const struct format *format; /* NULL: none; else nothing of the above counts */
};

/* `json`: asked for; so it is anyway where nobody reads it on a terminal. */
struct show show_as(bool json, bool dates, const struct format *format);

/* file: where what it brought was saved, or NULL. false: it cannot be written. */
bool show_event(const struct imctl_event *e, const struct show *s, const char *file);

/* Tells of a GAP on standard error: for those who print, or do, nothing for one. */
void show_gap_aside(const struct imctl_event *e);

/* What an event says: its text; of what has none, its content or what the server said; the state of STATUS
 * and OUTBOX. NULL: nothing. */
const char *show_text(const struct imctl_event *e);

/* The word of its conversation, or its number, which is written to `number`. NULL: it has none. */
#define SHOW_CONVERSATION_SIZE 12
const char *show_conversation(const struct imctl_event *e, char number[SHOW_CONVERSATION_SIZE]);

#endif
