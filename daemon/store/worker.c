/*
 * The store's thread. A turn takes all that waits in the mailbox and carries it out as one transaction
 * (transaction.c); between the turns, one small chore at a time (chores.c).
 */
#include "worker.h"
#include "beat.h"
#include "log.h"
#include "mailbox.h"
#include "worker_state.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#define TURN_BYTES \
    (3u << 20)      /* events in a transaction: it must fit into the page cache, or is written twice */
#define HELD_MS 200 /* how long finished appends wait for company */
#define DUE_MS 1000 /* what cannot be done yet is looked at again */

/* A clock that has jumped must go on for so long before anything is thrown away because of its age. */
#define CLOCK_JUMP_MS 60000
#define CLOCK_STEADY_MS 3600000

/* ---- clocks ---- */

static int64_t clock_ms(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int64_t worker_wall_ms(void)
{
    return clock_ms(CLOCK_REALTIME);
}

int64_t worker_mono_ms(void)
{
    return clock_ms(CLOCK_MONOTONIC);
}

static void watch_clock(struct worker *w)
{
    int64_t boot = clock_ms(CLOCK_BOOTTIME), offset = worker_wall_ms() - boot;
    int64_t moved = offset > w->clock_offset ? offset - w->clock_offset : w->clock_offset - offset;

    if (moved > CLOCK_JUMP_MS)
        w->steady_from = boot + CLOCK_STEADY_MS;
    w->clock_offset = offset;
}

bool worker_clock_is_steady(const struct worker *w)
{
    return clock_ms(CLOCK_BOOTTIME) >= w->steady_from;
}

/* ---- answering ---- */

static void flush_held(struct worker *w)
{
    mailbox_post_all(w->port->out, w->held, w->held_count); /* it holds all that can be under way */
    w->held_count = 0;
}

/* How much a request adds to the transaction. */
static size_t request_size(const struct storage_request *r)
{
    if (r->op == STORAGE_QUEUE)
        return ((const struct storage_queue *)r)->frame_len;
    return r->op == STORAGE_APPEND ? transaction_append_size((const struct storage_append *)r) : 0;
}

/* Nobody waits for a small append that is finished but the hub's count: some go back together, with one wake.
 */
static bool may_be_held(const struct storage_request *r)
{
    return r->op == STORAGE_APPEND && r->error == ERROR_NONE && request_size(r) < BULK_MIN;
}

void worker_answer(struct worker *w, struct storage_request *r)
{
    if (w->held_count == 0)
        w->held_until = worker_mono_ms() + HELD_MS;
    w->held[w->held_count++] = r;
    if (w->held_count == HELD || !may_be_held(r))
        flush_held(w);
}

void worker_answer_error(struct worker *w, struct storage_request *r, enum error e)
{
    r->error = e;
    worker_answer(w, r);
}

static void read_options(struct worker *w)
{
    pthread_mutex_lock(&w->port->lock);
    w->options = w->port->options;
    pthread_mutex_unlock(&w->port->lock);
    w->attachments.max = w->options.attachments_max;
    w->bulk.file_max = bulk_file_max(w->options.history_max_bytes);
}

/* Before the answers of a transaction: who has one finds it in the report. */
void worker_publish(struct worker *w)
{
    w->report.oldest = w->open ? w->history.oldest : w->report.oldest;
    w->report.queued = w->open ? w->outbox.count : w->report.queued;
    w->report.attachment_bytes = w->attachments.total;
    w->report.attached = w->attachments.written;
    w->report.evicted = w->attachments.evicted;
    w->report.attach_failed = w->attachments.failed;
    pthread_mutex_lock(&w->port->lock);
    w->port->report = w->report;
    pthread_mutex_unlock(&w->port->lock);
    if (w->told_failed == w->report.failed || !w->changed_home)
        return;
    w->told_failed = w->report.failed;
    w->changed_home = false;
    mailbox_post(w->port->out, &w->port->changed);
}

/* ---- the file ---- */

void worker_close_file(struct worker *w)
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
    int rc = history_open(&w->history, &w->database, &w->bulk, &w->blocks);

    if (rc == SQLITE_OK)
        rc = blocks_open(&w->blocks, &w->database, &w->bulk);
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
int worker_open_file(struct worker *w)
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
        worker_close_file(w);
    return rc;
}

/*
 * Where nothing is known of the numbers that were given: nobody has given as many as there were milliseconds
 * since 1970.
 */
static void start_at_now(struct worker *w, uint64_t known)
{
    uint64_t given = w->options.given;

    w->seq = w->written = given ? higher(given, known) : higher((uint64_t)worker_wall_ms(), known);
    w->started = true;
}

/* false: it cannot be set aside now. */
bool worker_set_aside(struct worker *w)
{
    uint64_t reserved = database_salvage_reserved(&w->database);

    log_limited(LOG_ERR, "the database in %s is damaged: %s", w->options.folder, w->database.detail);
    worker_close_file(w);
    if (database_set_aside(&w->database) < 0)
        return false;
    if (!w->started)
        start_at_now(w, reserved);
    w->damaged = true;
    return true;
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
        attachments_trim(&w->attachments);
        mailbox_post(w->port->out, note);
        break;
    case WORKER_CHANGED:
        w->changed_home = true;
        break;
    case WORKER_EXPIRED_NOTE:
        w->expired_home = true;
        break;
    case WORKER_ALIVE:
        atomic_store(&w->port->asked, false);
        break;
    }
}

static void put_aside(struct worker *w, struct storage_request *r)
{
    r->next = NULL;
    *w->attaching_end = r;
    w->attaching_end = &r->next;
}

static void take(struct worker *w)
{
    void *item;
    size_t size = 0;

    while (w->batch_count < TURN && size < TURN_BYTES && mailbox_take(w->port->in, &item, 1) == 1) {
        struct storage_request *r = item;
        if ((int)r->op >= WORKER_STOP)
            take_note(w, r);
        else if (r->op == STORAGE_ATTACH)
            put_aside(w, r);
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

    if (at == w->timer_at)
        return;
    w->timer_at = at;
    if (at != INT64_MAX) {
        t.it_value = (struct timespec){.tv_sec = at / 1000, .tv_nsec = at % 1000 * 1000000};
    }
    timerfd_settime(w->timer, TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &t, NULL);
}

static int wait_ms(const struct worker *w)
{
    int64_t now = worker_mono_ms(), until = INT64_MAX;

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
    if (p[1].revents) {
        w->timer_at = 0; /* to be set again */
        if (read(w->timer, &ticks, sizeof(ticks)) < 0)
            ticks = 0; /* the clock was set, which is looked at anyhow */
    }
    watch_clock(w);
}

/* Files have no part in a transaction, and a large one must not hold one up. */
static void attach(struct worker *w)
{
    struct storage_request *next, *first = w->attaching;

    w->attaching = NULL;
    w->attaching_end = &w->attaching;
    for (struct storage_request *r = first; r; r = next) {
        next = r->next;
        beat();
        attachments_store(&w->attachments, (struct storage_attach *)r);
        worker_publish(w);
        worker_answer(w, r);
    }
}

static void turn(struct worker *w)
{
    take(w);
    bool retry = w->report.failed && worker_mono_ms() >= w->retry_at;
    if (w->batch_count > 0 || retry || w->stopping)
        transaction_run(w);
    attach(w);
    if (w->held_count > 0 && worker_mono_ms() >= w->held_until)
        flush_held(w);
}

/* The last turn was made: what could not be written will not be. */
static void end(struct worker *w)
{
    struct storage_request *next;

    while (w->append_count > 0)
        transaction_give_up_oldest(w);
    for (struct storage_request *r = w->kept; r; r = next) {
        next = r->next;
        worker_answer_error(w, r, ERROR_STORAGE);
    }
    flush_held(w);
    worker_publish(w);
}

static void worker_deinit(struct worker *w)
{
    worker_close_file(w);
    history_deinit(&w->history);
    blocks_deinit(&w->blocks);
    reader_deinit(&w->reader);
    database_deinit(&w->database);
    free(w->refused);
    attachments_deinit(&w->attachments);
    if (w->timer >= 0)
        close(w->timer);
}

static int worker_init(struct worker *w, struct worker_port *p)
{
    *w =
        (struct worker){.port = p, .timer = -1, .changed_home = true, .expired_home = true, .due = INT64_MAX};
    w->kept_end = &w->kept;
    w->attaching_end = &w->attaching;
    read_options(w);
    w->reader.kept_off = !w->options.history;
    w->clock_offset = worker_wall_ms() - clock_ms(CLOCK_BOOTTIME);
    w->timer = timerfd_create(CLOCK_REALTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (w->timer < 0)
        return -errno;
    int r = attachments_init(&w->attachments, w->options.folder, w->options.attachments_max);
    return r < 0 ? r : database_init(&w->database, w->options.folder);
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
    int rc = transaction_try(w);
    if (database_fault(rc) == FAULT_NEWER)
        return -ENOTSUP;
    if (database_fault(rc) == FAULT_CORRUPT && worker_set_aside(w))
        rc = transaction_try(w);
    if (rc == SQLITE_OK) {
        transaction_succeed(w);
        return 0;
    }
    if (!w->started)
        start_at_now(w, known_seq(w));
    transaction_fail(w, rc);
    return 0;
}

static int tell_opened(struct worker *w, int result)
{
    if (result < 0)
        snprintf(w->port->why, sizeof(w->port->why), "%s",
                 w->database.detail[0] ? w->database.detail : strerror(-result));
    w->port->result = result;
    w->port->seq = w->seq;
    w->port->stored = w->open ? w->history.last : w->seq;
    worker_publish(w);
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
    attachments_trim(&w->attachments);
    worker_publish(w);
    while (!w->stopping) {
        beat();
        if (!chores_do(w))
            wait_for_something(w);
        turn(w);
        worker_publish(w);
    }
    end(w);
    worker_deinit(w);
    return NULL;
}

void *worker_run(void *shared)
{
    struct worker_port *p = shared;
    struct worker *w = malloc(sizeof(*w));

    beat_into(&p->beats);
    if (!w) {
        p->result = -ENOMEM;
        snprintf(p->why, sizeof(p->why), "%s", strerror(ENOMEM));
        sem_post(&p->opened);
        return NULL;
    }
    run(w, p);
    free(w);
    return NULL;
}
