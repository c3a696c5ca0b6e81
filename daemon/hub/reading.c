/* See reading.h. */
#include "reading.h"

#include "state.h"

#define UNDER_WAY_MAX 8

void reading_begin(struct hub *h, struct reading *r)
{
    struct readings *all = &h->readings;

    if (all->under_way < UNDER_WAY_MAX) {
        all->under_way++;
        r->start(r);
        return;
    }
    r->next = NULL;
    *(all->first ? &all->last->next : &all->first) = r;
    all->last = r;
}

void reading_end(struct hub *h)
{
    struct readings *all = &h->readings;
    struct reading *r = all->first;

    if (!r) {
        all->under_way--;
        return;
    }
    all->first = r->next;
    r->start(r);
}
