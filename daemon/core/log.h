/*
 * The log. Where stderr is the journal (JOURNAL_STREAM says so), a line becomes an entry with fields; else it
 * is a line on stderr, with the <N> that the journal understands when stderr is no terminal. The text is the
 * same. Never a token, never message content. No call waits: what nobody takes at once is not written, but
 * counted, and the next line that gets through is preceded by one that says how many are missing.
 * Thread: any, but for log_init.
 */
#ifndef IMD_LOG_H
#define IMD_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <syslog.h>

#define LOG_LINE_MAX 1024 /* bytes, with prefix and newline; well below PIPE_BUF */

/* Looks at stderr. The path is where the journal takes entries; NULL: where systemd's does. */
void log_init(const char *account, const char *journal_path);

void log_line(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_line(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_notice(...) log_line(LOG_NOTICE, __VA_ARGS__)

/*
 * X(enumerator, MESSAGE_ID): events that somebody may wait for in the journal. The numbers are in imd(8), and
 * stay what they are.
 */
#define LOG_EVENTS(X)                                                \
    X(LOG_STARTED, "cff58944decf4dec9b0dc1ddd34a4729")               \
    X(LOG_STOPPED, "69adbf0400414f3fb34045b1a510e508")               \
    X(LOG_LINK_CHANGED, "84ed112a3aab44e587b905387e6db4fa")          \
    X(LOG_CLIENT_DISCONNECTED, "3ad6769c540a496ea1edadce259bcdf9")   \
    X(LOG_MESSAGE_NOT_DELIVERED, "761fe587fce0497fbab742a7e1807992") \
    X(LOG_STORAGE_FAILED, "e8691348c97041f4aad5d8ad0d2c241f")        \
    X(LOG_STORAGE_RECOVERED, "26df9a3f7d5f447c828238f39577c69e")

#define LOG_EVENT_FIRST(id, uuid) id,
enum log_event_id { LOG_PLAIN /* has none */, LOG_EVENTS(LOG_EVENT_FIRST) LOG_EVENT_COUNT };
#undef LOG_EVENT_FIRST

/* What an entry has beside its text; what is NULL is left out. */
struct log_event {
    int level;
    enum log_event_id id;
    const char *state, *reason; /* words: IM_STATE, IM_REASON */
    const char *message_id;     /* IM_MESSAGE_ID, no NUL behind it; whatever a program chose */
    size_t message_id_len;
    const int64_t *code;     /* IM_CODE */
    const uid_t *client_uid; /* IM_CLIENT_UID */
};
void log_event(const struct log_event *e, const char *format, ...) __attribute__((format(printf, 2, 3)));

/*
 * For lines that a peer can cause: at most LOG_LIMIT_BURST in LOG_LIMIT_SECONDS pass; the next that passes
 * after a suppression is preceded by a line that says how many were not written. One static struct a place;
 * a place belongs to one thread.
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

#define log_event_limited(event, ...)           \
    do {                                        \
        static struct log_limit log_limit_here; \
        if (log_limit_pass(&log_limit_here))    \
            log_event(event, __VA_ARGS__);      \
    } while (0)

#endif
