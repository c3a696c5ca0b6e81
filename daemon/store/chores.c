/* Chores: what is done between transactions, one small step at a time, each a transaction of its own. */
#include "worker_state.h"

#include "mailbox.h"

#include <poll.h>

#define BLOCKS_URGENT (2 * BLOCK_SEGMENTS)
#define ANSWERED_FACTOR 10 /* finished messages remembered, as multiple of OutboxMax */

/* What a chore found to do, and did. */
static int expire(struct worker *w, bool *did)
{
    struct worker_expired *e = &w->port->expired;
    int rc = outbox_expire(&w->outbox, worker_wall_ms(), e->entries, WORKER_EXPIRED, &e->count);

    *did = e->count > 0;
    return rc;
}

static bool expire_is_due(struct worker *w, bool busy)
{
    int64_t due = INT64_MAX;

    if (busy || !w->expired_home || outbox_next_due(&w->outbox, &due) != SQLITE_OK)
        return false;
    w->due = due < w->due ? due : w->due;
    return due <= worker_wall_ms();
}

static void expire_done(struct worker *w)
{
    w->expired_home = false;
    mailbox_post(w->port->out, &w->port->expired.note);
}

static int64_t old_ms(const struct worker *w, uint64_t age)
{
    int64_t now = worker_wall_ms();

    return worker_clock_is_steady(w) && age < (uint64_t)now ? now - (int64_t)age : INT64_MIN;
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

/* What cannot be read now is for later. */
static int make_block(struct worker *w, bool *did)
{
    int rc = blocks_make(&w->blocks);

    *did = rc == SQLITE_OK;
    return rc == DATABASE_UNREADABLE ? SQLITE_OK : rc;
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

    if (database_size(&w->database, &w->report.bytes, &used) != SQLITE_OK)
        return 0;
    w->report.bytes += w->bulk.total;
    used += w->bulk.total;
    if (max == 0)
        return 0;
    return used > max ? used - max : 0;
}

static int prune_size(struct worker *w, bool *did)
{
    uint64_t events = 0, oldest = w->history.oldest;
    int rc = history_prune(&w->history, INT64_MIN, worker_wall_ms(), excess(w), &events);

    *did = rc == SQLITE_OK && w->history.oldest != oldest;
    w->report.pruned += events;
    return rc;
}

static bool size_is_over(struct worker *w, bool busy)
{
    uint64_t over = excess(w);

    return over > (busy ? w->options.history_max_bytes / 10 : 0) && w->history.oldest != 0;
}

static void prune_done(struct worker *w)
{
    bulk_sweep(&w->bulk);
}

static int prune_age(struct worker *w, bool *did)
{
    uint64_t events = 0, oldest = w->history.oldest;
    int rc =
        history_prune(&w->history, old_ms(w, w->options.history_max_age_ms), worker_wall_ms(), 0, &events);

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
    int64_t now = worker_wall_ms();
    return oldest < old_ms(w, age) || (oldest > now && old_ms(w, age) != INT64_MIN);
}

/* busy: requests wait; then only what cannot be put off is due. */
static const struct chore {
    bool (*is_due)(struct worker *w, bool busy);
    int (*step)(struct worker *w, bool *did);
    void (*done)(struct worker *w); /* after its commit, when it did something */
} chores[] = {
    {.is_due = size_is_over, .step = prune_size, .done = prune_done},
    {.is_due = block_is_due, .step = make_block},
    {.is_due = expire_is_due, .step = expire, .done = expire_done},
    {.is_due = forget_is_due, .step = forget},
    {.is_due = age_is_over, .step = prune_age, .done = prune_done},
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
    transaction_abort(w, rc);
    return rc;
}

/* The next turn finds out what is to be done about a fault. */
static bool do_chore(struct worker *w, const struct chore *c)
{
    bool did = false;
    int rc = transact(w, c, &did);

    if (rc != SQLITE_OK) {
        transaction_fail(w, rc);
        w->retry_at = worker_mono_ms();
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
bool chores_do(struct worker *w)
{
    bool busy = is_busy(w);

    w->due = INT64_MAX;
    w->due_as_of = worker_wall_ms();
    for (size_t i = 0; i < sizeof(chores) / sizeof(chores[0]); i++)
        if (w->open && w->begun && !w->report.failed && chores[i].is_due(w, busy) && do_chore(w, &chores[i]))
            return true;
    return false;
}
