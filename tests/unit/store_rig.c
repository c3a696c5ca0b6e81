/* See store_rig.h. */
#include "store_rig.h"
#include "event.h"
#include "filter.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <ftw.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct rig *current; /* `done` has no room for more */
static unsigned done_count;

int rig_set_up(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));

    snprintf(r->folder, sizeof(r->folder), "/tmp/imd-store-XXXXXX");
    if (!mkdtemp(r->folder))
        return -1;
    snprintf(r->state, sizeof(r->state), "%s/state", r->folder);
    r->options = (struct store_options){
        .folder = r->state, .history = true, .outbox_max = 1000, .outbox_keep_ms = 86400000};
    current = r;
    *state = r;
    return loop_new(&r->loop);
}

static int remove_one(const char *path, const struct stat *s, int flag, struct FTW *f)
{
    return remove(path);
}

int rig_tear_down(void **state)
{
    struct rig *r = *state;

    rig_stop(r);
    loop_free(r->loop);
    nftw(r->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    free(r);
    return 0;
}

static void on_changed(void *self)
{
    struct rig *r = self;

    r->changed++;
    loop_stop(r->loop);
}

static void on_expired(void *self, const struct outbox_entry *e)
{
    struct rig *r = self;

    assert_true(r->expired_count < RIG_EXPIRED);
    r->expired[r->expired_count++] = *e;
    loop_stop(r->loop);
}

int rig_start(struct rig *r)
{
    struct storage_listener listener = {.self = r, .changed = on_changed, .expired = on_expired};
    int e =
        store_new(&r->store, r->loop, &r->options, &listener, &r->seq, &r->stored, r->why, sizeof(r->why));

    if (e == 0)
        r->storage = store_storage(r->store);
    return e;
}

void rig_stop(struct rig *r)
{
    store_free(r->store, r->seq);
    r->store = NULL;
}

static void on_done(struct storage_request *q)
{
    q->next = q; /* a mark: done */
    done_count++;
    loop_stop(current->loop);
}

void rig_turn(struct rig *r)
{
    loop_run(r->loop);
}

static enum error wait_for(struct rig *r, struct storage_request *q)
{
    while (q->next != q)
        rig_turn(r);
    return q->error;
}

enum error rig_do(struct rig *r, struct storage_request *q)
{
    q->done = on_done;
    assert_int_equal(r->storage.post(r->storage.self, q), 0);
    return wait_for(r, q);
}

/* ---- history ---- */

size_t rig_line(char line[RIG_LINE], uint64_t seq)
{
    return (size_t)snprintf(
        line, RIG_LINE,
        "{\"jsonrpc\":\"2.0\",\"method\":\"MESSAGE\",\"params\":{\"seq\":%" PRIu64
        ",\"data\":{\"from\":\"user%u\",\"messageType\":\"TxtMsg\",\"text\":\"%0*d\"}}}\n",
        seq, (unsigned)(seq % RIG_SENDERS), (int)(seq % 200) + 1, 7);
}

static void place(struct storage_event *e, const char *line, enum event_field field, const char *key)
{
    const char *at = strstr(line, key);

    assert_non_null(at);
    at += strlen(key);
    e->index.at[field] = (uint32_t)(at - line);
    e->index.len[field] = (uint16_t)strcspn(at, "\"");
}

struct rig_batch {
    struct storage_append append;
    struct storage_event *events;
    char *bytes;
};

struct rig_batch *rig_post_append(struct rig *r, unsigned count, int64_t time_ms)
{
    struct rig_batch *b = calloc(1, sizeof(*b));
    size_t len = 0;

    b->events = calloc(count, sizeof(*b->events));
    b->bytes = malloc((size_t)count * RIG_LINE);
    for (unsigned i = 0; i < count; i++) {
        struct storage_event *e = &b->events[i];
        char *line = b->bytes + len;
        *e = (struct storage_event){.seq = ++r->seq, .time_ms = time_ms + i, .at = (uint32_t)len};
        e->len = (uint32_t)rig_line(line, e->seq);
        e->index.conversation = (int32_t)(e->seq % 3);
        e->kind = EVENT_MESSAGE;
        place(e, line, EVENT_FIELD_FROM, "\"from\":\"");
        place(e, line, EVENT_FIELD_TYPE, "\"messageType\":\"");
        len += e->len;
    }
    b->append = (struct storage_append){.request = {.op = STORAGE_APPEND, .done = on_done},
                                        .events = b->events,
                                        .count = count,
                                        .bytes = b->bytes};
    assert_int_equal(r->storage.post(r->storage.self, &b->append.request), 0);
    return b;
}

enum error rig_wait_append(struct rig *r, struct rig_batch *b)
{
    struct storage_list company = {.request.op = STORAGE_LIST, .limit = 1};

    rig_do(r, &company.request); /* or a finished append would wait for others a moment */
    free(company.entries);
    enum error e = wait_for(r, &b->append.request);
    free(b->events);
    free(b->bytes);
    free(b);
    return e;
}

enum error rig_append(struct rig *r, unsigned count, int64_t time_ms)
{
    return rig_wait_append(r, rig_post_append(r, count, time_ms));
}

struct storage_read rig_read_of(uint64_t after, uint64_t head)
{
    return (struct storage_read){.request.op = STORAGE_READ,
                                 .after = after,
                                 .head = head,
                                 .since_ms = INT64_MIN,
                                 .until_ms = INT64_MAX,
                                 .kinds = EVENT_KINDS_LOGGED,
                                 .limit = 1000,
                                 .max_bytes = 1 << 18,
                                 .gaps = true};
}

/* Each answer moves: or it would be asked for ever. */
char *rig_read_all(struct rig *r, struct storage_read read, unsigned *count)
{
    char *all = calloc(1, 1);
    size_t len = 0;
    uint64_t last = read.reverse ? read.head + 1 : read.after;
    bool more = read.after < read.head;

    *count = 0;
    while (more) {
        assert_int_equal(rig_do(r, &read.request), ERROR_NONE);
        assert_true(read.reverse ? read.through < last : read.through > last);
        last = read.through;
        all = realloc(all, len + read.len + 1);
        if (read.len > 0)
            memcpy(all + len, read.bytes, read.len);
        len += read.len;
        all[len] = '\0';
        *count += read.count;
        free(read.bytes);
        free(read.lines);
        more = read.reverse ? read.through > read.after + 1 : read.through < read.head;
        if (read.reverse)
            read.head = read.through - 1;
        else
            read.after = read.through;
    }
    return all;
}

static bool is_gap_from(const char *line, uint64_t from, uint64_t *to)
{
    char reason[32];
    uint64_t begin;

    return sscanf(line,
                  "{\"jsonrpc\":\"2.0\",\"method\":\"GAP\",\"params\":{\"from\":%" SCNu64 ",\"to\":%" SCNu64
                  ",\"reason\":\"%31[a-z_]\"}}",
                  &begin, to, reason) == 3 &&
           begin == from && *to >= from;
}

uint64_t rig_check_all(struct rig *r, uint64_t head, unsigned *gaps)
{
    unsigned lines;
    char *all = rig_read_all(r, rig_read_of(0, head), &lines), wanted[RIG_LINE];
    uint64_t at = 0, to, told = 0;

    if (gaps)
        *gaps = 0;
    for (char *line = all; *line; line = strchr(line, '\n') + 1) {
        size_t len = rig_line(wanted, at + 1);
        if (strncmp(line, wanted, len) == 0) {
            at++;
            told++;
            continue;
        }
        if (!is_gap_from(line, at + 1, &to))
            fail_msg("behind %" PRIu64 ": %.*s", at, (int)strcspn(line, "\n"), line);
        at = to;
        if (gaps)
            ++*gaps;
    }
    assert_int_equal(at, head);
    free(all);
    return told;
}

struct filter *rig_filter(const char *from, const char *type, const char *signal)
{
    const char *values[] = {
        [EVENT_FIELD_TYPE] = type, [EVENT_FIELD_FROM] = from, [EVENT_FIELD_SIGNAL] = signal};
    size_t at = sizeof(struct filter) + EVENT_FIELD_COUNT * sizeof(struct filter_value);
    struct filter *f = calloc(1, at + 256);
    uint32_t count = 0;

    f->size = at + 256;
    for (unsigned i = 0; i < EVENT_FIELD_COUNT; i++) {
        if (!values[i])
            continue;
        size_t len = strlen(values[i]);
        memcpy((char *)f + at, values[i], len);
        f->fields[i] = (struct filter_list){.given = true, .first = count, .count = 1};
        f->values[count++] = (struct filter_value){.at = (uint32_t)at, .len = (uint32_t)len};
        at += len;
    }
    return f;
}

/* ---- outbox ---- */

const uint8_t *rig_frame(const char *id, size_t *len)
{
    static char frame[256];

    *len = (size_t)snprintf(frame, sizeof(frame), "\x81\xa9messageId\xa5%s and the rest of it", id);
    return (const uint8_t *)frame;
}

enum error rig_queue(struct rig *r, const char *id, int64_t expires_ms, struct storage_queue *out)
{
    struct storage_queue q = {
        .request.op = STORAGE_QUEUE,
        .entry = {.id_len = (uint16_t)strlen(id), .queued_ms = rig_now(), .expires_ms = expires_ms}};

    memcpy(q.entry.id, id, strlen(id));
    q.frame = rig_frame(id, &q.frame_len);
    enum error e = rig_do(r, &q.request);
    if (out)
        *out = q;
    return e;
}

struct storage_report rig_report(struct rig *r)
{
    struct storage_report report;

    r->storage.report(r->storage.self, &report);
    return report;
}

int64_t rig_now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void rig_execute(struct rig *r, const char *sql)
{
    sqlite3 *db = NULL;
    char path[128];

    snprintf(path, sizeof(path), "%s/imd.db", r->state);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}
