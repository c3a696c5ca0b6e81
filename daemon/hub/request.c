/*
 * See request.h. A line is scanned once; the handlers look into its tokens. Whatever a handler finds wrong it
 * returns as an error, with a sentence in `detail`; only success is written by the handler itself.
 */
#include "request.h"

#include "error.h"
#include "filter_parse.h"
#include "state.h"

#include <stdio.h>
#include <string.h>

struct request {
    struct hub *hub;
    struct client *client;
    const struct scan *scan;
    const char *id;  /* its JSON text, in the line */
    size_t id_len;   /* 0: a notification */
    uint32_t params; /* token; 0: none */
    char detail[160];
    const char *limit;
};

struct method_row {
    enum error (*handle)(struct request *r);
    const char *params[4]; /* NULL-terminated: what may be given */
};

/* ---- Answers ---- */

static void write_error_head(struct json_writer *w, enum error e, const char *detail)
{
    json_literal(w, "\"error\":{\"code\":");
    json_int(w, error_code(e));
    json_literal(w, ",\"message\":");
    json_cstring(w, detail && *detail ? detail : error_sentence(e));
    json_literal(w, ",\"data\":{\"reason\":");
    json_cstring(w, error_reason(e));
}

static void answer_error(struct client *c, const char *id, size_t id_len, enum error e, const char *detail,
                         const char *limit)
{
    struct json_writer *w = client_reply_begin(c, id, id_len);

    c->hub->counters.errors++;
    if (!w)
        return;
    write_error_head(w, e, detail);
    if (limit) {
        json_literal(w, ",\"limit\":");
        json_cstring(w, limit);
    }
    json_literal(w, "}}");
    client_reply_end(c);
}

/* `"result":{`, to be closed by result_end; NULL for a notification. */
static struct json_writer *result_begin(struct request *r)
{
    struct json_writer *w = client_reply_begin(r->client, r->id, r->id_len);

    if (w)
        json_literal(w, "\"result\":{");
    return w;
}

static void result_end(struct request *r, struct json_writer *w)
{
    json_literal(w, "}");
    client_reply_end(r->client);
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

static void write_answer(struct json_writer *w, const struct link_answer *a)
{
    if (a->outcome == LINK_ACKED) {
        json_literal(w, "\"result\":{");
        json_raw(w, a->envelope, a->envelope_len);
        json_literal(w, "}");
        return;
    }
    write_error_head(w, a->outcome == LINK_REJECTED ? ERROR_REJECTED : ERROR_UNKNOWN, a->why);
    json_literal(w, ",\"messageId\":");
    json_quoted(w, a->message_id, a->message_id_len);
    if (a->outcome == LINK_REJECTED) {
        json_literal(w, ",\"envelope\":{");
        json_raw(w, a->envelope, a->envelope_len);
        json_literal(w, "}");
    }
    json_literal(w, "}}");
}

/* The answer to a `send` that waited. */
static void send_answered(struct link_call *link, const struct link_answer *a)
{
    struct call *call = (struct call *)link; /* its first member */
    struct client *c = call->client;
    struct json_writer *w = c ? client_reply_begin(c, call->id, call->id_len) : NULL;

    if (w) {
        write_answer(w, a);
        client_reply_end(c);
    }
    hub_call_free(call);
}

/* ---- Parameters ---- */

static enum error invalid(struct request *r, const char *format, const char *what)
{
    snprintf(r->detail, sizeof r->detail, format, what);
    return ERROR_INVALID_PARAMS;
}

static uint32_t param(const struct request *r, const char *name)
{
    return r->params ? scan_member(r->scan, r->params, name) : 0;
}

static enum error number_param(struct request *r, const char *name, uint64_t min, uint64_t max, uint64_t *out)
{
    uint32_t token = param(r, name);

    if (token && (!scan_uint64(r->scan, token, out) || *out < min || *out > max)) {
        snprintf(r->detail, sizeof r->detail, "\"%s\" must be an integer from %llu to %llu", name,
                 (unsigned long long)min, (unsigned long long)max);
        return ERROR_INVALID_PARAMS;
    }
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
        return invalid(r, "%s must be an object", "params");
    for (uint32_t key = r->params + 1; key < tokens[r->params].next; key = tokens[key + 1].next)
        if (!is_allowed(r, row, key)) {
            snprintf(r->detail, sizeof r->detail, "unknown parameter \"%.*s\"",
                     (int)(tokens[key].len < 64 ? tokens[key].len : 64), r->scan->text + tokens[key].at);
            return ERROR_INVALID_PARAMS;
        }
    return ERROR_NONE;
}

/* ---- Methods ---- */

/* X(name, member of hub_options) */
#define HELLO_LIMITS(X)                          \
    X("maxLine", max_line)                       \
    X("maxMessage", max_message)                 \
    X("maxPending", max_pending)                 \
    X("maxClients", max_clients)                 \
    X("maxClientsPerUser", max_clients_per_user) \
    X("ringSize", ring_size)

static enum error handle_hello(struct request *r)
{
    struct json_writer *w = result_begin(r);
    const struct hub_options *o = &r->hub->options;

    if (!w)
        return ERROR_NONE;
    json_literal(w, "\"daemon\":\"imd\",\"version\":\"" IMD_VERSION "\",\"protocol\":");
    json_int(w, PROTOCOL_VERSION);
    json_next_key(w, "account");
    json_cstring(w, o->account);
    json_next_key(w, "limits");
    json_literal(w, "{\"depth\":");
    json_int(w, MESSAGE_DEPTH_MAX);
#define WRITE_LIMIT(name, member) \
    json_next_key(w, name);       \
    json_uint(w, o->member);
    HELLO_LIMITS(WRITE_LIMIT)
#undef WRITE_LIMIT
    json_literal(w, "}");
    result_end(r, w);
    return ERROR_NONE;
}

#define SEND_TIMEOUT_MAX_MS (24ull * 3600 * 1000)

/* Who begins to send while the server does not read is refused; who has sent before is not even read then. */
static bool is_held_up(struct request *r)
{
    if (!r->client->sends && r->hub->link.congested(r->hub->link.self))
        return true;
    r->client->sends = true;
    return false;
}

static enum error handle_send(struct request *r)
{
    struct hub *h = r->hub;
    struct link_send s = {.line = r->scan, .message = param(r, "message")};
    enum error e = number_param(r, "timeoutMs", 1, SEND_TIMEOUT_MAX_MS, &s.timeout_ms);
    struct call *call;

    if (e)
        return e;
    if (!s.message || r->scan->tokens[s.message].type != SCAN_OBJECT)
        return invalid(r, "\"%s\" is required and must be an object", "message");
    if (is_held_up(r)) {
        r->limit = "send queue";
        return ERROR_BUSY;
    }
    call = hub_call_new(h, r->client, r->id, r->id_len);
    if (!call) {
        r->limit = "MaxPending";
        return ERROR_BUSY;
    }
    call->link.answered = send_answered;
    s.call = &call->link;
    e = h->link.send(h->link.self, &s);
    if (e) {
        hub_call_free(call);
        snprintf(r->detail, sizeof r->detail, "%s", s.detail);
        r->limit = s.limit;
    }
    return e;
}

/* Kinds that may be asked for by name. GAP comes with the logged ones, unasked. */
static const enum event_kind SUBSCRIBABLE[] = {EVENT_MESSAGE, EVENT_SENT, EVENT_STATUS};
#define KINDS_DEFAULT (1u << EVENT_MESSAGE | 1u << EVENT_STATUS)

static bool is_subscribable(int kind)
{
    for (size_t i = 0; i < sizeof SUBSCRIBABLE / sizeof *SUBSCRIBABLE; i++)
        if ((int)SUBSCRIBABLE[i] == kind)
            return true;
    return false;
}

static enum error kinds_param(struct request *r, uint32_t *kinds)
{
    const struct scan_token *t = r->scan->tokens;
    uint32_t list = param(r, "events");

    *kinds = KINDS_DEFAULT;
    if (!list)
        return ERROR_NONE;
    if (t[list].type != SCAN_ARRAY || !t[list].count)
        return invalid(r, "\"%s\" must be a list of event names", "events");
    *kinds = 0;
    for (uint32_t i = list + 1; i < t[list].next; i = t[i].next) {
        int kind = t[i].type == SCAN_STRING ? event_kind_parse(r->scan->text + t[i].at, t[i].len) : -1;

        if (!is_subscribable(kind))
            return invalid(r, "\"%s\" may hold MESSAGE, SENT and STATUS", "events");
        *kinds |= 1u << kind;
    }
    return ERROR_NONE;
}

static void write_status(struct request *r, struct json_writer *w)
{
    struct hub *h = r->hub;

    h->link.write_status(h->link.self, w, true);
    json_next_key(w, "clients");
    json_uint(w, h->client_count);
    json_next_key(w, "subscribers");
    json_uint(w, hub_subscribers(h));
    json_next_key(w, "seq");
    json_uint(w, h->seq);
}

static enum error handle_subscribe(struct request *r)
{
    struct filter *filter = NULL;
    uint32_t kinds, token = param(r, "filter");
    struct json_writer *w;
    enum error e = kinds_param(r, &kinds);

    if (!e && token)
        e = filter_parse(&filter, r->scan, token, r->detail);
    if (e)
        return e;
    if (kinds & EVENT_KINDS_WANTED)
        kinds |= 1u << EVENT_GAP;
    if (subscriber_start(&r->client->subscriber, &r->hub->ring, kinds, filter) < 0) {
        filter_free(filter);
        r->limit = "memory";
        return ERROR_BUSY;
    }
    w = result_begin(r);
    if (!w)
        return ERROR_NONE;
    json_first_key(w, "seq");
    json_uint(w, subscriber_seq(&r->client->subscriber, &r->hub->ring, r->hub->seq));
    json_literal(w, ",\"status\":{");
    write_status(r, w);
    json_literal(w, "}");
    result_end(r, w);
    return ERROR_NONE;
}

static enum error handle_unsubscribe(struct request *r)
{
    struct json_writer *w;

    subscriber_stop(&r->client->subscriber);
    w = result_begin(r);
    if (w)
        result_end(r, w);
    return ERROR_NONE;
}

static enum error handle_status(struct request *r)
{
    struct json_writer *w = result_begin(r);

    if (w) {
        write_status(r, w);
        result_end(r, w);
    }
    return ERROR_NONE;
}

static enum error handle_stats(struct request *r)
{
    struct json_writer *w = result_begin(r);

    if (w) {
        hub_write_stats(r->hub, w);
        result_end(r, w);
    }
    return ERROR_NONE;
}

static enum error answer_state(struct request *r)
{
    struct link *l = &r->hub->link;
    struct json_writer *w = result_begin(r);

    if (w) {
        json_first_key(w, "state");
        json_cstring(w, link_state_word(l->state(l->self)));
        result_end(r, w);
    }
    return ERROR_NONE;
}

static enum error handle_connect(struct request *r)
{
    r->hub->link.connect(r->hub->link.self);
    return answer_state(r);
}

static enum error handle_disconnect(struct request *r)
{
    r->hub->link.disconnect(r->hub->link.self);
    return answer_state(r);
}

static enum error handle_reconnect(struct request *r)
{
    r->hub->link.reconnect(r->hub->link.self);
    return answer_state(r);
}

static const struct method_row METHOD_ROWS[METHOD_COUNT] = {
    [METHOD_HELLO] = {handle_hello, {NULL}},
    [METHOD_SEND] = {handle_send, {"message", "timeoutMs", NULL}},
    [METHOD_SUBSCRIBE] = {handle_subscribe, {"events", "filter", NULL}},
    [METHOD_UNSUBSCRIBE] = {handle_unsubscribe, {NULL}},
    [METHOD_STATUS] = {handle_status, {NULL}},
    [METHOD_CONNECT] = {handle_connect, {NULL}},
    [METHOD_DISCONNECT] = {handle_disconnect, {NULL}},
    [METHOD_RECONNECT] = {handle_reconnect, {NULL}},
    [METHOD_STATS] = {handle_stats, {NULL}},
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

void request_handle(struct hub *h, struct client *c, const char *line, size_t len)
{
    struct request r = {.hub = h, .client = c, .scan = &h->scan};
    struct envelope e;
    enum scan_result scanned = scan_text(&h->scan, line, len, SCAN_DEPTH_MAX);
    const char *wrong = h->scan.count ? open_request(&r, &e) : NULL;
    enum error error;

    h->counters.requests++;
    if (scanned != SCAN_OK) {
        answer_invalid(&r, SCAN_ERRORS[scanned], h->scan.error);
        return;
    }
    if (wrong) {
        answer_invalid(&r, ERROR_INVALID_REQUEST, wrong);
        return;
    }
    error = call_method(&r, &e);
    if (error)
        answer_error(c, r.id, r.id_len, error, r.detail, r.limit);
}
