/*
 * A message under construction: two ordered lists of members, its own and those of its `content`, each value
 * being JSON text already, or a file. The first error sticks, so that a program need look only once.
 */
#include "message.h"

#include "member.h"
#include "vocabulary.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* `content` was given whole, and now a key of it is set: its members become those of the list. */
static int content_take_apart(struct imctl_message *m)
{
    struct member **link = member_find(&m->members, KEY_CONTENT), *whole = *link;
    if (!whole)
        return 0;
    struct view object = {whole->value.w.base, text_length(&whole->value)};
    if (object.len == 0 || object.at[0] != '{')
        return -EINVAL;
    *link = whole->next;
    int error = members_parse(&m->content, object);
    member_free(whole);
    return error;
}

/* `content` is given whole or built key by key: given whole, it replaces what was built. */
static struct member **list_of(struct imctl_message *m, bool content, const char *key)
{
    if (content && !m->error)
        m->error = content_take_apart(m);
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

static int message_parse(struct imctl_message *m, const char *json)
{
    struct text text;
    text_init(&text);
    int error = text_add_json(&text, json, true, MESSAGE_DEPTH_MAX);
    if (error == 0)
        error = members_parse(&m->members, (struct view){text.w.base, text_length(&text)});
    text_deinit(&text);
    return error;
}

struct imctl_message *imctl_message_json(const char *json)
{
    struct imctl_message *m = calloc(1, sizeof(*m));
    if (m)
        m->error = message_parse(m, json);
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

/* A duplicate of a file that imd can read. */
static int file_duplicate(int fd)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return -errno;
    return S_ISREG(status.st_mode) ? descriptor_duplicate(fd) : -EINVAL;
}

static int attach(struct imctl_message *m, const char *key, int fd)
{
    struct member **list = list_of(m, true, key), *member = NULL;
    if (!m->error)
        m->error = member_claim(list, key, &member);
    if (!m->error && members_files(m->content) == LINE_FDS_MAX)
        m->error = -E2BIG;
    if (!m->error)
        member->fd = fd;
    else
        close(fd);
    return m->error;
}

int imctl_message_attach_fd(struct imctl_message *m, const char *key, int fd)
{
    int copy = m->error ? m->error : file_duplicate(fd);
    if (copy >= 0)
        return attach(m, key, copy);
    m->error = copy;
    return copy;
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
        json_text(w, m->members ? "," : "");
        json_literal(w, "\"" KEY_CONTENT "\":{");
        members_write(m->content, w);
        json_literal(w, "}");
    }
    json_literal(w, "}");
    manner_write(m, w);
    json_literal(w, "}");
}

int message_files(const struct imctl_message *m, struct descriptors **out)
{
    int error = 0;
    if (members_files(m->content) == 0)
        return 0;
    *out = descriptors_new();
    if (!*out)
        return -ENOMEM;
    for (const struct member *member = m->content; member && error == 0; member = member->next)
        if (member->fd >= 0)
            error = descriptors_add(*out, member->fd);
    return error;
}
