#include "filter.h"

#include "output.h"

static const struct {
    const char *key;
    const char *option;
    size_t field; /* struct words, in struct arguments */
} filters[] = {
    {"messageType", "type", offsetof(struct arguments, types)},
    {"from", "from", offsetof(struct arguments, senders)},
    {"conversationType", "conversation", offsetof(struct arguments, conversations)},
    {"signalName", "signal", offsetof(struct arguments, signals)},
};

#define FILTER_COUNT (sizeof(filters) / sizeof(filters[0]))

static int match_all(const struct arguments *a, struct imctl_selection *s, size_t filter)
{
    const struct words *values = (const struct words *)((const char *)a + filters[filter].field);
    for (size_t i = 0; i < values->count; i++)
        if (imctl_selection_match(s, filters[filter].key, values->at[i]) < 0) {
            complain("'%s' is no value for --%s; see 'imctl %s --help'", values->at[i],
                     filters[filter].option, a->command->name);
            return STATUS_USAGE;
        }
    return 0;
}

int filter_select(const struct arguments *a, struct imctl_selection *s)
{
    int status = 0;
    for (size_t i = 0; status == 0 && i < FILTER_COUNT; i++)
        status = match_all(a, s, i);
    return status;
}
