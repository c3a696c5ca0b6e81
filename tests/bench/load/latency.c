#include "latency.h"
#include "failure.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void latency_init(struct latency *l, size_t size)
{
    *l = (struct latency){.ns = malloc(size * sizeof *l->ns), .size = size};
    if (!l->ns)
        fail("no memory for %zu latencies", size);
    memset(l->ns, 0, size * sizeof *l->ns); /* its pages are there before it is measured */
}

void latency_deinit(struct latency *l)
{
    free(l->ns);
    *l = (struct latency){0};
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static double microseconds(const struct latency *l, double part)
{
    size_t at = (size_t)(part * (double)l->count);

    if (!l->count)
        return 0;
    return (double)l->ns[at < l->count ? at : l->count - 1] / 1e3;
}

void latency_print(struct latency *l)
{
    qsort(l->ns, l->count, sizeof *l->ns, by_value);
    printf(",\"latencyUs\":{\"p50\":%.2f,\"p90\":%.2f,\"p99\":%.2f,\"max\":%.2f}", microseconds(l, 0.5),
           microseconds(l, 0.9), microseconds(l, 0.99), microseconds(l, 1));
}
