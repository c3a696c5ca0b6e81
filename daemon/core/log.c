/*
 * A line, and the journal's entry of it, are made in buffers on the stack and go out with one call each; see
 * log_output.c for how that never waits.
 */
#include "log.h"
#include "log_output.h"

#include <assert.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define TRUNCATED "..."
#define JOURNAL_PATH "/run/systemd/journal/socket"
#define ENTRY_MAX 2048 /* the line, and some hundred bytes of fields */
#define ACCOUNT_MAX 80

static_assert(LOG_LINE_MAX < PIPE_BUF, "a line goes into a pipe as a whole or not at all");

static struct {
    char account[ACCOUNT_MAX];
    bool prefix;
    atomic_uint lost;
} sink;

/* A log line, and where its text is. */
struct line {
    char bytes[LOG_LINE_MAX];
    size_t start, len; /* len: of the text */
};

void log_init(const char *account, const char *journal_path)
{
    snprintf(sink.account, sizeof(sink.account), "%s", account);
    log_output_init(journal_path ? journal_path : JOURNAL_PATH);
    sink.prefix = !log_output_is_terminal();
}

/* ---- the text ---- */

/* The length of the UTF-8 sequence at s; 0: there is none. */
static size_t sequence(const unsigned char *s, size_t len)
{
    size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : 4;

    if (n > len || s[0] > 0xf4 || (s[0] >= 0x80 && s[0] < 0xc2))
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

static bool is_control(const unsigned char *s)
{
    return s[0] < 0x20 || s[0] == 0x7f || (s[0] == 0xc2 && s[1] < 0xa0);
}

/* What a peer sent may stand in a line: it must not begin a new one, nor drive a terminal. */
static void make_harmless(char *text, size_t len)
{
    unsigned char *s = (unsigned char *)text;

    for (size_t i = 0, n; i < len; i += n) {
        bool valid = (n = sequence(s + i, len - i)) > 0;
        n = valid ? n : 1;
        if (!valid)
            s[i] = '?';
        else if (is_control(s + i))
            memset(s + i, ' ', n);
    }
}

static void format_line(struct line *l, int level, const char *format, va_list args)
{
    size_t room = sizeof(l->bytes) - 1; /* the newline's place */

    l->start = sink.prefix ? (size_t)snprintf(l->bytes, room, "<%d>", level) : 0;
    int wanted = vsnprintf(l->bytes + l->start, room - l->start, format, args);
    l->len = wanted < 0 ? 0 : (size_t)wanted;
    if (l->len >= room - l->start) {
        l->len = room - l->start - 1;
        memcpy(l->bytes + l->start + l->len - strlen(TRUNCATED), TRUNCATED, strlen(TRUNCATED));
    }
    make_harmless(l->bytes + l->start, l->len);
    l->bytes[l->start + l->len] = '\n';
}

/* ---- the journal's entry ---- */

struct entry {
    char bytes[ENTRY_MAX];
    size_t len;
};

static void put(struct entry *e, const void *bytes, size_t len)
{
    memcpy(e->bytes + e->len, bytes, len);
    e->len += len;
}

static bool is_plain(const char *value, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)value[i] < 0x20)
            return false;
    return true;
}

/* NAME=value; a value that may not stand in a line: NAME, its length in 8 bytes (little-endian), itself. */
static void put_field(struct entry *e, const char *name, const char *value, size_t len)
{
    size_t name_len = strlen(name);
    unsigned char size[8];

    if (name_len + 1 + sizeof(size) + len + 1 > sizeof(e->bytes) - e->len)
        return;
    put(e, name, name_len);
    if (is_plain(value, len)) {
        put(e, "=", 1);
    } else {
        for (unsigned i = 0; i < sizeof(size); i++)
            size[i] = (unsigned char)((uint64_t)len >> (8 * i));
        put(e, "\n", 1);
        put(e, size, sizeof(size));
    }
    put(e, value, len);
    put(e, "\n", 1);
}

static void put_word(struct entry *e, const char *name, const char *word)
{
    if (word)
        put_field(e, name, word, strlen(word));
}

static void put_number(struct entry *e, const char *name, int64_t number)
{
    char text[24];

    snprintf(text, sizeof(text), "%jd", (intmax_t)number);
    put_word(e, name, text);
}

static const char *message_id_of(enum log_event_id id)
{
#define LOG_EVENT_UUID(id, uuid) uuid,
    static const char *const ids[] = {[LOG_PLAIN] = NULL, LOG_EVENTS(LOG_EVENT_UUID)};
#undef LOG_EVENT_UUID

    return ids[id];
}

static void put_event(struct entry *e, const struct log_event *event)
{
    put_word(e, "MESSAGE_ID", message_id_of(event->id));
    put_word(e, "IM_STATE", event->state);
    put_word(e, "IM_REASON", event->reason);
    if (event->message_id)
        put_field(e, "IM_MESSAGE_ID", event->message_id, event->message_id_len);
    if (event->code)
        put_number(e, "IM_CODE", *event->code);
    if (event->client_uid)
        put_number(e, "IM_CLIENT_UID", *event->client_uid);
}

static enum log_written write_entry(const struct line *l, int level, const struct log_event *event)
{
    struct entry e = {.len = 0};

    put_field(&e, "MESSAGE", l->bytes + l->start, l->len);
    put_number(&e, "PRIORITY", level);
    put_word(&e, "SYSLOG_IDENTIFIER", "imd");
    put_word(&e, "IM_ACCOUNT", sink.account);
    if (event)
        put_event(&e, event);
    return log_output_entry(e.bytes, e.len);
}

/* ---- writing ---- */

/* Without the journal's socket its stream may still be there. */
static bool write_line(const struct line *l, int level, const struct log_event *event)
{
    enum log_written w = log_output_is_journal() ? write_entry(l, level, event) : LOG_BROKEN;

    if (w == LOG_BROKEN)
        w = log_output_line(l->bytes, l->start + l->len + 1);
    return w == LOG_WRITTEN;
}

static bool emit(int level, const struct log_event *event, const char *format, va_list args)
{
    struct line l;

    format_line(&l, level, format, args);
    return write_line(&l, level, event);
}

static bool emit_args(int level, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool emit_args(int level, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    bool written = emit(level, NULL, format, args);
    va_end(args);
    return written;
}

static void tell_lost(void)
{
    unsigned lost = atomic_exchange(&sink.lost, 0);

    if (lost > 0 && !emit_args(LOG_WARNING, "%u log lines were lost: nobody read them in time", lost))
        atomic_fetch_add(&sink.lost, lost);
}

static void tell(int level, const struct log_event *event, const char *format, va_list args)
{
    if (level > LOG_INFO)
        return;
    tell_lost();
    if (!emit(level, event, format, args))
        atomic_fetch_add(&sink.lost, 1);
}

void log_line(int level, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    tell(level, NULL, format, args);
    va_end(args);
}

void log_event(const struct log_event *e, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    tell(e->level, e, format, args);
    va_end(args);
}

/* ---- limits ---- */

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
