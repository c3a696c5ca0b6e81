/* Methods: send, at once or through the outbox. */
#include "method.h"

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
    struct json_writer *w = c ? client_reply_begin(c, call->id, call->id_len) : NULL;

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
    if (!r->client->sends && r->hub->link.congested(r->hub->link.self))
        return true;
    r->client->sends = true;
    return false;
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
    call = hub_call_new(h, r->client, r->id, r->id_len);
    if (!call) {
        r->limit = "MaxPending";
        return ERROR_BUSY;
    }
    call->link.answered = send_answered;
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
    free(q->frame.bytes);
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
        call_refuse(call, r->error, r->error == ERROR_BUSY ? "OutboxMax" : NULL);
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

static enum error queue_post(struct request *r, struct queueing *q)
{
    struct hub *h = r->hub;

    q->call = stored_call(r);
    if (!q->call)
        return ERROR_BUSY;
    if (h->storage.post(h->storage.self, &q->queue.request) < 0) {
        hub_call_free(q->call);
        r->limit = "store";
        return ERROR_BUSY;
    }
    h->link.queued(h->link.self);
    return ERROR_NONE;
}

static enum error send_later(struct request *r, struct link_send *s, uint64_t expires_ms)
{
    struct queueing *q = calloc(1, sizeof *q);
    enum error e;

    if (!q) {
        s->limit = "memory";
        return ERROR_BUSY;
    }
    e = r->hub->link.compose(r->hub->link.self, s, &q->frame);
    if (!e) {
        queue_fill(q, r->hub, expires_ms);
        e = queue_post(r, q);
    }
    if (e)
        queueing_free(q);
    return e;
}

#define EXPIRES_MAX_MS (30ull * 24 * 3600 * 1000)

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
    e = queue ? send_later(r, &s, expires_ms) : send_now(r, &s);
    if (e && !*r->detail)
        snprintf(r->detail, sizeof r->detail, "%s", s.detail);
    if (e && !r->limit)
        r->limit = s.limit;
    return e;
}
