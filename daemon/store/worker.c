/*
 * The store's thread. A turn takes all that waits in the mailbox and carries it out in order as one
 * transaction. When that fails, what must not be lost (appends, reserved numbers, finished messages) is kept
 * and comes first in the next transaction; what only reads is answered from what can still be read; anything
 * else is told that nothing was stored. Between the turns, one small chore at a time.
 *
 * Numbers: `seq` is the highest that this run knows to be given or reserved, `written` the last that a commit
 * of this run covers. A file is begun once it bears the mark of this run; with that what is missing between
 * its last number and where this run is becomes a GAP: after a crash, after the file could not be opened for
 * a while, or after it had to be set aside.
 */
#include "worker.h"
#include "block.h"
#include "consumer.h"
#include "database.h"
#include "history.h"
#include "log.h"
#include "mailbox.h"
#include "outbox.h"
#include "reader.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define TURN 256              /* requests in a transaction, and … */
#define TURN_BYTES (3u << 20) /* … events: it must fit into the page cache, or is written twice */

#define HELD 8      /* finished appends that wait for company on their way back … */
#define HELD_MS 200 /* … and how long */

#define KEPT_APPENDS 16
#define KEPT_BYTES (16u << 20)
#define REFUSED 4096 /* messages that are remembered as not accepted, see outbox_refuse */

#define RETRY_MS 1000
#define DUE_MS 1000 /* what cannot be done yet is looked at again */

#define BLOCKS_URGENT (2 * BLOCK_SEGMENTS)

/* A clock that has jumped must go on for so long before anything is thrown away because of its age. */
#define CLOCK_JUMP_MS 60000
#define CLOCK_STEADY_MS 3600000

#define ANSWERED_FACTOR 10 /* finished messages remembered, as multiple of OutboxMax */

struct worker {
    struct worker_port *port;
    struct store_options options;
    struct storage_report report;
    struct database database;
    struct history history;
    struct blocks blocks;
    struct reader reader;
    struct consumers consumers;
    struct outbox outbox;
    int timer; /* wall clock */

    bool open;      /* the file is, and all statements */
    bool started;   /* the run has its first number */
    bool begun;     /* the file bears this run's mark */
    bool beginning; /* the transaction under way gives it */
    bool stale;     /* what is known of the file may have been rolled back */
    bool damaged;   /* the file is new, because the one before was set aside */
    bool committing;
    bool stopping;
    uint64_t run, seq, written, appending; /* appending: written, once the transaction is */
    uint64_t lost_from, lost_to;           /* given up and not recorded yet; lost_to 0: none */

    struct storage_request *batch[TURN];
    unsigned batch_count;
    struct storage_append *appends[KEPT_APPENDS + TURN]; /* kept; the oldest first */
    unsigned append_count;
    size_t append_bytes;
    struct storage_request *kept, **kept_end; /* the others */
    struct outbox_entry *refused;
    unsigned refused_count;

    struct storage_request *held[HELD];
    unsigned held_count;
    int64_t held_until, retry_at; /* monotonic */
    bool told_failed;             /* what the loop was told last */
    bool changed_home, expired_home;

    int64_t clock_offset, steady_from; /* wall - boot; boot */
    int64_t due, due_as_of;            /* wall: the next chore; when that was found out */
};

/* ---- clocks ---- */

static int64_t clock_ms(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static int64_t wall_ms(void)
{
    return clock_ms(CLOCK_REALTIME);
}

static int64_t mono_ms(void)
{
    return clock_ms(CLOCK_MONOTONIC);
}

static void watch_clock(struct worker *w)
{
    int64_t boot = clock_ms(CLOCK_BOOTTIME), offset = wall_ms() - boot;
    int64_t moved = offset > w->clock_offset ? offset - w->clock_offset : w->clock_offset - offset;

    if (moved > CLOCK_JUMP_MS)
        w->steady_from = boot + CLOCK_STEADY_MS;
    w->clock_offset = offset;
}

static bool clock_is_steady(const struct worker *w)
{
    return clock_ms(CLOCK_BOOTTIME) >= w->steady_from;
}

/* ---- answering ---- */

static void flush_held(struct worker *w)
{
    for (unsigned i = 0; i < w->held_count; i++)
        mailbox_post(w->port->out, w->held[i]); /* it holds all that can be under way */
    w->held_count = 0;
}

/* Nobody waits for a finished append but the hub's count: some go back together, with one wake. */
static void answer(struct worker *w, struct storage_request *r)
{
    if (w->held_count == 0)
        w->held_until = mono_ms() + HELD_MS;
    w->held[w->held_count++] = r;
    if (w->held_count == HELD || r->op != STORAGE_APPEND || r->error != ERROR_NONE)
        flush_held(w);
}

static void answer_error(struct worker *w, struct storage_request *r, enum error e)
{
    r->error = e;
    answer(w, r);
}

static void read_options(struct worker *w)
{
    pthread_mutex_lock(&w->port->lock);
    w->options = w->port->options;
    pthread_mutex_unlock(&w->port->lock);
}

/* Before the answers of a transaction: who has one finds it in the report. */
static void publish(struct worker *w)
{
    w->report.oldest = w->open ? w->history.oldest : w->report.oldest;
    w->report.queued = w->open ? w->outbox.count : w->report.queued;
    pthread_mutex_lock(&w->port->lock);
    w->port->report = w->report;
    pthread_mutex_unlock(&w->port->lock);
    if (w->told_failed == w->report.failed || !w->changed_home)
        return;
    w->told_failed = w->report.failed;
    w->changed_home = false;
    mailbox_post(w->port->out, &w->port->changed);
}

/* ---- the edges between well and not ---- */

static void note_failure(struct worker *w)
{
    snprintf(w->report.detail, sizeof(w->report.detail), "%s", w->database.detail);
    w->report.failures++;
    w->retry_at = mono_ms() + RETRY_MS;
    if (w->report.failed)
        return;
    w->report.failed = true;
    w->report.since_ms = wall_ms();
    log_error("nothing can be stored in %s: %s; tried again each second", w->options.folder,
              w->report.detail);
}

static void note_success(struct worker *w)
{
    w->report.transactions++;
    if (!w->report.failed)
        return;
    w->report.failed = false;
    w->report.since_ms = wall_ms();
    w->report.detail[0] = '\0';
    log_notice("%s can be written again; events lost so far: %" PRIu64, w->options.folder, w->report.lost);
}

/* ---- the file ---- */

static void close_file(struct worker *w)
{
    history_close(&w->history);
    blocks_close(&w->blocks);
    reader_close(&w->reader);
    consumers_close(&w->consumers);
    outbox_close(&w->outbox);
    database_close(&w->database);
    w->open = w->begun = w->beginning = false;
}

static int open_parts(struct worker *w)
{
    int rc = history_open(&w->history, &w->database);

    if (rc == SQLITE_OK)
        rc = blocks_open(&w->blocks, &w->database);
    if (rc == SQLITE_OK)
        rc = reader_open(&w->reader, &w->history, &w->blocks);
    if (rc == SQLITE_OK)
        rc = consumers_open(&w->consumers, &w->database);
    if (rc == SQLITE_OK)
        rc = outbox_open(&w->outbox, &w->database);
    if (rc != SQLITE_OK)
        database_complain(&w->database, rc);
    /* a table or column that is not there */
    return (rc & 0xff) == SQLITE_ERROR ? SQLITE_CORRUPT : rc;
}

/* A damaged file stays open; the detail says what is wrong. */
static int open_file(struct worker *w)
{
    if (w->open)
        return SQLITE_OK;
    if (database_lock(&w->database) < 0)
        return SQLITE_CANTOPEN;
    int rc = database_open(&w->database);
    if (rc == SQLITE_OK)
        rc = open_parts(w);
    w->open = rc == SQLITE_OK;
    w->stale = false;
    if (rc != SQLITE_OK && database_fault(rc) != FAULT_CORRUPT)
        close_file(w);
    return rc;
}

static uint64_t higher(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/*
 * Where nothing is known of the numbers that were given: nobody has given as many as there were milliseconds
 * since 1970.
 */
static void start_at_now(struct worker *w, uint64_t known)
{
    w->seq = w->written = higher((uint64_t)wall_ms(), known);
    w->started = true;
}

/* false: it cannot be set aside now. */
static bool set_aside(struct worker *w)
{
    uint64_t reserved = database_salvage_reserved(&w->database);

    log_error("the database in %s is damaged: %s", w->options.folder, w->database.detail);
    close_file(w);
    if (database_set_aside(&w->database) < 0)
        return false;
    if (!w->started)
        start_at_now(w, reserved);
    w->damaged = true;
    return true;
}

/* ---- a run's mark ---- */

struct mark {
    uint64_t clean, history, reserved, run;
};

static int read_mark(struct worker *w, struct mark *m)
{
    int rc = database_get(&w->database, "clean", 1, &m->clean);

    if (rc == SQLITE_OK)
        rc = database_get(&w->database, "history", 1, &m->history);
    if (rc == SQLITE_OK)
        rc = database_get(&w->database, "reserved", 0, &m->reserved);
    return rc == SQLITE_OK ? database_get(&w->database, "run", 0, &m->run) : rc;
}

static int write_mark(struct worker *w, const struct mark *m)
{
    int rc = database_set(&w->database, "clean", m->clean);

    if (rc == SQLITE_OK)
        rc = database_set(&w->database, "history", m->history);
    if (rc == SQLITE_OK)
        rc = database_set(&w->database, "reserved", m->reserved);
    return rc == SQLITE_OK ? database_set(&w->database, "run", m->run) : rc;
}

static const char *missing_reason(const struct worker *w, const struct mark *before)
{
    if (w->damaged)
        return GAP_CORRUPT;
    if (w->started)
        return GAP_STORAGE;
    return before->clean || !before->history ? GAP_NO_HISTORY : GAP_CRASH;
}

static int record_missing(struct worker *w, const struct mark *before, uint64_t to)
{
    if (!w->options.history || to <= w->history.last)
        return SQLITE_OK;
    return history_add_gap(&w->history, w->history.last + 1, to, missing_reason(w, before), wall_ms());
}

static int begin_run(struct worker *w)
{
    struct mark m;
    int rc = read_mark(w, &m);

    if (rc != SQLITE_OK)
        return rc;
    uint64_t file_seq = higher(m.reserved, w->history.last);
    rc = record_missing(w, &m, w->started ? w->written : file_seq);
    if (rc != SQLITE_OK)
        return rc;
    w->run = w->run ? w->run : m.run + 1;
    w->outbox.run = w->run;
    if (!w->started)
        w->seq = w->appending = file_seq;
    w->beginning = true;
    m = (struct mark){.clean = 0,
                      .history = w->options.history,
                      .reserved = higher(file_seq, w->seq),
                      .run = higher(m.run, w->run)};
    return write_mark(w, &m);
}

static int end_run(struct worker *w)
{
    uint64_t last = higher(w->port->stop_seq, w->history.last);
    int rc = database_set(&w->database, "reserved", last);

    return rc == SQLITE_OK ? database_set(&w->database, "clean", 1) : rc;
}

/* ---- requests ---- */

static int do_append(struct worker *w, struct storage_request *r, bool reading)
{
    struct storage_append *a = (struct storage_append *)r;

    if (a->count == 0)
        return SQLITE_OK;
    uint64_t last = a->events[a->count - 1].seq;
    w->seq = higher(w->seq, last);
    if (!w->options.history)
        return SQLITE_OK;
    int rc = history_append(&w->history, a->events, a->count, a->bytes);
    if (rc == SQLITE_OK)
        w->appending = higher(w->appending, last);
    return rc;
}

static int do_reserve(struct worker *w, struct storage_request *r, bool reading)
{
    uint64_t through = ((struct storage_reserve *)r)->through, reserved = 0;
    int rc = database_get(&w->database, "reserved", 0, &reserved);

    w->seq = higher(w->seq, through);
    return rc != SQLITE_OK || reserved >= through ? rc : database_set(&w->database, "reserved", through);
}

static int do_read(struct worker *w, struct storage_request *r, bool reading)
{
    return reader_read(&w->reader, (struct storage_read *)r, w->appends, reading ? w->append_count : 0);
}

static int do_consumer(struct worker *w, struct storage_request *r, bool reading)
{
    return consumers_move(&w->consumers, (struct storage_consumer *)r, wall_ms());
}

static int do_queue(struct worker *w, struct storage_request *r, bool reading)
{
    return outbox_queue(&w->outbox, (struct storage_queue *)r, w->options.outbox_max);
}

/* Among what was refused may be what is there: until that is cleared up nothing is handed out. */
static int do_take(struct worker *w, struct storage_request *r, bool reading)
{
    if (reading && w->refused_count > 0)
        return SQLITE_BUSY;
    return outbox_take(&w->outbox, (struct storage_take *)r, reading);
}

static int do_finish(struct worker *w, struct storage_request *r, bool reading)
{
    return outbox_finish(&w->outbox, (struct storage_finish *)r);
}

static bool is_refused(const struct worker *w, const struct outbox_entry *e)
{
    for (unsigned i = 0; i < w->refused_count; i++)
        if (w->refused[i].queued_ms == e->queued_ms && w->refused[i].id_len == e->id_len &&
            memcmp(w->refused[i].id, e->id, e->id_len) == 0)
            return true;
    return false;
}

static void hide_refused(const struct worker *w, struct storage_list *l)
{
    uint32_t left = 0;

    for (uint32_t i = 0; i < l->count; i++)
        if (!is_refused(w, &l->entries[i]))
            l->entries[left++] = l->entries[i];
    l->count = left;
}

static int do_list(struct worker *w, struct storage_request *r, bool reading)
{
    int rc = outbox_list(&w->outbox, (struct storage_list *)r);

    if (reading && rc == SQLITE_OK)
        hide_refused(w, (struct storage_list *)r);
    return rc;
}

static int do_cancel(struct worker *w, struct storage_request *r, bool reading)
{
    return outbox_cancel(&w->outbox, (struct storage_cancel *)r);
}

static void discard_read(struct storage_request *r)
{
    reader_discard((struct storage_read *)r);
}

static void discard_take(struct storage_request *r)
{
    outbox_take_discard((struct storage_take *)r);
}

static void discard_list(struct storage_request *r)
{
    outbox_list_discard((struct storage_list *)r);
}

/* reads: can be answered without writing; discard: takes back what it was answered with. */
static const struct operation {
    int (*carry_out)(struct worker *w, struct storage_request *r, bool reading);
    void (*discard)(struct storage_request *r);
    bool kept, reads;
} operations[] = {
    [STORAGE_APPEND] = {.carry_out = do_append, .kept = true},
    [STORAGE_RESERVE] = {.carry_out = do_reserve, .kept = true},
    [STORAGE_READ] = {.carry_out = do_read, .discard = discard_read, .reads = true},
    [STORAGE_CONSUMER] = {.carry_out = do_consumer},
    [STORAGE_QUEUE] = {.carry_out = do_queue},
    [STORAGE_TAKE] = {.carry_out = do_take, .discard = discard_take, .reads = true},
    [STORAGE_FINISH] = {.carry_out = do_finish, .kept = true},
    [STORAGE_LIST] = {.carry_out = do_list, .discard = discard_list, .reads = true},
    [STORAGE_CANCEL] = {.carry_out = do_cancel},
};

/* What fails alone is answered so; anything else ends the transaction. */
static int carry_out(struct worker *w, struct storage_request *r)
{
    int rc = operations[r->op].carry_out(w, r, false);

    if (database_fault(rc) != FAULT_ALONE)
        return rc;
    log_error("a %s cannot be stored: %s", r->op == STORAGE_APPEND ? "batch of events" : "request",
              sqlite3_errstr(rc));
    r->error = ERROR_STORAGE;
    return SQLITE_OK;
}

/* ---- a transaction ---- */

static int refresh(struct worker *w)
{
    int rc = history_refresh(&w->history);

    if (rc == SQLITE_OK)
        rc = outbox_refresh(&w->outbox);
    w->stale = rc != SQLITE_OK;
    return rc;
}

/* That the disk is well again is believed only when it has written something. */
static int prepare_state(struct worker *w)
{
    int rc = w->stale ? refresh(w) : SQLITE_OK;

    w->appending = w->written;
    if (rc == SQLITE_OK && !w->begun)
        rc = begin_run(w);
    return rc == SQLITE_OK && w->report.failed ? database_set(&w->database, "tried", (uint64_t)wall_ms())
                                               : rc;
}

static int record_lost(struct worker *w)
{
    if (w->lost_to == 0 || !w->options.history)
        return SQLITE_OK;
    int rc = history_add_gap(&w->history, w->lost_from, w->lost_to, GAP_STORAGE, wall_ms());
    w->appending = higher(w->appending, w->lost_to);
    return database_fault(rc) == FAULT_ALONE ? SQLITE_OK : rc;
}

static int withdraw_refused(struct worker *w)
{
    int rc = SQLITE_OK;

    for (unsigned i = 0; i < w->refused_count && rc == SQLITE_OK; i++)
        rc = outbox_refuse(&w->outbox, &w->refused[i]);
    return w->refused_count > 0 && rc == SQLITE_OK ? outbox_refresh(&w->outbox) : rc;
}

static int carry_out_kept(struct worker *w)
{
    int rc = record_lost(w);

    if (rc == SQLITE_OK)
        rc = withdraw_refused(w);
    for (unsigned i = 0; i < w->append_count && rc == SQLITE_OK; i++)
        rc = carry_out(w, &w->appends[i]->request);
    for (struct storage_request *r = w->kept; r && rc == SQLITE_OK; r = r->next)
        rc = carry_out(w, r);
    return rc;
}

static int carry_out_all(struct worker *w)
{
    int rc = prepare_state(w);

    if (rc == SQLITE_OK)
        rc = carry_out_kept(w);
    for (unsigned i = 0; i < w->batch_count && rc == SQLITE_OK; i++)
        rc = carry_out(w, w->batch[i]);
    return rc == SQLITE_OK && w->stopping ? end_run(w) : rc;
}

/* What was answered in a transaction that is to be repeated, or answered otherwise. */
static void discard_answers(struct worker *w)
{
    for (unsigned i = 0; i < w->batch_count; i++) {
        const struct operation *o = &operations[w->batch[i]->op];
        if (o->discard)
            o->discard(w->batch[i]);
        w->batch[i]->error = ERROR_NONE;
    }
}

static int write_all(struct worker *w)
{
    w->committing = false;
    int rc = open_file(w);
    if (rc != SQLITE_OK)
        return rc;
    rc = database_begin(&w->database);
    if (rc == SQLITE_OK)
        rc = carry_out_all(w);
    w->committing = rc == SQLITE_OK;
    if (rc == SQLITE_OK)
        rc = database_commit(&w->database);
    if (rc == SQLITE_OK)
        return rc;
    database_complain(&w->database, rc);
    database_rollback(&w->database);
    w->stale = true;
    w->beginning = false;
    discard_answers(w);
    return rc;
}

/* ---- when it came through ---- */

static void count_append(struct worker *w, const struct storage_request *r)
{
    const struct storage_append *a = (const struct storage_append *)r;

    if (r->op != STORAGE_APPEND)
        return;
    if (r->error != ERROR_NONE)
        w->report.lost += a->count;
    else if (w->options.history)
        w->report.appended += a->count;
}

static void count_all(struct worker *w)
{
    for (unsigned i = 0; i < w->append_count; i++)
        count_append(w, &w->appends[i]->request);
    for (unsigned i = 0; i < w->batch_count; i++)
        count_append(w, w->batch[i]);
    note_success(w);
    publish(w);
}

static void succeed(struct worker *w)
{
    struct storage_request *next;

    w->begun = w->started = true;
    w->beginning = w->damaged = false;
    w->written = w->appending;
    w->lost_from = w->lost_to = 0;
    w->refused_count = 0;
    count_all(w);
    for (unsigned i = 0; i < w->append_count; i++)
        answer(w, &w->appends[i]->request);
    w->append_count = 0;
    w->append_bytes = 0;
    for (struct storage_request *r = w->kept; r; r = next) {
        next = r->next;
        answer(w, r);
    }
    w->kept = NULL;
    w->kept_end = &w->kept;
    for (unsigned i = 0; i < w->batch_count; i++)
        answer(w, w->batch[i]);
    w->batch_count = 0;
}

/* ---- when it did not ---- */

static size_t append_size(const struct storage_append *a)
{
    const struct storage_event *last = &a->events[a->count ? a->count - 1 : 0];

    return a->count ? (size_t)last->at + last->len + a->count * sizeof(*last) : 0;
}

static void give_up_oldest(struct worker *w)
{
    struct storage_append *a = w->appends[0];

    if (a->count > 0) {
        w->lost_from = w->lost_to ? w->lost_from : a->events[0].seq;
        w->lost_to = a->events[a->count - 1].seq;
        w->report.lost += a->count;
    }
    w->append_bytes -= append_size(a);
    w->append_count--;
    memmove(w->appends, w->appends + 1, w->append_count * sizeof(w->appends[0]));
    publish(w);
    answer_error(w, &a->request, ERROR_STORAGE);
}

static void keep(struct worker *w, struct storage_request *r)
{
    r->error = ERROR_NONE;
    if (r->op == STORAGE_APPEND) {
        w->appends[w->append_count++] = (struct storage_append *)r;
        w->append_bytes += append_size((struct storage_append *)r);
        return;
    }
    r->next = NULL;
    *w->kept_end = r;
    w->kept_end = &r->next;
}

static void remember_refused(struct worker *w, const struct storage_request *r)
{
    if (!w->committing || r->op != STORAGE_QUEUE || w->refused_count == REFUSED)
        return;
    if (!w->refused)
        w->refused = malloc(REFUSED * sizeof(*w->refused));
    if (w->refused)
        w->refused[w->refused_count++] = ((const struct storage_queue *)r)->entry;
}

/* Without history nothing is to be written of an append: it is done, whatever the disk says. */
static bool is_done_unwritten(const struct worker *w, const struct storage_request *r)
{
    return r->op == STORAGE_APPEND && !w->options.history;
}

/* Takes out of the batch what is kept; what is too much is given up. */
static void keep_all(struct worker *w)
{
    unsigned left = 0;

    for (unsigned i = 0; i < w->batch_count; i++) {
        struct storage_request *r = w->batch[i];
        if (is_done_unwritten(w, r))
            answer(w, r);
        else if (operations[r->op].kept)
            keep(w, r);
        else
            w->batch[left++] = r;
    }
    w->batch_count = left;
    while (w->append_count > KEPT_APPENDS || (w->append_count > 0 && w->append_bytes > KEPT_BYTES))
        give_up_oldest(w);
}

/* Leaves in the batch what only reads. */
static void refuse_all(struct worker *w)
{
    unsigned left = 0;

    for (unsigned i = 0; i < w->batch_count; i++) {
        struct storage_request *r = w->batch[i];
        if (operations[r->op].reads) {
            w->batch[left++] = r;
            continue;
        }
        remember_refused(w, r);
        answer_error(w, r, ERROR_STORAGE);
    }
    w->batch_count = left;
}

static int begin_reading(struct worker *w)
{
    int rc = open_file(w);

    if (rc == SQLITE_OK)
        rc = database_begin_reading(&w->database);
    return rc == SQLITE_OK && w->stale ? refresh(w) : rc;
}

static void read_all(struct worker *w)
{
    int rc = w->batch_count ? begin_reading(w) : SQLITE_OK;

    for (unsigned i = 0; i < w->batch_count; i++) {
        struct storage_request *r = w->batch[i];
        int one = rc == SQLITE_OK ? operations[r->op].carry_out(w, r, true) : rc;
        r->error = one == SQLITE_OK ? r->error : ERROR_STORAGE;
        answer(w, r);
    }
    w->batch_count = 0;
    database_rollback(&w->database);
}

static void fail(struct worker *w, int rc)
{
    note_failure(w);
    publish(w);
    if (database_fault(rc) == FAULT_HANDLE || database_fault(rc) == FAULT_CORRUPT)
        close_file(w);
    keep_all(w);
    refuse_all(w);
    read_all(w);
}

static void work(struct worker *w)
{
    int rc = write_all(w);

    if (database_fault(rc) == FAULT_CORRUPT && set_aside(w))
        rc = write_all(w);
    if (rc == SQLITE_OK)
        succeed(w);
    else
        fail(w, rc);
}

/* ---- chores ---- */

/* What a chore found to do, and did. */
static int expire(struct worker *w, bool *did)
{
    struct worker_expired *e = &w->port->expired;
    int rc = outbox_expire(&w->outbox, wall_ms(), e->entries, WORKER_EXPIRED, &e->count);

    *did = e->count > 0;
    return rc;
}

static bool expire_is_due(struct worker *w, bool busy)
{
    int64_t due = INT64_MAX;

    if (busy || !w->expired_home || outbox_next_due(&w->outbox, &due) != SQLITE_OK)
        return false;
    w->due = due < w->due ? due : w->due;
    return due <= wall_ms();
}

static void expire_done(struct worker *w)
{
    w->expired_home = false;
    mailbox_post(w->port->out, &w->port->expired.note);
}

static int64_t old_ms(const struct worker *w, uint64_t age)
{
    int64_t now = wall_ms();

    return clock_is_steady(w) && age < (uint64_t)now ? now - (int64_t)age : INT64_MIN;
}

static uint64_t answered_max(const struct worker *w)
{
    return (uint64_t)w->options.outbox_max * ANSWERED_FACTOR;
}

static int forget(struct worker *w, bool *did)
{
    unsigned count = 0;
    int rc = outbox_forget(&w->outbox, old_ms(w, w->options.outbox_keep_ms), answered_max(w), &count);

    *did = count > 0;
    return rc;
}

static bool forget_is_due(struct worker *w, bool busy)
{
    int64_t oldest = INT64_MAX;

    if (busy || outbox_oldest_answered(&w->outbox, &oldest) != SQLITE_OK || oldest == INT64_MAX)
        return false;
    if (w->outbox.answered > answered_max(w))
        return true;
    int64_t due = oldest + (int64_t)w->options.outbox_keep_ms + 1;
    w->due = due < w->due ? due : w->due;
    return oldest < old_ms(w, w->options.outbox_keep_ms);
}

static int make_block(struct worker *w, bool *did)
{
    *did = true;
    return blocks_make(&w->blocks);
}

static bool block_is_due(struct worker *w, bool busy)
{
    unsigned enough = busy ? BLOCKS_URGENT : BLOCK_SEGMENTS, waiting = 0;

    return blocks_waiting(&w->blocks, enough, &waiting) == SQLITE_OK && waiting >= enough;
}

/* What is over the limit; 0: nothing is. */
static uint64_t excess(struct worker *w)
{
    uint64_t used = 0, max = w->options.history_max_bytes;

    if (database_size(&w->database, &w->report.bytes, &used) != SQLITE_OK || max == 0)
        return 0;
    return used > max ? used - max : 0;
}

static int prune_size(struct worker *w, bool *did)
{
    uint64_t events = 0, oldest = w->history.oldest;
    int rc = history_prune(&w->history, INT64_MIN, wall_ms(), excess(w), &events);

    *did = rc == SQLITE_OK && w->history.oldest != oldest;
    w->report.pruned += events;
    return rc;
}

static bool size_is_over(struct worker *w, bool busy)
{
    uint64_t over = excess(w);

    return over > (busy ? w->options.history_max_bytes / 10 : 0) && w->history.oldest != 0;
}

static int prune_age(struct worker *w, bool *did)
{
    uint64_t events = 0, oldest = w->history.oldest;
    int rc = history_prune(&w->history, old_ms(w, w->options.history_max_age_ms), wall_ms(), 0, &events);

    *did = rc == SQLITE_OK && w->history.oldest != oldest;
    w->report.pruned += events;
    return rc;
}

static bool age_is_over(struct worker *w, bool busy)
{
    uint64_t age = w->options.history_max_age_ms;
    int64_t oldest = INT64_MAX;

    if (busy || age == 0 || history_oldest_ms(&w->history, &oldest) != SQLITE_OK || oldest == INT64_MAX)
        return false;
    int64_t due = age < INT64_MAX / 2 ? oldest + (int64_t)age + 1 : INT64_MAX;
    w->due = due < w->due ? due : w->due;
    int64_t now = wall_ms();
    return oldest < old_ms(w, age) || (oldest > now && old_ms(w, age) != INT64_MIN);
}

/* busy: requests wait; then only what cannot be put off is due. */
static const struct chore {
    bool (*is_due)(struct worker *w, bool busy);
    int (*step)(struct worker *w, bool *did);
    void (*done)(struct worker *w); /* after its commit, when it did something */
} chores[] = {
    {.is_due = size_is_over, .step = prune_size},
    {.is_due = block_is_due, .step = make_block},
    {.is_due = expire_is_due, .step = expire, .done = expire_done},
    {.is_due = forget_is_due, .step = forget},
    {.is_due = age_is_over, .step = prune_age},
};

static int transact(struct worker *w, const struct chore *c, bool *did)
{
    int rc = database_begin(&w->database);

    if (rc == SQLITE_OK)
        rc = c->step(w, did);
    if (rc == SQLITE_OK)
        rc = database_commit(&w->database);
    if (rc == SQLITE_OK)
        return rc;
    database_complain(&w->database, rc);
    database_rollback(&w->database);
    w->stale = true;
    return rc;
}

/* The next turn finds out what is to be done about a fault. */
static bool do_chore(struct worker *w, const struct chore *c)
{
    bool did = false;
    int rc = transact(w, c, &did);

    if (rc != SQLITE_OK) {
        fail(w, rc);
        w->retry_at = mono_ms();
        return false;
    }
    if (did && c->done)
        c->done(w);
    return did;
}

static bool is_busy(struct worker *w)
{
    struct pollfd p = {.fd = mailbox_fd(w->port->in), .events = POLLIN};

    return poll(&p, 1, 0) > 0;
}

/* true: there may be more to do at once. */
static bool do_chores(struct worker *w)
{
    bool busy = is_busy(w);

    w->due = INT64_MAX;
    w->due_as_of = wall_ms();
    for (size_t i = 0; i < sizeof(chores) / sizeof(chores[0]); i++)
        if (w->open && w->begun && !w->report.failed && chores[i].is_due(w, busy) && do_chore(w, &chores[i]))
            return true;
    return false;
}

/* ---- the thread ---- */

static void take_note(struct worker *w, struct storage_request *note)
{
    switch ((enum worker_note)note->op) {
    case WORKER_STOP:
        w->stopping = true;
        break;
    case WORKER_NUDGE:
        read_options(w);
        mailbox_post(w->port->out, note);
        break;
    case WORKER_CHANGED:
        w->changed_home = true;
        break;
    case WORKER_EXPIRED_NOTE:
        w->expired_home = true;
        break;
    }
}

/* How much a request adds to the transaction. */
static size_t request_size(const struct storage_request *r)
{
    return r->op == STORAGE_APPEND ? append_size((const struct storage_append *)r) : 0;
}

static void take(struct worker *w)
{
    void *item;
    size_t size = 0;

    while (w->batch_count < TURN && size < TURN_BYTES && mailbox_take(w->port->in, &item, 1) == 1) {
        struct storage_request *r = item;
        if ((int)r->op >= WORKER_STOP)
            take_note(w, r);
        else {
            w->batch[w->batch_count++] = r;
            size += request_size(r);
        }
    }
}

static void set_timer(struct worker *w)
{
    int64_t at = w->due <= w->due_as_of ? w->due_as_of + DUE_MS : w->due;
    struct itimerspec t = {0};

    if (at != INT64_MAX) {
        t.it_value = (struct timespec){.tv_sec = at / 1000, .tv_nsec = at % 1000 * 1000000};
    }
    timerfd_settime(w->timer, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &t, NULL);
}

static int wait_ms(const struct worker *w)
{
    int64_t now = mono_ms(), until = INT64_MAX;

    if (w->held_count > 0)
        until = w->held_until;
    if (w->report.failed && w->retry_at < until)
        until = w->retry_at;
    return until == INT64_MAX ? -1 : until <= now ? 0 : (int)(until - now);
}

static void wait_for_something(struct worker *w)
{
    struct pollfd p[] = {{.fd = mailbox_fd(w->port->in), .events = POLLIN},
                         {.fd = w->timer, .events = POLLIN}};
    uint64_t ticks;

    set_timer(w);
    poll(p, 2, wait_ms(w));
    if (p[1].revents && read(w->timer, &ticks, sizeof(ticks)) < 0 && errno == ECANCELED)
        log_debug("the clock was set");
    watch_clock(w);
}

static void turn(struct worker *w)
{
    take(w);
    bool retry = w->report.failed && mono_ms() >= w->retry_at;
    if (w->batch_count > 0 || retry || w->stopping)
        work(w);
    if (w->held_count > 0 && mono_ms() >= w->held_until)
        flush_held(w);
}

/* The last turn was made: what could not be written will not be. */
static void end(struct worker *w)
{
    struct storage_request *next;

    while (w->append_count > 0)
        give_up_oldest(w);
    for (struct storage_request *r = w->kept; r; r = next) {
        next = r->next;
        answer_error(w, r, ERROR_STORAGE);
    }
    flush_held(w);
    publish(w);
}

static void worker_deinit(struct worker *w)
{
    close_file(w);
    history_deinit(&w->history);
    blocks_deinit(&w->blocks);
    reader_deinit(&w->reader);
    database_deinit(&w->database);
    free(w->refused);
    if (w->timer >= 0)
        close(w->timer);
}

static int worker_init(struct worker *w, struct worker_port *p)
{
    *w =
        (struct worker){.port = p, .timer = -1, .changed_home = true, .expired_home = true, .due = INT64_MAX};
    w->kept_end = &w->kept;
    read_options(w);
    w->reader.kept_off = !w->options.history;
    w->clock_offset = wall_ms() - clock_ms(CLOCK_BOOTTIME);
    w->timer = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (w->timer < 0)
        return -errno;
    return database_init(&w->database, w->options.folder);
}

/* What is reserved in a file that can be read but not written. */
static uint64_t known_seq(struct worker *w)
{
    uint64_t reserved = 0;

    if (!w->open || database_get(&w->database, "reserved", 0, &reserved) != SQLITE_OK)
        return 0;
    return higher(reserved, w->history.last);
}

/* The first try. Only what no retry will mend keeps imd from starting. */
static int start(struct worker *w)
{
    int r = database_lock(&w->database);

    if (r == -EBUSY)
        return r;
    int rc = write_all(w);
    if (database_fault(rc) == FAULT_NEWER)
        return -ENOTSUP;
    if (database_fault(rc) == FAULT_CORRUPT && set_aside(w))
        rc = write_all(w);
    if (rc == SQLITE_OK) {
        succeed(w);
        return 0;
    }
    if (!w->started)
        start_at_now(w, known_seq(w));
    fail(w, rc);
    return 0;
}

static int tell_opened(struct worker *w, int result)
{
    if (result < 0)
        snprintf(w->port->why, sizeof(w->port->why), "%s",
                 w->database.detail[0] ? w->database.detail : strerror(-result));
    w->port->result = result;
    w->port->seq = w->seq;
    publish(w);
    sem_post(&w->port->opened);
    return result;
}

static void *run(struct worker *w, struct worker_port *port)
{
    int r = worker_init(w, port);

    if (r == 0)
        r = start(w);
    if (r < 0)
        worker_deinit(w); /* the lock is free before anybody hears of it */
    if (tell_opened(w, r) < 0)
        return NULL;
    while (!w->stopping) {
        if (!do_chores(w))
            wait_for_something(w);
        turn(w);
        publish(w);
    }
    end(w);
    worker_deinit(w);
    return NULL;
}

void *worker_run(void *port)
{
    struct worker *w = malloc(sizeof(*w));

    if (!w) {
        struct worker_port *p = port;
        p->result = -ENOMEM;
        snprintf(p->why, sizeof(p->why), "%s", strerror(ENOMEM));
        sem_post(&p->opened);
        return NULL;
    }
    run(w, port);
    free(w);
    return NULL;
}
