/* The command line. */
#ifndef LOAD_OPTIONS_H
#define LOAD_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIZE_MOST (1u << 20)

struct options {
    const char *mode, *dialect, *cert, *key;
    unsigned subscribers, stalled, connections, outstanding, seconds, deadline, rate;
    uint64_t messages, warmup, window;
    size_t size;
    bool filter, stall_check;
};

/* Ends the program with a text when it makes no sense. */
struct options options_read(int argc, char **argv);

#endif
