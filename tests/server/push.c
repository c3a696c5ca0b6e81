#include "push.h"

#include <ctype.h>
#include <msgpack.h>
#include <stdlib.h>
#include <string.h>

#include "envelope.h"
#include "memory.h"
#include "server.h"

#define MAX_PUSH ((json_int_t)1 << 30)
#define MAX_FRAGMENTS 1000000
#define MAX_COUNT 10000000

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

struct frame *push_hex(enum frame_kind kind, const char *hex, size_t len)
{
    struct frame *frame = len % 2 ? NULL : frame_new(kind, NULL, len / 2);

    for (size_t i = 0; frame && i < len / 2; i++) {
        int high = hex_digit(hex[2 * i]);
        int low = hex_digit(hex[2 * i + 1]);

        if (high < 0 || low < 0)
            frame = frame_unref(frame);
        else
            frame_payload(frame)[i] = (unsigned char)(high << 4 | low);
    }
    return frame;
}

static const char *frame_fragment_list(struct frame *frame, json_t *list)
{
    size_t n = json_array_size(list);
    size_t *sizes = memory_get(n * sizeof(*sizes));
    bool fits = n <= MAX_FRAGMENTS;

    for (size_t i = 0; fits && i < n; i++) {
        json_t *size = json_array_get(list, i);

        fits = json_is_integer(size) && json_integer_value(size) >= 0;
        sizes[i] = (size_t)json_integer_value(size);
    }
    fits = fits && frame_split_at(frame, sizes, n);
    free(sizes);
    return fits ? NULL : "fragments: these sizes do not fit into the payload";
}

/* fragments may be NULL: none. */
static const char *frame_fragment(struct frame *frame, json_t *fragments, json_int_t pause_ms)
{
    json_int_t n = json_integer_value(fragments);

    if (pause_ms < 0 || pause_ms > 3600000)
        return "fragmentPauseMs: 0 to 3600000";
    frame->pause_ms = (unsigned)pause_ms;
    if (!fragments)
        return NULL;
    if (json_is_array(fragments))
        return frame_fragment_list(frame, fragments);
    if (!json_is_integer(fragments) || n < 1 || n > MAX_FRAGMENTS)
        return "fragments: a number from 1, or a list of sizes";
    frame_split_evenly(frame, (size_t)n);
    return NULL;
}

static void reply_sent(json_t *reply, size_t connections, size_t bytes)
{
    json_object_set_new(reply, "connections", json_integer((json_int_t)connections));
    json_object_set_new(reply, "bytes", json_integer((json_int_t)bytes));
}

/* Takes the frame over. */
static const char *push_frame(struct server *server, struct frame *frame, json_t *fragments,
                              json_int_t pause_ms, json_int_t count, json_t *reply)
{
    const char *wrong = frame_fragment(frame, fragments, pause_ms);
    size_t n = 0;

    if (!wrong && (count < 0 || count > MAX_COUNT))
        wrong = "count: 0 to 10000000";
    for (json_int_t i = 0; !wrong && i < count; i++)
        n = connections_broadcast(server, frame);
    if (!wrong)
        reply_sent(reply, n, frame->len);
    frame_unref(frame);
    return wrong;
}

const char *push_command(struct server *server, json_t *request, json_t *reply)
{
    const char *cmd, *hex, *opcode = "binary";
    size_t hex_len;
    json_int_t count = 1, pause_ms = 0;
    json_t *fragments = NULL;
    struct frame *frame;
    const char *wrong = request_unpack(request, "{s:s, s:s%, s?I, s?o, s?I, s?s !}", "cmd", &cmd, "hex", &hex,
                                       &hex_len, "count", &count, "fragments", &fragments, "fragmentPauseMs",
                                       &pause_ms, "opcode", &opcode);

    if (wrong)
        return wrong;
    if (strcmp(opcode, "binary") && strcmp(opcode, "text"))
        return "opcode: binary or text";
    frame = push_hex(opcode[0] == 't' ? FRAME_TEXT : FRAME_BINARY, hex, hex_len);
    if (!frame)
        return "hex: two digits a byte";
    return push_frame(server, frame, fragments, pause_ms, count, reply);
}

const char *push_json_command(struct server *server, json_t *request, json_t *reply)
{
    const char *cmd;
    json_int_t count = 1, pause_ms = 0;
    json_t *fragments = NULL, *value;
    msgpack_sbuffer out;
    struct frame *frame;
    const char *wrong =
        request_unpack(request, "{s:s, s:o, s?I, s?o, s?I !}", "cmd", &cmd, "value", &value, "count", &count,
                       "fragments", &fragments, "fragmentPauseMs", &pause_ms);

    if (wrong)
        return wrong;
    msgpack_sbuffer_init(&out);
    envelope_json(&out, value);
    frame = frame_new(FRAME_BINARY, out.data, out.size);
    msgpack_sbuffer_destroy(&out);
    return push_frame(server, frame, fragments, pause_ms, count, reply);
}

const char *push_many_command(struct server *server, json_t *request, json_t *reply)
{
    const char *cmd;
    json_int_t count, size = 32;
    size_t len = 0, n = 0;
    msgpack_sbuffer out;
    const char *wrong =
        request_unpack(request, "{s:s, s:I, s?I !}", "cmd", &cmd, "count", &count, "size", &size);

    if (wrong)
        return wrong;
    if (count < 0 || count > MAX_COUNT || size < 0 || size > MAX_PUSH)
        return "count: 0 to 10000000; size: up to 1 GiB";
    msgpack_sbuffer_init(&out);
    for (json_int_t i = 0; i < count; i++) {
        struct frame *frame;

        envelope_load(&out, "load", i, (size_t)size);
        frame = frame_new(FRAME_BINARY, out.data, len = out.size);
        n = connections_broadcast(server, frame);
        frame_unref(frame);
    }
    msgpack_sbuffer_destroy(&out);
    reply_sent(reply, n, len);
    return NULL;
}

const char *push_big_command(struct server *server, json_t *request, json_t *reply)
{
    const char *cmd;
    json_int_t size, pause_ms = 0;
    json_t *fragments = NULL;
    msgpack_sbuffer out;
    struct frame *frame;
    const char *wrong = request_unpack(request, "{s:s, s:I, s?o, s?I !}", "cmd", &cmd, "size", &size,
                                       "fragments", &fragments, "fragmentPauseMs", &pause_ms);

    if (wrong)
        return wrong;
    if (size < 0 || size > MAX_PUSH)
        return "size: up to 1 GiB";
    msgpack_sbuffer_init(&out);
    envelope_load(&out, "big", -1, (size_t)size);
    frame = frame_new(FRAME_BINARY, out.data, out.size);
    msgpack_sbuffer_destroy(&out);
    return push_frame(server, frame, fragments, pause_ms, 1, reply);
}
