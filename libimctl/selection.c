/* Which events a program wants: one list of values for each key that filters know, and parameters, of which
 * `subscribe` and `history` know some each. */
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

enum parameter {
    KINDS,
    SINCE,
    EARLIEST,
    CONSUMER,
    BEFORE,
    SINCE_TIME,
    UNTIL_TIME,
    LIMIT,
    REVERSE,
    PARAMETER_COUNT
};

/* Their names by use; NULL: it does not know them. */
static const char *const parameters[PARAMETER_COUNT][2] = {
    [KINDS] = {"events", NULL},      [SINCE] = {"since", "after"}, [EARLIEST] = {"since", NULL},
    [CONSUMER] = {"consumer", NULL}, [BEFORE] = {NULL, "before"},  [SINCE_TIME] = {NULL, "since"},
    [UNTIL_TIME] = {NULL, "until"},  [LIMIT] = {NULL, "limit"},    [REVERSE] = {NULL, "reverse"},
};

struct imctl_selection {
    struct text filter[FILTER_COUNT];        /* values, without the brackets around them */
    struct text parameters[PARAMETER_COUNT]; /* as JSON, of KINDS without its brackets; empty: not set */
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
    for (size_t i = 0; i < FILTER_COUNT; i++)
        text_init(&s->filter[i]);
    for (size_t i = 0; i < PARAMETER_COUNT; i++)
        text_init(&s->parameters[i]);
    return s;
}

void imctl_selection_free(struct imctl_selection *s)
{
    if (!s)
        return;
    for (size_t i = 0; i < FILTER_COUNT; i++)
        text_deinit(&s->filter[i]);
    for (size_t i = 0; i < PARAMETER_COUNT; i++)
        text_deinit(&s->parameters[i]);
    free(s);
}

int imctl_selection_add_event(struct imctl_selection *s, const char *word)
{
    if (!s->error && event_kind_parse(word, strlen(word)) < 0)
        s->error = -EINVAL;
    if (!s->error)
        s->error = list_add(&s->parameters[KINDS], add_plain, word);
    return s->error;
}

int imctl_selection_match(struct imctl_selection *s, const char *key, const char *value)
{
    size_t i = 0;
    while (i < FILTER_COUNT && strcmp(filters[i].key, key) != 0)
        i++;
    if (!s->error)
        s->error = i < FILTER_COUNT ? list_add(&s->filter[i], filters[i].add, value) : -EINVAL;
    return s->error;
}

/* The parameter's text, empty, for a value in place of the one that was there. */
static struct text *parameter_clear(struct imctl_selection *s, enum parameter p)
{
    text_truncate(&s->parameters[p], 0);
    return &s->parameters[p];
}

static int set_number(struct imctl_selection *s, enum parameter p, uint64_t value)
{
    struct text *t = parameter_clear(s, p);
    json_uint(&t->w, value);
    if (!s->error && t->w.failed)
        s->error = -ENOMEM;
    return s->error;
}

static int set_string(struct imctl_selection *s, enum parameter p, const char *value)
{
    struct text *t = parameter_clear(s, p);
    if (!s->error)
        s->error = text_add_string(t, value);
    return s->error;
}

/* A time; `any` stands for none. */
static int set_time(struct imctl_selection *s, enum parameter p, int64_t ms, int64_t any)
{
    struct text *t = parameter_clear(s, p);
    if (ms != any)
        json_int(&t->w, ms);
    if (!s->error && t->w.failed)
        s->error = -ENOMEM;
    return s->error;
}

int imctl_selection_set_since(struct imctl_selection *s, uint64_t seq)
{
    parameter_clear(s, EARLIEST);
    return set_number(s, SINCE, seq);
}

int imctl_selection_set_earliest(struct imctl_selection *s)
{
    parameter_clear(s, SINCE);
    return set_string(s, EARLIEST, "earliest");
}

int imctl_selection_set_consumer(struct imctl_selection *s, const char *name)
{
    return set_string(s, CONSUMER, name);
}

int imctl_selection_set_before(struct imctl_selection *s, uint64_t seq)
{
    return set_number(s, BEFORE, seq);
}

int imctl_selection_set_times(struct imctl_selection *s, int64_t since_ms, int64_t until_ms)
{
    (void)set_time(s, SINCE_TIME, since_ms, INT64_MIN); /* the error sticks */
    return set_time(s, UNTIL_TIME, until_ms, INT64_MAX);
}

int imctl_selection_set_limit(struct imctl_selection *s, uint64_t count)
{
    return set_number(s, LIMIT, count);
}

int imctl_selection_set_reverse(struct imctl_selection *s)
{
    struct text *t = parameter_clear(s, REVERSE);
    json_literal(&t->w, "true");
    if (!s->error && t->w.failed)
        s->error = -ENOMEM;
    return s->error;
}

int selection_error(const struct imctl_selection *s, enum selection_use use)
{
    for (size_t i = 0; i < PARAMETER_COUNT; i++)
        if (!s->error && text_length(&s->parameters[i]) > 0 && !parameters[i][use])
            return -EINVAL;
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
        if (text_length(&s->filter[i]) > 0)
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
        list_write(w, &inner, filters[i].key, &s->filter[i]);
    json_literal(w, "}");
}

void selection_write_params(const struct imctl_selection *s, enum selection_use use, struct json_writer *w)
{
    const char *comma = "";
    json_literal(w, "{");
    if (parameters[KINDS][use])
        list_write(w, &comma, parameters[KINDS][use], &s->parameters[KINDS]);
    filter_write(w, &comma, s);
    for (size_t i = KINDS + 1; i < PARAMETER_COUNT; i++)
        value_write(w, &comma, parameters[i][use], &s->parameters[i]);
    json_literal(w, "}");
}
