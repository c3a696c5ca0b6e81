#include "record.h"
#include "failure.h"

#include <errno.h>
#include <stdlib.h>

#define BEFORE_SEQ "{\"jsonrpc\":\"2.0\",\"method\":\"MESSAGE\",\"params\":{\"seq\":"
#define SEQ "1000000"
#define BEFORE_TIME ",\"time\":"
#define TIME "1700000000123"
#define BEFORE_PAYLOAD                                                                   \
    ",\"code\":0,\"data\":{\"messageType\":\"TxtMsg\",\"from\":\"alice\",\"to\":\"me\"," \
    "\"conversationType\":1,"                                                            \
    "\"sentTime\":1700000000123,\"content\":{\"message\":\""
#define AFTER_PAYLOAD "\"}}}}\n"
#define AROUND (sizeof(BEFORE_SEQ SEQ BEFORE_TIME TIME BEFORE_PAYLOAD AFTER_PAYLOAD) - 1)

size_t payload_len(size_t size)
{
    errno = 0;
    if (size < AROUND + COUNTER_DIGITS)
        fail("--size: at least %zu", AROUND + COUNTER_DIGITS);
    return size - AROUND;
}

/* Neighbours differ, and so do places that are a round number of bytes apart. */
void payload_fill(char *to, size_t len)
{
    for (size_t i = 0; i < len; i++)
        to[i] = (char)('a' + (i * 7 + i / 26) % 26);
    memset(to + len - COUNTER_DIGITS, '0', COUNTER_DIGITS);
}

static char *put(char *to, const char *bytes, size_t len)
{
    memcpy(to, bytes, len);
    return to + len;
}

void record_init(struct record *r, size_t size, const char *prefix, size_t prefix_len, const char *suffix,
                 bool varies)
{
    size_t payload = payload_len(size);
    char *at;

    *r = (struct record){.bytes = malloc(prefix_len + size + strlen(suffix))};
    if (!r->bytes)
        fail("no memory");
    at = put(r->bytes, prefix, prefix_len);
    at = put(at, BEFORE_SEQ, sizeof BEFORE_SEQ - 1);
    r->head = (size_t)(at - r->bytes);
    if (varies)
        r->seq_at = r->head;
    else
        at = put(at, SEQ, sizeof SEQ - 1);
    at = put(at, BEFORE_TIME, sizeof BEFORE_TIME - 1);
    if (varies)
        r->time_at = (size_t)(at - r->bytes);
    at = put(at, TIME, sizeof TIME - 1);
    at = put(at, BEFORE_PAYLOAD, sizeof BEFORE_PAYLOAD - 1);
    payload_fill(at, payload);
    at += payload;
    r->counter_at = (size_t)(at - r->bytes) - COUNTER_DIGITS;
    at = put(at, AFTER_PAYLOAD, sizeof AFTER_PAYLOAD - 1);
    at = put(at, suffix, strlen(suffix));
    r->len = (size_t)(at - r->bytes);
}

void record_deinit(struct record *r)
{
    free(r->bytes);
    *r = (struct record){0};
}

bool record_time_check(struct record *r, const char *digits)
{
    uint64_t time;

    if (digits_read(digits, TIME_DIGITS, &time) != TIME_DIGITS)
        return false;
    memcpy(r->time, digits, TIME_DIGITS);
    return true;
}
