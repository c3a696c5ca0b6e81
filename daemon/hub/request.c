/* See request.h and method.h: the table of methods, and what all of them need. */
#include "request.h"

#include "arena.h"
#include "log.h"
#include "method.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

struct method_row {
    enum error (*handle)(struct request *r);
    enum right right;      /* that is needed */
    const char *params[8]; /* NULL-terminated: what may be given */
};

/* ---- Answers ---- */

void write_error_head(struct json_writer *w, enum error e, const char *detail)
{
    json_literal(w, "\"error\":{\"code\":");
    json_int(w, error_code(e));
    json_literal(w, ",\"message\":");
    json_cstring(w, detail && *detail ? detail : error_sentence(e));
    json_literal(w, ",\"data\":{\"reason\":");
    json_cstring(w, error_reason(e));
}

static void write_error(struct json_writer *w, enum error e, const char *detail, const char *limit)
{
    write_error_head(w, e, detail);
    if (limit) {
        json_literal(w, ",\"limit\":");
        json_cstring(w, limit);
    }
    json_literal(w, "}}");
}

static void answer_error(struct client *c, const char *id, size_t id_len, enum error e, const char *detail,
                         const char *limit)
{
    struct json_writer *w = client_reply_begin(c, id, id_len);

    c->hub->counters.errors++;
    if (!w)
        return;
    write_error(w, e, detail, limit);
    client_reply_end(c);
}

struct json_writer *result_begin(struct request *r)
{
    struct json_writer *w = client_reply_begin(r->client, r->id, r->id_len);

    if (w)
        json_literal(w, "\"result\":{");
    return w;
}

void result_end(struct request *r, struct json_writer *w)
{
    json_literal(w, "}");
    client_reply_end(r->client);
}

struct json_writer *call_reply_begin(struct call *call)
{
    if (!call->client)
        return NULL;
    call->replied_from = kept_replied(call->client->kept) + 1;
    arena_order();
    return client_reply_begin(call->client, call->id, call->id_len);
}

struct json_writer *call_result_begin(struct call *call)
{
    struct json_writer *w = call_reply_begin(call);

    if (w)
        json_literal(w, "\"result\":{");
    return w;
}

void call_result_end(struct call *call, struct json_writer *w)
{
    if (w) {
        json_literal(w, "}");
        client_reply_end(call->client);
    }
    hub_call_free(call);
}

void call_refuse(struct call *call, enum error e, const char *detail, const char *limit)
{
    struct json_writer *w = call_reply_begin(call);

    if (w) {
        call->hub->counters.errors++;
        write_error(w, e, detail, limit);
        client_reply_end(call->client);
    }
    hub_call_free(call);
}

void call_refuse_stored(struct call *call, enum error e, const char *limit)
{
    struct storage_report report;
    char detail[sizeof report.detail + 64] = "";

    if (e == ERROR_STORAGE) {
        call->hub->storage.report(call->hub->storage.self, &report);
        snprintf(detail, sizeof detail, "cannot be stored or read now%s%s", *report.detail ? ": " : "",
                 report.detail);
    }
    call_refuse(call, e, detail, limit);
}

void request_too_long(struct hub *h, struct client *c)
{
    char detail[80];

    h->counters.requests++;
    snprintf(detail, sizeof detail, "the line is longer than MaxLine (%zu bytes)", h->options.max_line);
    answer_error(c, "null", 4, ERROR_TOO_LARGE, detail, NULL);
}

void request_refuse_client(struct client *c, const char *limit)
{
    answer_error(c, "null", 4, ERROR_BUSY, "too many clients", limit);
}

/* ---- Parameters ---- */

enum error request_invalid(struct request *r, const char *format, const char *what)
{
    snprintf(r->detail, sizeof r->detail, format, what);
    return ERROR_INVALID_PARAMS;
}

uint32_t request_param(const struct request *r, const char *name)
{
    return r->params ? scan_member(r->scan, r->params, name) : 0;
}

enum error request_number(struct request *r, const char *name, uint64_t min, uint64_t max, uint64_t *out)
{
    uint32_t token = request_param(r, name);

    if (token && (!scan_uint64(r->scan, token, out) || *out < min || *out > max)) {
        snprintf(r->detail, sizeof r->detail, "\"%s\" must be an integer from %llu to %llu", name,
                 (unsigned long long)min, (unsigned long long)max);
        return ERROR_INVALID_PARAMS;
    }
    return ERROR_NONE;
}

enum error request_switch(struct request *r, const char *name, bool *out)
{
    uint32_t token = request_param(r, name);

    if (!token)
        return ERROR_NONE;
    if (r->scan->tokens[token].type != SCAN_TRUE && r->scan->tokens[token].type != SCAN_FALSE)
        return request_invalid(r, "\"%s\" must be true or false", name);
    *out = r->scan->tokens[token].type == SCAN_TRUE;
    return ERROR_NONE;
}

#define STRING_MAX 128
static_assert(MESSAGE_ID_MAX <= STRING_MAX && CONSUMER_NAME_MAX <= STRING_MAX, "parameters that are names");

enum error request_string(struct request *r, const char *name, size_t max, char *out, size_t *len)
{
    char plain[6 * STRING_MAX]; /* the longest escape of one byte is \u0041 */
    uint32_t token = request_param(r, name);
    const struct scan_token *t = &r->scan->tokens[token];

    *len = 0;
    if (!token)
        return ERROR_NONE;
    if (t->type == SCAN_STRING && t->len <= sizeof plain)
        *len = scan_string_copy(r->scan, token, plain);
    if (!*len || *len > max) {
        *len = 0;
        snprintf(r->detail, sizeof r->detail, "\"%s\" must be a string of 1 to %zu bytes", name, max);
        return ERROR_INVALID_PARAMS;
    }
    memcpy(out, plain, *len);
    return ERROR_NONE;
}

static bool is_allowed(const struct request *r, const struct method_row *row, uint32_t key)
{
    for (const char *const *name = row->params; *name; name++)
        if (scan_string_equals(r->scan, key, *name))
            return true;
    return false;
}

/* A typo must not pass for a default. */
static enum error check_params(struct request *r, const struct method_row *row)
{
    const struct scan_token *tokens = r->scan->tokens;

    if (!r->params)
        return ERROR_NONE;
    if (tokens[r->params].type != SCAN_OBJECT)
        return request_invalid(r, "%s must be an object", "params");
    for (uint32_t key = r->params + 1; key < tokens[r->params].next; key = tokens[key + 1].next)
        if (!is_allowed(r, row, key)) {
            snprintf(r->detail, sizeof r->detail, "unknown parameter \"%.*s\"",
                     (int)(tokens[key].len < 64 ? tokens[key].len : 64), r->scan->text + tokens[key].at);
            return ERROR_INVALID_PARAMS;
        }
    return ERROR_NONE;
}

/* ---- Calls that wait for the store ---- */

/* Who begins to use the store while it is behind is refused; who has used it is not even read then. */
struct call *stored_call(struct request *r)
{
    struct hub *h = r->hub;
    struct call *call = NULL;

    if (r->client->kept->stores ? h->stored_calls < STORED_CALLS_MAX : !hub_store_is_behind(h))
        call = hub_call_new(h, r->client, r->id, r->id_len);
    if (!call) {
        r->limit = "store";
        return NULL;
    }
    r->client->kept->stores = true;
    call->stored = true;
    call->user = r->client->user;
    users_ask(call->user, true);
    h->stored_calls++;
    return call;
}

/* ---- Methods ---- */

static const struct method_row METHOD_ROWS[METHOD_COUNT] = {
    [METHOD_HELLO] = {handle_hello, RIGHT_NONE, {NULL}},
    [METHOD_SEND] = {handle_send, RIGHT_SEND, {"message", "timeoutMs", "queue", "expiresMs", NULL}},
    [METHOD_SUBSCRIBE] = {handle_subscribe, RIGHT_RECEIVE, {"events", "filter", "since", "consumer", NULL}},
    [METHOD_UNSUBSCRIBE] = {handle_unsubscribe, RIGHT_RECEIVE, {NULL}},
    [METHOD_STATUS] = {handle_status, RIGHT_NONE, {NULL}},
    [METHOD_CONNECT] = {handle_connect, RIGHT_CONTROL, {NULL}},
    [METHOD_DISCONNECT] = {handle_disconnect, RIGHT_CONTROL, {NULL}},
    [METHOD_RECONNECT] = {handle_reconnect, RIGHT_CONTROL, {NULL}},
    [METHOD_STATS] = {handle_stats, RIGHT_NONE, {NULL}},
    [METHOD_ACK] = {handle_ack, RIGHT_RECEIVE, {"seq", NULL}},
    [METHOD_HISTORY] = {handle_history,
                        RIGHT_RECEIVE,
                        {"after", "before", "since", "until", "filter", "limit", "reverse", NULL}},
    [METHOD_OUTBOX] = {handle_outbox, RIGHT_SEND, {"messageId", NULL}},
    [METHOD_OUTBOX_CANCEL] = {handle_outbox_cancel, RIGHT_SEND, {"messageId", NULL}},
};

/* ---- Dispatch ---- */

/* The members of the request object itself. */
struct envelope {
    uint32_t jsonrpc, id, method, params;
};

static uint32_t *envelope_member(struct envelope *e, const struct scan *s, uint32_t key)
{
    if (scan_string_equals(s, key, "jsonrpc"))
        return &e->jsonrpc;
    if (scan_string_equals(s, key, "id"))
        return &e->id;
    if (scan_string_equals(s, key, "method"))
        return &e->method;
    if (scan_string_equals(s, key, "params"))
        return &e->params;
    return NULL;
}

/* NULL, or what is wrong. */
static const char *open_envelope(struct envelope *e, const struct scan *s)
{
    *e = (struct envelope){0};
    if (s->tokens[0].type == SCAN_ARRAY)
        return "batches are not served: write one request a line";
    if (s->tokens[0].type != SCAN_OBJECT)
        return "a request is an object";
    for (uint32_t key = 1; key < s->tokens[0].next; key = s->tokens[key + 1].next) {
        uint32_t *member = envelope_member(e, s, key);

        if (!member)
            return "a request has jsonrpc, id, method and params, nothing else";
        *member = key + 1;
    }
    return NULL;
}

/*
 * The id's text as it stands in the line, so that it goes back as it came. False: neither string nor integer.
 */
static bool take_id(struct request *r, uint32_t token)
{
    const struct scan_token *t = &r->scan->tokens[token];
    bool string = t->type == SCAN_STRING;

    if (!token)
        return true;
    if ((!string && t->type != SCAN_INT) || t->len + 2 > REQUEST_ID_MAX)
        return false;
    r->id = r->scan->text + t->at - string;
    r->id_len = t->len + 2u * string;
    return true;
}

static const char *check_envelope(const struct envelope *e, const struct scan *s)
{
    if (!e->jsonrpc || s->tokens[e->jsonrpc].type != SCAN_STRING || !scan_string_equals(s, e->jsonrpc, "2.0"))
        return "\"jsonrpc\" must be \"2.0\"";
    if (!e->method || s->tokens[e->method].type != SCAN_STRING)
        return "\"method\" must be a string";
    return NULL;
}

static void log_denial(const struct request *r, enum right needed)
{
    struct log_event e = {
        .level = LOG_NOTICE, .reason = error_reason(ERROR_DENIED), .client_uid = &r->client->uid};

    if (log_limit_pass(&r->client->user->log))
        log_event(&e, "uid %u was denied what it asked: it is not in %s", (unsigned)r->client->uid,
                  right_key(needed));
}

static enum error check_right(struct request *r, enum right needed)
{
    if (!(needed & ~r->client->rights))
        return ERROR_NONE;
    snprintf(r->detail, sizeof r->detail, "not allowed for this user: not in %s of imd.conf",
             right_key(needed));
    log_denial(r, needed);
    return ERROR_DENIED;
}

static enum error call_method(struct request *r, const struct envelope *e)
{
    const struct scan_token *t = &r->scan->tokens[e->method];
    int method = method_parse(r->scan->text + t->at, t->len);
    enum error error;

    if (method < 0) {
        snprintf(r->detail, sizeof r->detail, "no method \"%.*s\"", (int)(t->len < 64 ? t->len : 64),
                 r->scan->text + t->at);
        return ERROR_METHOD_NOT_FOUND;
    }
    r->params = e->params;
    error = check_right(r, METHOD_ROWS[method].right);
    if (!error)
        error = check_params(r, &METHOD_ROWS[method]);
    return error ? error : METHOD_ROWS[method].handle(r);
}

static const enum error SCAN_ERRORS[] = {
    [SCAN_SYNTAX] = ERROR_PARSE,
    [SCAN_DUPLICATE] = ERROR_INVALID_REQUEST,
    [SCAN_TOO_DEEP] = ERROR_INVALID_PARAMS,
    [SCAN_RANGE] = ERROR_INVALID_PARAMS,
    [SCAN_NO_MEMORY] = ERROR_BUSY,
};

/* NULL, or what is wrong with the request itself; its id is taken whenever it has one. */
static const char *open_request(struct request *r, struct envelope *e)
{
    const char *wrong = open_envelope(e, r->scan);

    if (!take_id(r, e->id))
        return "\"id\" must be a string or an integer, and not too long";
    return wrong ? wrong : check_envelope(e, r->scan);
}

static void answer_invalid(struct request *r, enum error error, const char *wrong)
{
    answer_error(r->client, r->id_len ? r->id : "null", r->id_len ? r->id_len : 4, error, wrong, NULL);
}

static void handle(struct request *r, const char *line, size_t len)
{
    struct hub *h = r->hub;
    struct envelope e;
    enum scan_result scanned = scan_text(&h->scan, line, len, SCAN_DEPTH_MAX);
    const char *wrong = h->scan.count ? open_request(r, &e) : NULL;
    enum error error;

    h->counters.requests++;
    if (scanned != SCAN_OK) {
        answer_invalid(r, SCAN_ERRORS[scanned], h->scan.error);
        return;
    }
    if (wrong) {
        answer_invalid(r, ERROR_INVALID_REQUEST, wrong);
        return;
    }
    error = call_method(r, &e);
    if (error)
        answer_error(r->client, r->id, r->id_len, error, r->detail, r->limit);
}

void request_handle(struct hub *h, struct client *c, const char *line, size_t len, struct passed *passed)
{
    struct request r = {.hub = h, .client = c, .scan = &h->scan, .passed = passed};

    handle(&r, line, len);
    passed_discard(r.passed);
}

/* ---- Of the process before ---- */

size_t request_id(struct hub *h, const char *line, size_t len, char id[REQUEST_ID_MAX])
{
    struct request r = {.hub = h, .scan = &h->scan};
    struct envelope e;

    bool wrong = scan_text(&h->scan, line, len, SCAN_DEPTH_MAX) != SCAN_OK || open_request(&r, &e);

    if (wrong && !r.id_len) {
        r.id = "null";
        r.id_len = 4;
    }
    if (r.id_len)
        memcpy(id, r.id, r.id_len);
    return r.id_len;
}

void request_answer_forsaken(struct client *c, const char *id, size_t id_len, const char *message_id,
                             size_t message_id_len)
{
    struct json_writer *w;

    if (!message_id_len) {
        answer_error(c, id, id_len, ERROR_UNKNOWN, "imd was restarted before this was answered", NULL);
        return;
    }
    w = client_reply_begin(c, id, id_len);
    if (!w)
        return;
    c->hub->counters.errors++;
    write_error_head(w, ERROR_UNKNOWN, "imd was restarted before the server answered");
    json_literal(w, ",\"messageId\":");
    json_quoted(w, message_id, message_id_len);
    json_literal(w, "}}");
    client_reply_end(c);
}
