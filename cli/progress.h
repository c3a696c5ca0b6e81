/* A line on standard error that shows how far it has come: where that is a terminal, and nobody types the
 * input there. */
#ifndef IMCTL_PROGRESS_H
#define IMCTL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#define PROGRESS_SAMPLES 16

struct progress {
    bool on, drawn;
    int64_t next_ms; /* when it may be drawn again */
    uint64_t bytes;  /* all there are to be done; 0: nobody knows */
    struct {
        int64_t at_ms;
        uint64_t lines, bytes;
    } samples[PROGRESS_SAMPLES]; /* of the last draws, the oldest first; the rate is made of them */
    int count;
};

/* bytes: 0 when nobody knows how many there will be. */
void progress_begin(struct progress *p, uint64_t bytes);

bool progress_is_due(const struct progress *p);

/* `imctl: 45000 lines, 41234/s [#########-----------] 45 %, 1 s left`; without bytes, only count and rate. */
void progress_draw(struct progress *p, uint64_t lines, uint64_t bytes);

/* Takes it from the screen, so that something else may be written; does nothing when it is not there. */
void progress_erase(struct progress *p);

/* How many ms until it is due; -1: never. */
int progress_timeout(const struct progress *p);

#endif
