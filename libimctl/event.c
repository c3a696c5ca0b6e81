/* Events: the line as it came, and accessors that look into it when they are asked. */
#include "event.h"

#include "vocabulary.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The public numbers are the vocabulary's. */
static_assert((int)IMCTL_EVENT_MESSAGE == (int)EVENT_MESSAGE, "event kinds");
static_assert((int)IMCTL_EVENT_SENT == (int)EVENT_SENT, "event kinds");
static_assert((int)IMCTL_EVENT_STATUS == (int)EVENT_STATUS, "event kinds");
static_assert((int)IMCTL_EVENT_OUTBOX == (int)EVENT_OUTBOX, "event kinds");
static_assert((int)IMCTL_EVENT_GAP == (int)EVENT_GAP, "event kinds");

void event_init(struct imctl_event *e, struct view line, struct view method, struct view params)
{
    *e = (struct imctl_event){.line = line, .method = method, .params = &e->document};
    e->kind = view_is_string(method) ? (enum imctl_event_kind)event_kind_parse(method.at + 1, method.len - 2)
                                     : IMCTL_EVENT_OTHER;
    document_init(&e->document, params);
}

void event_deinit(struct imctl_event *e)
{
    document_deinit(&e->document);
}

static struct view view_move(struct view v, const char *from, const char *to)
{
    return v.at ? (struct view){to + (v.at - from), v.len} : v;
}

struct imctl_event *imctl_event_copy(const struct imctl_event *e)
{
    struct imctl_event *copy = malloc(sizeof(*copy) + e->line.len + 1);
    if (!copy)
        return NULL;
    char *line = (char *)(copy + 1);
    memcpy(line, e->line.at, e->line.len);
    line[e->line.len] = '\0';
    event_init(copy, view_move(e->line, e->line.at, line), view_move(e->method, e->line.at, line),
               view_move(e->document.root, e->line.at, line));
    copy->kind = e->kind;
    return copy;
}

int event_new(struct view line, struct imctl_event **out)
{
    struct imctl_event e;
    event_init(&e, line, view_find(line, "method"), view_find(line, "params"));
    *out = imctl_event_copy(&e);
    event_deinit(&e);
    return *out ? 0 : -ENOMEM;
}

/* An entry is what the params of an event would be. */
int event_new_outbox(struct view entry, struct imctl_event **out)
{
    struct imctl_event e;
    event_init(&e, entry, (struct view){NULL, 0}, entry);
    e.kind = IMCTL_EVENT_OUTBOX;
    *out = imctl_event_copy(&e);
    event_deinit(&e);
    return *out ? 0 : -ENOMEM;
}

void imctl_event_free(struct imctl_event *e)
{
    if (e)
        event_deinit(e);
    free(e);
}

enum imctl_event_kind imctl_event_kind(const struct imctl_event *e)
{
    return e->kind;
}

const char *imctl_event_name(const struct imctl_event *e)
{
    const char *name = imctl_event_word(e->kind);
    if (!name)
        name = document_decode(e->params, e->method);
    return name ? name : "";
}

const char *imctl_event_string(const struct imctl_event *e, const char *path)
{
    return document_string(e->params, path);
}

const char *imctl_event_value(const struct imctl_event *e, const char *path)
{
    return document_value(e->params, path);
}

bool imctl_event_int(const struct imctl_event *e, const char *path, int64_t *out)
{
    return document_int(e->params, path, out);
}

static int64_t int_or(const struct imctl_event *e, const char *path, int64_t otherwise)
{
    int64_t value = otherwise;
    (void)imctl_event_int(e, path, &value);
    return value;
}

/* Who has seen a GAP has seen all that it covers. */
uint64_t imctl_event_seq(const struct imctl_event *e)
{
    uint64_t seq = 0;
    (void)view_uint(view_find(e->params->root, e->kind == IMCTL_EVENT_GAP ? "to" : "seq"), &seq);
    return seq;
}

int64_t imctl_event_time(const struct imctl_event *e)
{
    return int_or(e, "time", int_or(e, "changedTime", 0)); /* an entry of the outbox has the other */
}

int64_t imctl_event_code(const struct imctl_event *e)
{
    return int_or(e, KEY_CODE, 0);
}

const char *imctl_event_error(const struct imctl_event *e)
{
    return imctl_event_string(e, KEY_ERR_MSG);
}

const char *imctl_event_id(const struct imctl_event *e)
{
    const char *id = imctl_event_string(e, KEY_DATA "." KEY_MESSAGE_ID);
    return id ? id : imctl_event_string(e, KEY_MESSAGE_ID); /* of OUTBOX */
}

const char *imctl_event_type(const struct imctl_event *e)
{
    return imctl_event_string(e, KEY_DATA "." KEY_MESSAGE_TYPE);
}

const char *imctl_event_from(const struct imctl_event *e)
{
    return imctl_event_string(e, KEY_DATA "." KEY_FROM);
}

const char *imctl_event_to(const struct imctl_event *e)
{
    return imctl_event_string(e, KEY_DATA "." KEY_TO);
}

int imctl_event_conversation(const struct imctl_event *e)
{
    int64_t number = int_or(e, KEY_DATA "." KEY_CONVERSATION_TYPE, -1);
    return number >= 0 && number <= INT32_MAX ? (int)number : -1;
}

const char *imctl_event_signal(const struct imctl_event *e)
{
    return imctl_event_string(e, KEY_DATA "." KEY_SIGNAL_NAME);
}

const char *imctl_event_text(const struct imctl_event *e)
{
    struct view message = view_find(e->params->root, KEY_DATA "." KEY_CONTENT "." KEY_MESSAGE);
    return view_is_string(message) ? document_decode(e->params, message) : document_text(e->params, message);
}

const char *imctl_event_state(const struct imctl_event *e)
{
    return imctl_event_string(e, "state");
}

const char *imctl_event_json(const struct imctl_event *e, size_t *len)
{
    if (len)
        *len = e->line.len;
    return e->line.at;
}
