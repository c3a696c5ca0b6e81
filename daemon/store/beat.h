/*
 * Beats: the steps that a thread has made, counted so that another can see whether it gets on. A long piece
 * of work has a beat in each of its steps: each SQLite call that reads or writes, each piece of a file.
 */
#ifndef IMD_BEAT_H
#define IMD_BEAT_H

#include <stdatomic.h>

struct sqlite3;

void beat_into(atomic_uint_fast64_t *count); /* where the calling thread counts from now on */
void beat(void);                             /* nothing, on a thread that does not count */

void beat_with_statements(struct sqlite3 *handle); /* also within a statement */
void beat_with_files(void); /* whenever SQLite has read or written; once for the process */

#endif
