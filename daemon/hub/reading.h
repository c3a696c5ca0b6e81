/*
 * Readings: answers that are gathered from the store (history, outbox). What one brings into memory is
 * bounded but for a single long line, and so only a few are under way at a time; the others wait, the oldest
 * first.
 */
#ifndef IMD_READING_H
#define IMD_READING_H

struct hub;

struct reading {
    void (*start)(struct reading *r); /* it is its turn; to be followed by reading_end */
    struct reading *next;
};

struct readings {
    struct reading *first, *last; /* that wait */
    unsigned under_way;
};

void reading_begin(struct hub *h, struct reading *r); /* starts it now or later */
void reading_end(struct hub *h);                      /* one that was started is over */

#endif
