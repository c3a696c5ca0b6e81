#include "answer.h"
#include "counter.h"
#include "failure.h"
#include "record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID_DIGITS 15 /* 1, four of the slot, ten of the number */
#define NUMBER_SPAN 10000000000u
#define BEFORE_ID "{\"jsonrpc\":\"2.0\",\"id\":"
#define BEFORE_CONTENT                                                                          \
    ",\"method\":\"send\",\"params\":{\"message\":{\"messageType\":\"TxtMsg\",\"from\":\"me\"," \
    "\"to\":\"alice\",\"conversationType\":1,\"sentTime\":1700000000123,"
#define CONTENT "\"content\":{\"message\":\""
#define AFTER_PAYLOAD "\"}}}}\n"
#define SUCCESS ",\"result\":{\"code\":0,"

void send_template_init(struct send_template *t, size_t size)
{
    size_t payload = payload_len(size);
    int before;

    *t = (struct send_template){.bytes = malloc(512 + payload), .id_at = sizeof BEFORE_ID - 1};
    if (!t->bytes)
        fail("no memory");
    before = sprintf(t->bytes, BEFORE_ID "%0*d" BEFORE_CONTENT CONTENT, ID_DIGITS, 0);
    payload_fill(t->bytes + before, payload);
    t->content = t->bytes + before - (sizeof CONTENT - 1);
    t->content_len = sizeof CONTENT - 1 + payload - COUNTER_DIGITS;
    t->counter_at = (size_t)before + payload - COUNTER_DIGITS;
    strcpy(t->bytes + (size_t)before + payload, AFTER_PAYLOAD);
    t->len = (size_t)before + payload + sizeof AFTER_PAYLOAD - 1;
}

void send_template_deinit(struct send_template *t)
{
    free(t->bytes);
    *t = (struct send_template){0};
}

void send_write(const struct send_template *t, char *to, struct send_id id)
{
    struct counter c;

    memcpy(to, t->bytes, t->len);
    counter_set(&c, 100000u * (uint64_t)NUMBER_SPAN / 10 + id.slot * (uint64_t)NUMBER_SPAN + id.number);
    memcpy(to + t->id_at, c.text + COUNTER_DIGITS - ID_DIGITS, ID_DIGITS);
    counter_set(&c, id.number);
    memcpy(to + t->counter_at, c.text, COUNTER_DIGITS);
}

bool answer_id(const char *line, size_t len, struct send_id *id)
{
    const size_t at = sizeof BEFORE_ID - 1;
    uint64_t n;

    if (len < at + ID_DIGITS + 1 || memcmp(line, BEFORE_ID, at) != 0 ||
        digits_read(line + at, ID_DIGITS, &n) != ID_DIGITS)
        return false;
    id->slot = (unsigned)(n / NUMBER_SPAN % SLOTS_MAX);
    id->number = n % NUMBER_SPAN;
    return true;
}

bool answer_check(struct send_template *t, const char *line, size_t len, struct send_id id)
{
    const size_t at = sizeof BEFORE_ID - 1 + ID_DIGITS, whole = t->content_len + COUNTER_DIGITS;
    struct counter c;

    if (len < at + sizeof SUCCESS - 1 + whole || memcmp(line + at, SUCCESS, sizeof SUCCESS - 1) != 0)
        return false;
    if (t->answer_at + whole > len || memcmp(line + t->answer_at, t->content, t->content_len) != 0) {
        const char *found = memmem(line + at, len - at, t->content, t->content_len);

        t->answer_at = found ? (size_t)(found - line) : 0;
        if (!found || t->answer_at + whole > len)
            return false;
    }
    counter_set(&c, id.number);
    return memcmp(line + t->answer_at + t->content_len, c.text, COUNTER_DIGITS) == 0;
}
