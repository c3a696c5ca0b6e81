/* What a filter costs an event, by how many lists and values it has. Usage: bench_filter [ROUNDS] */
#include "filter_parse.h"

#include "vocabulary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char LINE[] = "{\"messageType\":\"TxtMsg\",\"conversationType\":1,\"from\":\"alice@example\","
                           "\"to\":\"bob@example\",\"content\":{\"message\":\"hello\"}}\n";

static const struct sample {
    const char *name, *filter;
} samples[] = {
    {"one type", "{\"messageType\":[\"TxtMsg\"]}"},
    {"one type, other", "{\"messageType\":[\"ImgMsg\"]}"},
    {"type, conversation, from",
     "{\"messageType\":[\"TxtMsg\"],\"conversationType\":[1],\"from\":[\"alice@example\"]}"},
    {"tenth of ten senders",
     "{\"from\":[\"bob@example00\",\"bob@example01\",\"bob@example02\",\"bob@example03\","
     "\"bob@example04\",\"bob@example05\",\"bob@example06\",\"bob@example07\","
     "\"bob@example08\",\"alice@example\"]}"},
};

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static struct filter *parse(const char *text)
{
    char detail[FILTER_DETAIL];
    struct filter *filter;
    struct scan scan;

    scan_init(&scan);
    if (scan_text(&scan, text, strlen(text), SCAN_DEPTH_MAX) != SCAN_OK ||
        filter_parse(&filter, &scan, 0, detail) != ERROR_NONE)
        abort();
    scan_deinit(&scan);
    return filter;
}

static void find(struct event_index *i, enum event_field field, const char *value)
{
    i->at[field] = (uint32_t)(strstr(LINE, value) - LINE);
    i->len[field] = (uint16_t)strlen(value);
}

/* The best of five, for whatever else this machine does only makes it slower. */
static double measure(const struct filter *filter, const struct event_index *index, long rounds)
{
    double best = 1e9;
    volatile size_t sink = 0; /* so that nothing is left out */

    for (int attempt = 0; attempt < 5; attempt++) {
        double start = now(), each;

        for (long i = 0; i < rounds; i++)
            sink = sink + filter_match(filter, index, LINE);
        each = (now() - start) / (double)rounds * 1e9;
        best = each < best ? each : best;
    }
    return best;
}

int main(int argc, char **argv)
{
    long rounds = argc > 1 ? atol(argv[1]) : 5000000;
    struct event_index index = {.conversation = 1};

    find(&index, EVENT_FIELD_TYPE, "TxtMsg");
    find(&index, EVENT_FIELD_FROM, "alice@example");
    find(&index, EVENT_FIELD_TO, "bob@example");
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        struct filter *filter = parse(samples[i].filter);

        printf("%-26s %6.1f ns\n", samples[i].name, measure(filter, &index, rounds));
        filter_free(filter);
    }
    return 0;
}
