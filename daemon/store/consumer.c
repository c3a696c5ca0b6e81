/* See consumer.h. A row that fails its check makes the file count as damaged: who trusts a wrong cursor
 * misses events without being told. */
#include "consumer.h"
#include "checksum.h"

#include <stdbool.h>

#define CONSUMER_SEED 0x636f6e73756d6572

static const char *const sql[CONSUMER_STATEMENTS] = {
    [CONSUMER_GET] = "SELECT seq, time_ms, sum FROM consumer WHERE name = ?1",
    [CONSUMER_PUT] = "INSERT OR REPLACE INTO consumer VALUES(?1, ?2, ?3, ?4)",
    [CONSUMER_COUNT_ROWS] = "SELECT count(*) FROM consumer",
};

int consumers_open(struct consumers *c, struct database *d)
{
    return database_prepare(d, sql, CONSUMER_STATEMENTS, c->statements);
}

void consumers_close(struct consumers *c)
{
    database_finalize(c->statements, CONSUMER_STATEMENTS);
}

static uint64_t row_sum(const struct storage_consumer *r, uint64_t seq, int64_t time_ms)
{
    uint64_t numbers[] = {seq, (uint64_t)time_ms};

    return checksum_add(checksum_add(CONSUMER_SEED, r->name, r->name_len), numbers, sizeof(numbers));
}

static int get(struct consumers *c, const struct storage_consumer *r, bool *found, uint64_t *seq)
{
    sqlite3_stmt *s = c->statements[CONSUMER_GET];

    *found = false;
    bind_bytes(s, 1, r->name, r->name_len);
    int rc = statement_row(s);
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? SQLITE_OK : rc;
    *found = true;
    *seq = column_seq(s, 0);
    bool right = row_sum(r, *seq, sqlite3_column_int64(s, 1)) == column_seq(s, 2);
    sqlite3_reset(s);
    return right ? SQLITE_OK : SQLITE_CORRUPT;
}

static int put(struct consumers *c, const struct storage_consumer *r, uint64_t seq, int64_t now_ms)
{
    sqlite3_stmt *s = c->statements[CONSUMER_PUT];

    bind_bytes(s, 1, r->name, r->name_len);
    bind_seq(s, 2, seq);
    bind_int(s, 3, now_ms);
    bind_seq(s, 4, row_sum(r, seq, now_ms));
    return statement_run(s);
}

static int make(struct consumers *c, struct storage_consumer *r, int64_t now_ms)
{
    int64_t count;
    int rc = statement_int(c->statements[CONSUMER_COUNT_ROWS], 0, &count);

    if (rc != SQLITE_OK)
        return rc;
    r->request.error = count < CONSUMERS_MAX ? ERROR_NONE : ERROR_BUSY;
    return r->request.error ? SQLITE_OK : put(c, r, r->seq, now_ms);
}

int consumers_move(struct consumers *c, struct storage_consumer *r, int64_t now_ms)
{
    uint64_t seq = 0;
    bool found;
    int rc = get(c, r, &found, &seq);

    r->request.error = ERROR_NONE;
    if (rc != SQLITE_OK)
        return rc;
    if (!found && r->create)
        return make(c, r, now_ms);
    if (!found) {
        r->request.error = ERROR_NOT_FOUND;
        return SQLITE_OK;
    }
    if (!r->create && r->seq > seq)
        return put(c, r, r->seq, now_ms);
    r->seq = seq;
    return SQLITE_OK;
}
