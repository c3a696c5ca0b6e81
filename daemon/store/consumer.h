/*
 * Consumers: named cursors. Functions that return int give SQLite's result code. Store thread only; within a
 * transaction of the caller's.
 */
#ifndef IMD_CONSUMER_H
#define IMD_CONSUMER_H

#include "database.h"
#include "storage.h"

enum consumer_statement { CONSUMER_GET, CONSUMER_PUT, CONSUMER_COUNT_ROWS, CONSUMER_STATEMENTS };

struct consumers {
    sqlite3_stmt *statements[CONSUMER_STATEMENTS];
};

int consumers_open(struct consumers *c, struct database *d);
void consumers_close(struct consumers *c);

/* Carries it out: r->request.error is what it is answered with. */
int consumers_move(struct consumers *c, struct storage_consumer *r, int64_t now_ms);

#endif
