/* What /proc says about the process under test. */
#ifndef LOAD_VITALS_H
#define LOAD_VITALS_H

#include <stdint.h>
#include <sys/types.h>

struct vitals {
    uint64_t cpu_ns;   /* all threads */
    uint64_t switches; /* voluntary ones, all threads */
    uint64_t rss_kib, peak_kib;
};

/* The process must be there. */
struct vitals vitals_read(pid_t pid);

#endif
