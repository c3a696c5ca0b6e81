/*
 * Transactions: all that waits is carried out in order as one. When that fails, what must not be lost
 * (appends, reserved numbers, finished messages) is kept and comes first in the next; what only reads is
 * answered from what can still be read; anything else is told that nothing was stored.
 *
 * Numbers: `seq` is the highest that this run knows to be given or reserved, `written` the last that a commit
 * of this run covers. A file is begun once it bears the mark of this run; with that what is missing between
 * its last number and where this run is becomes a GAP: after a crash, after the file could not be opened for
 * a while, or after it had to be set aside.
 */
#include "beat.h"
#include "log.h"
#include "worker_state.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEPT_BYTES (16u << 20)
#define REFUSED 4096 /* messages that are remembered as not accepted, see outbox_refuse */
#define RETRY_MS 1000

/* ---- the edges between well and not ---- */

static void note_failure(struct worker *w)
{
    static const struct log_event e = {.level = LOG_ERR, .id = LOG_STORAGE_FAILED};

    snprintf(w->report.detail, sizeof(w->report.detail), "%s", w->database.detail);
    w->report.failures++;
    w->retry_at = worker_mono_ms() + RETRY_MS;
    if (w->report.failed)
        return;
    w->report.failed = true;
    w->report.since_ms = worker_wall_ms();
    log_event_limited(&e, "nothing can be stored in %s: %s; tried again each second", w->options.folder,
                      w->report.detail);
}

static void note_success(struct worker *w)
{
    static const struct log_event e = {.level = LOG_NOTICE, .id = LOG_STORAGE_RECOVERED};

    w->report.transactions++;
    if (!w->report.failed)
        return;
    w->report.failed = false;
    w->report.since_ms = worker_wall_ms();
    w->report.detail[0] = '\0';
    log_event_limited(&e, "%s can be written again; events lost so far: %" PRIu64, w->options.folder,
                      w->report.lost);
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
    return history_add_gap(&w->history, w->history.last + 1, to, missing_reason(w, before), worker_wall_ms());
}

/* The last number that was given, by what is on disk or, where that is known, by the one who gave it. */
static uint64_t last_given(const struct worker *w, const struct mark *m)
{
    return higher(w->options.given ? w->options.given : m->reserved, w->history.last);
}

/* What is before this number and not on disk is nowhere. */
static uint64_t missing_through(const struct worker *w, uint64_t given)
{
    if (w->started)
        return w->written;
    return w->options.given && w->options.at_hand ? w->options.at_hand - 1 : given;
}

static int begin_run(struct worker *w)
{
    struct mark m;
    int rc = read_mark(w, &m);

    if (rc != SQLITE_OK)
        return rc;
    uint64_t file_seq = last_given(w, &m);
    rc = record_missing(w, &m, missing_through(w, file_seq));
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
    return consumers_move(&w->consumers, (struct storage_consumer *)r, worker_wall_ms());
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
    beat();
    int rc = operations[r->op].carry_out(w, r, false);
    if (database_fault(rc) != FAULT_ALONE)
        return rc;
    log_limited(LOG_ERR, "a %s cannot be stored: %s", r->op == STORAGE_APPEND ? "batch of events" : "request",
                rc == DATABASE_UNREADABLE ? "a file cannot be read" : sqlite3_errstr(rc));
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

/*
 * Another number for each try. What a try that failed has written may be there all the same, and to write it
 * again would be nothing to write, and to sync.
 */
static uint64_t try_number(const struct worker *w)
{
    return (uint64_t)worker_wall_ms() * 1024 + w->report.failures % 1024;
}

/* That the disk is well again is believed only when it has written something. */
static int prepare_state(struct worker *w)
{
    int rc = w->stale ? refresh(w) : SQLITE_OK;

    w->appending = w->written;
    if (rc == SQLITE_OK && !w->begun)
        rc = begin_run(w);
    return rc == SQLITE_OK && w->report.failed ? database_set(&w->database, "tried", try_number(w)) : rc;
}

static int record_lost(struct worker *w)
{
    if (w->lost_to == 0 || !w->options.history)
        return SQLITE_OK;
    int rc = history_add_gap(&w->history, w->lost_from, w->lost_to, GAP_STORAGE, worker_wall_ms());
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

void transaction_abort(struct worker *w, int rc)
{
    database_complain(&w->database, rc);
    database_rollback(&w->database);
    w->stale = true;
}

int transaction_try(struct worker *w)
{
    w->committing = false;
    int rc = worker_open_file(w);
    if (rc != SQLITE_OK)
        return rc;
    rc = database_begin(&w->database);
    if (rc == SQLITE_OK)
        rc = carry_out_all(w);
    if (rc == SQLITE_OK)
        rc = bulk_sync(&w->bulk);
    w->committing = rc == SQLITE_OK;
    if (rc == SQLITE_OK)
        rc = database_commit(&w->database);
    if (rc == SQLITE_OK)
        return rc;
    transaction_abort(w, rc);
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
    worker_publish(w);
}

void transaction_succeed(struct worker *w)
{
    struct storage_request *next;

    w->begun = w->started = true;
    w->beginning = w->damaged = false;
    w->written = w->appending;
    w->lost_from = w->lost_to = 0;
    w->refused_count = 0;
    count_all(w);
    for (unsigned i = 0; i < w->append_count; i++)
        worker_answer(w, &w->appends[i]->request);
    w->append_count = 0;
    w->append_bytes = 0;
    for (struct storage_request *r = w->kept; r; r = next) {
        next = r->next;
        worker_answer(w, r);
    }
    w->kept = NULL;
    w->kept_end = &w->kept;
    for (unsigned i = 0; i < w->batch_count; i++)
        worker_answer(w, w->batch[i]);
    w->batch_count = 0;
}

/* ---- when it did not ---- */

size_t transaction_append_size(const struct storage_append *a)
{
    const struct storage_event *last = &a->events[a->count ? a->count - 1 : 0];

    return a->count ? (size_t)last->at + last->len + a->count * sizeof(*last) : 0;
}

void transaction_give_up_oldest(struct worker *w)
{
    struct storage_append *a = w->appends[0];

    if (a->count > 0) {
        w->lost_from = w->lost_to ? w->lost_from : a->events[0].seq;
        w->lost_to = a->events[a->count - 1].seq;
        w->report.lost += a->count;
    }
    w->append_bytes -= transaction_append_size(a);
    w->append_count--;
    memmove(w->appends, w->appends + 1, w->append_count * sizeof(w->appends[0]));
    worker_publish(w);
    worker_answer_error(w, &a->request, ERROR_STORAGE);
}

static void keep(struct worker *w, struct storage_request *r)
{
    r->error = ERROR_NONE;
    if (r->op == STORAGE_APPEND) {
        w->appends[w->append_count++] = (struct storage_append *)r;
        w->append_bytes += transaction_append_size((struct storage_append *)r);
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
            worker_answer(w, r);
        else if (operations[r->op].kept)
            keep(w, r);
        else
            w->batch[left++] = r;
    }
    w->batch_count = left;
    while (w->append_count > KEPT_APPENDS || (w->append_count > 0 && w->append_bytes > KEPT_BYTES))
        transaction_give_up_oldest(w);
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
        worker_answer_error(w, r, ERROR_STORAGE);
    }
    w->batch_count = left;
}

static int begin_reading(struct worker *w)
{
    int rc = worker_open_file(w);

    if (rc == SQLITE_OK)
        rc = database_begin_reading(&w->database);
    return rc == SQLITE_OK && w->stale ? refresh(w) : rc;
}

static void read_all(struct worker *w)
{
    int rc = w->batch_count ? begin_reading(w) : SQLITE_OK;

    for (unsigned i = 0; i < w->batch_count; i++) {
        struct storage_request *r = w->batch[i];
        beat();
        int one = rc == SQLITE_OK ? operations[r->op].carry_out(w, r, true) : rc;
        r->error = one == SQLITE_OK ? r->error : ERROR_STORAGE;
        worker_answer(w, r);
    }
    w->batch_count = 0;
    database_rollback(&w->database);
}

void transaction_fail(struct worker *w, int rc)
{
    note_failure(w);
    worker_publish(w);
    if (database_fault(rc) == FAULT_HANDLE || database_fault(rc) == FAULT_CORRUPT)
        worker_close_file(w);
    keep_all(w);
    refuse_all(w);
    read_all(w);
}

void transaction_run(struct worker *w)
{
    int rc = transaction_try(w);

    if (database_fault(rc) == FAULT_CORRUPT && worker_set_aside(w))
        rc = transaction_try(w);
    if (rc == SQLITE_OK)
        transaction_succeed(w);
    else
        transaction_fail(w, rc);
}
