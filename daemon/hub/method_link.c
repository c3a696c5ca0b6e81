/* Methods: hello, and what concerns the link to the server. */
#include "method.h"

/* X(name, member of hub_options) */
#define HELLO_LIMITS(X)                          \
    X("maxLine", max_line)                       \
    X("maxMessage", max_message)                 \
    X("maxPending", max_pending)                 \
    X("maxPendingPerUser", max_pending_per_user) \
    X("sendRate", send_rate)                     \
    X("maxClients", max_clients)                 \
    X("maxClientsPerUser", max_clients_per_user) \
    X("ringSize", ring_size)

enum error handle_hello(struct request *r)
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

void write_status(struct hub *h, struct json_writer *w)
{
    h->link.write_status(h->link.self, w, true);
    json_next_key(w, "clients");
    json_uint(w, h->client_count);
    json_next_key(w, "subscribers");
    json_uint(w, hub_subscribers(h));
    json_next_key(w, "seq");
    json_uint(w, h->kept->seq);
    hub_write_storage(h, w, true);
}

enum error handle_status(struct request *r)
{
    struct json_writer *w = result_begin(r);

    if (w) {
        write_status(r->hub, w);
        result_end(r, w);
    }
    return ERROR_NONE;
}

enum error handle_stats(struct request *r)
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

enum error handle_connect(struct request *r)
{
    r->hub->link.connect(r->hub->link.self);
    return answer_state(r);
}

enum error handle_disconnect(struct request *r)
{
    r->hub->link.disconnect(r->hub->link.self);
    return answer_state(r);
}

enum error handle_reconnect(struct request *r)
{
    r->hub->link.reconnect(r->hub->link.self);
    return answer_state(r);
}
