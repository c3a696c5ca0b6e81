/*
 * A message under construction: two ordered lists of members, its own and those of its `content`, each value
 * being JSON text already. The first error sticks, so that a program need look only once.
 */
#include "message.h"

#include "text.h"
#include "vocabulary.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct member {
    struct member *next;
    struct text key; /* as JSON */
    struct text value;
};

struct imctl_message {
    struct member *members;
    struct member *content;
    int64_t timeout_ms;
    bool queue;
    int64_t expires_ms;
    int error;
};

/* Levels that a value may have so that the message's own map, and content, stay within the protocol's cap. */
#define MEMBER_DEPTH (MESSAGE_DEPTH_MAX - 1)
#define CONTENT_DEPTH (MESSAGE_DEPTH_MAX - 2)

static bool text_same(const struct text *a, const struct text *b)
{
    return text_length(a) == text_length(b) && memcmp(a->w.base, b->w.base, text_length(a)) == 0;
}

static void member_free(struct member *m)
{
    text_deinit(&m->key);
    text_deinit(&m->value);
    free(m);
}

static void members_free(struct member **list)
{
    while (*list) {
        struct member *m = *list;
        *list = m->next;
        member_free(m);
    }
}

static struct member *member_append(struct member **end)
{
    struct member *m = calloc(1, sizeof(*m));
    if (!m)
        return NULL;
    text_init(&m->key);
    text_init(&m->value);
    *end = m;
    return m;
}

/* The member of this key, made when there is none, with an empty value. */
static int member_claim(struct member **list, const char *key, struct member **out)
{
    struct text name;
    text_init(&name);
    int error = text_add_string(&name, key);
    if (error < 0)
        return error;
    while (*list && !text_same(&(*list)->key, &name))
        list = &(*list)->next;
    if (*list) {
        text_deinit(&name);
        text_truncate(&(*list)->value, 0);
    } else {
        if (!member_append(list)) {
            text_deinit(&name);
            return -ENOMEM;
        }
        (*list)->key = name;
    }
    *out = *list;
    return 0;
}

static bool has_member(const struct member *list, const char *key)
{
    size_t len = strlen(key);
    for (; list; list = list->next)
        if (text_length(&list->key) == len + 2 && memcmp(list->key.w.base + 1, key, len) == 0)
            return true;
    return false;
}

/* `content` is either given whole or built key by key: given whole, it replaces what was built; the other way
 * round would have to take JSON text apart. */
static struct member **list_of(struct imctl_message *m, bool content, const char *key)
{
    if (content && has_member(m->members, KEY_CONTENT))
        m->error = -EINVAL;
    else if (!content && strcmp(key, KEY_CONTENT) == 0)
        members_free(&m->content);
    return content ? &m->content : &m->members;
}

static int set_string(struct imctl_message *m, bool content, const char *key, const char *value)
{
    struct member **list = list_of(m, content, key), *member = NULL;
    if (!m->error)
        m->error = member_claim(list, key, &member);
    if (!m->error)
        m->error = text_add_string(&member->value, value);
    return m->error;
}

static int set_int(struct imctl_message *m, bool content, const char *key, int64_t value)
{
    struct member **list = list_of(m, content, key), *member = NULL;
    if (!m->error)
        m->error = member_claim(list, key, &member);
    if (!m->error) {
        json_int(&member->value.w, value);
        m->error = member->value.w.failed ? -ENOMEM : 0;
    }
    return m->error;
}

static int set_json(struct imctl_message *m, bool content, const char *key, const char *json)
{
    struct member **list = list_of(m, content, key), *member = NULL;
    if (!m->error)
        m->error = member_claim(list, key, &member);
    if (!m->error)
        m->error = text_add_json(&member->value, json, false, content ? CONTENT_DEPTH : MEMBER_DEPTH);
    return m->error;
}

struct imctl_message *imctl_message_new(const char *type)
{
    struct imctl_message *m = calloc(1, sizeof(*m));
    if (m)
        (void)imctl_message_set_type(m, type); /* the error sticks */
    return m;
}

struct imctl_message *imctl_message_text(const char *text)
{
    struct imctl_message *m = imctl_message_new(message_type_word(MESSAGE_TYPE_TEXT));
    if (m)
        (void)imctl_message_set_content_string(m, KEY_MESSAGE, text);
    return m;
}

struct imctl_message *imctl_message_signal(const char *name)
{
    struct imctl_message *m = imctl_message_new(message_type_word(MESSAGE_TYPE_SIGNAL));
    if (m)
        (void)imctl_message_set_string(m, KEY_SIGNAL_NAME, name);
    return m;
}

void imctl_message_free(struct imctl_message *m)
{
    if (!m)
        return;
    members_free(&m->members);
    members_free(&m->content);
    free(m);
}

int imctl_message_set_type(struct imctl_message *m, const char *type)
{
    const char *wire = message_type_from_word(type, strlen(type));
    return imctl_message_set_string(m, KEY_MESSAGE_TYPE, wire ? wire : type);
}

int imctl_message_set_to(struct imctl_message *m, const char *to)
{
    return imctl_message_set_string(m, KEY_TO, to);
}

int imctl_message_set_from(struct imctl_message *m, const char *from)
{
    return imctl_message_set_string(m, KEY_FROM, from);
}

int imctl_message_set_id(struct imctl_message *m, const char *id)
{
    return imctl_message_set_string(m, KEY_MESSAGE_ID, id);
}

int imctl_message_set_conversation(struct imctl_message *m, int conversation)
{
    if (!m->error && !conversation_type_word(conversation))
        m->error = -EINVAL;
    return imctl_message_set_int(m, KEY_CONVERSATION_TYPE, conversation);
}

int imctl_message_set_string(struct imctl_message *m, const char *key, const char *value)
{
    return set_string(m, false, key, value);
}

int imctl_message_set_int(struct imctl_message *m, const char *key, int64_t value)
{
    return set_int(m, false, key, value);
}

int imctl_message_set_json(struct imctl_message *m, const char *key, const char *json)
{
    return set_json(m, false, key, json);
}

int imctl_message_set_content_string(struct imctl_message *m, const char *key, const char *value)
{
    return set_string(m, true, key, value);
}

int imctl_message_set_content_int(struct imctl_message *m, const char *key, int64_t value)
{
    return set_int(m, true, key, value);
}

int imctl_message_set_content_json(struct imctl_message *m, const char *key, const char *json)
{
    return set_json(m, true, key, json);
}

int imctl_message_set_timeout(struct imctl_message *m, int64_t timeout_ms)
{
    if (!m->error && timeout_ms < 0)
        m->error = -EINVAL;
    m->timeout_ms = timeout_ms;
    return m->error;
}

int imctl_message_set_queue(struct imctl_message *m, int64_t expires_ms)
{
    if (!m->error && expires_ms < 0)
        m->error = -EINVAL;
    m->queue = true;
    m->expires_ms = expires_ms;
    return m->error;
}

int message_error(const struct imctl_message *m)
{
    return m->error;
}

static void members_write(const struct member *m, struct json_writer *w)
{
    for (const char *comma = ""; m; m = m->next, comma = ",") {
        json_text(w, comma);
        json_raw(w, m->key.w.base, text_length(&m->key));
        json_literal(w, ":");
        json_raw(w, m->value.w.base, text_length(&m->value));
    }
}

/* How it is to be sent; what was not said is left to imd. */
static void manner_write(const struct imctl_message *m, struct json_writer *w)
{
    if (m->timeout_ms > 0) {
        json_next_key(w, "timeoutMs");
        json_int(w, m->timeout_ms);
    }
    if (m->queue) {
        json_next_key(w, "queue");
        json_literal(w, "true");
    }
    if (m->expires_ms > 0) {
        json_next_key(w, "expiresMs");
        json_int(w, m->expires_ms);
    }
}

void message_write_params(const struct imctl_message *m, struct json_writer *w)
{
    json_literal(w, "{\"message\":{");
    members_write(m->members, w);
    if (m->content) {
        json_literal(w, ",\"content\":{"); /* never first: a message has a type */
        members_write(m->content, w);
        json_literal(w, "}");
    }
    json_literal(w, "}");
    manner_write(m, w);
    json_literal(w, "}");
}
