#include "options.h"
#include "answer.h"
#include "failure.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WARMUP_MOST 2000
#define WINDOW_BYTES (1u << 20)
#define WINDOW_LEAST 4

static const char USAGE[] =
    "usage: bench_load fanout --dialect imd|line|redis|mqtt|nats [--subscribers N] [--messages M] [--size "
    "BYTES]\n"
    "                  [--rate R] [--window W] [--warmup K] [--filter] [--stalled K [--stall-check]]\n"
    "                  [--tls CERT KEY]\n"
    "       bench_load trip [--connections C] [--outstanding O] [--messages M] [--size BYTES] [--warmup K]\n"
    "                  [--tls CERT KEY]\n"
    "       bench_load idle [--subscribers N] [--seconds S] [--tls CERT KEY]\n"
    "each also [--deadline SECONDS]\n";

static _Noreturn void usage(void)
{
    fputs(USAGE, stderr);
    exit(EXIT_FAILURE);
}

static uint64_t number(const char *name, const char *text, uint64_t least, uint64_t most)
{
    char *end;
    unsigned long long n;

    errno = 0;
    n = strtoull(text, &end, 10);
    if (errno || *end || end == text || *text == '-' || n < least || n > most) {
        errno = 0;
        fail("--%s: a number from %llu to %llu", name, (unsigned long long)least, (unsigned long long)most);
    }
    return n;
}

static void defaults_set(struct options *o, bool warmup_given)
{
    uint64_t fitting = WINDOW_BYTES / o->size;

    if (!warmup_given)
        o->warmup = o->messages / 10 < WARMUP_MOST ? o->messages / 10 : WARMUP_MOST;
    if (o->warmup >= o->messages) {
        errno = 0;
        fail("--warmup leaves no message to measure");
    }
    if (o->window > fitting)
        o->window = fitting;
    if (o->window < WINDOW_LEAST)
        o->window = WINDOW_LEAST;
    if (o->filter) { /* they come in pairs, and one of each is delivered */
        o->warmup += o->warmup & 1;
        o->messages += o->messages & 1;
    }
}

struct options options_read(int argc, char **argv)
{
    static const struct option known[] = {
        {"dialect", required_argument, NULL, 'd'},     {"subscribers", required_argument, NULL, 'n'},
        {"messages", required_argument, NULL, 'm'},    {"size", required_argument, NULL, 's'},
        {"rate", required_argument, NULL, 'r'},        {"window", required_argument, NULL, 'w'},
        {"warmup", required_argument, NULL, 'k'},      {"filter", no_argument, NULL, 'f'},
        {"stalled", required_argument, NULL, 'x'},     {"stall-check", no_argument, NULL, 'X'},
        {"tls", required_argument, NULL, 't'},         {"connections", required_argument, NULL, 'c'},
        {"outstanding", required_argument, NULL, 'o'}, {"seconds", required_argument, NULL, 'S'},
        {"deadline", required_argument, NULL, 'D'},    {NULL, 0, NULL, 0},
    };
    struct options o = {.dialect = "imd",
                        .subscribers = 1,
                        .connections = 1,
                        .outstanding = 1,
                        .seconds = 10,
                        .deadline = 120,
                        .messages = 100000,
                        .window = 4096,
                        .size = 300};
    bool warmup_given = false;
    int c, at;

    if (argc < 2)
        usage();
    o.mode = argv[1];
    while ((c = getopt_long(argc - 1, argv + 1, "", known, &at)) != -1) {
        switch (c) {
        case 'd':
            o.dialect = optarg;
            break;
        case 'n':
            o.subscribers = (unsigned)number("subscribers", optarg, 1, 100000);
            break;
        case 'm':
            o.messages = number("messages", optarg, 1, 1000000000);
            break;
        case 's':
            o.size = number("size", optarg, 1, SIZE_MOST);
            break;
        case 'r':
            o.rate = (unsigned)number("rate", optarg, 0, 1000000);
            break;
        case 'w':
            o.window = number("window", optarg, 1, 1u << 20);
            break;
        case 'k':
            o.warmup = number("warmup", optarg, 0, 1000000000);
            warmup_given = true;
            break;
        case 'f':
            o.filter = true;
            break;
        case 'x':
            o.stalled = (unsigned)number("stalled", optarg, 0, 100000);
            break;
        case 'X':
            o.stall_check = true;
            break;
        case 't':
            o.cert = optarg;
            if (optind >= argc - 1)
                usage();
            o.key = argv[1 + optind++];
            break;
        case 'c':
            o.connections = (unsigned)number("connections", optarg, 1, 100000);
            break;
        case 'o':
            o.outstanding = (unsigned)number("outstanding", optarg, 1, SLOTS_MAX);
            break;
        case 'S':
            o.seconds = (unsigned)number("seconds", optarg, 1, 86400);
            break;
        case 'D':
            o.deadline = (unsigned)number("deadline", optarg, 1, 86400);
            break;
        default:
            usage();
        }
    }
    if (optind != argc - 1)
        usage();
    if ((o.filter || o.stalled || o.cert) && strcmp(o.dialect, "imd") != 0)
        usage();
    defaults_set(&o, warmup_given);
    return o;
}
