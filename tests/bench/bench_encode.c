/*
 * What a request costs on its way from a line of JSON to a frame of MessagePack, beside what jansson and
 * msgpack-c need for the same. Usage: bench_encode [ROUNDS]
 */
#include "encode.h"

#include <jansson.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define USUAL(text)                                                                                          \
    "{\"jsonrpc\":\"2.0\",\"id\":7,\"method\":\"send\",\"params\":{\"message\":{\"messageType\":\"TxtMsg\"," \
    "\"conversationType\":1,\"to\":\"bob\",\"content\":{\"message\":\"" text "\"}}}}"
#define CHINESE "服务端收到消息并返回,从而形成闭环。"
#define TEN(text) text text text text text text text text text text

static const struct sample {
    const char *name, *line;
} samples[] = {
    {"usual", USUAL("hello world, this is a usual message")},
    {"Chinese", USUAL(CHINESE)},
    {"Chinese, long", USUAL(TEN(CHINESE) TEN(CHINESE))},
    {"escapes", USUAL(TEN("say \\\"hi\\\"\\n") TEN("say \\\"hi\\\"\\n"))},
    {"ASCII, 2000 bytes", USUAL(TEN(TEN("twenty bytes of text")))},
    {"numbers", "{\"params\":{\"message\":{\"content\":{\"message\":[" TEN(
                    "1,-40,70000,5000000000,1.5,0.1,1e10,") "0]}}}}"},
};

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

struct bench {
    const char *line;
    size_t len;
    struct scan scan;
    msgpack_sbuffer buffer;
    uint8_t frame[16384];
};

static size_t run_scan(struct bench *b)
{
    if (scan_text(&b->scan, b->line, b->len, SCAN_DEPTH_MAX) != SCAN_OK)
        abort();
    return b->scan.count;
}

static size_t run_encode(struct bench *b)
{
    static const struct encode_defaults defaults = {
        .message_id = "2f1d9c52-6f0b-4d5e-9a43-5b7f3f0c8e11", .from = "alice", .sent_time_ms = 1700000000123};
    struct encode_buffer out = {b->frame, b->frame + sizeof(b->frame)};
    struct encode_message m;
    struct encode_error e;
    uint32_t message = scan_member(&b->scan, scan_member(&b->scan, 0, "params"), "message");
    if (encode_message(&b->scan, message, &defaults, &out, &m, &e) != 0)
        abort();
    return (size_t)(out.at - b->frame);
}

static size_t run_both(struct bench *b)
{
    return run_scan(b) + run_encode(b);
}

static void pack(msgpack_packer *p, json_t *value)
{
    size_t index;
    const char *key;
    json_t *child;
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        msgpack_pack_map(p, json_object_size(value));
        json_object_foreach(value, key, child)
        {
            msgpack_pack_str_with_body(p, key, strlen(key));
            pack(p, child);
        }
        break;
    case JSON_ARRAY:
        msgpack_pack_array(p, json_array_size(value));
        json_array_foreach(value, index, child) pack(p, child);
        break;
    case JSON_STRING:
        msgpack_pack_str_with_body(p, json_string_value(value), json_string_length(value));
        break;
    case JSON_INTEGER:
        msgpack_pack_int64(p, json_integer_value(value));
        break;
    case JSON_REAL:
        msgpack_pack_double(p, json_real_value(value));
        break;
    default:
        msgpack_pack_nil(p);
    }
}

static void with_jansson(struct bench *b, bool packed)
{
    json_t *root = json_loadb(b->line, b->len, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    if (!root)
        abort();
    if (packed) {
        msgpack_packer p;
        msgpack_sbuffer_clear(&b->buffer);
        msgpack_packer_init(&p, &b->buffer, msgpack_sbuffer_write);
        pack(&p, json_object_get(json_object_get(root, "params"), "message"));
    }
    json_decref(root);
}

static size_t run_jansson(struct bench *b)
{
    with_jansson(b, false);
    return 1;
}

static size_t run_jansson_pack(struct bench *b)
{
    with_jansson(b, true);
    return b->buffer.size;
}

/* The best of five, for whatever else this machine does only makes it slower. */
static double measure(struct bench *b, size_t (*run)(struct bench *), long rounds)
{
    double best = 1e9;
    volatile size_t sink __attribute__((unused)) = 0; /* keeps the work from being left out */
    for (int attempt = 0; attempt < 5; attempt++) {
        double start = now();
        for (long i = 0; i < rounds; i++)
            sink += run(b);
        double each = (now() - start) / (double)rounds * 1e9;
        best = each < best ? each : best;
    }
    return best;
}

int main(int argc, char **argv)
{
    static struct bench b;
    long rounds = argc > 1 ? atol(argv[1]) : 100000;
    scan_init(&b.scan);
    msgpack_sbuffer_init(&b.buffer);
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++) {
        b.line = samples[i].line;
        b.len = strlen(b.line);
        double scan = measure(&b, run_scan, rounds), both = measure(&b, run_both, rounds);
        double load = measure(&b, run_jansson, rounds / 5),
               packed = measure(&b, run_jansson_pack, rounds / 5);
        printf("%-18s %5zu bytes  scan %6.0f ns  jansson %6.0f ns (%4.1fx)   scan+encode %6.0f ns  "
               "jansson+msgpack-c %6.0f ns (%4.1fx)\n",
               samples[i].name, b.len, scan, load, load / scan, both, packed, packed / both);
    }
    scan_deinit(&b.scan);
    msgpack_sbuffer_destroy(&b.buffer);
    return 0;
}
