/* send_queue: order and bytes through blocks, pieces, reservations taken back; memory is given back. */
#include "send_queue.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static uint8_t byte_of(size_t message, size_t i)
{
    return (uint8_t)(message * 31 + i * 7 + i / 256);
}

static void put(struct send_queue *q, size_t message, size_t len, size_t reserved)
{
    uint8_t *room = send_queue_reserve(q, reserved);

    assert_non_null(room);
    assert_int_equal((uintptr_t)room % 16, 0);
    for (size_t i = 0; i < len; i++)
        room[i] = byte_of(message, i);
    send_queue_commit(q, len);
}

/* Takes a message in pieces, and writes into the room before each, as lws does. */
static void take(struct send_queue *q, size_t message, size_t len, size_t piece)
{
    for (size_t done = 0; done < len;) {
        struct send_piece p = send_queue_peek(q, piece);
        assert_int_equal(p.len, len - done < piece ? len - done : piece);
        assert_int_equal(p.first, done == 0);
        assert_int_equal(p.final, done + p.len == len);
        for (size_t i = 0; i < p.len; i++)
            assert_int_equal(p.at[i], byte_of(message, done + i));
        memset(p.at - SEND_QUEUE_ROOM, 0xee, SEND_QUEUE_ROOM);
        memset(p.at, 0xdd, p.len);
        done += p.len;
        send_queue_advance(q, p.len);
    }
}

static void test_order_and_pieces(void **state)
{
    static const size_t lengths[] = {1, 100, 65000, 65536, 65537, 300000, 5, 16, 70000, 3};
    struct send_queue q = {0};
    size_t n = sizeof(lengths) / sizeof(lengths[0]), total = 0;

    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < n; i++) {
            put(&q, i, lengths[i], lengths[i] + i * 1000);
            total += lengths[i];
            assert_int_equal(q.bytes, total);
        }
        for (size_t i = 0; i < n; i++)
            take(&q, i, lengths[i], round == 0 ? 65536 : 4096);
        assert_int_equal(q.bytes, 0);
        assert_int_equal(send_queue_peek(&q, 100).len, 0);
        total = 0;
    }
    send_queue_deinit(&q);
    send_queue_deinit(&q);
}

/* Messages that were made outside go between the others, in their own memory. */
static void test_appended(void **state)
{
    static const size_t lengths[] = {10, 1, 70000, 300000, 7};
    struct send_queue q = {0};

    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < 5; i++) {
            uint8_t *bytes;
            struct send_block *b = send_block_new(lengths[i] + i * 1000, &bytes);
            assert_non_null(b);
            for (size_t k = 0; k < lengths[i]; k++)
                bytes[k] = byte_of(2 * i, k);
            send_queue_append(&q, b, lengths[i]);
            put(&q, 2 * i + 1, 20, 30);
        }
        for (size_t i = 0; i < 5; i++) {
            take(&q, 2 * i, lengths[i], 4096);
            take(&q, 2 * i + 1, 20, 4096);
        }
        assert_int_equal(q.bytes, 0);
    }
    uint8_t *bytes;
    struct send_block *b = send_block_new(100, &bytes);
    memset(bytes, byte_of(0, 0), 1);
    send_queue_append(&q, b, 1);
    send_queue_deinit(&q); /* not sent, and freed all the same */
    free(send_block_new(100, &bytes));
}

static void test_taken_back(void **state)
{
    struct send_queue q = {0};

    assert_non_null(send_queue_reserve(&q, 200000));
    send_queue_commit(&q, 0);
    assert_int_equal(send_queue_peek(&q, 100).len, 0);
    put(&q, 1, 10, 10);
    assert_non_null(send_queue_reserve(&q, 200000));
    send_queue_commit(&q, 0);
    put(&q, 2, 20, 100000);
    assert_non_null(send_queue_reserve(&q, 10));
    send_queue_commit(&q, 0);
    take(&q, 1, 10, 100);
    take(&q, 2, 20, 100);
    assert_int_equal(q.bytes, 0);
    assert_null(send_queue_reserve(&q, SIZE_MAX - 3));
    send_queue_deinit(&q);
}

/* Through a queue that never runs empty: blocks must not pile up. */
static void test_memory_is_given_back(void **state)
{
    struct send_queue q = {0};
    size_t at = 0;

    put(&q, 0, 1000, 1000);
    put(&q, 1, 8 << 20, 8 << 20);
    take(&q, 0, 1000, 65536);
    take(&q, 1, 8 << 20, 65536);
    assert_true(q.first == NULL || q.first == q.last);
    put(&q, 0, 1000, 1000);
    for (size_t i = 1; i < 20000; i++) {
        put(&q, i, 1000, 1000);
        take(&q, at++, 1000, 65536);
    }
    size_t blocks = mallinfo2().uordblks;
    assert_true(blocks < 1 << 20);
    send_queue_deinit(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_pieces),
        cmocka_unit_test(test_appended),
        cmocka_unit_test(test_taken_back),
        cmocka_unit_test(test_memory_is_given_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
