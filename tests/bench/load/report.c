#include "report.h"
#include "clock.h"

#include <inttypes.h>
#include <stdio.h>

/* The time that a thread has used is brought up to date when it sleeps, else only each tick. */
#define REST_NS 2000000

static struct vitals vitals_at_rest(pid_t pid)
{
    sleep_ns(REST_NS);
    return vitals_read(pid);
}

struct border border_begin(pid_t pid)
{
    struct vitals vitals = vitals_at_rest(pid);

    return (struct border){
        .time_ns = now_ns(), .own_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID), .vitals = vitals};
}

struct border border_end(pid_t pid)
{
    struct border b = {.time_ns = now_ns(), .own_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID)};

    b.vitals = vitals_at_rest(pid);
    return b;
}

static double seconds(uint64_t from_ns, uint64_t to_ns)
{
    return (double)(to_ns - from_ns) / 1e9;
}

void report_time(const struct border *begin, const struct border *end, uint64_t messages)
{
    double passed = seconds(begin->time_ns, end->time_ns);

    printf(",\"seconds\":%.6f,\"perSecond\":%.1f,\"cpuSeconds\":%.6f,\"loadCpuSeconds\":%.6f,\"switches\":"
           "%" PRIu64,
           passed, (double)messages / passed, seconds(begin->vitals.cpu_ns, end->vitals.cpu_ns),
           seconds(begin->own_ns, end->own_ns), end->vitals.switches - begin->vitals.switches);
}

void report_memory(const struct vitals *before, const struct vitals *after)
{
    printf(",\"rssKiB\":{\"before\":%" PRIu64 ",\"peak\":%" PRIu64 ",\"after\":%" PRIu64 "}", before->rss_kib,
           after->peak_kib, after->rss_kib);
}
