/* Methods: outbox, outbox.cancel. */
#include "method.h"

#include <stdlib.h>
#include <string.h>

#define LIST_MAX 10000
#define ENTRY_TEXT_MAX \
    1024 /* of an entry in an answer: its id is the longest part, 6 bytes for each of its */

/* ---- outbox ---- */

struct listing {
    struct storage_list list; /* its first member */
    struct reading reading;
    struct call *call;
};

static void write_entry(struct json_writer *w, const struct outbox_entry *e)
{
    json_literal(w, "{");
    hub_write_outbox_state(w, e);
    json_next_key(w, "attempts");
    json_uint(w, e->attempts);
    json_next_key(w, "queuedTime");
    json_int(w, e->queued_ms);
    json_next_key(w, "expiresTime");
    json_int(w, e->expires_ms);
    json_next_key(w, "changedTime");
    json_int(w, e->changed_ms);
    json_literal(w, "}");
}

static void listed(struct storage_request *r)
{
    struct listing *q = (struct listing *)r;
    struct hub *h = q->call->hub;
    struct json_writer *w;

    if (!r->error && q->list.id_len && !q->list.count)
        r->error = ERROR_NOT_FOUND;
    if (r->error) {
        call_refuse_stored(q->call, r->error, NULL);
    } else {
        w = call_result_begin(q->call);
        if (w) {
            json_literal(w, "\"entries\":[");
            for (uint32_t i = 0; i < q->list.count; i++) {
                if (i)
                    json_literal(w, ",");
                write_entry(w, &q->list.entries[i]);
            }
            json_literal(w, "]");
        }
        call_result_end(q->call, w);
    }
    free(q->list.entries);
    free(q);
    reading_end(h);
}

static void list_start(struct reading *reading)
{
    struct listing *q = (struct listing *)((char *)reading - offsetof(struct listing, reading));
    struct hub *h = q->call->hub;

    if (h->storage.post(h->storage.self, &q->list.request) == 0)
        return;
    call_refuse_stored(q->call, ERROR_BUSY, "store");
    free(q);
    reading_end(h);
}

static uint32_t list_limit(const struct hub *h)
{
    size_t fits = h->options.max_message / ENTRY_TEXT_MAX + 1; /* see client.c: what may wait for a client */

    return fits < LIST_MAX ? (uint32_t)fits : LIST_MAX;
}

enum error handle_outbox(struct request *r)
{
    struct hub *h = r->hub;
    struct listing *q = calloc(1, sizeof *q);
    size_t len = 0;
    enum error e = ERROR_BUSY;

    if (q)
        e = request_string(r, KEY_MESSAGE_ID, MESSAGE_ID_MAX, q->list.id, &len);
    if (!e && !(q->call = stored_call(r)))
        e = ERROR_BUSY;
    if (e) {
        r->limit = q ? r->limit : "memory";
        free(q);
        return e;
    }
    q->list.request = (struct storage_request){.op = STORAGE_LIST, .done = listed};
    q->list.id_len = (uint16_t)len;
    q->list.limit = list_limit(h);
    q->reading.start = list_start;
    reading_begin(h, &q->reading);
    return ERROR_NONE;
}

/* ---- outbox.cancel ---- */

struct cancelling {
    struct storage_cancel cancel; /* its first member */
    struct call *call;
};

static void cancelled(struct storage_request *r)
{
    struct cancelling *q = (struct cancelling *)r;

    if (r->error) {
        call_refuse_stored(q->call, r->error, NULL);
    } else {
        hub_outbox_changed(q->call->hub, &q->cancel.entry);
        call_result_end(q->call, call_result_begin(q->call));
    }
    free(q);
}

enum error handle_outbox_cancel(struct request *r)
{
    struct hub *h = r->hub;
    struct cancelling *q = calloc(1, sizeof *q);
    size_t len = 0;
    enum error e = ERROR_BUSY;

    if (q)
        e = request_string(r, KEY_MESSAGE_ID, MESSAGE_ID_MAX, q->cancel.entry.id, &len);
    if (!e && !len)
        e = request_invalid(r, "\"%s\" is required", KEY_MESSAGE_ID);
    if (!e && !(q->call = stored_call(r)))
        e = ERROR_BUSY;
    if (e) {
        r->limit = q ? r->limit : "memory";
        free(q);
        return e;
    }
    q->cancel.request = (struct storage_request){.op = STORAGE_CANCEL, .done = cancelled};
    q->cancel.entry.id_len = (uint16_t)len;
    q->cancel.entry.changed_ms = loop_wall_ms(h->loop);
    if (h->storage.post(h->storage.self, &q->cancel.request) < 0) {
        call_refuse_stored(q->call, ERROR_BUSY, "store");
        free(q);
    }
    return ERROR_NONE;
}
