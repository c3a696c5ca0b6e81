/* Methods: subscribe, from now on or from earlier, as a consumer or not; unsubscribe; ack. */
#include "method.h"

#include "arena.h"
#include "filter_parse.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Kinds that may be asked for by name. GAP comes with the logged ones, unasked. */
static const enum event_kind SUBSCRIBABLE[] = {EVENT_MESSAGE, EVENT_SENT, EVENT_STATUS, EVENT_OUTBOX};
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
    uint32_t list = request_param(r, "events");

    *kinds = KINDS_DEFAULT | 1u << EVENT_GAP;
    if (!list)
        return ERROR_NONE;
    if (t[list].type != SCAN_ARRAY || !t[list].count)
        return request_invalid(r, "\"%s\" must be a list of event names", "events");
    *kinds = 0;
    for (uint32_t i = list + 1; i < t[list].next; i = t[i].next) {
        int kind = t[i].type == SCAN_STRING ? event_kind_parse(r->scan->text + t[i].at, t[i].len) : -1;

        if (!is_subscribable(kind))
            return request_invalid(r, "\"%s\" may hold MESSAGE, SENT, STATUS and OUTBOX", "events");
        *kinds |= 1u << kind;
    }
    if (*kinds & EVENT_KINDS_WANTED)
        *kinds |= 1u << EVENT_GAP;
    return ERROR_NONE;
}

/* What is asked for. */
struct wish {
    uint32_t kinds;
    struct filter *filter;
    bool has_since, earliest;
    uint64_t since;
};

static enum error since_param(struct request *r, struct wish *w)
{
    uint32_t token = request_param(r, "since");

    w->has_since = token != 0;
    if (!token)
        return ERROR_NONE;
    w->earliest =
        r->scan->tokens[token].type == SCAN_STRING && scan_string_equals(r->scan, token, "earliest");
    if (w->earliest || (scan_uint64(r->scan, token, &w->since) && w->since <= r->hub->kept->seq))
        return ERROR_NONE;
    snprintf(r->detail, sizeof r->detail,
             "\"since\" must be the number of an event, at most that of the last one (%llu), or \"earliest\"",
             (unsigned long long)r->hub->kept->seq);
    return ERROR_INVALID_PARAMS;
}

static enum error wish_params(struct request *r, struct wish *w)
{
    uint32_t filter = request_param(r, "filter");
    enum error e = kinds_param(r, &w->kinds);

    if (!e)
        e = since_param(r, w);
    if (!e && filter)
        e = filter_parse(&w->filter, r->scan, filter, r->detail);
    return e;
}

/* The number behind which it goes on; a GAP that it is still to be told is part of that. */
static uint64_t seq_of(const struct client *c)
{
    const struct subscriber *s = &c->kept->subscriber;

    if (s->gap_from)
        return s->gap_from - 1;
    return s->parked ? replay_seq(c) : subscriber_seq(s, &c->hub->kept->ring, c->hub->kept->seq);
}

/* One that is being fed goes on from where it is, with pages of what it asks for now. */
static int position(struct client *c, const struct wish *w)
{
    if (w->has_since)
        return replay_begin(c, w->since, w->earliest);
    return c->kept->subscriber.parked ? replay_again(c) : 0;
}

/* 0 or -ENOMEM; the filter is taken over in both cases. */
static int begin(struct client *c, struct wish *w)
{
    if (kept_filter(c->hub, c->kept, w->filter) < 0 ||
        subscriber_start(&c->kept->subscriber, &c->hub->kept->ring, w->kinds, w->filter) < 0) {
        filter_free(w->filter);
        return -ENOMEM;
    }
    hub_store_client(c->hub, c);
    return position(c, w);
}

static void write_subscribed(struct client *c, struct json_writer *w, const struct wish *wish)
{
    json_first_key(w, "seq");
    json_uint(w, wish->has_since && !wish->earliest ? wish->since : seq_of(c));
    json_literal(w, ",\"status\":{");
    write_status(c->hub, w);
    json_literal(w, "}");
}

/* ---- Consumers ---- */

struct consuming {
    struct storage_consumer consumer; /* its first member */
    struct call *call;
    struct wish wish;
};

static bool is_taken(const struct hub *h, const struct client *self, const char *name)
{
    for (const struct client *c = h->clients; c; c = c->next)
        if (c != self && ((c->kept->consumer && strcmp(c->kept->consumer, name) == 0) ||
                          (c->opening && strcmp(c->opening, name) == 0)))
            return true;
    return false;
}

static void consuming_free(struct consuming *q)
{
    filter_free(q->wish.filter);
    free(q);
}

/* Its place is known: what is behind it was missed. */
static enum error become_consumer(struct client *c, struct consuming *q)
{
    q->wish.has_since = true;
    q->wish.since = q->consumer.seq < c->hub->kept->seq ? q->consumer.seq : c->hub->kept->seq;
    q->wish.earliest = q->wish.earliest && !q->wish.since;
    if (begin(c, &q->wish) < 0)
        return ERROR_BUSY;
    arena_release(c->hub->arena, c->kept->consumer);
    c->kept->consumer = c->opening;
    c->opening = NULL;
    return ERROR_NONE;
}

/* Where it cannot be opened the connection stays what it was. */
static void consumer_opened(struct storage_request *r)
{
    struct consuming *q = (struct consuming *)r;
    struct client *c = q->call->client;
    struct json_writer *w;
    enum error e = r->error;

    if (c && !e) {
        e = become_consumer(c, q);
        q->wish.filter = NULL;
    }
    if (c) {
        arena_release(c->hub->arena, c->opening);
        c->opening = NULL;
    }
    if (e) {
        call_refuse_stored(q->call, e, e == ERROR_BUSY ? "consumers" : NULL);
    } else {
        w = call_result_begin(q->call);
        if (w)
            write_subscribed(c, w, &q->wish);
        call_result_end(q->call, w);
    }
    consuming_free(q);
}

static void consumer_request(struct consuming *q, const char *name, size_t len, uint64_t seq)
{
    q->consumer = (struct storage_consumer){.request = {.op = STORAGE_CONSUMER, .done = consumer_opened},
                                            .name_len = (uint8_t)len,
                                            .create = true,
                                            .seq = seq};
    memcpy(q->consumer.name, name, len);
}

static enum error consume(struct request *r, struct wish *wish, const char *name, size_t len)
{
    struct hub *h = r->hub;
    struct consuming *q = calloc(1, sizeof *q);
    char *copy = arena_take(h->arena, len + 1);

    if (!q || !copy || !(q->call = stored_call(r))) {
        arena_release(h->arena, copy);
        free(q);
        return ERROR_BUSY;
    }
    consumer_request(q, name, len, wish->has_since ? wish->since : h->kept->seq);
    if (h->storage.post(h->storage.self, &q->consumer.request) < 0) {
        hub_call_free(q->call);
        arena_release(h->arena, copy);
        free(q);
        return ERROR_BUSY;
    }
    q->wish = *wish;
    wish->filter = NULL;
    memcpy(copy, name, len);
    r->client->opening = copy;
    return ERROR_NONE;
}

/* While the store looks a consumer up, the connection is not yet what it is going to be. */
static bool is_opening(struct request *r)
{
    if (r->client->opening)
        snprintf(r->detail, sizeof r->detail, "the subscribe before has not been answered yet");
    return r->client->opening;
}

static enum error consumer_param(struct request *r, char name[CONSUMER_NAME_MAX + 1], size_t *len)
{
    enum error e = request_string(r, "consumer", CONSUMER_NAME_MAX, name, len);

    name[*len] = '\0';
    if (!e && *len && strlen(name) != *len)
        return request_invalid(r, "\"%s\" holds a NUL", "consumer");
    if (!e && *len && is_taken(r->hub, r->client, name)) {
        snprintf(r->detail, sizeof r->detail, "another connection is this consumer");
        return ERROR_CONFLICT;
    }
    return e;
}

static enum error subscribe(struct request *r, struct wish *wish)
{
    char name[CONSUMER_NAME_MAX + 1];
    size_t len;
    struct json_writer *w;
    enum error e = consumer_param(r, name, &len);

    if (e)
        return e;
    if (len) {
        e = consume(r, wish, name, len);
        if (e && !r->limit)
            r->limit = "store";
        return e;
    }
    client_forget_consumer(r->client);
    if (begin(r->client, wish) < 0) {
        wish->filter = NULL;
        r->limit = "memory";
        return ERROR_BUSY;
    }
    wish->filter = NULL;
    w = result_begin(r);
    if (!w)
        return ERROR_NONE;
    write_subscribed(r->client, w, wish);
    result_end(r, w);
    return ERROR_NONE;
}

enum error handle_subscribe(struct request *r)
{
    struct wish wish = {0};
    enum error e = is_opening(r) ? ERROR_CONFLICT : wish_params(r, &wish);

    if (!e)
        e = subscribe(r, &wish);
    filter_free(wish.filter);
    return e;
}

enum error handle_unsubscribe(struct request *r)
{
    struct json_writer *w;

    if (is_opening(r))
        return ERROR_CONFLICT;
    client_forget_consumer(r->client);
    replay_end(r->client);
    subscriber_stop(&r->client->kept->subscriber);
    w = result_begin(r);
    if (w)
        result_end(r, w);
    return ERROR_NONE;
}

/* ---- Acks ---- */

struct acking {
    struct storage_consumer consumer; /* its first member */
    struct call *call;
    uint64_t seq;
};

/* Its row went with a damaged file: it is made; and where another ack has made it, it is moved. */
static bool ack_again(struct acking *q)
{
    struct storage_request *r = &q->consumer.request;
    bool missing = r->error == ERROR_NOT_FOUND && !q->consumer.create;
    bool behind = !r->error && q->consumer.create && q->consumer.seq < q->seq;

    if (!missing && !behind)
        return false;
    q->consumer.create = missing;
    q->consumer.seq = q->seq;
    return q->call->hub->storage.post(q->call->hub->storage.self, r) == 0;
}

static void acked(struct storage_request *r)
{
    struct acking *q = (struct acking *)r;

    if (ack_again(q))
        return;
    if (r->error)
        call_refuse_stored(q->call, r->error, NULL);
    else
        call_result_end(q->call, call_result_begin(q->call));
    free(q);
}

static enum error ack(struct request *r, uint64_t seq)
{
    struct hub *h = r->hub;
    size_t len = strlen(r->client->kept->consumer);
    struct acking *q = calloc(1, sizeof *q);

    if (!q || !(q->call = stored_call(r))) {
        free(q);
        return ERROR_BUSY;
    }
    q->consumer = (struct storage_consumer){
        .request = {.op = STORAGE_CONSUMER, .done = acked}, .name_len = (uint8_t)len, .seq = seq};
    q->seq = seq;
    memcpy(q->consumer.name, r->client->kept->consumer, len);
    if (h->storage.post(h->storage.self, &q->consumer.request) == 0)
        return ERROR_NONE;
    hub_call_free(q->call);
    free(q);
    return ERROR_BUSY;
}

enum error handle_ack(struct request *r)
{
    uint64_t seq = UINT64_MAX;
    enum error e;

    if (is_opening(r))
        return ERROR_CONFLICT;
    if (!r->client->kept->consumer) {
        snprintf(r->detail, sizeof r->detail, "this connection is no consumer: see subscribe");
        return ERROR_CONFLICT;
    }
    e = request_number(r, "seq", 0, r->hub->kept->seq, &seq);
    if (!e && seq == UINT64_MAX)
        return request_invalid(r, "\"%s\" is required", "seq");
    if (!e && (e = ack(r, seq)) && !r->limit)
        r->limit = "store";
    return e;
}
