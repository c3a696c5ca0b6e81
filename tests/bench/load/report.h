/* What was used between two looks at the process under test, as JSON on stdout. */
#ifndef LOAD_REPORT_H
#define LOAD_REPORT_H

#include "vitals.h"

#include <stdint.h>

/* A border of the measurement. */
struct border {
    uint64_t time_ns;
    struct vitals vitals;
};

/* Now; the process under test is given a moment to come to rest before it is looked at. */
struct border border_here(pid_t pid);

/* `,"rssKiB":{…}` */
void report_memory(const struct vitals *before, const struct vitals *after);

#endif
