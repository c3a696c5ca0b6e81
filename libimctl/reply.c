/* Replies: what imd answered, or that the connection ended before it could. */
#include "reply.h"

#include "error.h"
#include "event.h"
#include "vocabulary.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

/* The public numbers are the table's; the table cannot grow without the header. */
#define SAME(public, internal) \
    static_assert((int)(public) == (int)(internal), "public errors follow the table")
SAME(IMCTL_OK, ERROR_NONE);
SAME(IMCTL_PARSE_ERROR, ERROR_PARSE);
SAME(IMCTL_INVALID_REQUEST, ERROR_INVALID_REQUEST);
SAME(IMCTL_METHOD_NOT_FOUND, ERROR_METHOD_NOT_FOUND);
SAME(IMCTL_INVALID_PARAMS, ERROR_INVALID_PARAMS);
SAME(IMCTL_INTERNAL, ERROR_INTERNAL);
SAME(IMCTL_NOT_CONNECTED, ERROR_NOT_CONNECTED);
SAME(IMCTL_STORAGE, ERROR_STORAGE);
SAME(IMCTL_BUSY, ERROR_BUSY);
SAME(IMCTL_REJECTED, ERROR_REJECTED);
SAME(IMCTL_DENIED, ERROR_DENIED);
SAME(IMCTL_TOO_LARGE, ERROR_TOO_LARGE);
SAME(IMCTL_NOT_FOUND, ERROR_NOT_FOUND);
SAME(IMCTL_CONFLICT, ERROR_CONFLICT);
SAME(IMCTL_UNKNOWN, ERROR_UNKNOWN);
SAME(IMCTL_UNKNOWN + 1, ERROR_COUNT);

static const struct view empty = {"{}", 2};

static void reply_init(struct imctl_reply *r, enum imctl_error error, struct view body)
{
    *r = (struct imctl_reply){.error = error, .body = &r->document};
    document_init(&r->document, body);
}

void reply_init_result(struct imctl_reply *r, struct view result)
{
    reply_init(r, IMCTL_OK, result);
}

/* The reason decides; a daemon that gives none is judged by the code. */
void reply_init_error(struct imctl_reply *r, struct view error)
{
    struct view reason = view_find(error, "data.reason");
    int64_t code = 0;
    (void)view_int(view_find(error, "code"), &code);
    enum error e =
        view_is_string(reason) ? error_from_reason(reason.at + 1, reason.len - 2) : error_from_code(code);
    reply_init(r, (enum imctl_error)e, error);
}

void reply_init_lost(struct imctl_reply *r, bool written)
{
    reply_init(r, written ? IMCTL_UNKNOWN : IMCTL_NOT_CONNECTED, empty);
    r->lost = written ? "the connection to imd ended before the answer came"
                      : "the connection to imd ended before the request was written";
}

void reply_deinit(struct imctl_reply *r)
{
    document_deinit(&r->document);
}

struct imctl_reply *imctl_reply_copy(const struct imctl_reply *r)
{
    struct view body = r->document.root;
    struct imctl_reply *copy = malloc(sizeof(*copy) + body.len + 1);
    if (!copy)
        return NULL;
    char *text = (char *)(copy + 1);
    memcpy(text, body.at, body.len);
    text[body.len] = '\0';
    reply_init(copy, r->error, (struct view){text, body.len});
    copy->lost = r->lost;
    return copy;
}

void imctl_reply_free(struct imctl_reply *r)
{
    if (r)
        reply_deinit(r);
    free(r);
}

enum imctl_error imctl_reply_error(const struct imctl_reply *r)
{
    return r->error;
}

const char *imctl_reply_reason(const struct imctl_reply *r)
{
    const char *reason = r->error == IMCTL_OK ? NULL : document_string(r->body, "data.reason");
    return reason ? reason : imctl_error_reason(r->error);
}

const char *imctl_reply_message(const struct imctl_reply *r)
{
    if (r->error == IMCTL_OK)
        return "";
    const char *message = r->lost ? r->lost : document_string(r->body, "message");
    return message ? message : imctl_error_sentence(r->error);
}

const char *imctl_reply_string(const struct imctl_reply *r, const char *path)
{
    return document_string(r->body, path);
}

const char *imctl_reply_value(const struct imctl_reply *r, const char *path)
{
    return document_value(r->body, path);
}

bool imctl_reply_int(const struct imctl_reply *r, const char *path, int64_t *out)
{
    return document_int(r->body, path, out);
}

/* The server's envelope is the result itself; in an error it is a member of data. */
const char *imctl_reply_id(const struct imctl_reply *r)
{
    const char *id = document_string(r->body, KEY_DATA "." KEY_MESSAGE_ID);
    return id ? id : document_string(r->body, KEY_MESSAGE_ID); /* of a send that was queued */
}

int64_t imctl_reply_code(const struct imctl_reply *r)
{
    int64_t code = 0;
    (void)document_int(r->body, r->error == IMCTL_OK ? KEY_CODE : KEY_DATA ".envelope." KEY_CODE, &code);
    return code;
}

const char *imctl_reply_state(const struct imctl_reply *r)
{
    return document_string(r->body, "state");
}

/* `at` counts the bytes of the list that lie behind the caller; 0: it has not begun. */
int imctl_reply_event(const struct imctl_reply *r, size_t *at, struct imctl_event **out)
{
    struct view rest = view_find(r->body->root, "events"), item;
    bool outbox = !rest.at;
    *out = NULL;
    if (outbox)
        rest = view_find(r->body->root, "entries");
    if (rest.len <= *at)
        return 0;
    rest = (struct view){rest.at + *at, rest.len - *at};
    const char *before = rest.at;
    if (!view_item(&rest, &item))
        return 0;
    *at += (size_t)(rest.at - before);
    return outbox ? event_new_outbox(item, out) : event_new(item, out);
}

const char *imctl_reply_server_error(const struct imctl_reply *r)
{
    return document_string(r->body, r->error == IMCTL_OK ? KEY_ERR_MSG : KEY_DATA ".envelope." KEY_ERR_MSG);
}

const char *imctl_reply_json(const struct imctl_reply *r, size_t *len)
{
    if (len)
        *len = r->document.root.len;
    return r->document.root.at;
}
