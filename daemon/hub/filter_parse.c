/* See filter_parse.h. One allocation holds the lists, their values and the values' texts. */
#include "filter_parse.h"

#include "json_writer.h"
#include "vocabulary.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const FIELD_KEYS[EVENT_FIELD_COUNT] = {
    [EVENT_FIELD_TYPE] = KEY_MESSAGE_TYPE,
    [EVENT_FIELD_FROM] = KEY_FROM,
    [EVENT_FIELD_TO] = KEY_TO,
    [EVENT_FIELD_SIGNAL] = KEY_SIGNAL_NAME,
};

/* What is being filled while parsing: the values and texts behind the struct filter. */
struct builder {
    const struct scan *scan;
    struct filter *filter;
    uint32_t next_value;
    struct json_writer text;
    char *detail;
};

/*
 * Room for all values and texts: a value is at least two tokens' worth of text, an escape at most six bytes.
 */
static size_t values_bound(const struct scan *s, uint32_t object)
{
    return 2 * (size_t)(s->tokens[object].next - object) * sizeof(struct filter_value);
}

static size_t text_bound(const struct scan *s, uint32_t object)
{
    return 6 * (size_t)s->tokens[object].len + 64;
}

static enum error wrong(struct builder *b, const char *key, const char *what)
{
    snprintf(b->detail, FILTER_DETAIL, "filter: \"%s\" %s", key, what);
    return ERROR_INVALID_PARAMS;
}

static void add_value(struct builder *b, struct filter_list *l, const char *text, size_t len)
{
    const char *at = b->text.at;

    json_string_inner(&b->text, text, len);
    b->filter->values[b->next_value] =
        (struct filter_value){(uint32_t)(at - (const char *)b->filter), (uint32_t)(b->text.at - at)};
    if (!l->count++)
        l->first = b->next_value;
    b->next_value++;
}

/* `text` stands for both names that text messages have on the wire. */
static void add_type(struct builder *b, struct filter_list *l, const char *word, size_t len)
{
    const char *wire = message_type_from_word(word, len);

    if (!wire) {
        add_value(b, l, word, len);
        return;
    }
    add_value(b, l, wire, strlen(wire));
    if (strcmp(wire, message_type_wire(MESSAGE_TYPE_TEXT)) == 0)
        add_value(b, l, MESSAGE_TYPE_TEXT_ALIAS, strlen(MESSAGE_TYPE_TEXT_ALIAS));
}

static enum error add_string(struct builder *b, unsigned field, uint32_t token)
{
    const struct scan_token *t = &b->scan->tokens[token];
    struct filter_list *l = &b->filter->fields[field];
    char *plain;
    size_t len;

    if (t->type != SCAN_STRING)
        return wrong(b, FIELD_KEYS[field], "must be a list of strings");
    if (t->len > EVENT_FIELD_MAX / 6)
        return wrong(b, FIELD_KEYS[field], "has a value that is too long");
    plain = malloc(t->len + 1);
    if (!plain)
        return ERROR_BUSY;
    len = scan_string_copy(b->scan, token, plain);
    if (field == EVENT_FIELD_TYPE)
        add_type(b, l, plain, len);
    else
        add_value(b, l, plain, len);
    free(plain);
    return ERROR_NONE;
}

static enum error add_conversation(struct builder *b, uint32_t token)
{
    const struct scan_token *t = &b->scan->tokens[token];
    int64_t number = -1;

    if (t->type == SCAN_STRING)
        number = conversation_type_parse(b->scan->text + t->at, t->len);
    else if (!scan_int64(b->scan, token, &number))
        number = -1;
    if (number < 0 || number >= CONVERSATION_TYPE_COUNT)
        return wrong(b, KEY_CONVERSATION_TYPE,
                     "must be a list of conversation types (0 to 5, or their words)");
    b->filter->conversations |= 1u << number;
    return ERROR_NONE;
}

static int field_of_key(const struct scan *s, uint32_t key)
{
    for (unsigned i = 0; i < EVENT_FIELD_COUNT; i++)
        if (scan_string_equals(s, key, FIELD_KEYS[i]))
            return (int)i;
    return -1;
}

static enum error add_list(struct builder *b, uint32_t key)
{
    const struct scan *s = b->scan;
    uint32_t list = key + 1;
    int field = field_of_key(s, key);
    bool conversation = scan_string_equals(s, key, KEY_CONVERSATION_TYPE);
    const char *name = field >= 0 ? FIELD_KEYS[field] : KEY_CONVERSATION_TYPE;
    enum error e = ERROR_NONE;

    if (field < 0 && !conversation) {
        snprintf(b->detail, FILTER_DETAIL, "filter: unknown key \"%.*s\"",
                 (int)(s->tokens[key].len < 64 ? s->tokens[key].len : 64), s->text + s->tokens[key].at);
        return ERROR_INVALID_PARAMS;
    }
    if (s->tokens[list].type != SCAN_ARRAY)
        return wrong(b, name, "must be a list");
    if (conversation)
        b->filter->conversations_given = true;
    else
        b->filter->fields[field].given = true;
    for (uint32_t t = list + 1; !e && t < s->tokens[list].next; t = s->tokens[t].next)
        e = conversation ? add_conversation(b, t) : add_string(b, (unsigned)field, t);
    return e;
}

enum error filter_parse(struct filter **out, const struct scan *s, uint32_t object,
                        char detail[FILTER_DETAIL])
{
    struct builder b = {.scan = s, .detail = detail};
    size_t values, text;
    enum error e = ERROR_NONE;

    *out = NULL;
    if (s->tokens[object].type != SCAN_OBJECT) {
        snprintf(detail, FILTER_DETAIL, "\"filter\" must be an object");
        return ERROR_INVALID_PARAMS;
    }
    if (!s->tokens[object].count)
        return ERROR_NONE;
    values = values_bound(s, object);
    text = text_bound(s, object);
    b.filter = calloc(1, sizeof *b.filter + values + text);
    if (!b.filter)
        return ERROR_BUSY;
    b.filter->size = sizeof *b.filter + values + text;
    json_writer_init(&b.text, (char *)b.filter->values + values, text);
    for (uint32_t key = object + 1; !e && key < s->tokens[object].next; key = s->tokens[key + 1].next)
        e = add_list(&b, key);
    if (e)
        filter_free(b.filter);
    else
        *out = b.filter;
    return e;
}
