/* See event.h. */
#include "event.h"

#include <string.h>

static void set_field(struct event_index *i, enum event_field field, struct place p)
{
    bool kept = p.len <= EVENT_FIELD_MAX;

    i->at[field] = kept ? p.at : 0;
    i->len[field] = kept ? (uint16_t)p.len : 0;
}

void event_index_fill(struct event_index *i, const struct event_fields *f)
{
    set_field(i, EVENT_FIELD_TYPE, f->type);
    set_field(i, EVENT_FIELD_FROM, f->from);
    set_field(i, EVENT_FIELD_TO, f->to);
    set_field(i, EVENT_FIELD_SIGNAL, f->signal);
    i->conversation = f->conversation;
}

void event_write_head(struct json_writer *w, enum event_kind kind)
{
    json_literal(w, "{\"jsonrpc\":\"2.0\",\"method\":\"");
    json_text(w, event_kind_word(kind));
    json_literal(w, "\",\"params\":{");
}

void event_write_gap(struct json_writer *w, uint64_t from, uint64_t to, const char *reason)
{
    event_write_head(w, EVENT_GAP);
    json_first_key(w, "from");
    json_uint(w, from);
    json_next_key(w, "to");
    json_uint(w, to);
    json_next_key(w, "reason");
    json_cstring(w, reason);
    json_literal(w, "}}\n");
}

/* GAP has `from` first; what no number follows is another kind of line. */
uint64_t event_line_seq(const char *line, size_t len)
{
    static const char *const KEYS[] = {"\"params\":{\"seq\":", "\"to\":"};

    for (size_t i = 0; i < sizeof KEYS / sizeof *KEYS; i++) {
        size_t head = len < EVENT_GAP_MAX ? len : EVENT_GAP_MAX;
        const char *key = memmem(line, head, KEYS[i], strlen(KEYS[i]));
        uint64_t seq = 0;

        if (!key)
            continue;
        for (const char *at = key + strlen(KEYS[i]); at < line + len && *at >= '0' && *at <= '9'; at++)
            seq = seq * 10 + (uint64_t)(*at - '0');
        return seq;
    }
    return 0;
}
