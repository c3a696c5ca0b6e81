/* The acks of a consumer: one at a time; while imd writes it down, the next one gathers what is dealt with.
 */
#ifndef IMCTL_ACKS_H
#define IMCTL_ACKS_H

#include <imctl.h>
#include <stdbool.h>

struct acks {
    bool wanted;        /* there is a consumer */
    bool waiting;       /* one has no answer yet */
    uint64_t taken;     /* the last number that came */
    uint64_t repeated;  /* behind what is confirmed, all up to here comes again: it was taken, and then the
                         * connection lost */
    uint64_t settled;   /* all up to here is dealt with */
    uint64_t asked;     /* an ack was written for */
    uint64_t confirmed; /* imd has written down */
    int refused;        /* the exit status of one that was refused */
};

/* An event has come (0: without a number). false: it came before, and comes again because its ack was lost
 * with the connection. */
bool acks_take(struct acks *k, uint64_t seq);

void acks_lost(struct acks *k);                 /* the connection is */
void acks_settle(struct acks *k, uint64_t seq); /* lower ones change nothing */

/* Asks for one if there is reason to. 0 or a negative errno. */
int acks_push(struct acks *k, struct imctl *c);

/* At the end: waits for the last one, else it might be lost and what is dealt with come again. 0, or the exit
 * status. */
int acks_finish(struct acks *k, struct imctl *c);

#endif
