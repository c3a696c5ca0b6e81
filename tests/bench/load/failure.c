#include "failure.h"

#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

static volatile sig_atomic_t over;

void fail(const char *format, ...)
{
    int error = errno;
    va_list args;

    fputs("bench_load: ", stderr);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    if (error)
        fprintf(stderr, ": %s", strerror(error));
    fputc('\n', stderr);
    exit(EXIT_FAILURE);
}

static void on_alarm(int signal_number)
{
    over = 1;
}

void deadline_start(unsigned seconds)
{
    struct sigaction action = {.sa_handler = on_alarm}; /* no SA_RESTART: blocking calls must end */
    /* Again each second: the first may come just before a call that blocks. */
    struct itimerval timer = {.it_value = {.tv_sec = seconds}, .it_interval = {.tv_sec = 1}};

    if (sigaction(SIGALRM, &action, NULL) < 0 || setitimer(ITIMER_REAL, &timer, NULL) < 0)
        fail("timer");
}

bool deadline_over(void)
{
    return over;
}

void deadline_check(const char *what_is_missing)
{
    if (!over)
        return;
    errno = 0;
    fail("deadline: %s", what_is_missing);
}
