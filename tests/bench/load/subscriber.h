/*
 * The subscribers: each reads its connection and checks every byte of it. A crowd is all that read, and
 * knows how far the slowest of them is.
 */
#ifndef LOAD_SUBSCRIBER_H
#define LOAD_SUBSCRIBER_H

#include "counter.h"
#include "record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tally {
    uint64_t deliveries, lost, repeated, reordered, torn;
    uint64_t announced; /* of those lost: the peer said so */
};

struct subscriber {
    int fd;
    bool astray; /* after torn bytes: looks for the next record */
    struct counter expected;
    uint64_t next;               /* the same as a number */
    uint64_t first_seq;          /* of message 0; 0: not known yet */
    uint64_t hole_from, hole_to; /* the last ones lost: they may still come late */
    char *carry;                 /* a record's beginning, until its end comes */
    size_t carry_len;
};

/*
 * Bytes that do not begin like a record. Returns how many of them it knows (an answer, a ping, …), 0: more
 * are needed, or -1: they are torn. `lost_to`: set to the first message that is not lost, where the peer
 * announces a loss.
 */
typedef long other_taker(int fd, const char *bytes, size_t len, uint64_t first_seq, uint64_t *lost_to);

struct crowd {
    struct subscriber *members;
    unsigned count;
    int step;     /* of the counter from one message that is delivered to the next: 2 behind a filter */
    uint64_t end; /* no message has this number, or a greater one */
    struct record *record;
    other_taker *other;
    struct tally tally;
    uint64_t slowest; /* the least `next` of all */
    unsigned at_slowest;
    char *buffer; /* one for all: it stays in the cache */
    size_t buffer_size;
};

void crowd_init(struct crowd *c, unsigned count, int step, uint64_t end, struct record *record,
                other_taker *other);
void crowd_deinit(struct crowd *c);

/* Reads once; true when that moved `slowest`. */
bool crowd_read(struct crowd *c, struct subscriber *s);

#endif
