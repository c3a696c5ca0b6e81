#include "report.h"
#include "clock.h"

#include <inttypes.h>
#include <stdio.h>

/* The time that a thread has used is brought up to date when it sleeps, else only each tick. */
#define REST_NS 2000000

struct border border_here(pid_t pid)
{
    struct border b = {.time_ns = now_ns()};

    sleep_ns(REST_NS);
    b.vitals = vitals_read(pid);
    return b;
}

void report_memory(const struct vitals *before, const struct vitals *after)
{
    printf(",\"rssKiB\":{\"before\":%" PRIu64 ",\"peak\":%" PRIu64 ",\"after\":%" PRIu64 "}", before->rss_kib,
           after->peak_kib, after->rss_kib);
}
