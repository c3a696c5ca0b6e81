/* What the files of the worker share: worker.c, transaction.c and chores.c. Store thread only. */
#ifndef IMD_WORKER_STATE_H
#define IMD_WORKER_STATE_H

#include "attachments.h"
#include "block.h"
#include "bulk.h"
#include "consumer.h"
#include "database.h"
#include "history.h"
#include "outbox.h"
#include "reader.h"
#include "worker.h"

#include <stdbool.h>
#include <stdint.h>

#define TURN 256 /* requests in a transaction */
#define HELD 8   /* finished appends that wait for company on their way back */
#define KEPT_APPENDS 16

struct worker {
    struct worker_port *port;
    struct store_options options;
    struct storage_report report;
    struct database database;
    struct bulk bulk;
    struct history history;
    struct blocks blocks;
    struct reader reader;
    struct consumers consumers;
    struct outbox outbox;
    struct attachments attachments;
    int timer;        /* wall clock */
    int64_t timer_at; /* what it is set to; 0: unknown */

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

    struct storage_request *attaching, **attaching_end; /* carried out behind the transaction */

    void *held[HELD]; /* struct storage_request */
    unsigned held_count;
    int64_t held_until, retry_at; /* monotonic */
    bool told_failed;             /* what the loop was told last */
    bool changed_home, expired_home;

    int64_t clock_offset, steady_from; /* wall - boot; boot */
    int64_t due, due_as_of;            /* wall: the next chore; when that was found out */
};

static inline uint64_t higher(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* ---- worker.c ---- */

int64_t worker_wall_ms(void);
int64_t worker_mono_ms(void);
bool worker_clock_is_steady(const struct worker *w); /* it has not jumped lately */

void worker_answer(struct worker *w, struct storage_request *r);
void worker_answer_error(struct worker *w, struct storage_request *r, enum error e);
/* Before the answers of a transaction: who has one finds it in the report. */
void worker_publish(struct worker *w);

int worker_open_file(struct worker *w); /* a damaged file stays open; the detail says what is wrong */
void worker_close_file(struct worker *w);
bool worker_set_aside(struct worker *w); /* false: it cannot be, now */

/* ---- transaction.c ---- */

/* Carries out what is kept and the batch, as one transaction; then one of the next two. */
int transaction_try(struct worker *w);
void transaction_succeed(struct worker *w);
void transaction_fail(struct worker *w, int rc);
void transaction_run(struct worker *w);           /* all of that */
void transaction_abort(struct worker *w, int rc); /* takes back what was begun; rc says why */

void transaction_give_up_oldest(struct worker *w); /* of the appends that are kept */
size_t transaction_append_size(const struct storage_append *a);

/* ---- chores.c ---- */

bool chores_do(struct worker *w); /* one that is due, if any; whether there was one */

#endif
