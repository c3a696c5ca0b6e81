#include "filter.h"

#include "output.h"

#include <stdlib.h>

/* A value as JSON; a conversation is a word or a number. */
static json_t *plain_json(const char *value)
{
    return json_string(value);
}

static json_t *conversation_json(const char *value)
{
    int number = imctl_conversation_parse(value);
    return json_integer(number >= 0 ? number : strtol(value, NULL, 10));
}

static const struct {
    const char *key;
    size_t field; /* struct words, in struct arguments */
    json_t *(*json)(const char *value);
} filters[] = {
    {"messageType", offsetof(struct arguments, types), plain_json},
    {"from", offsetof(struct arguments, senders), plain_json},
    {"conversationType", offsetof(struct arguments, conversations), conversation_json},
    {"signalName", offsetof(struct arguments, signals), plain_json},
};

#define FILTER_COUNT (sizeof(filters) / sizeof(filters[0]))

static const struct words *words_of(const struct arguments *a, size_t filter)
{
    return (const struct words *)((const char *)a + filters[filter].field);
}

static int match_all(const struct arguments *a, struct imctl_selection *s, size_t filter)
{
    const struct words *values = words_of(a, filter);
    for (size_t i = 0; i < values->count; i++)
        if (imctl_selection_match(s, filters[filter].key, values->at[i]) < 0) {
            complain("'%s' is no %s; see 'imctl %s --help'", values->at[i], filters[filter].key,
                     a->command->name);
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

static json_t *list_json(const struct words *values, json_t *(*json)(const char *value))
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < values->count; i++)
        if (json_array_append_new(list, json(values->at[i])) < 0) {
            json_decref(list);
            return NULL;
        }
    return list;
}

json_t *filter_json(const struct arguments *a)
{
    json_t *filter = json_object();
    for (size_t i = 0; filter && i < FILTER_COUNT; i++) {
        const struct words *values = words_of(a, i);
        if (values->count > 0 &&
            json_object_set_new(filter, filters[i].key, list_json(values, filters[i].json)) < 0) {
            json_decref(filter);
            return NULL;
        }
    }
    return filter;
}
