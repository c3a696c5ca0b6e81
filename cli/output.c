#include "output.h"

#include <imctl.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* Those of C1 (U+0080 to U+009F) have two bytes in UTF-8, and terminals obey them too. */
size_t output_control(const char *at)
{
    const unsigned char *p = (const unsigned char *)at;
    if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f)
        return 2;
    return (p[0] && p[0] < 0x20) || p[0] == 0x7f ? 1 : 0;
}

static int put_plain(const char *text, FILE *to)
{
    int columns = 0;
    for (size_t control; *text; text += control ? control : 1) {
        control = output_control(text);
        if (control)
            columns += fprintf(to, "\\x%02x", (unsigned char)text[control - 1]);
        else {
            columns += (*text & 0xc0) != 0x80; /* the later bytes of a character take none */
            putc(*text, to);
        }
    }
    return columns;
}

int output_plain(const char *text)
{
    return put_plain(text, stdout);
}

static bool silent;

void complain_no_more(void)
{
    silent = true;
}

void complain(const char *format, ...)
{
    va_list args;
    char *text;
    if (silent)
        return;
    va_start(args, format);
    int len = vasprintf(&text, format, args);
    va_end(args);
    fputs("imctl: ", stderr);
    put_plain(len >= 0 ? text : "no memory", stderr);
    fputc('\n', stderr);
    if (len >= 0)
        free(text);
}

bool output_line(const char *line, size_t len)
{
    fwrite(line, 1, len, stdout);
    putchar('\n');
    return fflush(stdout) == 0 && !ferror(stdout);
}

void output_label(const char *label)
{
    printf("%11s: ", label);
}

int output_end(int status)
{
    errno = 0;
    if (fflush(stdout) == 0 && !ferror(stdout))
        return status;
    if (errno == EPIPE)
        return EXIT_SUCCESS;
    complain("cannot write: %s", errno ? strerror(errno) : "the output is broken");
    return imctl_error_exit_status(IMCTL_STORAGE);
}

bool output_is_terminal(void)
{
    return isatty(STDOUT_FILENO);
}

bool output_has_colours(void)
{
    const char *no_colour = getenv("NO_COLOR"), *terminal = getenv("TERM");
    return output_is_terminal() && !(no_colour && no_colour[0]) && terminal && strcmp(terminal, "dumb") != 0;
}

static void put_time(const char *format, int64_t time_ms)
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm local;
    char text[64];
    if (localtime_r(&seconds, &local) && strftime(text, sizeof(text), format, &local) > 0)
        fputs(text, stdout);
}

void output_clock(int64_t time_ms)
{
    put_time("%H:%M:%S", time_ms);
}

void output_date(int64_t time_ms)
{
    put_time("%Y-%m-%d %H:%M:%S", time_ms);
}

void output_utc(int64_t time_ms)
{
    time_t seconds = (time_t)(time_ms / 1000);
    struct tm utc;
    char text[64];
    if (gmtime_r(&seconds, &utc) && strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc) > 0)
        printf("%s.%03dZ", text, (int)(time_ms % 1000));
}

void output_bytes(int64_t bytes)
{
    static const char units[] = "kMGTPE";
    const char *unit = units;
    double amount = (double)bytes / 1000;
    if (bytes < 1000) {
        printf("%lld B", (long long)bytes);
        return;
    }
    for (; amount >= 999.95; unit++)
        amount /= 1000;
    printf("%.1f %cB", amount, *unit);
}

/* The two largest units. */
void output_span(int64_t span_ms)
{
    long long s = span_ms / 1000;
    if (s < 60)
        printf("%lld.%lld s", s, (long long)span_ms % 1000 / 100);
    else if (s < 3600)
        printf("%lld min %lld s", s / 60, s % 60);
    else if (s < 86400)
        printf("%lld h %lld min", s / 3600, s / 60 % 60);
    else
        printf("%lld d %lld h", s / 86400, s / 3600 % 24);
}
