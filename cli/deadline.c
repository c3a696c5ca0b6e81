#include "deadline.h"

#include <time.h>

static int64_t now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t deadline_after(int64_t span_ms)
{
    return span_ms < 0 ? -1 : now_ms() + span_ms;
}

int deadline_left(int64_t deadline)
{
    int64_t left = deadline < 0 ? -1 : deadline - now_ms();
    return deadline < 0 ? -1 : left > 0 ? (int)left : 0;
}
