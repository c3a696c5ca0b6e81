/* How many messages ended how: what is said about it on standard error, and the exit status. */
#ifndef IMCTL_TALLY_H
#define IMCTL_TALLY_H

#include <imctl.h>
#include <stdbool.h>
#include <stdint.h>

struct tally {
    uint64_t acked, failed, unknown, unsent;
    uint64_t local;  /* of the failed: those that imd has not seen */
    uint64_t listed; /* failures that were told one by one */
    uint64_t first;  /* the line that failed first; 0: none */
    int status;      /* of that line */
};

/* One has ended well. */
void tally_ack(struct tally *t);

/* One has failed; `local`: here, before imd has seen it. true: it may be told why, there are not too many
 * yet. */
bool tally_failure(struct tally *t, uint64_t line, enum imctl_error error, bool local);

/* `imctl: 1000 sent, 998 acked, 2 failed in 2.1 s`. verb: what has become of the good ones. */
void tally_print(const struct tally *t, const char *verb, int64_t span_ms);

uint64_t tally_failures(const struct tally *t);

#endif
