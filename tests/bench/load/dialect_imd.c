/* imd, and whoever speaks as it does: MessagePack over a websocket in, one JSON object a line out. */
#include "dialect.h"
#include "failure.h"
#include "link.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- The frame ---- */

static char *put(char *to, const char *bytes, size_t len)
{
    memcpy(to, bytes, len);
    return to + len;
}

static char *put_string_header(char *to, size_t len)
{
    if (len < 32) {
        *to++ = (char)(0xa0 | len);
    } else if (len < 65536) {
        *to++ = (char)(len < 256 ? 0xd9 : 0xda);
        if (len >= 256)
            *to++ = (char)(len >> 8);
        *to++ = (char)len;
    } else {
        *to++ = (char)0xdb;
        for (int shift = 24; shift >= 0; shift -= 8)
            *to++ = (char)(len >> shift);
    }
    return to;
}

static char *put_string(char *to, const char *text)
{
    return put(put_string_header(to, strlen(text)), text, strlen(text));
}

#define BODY_MAX(payload) (256 + (payload))

/* The envelope {code: 0, data: {…, content: {message: payload}}}; the payload is its end. */
static char *put_envelope(char *to, size_t payload, size_t *type_at)
{
    const char *start = to;

    *to++ = (char)0x82;
    to = put_string(to, "code");
    *to++ = 0;
    to = put_string(to, "data");
    *to++ = (char)0x86;
    to = put_string(to, "messageType");
    to = put_string(to, "TxtMsg");
    *type_at = (size_t)(to - start) - strlen("TxtMsg");
    to = put_string(to, "from");
    to = put_string(to, "alice");
    to = put_string(to, "to");
    to = put_string(to, "me");
    to = put_string(to, "conversationType");
    *to++ = 1;
    to = put_string(to, "sentTime");
    to = put(to, "\xcf\x00\x00\x01\x8b\xcf\xe5\x68\x7b", 9); /* 1700000000123 */
    to = put_string(to, "content");
    *to++ = (char)0x81;
    to = put_string(to, "message");
    to = put_string_header(to, payload);
    payload_fill(to, payload);
    return to + payload;
}

static struct frame imd_frame(size_t size)
{
    size_t payload = payload_len(size), body_len, header, type_at;
    struct frame f = {.bytes = malloc(WEBSOCKET_HEADER_MAX + BODY_MAX(payload))};
    char *body = malloc(BODY_MAX(payload));

    if (!f.bytes || !body)
        fail("no memory");
    body_len = (size_t)(put_envelope(body, payload, &type_at) - body);
    header = websocket_header(f.bytes, body_len);
    memcpy(f.bytes + header, body, body_len);
    free(body);
    f.len = header + body_len;
    f.counter_at = f.len - COUNTER_DIGITS;
    f.type_at = header + type_at;
    return f;
}

static struct record imd_record(size_t size)
{
    struct record r;

    record_init(&r, size, "", 0, "", true);
    return r;
}

/* ---- Subscribers ---- */

#define SUBSCRIBE \
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"subscribe\",\"params\":{\"events\":[\"MESSAGE\"]"

static void imd_subscribe(int fd, bool filter)
{
    static const char ANSWER[] = "{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{";
    const char *request =
        filter ? SUBSCRIBE ",\"filter\":{\"messageType\":[\"TxtMsg\"]}}}\n" : SUBSCRIBE "}}\n";
    char answer[4096];

    link_write(fd, request, strlen(request));
    link_read_to(fd, '\n', answer, sizeof answer);
    errno = 0;
    if (strncmp(answer, ANSWER, sizeof ANSWER - 1) != 0)
        fail("the answer to subscribe: %s", answer);
}

/* A GAP is a loss that is announced: without it the window would wait for what never comes. */
static long imd_other(int fd, const char *bytes, size_t len, uint64_t first_seq, uint64_t *lost_to)
{
    static const char GAP[] = "{\"jsonrpc\":\"2.0\",\"method\":\"GAP\",\"params\":{\"from\":",
                      TO[] = ",\"to\":";
    const char *end = memchr(bytes, '\n', len), *to;
    uint64_t seq;

    if (!end)
        return 0;
    if ((size_t)(end - bytes) < sizeof GAP || memcmp(bytes, GAP, sizeof GAP - 1) != 0)
        return -1;
    to = memmem(bytes, (size_t)(end - bytes), TO, sizeof TO - 1);
    if (!to)
        return -1;
    to += sizeof TO - 1;
    if (digits_read(to, (size_t)(end - to), &seq) && first_seq && seq >= first_seq + *lost_to)
        *lost_to = seq + 1 - first_seq;
    return end + 1 - bytes;
}

/* ---- Publisher ---- */

static void imd_open(struct publisher *p, int fd, SSL_CTX *tls)
{
    websocket_accept(&p->websocket, fd, tls);
}

/* Heartbeats: nothing else comes when only we send. */
static void imd_input(struct publisher *p)
{
    websocket_read(&p->websocket, websocket_acknowledge);
}

const struct dialect dialect_imd = {
    .name = "imd",
    .accepts = true,
    .record = imd_record,
    .frame = imd_frame,
    .subscribe = imd_subscribe,
    .other = imd_other,
    .open = imd_open,
    .input = imd_input,
};
