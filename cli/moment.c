#include "moment.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DIGITS "0123456789"
#define DAY_MS INT64_C(86400000)
#define TIME_MAX_MS (INT64_C(10000) * 366 * DAY_MS) /* four digits of year hold no more */

/* ---- Pieces: each moves *p behind what it took ---- */

/* Exactly so many digits. */
static bool take_digits(const char **p, size_t count, int *out)
{
    int value = 0;
    for (size_t i = 0; i < count; i++) {
        char c = (*p)[i];
        if (c < '0' || c > '9')
            return false;
        value = value * 10 + (c - '0');
    }
    *p += count;
    *out = value;
    return true;
}

static bool take_mark(const char **p, const char *marks)
{
    if (**p == '\0' || !strchr(marks, **p))
        return false;
    ++*p;
    return true;
}

/* What stands behind a '.', as ms; finer digits are passed over. */
static bool take_fraction(const char **p, int64_t *ms)
{
    int64_t unit = 100;
    *ms = 0;
    if (!take_mark(p, "."))
        return true;
    if (strspn(*p, DIGITS) == 0)
        return false;
    for (; **p >= '0' && **p <= '9'; ++*p, unit /= 10)
        *ms += (**p - '0') * unit;
    return true;
}

static bool take_number(const char **p, int64_t *out)
{
    char *end;
    if (**p < '0' || **p > '9')
        return false;
    errno = 0;
    *out = strtoll(*p, &end, 10);
    *p = end;
    return errno == 0;
}

/* ---- The forms ---- */

static bool parse_seq(struct moment *m, const char *text)
{
    int64_t seq;
    if (!take_number(&text, &seq) || *text)
        return false;
    *m = (struct moment){.kind = MOMENT_SEQ, .seq = (uint64_t)seq};
    return true;
}

static bool is_time(struct moment *m, int64_t time_ms)
{
    *m = (struct moment){.kind = MOMENT_TIME, .time_ms = time_ms};
    return true;
}

/* @SECONDS */
static bool parse_epoch(struct moment *m, const char *text)
{
    int64_t seconds, ms;
    if (!take_mark(&text, "@") || !take_number(&text, &seconds) || !take_fraction(&text, &ms) || *text)
        return false;
    return seconds < TIME_MAX_MS / 1000 && is_time(m, seconds * 1000 + ms);
}

static const struct {
    const char *word;
    int64_t ms;
} units[] = {{"d", DAY_MS}, {"h", 3600000}, {"min", 60000}, {"m", 60000},
             {"s", 1000},   {"sec", 1000},  {"ms", 1}}; /* as in imd.conf(5) */

/* One amount and its unit; the letters in front of the next amount or space are the unit. */
static bool take_amount(const char **p, int64_t *ms)
{
    int64_t amount;
    if (!take_number(p, &amount))
        return false;
    size_t len = strcspn(*p, DIGITS " ");
    for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
        if (strlen(units[i].word) != len || memcmp(units[i].word, *p, len) != 0)
            continue;
        if (amount > TIME_MAX_MS / units[i].ms)
            return false;
        *p += len;
        *ms = amount * units[i].ms;
        return true;
    }
    return false;
}

/* 2h, 1h 30min, -7d */
static bool parse_span(struct moment *m, const char *text, int64_t now_ms)
{
    int64_t sum = 0, ms;
    take_mark(&text, "-");
    do {
        if (!take_amount(&text, &ms) || (sum += ms) > TIME_MAX_MS)
            return false;
        text += strspn(text, " ");
    } while (*text);
    return is_time(m, now_ms - sum);
}

static bool date_is_sane(const struct tm *t)
{
    static const char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int year = t->tm_year + 1900;
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return t->tm_mon >= 0 && t->tm_mon < 12 && t->tm_mday >= 1 &&
           t->tm_mday <= days[t->tm_mon] + (leap && t->tm_mon == 1) && t->tm_hour < 24 && t->tm_min < 60 &&
           t->tm_sec <= 60;
}

static bool take_date(const char **p, struct tm *t)
{
    if (!take_digits(p, 4, &t->tm_year) || !take_mark(p, "-") || !take_digits(p, 2, &t->tm_mon) ||
        !take_mark(p, "-") || !take_digits(p, 2, &t->tm_mday))
        return false;
    t->tm_year -= 1900;
    t->tm_mon--;
    return true;
}

/* HH:MM[:SS[.5]] */
static bool take_clock(const char **p, struct tm *t, int64_t *ms)
{
    if (!take_digits(p, 2, &t->tm_hour) || !take_mark(p, ":") || !take_digits(p, 2, &t->tm_min))
        return false;
    return !take_mark(p, ":") || (take_digits(p, 2, &t->tm_sec) && take_fraction(p, ms));
}

/* Z or +02:00; *zone tells whether there was one, *offset how many minutes it lies east of Greenwich. */
static bool take_zone(const char **p, bool *zone, int *offset)
{
    int hours, minutes, sign = **p == '-' ? -1 : 1;
    *zone = true;
    if (take_mark(p, "Zz"))
        return true;
    if (!take_mark(p, "+-")) {
        *zone = false;
        return true;
    }
    if (!take_digits(p, 2, &hours) || !take_mark(p, ":") || !take_digits(p, 2, &minutes))
        return false;
    *offset = sign * (hours * 60 + minutes);
    return hours < 24 && minutes < 60;
}

static bool parse_date(struct moment *m, const char *text)
{
    struct tm t = {.tm_isdst = -1};
    int64_t ms = 0;
    int offset = 0;
    bool zone = false;
    if (!take_date(&text, &t))
        return false;
    if (take_mark(&text, " Tt") && (!take_clock(&text, &t, &ms) || !take_zone(&text, &zone, &offset)))
        return false;
    if (*text || !date_is_sane(&t))
        return false;
    time_t seconds = zone ? timegm(&t) - offset * 60 : mktime(&t);
    return is_time(m, (int64_t)seconds * 1000 + ms);
}

int64_t moment_now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

bool moment_parse(struct moment *m, const char *text, int64_t now_ms)
{
    if (strcmp(text, "earliest") == 0) {
        *m = (struct moment){.kind = MOMENT_EARLIEST};
        return true;
    }
    return parse_seq(m, text) || parse_epoch(m, text) || parse_date(m, text) || parse_span(m, text, now_ms);
}
