/* send_queue: order and bytes through frames, fragments, reservations taken back; memory is given back. */
#include "send_queue.h"

#include "frames.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static uint32_t next_key;

static uint32_t key(void)
{
    return next_key += 0x9e3779b9;
}

static uint8_t byte_of(size_t message, size_t i)
{
    return (uint8_t)(message * 31 + i * 7 + i / 256);
}

static void fill(uint8_t *room, size_t message, size_t len)
{
    for (size_t i = 0; i < len; i++)
        room[i] = byte_of(message, i);
}

static void put(struct send_queue *q, size_t message, size_t len, size_t reserved)
{
    uint8_t *room = send_queue_reserve(q, reserved);

    assert_non_null(room);
    fill(room, message, len);
    send_queue_commit(q, len);
}

/* ---- The other side: it reads frames as a server does ---- */

struct server {
    uint8_t bytes[400000]; /* of the frame under way */
    size_t len;
    size_t message, at, frames; /* which message comes, how much of it came, in how many frames */
};

static size_t header_of(const uint8_t *f, size_t n, size_t *payload)
{
    size_t code = n < 2 ? 0 : f[1] & 0x7f, size = code == 127 ? 14 : code == 126 ? 8 : 6;

    if (n < 2 || n < size)
        return 0;
    assert_int_equal(f[1] & 0x80, 0x80); /* masked */
    *payload = code;
    if (code >= 126) {
        *payload = 0;
        for (size_t i = 2; i < size - 4; i++)
            *payload = *payload << 8 | f[i];
    }
    assert_true(code == 127 ? *payload > 65535 : code < 126 || *payload > 125); /* as short as can be */
    return size;
}

static void take_frame(struct server *s, const size_t *lengths)
{
    size_t payload, header = header_of(s->bytes, s->len, &payload);
    bool final;

    if (!header || s->len < header + payload)
        return;
    assert_int_equal(s->len, header + payload);
    assert_int_equal(frame_size(s->bytes), s->len);
    final = s->bytes[0] & 0x80;
    assert_int_equal(s->bytes[0] & 0x7f, s->at ? FRAME_CONTINUATION : FRAME_BINARY);
    assert_true(payload <= SEND_FRAGMENT_MAX);
    for (size_t i = 0; i < payload; i++)
        assert_int_equal(s->bytes[header + i] ^ s->bytes[header - 4 + i % 4], byte_of(s->message, s->at + i));
    s->at += payload;
    s->frames++;
    s->len = 0;
    if (!final)
        return;
    assert_int_equal(s->at, lengths[s->message]);
    assert_int_equal(s->frames, (s->at + SEND_FRAGMENT_MAX - 1) / SEND_FRAGMENT_MAX);
    s->message++;
    s->at = s->frames = 0;
}

static void receive(struct server *s, const uint8_t *bytes, size_t n, const size_t *lengths)
{
    for (size_t i = 0; i < n; i++) {
        s->bytes[s->len++] = bytes[i];
        take_frame(s, lengths);
    }
}

/* Writes what waits, at most `piece` bytes at a time; overwrites what is sent, as the queue may. */
static void drain(struct send_queue *q, struct server *s, size_t piece, const size_t *lengths)
{
    while (q->bytes > 0) {
        struct send_span p = send_queue_peek(q);
        size_t n = p.len < piece ? p.len : piece;

        assert_true(p.len > 0);
        receive(s, p.at, n, lengths);
        send_queue_advance(q, n);
        assert_int_equal(q->frame_left == 0, s->len == 0);
    }
    assert_int_equal(send_queue_peek(q).len, 0);
}

static const size_t lengths[] = {1, 100, 125, 126, 65000, 65535, 65536, 65537, 300000, 5, 16, 131072, 3};
#define LENGTHS (sizeof(lengths) / sizeof(lengths[0]))

static void test_order_and_bytes(void **state)
{
    static const size_t pieces[] = {SIZE_MAX, 4096, 13, 1};
    static struct server s;
    struct send_queue q;

    send_queue_init(&q, key);
    for (size_t round = 0; round < sizeof(pieces) / sizeof(pieces[0]); round++) {
        s = (struct server){0};
        for (size_t i = 0; i < LENGTHS; i++)
            put(&q, i, lengths[i], lengths[i] + (round + i) % 3 * 70000);
        drain(&q, &s, pieces[round], lengths);
        assert_int_equal(s.message, LENGTHS);
    }
    send_queue_deinit(&q);
}

/* Messages that lie together go out together. */
static void test_many_in_one_span(void **state)
{
    static struct server s;
    static const size_t hundreds[] = {100, 100, 100, 100, 100};
    struct send_queue q;

    send_queue_init(&q, key);
    for (size_t i = 0; i < 5; i++)
        put(&q, i, 100, 150); /* the shorter form of the length: the message moves */
    assert_int_equal(send_queue_peek(&q).len, 5 * 106);
    assert_int_equal(q.bytes, 5 * 106);
    drain(&q, &s, SIZE_MAX, hundreds);
    assert_int_equal(s.message, 5);
    send_queue_deinit(&q);
}

static void test_taken_back(void **state)
{
    static const size_t small[] = {10, 10, 10};
    static struct server s;
    struct send_queue q;

    send_queue_init(&q, key);
    assert_non_null(send_queue_reserve(&q, 100));
    send_queue_commit(&q, 0);
    assert_int_equal(send_queue_peek(&q).len, 0);
    put(&q, 0, 10, 10);
    assert_non_null(send_queue_reserve(&q, 1000000)); /* a block of its own, without anything */
    send_queue_commit(&q, 0);
    put(&q, 1, 10, 1000000);
    put(&q, 2, 10, 10);
    drain(&q, &s, 7, small);
    assert_int_equal(s.message, 3);
    send_queue_deinit(&q);
    assert_null(q.first);
    assert_int_equal(q.bytes, 0);
}

static void test_appended(void **state)
{
    static const size_t mixed[] = {10, 200000, 70, 10};
    static struct server s;
    struct send_queue q;
    struct send_block *b;
    uint8_t *bytes;

    send_queue_init(&q, key);
    put(&q, 0, 10, 10);
    b = send_block_new(250000, &bytes);
    fill(bytes, 1, 200000);
    send_queue_append(&q, b, 200000);
    b = send_block_new(100, &bytes);
    fill(bytes, 2, 70);
    send_queue_append(&q, b, 70);
    put(&q, 3, 10, 10);
    drain(&q, &s, 1000, mixed);
    assert_int_equal(s.message, 4);
    assert_null(send_block_new(SIZE_MAX, &bytes));
    assert_null(send_queue_reserve(&q, SIZE_MAX));
    send_queue_deinit(&q);
}

/* 0 with a sanitizer, whose allocator is another. */
static size_t in_use(void)
{
    struct mallinfo2 m = mallinfo2();

    return m.uordblks + m.hblkhd;
}

static void test_memory_is_given_back(void **state)
{
    static const size_t one[] = {100};
    static struct server s;
    struct send_queue q;
    size_t before = in_use(), kept;

    send_queue_init(&q, key);
    for (size_t i = 0; i < 100; i++)
        put(&q, 0, 100000, 100000);
    while (q.bytes)
        send_queue_advance(&q, send_queue_peek(&q).len);
    assert_true(in_use() - before < 2 * 65536);

    put(&q, 0, 100, 100);
    drain(&q, &s, SIZE_MAX, one);
    kept = in_use();
    for (size_t i = 0; i < 1000; i++) { /* the block that is there does for all of them */
        s = (struct server){0};
        put(&q, 0, 100, 100);
        drain(&q, &s, SIZE_MAX, one);
    }
    assert_int_equal(in_use(), kept);
    send_queue_deinit(&q);
    assert_true(in_use() <= before);
}

/* Through a queue that never runs empty: blocks must not pile up. */
static void test_blocks_do_not_pile_up(void **state)
{
    struct send_queue q;
    size_t before = in_use();

    send_queue_init(&q, key);
    put(&q, 0, 1000, 1000);
    for (size_t i = 0; i < 20000; i++) {
        size_t frame = frame_header_size(1000) + 1000;

        put(&q, i, 1000, 1000);
        while (frame) {
            size_t n = send_queue_peek(&q).len;

            n = n < frame ? n : frame;
            send_queue_advance(&q, n);
            frame -= n;
        }
    }
    assert_true(in_use() - before < 1 << 20);
    send_queue_deinit(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_bytes),      cmocka_unit_test(test_many_in_one_span),
        cmocka_unit_test(test_taken_back),           cmocka_unit_test(test_appended),
        cmocka_unit_test(test_memory_is_given_back), cmocka_unit_test(test_blocks_do_not_pile_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
