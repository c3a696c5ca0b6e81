/*
 * Log lines on stderr, one call one line, with the <N> prefix that journald understands when stderr is no
 * terminal. Never a token, never message content. Thread: any.
 */
#ifndef IMD_LOG_H
#define IMD_LOG_H

#include <stdbool.h>
#include <stdint.h>
#include <syslog.h>

void log_init(int max_level); /* LOG_ERR … LOG_DEBUG; default LOG_INFO */
void log_line(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_notice(...) log_line(LOG_NOTICE, __VA_ARGS__)
#define log_info(...) log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_line(LOG_DEBUG, __VA_ARGS__)

/*
 * For lines that a peer can cause: at most LOG_LIMIT_BURST in LOG_LIMIT_SECONDS pass; the next that passes
 * after a suppression is preceded by a line that says how many were not written. One static struct a place.
 * Loop thread only.
 */
#define LOG_LIMIT_BURST 5
#define LOG_LIMIT_SECONDS 10
struct log_limit {
    uint64_t since_ms; /* monotonic */
    uint32_t passed, suppressed;
};
bool log_limit_pass(struct log_limit *l);

#define log_limited(level, ...)                 \
    do {                                        \
        static struct log_limit log_limit_here; \
        if (log_limit_pass(&log_limit_here))    \
            log_line(level, __VA_ARGS__);       \
    } while (0)

#endif
