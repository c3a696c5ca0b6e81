/* frames: headers as a server sends and a client writes them, byte for byte at every border; masks. */
#include "frames.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* ---- Headers that are read ---- */

static const struct {
    const char *bytes;
    uint8_t size, opcode;
    bool final;
    uint64_t len;
} good[] = {
    {"\x82\x00", 2, FRAME_BINARY, true, 0},
    {"\x82\x01", 2, FRAME_BINARY, true, 1},
    {"\x82\x7d", 2, FRAME_BINARY, true, 125},
    {"\x82\x7e\x00\x7e", 4, FRAME_BINARY, true, 126},
    {"\x82\x7e\x00\x7f", 4, FRAME_BINARY, true, 127},
    {"\x82\x7e\x12\x34", 4, FRAME_BINARY, true, 0x1234},
    {"\x82\x7e\xff\xff", 4, FRAME_BINARY, true, 65535},
    {"\x82\x7f\x00\x00\x00\x00\x00\x01\x00\x00", 10, FRAME_BINARY, true, 65536},
    {"\x82\x7f\x01\x23\x45\x67\x89\xab\xcd\xef", 10, FRAME_BINARY, true, UINT64_C(0x0123456789abcdef)},
    {"\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", 10, FRAME_BINARY, true, INT64_MAX},
    {"\x02\x05", 2, FRAME_BINARY, false, 5},
    {"\x81\x05", 2, FRAME_TEXT, true, 5},
    {"\x01\x7e\x01\x00", 4, FRAME_TEXT, false, 256},
    {"\x80\x00", 2, FRAME_CONTINUATION, true, 0},
    {"\x00\x7d", 2, FRAME_CONTINUATION, false, 125},
    {"\x88\x00", 2, FRAME_CLOSE, true, 0},
    {"\x88\x7d", 2, FRAME_CLOSE, true, 125},
    {"\x89\x00", 2, FRAME_PING, true, 0},
    {"\x89\x7d", 2, FRAME_PING, true, 125},
    {"\x8a\x00", 2, FRAME_PONG, true, 0},
    {"\x8a\x7d", 2, FRAME_PONG, true, 125},
};

static void test_good_headers(void **state)
{
    for (size_t i = 0; i < COUNT(good); i++) {
        const uint8_t *bytes = (const uint8_t *)good[i].bytes;
        uint8_t followed[FRAME_HEADER_MAX + 2];
        struct frame_header h;

        for (size_t n = 0; n < good[i].size; n++)
            assert_int_equal(frame_read_header(&h, bytes, n), 0);
        memset(followed, 0xff, sizeof followed);
        memcpy(followed, bytes, good[i].size);
        for (size_t n = good[i].size; n <= sizeof followed; n++) {
            memset(&h, 0xee, sizeof h);
            assert_int_equal(frame_read_header(&h, followed, n), 1);
            assert_int_equal(h.size, good[i].size);
            assert_int_equal(h.opcode, good[i].opcode);
            assert_int_equal(h.final, good[i].final);
            assert_true(h.len == good[i].len);
            assert_int_equal(frame_is_control(&h), good[i].opcode >= 8);
        }
    }
}

static const struct {
    const char *bytes;
    size_t size, seen; /* as soon as so many bytes are there it is known */
} bad[] = {
    {"\x82\x7e\x00\x00", 4, 4}, /* not the shortest form */
    {"\x82\x7e\x00\x7d", 4, 4},
    {"\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x00", 10, 10},
    {"\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x7e", 10, 10},
    {"\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff", 10, 10},
    {"\x82\x7f\x80\x00\x00\x00\x00\x00\x00\x00", 10, 10}, /* 64 bits */
    {"\x82\x7f\xff\xff\xff\xff\xff\xff\xff\xff", 10, 10},
    {"\x08\x00", 2, 2}, /* control frames in fragments */
    {"\x09\x00", 2, 2},
    {"\x0a\x05", 2, 2},
    {"\x88\x7e\x00\x7e", 4, 2}, /* … above 125 */
    {"\x89\x7e\x00\x7e", 4, 2},
    {"\x8a\x7e\x00\x7e", 4, 2},
    {"\x89\x7f\x00\x00\x00\x00\x00\x01\x00\x00", 10, 2},
    {"\x82\x80\x01\x02\x03\x04", 6, 2}, /* a mask */
    {"\x82\xfe\x00\x7e\x01\x02\x03\x04", 8, 2},
    {"\x89\x85\x01\x02\x03\x04", 6, 2},
};

static void test_bad_headers(void **state)
{
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct frame_header h;

        for (size_t n = 0; n <= bad[i].size; n++)
            assert_int_equal(frame_read_header(&h, (const uint8_t *)bad[i].bytes, n),
                             n < bad[i].seen ? 0 : -EPROTO);
    }
}

/* All first bytes there are: reserved bits and opcodes are refused, whatever else is set. */
static void test_first_bytes(void **state)
{
    for (unsigned first = 0; first < 256; first++) {
        uint8_t bytes[2] = {(uint8_t)first, 0}, opcode = first & 0x0f;
        bool known = opcode <= 2 || (opcode >= 8 && opcode <= 10);
        bool right = known && !(first & 0x70) && (opcode < 8 || first & 0x80);
        struct frame_header h;

        assert_int_equal(frame_read_header(&h, bytes, 2), right ? 1 : -EPROTO);
    }
}

/* ---- Headers that are written ---- */

static uint32_t key_of(const char *bytes)
{
    uint32_t key;

    memcpy(&key, bytes, sizeof key);
    return key;
}

static const struct {
    enum frame_opcode opcode;
    bool final;
    size_t len, size;
    const char *bytes;
} written[] = {
    {FRAME_BINARY, true, 0, 6, "\x82\x80\x11\x22\x33\x44"},
    {FRAME_BINARY, true, 1, 6, "\x82\x81\x11\x22\x33\x44"},
    {FRAME_BINARY, true, 125, 6, "\x82\xfd\x11\x22\x33\x44"},
    {FRAME_BINARY, true, 126, 8, "\x82\xfe\x00\x7e\x11\x22\x33\x44"},
    {FRAME_BINARY, false, 0x1234, 8, "\x02\xfe\x12\x34\x11\x22\x33\x44"},
    {FRAME_BINARY, true, 65535, 8, "\x82\xfe\xff\xff\x11\x22\x33\x44"},
    {FRAME_BINARY, true, 65536, 14, "\x82\xff\x00\x00\x00\x00\x00\x01\x00\x00\x11\x22\x33\x44"},
    {FRAME_CONTINUATION, false, 0x0123456789abcdef, 14,
     "\x00\xff\x01\x23\x45\x67\x89\xab\xcd\xef\x11\x22\x33\x44"},
    {FRAME_CONTINUATION, true, 7, 6, "\x80\x87\x11\x22\x33\x44"},
    {FRAME_TEXT, true, 7, 6, "\x81\x87\x11\x22\x33\x44"},
    {FRAME_CLOSE, true, 2, 6, "\x88\x82\x11\x22\x33\x44"},
    {FRAME_PING, true, 0, 6, "\x89\x80\x11\x22\x33\x44"},
    {FRAME_PONG, true, 125, 6, "\x8a\xfd\x11\x22\x33\x44"},
};

static void test_written_headers(void **state)
{
    uint32_t key = key_of("\x11\x22\x33\x44");

    for (size_t i = 0; i < COUNT(written); i++) {
        uint8_t out[FRAME_HEADER_MAX + 2];
        size_t size = written[i].size;

        memset(out, 0xaa, sizeof out);
        assert_int_equal(frame_header_size(written[i].len), size);
        frame_write_header(out, written[i].opcode, written[i].final, written[i].len, key);
        assert_memory_equal(out, written[i].bytes, size);
        assert_int_equal(out[size], 0xaa);
        assert_true(frame_size(out) == size + written[i].len);
    }
}

/* ---- Masks ---- */

/* Of every length and wherever it lies, and nothing beside it. */
static void test_mask(void **state)
{
    static const char bytes[] = "\x01\x80\xff\x5c";
    uint32_t key = key_of(bytes);
    uint8_t room[64];

    for (size_t at = 0; at < 9; at++)
        for (size_t n = 0; n < 40; n++) {
            for (size_t i = 0; i < sizeof room; i++)
                room[i] = (uint8_t)(i * 3);
            frame_mask(room + at, n, key);
            for (size_t i = 0; i < sizeof room; i++) {
                uint8_t mask = i < at || i >= at + n ? 0 : (uint8_t)bytes[(i - at) % 4];

                assert_int_equal(room[i], (uint8_t)(i * 3) ^ mask);
            }
        }
}

/* The masked "Hello" of RFC 6455, 5.7. */
static void test_example_of_the_rfc(void **state)
{
    uint32_t key = key_of("\x37\xfa\x21\x3d");
    uint8_t out[11];

    frame_write_header(out, FRAME_TEXT, true, 5, key);
    memcpy(out + 6, "Hello", 5);
    frame_mask(out + 6, 5, key);
    assert_memory_equal(out, "\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58", 11);
    assert_int_equal(frame_size(out), 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_headers), cmocka_unit_test(test_bad_headers),
        cmocka_unit_test(test_first_bytes),  cmocka_unit_test(test_written_headers),
        cmocka_unit_test(test_mask),         cmocka_unit_test(test_example_of_the_rfc),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
