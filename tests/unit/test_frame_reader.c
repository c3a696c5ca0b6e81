/*
 * frame_reader: the same comes out however the stream is split; what lies where, and what is copied; limits;
 * the end. Then, with thousands of streams, good and damaged ones: what wslay makes of them.
 */
#include "frame_reader.h"

#include "frames.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <wslay/wslay.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))
#define MIB ((size_t)1 << 20)
#define PART false /* of a message: more follow */
#define LAST true

/* ---- Random numbers from a seed: splitmix64 ---- */

static uint64_t seed;

static size_t below(size_t n)
{
    uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (size_t)((z ^ z >> 31) % n);
}

/* ---- What a server sends ---- */

struct wire {
    uint8_t *bytes;
    size_t len, size;
    size_t counter; /* makes every payload another one */
};

static void put(struct wire *w, const void *bytes, size_t n)
{
    while (w->size < w->len + n) {
        w->size = w->size ? 2 * w->size : 4096;
        w->bytes = realloc(w->bytes, w->size);
        assert_non_null(w->bytes);
    }
    if (n)
        memcpy(w->bytes + w->len, bytes, n);
    w->len += n;
}

static void put_header(struct wire *w, enum frame_opcode opcode, bool final, uint64_t len)
{
    uint8_t h[10] = {(uint8_t)((final ? 0x80 : 0) | opcode), (uint8_t)len};
    size_t more = len < 126 ? 0 : len < 65536 ? 2 : 8;

    if (more)
        h[1] = more == 2 ? 126 : 127;
    for (size_t i = 0; i < more; i++)
        h[2 + i] = (uint8_t)(len >> 8 * (more - 1 - i));
    put(w, h, 2 + more);
}

static void put_filling(struct wire *w, size_t len)
{
    for (size_t i = 0, c = w->counter++; i < len; i++) {
        uint8_t byte = (uint8_t)('0' + (c * 7 + i + i / 64) % 64); /* is a text too */
        put(w, &byte, 1);
    }
}

static void put_frame(struct wire *w, enum frame_opcode opcode, bool final, size_t len)
{
    put_header(w, opcode, final, len);
    put_filling(w, len);
}

static void put_close(struct wire *w, unsigned code, size_t reason)
{
    uint8_t bytes[2] = {(uint8_t)(code >> 8), (uint8_t)code};

    put_header(w, FRAME_CLOSE, true, 2 + reason);
    put(w, bytes, 2);
    put_filling(w, reason);
}

static void wire_deinit(struct wire *w)
{
    free(w->bytes);
    *w = (struct wire){0};
}

/* ---- What was heard ---- */

#define HEARD_MAX 1024

struct heard {
    size_t count;
    struct {
        enum incoming_kind kind;
        size_t len;
        uint64_t hash;
    } items[HEARD_MAX];
};

static uint64_t hash_of(const uint8_t *bytes, size_t n)
{
    uint64_t h = UINT64_C(1469598103934665603);

    for (size_t i = 0; i < n; i++)
        h = (h ^ bytes[i]) * UINT64_C(1099511628211);
    return h;
}

/* The bytes of a text do not count, nor does what comes with an end. */
static void hear(struct heard *h, enum incoming_kind kind, const uint8_t *bytes, size_t len)
{
    assert_true(h->count < HEARD_MAX);
    h->items[h->count].kind = kind;
    h->items[h->count].len = kind < INCOMING_BROKEN ? len : 0;
    h->items[h->count].hash = kind < INCOMING_BROKEN && kind != INCOMING_TEXT ? hash_of(bytes, len) : 0;
    h->count++;
}

static bool is_end(enum incoming_kind kind)
{
    return kind >= INCOMING_BROKEN;
}

static void check_same(const struct heard *a, const struct heard *b)
{
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) {
        assert_int_equal(a->items[i].kind, b->items[i].kind);
        assert_int_equal(a->items[i].len, b->items[i].len);
        assert_true(a->items[i].hash == b->items[i].hash);
    }
}

/* All that is there; false: it is over. */
static bool drain(struct frame_reader *r, struct heard *h)
{
    struct incoming in = {0};
    enum incoming_kind kind;

    while ((kind = frame_reader_next(r, &in)) != INCOMING_NONE) {
        hear(h, kind, in.bytes, in.len);
        if (is_end(kind))
            return false;
    }
    return true;
}

/* As much of it as there is room for. */
static size_t read_into(struct frame_reader *r, const uint8_t *bytes, size_t n)
{
    uint8_t *at;
    size_t room = 0;

    assert_int_equal(frame_reader_room(r, &at, &room), 0);
    assert_true(room > 0);
    n = n < room ? n : room;
    memcpy(at, bytes, n);
    frame_reader_filled(r, n);
    return n;
}

static size_t any_piece(size_t left)
{
    size_t n = below(4) ? 1 + below(8) : 1 + below(40000);

    return n < left ? n : left;
}

/* piece 0: of any size */
static void play(struct frame_reader *r, const struct wire *w, size_t piece, struct heard *h)
{
    bool goes_on = true;

    *h = (struct heard){0};
    for (size_t at = 0; at < w->len && goes_on;) {
        size_t left = w->len - at, n = piece == 0 ? any_piece(left) : piece < left ? piece : left;

        for (size_t end = at + n; at < end && goes_on; goes_on = drain(r, h))
            at += read_into(r, w->bytes + at, end - at);
    }
}

static void read_all(struct frame_reader *r, const struct wire *w)
{
    assert_int_equal(read_into(r, w->bytes, w->len), w->len);
}

static void expect(struct frame_reader *r, enum incoming_kind kind, struct incoming *in)
{
    *in = (struct incoming){0};
    assert_int_equal(frame_reader_next(r, in), kind);
}

static void expect_bytes(struct frame_reader *r, enum incoming_kind kind, const void *bytes, size_t len)
{
    struct incoming in;

    expect(r, kind, &in);
    assert_int_equal(in.len, len);
    assert_memory_equal(in.bytes, bytes, len);
}

static void expect_nothing(struct frame_reader *r)
{
    struct incoming in;

    expect(r, INCOMING_NONE, &in);
}

/* ---- Messages ---- */

static void test_one_of_each(void **state)
{
    static const char bytes[] = "\x82\x03"
                                "abc"         /* a message */
                                "\x82\x00"    /* an empty one */
                                "\x81\x02"    /* a text */
                                "hi\x89\x01p" /* a ping, a pong */
                                "\x8a\x02po\x02\x01"
                                "1"        /* in fragments, with a ping between */
                                "\x89\x00" /* … */
                                "\x00\x02"
                                "23\x80\x01"
                                "4\x88\x04\x03\xe8ok"; /* a close */
    struct frame_reader r = {.max = 100};
    struct wire w = {0};
    struct incoming in;

    expect_nothing(&r);
    put(&w, bytes, sizeof bytes - 1);
    read_all(&r, &w);
    expect_bytes(&r, INCOMING_MESSAGE, "abc", 3);
    expect_bytes(&r, INCOMING_MESSAGE, "", 0);
    expect(&r, INCOMING_TEXT, &in);
    assert_int_equal(in.len, 2);
    expect_bytes(&r, INCOMING_PING, "p", 1);
    expect_bytes(&r, INCOMING_PONG, "po", 2);
    expect_bytes(&r, INCOMING_PING, "", 0);
    expect_bytes(&r, INCOMING_MESSAGE, "1234", 4);
    expect_bytes(&r, INCOMING_CLOSE, "\x03\xe8ok", 4);
    expect_nothing(&r);
    frame_reader_deinit(&r);
    frame_reader_deinit(&r);
    assert_int_equal(r.max, 100);
    read_all(&r, &w); /* it may be used again */
    expect_bytes(&r, INCOMING_MESSAGE, "abc", 3);
    frame_reader_deinit(&r);
    wire_deinit(&w);
}

/* Every border of the lengths and of the reader's own ways; fragments of them with control frames between. */
static void make_long_stream(struct wire *w)
{
    static const size_t sizes[] = {0,     1,     125,   126,   32763, 32764, 32765,  32768,
                                   32769, 65520, 65526, 65535, 65536, 65537, 131072, 700000};

    for (size_t i = 0; i < COUNT(sizes); i++) {
        put_frame(w, FRAME_BINARY, LAST, sizes[i]);
        put_frame(w, FRAME_PING, LAST, i);
        put_frame(w, FRAME_TEXT, LAST, sizes[i]);
        put_frame(w, FRAME_BINARY, PART, sizes[i]);
        put_frame(w, FRAME_PONG, LAST, i % 3 * 60);
        put_frame(w, FRAME_CONTINUATION, PART, sizes[COUNT(sizes) - 1 - i]);
        put_frame(w, FRAME_CONTINUATION, PART, 0);
        put_frame(w, FRAME_PING, LAST, 125);
        put_frame(w, FRAME_CONTINUATION, LAST, i % 2);
        put_frame(w, FRAME_TEXT, PART, i);
        put_frame(w, FRAME_CONTINUATION, LAST, sizes[i]);
    }
    put_close(w, 4001, 123);
}

static void test_any_split(void **state)
{
    static const size_t pieces[] = {SIZE_MAX, 65536, 65535, 4096, 1000, 13, 1};
    static struct heard first, again;
    struct wire w = {0};

    make_long_stream(&w);
    for (size_t i = 0; i < COUNT(pieces) + 20; i++) {
        struct frame_reader r = {.max = 2 * MIB};

        seed = i;
        play(&r, &w, i < COUNT(pieces) ? pieces[i] : 0, &again);
        if (i == 0)
            first = again;
        check_same(&again, &first);
        frame_reader_deinit(&r);
    }
    assert_int_equal(first.count, 16 * 7 + 1);
    assert_int_equal(first.items[first.count - 1].kind, INCOMING_CLOSE);
    wire_deinit(&w);
}

/* Short frames, cut in two at every place. */
static void test_every_cut(void **state)
{
    static struct heard whole, cut;
    struct frame_reader r = {.max = 1000};
    struct wire w = {0}, head;

    put_frame(&w, FRAME_BINARY, LAST, 3);
    put_frame(&w, FRAME_TEXT, LAST, 130);
    put_frame(&w, FRAME_BINARY, PART, 0);
    put_frame(&w, FRAME_PING, LAST, 4);
    put_frame(&w, FRAME_CONTINUATION, LAST, 126);
    put_frame(&w, FRAME_BINARY, LAST, 200);
    put_close(&w, 1000, 0);
    play(&r, &w, SIZE_MAX, &whole);
    assert_int_equal(whole.count, 6);
    for (size_t at = 1; at < w.len; at++) {
        frame_reader_deinit(&r);
        head = (struct wire){.bytes = w.bytes, .len = at};
        play(&r, &head, SIZE_MAX, &cut);
        assert_true(cut.count <= whole.count);
        assert_int_equal(read_into(&r, w.bytes + at, w.len - at), w.len - at);
        assert_true(drain(&r, &cut));
        check_same(&cut, &whole);
    }
    frame_reader_deinit(&r);
    wire_deinit(&w);
}

/* What was given out is told as it was sent: the bytes, not only that they are the same each time. */
static void test_bytes_of_fragments(void **state)
{
    struct frame_reader r = {.max = MIB};
    struct wire w = {0}, payload = {0};
    struct incoming in = {0};
    enum incoming_kind kind = INCOMING_NONE;

    for (size_t i = 0; i < 5; i++) {
        size_t len = 50000 * i + i;

        put_frame(&w, i ? FRAME_CONTINUATION : FRAME_BINARY, i == 4, len);
        put(&payload, w.bytes + w.len - len, len);
    }
    for (size_t at = 0; at < w.len; kind = frame_reader_next(&r, &in)) {
        assert_int_equal(kind, INCOMING_NONE);
        at += read_into(&r, w.bytes + at, w.len - at);
    }
    assert_int_equal(kind, INCOMING_MESSAGE);
    assert_int_equal(in.len, payload.len);
    assert_memory_equal(in.bytes, payload.bytes, payload.len);
    frame_reader_deinit(&r);
    wire_deinit(&payload);
    wire_deinit(&w);
}

/* ---- Where it lies ---- */

static void test_small_in_place(void **state)
{
    struct frame_reader r = {.max = MIB};
    struct wire w = {0};
    struct incoming in;
    uint8_t *at;
    size_t room;

    put_frame(&w, FRAME_BINARY, LAST, 10);
    put_frame(&w, FRAME_BINARY, LAST, 300);
    put_frame(&w, FRAME_PING, LAST, 5);
    put_frame(&w, FRAME_BINARY, LAST, 60000); /* also above WHOLE_MAX when all of it is there */
    assert_int_equal(frame_reader_room(&r, &at, &room), 0);
    assert_int_equal(room, FRAME_READER_BUFFER);
    memcpy(at, w.bytes, w.len);
    frame_reader_filled(&r, w.len);
    expect(&r, INCOMING_MESSAGE, &in);
    assert_ptr_equal(in.bytes, at + 2);
    expect(&r, INCOMING_MESSAGE, &in);
    assert_ptr_equal(in.bytes, at + 12 + 4);
    expect(&r, INCOMING_PING, &in);
    assert_ptr_equal(in.bytes, at + 12 + 304 + 2);
    expect(&r, INCOMING_MESSAGE, &in);
    assert_ptr_equal(in.bytes, at + 12 + 304 + 7 + 4);
    assert_null(r.assembly.bytes);
    frame_reader_deinit(&r);
    wire_deinit(&w);
}

/* Half of a small frame waits in the buffer, in front of the room for the rest. */
static void test_small_in_halves(void **state)
{
    struct frame_reader r = {.max = MIB};
    struct wire w = {0};
    struct incoming in;
    uint8_t *at;
    size_t room;

    put_frame(&w, FRAME_BINARY, LAST, 10);
    put_frame(&w, FRAME_BINARY, LAST, 32764); /* with its header just WHOLE_MAX */
    assert_int_equal(read_into(&r, w.bytes, 20000), 20000);
    expect(&r, INCOMING_MESSAGE, &in);
    expect_nothing(&r);
    assert_int_equal(frame_reader_room(&r, &at, &room), 0);
    assert_int_equal(room, FRAME_READER_BUFFER - (20000 - 12));
    assert_memory_equal(at - (20000 - 12), w.bytes + 12, 20000 - 12);
    memcpy(at, w.bytes + 20000, w.len - 20000);
    frame_reader_filled(&r, w.len - 20000);
    expect(&r, INCOMING_MESSAGE, &in);
    assert_ptr_equal(in.bytes, at - (20000 - 12) + 4);
    assert_memory_equal(in.bytes, w.bytes + 12 + 4, 32764);
    assert_null(r.assembly.bytes);
    frame_reader_deinit(&r);
    wire_deinit(&w);
}

/* Of a large frame the beginning is copied, the rest is read to where it is given out. */
static void test_large_straight(void **state)
{
    struct frame_reader r = {.max = 4 * MIB};
    struct wire w = {0};
    struct incoming in;
    uint8_t *at = NULL;
    size_t room, read = 100, straight = 0;

    put_frame(&w, FRAME_BINARY, LAST, 2 * MIB);
    assert_int_equal(read_into(&r, w.bytes, read), read);
    while (read < w.len) {
        expect_nothing(&r);
        assert_int_equal(frame_reader_room(&r, &at, &room), 0);
        if (w.len - read > 32768) {
            assert_ptr_equal(at, r.assembly.bytes + read - 10);
            assert_true(room <= w.len - read); /* never into the next frame */
            straight += room;
        }
        room = room < w.len - read ? room : w.len - read;
        memcpy(at, w.bytes + read, room);
        frame_reader_filled(&r, room);
        read += room;
    }
    assert_true(straight >= 2 * MIB - 32768 - 100);
    expect(&r, INCOMING_MESSAGE, &in);
    assert_ptr_equal(in.bytes, r.assembly.bytes);
    assert_int_equal(in.len, 2 * MIB);
    assert_memory_equal(in.bytes, w.bytes + 10, 2 * MIB);
    expect_nothing(&r);
    frame_reader_deinit(&r);
    wire_deinit(&w);
}

/* ---- take ---- */

static void take_and_check(struct frame_reader *r, const struct incoming *in, bool copied)
{
    uint8_t *told = (uint8_t *)(uintptr_t)in->bytes, *taken;
    uint64_t hash = hash_of(in->bytes, in->len);

    taken = frame_reader_take(r, in);
    assert_non_null(taken);
    assert_int_equal(taken != told, copied);
    assert_true(hash_of(taken, in->len) == hash);
    memset(taken, 0xee, in->len);
    free(taken);
}

static void test_take(void **state)
{
    static const struct {
        size_t parts[3];
        bool copied;
    } cases[] = {
        {{10}, true},       {{0}, true},         {{100000}, false},
        {{5, 5, 1}, false}, {{0, 0}, true}, /* was in fragments, and is empty */
        {{0, 7}, false},    {{70000, 0}, false}, {{10}, true},
    };
    struct frame_reader r = {.max = MIB};
    struct wire w = {0};
    struct incoming in;
    size_t at = 0;

    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t parts = i == 3 ? 3 : i >= 4 && i <= 6 ? 2 : 1;

        for (size_t p = 0; p < parts; p++)
            put_frame(&w, p ? FRAME_CONTINUATION : FRAME_BINARY, p + 1 == parts, cases[i].parts[p]);
    }
    for (size_t i = 0; i < COUNT(cases);) {
        enum incoming_kind kind = frame_reader_next(&r, &in);

        if (kind == INCOMING_NONE) {
            at += read_into(&r, w.bytes + at, w.len - at);
            continue;
        }
        assert_int_equal(kind, INCOMING_MESSAGE);
        assert_non_null(in.bytes);
        take_and_check(&r, &in, cases[i].copied);
        i++;
    }
    expect_nothing(&r);
    assert_int_equal(at, w.len);
    frame_reader_deinit(&r);
    wire_deinit(&w);
}

/* ---- Texts ---- */

static void test_text_is_only_counted(void **state)
{
    struct frame_reader r = {.max = MIB};
    static struct heard h;
    struct wire w = {0};

    put_frame(&w, FRAME_TEXT, LAST, 100000);
    put_frame(&w, FRAME_TEXT, PART, 100000);
    put_frame(&w, FRAME_PING, LAST, 1);
    put_frame(&w, FRAME_CONTINUATION, PART, 50);
    put_frame(&w, FRAME_CONTINUATION, LAST, 0);
    put_frame(&w, FRAME_TEXT, LAST, 0);
    put_frame(&w, FRAME_BINARY, LAST, 4);
    play(&r, &w, 5000, &h);
    assert_int_equal(h.count, 5);
    assert_int_equal(h.items[0].kind, INCOMING_TEXT);
    assert_int_equal(h.items[0].len, 100000);
    assert_int_equal(h.items[1].kind, INCOMING_PING);
    assert_int_equal(h.items[2].kind, INCOMING_TEXT);
    assert_int_equal(h.items[2].len, 100050);
    assert_int_equal(h.items[3].len, 0);
    assert_int_equal(h.items[4].kind, INCOMING_MESSAGE);
    assert_null(r.assembly.bytes);
    frame_reader_deinit(&r);
    wire_deinit(&w);
}

/* ---- Limits ---- */

static const size_t maxima[] = {1, 100, 125, 126, 32764, 40000, 65535, 65536, 100000};

/* The message of so many bytes in one to five fragments, and what comes of it. */
static enum incoming_kind one_message(enum frame_opcode opcode, size_t max, size_t len, size_t parts)
{
    struct frame_reader r = {.max = max};
    static struct heard h;
    struct wire w = {0};
    enum incoming_kind kind;

    for (size_t i = 0, left = len; i < parts; i++) {
        size_t n = i + 1 == parts ? left : len / parts;

        put_frame(&w, i ? FRAME_CONTINUATION : opcode, i + 1 == parts, n);
        put_frame(&w, FRAME_PING, LAST, 125); /* is not counted */
        left -= n;
    }
    play(&r, &w, 0, &h);
    assert_int_equal(h.count, len > max ? parts : parts + 1);
    kind = h.items[parts - 1].kind;
    assert_int_equal(h.items[parts - 1].len, len > max ? 0 : len);
    frame_reader_deinit(&r);
    wire_deinit(&w);
    return kind;
}

static void test_limit(void **state)
{
    for (size_t i = 0; i < COUNT(maxima); i++)
        for (size_t parts = 1; parts <= 5; parts++) {
            size_t max = maxima[i];

            assert_int_equal(one_message(FRAME_BINARY, max, max, parts), INCOMING_MESSAGE);
            assert_int_equal(one_message(FRAME_TEXT, max, max, parts), INCOMING_TEXT);
            assert_int_equal(one_message(FRAME_BINARY, max, max + 1, parts), INCOMING_TOO_LARGE);
            assert_int_equal(one_message(FRAME_TEXT, max, max + 1, parts), INCOMING_TOO_LARGE);
        }
}

/* One message after the other, each of the limit: they are not counted together. */
static void test_limit_is_of_each(void **state)
{
    struct frame_reader r = {.max = 100000};
    static struct heard h;
    struct wire w = {0};

    for (size_t i = 0; i < 10; i++) {
        put_frame(&w, i % 2 ? FRAME_TEXT : FRAME_BINARY, PART, 60000);
        put_frame(&w, FRAME_CONTINUATION, LAST, 40000);
        put_frame(&w, i % 2 ? FRAME_BINARY : FRAME_TEXT, LAST, 100000);
    }
    play(&r, &w, 0, &h);
    assert_int_equal(h.count, 20);
    for (size_t i = 0; i < h.count; i++)
        assert_int_equal(h.items[i].len, 100000);
    frame_reader_deinit(&r);
    wire_deinit(&w);
}

/* The announced length is enough, and nothing is allocated for it; also when the sum would overflow. */
static void test_limit_is_seen_early(void **state)
{
    static const uint64_t lengths[] = {60 * MIB + 1, UINT64_C(1) << 40, INT64_MAX};

    for (size_t i = 0; i < COUNT(lengths); i++)
        for (size_t before = 0; before < 2; before++) {
            struct frame_reader r = {.max = 60 * MIB};
            struct wire w = {0};
            struct incoming in;

            if (before)
                put_frame(&w, FRAME_BINARY, PART, 1000);
            put_header(&w, before ? FRAME_CONTINUATION : FRAME_BINARY, LAST, lengths[i]);
            read_all(&r, &w);
            expect(&r, INCOMING_TOO_LARGE, &in);
            assert_int_equal(r.assembly.size, before ? 4096 : 0);
            frame_reader_deinit(&r);
            wire_deinit(&w);
        }
}

/* ---- Control frames ---- */

static void test_close_frames(void **state)
{
    static const size_t lengths[] = {0, 1, 2, 3, 125};

    for (size_t i = 0; i < COUNT(lengths); i++) {
        struct frame_reader r = {.max = 100};
        struct wire w = {0};
        struct incoming in;

        put_frame(&w, FRAME_CLOSE, LAST, lengths[i]);
        read_all(&r, &w);
        if (lengths[i] == 1)
            expect(&r, INCOMING_BROKEN, &in);
        else
            expect_bytes(&r, INCOMING_CLOSE, w.bytes + 2, lengths[i]);
        frame_reader_deinit(&r);
        wire_deinit(&w);
    }
}

/* ---- The end ---- */

static const struct {
    const char *bytes;
    size_t size;
    enum incoming_kind kinds[3]; /* the last one is the end */
} ends[] = {
    {"\x82\x01x\x83\x00", 5, {INCOMING_MESSAGE, INCOMING_BROKEN}},
    {"\xc2\x00", 2, {INCOMING_BROKEN}},
    {"\x82\x80", 2, {INCOMING_BROKEN}},
    {"\x09\x00", 2, {INCOMING_BROKEN}},
    {"\x89\x7e", 2, {INCOMING_BROKEN}},
    {"\x88\x01", 2, {INCOMING_BROKEN}},
    {"\x80\x00", 2, {INCOMING_BROKEN}},                                  /* of nothing */
    {"\x00\x01x", 3, {INCOMING_BROKEN}},                                 /* … */
    {"\x82\x01x\x80\x01y", 6, {INCOMING_MESSAGE, INCOMING_BROKEN}},      /* … any more */
    {"\x02\x01x\x82\x01y", 6, {INCOMING_BROKEN}},                        /* within a message */
    {"\x02\x01x\x02\x01y", 6, {INCOMING_BROKEN}},                        /* … */
    {"\x01\x01x\x89\x00\x81\x01y", 8, {INCOMING_PING, INCOMING_BROKEN}}, /* … */
    {"\x02\x00\x89\x00\x81\x00", 6, {INCOMING_PING, INCOMING_BROKEN}},   /* … an empty one */
    {"\x82\x7e\x00\x05", 4, {INCOMING_BROKEN}},
    {"\x81\x7f\x80\x00\x00\x00\x00\x00\x00\x00", 10, {INCOMING_BROKEN}},
    {"\x82\x7e\x01\x01", 4, {INCOMING_TOO_LARGE}},
    {"\x8a\x01p\x02\x7d", 5, {INCOMING_PONG, INCOMING_NONE}}, /* this one is none */
};

static void test_end_is_for_good(void **state)
{
    for (size_t i = 0; i < COUNT(ends); i++) {
        struct frame_reader r = {.max = 256};
        struct wire w = {0};
        struct incoming in;
        size_t n = 0;

        put(&w, ends[i].bytes, ends[i].size);
        read_all(&r, &w);
        while (ends[i].kinds[n] != INCOMING_NONE && !is_end(ends[i].kinds[n]))
            expect(&r, ends[i].kinds[n++], &in);
        expect(&r, ends[i].kinds[n], &in);
        if (is_end(ends[i].kinds[n]))
            for (size_t k = 0; k < 3; k++) {
                read_into(&r, (const uint8_t *)"\x82\x01x", 3);
                expect(&r, ends[i].kinds[n], &in);
            }
        frame_reader_deinit(&r);
        if (is_end(ends[i].kinds[n])) { /* … of this connection */
            read_into(&r, (const uint8_t *)"\x82\x01x", 3);
            expect_bytes(&r, INCOMING_MESSAGE, "x", 1);
            frame_reader_deinit(&r);
        }
        wire_deinit(&w);
    }
}

/* ---- What came before the first frame ---- */

static void test_bytes_before_frames(void **state)
{
    struct frame_reader r = {.max = 100};
    size_t n = 99;

    assert_null(frame_reader_pending(&r, &n));
    assert_int_equal(n, 0);
    read_into(&r, (const uint8_t *)"HTTP", 4);
    read_into(&r, (const uint8_t *)"/1.1\r\n\r\n\x82\x02ok\x89\x00", 14);
    assert_memory_equal(frame_reader_pending(&r, &n), "HTTP/1.1\r\n\r\n\x82", 13);
    assert_int_equal(n, 18);
    frame_reader_skip(&r, 12);
    expect_bytes(&r, INCOMING_MESSAGE, "ok", 2);
    expect_bytes(&r, INCOMING_PING, "", 0);
    frame_reader_pending(&r, &n);
    assert_int_equal(n, 0);
    frame_reader_deinit(&r);
}

/* ---- Memory ---- */

static size_t in_use(void)
{
    struct mallinfo2 m = mallinfo2();

    return m.uordblks + m.hblkhd;
}

/* A million empty fragments, and what is announced and never comes, cost nothing; a large message goes. */
static void test_memory(void **state)
{
    struct frame_reader r = {.max = 64 * MIB};
    static struct heard h;
    struct wire w = {0};
    size_t before;

    for (size_t i = 0; i < 10000; i++)
        put_header(&w, i ? FRAME_CONTINUATION : FRAME_BINARY, PART, 0);
    before = in_use();
    for (size_t i = 0; i < 100; i++, w.bytes[0] = 0)
        play(&r, &w, SIZE_MAX, &h);
    assert_int_equal(h.count, 0);
    assert_true(in_use() - before <= FRAME_READER_BUFFER + 4096);

    w.len = 0;
    put_frame(&w, FRAME_CONTINUATION, LAST, 2 * MIB);
    play(&r, &w, 0, &h);
    assert_int_equal(h.count, 1);
    assert_int_equal(h.items[0].len, 2 * MIB);
    assert_null(r.assembly.bytes);

    w.len = 0;
    put_header(&w, FRAME_BINARY, LAST, 64 * MIB);
    put_filling(&w, 70000);
    play(&r, &w, SIZE_MAX, &h);
    assert_true(r.assembly.size <= MIB);
    frame_reader_deinit(&r);
    assert_null(r.buffer);
    wire_deinit(&w);
}

/* The linker takes these for malloc and realloc. */
static bool no_memory;
void *__real_malloc(size_t n);
void *__real_realloc(void *p, size_t n);
void *__wrap_malloc(size_t n);
void *__wrap_realloc(void *p, size_t n);

void *__wrap_malloc(size_t n)
{
    return no_memory ? NULL : __real_malloc(n);
}

void *__wrap_realloc(void *p, size_t n)
{
    return no_memory ? NULL : __real_realloc(p, n);
}

static void test_no_memory(void **state)
{
    struct frame_reader r = {.max = MIB};
    struct wire w = {0};
    struct incoming in;
    uint8_t *at;
    size_t n;

    put_frame(&w, FRAME_BINARY, LAST, 3);
    put_frame(&w, FRAME_BINARY, LAST, 100000);
    no_memory = true;
    assert_int_equal(frame_reader_room(&r, &at, &n), -ENOMEM);
    no_memory = false;
    assert_int_equal(read_into(&r, w.bytes, 1000), 1000);
    expect(&r, INCOMING_MESSAGE, &in);
    no_memory = true;
    assert_null(frame_reader_take(&r, &in));
    assert_memory_equal(in.bytes, w.bytes + 2, 3); /* still there */
    expect(&r, INCOMING_NO_MEMORY, &in);
    no_memory = false;
    expect(&r, INCOMING_NO_MEMORY, &in);
    frame_reader_deinit(&r);

    assert_int_equal(read_into(&r, w.bytes + 5, 1000), 1000);
    expect_nothing(&r);
    no_memory = true;
    n = 0;
    for (int result = 0; result == 0 && n < 100000; n += 1000)
        if ((result = frame_reader_room(&r, &at, &(size_t){0})) == 0)
            frame_reader_filled(&r, 1000);
    no_memory = false;
    assert_true(n < 100000);
    frame_reader_deinit(&r);
    wire_deinit(&w);
}

/* ---- Against wslay ---- */

struct other {
    const struct wire *wire;
    size_t at;
    struct heard heard;
};

static ssize_t other_reads(wslay_event_context_ptr ctx, uint8_t *buf, size_t len, int flags, void *self)
{
    struct other *o = self;
    size_t n = o->wire->len - o->at;

    if (n == 0) {
        wslay_event_set_error(ctx, WSLAY_ERR_WOULDBLOCK);
        return -1;
    }
    n = n < len ? n : len;
    memcpy(buf, o->wire->bytes + o->at, n);
    o->at += n;
    return (ssize_t)n;
}

static ssize_t other_writes(wslay_event_context_ptr ctx, const uint8_t *data, size_t len, int flags,
                            void *self)
{
    return (ssize_t)len;
}

static int other_masks(wslay_event_context_ptr ctx, uint8_t *buf, size_t len, void *self)
{
    memset(buf, 0, len);
    return 0;
}

static void other_hears(wslay_event_context_ptr ctx, const struct wslay_event_on_msg_recv_arg *a, void *self)
{
    static const enum incoming_kind kinds[] = {
        [FRAME_TEXT] = INCOMING_TEXT, [FRAME_BINARY] = INCOMING_MESSAGE, [FRAME_CLOSE] = INCOMING_CLOSE,
        [FRAME_PING] = INCOMING_PING, [FRAME_PONG] = INCOMING_PONG,
    };

    hear(&((struct other *)self)->heard, kinds[a->opcode], a->msg, a->msg_length);
}

/* What it heard, and the code that it would close with; 0: it goes on. */
static unsigned ask_other(struct other *o, const struct wire *w, size_t max)
{
    static const struct wslay_event_callbacks callbacks = {
        .recv_callback = other_reads,
        .send_callback = other_writes,
        .genmask_callback = other_masks,
        .on_msg_recv_callback = other_hears,
    };
    wslay_event_context_ptr ctx;
    unsigned code = 0;
    int r;

    *o = (struct other){.wire = w};
    assert_int_equal(wslay_event_context_client_init(&ctx, &callbacks, o), 0);
    wslay_event_config_set_max_recv_msg_length(ctx, max);
    r = wslay_event_recv(ctx);
    assert_true(r == 0 || r == WSLAY_ERR_CALLBACK_FAILURE); /* this one: no frame at all */
    if (!wslay_event_get_close_received(ctx) && !wslay_event_get_read_enabled(ctx)) {
        assert_int_equal(wslay_event_send(ctx), 0);
        code = wslay_event_get_status_code_sent(ctx);
    }
    wslay_event_context_free(ctx);
    return code;
}

static void ask_ours(struct heard *h, const struct wire *w, size_t max)
{
    struct frame_reader r = {.max = max};

    play(&r, w, 0, h);
    frame_reader_deinit(&r);
    for (size_t i = 0; i < h->count; i++) /* nobody listens to what follows a close */
        if (h->items[i].kind == INCOMING_CLOSE)
            h->count = i + 1;
}

static enum incoming_kind last_of(const struct heard *h)
{
    return h->count ? h->items[h->count - 1].kind : INCOMING_NONE;
}

static const char *const agreements[] = {
    "both go on",
    "both say: broken",
    "both say: too large",
    "both heard a close",
    "only wslay checks the UTF-8 of texts and of the reason of a close", /* nobody reads them */
    "only wslay checks the code of a close",                             /* it is told as it came */
};
enum { GO_ON, BROKEN, TOO_LARGE, CLOSED, UTF8, CODE };

/* How far both heard the same is checked; which of the above it is. */
static int compare(struct heard *ours, const struct other *o, unsigned code)
{
    enum incoming_kind last = last_of(ours);
    size_t heard = o->heard.count;
    int agreement = GO_ON;

    if (code == WSLAY_CODE_INVALID_FRAME_PAYLOAD_DATA) { /* for us it went on from there */
        assert_true(ours->count >= heard);
        ours->count = heard;
        agreement = UTF8;
    } else if (code && last == INCOMING_CLOSE) {
        assert_int_equal(code, WSLAY_CODE_PROTOCOL_ERROR);
        assert_true(ours->items[ours->count - 1].len >= 2);
        ours->count--;
        agreement = CODE;
    } else if (code) {
        assert_int_equal(last, code == WSLAY_CODE_MESSAGE_TOO_BIG ? INCOMING_TOO_LARGE : INCOMING_BROKEN);
        ours->count--;
        agreement = last == INCOMING_BROKEN ? BROKEN : TOO_LARGE;
    } else if (last == INCOMING_CLOSE) {
        agreement = CLOSED;
    }
    check_same(ours, &o->heard);
    return agreement;
}

static size_t any_length(void)
{
    static const size_t borders[] = {0, 1, 125, 126, 127, 299, 300, 301};

    switch (below(16)) {
    case 0:
        return 32000 + below(2000);
    case 1:
        return 65530 + below(10);
    case 2:
    case 3:
    case 4:
        return borders[below(COUNT(borders))];
    default:
        return below(40);
    }
}

static void put_any_message(struct wire *w)
{
    enum frame_opcode opcode = below(3) ? FRAME_BINARY : FRAME_TEXT;
    size_t parts = below(2) ? 1 : 1 + below(4);

    for (size_t i = 0; i < parts; i++) {
        put_frame(w, i ? FRAME_CONTINUATION : opcode, i + 1 == parts, any_length());
        while (below(3) == 0)
            put_frame(w, below(2) ? FRAME_PING : FRAME_PONG, LAST, below(126));
    }
}

static void damage(struct wire *w)
{
    size_t near = below(2) ? w->len : w->len < 20 ? w->len : 20, at = below(near);

    switch (below(4)) {
    case 0:
        w->bytes[at] ^= (uint8_t)(1 << below(8));
        break;
    case 1:
        w->bytes[at] = (uint8_t)below(256);
        break;
    case 2:
        memmove(w->bytes + at, w->bytes + at + 1, w->len - at - 1);
        w->len--;
        break;
    default:
        w->len -= at;
    }
}

static void make_any_stream(struct wire *w)
{
    w->len = 0;
    for (size_t n = 1 + below(6); n > 0; n--)
        put_any_message(w);
    if (below(4) == 0)
        put_close(w, below(4) ? 1000 + (unsigned)below(4) : (unsigned)below(6000), below(20));
    for (size_t n = below(4); n > 0 && w->len > 1; n--)
        damage(w);
}

/* wslay judges a header when it is whole, we do with its first two bytes: it gets the rest of any. */
static void complete_header(struct wire *w)
{
    static const uint8_t rest[FRAME_HEADER_MAX] = {0};

    put(w, rest, sizeof rest);
}

static void test_against_wslay(void **state)
{
    static const size_t maxes[] = {300, 66000, MIB};
    static struct heard ours;
    static struct other other;
    struct wire w = {0};
    size_t counts[COUNT(agreements)] = {0};

    for (size_t i = 0; i < 8000; i++) {
        size_t max = maxes[i % COUNT(maxes)];
        unsigned code;

        seed = i * UINT64_C(0x100000001);
        make_any_stream(&w);
        ask_ours(&ours, &w, max);
        if (last_of(&ours) == INCOMING_BROKEN)
            complete_header(&w);
        code = ask_other(&other, &w, max);
        counts[compare(&ours, &other, code)]++;
    }
    for (size_t i = 0; i < COUNT(counts); i++)
        print_message("%5zu %s\n", counts[i], agreements[i]);
    for (size_t i = 0; i < COUNT(counts); i++)
        assert_true(counts[i] >= 20); /* the streams are worth something */
    wire_deinit(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_of_each),
        cmocka_unit_test(test_any_split),
        cmocka_unit_test(test_every_cut),
        cmocka_unit_test(test_bytes_of_fragments),
        cmocka_unit_test(test_small_in_place),
        cmocka_unit_test(test_small_in_halves),
        cmocka_unit_test(test_large_straight),
        cmocka_unit_test(test_take),
        cmocka_unit_test(test_text_is_only_counted),
        cmocka_unit_test(test_limit),
        cmocka_unit_test(test_limit_is_of_each),
        cmocka_unit_test(test_limit_is_seen_early),
        cmocka_unit_test(test_close_frames),
        cmocka_unit_test(test_end_is_for_good),
        cmocka_unit_test(test_bytes_before_frames),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_against_wslay),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
