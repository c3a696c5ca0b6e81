/* What was used between two looks at the process under test, as JSON on stdout. */
#ifndef LOAD_REPORT_H
#define LOAD_REPORT_H

#include "vitals.h"

#include <stdint.h>

/* A border of the measurement. */
struct border {
    uint64_t time_ns;
    uint64_t own_ns; /* the load's own time on the CPU: that it did not hold things up */
    struct vitals vitals;
};

/*
 * The process under test is given a moment to come to rest before it is looked at; that does not count as
 * time between two borders.
 */
struct border border_begin(pid_t pid);
struct border border_end(pid_t pid);

/* `,"seconds":…,"perSecond":…,"cpuSeconds":…,"loadCpuSeconds":…,"switches":…` */
void report_time(const struct border *begin, const struct border *end, uint64_t messages);
/* `,"rssKiB":{…}` */
void report_memory(const struct vitals *before, const struct vitals *after);

#endif
