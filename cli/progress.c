#include "progress.h"

#include "deadline.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define DRAW_MS 100
#define BAR_WIDTH 20
#define COLUMNS_USUAL 80

void progress_begin(struct progress *p, uint64_t bytes)
{
    bool on = isatty(STDERR_FILENO) && !isatty(STDIN_FILENO);
    *p = (struct progress){.on = on, .bytes = bytes, .count = 1};
    p->samples[0].at_ms = deadline_after(0);
    p->next_ms = deadline_after(DRAW_MS);
}

int progress_timeout(const struct progress *p)
{
    return p->on ? deadline_left(p->next_ms) : -1;
}

bool progress_is_due(const struct progress *p)
{
    return progress_timeout(p) == 0;
}

static void sample_add(struct progress *p, uint64_t lines, uint64_t bytes)
{
    if (p->count == PROGRESS_SAMPLES) {
        memmove(&p->samples[0], &p->samples[1], sizeof(p->samples) - sizeof(p->samples[0]));
        p->count--;
    }
    p->samples[p->count].at_ms = deadline_after(0);
    p->samples[p->count].lines = lines;
    p->samples[p->count].bytes = bytes;
    p->count++;
}

struct rate {
    double lines, bytes; /* a second */
};

static struct rate rate_of(const struct progress *p)
{
    int last = p->count - 1;
    double span = (double)(p->samples[last].at_ms - p->samples[0].at_ms) / 1000;
    struct rate none = {0, 0};
    return span <= 0 ? none
                     : (struct rate){(double)(p->samples[last].lines - p->samples[0].lines) / span,
                                     (double)(p->samples[last].bytes - p->samples[0].bytes) / span};
}

/* The two largest units. */
static int span_print(char *out, size_t size, double seconds)
{
    unsigned long long s = (unsigned long long)(seconds + 0.999);
    if (s < 60)
        return snprintf(out, size, "%llu s left", s);
    if (s < 3600)
        return snprintf(out, size, "%llu min %llu s left", s / 60, s % 60);
    return snprintf(out, size, "%llu h %llu min left", s / 3600, s / 60 % 60);
}

/* The part that only a known end makes possible. */
static void bar_print(const struct progress *p, char *out, size_t size, uint64_t bytes, double rate)
{
    double part = bytes < p->bytes ? (double)bytes / (double)p->bytes : 1;
    int marks = (int)(part * BAR_WIDTH), n;
    n = snprintf(out, size, " [%.*s%.*s] %d %%", marks, "####################", BAR_WIDTH - marks,
                 "--------------------", (int)(part * 100));
    if (rate > 0 && bytes < p->bytes) {
        n += snprintf(out + n, size - (size_t)n, ", ");
        span_print(out + n, size - (size_t)n, (double)(p->bytes - bytes) / rate);
    }
}

static int columns(void)
{
    struct winsize w;
    return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) == 0 && w.ws_col > 0 ? w.ws_col : COLUMNS_USUAL;
}

/* A line that fills the screen's would not be taken away whole. */
void progress_draw(struct progress *p, uint64_t lines, uint64_t bytes)
{
    char bar[96] = "", text[256];
    sample_add(p, lines, bytes);
    struct rate rate = rate_of(p);
    if (p->bytes > 0)
        bar_print(p, bar, sizeof(bar), bytes, rate.bytes);
    snprintf(text, sizeof(text), "imctl: %llu lines, %.0f/s%s", (unsigned long long)lines, rate.lines, bar);
    fprintf(stderr, "\r%.*s\033[K", columns() - 1, text);
    p->drawn = true;
    p->next_ms = deadline_after(DRAW_MS);
}

void progress_erase(struct progress *p)
{
    if (p->drawn)
        fputs("\r\033[K", stderr);
    p->drawn = false;
}
