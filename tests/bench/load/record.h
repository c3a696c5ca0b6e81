/*
 * What each subscriber must get for a message, byte by byte: imd's event line, and around it what the dialect
 * puts there. All records of a run are the same but for the counter; imd's also differ in seq and time.
 */
#ifndef LOAD_RECORD_H
#define LOAD_RECORD_H

#include "counter.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TIME_DIGITS 13
#define SEQ_DIGITS_MAX 20

struct record {
    char *bytes; /* without the digits of a seq that varies */
    size_t len;
    size_t head;    /* so many bytes, which never vary, tell a record from something else */
    size_t seq_at;  /* before this byte stands a seq of any length; 0: none does */
    size_t time_at; /* a time of 13 digits; 0: it does not vary */
    size_t counter_at;
    char time[TIME_DIGITS]; /* the last one seen, for it seldom changes */
};

/* The line of `size` bytes, its seq counted as 7 digits, with prefix and suffix of the dialect. */
void record_init(struct record *r, size_t size, const char *prefix, size_t prefix_len, const char *suffix,
                 bool varies);
void record_deinit(struct record *r);

/* The payload of a message that makes a line of `size` bytes; its last 16 bytes are the counter. */
size_t payload_len(size_t size);
void payload_fill(char *to, size_t len);

enum record_result {
    RECORD_EXPECTED, /* whole, and it bears the expected counter */
    RECORD_COUNTER,  /* whole, and it bears another one */
    RECORD_PARTIAL,
    RECORD_OTHER, /* it does not begin like one */
    RECORD_TORN,
};

/* One record at the start of n bytes; len: of the record; seq: 0 when it has none. */
static inline enum record_result record_check(struct record *r, const char *bytes, size_t n,
                                              const struct counter *expected, size_t *len, uint64_t *seq);

/* ---- Inline: it runs once a delivery ---- */

bool record_time_check(struct record *r, const char *digits);

static inline enum record_result record_check(struct record *r, const char *bytes, size_t n,
                                              const struct counter *expected, size_t *len, uint64_t *seq)
{
    size_t digits = 0, from = 0;
    const char *rest = bytes;

    *seq = 0;
    if (n < r->len + (r->seq_at ? SEQ_DIGITS_MAX : 0)) {
        /* Rare: at the end of a read. */
        if (memcmp(bytes, r->bytes, n < r->head ? n : r->head) != 0)
            return RECORD_OTHER;
        if (n < r->len)
            return RECORD_PARTIAL;
    }
    if (r->seq_at) {
        if (memcmp(bytes, r->bytes, r->seq_at) != 0)
            return RECORD_OTHER;
        digits = digits_read(bytes + r->seq_at, SEQ_DIGITS_MAX, seq);
        if (n < r->len + digits)
            return RECORD_PARTIAL;
        rest = bytes + digits;
        from = r->seq_at;
        if (!digits || memcmp(rest + from, r->bytes + from, r->time_at - from) != 0)
            return RECORD_TORN;
        if (memcmp(rest + r->time_at, r->time, TIME_DIGITS) != 0 && !record_time_check(r, rest + r->time_at))
            return RECORD_TORN;
        from = r->time_at + TIME_DIGITS;
    }
    *len = r->len + digits;
    if (memcmp(rest + from, r->bytes + from, r->counter_at - from) != 0)
        return memcmp(rest, r->bytes, r->head) != 0 && !r->seq_at ? RECORD_OTHER : RECORD_TORN;
    from = r->counter_at + COUNTER_DIGITS;
    if (memcmp(rest + from, r->bytes + from, r->len - from) != 0)
        return RECORD_TORN;
    return memcmp(rest + r->counter_at, expected->text, COUNTER_DIGITS) == 0 ? RECORD_EXPECTED
                                                                             : RECORD_COUNTER;
}

#endif
