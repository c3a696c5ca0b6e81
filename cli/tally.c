#include "tally.h"

#include "output.h"

#include <stdio.h>

#define LISTED_MAX 20

void tally_ack(struct tally *t)
{
    t->acked++;
}

uint64_t tally_failures(const struct tally *t)
{
    return t->failed + t->unknown + t->unsent;
}

static uint64_t *counter_of(struct tally *t, enum imctl_error error)
{
    return error == IMCTL_UNKNOWN ? &t->unknown : error == IMCTL_NOT_CONNECTED ? &t->unsent : &t->failed;
}

/* Answers may come in another order than the lines. */
bool tally_failure(struct tally *t, uint64_t line, enum imctl_error error, bool local)
{
    ++*counter_of(t, error);
    t->local += local;
    if (t->first == 0 || line < t->first) {
        t->first = line;
        t->status = imctl_error_exit_status(error);
    }
    if (t->listed == LISTED_MAX)
        return false;
    t->listed++;
    return true;
}

static void print_count(uint64_t count, const char *word)
{
    if (count > 0)
        fprintf(stderr, ", %llu %s", (unsigned long long)count, word);
}

void tally_print(const struct tally *t, const char *verb, int64_t span_ms)
{
    uint64_t more = tally_failures(t) - t->listed;
    if (more > 0)
        complain("… and %llu lines more", (unsigned long long)more);
    fprintf(stderr, "imctl: %llu sent, %llu %s",
            (unsigned long long)(t->acked + t->failed - t->local + t->unknown), (unsigned long long)t->acked,
            verb);
    print_count(t->failed, "failed");
    print_count(t->unknown, "unknown");
    print_count(t->unsent, "not sent");
    fprintf(stderr, " in %lld.%lld s\n", (long long)span_ms / 1000, (long long)span_ms % 1000 / 100);
}
