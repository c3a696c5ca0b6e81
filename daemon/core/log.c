/*
 * A line is made in a buffer on the stack and written with one call. The loop must never block, not even on a
 * journal that has stopped reading: where stderr would block, the line is dropped and counted, and the next
 * one that gets through says how many are missing.
 */
#include "log.h"

#include <assert.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024 /* well below PIPE_BUF: what poll calls writable takes it whole */
#define TRUNCATED "..."

static_assert(LINE_MAX_BYTES < PIPE_BUF, "a line must fit into a pipe that polls as writable");

static struct {
    int max_level;
    bool prefix;
    atomic_uint lost;
} sink = {.max_level = LOG_INFO};

void log_init(int max_level)
{
    sink.max_level = max_level;
    sink.prefix = !isatty(STDERR_FILENO);
}

static bool write_line(const char *line, size_t len)
{
    struct pollfd p = {.fd = STDERR_FILENO, .events = POLLOUT};

    if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT))
        return false;
    return write(STDERR_FILENO, line, len) == (ssize_t)len;
}

/* What a peer sent may stand in a line: it must not begin a new one, nor drive a terminal. */
static void blank_controls(char *s, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)s[i] < 0x20 || s[i] == 0x7f)
            s[i] = ' ';
}

static size_t format_line(char line[LINE_MAX_BYTES], int level, const char *format, va_list args)
{
    size_t room = LINE_MAX_BYTES - 1; /* the newline's place */
    size_t start = sink.prefix ? (size_t)snprintf(line, room, "<%d>", level) : 0;
    int wanted = vsnprintf(line + start, room - start, format, args);
    size_t len = wanted < 0 ? 0 : (size_t)wanted;

    if (len >= room - start) {
        len = room - start - 1;
        memcpy(line + start + len - strlen(TRUNCATED), TRUNCATED, strlen(TRUNCATED));
    }
    blank_controls(line + start, len);
    line[start + len] = '\n';
    return start + len + 1;
}

static size_t format_args(char line[LINE_MAX_BYTES], int level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static size_t format_args(char line[LINE_MAX_BYTES], int level, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    size_t len = format_line(line, level, format, args);
    va_end(args);
    return len;
}

static void report_lost(void)
{
    unsigned lost = atomic_exchange(&sink.lost, 0);
    char line[LINE_MAX_BYTES];

    if (lost == 0)
        return;
    size_t len = format_args(line, LOG_WARNING, "%u log lines were lost: nobody read them in time", lost);
    if (!write_line(line, len))
        atomic_fetch_add(&sink.lost, lost);
}

void log_line(int level, const char *format, ...)
{
    char line[LINE_MAX_BYTES];
    va_list args;

    if (level > sink.max_level)
        return;
    va_start(args, format);
    size_t len = format_line(line, level, format, args);
    va_end(args);
    report_lost();
    if (!write_line(line, len))
        atomic_fetch_add(&sink.lost, 1);
}

static uint64_t monotonic_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

bool log_limit_pass(struct log_limit *l)
{
    uint64_t now = monotonic_ms();

    if (l->since_ms == 0 || now - l->since_ms >= LOG_LIMIT_SECONDS * 1000) {
        if (l->suppressed > 0)
            log_line(LOG_NOTICE, "%u lines like the next were not written", l->suppressed);
        *l = (struct log_limit){.since_ms = now};
    }
    if (l->passed >= LOG_LIMIT_BURST) {
        l->suppressed++;
        return false;
    }
    l->passed++;
    return true;
}
