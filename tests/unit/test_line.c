/* Line framing: the same lines come out however the bytes were split, in bounded memory. */
#include "line.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define KEPT (64 * 1024)

/*
 * Everything that came out so far, one character in front of each: '+' a line, '!' a line that was too long.
 */
static char seen[512];

static void take_all(struct line_reader *r)
{
    enum line_result k;
    char *line;
    size_t len;
    while ((k = line_reader_next(r, &line, &len)) != LINE_NONE) {
        if (k == LINE_READY) {
            assert_int_equal(line[len], '\n');
            strcat(seen, "+");
            strncat(seen, line, len);
        } else {
            strcat(seen, "!");
        }
    }
}

/* Feeds bytes in pieces of at most `piece`, as a reading loop does. */
static void feed(struct line_reader *r, const char *bytes, size_t len, size_t piece)
{
    while (len > 0) {
        char *room;
        size_t n;
        assert_int_equal(line_reader_room(r, &room, &n), 0);
        assert_true(n >= 1);
        n = n < piece ? n : piece;
        n = n < len ? n : len;
        memcpy(room, bytes, n);
        line_reader_filled(r, n);
        take_all(r);
        bytes += n;
        len -= n;
    }
}

static void check(size_t max, size_t piece, const char *in, const char *expected)
{
    struct line_reader r;
    line_reader_init(&r, max, NULL);
    seen[0] = '\0';
    feed(&r, in, strlen(in), piece);
    assert_string_equal(seen, expected);
    line_reader_deinit(&r);
}

static void any_split_gives_the_same_lines(void **state)
{
    for (size_t piece = 1; piece < 40; piece++) {
        check(100, piece, "a\nbc\n\ndef\n", "+a+bc++def");
        check(4, piece, "1234\n12345\n1\n123456789012\n\n12\n", "+1234!+1!++12");
        check(4, piece, "123456\n123456\n", "!!");
        check(100, piece, "a\nunfinished", "+a");
    }
}

static void a_too_long_line_is_told_once_before_its_end_came(void **state)
{
    check(4, 100, "12345", "!");
    check(4, 1, "1234567890", "!");
    check(4, 1, "1234", "");
}

static void a_line_of_exactly_max_passes(void **state)
{
    char text[202];
    memset(text, 'x', sizeof(text));
    for (size_t len = 140; len <= 160; len++) {
        struct line_reader r;
        line_reader_init(&r, 150, NULL);
        seen[0] = '\0';
        feed(&r, text, len, 7);
        assert_int_equal(line_reader_pending(&r), len <= 150 ? len : 0);
        feed(&r, "\n", 1, 1);
        assert_int_equal(seen[0], len <= 150 ? '+' : '!');
        line_reader_deinit(&r);
    }
}

static void lines_are_given_out_where_they_lie(void **state)
{
    struct line_reader r;
    char *room, *line;
    size_t n, len;
    line_reader_init(&r, 1000, NULL);
    assert_int_equal(line_reader_room(&r, &room, &n), 0);
    memcpy(room, "ab\ncd\nef", 8);
    line_reader_filled(&r, 8);
    assert_int_equal(line_reader_next(&r, &line, &len), LINE_READY);
    assert_ptr_equal(line, room);
    assert_int_equal(len, 2);
    assert_int_equal(line_reader_next(&r, &line, &len), LINE_READY);
    assert_ptr_equal(line, room + 3);
    assert_int_equal(line_reader_pending(&r), 2);
    assert_int_equal(line_reader_next(&r, &line, &len), LINE_NONE);
    line_reader_deinit(&r);
}

/* Fills the reader with n bytes 'x', taking lines as it goes. */
static void feed_x(struct line_reader *r, size_t n)
{
    static char x[4096];
    memset(x, 'x', sizeof(x));
    for (; n > sizeof(x); n -= sizeof(x))
        feed(r, x, sizeof(x), sizeof(x));
    feed(r, x, n, n);
}

static void the_buffer_grows_to_the_line_and_shrinks_back(void **state)
{
    struct line_reader r;
    char *line;
    size_t len;
    line_reader_init(&r, 1 << 20, NULL);
    feed_x(&r, 1 << 20);
    assert_int_equal(r.capacity, (1 << 20) + 1);
    assert_int_equal(line_reader_pending(&r), 1 << 20);
    assert_int_equal(line_reader_room(&r, &line, &len), 0);
    assert_int_equal(len, 1);
    *line = '\n';
    line_reader_filled(&r, 1);
    assert_int_equal(line_reader_next(&r, &line, &len), LINE_READY);
    assert_int_equal(len, 1 << 20);
    assert_int_equal(line_reader_next(&r, &line, &len), LINE_NONE);
    assert_int_equal(line_reader_room(&r, &line, &len), 0);
    assert_int_equal(r.capacity, KEPT);
    line_reader_deinit(&r);
}

static void skipping_keeps_nothing(void **state)
{
    struct line_reader r;
    line_reader_init(&r, 1 << 20, NULL);
    seen[0] = '\0';
    feed_x(&r, (1 << 20) + 1);
    assert_string_equal(seen, "!");
    for (int i = 0; i < 64; i++) {
        feed_x(&r, 1 << 20);
        assert_int_equal(line_reader_pending(&r), 0);
        assert_int_equal(r.capacity, KEPT);
    }
    feed(&r, "x\nok\n", 5, 5);
    assert_string_equal(seen, "!+ok");
    line_reader_deinit(&r);
}

/* The search for '\n' begins where it ended: bytes that were looked at are not looked at again. */
static void what_was_scanned_is_not_scanned_again(void **state)
{
    struct line_reader r;
    char *line;
    size_t len;
    line_reader_init(&r, 1000, NULL);
    feed(&r, "abc", 3, 3);
    assert_int_equal(r.scanned, 3);
    r.buffer[r.start] = '\n'; /* would be found by a second look */
    assert_int_equal(line_reader_next(&r, &line, &len), LINE_NONE);
    line_reader_deinit(&r);
}

static void a_buffer_full_of_lines_that_nobody_took_is_told(void **state)
{
    struct line_reader r;
    char *room;
    size_t n;
    line_reader_init(&r, 7, NULL);
    assert_int_equal(line_reader_room(&r, &room, &n), 0);
    assert_int_equal(n, 8);
    memcpy(room, "a\nb\nc\nd\n", 8);
    line_reader_filled(&r, 8);
    assert_int_equal(line_reader_room(&r, &room, &n), -ENOBUFS);
    seen[0] = '\0';
    take_all(&r);
    assert_string_equal(seen, "+a+b+c+d");
    assert_int_equal(line_reader_room(&r, &room, &n), 0);
    line_reader_deinit(&r);
}

/* Two readers, one buffer: who holds the beginning of a line keeps it, and the other gets one of its own. */
static void a_spare_buffer_serves_readers_in_turn(void **state)
{
    struct line_reader a, b;
    struct line_spare spare = {0};
    char *first;

    line_reader_init(&a, 100, NULL);
    line_reader_init(&b, 100, NULL);
    seen[0] = '\0';
    line_reader_borrow(&a, &spare);
    feed(&a, "one\n", 4, 4);
    first = a.buffer;
    line_reader_give_back(&a, &spare);
    assert_null(a.buffer);
    assert_ptr_equal(spare.buffer, first);

    line_reader_borrow(&b, &spare);
    assert_ptr_equal(b.buffer, first);
    assert_null(spare.buffer);
    feed(&b, "tw", 2, 2);
    line_reader_give_back(&b, &spare);
    assert_ptr_equal(b.buffer, first);

    line_reader_borrow(&a, &spare);
    feed(&a, "three\n", 6, 6);
    line_reader_give_back(&a, &spare);
    line_reader_borrow(&b, &spare);
    feed(&b, "o\n", 2, 2);
    assert_string_equal(seen, "+one+three+two");
    line_reader_give_back(&b, &spare); /* there is one already */
    assert_null(b.buffer);
    assert_non_null(spare.buffer);
    line_reader_deinit(&a);
    line_reader_deinit(&b);
    free(spare.buffer);
}

static void a_large_buffer_is_no_spare(void **state)
{
    static char line[KEPT + 10];
    struct line_reader r;
    struct line_spare spare = {0};

    line_reader_init(&r, 2 * KEPT, NULL);
    memset(line, 'x', sizeof line);
    feed(&r, line, sizeof line, 4096);
    line_reader_give_back(&r, &spare);
    assert_int_equal(line_reader_pending(&r), sizeof line);
    r.start = r.filled; /* taken */
    line_reader_give_back(&r, &spare);
    assert_null(r.buffer);
    assert_null(spare.buffer);
    line_reader_deinit(&r);
}

static void deinit_twice_is_safe(void **state)
{
    struct line_reader r;
    line_reader_init(&r, 10, NULL);
    feed(&r, "abc", 3, 3);
    line_reader_deinit(&r);
    line_reader_deinit(&r);
    assert_int_equal(line_reader_pending(&r), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_split_gives_the_same_lines),
        cmocka_unit_test(a_too_long_line_is_told_once_before_its_end_came),
        cmocka_unit_test(a_line_of_exactly_max_passes),
        cmocka_unit_test(lines_are_given_out_where_they_lie),
        cmocka_unit_test(the_buffer_grows_to_the_line_and_shrinks_back),
        cmocka_unit_test(skipping_keeps_nothing),
        cmocka_unit_test(what_was_scanned_is_not_scanned_again),
        cmocka_unit_test(a_buffer_full_of_lines_that_nobody_took_is_told),
        cmocka_unit_test(a_spare_buffer_serves_readers_in_turn),
        cmocka_unit_test(a_large_buffer_is_no_spare),
        cmocka_unit_test(deinit_twice_is_safe),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
