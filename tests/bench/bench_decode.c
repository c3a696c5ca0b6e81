/*
 * What a frame costs on its way from MessagePack to JSON text, beside what msgpack-c needs to make objects of
 * it and to look at each once (which writes nothing yet). Usage: bench_decode [ROUNDS]
 */
#include "decode.h"

#include <inttypes.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

struct sample {
    const char *name;
    msgpack_sbuffer frame;
    size_t at;
    char text[1 << 18];
};

/*
 * The text is written where the last one ended, as in the ring. At one fixed place the cost would depend on
 * how that place and the frame's lie to each other within a page (4 KiB aliasing: up to twice as much).
 */
static void writer_next(struct sample *s, struct json_writer *w)
{
    s->at = s->at < sizeof(s->text) / 2 ? s->at : 0;
    json_writer_init(w, s->text + s->at, sizeof(s->text) - s->at);
}

static void pack_text(msgpack_packer *p, const char *text)
{
    msgpack_pack_str_with_body(p, text, strlen(text));
}

static void pack_member(msgpack_packer *p, const char *key, const char *text)
{
    pack_text(p, key);
    pack_text(p, text);
}

static void pack_integer(msgpack_packer *p, const char *key, int64_t value)
{
    pack_text(p, key);
    msgpack_pack_int64(p, value);
}

/* As the server of the protocol document answers a send. */
static void sample_init(struct sample *s, const char *name, const char *message)
{
    msgpack_packer p;
    s->name = name;
    msgpack_sbuffer_init(&s->frame);
    msgpack_packer_init(&p, &s->frame, msgpack_sbuffer_write);
    msgpack_pack_map(&p, 2);
    pack_integer(&p, "code", 0);
    pack_text(&p, "data");
    msgpack_pack_map(&p, 9);
    pack_member(&p, "messageType", "TxtMsg");
    pack_member(&p, "messageId", "2f1d9c52-6f0b-4d5e-9a43-5b7f3f0c8e11");
    pack_integer(&p, "conversationType", 1);
    pack_member(&p, "from", "alice@example");
    pack_member(&p, "to", "bob@example");
    pack_integer(&p, "sentTime", 1700000000123);
    pack_integer(&p, "messageDirection", 2);
    pack_integer(&p, "readStatus", 0);
    pack_text(&p, "content");
    msgpack_pack_map(&p, 1);
    pack_member(&p, "message", message);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static size_t run_frame(struct sample *s, msgpack_zone *zone)
{
    struct json_writer w;
    struct decode_frame f;
    writer_next(s, &w);
    if (decode_frame(NULL, (const uint8_t *)s->frame.data, s->frame.size, &w, &f) != DECODE_OK)
        abort();
    s->at += json_writer_length(&w);
    return f.message_id.json_at;
}

static size_t run_value(struct sample *s, msgpack_zone *zone)
{
    struct json_writer w;
    writer_next(s, &w);
    if (decode_value(NULL, (const uint8_t *)s->frame.data, s->frame.size, &w) != DECODE_OK)
        abort();
    s->at += json_writer_length(&w);
    return s->at;
}

static size_t object_walk(const msgpack_object *o)
{
    size_t sum = o->type;
    if (o->type == MSGPACK_OBJECT_ARRAY)
        for (uint32_t i = 0; i < o->via.array.size; i++)
            sum += object_walk(&o->via.array.ptr[i]);
    else if (o->type == MSGPACK_OBJECT_MAP)
        for (uint32_t i = 0; i < o->via.map.size; i++)
            sum += object_walk(&o->via.map.ptr[i].key) + object_walk(&o->via.map.ptr[i].val);
    else if (o->type == MSGPACK_OBJECT_STR)
        sum += o->via.str.size;
    return sum;
}

static size_t run_unpack(struct sample *s, msgpack_zone *zone)
{
    msgpack_object o;
    size_t at = 0;
    if (msgpack_unpack(s->frame.data, s->frame.size, &at, zone, &o) != MSGPACK_UNPACK_SUCCESS)
        abort();
    size_t sum = object_walk(&o);
    msgpack_zone_clear(zone);
    return sum;
}

static const struct way {
    const char *name;
    size_t (*run)(struct sample *, msgpack_zone *);
} ways[] = {
    {"decode_frame", run_frame},
    {"decode_value", run_value},
    {"msgpack_unpack+walk", run_unpack},
};

/* The best of many short runs, for whatever else this machine does only makes it slower. */
static void measure(const struct way *way, struct sample *s, msgpack_zone *zone, long rounds)
{
    double best = 1e9;
    volatile size_t sink = 0; /* so that nothing is left out */
    for (int attempt = 0; attempt < 200; attempt++) {
        double start = now();
        for (long i = 0; i < rounds; i++)
            sink = sink + way->run(s, zone);
        double each = (now() - start) / (double)rounds;
        best = each < best ? each : best;
    }
    printf("%-24s %6zu bytes  %-20s %8.1f ns\n", s->name, s->frame.size, way->name, best * 1e9);
}

static char *repeated(const char *text, size_t times)
{
    size_t len = strlen(text);
    char *all = malloc(len * times + 1);
    if (!all)
        abort();
    for (size_t i = 0; i < times; i++)
        memcpy(all + i * len, text, len);
    all[len * times] = '\0';
    return all;
}

int main(int argc, char **argv)
{
    static struct sample samples[4];
    long rounds = argc > 1 ? atol(argv[1]) : 2000;
    char *chinese = repeated("服务端收到消息并返回,从而形成闭环。", 20),
         *escapes = repeated("say \"hi\"\n", 40);
    msgpack_zone zone;
    sample_init(&samples[0], "usual", "hello, is anybody there?");
    sample_init(&samples[1], "Chinese", "服务端收到消息并返回,从而形成闭环。");
    sample_init(&samples[2], "Chinese, long", chinese);
    sample_init(&samples[3], "escapes", escapes);
    msgpack_zone_init(&zone, 8192);
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++)
        for (size_t k = 0; k < sizeof(ways) / sizeof(ways[0]); k++)
            measure(&ways[k], &samples[i], &zone, rounds);
    msgpack_zone_destroy(&zone);
    for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++)
        msgpack_sbuffer_destroy(&samples[i].frame);
    free(chinese);
    free(escapes);
    return 0;
}
