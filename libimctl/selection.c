/* Which events a program wants: one list of kinds, one list of values for each key that filters know, and
 * from where on. */
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
    struct text since;    /* a number, or "earliest" with its quotes */
    struct text consumer; /* a string */
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
    text_init(&s->since);
    text_init(&s->consumer);
    return s;
}

void imctl_selection_free(struct imctl_selection *s)
{
    if (!s)
        return;
    text_deinit(&s->events);
    for (size_t i = 0; i < FILTER_COUNT; i++)
        text_deinit(&s->values[i]);
    text_deinit(&s->since);
    text_deinit(&s->consumer);
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

int imctl_selection_set_since(struct imctl_selection *s, uint64_t seq)
{
    text_truncate(&s->since, 0);
    json_uint(&s->since.w, seq);
    if (!s->error && s->since.w.failed)
        s->error = -ENOMEM;
    return s->error;
}

/* A string in place of the one that was there. */
static int string_set(struct imctl_selection *s, struct text *t, const char *value)
{
    text_truncate(t, 0);
    if (!s->error)
        s->error = text_add_string(t, value);
    return s->error;
}

int imctl_selection_set_earliest(struct imctl_selection *s)
{
    return string_set(s, &s->since, "earliest");
}

int imctl_selection_set_consumer(struct imctl_selection *s, const char *name)
{
    return string_set(s, &s->consumer, name);
}

int selection_error(const struct imctl_selection *s)
{
    return s->error;
}

/* ---- As params ---- */

/* A member of an object; `comma` is what stands before the first one. */
static void member_write(struct json_writer *w, const char **comma, const char *key)
{
    json_text(w, *comma);
    json_cstring(w, key);
    json_literal(w, ":");
    *comma = ",";
}

static void list_write(struct json_writer *w, const char **comma, const char *key, const struct text *list)
{
    if (text_length(list) == 0)
        return;
    member_write(w, comma, key);
    json_literal(w, "[");
    json_raw(w, list->w.base, text_length(list));
    json_literal(w, "]");
}

static void value_write(struct json_writer *w, const char **comma, const char *key, const struct text *value)
{
    if (text_length(value) == 0)
        return;
    member_write(w, comma, key);
    json_raw(w, value->w.base, text_length(value));
}

static bool filter_empty(const struct imctl_selection *s)
{
    for (size_t i = 0; i < FILTER_COUNT; i++)
        if (text_length(&s->values[i]) > 0)
            return false;
    return true;
}

static void filter_write(struct json_writer *w, const char **comma, const struct imctl_selection *s)
{
    const char *inner = "";
    if (filter_empty(s))
        return;
    member_write(w, comma, "filter");
    json_literal(w, "{");
    for (size_t i = 0; i < FILTER_COUNT; i++)
        list_write(w, &inner, filters[i].key, &s->values[i]);
    json_literal(w, "}");
}

void selection_write_params(const struct imctl_selection *s, struct json_writer *w)
{
    const char *comma = "";
    json_literal(w, "{");
    list_write(w, &comma, "events", &s->events);
    filter_write(w, &comma, s);
    value_write(w, &comma, "since", &s->since);
    value_write(w, &comma, "consumer", &s->consumer);
    json_literal(w, "}");
}
