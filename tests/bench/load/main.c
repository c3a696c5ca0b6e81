/*
 * bench_load: the load of the bench. It plays the IM server, or whoever publishes, and all subscribers; it
 * checks each byte that is delivered, and says what that cost the process under test. See options.c for its
 * command line and ../run for who starts it.
 *
 * What it needs to know of the process under test it reads from stdin, one line `start PID ADDRESS`; where
 * that process is to connect to it, it first prints `port P`. One JSON object on stdout is its result.
 */
#include "failure.h"
#include "fanout.h"
#include "idle.h"
#include "options.h"
#include "trip.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

static void descriptors_allow(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(const struct options *options);
    } modes[] = {{"fanout", fanout_run}, {"trip", trip_run}, {"idle", idle_run}};
    struct options options = options_read(argc, argv);

    descriptors_allow();
    deadline_start(options.deadline);
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
        if (strcmp(modes[i].name, options.mode) == 0) {
            modes[i].run(&options);
            return EXIT_SUCCESS;
        }
    }
    errno = 0;
    fail("no mode %s", options.mode);
}
