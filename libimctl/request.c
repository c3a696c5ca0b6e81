/*
 * Requests: each is written as one line behind those that wait, and waits for the answer that bears its id.
 */
#include "connection.h"

#include "message.h"
#include "selection.h"
#include "vocabulary.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PARAMS_DEPTH_MAX 128 /* far above what the protocol has; imd tells what it refuses */

struct draft request_begin(struct imctl *c, const char *method)
{
    struct json_writer *w = &c->out.text.w;
    struct draft d = {.begin = text_length(&c->out.text),
                      .subscribes = strcmp(method, method_word(METHOD_SUBSCRIBE)) == 0,
                      .unsubscribes = strcmp(method, method_word(METHOD_UNSUBSCRIBE)) == 0};
    json_literal(w, "{\"jsonrpc\":\"2.0\",\"id\":");
    json_uint(w, c->last_id + 1);
    json_literal(w, ",\"method\":");
    json_cstring(w, method);
    return d;
}

static void request_queue(struct imctl *c, struct request *q)
{
    *c->end = q;
    c->end = &q->next;
    c->waiting++;
}

/* Why no request can be made now; 0: it can. */
static int refusal(const struct imctl *c, struct draft d)
{
    bool away = c->again && c->again->away && !d.resumes;
    return c->error ? c->error : away ? -ENOTCONN : 0;
}

static struct request *request_new(struct imctl *c, struct draft d)
{
    struct request *q = malloc(sizeof(*q));
    size_t end = text_length(&c->out.text);
    if (!q)
        return NULL;
    *q = (struct request){.id = c->last_id + 1,
                          .end = writer_place(&c->out, end),
                          .size = end - d.begin,
                          .unsubscribes = d.unsubscribes};
    if (d.subscribes) {
        q->subscription = subscription_new(view_of(c->out.text.w.base + d.begin, q->size));
        if (!q->subscription) {
            free(q);
            return NULL;
        }
    }
    return q;
}

int request_end(struct imctl *c, struct draft d, int error,
                void (*done)(struct imctl *c, const struct imctl_reply *reply, void *userdata),
                void *userdata)
{
    json_literal(&c->out.text.w, "}\n");
    if (refusal(c, d))
        error = refusal(c, d);
    struct request *q = error || c->out.text.w.failed ? NULL : request_new(c, d);
    if (!q) {
        text_truncate(&c->out.text, d.begin);
        return error ? error : -ENOMEM;
    }
    q->done = done;
    q->userdata = userdata;
    c->last_id++;
    request_queue(c, q);
    reconnect_arm(c);
    return 0;
}

int imctl_call(struct imctl *c, const char *method, const char *params,
               void (*done)(struct imctl *c, const struct imctl_reply *reply, void *userdata), void *userdata)
{
    int error = 0;
    struct draft d = request_begin(c, method);
    if (params) {
        json_next_key(&c->out.text.w, "params");
        error = text_add_json(&c->out.text, params, true, PARAMS_DEPTH_MAX);
    }
    return request_end(c, d, error, done, userdata);
}

int imctl_send(struct imctl *c, const struct imctl_message *m,
               void (*done)(struct imctl *c, const struct imctl_reply *reply, void *userdata), void *userdata)
{
    if (message_error(m) < 0)
        return message_error(m);
    struct descriptors *files = NULL;
    struct draft d = request_begin(c, method_word(METHOD_SEND));
    json_next_key(&c->out.text.w, "params");
    message_write_params(m, &c->out.text.w);
    int error = request_end(c, d, message_files(m, &files), done, userdata);
    if (error < 0)
        descriptors_free(files);
    else if (files)
        writer_attach(&c->out, d.begin, files);
    return error;
}

/* A request for what a selection selects. */
static int select_events(struct imctl *c, enum method method, const struct imctl_selection *s,
                         enum selection_use use,
                         void (*done)(struct imctl *c, const struct imctl_reply *reply, void *userdata),
                         void *userdata)
{
    if (s && selection_error(s, use) < 0)
        return selection_error(s, use);
    struct draft d = request_begin(c, method_word(method));
    if (s) {
        json_next_key(&c->out.text.w, "params");
        selection_write_params(s, use, &c->out.text.w);
    }
    return request_end(c, d, 0, done, userdata);
}

int imctl_subscribe(struct imctl *c, const struct imctl_selection *s,
                    void (*done)(struct imctl *c, const struct imctl_reply *reply, void *userdata),
                    void *userdata)
{
    return select_events(c, METHOD_SUBSCRIBE, s, SELECTION_SUBSCRIBE, done, userdata);
}

int imctl_history(struct imctl *c, const struct imctl_selection *s,
                  void (*done)(struct imctl *c, const struct imctl_reply *reply, void *userdata),
                  void *userdata)
{
    return select_events(c, METHOD_HISTORY, s, SELECTION_HISTORY, done, userdata);
}

int imctl_ack(struct imctl *c, uint64_t seq,
              void (*done)(struct imctl *c, const struct imctl_reply *reply, void *userdata), void *userdata)
{
    struct draft d = request_begin(c, method_word(METHOD_ACK));
    json_next_key(&c->out.text.w, "params");
    json_literal(&c->out.text.w, "{\"seq\":");
    json_uint(&c->out.text.w, seq);
    json_literal(&c->out.text.w, "}");
    return request_end(c, d, 0, done, userdata);
}

/* A request whose params are a messageId; NULL: none. */
static int of_message(struct imctl *c, enum method method, const char *id,
                      void (*done)(struct imctl *c, const struct imctl_reply *reply, void *userdata),
                      void *userdata)
{
    int error = 0;
    struct draft d = request_begin(c, method_word(method));
    if (id) {
        json_next_key(&c->out.text.w, "params");
        json_literal(&c->out.text.w, "{\"" KEY_MESSAGE_ID "\":");
        error = text_add_string(&c->out.text, id);
        json_literal(&c->out.text.w, "}");
    }
    return request_end(c, d, error, done, userdata);
}

int imctl_outbox(struct imctl *c, const char *id,
                 void (*done)(struct imctl *c, const struct imctl_reply *reply, void *userdata),
                 void *userdata)
{
    return of_message(c, METHOD_OUTBOX, id, done, userdata);
}

int imctl_outbox_cancel(struct imctl *c, const char *id,
                        void (*done)(struct imctl *c, const struct imctl_reply *reply, void *userdata),
                        void *userdata)
{
    return of_message(c, METHOD_OUTBOX_CANCEL, id, done, userdata);
}
