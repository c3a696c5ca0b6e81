/*
 * Methods: history. The store looks at a bounded number of events a time, so an answer is gathered by asking
 * again from where it came to, until there are enough or there is no more.
 */
#include "method.h"

#include "filter_parse.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_DEFAULT 100
#define LIMIT_MAX 10000

struct search {
    struct storage_read read; /* its first member */
    struct reading reading;
    struct call *call;
    struct filter *filter;
    uint64_t after, head; /* what is left to be searched: (after, head] */
    uint64_t limit, count;
    char *lines; /* found so far */
    size_t len;
    bool more;
};

static size_t bytes_max(const struct hub *h)
{
    return h->options.max_message < ANSWER_BYTES_MAX ? h->options.max_message : ANSWER_BYTES_MAX;
}

static void search_free(struct search *q)
{
    filter_free(q->filter);
    free(q->lines);
    free(q);
}

/* Lines as members of an array: what ends one separates it from the next. */
static void write_lines(struct json_writer *w, const char *lines, size_t len)
{
    const char *end = lines + len;

    for (const char *next; lines < end; lines = next + 1) {
        next = memchr(lines, '\n', (size_t)(end - lines));
        json_raw(w, lines, (size_t)(next - lines));
        if (next + 1 < end)
            json_literal(w, ",");
    }
}

static void search_answer(struct search *q)
{
    struct hub *h = q->call->hub;
    struct json_writer *w = call_result_begin(q->call);

    if (w) {
        json_literal(w, "\"events\":[");
        write_lines(w, q->lines, q->len);
        json_literal(w, "],\"more\":");
        json_text(w, q->more ? "true" : "false");
    }
    call_result_end(q->call, w);
    search_free(q);
    reading_end(h);
}

static void search_refuse(struct search *q, enum error e, const char *limit)
{
    struct hub *h = q->call->hub;

    call_refuse_stored(q->call, e, limit);
    search_free(q);
    reading_end(h);
}

/* Takes what one read found. false: no memory. */
static bool search_add(struct search *q)
{
    char *lines;

    if (!q->read.len)
        return true;
    lines = q->len ? realloc(q->lines, q->len + q->read.len) : q->read.bytes;
    if (!lines)
        return false;
    if (q->len) {
        memcpy(lines + q->len, q->read.bytes, q->read.len);
        free(q->read.bytes);
    }
    q->lines = lines;
    q->len += q->read.len;
    q->count += q->read.count;
    q->read.bytes = NULL;
    return true;
}

/* One more than asked for was looked for, to know whether there is more. */
static void drop_surplus(struct search *q)
{
    const struct storage_line *last = &q->read.lines[q->read.count - 1];

    q->len -= last->len;
    q->count--;
    q->more = true;
}

static void search_done(struct storage_request *r);

static int search_post(struct search *q)
{
    struct hub *h = q->call->hub;

    q->read = (struct storage_read){.request = {.op = STORAGE_READ, .done = search_done},
                                    .after = q->after,
                                    .head = q->head,
                                    .since_ms = q->read.since_ms,
                                    .until_ms = q->read.until_ms,
                                    .kinds = EVENT_KINDS_LOGGED,
                                    .filter = q->filter,
                                    .limit = (uint32_t)(q->limit + 1 - q->count),
                                    .max_bytes = bytes_max(h) - q->len,
                                    .reverse = q->read.reverse};
    return h->storage.post(h->storage.self, &q->read.request);
}

static bool search_is_over(struct search *q)
{
    if (q->read.reverse)
        q->head = q->read.through - 1;
    else
        q->after = q->read.through;
    if (q->count > q->limit) {
        drop_surplus(q);
        return true;
    }
    if (q->after >= q->head)
        return true;
    q->more = q->len >= bytes_max(q->call->hub); /* or so it may be */
    return q->more;
}

static void search_done(struct storage_request *r)
{
    struct search *q = (struct search *)r;
    bool taken = !r->error && q->call->client && search_add(q);
    bool over = taken && search_is_over(q);

    free(q->read.bytes);
    free(q->read.lines);
    if (over)
        search_answer(q);
    else if (!taken)
        search_refuse(q, r->error ? r->error : ERROR_BUSY, r->error ? NULL : "memory");
    else if (search_post(q) < 0)
        search_refuse(q, ERROR_BUSY, "store");
}

static void search_start(struct reading *reading)
{
    struct search *q = (struct search *)((char *)reading - offsetof(struct search, reading));

    journal_post(q->call->hub, true);
    if (q->after >= q->head)
        search_answer(q);
    else if (search_post(q) < 0)
        search_refuse(q, ERROR_BUSY, "store");
}

/* ---- The request ---- */

static enum error time_param(struct request *r, const char *name, int64_t *out)
{
    uint32_t token = request_param(r, name);

    if (token && !scan_int64(r->scan, token, out))
        return request_invalid(r, "\"%s\" must be an integer: milliseconds since 1970", name);
    return ERROR_NONE;
}

static enum error search_params(struct request *r, struct search *q)
{
    uint64_t before = r->hub->kept->seq + 1;
    uint32_t filter = request_param(r, "filter");
    enum error e = request_number(r, "after", 0, INT64_MAX, &q->after);

    if (!e)
        e = request_number(r, "before", 0, INT64_MAX, &before);
    if (!e)
        e = time_param(r, "since", &q->read.since_ms);
    if (!e)
        e = time_param(r, "until", &q->read.until_ms);
    if (!e)
        e = request_number(r, "limit", 1, LIMIT_MAX, &q->limit);
    if (!e)
        e = request_switch(r, "reverse", &q->read.reverse);
    if (!e && filter)
        e = filter_parse(&q->filter, r->scan, filter, r->detail);
    if (before > r->hub->kept->seq + 1)
        before = r->hub->kept->seq + 1;
    q->head = before ? before - 1 : 0;
    return e;
}

enum error handle_history(struct request *r)
{
    struct search *q = calloc(1, sizeof *q);
    enum error e;

    if (!q) {
        r->limit = "memory";
        return ERROR_BUSY;
    }
    q->limit = LIMIT_DEFAULT;
    q->read.since_ms = INT64_MIN;
    q->read.until_ms = INT64_MAX;
    e = search_params(r, q);
    if (!e && !(q->call = stored_call(r)))
        e = ERROR_BUSY;
    if (e) {
        search_free(q);
        return e;
    }
    q->reading.start = search_start;
    reading_begin(r->hub, &q->reading);
    return ERROR_NONE;
}
