/* Methods: send, at once or through the outbox; with files or without. */
#include "method.h"

#include "loading.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    struct json_writer *w = call_reply_begin(call);

    if (w) {
        write_answer(w, a);
        client_reply_end(c);
    }
    hub_call_free(call);
}

#define SEND_TIMEOUT_MAX_MS (24ull * 3600 * 1000)

/* Who begins to send while the server does not read is refused; who has sent before is not even read then. */
static bool is_held_up(struct request *r)
{
    if (!r->client->kept->sends && r->hub->link.congested(r->hub->link.self))
        return true;
    r->client->kept->sends = true;
    return false;
}

/* A call that waits for the server's answer; NULL: too many do. */
static struct call *answered_call(struct request *r)
{
    struct user *user = r->client->user;
    struct call *call;

    if (user->pending >= r->hub->options.max_pending_per_user) {
        snprintf(r->detail, sizeof r->detail, "too many messages of this user wait for the server's answer");
        r->limit = "MaxPendingPerUser";
        return NULL;
    }
    call = hub_call_new(r->hub, r->client, r->id, r->id_len);
    if (!call) {
        r->limit = "MaxPending";
        return NULL;
    }
    call->link.answered = send_answered;
    call->user = user;
    users_ask(user, false);
    return call;
}

static enum error send_now(struct request *r, struct link_send *s)
{
    struct hub *h = r->hub;
    struct call *call;
    enum error e;

    if (is_held_up(r)) {
        r->limit = "send queue";
        return ERROR_BUSY;
    }
    call = answered_call(r);
    if (!call)
        return ERROR_BUSY;
    s->call = &call->link;
    e = h->link.send(h->link.self, s);
    if (e)
        hub_call_free(call);
    return e;
}

/* ---- Into the outbox ---- */

struct queueing {
    struct storage_queue queue; /* its first member */
    struct call *call;
    struct link_frame frame;
};

static void queueing_free(struct queueing *q)
{
    free(q->frame.block);
    free(q);
}

static void queue_done(struct storage_request *r)
{
    struct queueing *q = (struct queueing *)r;
    struct call *call = q->call;
    struct json_writer *w;

    if (!r->error && !q->queue.known)
        hub_outbox_changed(call->hub, &q->queue.entry);
    if (r->error) {
        call_refuse_stored(call, r->error, r->error == ERROR_BUSY ? "OutboxMax" : NULL);
    } else {
        w = call_result_begin(call);
        if (w)
            hub_write_outbox_state(w, &q->queue.entry);
        call_result_end(call, w);
    }
    queueing_free(q);
}

static void queue_fill(struct queueing *q, struct hub *h, uint64_t expires_ms)
{
    int64_t now_ms = loop_wall_ms(h->loop);
    struct outbox_entry *e = &q->queue.entry;

    q->queue.request = (struct storage_request){.op = STORAGE_QUEUE, .done = queue_done};
    q->queue.frame = q->frame.bytes;
    q->queue.frame_len = q->frame.len;
    memcpy(e->id, q->frame.message_id, q->frame.message_id_len);
    e->id_len = (uint16_t)q->frame.message_id_len;
    e->queued_ms = e->changed_ms = now_ms;
    e->expires_ms = now_ms + (int64_t)expires_ms;
}

/* Takes the frame over and, unless it is refused, the call. */
static enum error queue_frame(struct call *call, struct link_frame *f, uint64_t expires_ms,
                              const char **limit)
{
    struct hub *h = call->hub;
    struct queueing *q = calloc(1, sizeof *q);

    if (!q) {
        *limit = "memory";
        return ERROR_BUSY;
    }
    q->call = call;
    q->frame = *f;
    f->block = NULL;
    queue_fill(q, h, expires_ms);
    if (h->storage.post(h->storage.self, &q->queue.request) < 0) {
        queueing_free(q);
        *limit = "store";
        return ERROR_BUSY;
    }
    h->link.queued(h->link.self);
    return ERROR_NONE;
}

static struct call *queued_call(struct request *r, const struct link_frame *f)
{
    struct call *call = stored_call(r);

    if (call) {
        call->bytes = f->len;
        r->hub->stored_bytes += f->len;
    }
    return call;
}

static void note_message(struct call *call, const struct link_frame *f)
{
    memcpy(call->link.message_id, f->message_id, f->message_id_len);
    call->link.message_id_len = f->message_id_len;
}

static enum error send_later(struct request *r, struct link_send *s, uint64_t expires_ms)
{
    struct link_frame frame;
    struct call *call;
    enum error e = r->hub->link.compose(r->hub->link.self, s, &frame);

    if (e)
        return e;
    call = queued_call(r, &frame);
    if (call)
        note_message(call, &frame);
    e = call ? queue_frame(call, &frame, expires_ms, &r->limit) : ERROR_BUSY;
    if (e && call)
        hub_call_free(call);
    free(frame.block);
    return e;
}

/* ---- With files: they are read first ---- */

struct file_send {
    struct loading loading; /* its first member */
    struct call *call;
    bool queue;
    uint64_t timeout_ms, expires_ms;
};

static void finish_send(struct file_send *f)
{
    struct loading *l = &f->loading;
    struct hub *h = f->call->hub;
    struct link_send s = {.timeout_ms = f->timeout_ms, .call = &f->call->link};
    enum error e = l->error;

    h->counters.files += e ? 0 : l->files.used;
    if (!e && f->queue)
        e = queue_frame(f->call, &l->frame, f->expires_ms, &s.limit);
    else if (!e)
        e = h->link.send_composed(h->link.self, &s, &l->frame);
    if (e)
        call_refuse(f->call, e, l->error ? l->detail : s.detail, s.limit);
}

/* What the client wrote behind it has waited. */
static void files_loaded(struct loading *l)
{
    struct file_send *f = (struct file_send *)l;
    struct client *c = f->call->client;

    if (c)
        c->loading = false;
    finish_send(f);
    if (c)
        client_resume(c);
}

static void file_send_free(struct file_send *f)
{
    free(f->loading.frame.block);
    free(f);
}

/* Takes f over. The client is not read until the files are. */
static enum error begin_loading(struct request *r, struct file_send *f)
{
    struct call *call = f->call = f->queue ? queued_call(r, &f->loading.frame) : answered_call(r);

    if (!call) {
        file_send_free(f);
        return ERROR_BUSY;
    }
    note_message(call, &f->loading.frame);
    f->loading.loaded = files_loaded;
    f->loading.passed = r->passed;
    r->passed = NULL;
    r->client->loading = loading_start(r->hub, &f->loading) == 0;
    if (r->client->loading)
        return ERROR_NONE;
    hub_call_free(call);
    r->limit = "threads";
    return ERROR_BUSY;
}

/* What can be known before anything is read. */
static enum error check_files(struct request *r, bool queue)
{
    struct hub *h = r->hub;

    if (!queue && h->link.state(h->link.self) != LINK_CONNECTED)
        return ERROR_NOT_CONNECTED;
    if (!queue && is_held_up(r))
        r->limit = "send queue";
    else if (r->passed->lost)
        r->limit = "file descriptors";
    else if (!loading_allowed(h, r->client->uid))
        r->limit = "files";
    return r->limit ? ERROR_BUSY : ERROR_NONE;
}

static enum error send_files(struct request *r, struct link_send *s, bool queue, uint64_t expires_ms)
{
    struct hub *h = r->hub;
    enum error e = check_files(r, queue);
    struct file_send *f;

    if (e)
        return e;
    f = calloc(1, sizeof *f);
    if (!f) {
        r->limit = "memory";
        return ERROR_BUSY;
    }
    f->queue = queue;
    f->timeout_ms = s->timeout_ms;
    f->expires_ms = expires_ms;
    s->files = &f->loading.files;
    e = passed_measure(r->passed, h->options.max_message, s->files, r->detail, sizeof r->detail);
    if (!e)
        e = h->link.compose(h->link.self, s, &f->loading.frame);
    if (!e)
        return begin_loading(r, f);
    free(f);
    return e;
}

#define EXPIRES_MAX_MS (30ull * 24 * 3600 * 1000)

/* What was refused does not count against the rate. */
static enum error pass_on(struct request *r, struct link_send *s, bool queue, uint64_t expires_ms)
{
    struct hub *h = r->hub;
    struct user *user = r->client->user;
    enum error e;

    if (!users_may_send(&h->users, user, loop_now_ms(h->loop))) {
        snprintf(r->detail, sizeof r->detail, "this user has sent SendRate messages within a second");
        r->limit = "SendRate";
        return ERROR_BUSY;
    }
    if (r->passed)
        e = send_files(r, s, queue, expires_ms);
    else
        e = queue ? send_later(r, s, expires_ms) : send_now(r, s);
    if (!e)
        users_sent(&h->users, user);
    return e;
}

enum error handle_send(struct request *r)
{
    struct link_send s = {.line = r->scan, .message = request_param(r, "message")};
    uint64_t expires_ms = r->hub->options.outbox_expires_ms;
    bool queue = false;
    enum error e = request_number(r, "timeoutMs", 1, SEND_TIMEOUT_MAX_MS, &s.timeout_ms);

    if (!e)
        e = request_number(r, "expiresMs", 1, EXPIRES_MAX_MS, &expires_ms);
    if (!e)
        e = request_switch(r, "queue", &queue);
    if (e)
        return e;
    if (request_param(r, queue ? "timeoutMs" : "expiresMs"))
        return request_invalid(r, "\"%s\" has no meaning here", queue ? "timeoutMs" : "expiresMs");
    if (!s.message || r->scan->tokens[s.message].type != SCAN_OBJECT)
        return request_invalid(r, "\"%s\" is required and must be an object", "message");
    e = pass_on(r, &s, queue, expires_ms);
    if (e && !*r->detail)
        snprintf(r->detail, sizeof r->detail, "%s", s.detail);
    if (e && !r->limit)
        r->limit = s.limit;
    return e;
}
