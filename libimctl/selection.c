/* Which events a program wants: one list of kinds, and one list of values for each key that filters know. */
#include "selection.h"

#include "text.h"
#include "vocabulary.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Filter keys, and how a value of each becomes JSON. */
static int add_plain(struct text *t, const char *value);
static int add_conversation(struct text *t, const char *value);

static const struct {
    const char *key;
    int (*add)(struct text *t, const char *value);
} filters[] = {
    {KEY_MESSAGE_TYPE, add_plain}, {KEY_CONVERSATION_TYPE, add_conversation},
    {KEY_FROM, add_plain},         {KEY_TO, add_plain},
    {KEY_SIGNAL_NAME, add_plain},
};

#define FILTER_COUNT (sizeof(filters) / sizeof(filters[0]))

struct imctl_selection {
    struct text events; /* `"MESSAGE","SENT"` */
    struct text values[FILTER_COUNT];
    int error;
};

static int add_plain(struct text *t, const char *value)
{
    return text_add_string(t, value);
}

static int add_conversation(struct text *t, const char *value)
{
    char *end;
    long number = imctl_conversation_parse(value);
    if (number < 0) {
        number = strtol(value, &end, 10);
        if (end == value || *end || number < 0 || number > INT32_MAX)
            return -EINVAL;
    }
    json_int(&t->w, number);
    return t->w.failed ? -ENOMEM : 0;
}

static int list_add(struct text *list, int (*add)(struct text *t, const char *value), const char *value)
{
    if (text_length(list) > 0)
        json_literal(&list->w, ",");
    return list->w.failed ? -ENOMEM : add(list, value);
}

struct imctl_selection *imctl_selection_new(void)
{
    struct imctl_selection *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    text_init(&s->events);
    for (size_t i = 0; i < FILTER_COUNT; i++)
        text_init(&s->values[i]);
    return s;
}

void imctl_selection_free(struct imctl_selection *s)
{
    if (!s)
        return;
    text_deinit(&s->events);
    for (size_t i = 0; i < FILTER_COUNT; i++)
        text_deinit(&s->values[i]);
    free(s);
}

int imctl_selection_add_event(struct imctl_selection *s, const char *word)
{
    if (!s->error && event_kind_parse(word, strlen(word)) < 0)
        s->error = -EINVAL;
    if (!s->error)
        s->error = list_add(&s->events, add_plain, word);
    return s->error;
}

int imctl_selection_match(struct imctl_selection *s, const char *key, const char *value)
{
    size_t i = 0;
    while (i < FILTER_COUNT && strcmp(filters[i].key, key) != 0)
        i++;
    if (!s->error)
        s->error = i < FILTER_COUNT ? list_add(&s->values[i], filters[i].add, value) : -EINVAL;
    return s->error;
}

int selection_error(const struct imctl_selection *s)
{
    return s->error;
}

static void list_write(struct json_writer *w, const char *key, const struct text *list)
{
    json_cstring(w, key);
    json_literal(w, ":[");
    json_raw(w, list->w.base, text_length(list));
    json_literal(w, "]");
}

static void filter_write(const struct imctl_selection *s, struct json_writer *w)
{
    const char *comma = "";
    for (size_t i = 0; i < FILTER_COUNT; i++) {
        if (text_length(&s->values[i]) == 0)
            continue;
        json_text(w, comma);
        list_write(w, filters[i].key, &s->values[i]);
        comma = ",";
    }
}

static bool filter_empty(const struct imctl_selection *s)
{
    for (size_t i = 0; i < FILTER_COUNT; i++)
        if (text_length(&s->values[i]) > 0)
            return false;
    return true;
}

void selection_write_params(const struct imctl_selection *s, struct json_writer *w)
{
    bool events = text_length(&s->events) > 0;
    json_literal(w, "{");
    if (events)
        list_write(w, "events", &s->events);
    if (!filter_empty(s)) {
        json_text(w, events ? ",\"filter\":{" : "\"filter\":{");
        filter_write(s, w);
        json_literal(w, "}");
    }
    json_literal(w, "}");
}
