#include "clock.h"
#include "failure.h"

#include <sys/timerfd.h>
#include <unistd.h>

int timer_open(uint64_t gap_ns)
{
    struct timespec gap = {.tv_sec = (time_t)(gap_ns / 1000000000u), .tv_nsec = (long)(gap_ns % 1000000000u)};
    struct itimerspec each = {.it_value = gap, .it_interval = gap};
    int fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);

    if (fd < 0 || timerfd_settime(fd, 0, &each, NULL) < 0)
        fail("timer");
    return fd;
}

uint64_t timer_ticks(int fd)
{
    uint64_t ticks;

    return read(fd, &ticks, sizeof ticks) == sizeof ticks ? ticks : 0;
}
