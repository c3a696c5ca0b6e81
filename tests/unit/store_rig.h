/*
 * What the tests of the store share: a folder of their own, a loop, a store, and requests that are waited
 * for.
 */
#ifndef STORE_RIG_H
#define STORE_RIG_H

#include "loop.h"
#include "store.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RIG_EXPIRED 512

struct rig {
    char folder[64]; /* the state folder is `state` in it */
    char state[80];
    struct loop *loop;
    struct store *store;
    struct storage storage;
    struct store_options options;
    uint64_t seq, stored; /* as the store gave it; then counted up by rig_append */
    char why[256];
    unsigned changed;
    struct outbox_entry expired[RIG_EXPIRED];
    unsigned expired_count;
};

int rig_set_up(void **state); /* cmocka; nothing is started */
int rig_tear_down(void **state);

int rig_start(struct rig *r); /* what store_new gives */
void rig_stop(struct rig *r); /* a clean end */
void rig_turn(struct rig *r); /* until one turn of the loop brought something back, or a moment passed */

/* Requests: posted, and waited for until they are done; they give the error. */
enum error rig_do(struct rig *r, struct storage_request *request);

/* One batch of `count` events, from seq + 1 on. Its lines are those of rig_line. Not waited for. */
struct rig_batch;
struct rig_batch *rig_post_append(struct rig *r, unsigned count, int64_t time_ms);
enum error rig_wait_append(struct rig *r, struct rig_batch *b); /* and frees it */
enum error rig_append(struct rig *r, unsigned count, int64_t time_ms);

/* The line of event seq: MESSAGE, from one of RIG_SENDERS. Returns its length. */
#define RIG_LINE 512
#define RIG_SENDERS 10
size_t rig_line(char line[RIG_LINE], uint64_t seq);

struct storage_read rig_read_of(uint64_t after, uint64_t head); /* all, upwards, with gaps */
/* Reads on until `through` is all; the lines, NUL-terminated, to be freed. */
char *rig_read_all(struct rig *r, struct storage_read read, unsigned *count);

/*
 * Reads all of 1 .. head: each number is told once, in order: by its own line, byte by byte, or by a GAP.
 * Gives how many by their lines; *gaps (may be NULL): how many GAPs.
 */
uint64_t rig_check_all(struct rig *r, uint64_t head, unsigned *gaps);

struct filter *rig_filter(const char *from, const char *type, const char *signal); /* NULL: not given */

enum error rig_queue(struct rig *r, const char *id, int64_t expires_ms, struct storage_queue *out);
const uint8_t *rig_frame(const char *id, size_t *len); /* what rig_queue queues under an id; static */
struct storage_report rig_report(struct rig *r);

/* In the database itself, while no store has it open. */
void rig_execute(struct rig *r, const char *sql);
int64_t rig_now(void);

#endif
