#include "subscription.h"

#include <stdlib.h>

struct subscription *subscription_new(struct view line)
{
    struct view params = view_find(line, "params");
    struct subscription *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    text_init(&s->params);
    if (params.at)
        json_raw(&s->params.w, params.at, params.len);
    if (s->params.w.failed) {
        subscription_free(s);
        return NULL;
    }
    s->consumer = view_find(params, "consumer").at;
    return s;
}

void subscription_free(struct subscription *s)
{
    if (s)
        text_deinit(&s->params);
    free(s);
}

void subscription_begun(struct subscription *s, const struct imctl_reply *reply)
{
    const char *seq = imctl_reply_value(reply, "seq");
    if (seq && view_uint(view_of(seq, strlen(seq)), &s->after))
        s->placed = true;
    s->strange = false;
}

void subscription_refused(struct subscription *s)
{
    s->strange = true;
}

void subscription_passed(struct subscription *s, uint64_t seq)
{
    if (seq == 0)
        return;
    s->after = seq;
    s->placed = true;
}

static void member_write(struct json_writer *w, const char *comma, struct view key, struct view value)
{
    json_text(w, comma);
    json_literal(w, "\"");
    json_raw(w, key.at, key.len);
    json_literal(w, "\":");
    json_raw(w, value.at, value.len);
}

void subscription_write_params(const struct subscription *s, struct json_writer *w)
{
    struct view rest = {s->params.w.base, text_length(&s->params)}, key, value;
    bool move = s->strange || (s->placed && !s->consumer);
    const char *comma = "";
    json_literal(w, "{");
    while (rest.len > 0 && view_next(&rest, &key, &value)) {
        if (move && view_is(key, "since"))
            continue;
        member_write(w, comma, key, value);
        comma = ",";
    }
    if (move) {
        json_text(w, comma);
        json_first_key(w, "since");
        if (s->strange)
            json_cstring(w, "earliest");
        else
            json_uint(w, s->after);
    }
    json_literal(w, "}");
}
