/* A point in the history, as people write it: a number, a time, or the beginning. */
#ifndef IMCTL_MOMENT_H
#define IMCTL_MOMENT_H

#include <stdbool.h>
#include <stdint.h>

enum moment_kind { MOMENT_NONE, MOMENT_SEQ, MOMENT_TIME, MOMENT_EARLIEST };

struct moment {
    enum moment_kind kind; /* MOMENT_NONE: none was given */
    uint64_t seq;
    int64_t time_ms; /* since 1970 */
};

int64_t moment_now(void); /* what time it is, in ms since 1970 */

/*
 * SEQ (digits only), `earliest`, or a time: @SECONDS since 1970; 2024-05-01, 2024-05-01 13:05[:09[.5]], with
 * a T in place of the space too, in local time unless Z or an offset (+02:00) follows; or a span back from
 * now_ms, such as 2h, 1h 30min or -7d. false: none of them.
 */
bool moment_parse(struct moment *m, const char *text, int64_t now_ms);

#endif
