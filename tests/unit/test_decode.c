/*
 * The decoder: exact text for every format, every error, and no byte read or written that is not its own
 * (input and output are heap blocks of their exact size, for AddressSanitizer). The second half compares it
 * with msgpack-c, whose objects a plain recursive printer turns to JSON, on random values, damaged ones and
 * garbage.
 */
#include <jansson.h>

#include "decode.h"
#include "vocabulary.h"

#include <msgpack.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <cmocka.h>

static uint64_t random_state = 88172645463325252;

static uint64_t random_next(void) /* xorshift */
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    return random_state ^= random_state << 17;
}

static uint64_t random_below(uint64_t n)
{
    return random_next() % n;
}

struct bytes {
    uint8_t at[4096];
    size_t len;
};

static struct bytes hex(const char *text)
{
    struct bytes b = {.len = 0};
    unsigned value;
    int used;
    for (; sscanf(text, "%2x%n", &value, &used) == 1; text += used)
        b.at[b.len++] = (uint8_t)value;
    return b;
}

static void add(struct bytes *b, const char *more)
{
    struct bytes m = hex(more);
    memcpy(b->at + b->len, m.at, m.len);
    b->len += m.len;
}

static void add_times(struct bytes *b, const char *more, unsigned times)
{
    while (times--)
        add(b, more);
}

static uint8_t *exact_copy(const uint8_t *bytes, size_t len)
{
    uint8_t *copy = malloc(len ? len : 1);
    memcpy(copy, bytes, len);
    return copy;
}

/* ---- Every format ---- */

static void expect_decoded(const struct decode_options *o, struct bytes b, const char *json)
{
    char text[65536];
    uint8_t *in = exact_copy(b.at, b.len);
    struct json_writer w;
    json_writer_init(&w, text, sizeof(text));
    json_literal(&w, "before");
    enum decode_result r = decode_value(o, in, b.len, &w);
    free(in);
    if (r != DECODE_OK)
        fail_msg("%s instead of %s", decode_result_text(r), json);
    *w.at = '\0';
    assert_memory_equal(text, "before", 6);
    assert_string_equal(text + 6, json);
}

static void expect_json(const char *bytes, const char *json)
{
    expect_decoded(NULL, hex(bytes), json);
}

static void expect_error_of(struct bytes b, enum decode_result expected)
{
    char text[65536];
    uint8_t *in = exact_copy(b.at, b.len);
    struct json_writer w;
    struct decode_frame f;
    json_writer_init(&w, text, sizeof(text));
    assert_string_equal(decode_result_text(decode_value(NULL, in, b.len, &w)), decode_result_text(expected));
    json_writer_init(&w, text, sizeof(text));
    assert_string_equal(decode_result_text(decode_frame(NULL, in, b.len, &w, &f)),
                        decode_result_text(expected));
    free(in);
}

static void expect_error(const char *bytes, enum decode_result expected)
{
    expect_error_of(hex(bytes), expected);
}

struct row {
    const char *bytes, *json;
};

static void expect_rows(const struct row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        expect_json(rows[i].bytes, rows[i].json);
}

#define EXPECT_ROWS(rows) expect_rows(rows, sizeof(rows) / sizeof((rows)[0]))

static void test_scalars(void **state)
{
    static const struct row rows[] = {
        {"c0", "null"},
        {"c2", "false"},
        {"c3", "true"},
        {"00", "0"},
        {"09", "9"},
        {"0a", "10"},
        {"7f", "127"},
        {"ff", "-1"},
        {"e0", "-32"},
        {"cc 00", "0"},
        {"cc ff", "255"},
        {"cd 0000", "0"},
        {"cd ffff", "65535"},
        {"ce 00000000", "0"},
        {"ce ffffffff", "4294967295"},
        {"cf 0000000000000000", "0"},
        {"cf 0020000000000001", "9007199254740993"},
        {"cf 7fffffffffffffff", "9223372036854775807"},
        {"cf 8000000000000000", "9223372036854775808"},
        {"cf ffffffffffffffff", "18446744073709551615"},
        {"d0 00", "0"},
        {"d0 7f", "127"},
        {"d0 80", "-128"},
        {"d0 ff", "-1"},
        {"d1 7fff", "32767"},
        {"d1 8000", "-32768"},
        {"d1 ffff", "-1"},
        {"d2 7fffffff", "2147483647"},
        {"d2 80000000", "-2147483648"},
        {"d2 ffffffff", "-1"},
        {"d3 7fffffffffffffff", "9223372036854775807"},
        {"d3 8000000000000000", "-9223372036854775808"},
        {"d3 ffffffffffffffff", "-1"},
        {"ca 00000000", "0.0"},
        {"ca 80000000", "-0.0"},
        {"ca 3fc00000", "1.5"},
        {"ca 3dcccccd", "0.10000000149011612"},
        {"ca 7f7fffff", "3.4028234663852886e38"},
        {"ca 00000001", "1.401298464324817e-45"},
        {"ca 7fc00000", "null"},
        {"ca 7f800000", "null"},
        {"ca ff800000", "null"},
        {"cb 0000000000000000", "0.0"},
        {"cb 3fb999999999999a", "0.1"},
        {"cb 4278bcfe568007b0", "1700000000000.4805"},
        {"cb 7fefffffffffffff", "1.7976931348623157e308"},
        {"cb 0000000000000001", "5e-324"},
        {"cb 7ff8000000000000", "null"},
        {"cb fff0000000000000", "null"},
    };
    EXPECT_ROWS(rows);
}

static void test_strings(void **state)
{
    static const struct row rows[] = {
        {"a0", "\"\""},
        {"a1 61", "\"a\""},
        {"a3 e4bda0", "\"你\""},
        {"a4 f09f9880", "\"😀\""},
        {"a6 22 5c 0a 00 7f 1f", "\"\\\"\\\\\\n\\u0000\x7f\\u001f\""},
        {"a2 c3 28", "\"\xef\xbf\xbd(\""},
        {"a3 eda080", "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""},
        {"a2 e4bd", "\"\xef\xbf\xbd\""},
        {"d9 00", "\"\""},
        {"d9 03 616263", "\"abc\""},
        {"da 0000", "\"\""},
        {"da 0003 616263", "\"abc\""},
        {"db 00000000", "\"\""},
        {"db 00000003 616263", "\"abc\""},
        {"92 a2 e4bd a1 a0",
         "[\"\xef\xbf\xbd\",\"\xef\xbf\xbd\"]"}, /* what is cut off ends with its string */
    };
    EXPECT_ROWS(rows);
    static const struct {
        const char *head;
        size_t len;
    } heads[] = {{"bf", 31}, {"d920", 32}, {"d9ff", 255}, {"da0100", 256}, {"db00000800", 2048}};
    for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
        char json[4096] = "\"";
        struct bytes b = hex(heads[i].head);
        add_times(&b, "78", (unsigned)heads[i].len);
        memset(json + 1, 'x', heads[i].len);
        json[1 + heads[i].len] = '"';
        expect_decoded(NULL, b, json);
    }
}

static void test_containers(void **state)
{
    static const struct row rows[] = {
        {"90", "[]"},
        {"91 c0", "[null]"},
        {"93 01 02 03", "[1,2,3]"},
        {"92 90 80", "[[],{}]"},
        {"dc 0000", "[]"},
        {"dc 0002 01 a1 61", "[1,\"a\"]"},
        {"dd 00000000", "[]"},
        {"dd 00000001 91 90", "[[[]]]"},
        {"80", "{}"},
        {"81 a1 61 01", "{\"a\":1}"},
        {"82 a1 61 01 a1 62 80", "{\"a\":1,\"b\":{}}"},
        {"82 a1 61 01 a1 61 02", "{\"a\":1,\"a\":2}"}, /* duplicates pass, in order */
        {"de 0000", "{}"},
        {"de 0001 a1 61 81 a1 62 91 c3", "{\"a\":{\"b\":[true]}}"},
        {"df 00000000", "{}"},
        {"df 00000001 a0 a0", "{\"\":\"\"}"},
        {"81 a3 22 0a ff 00", "{\"\\\"\\n\xef\xbf\xbd\":0}"},
    };
    EXPECT_ROWS(rows);
    struct bytes b = hex("9f");
    add_times(&b, "01", 15);
    expect_decoded(NULL, b, "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]");
}

static void test_binaries(void **state)
{
    static const struct row rows[] = {
        {"c4 00", "{\"$bin\":\"\"}"},
        {"c4 01 66", "{\"$bin\":\"Zg==\"}"},
        {"c5 0002 666f", "{\"$bin\":\"Zm8=\"}"},
        {"c6 00000003 666f6f", "{\"$bin\":\"Zm9v\"}"},
        {"92 c4 03 fbffbf 01", "[{\"$bin\":\"+/+/\"},1]"},
    };
    EXPECT_ROWS(rows);
}

static bool attach_length(void *self, struct json_writer *w, const uint8_t *bytes, size_t len)
{
    ++*(int *)self;
    if (len > 3)
        return false;
    json_literal(w, "{\"$file\":\"");
    json_string_inner(w, (const char *)bytes, len);
    json_literal(w, "\"}");
    return true;
}

static void test_large_binaries_are_attached(void **state)
{
    int calls = 0;
    struct decode_options o = {.inline_max = 2, .attach = attach_length, .self = &calls};
    expect_decoded(&o, hex("93 c4 02 6162 c4 03 616263 01"), "[{\"$bin\":\"YWI=\"},{\"$file\":\"abc\"},1]");
    assert_int_equal(calls, 1);
    expect_decoded(&o, hex("92 c4 04 61626364 c4 03 616263"),
                   "[{\"$bin\":\"YWJjZA==\"},{\"$file\":\"abc\"}]");
    assert_int_equal(calls, 3);
    o.attach = NULL;
    expect_decoded(&o, hex("c4 03 616263"), "{\"$bin\":\"YWJj\"}");
}

static void test_extensions(void **state)
{
    static const struct row rows[] = {
        {"d4 00 66", "{\"$ext\":{\"type\":0,\"data\":\"Zg==\"}}"},
        {"d5 7f 666f", "{\"$ext\":{\"type\":127,\"data\":\"Zm8=\"}}"},
        {"d6 80 666f6f62", "{\"$ext\":{\"type\":-128,\"data\":\"Zm9vYg==\"}}"},
        {"d7 01 666f6f626172ffff", "{\"$ext\":{\"type\":1,\"data\":\"Zm9vYmFy//8=\"}}"},
        {"d8 02 00000000000000000000000000000000",
         "{\"$ext\":{\"type\":2,\"data\":\"AAAAAAAAAAAAAAAAAAAAAA==\"}}"},
        {"c7 00 05", "{\"$ext\":{\"type\":5,\"data\":\"\"}}"},
        {"c7 03 fe 666f6f", "{\"$ext\":{\"type\":-2,\"data\":\"Zm9v\"}}"},
        {"c8 0003 05 666f6f", "{\"$ext\":{\"type\":5,\"data\":\"Zm9v\"}}"},
        {"c9 00000003 05 666f6f", "{\"$ext\":{\"type\":5,\"data\":\"Zm9v\"}}"},
    };
    EXPECT_ROWS(rows);
}

static void test_timestamps(void **state)
{
    static const struct row rows[] = {
        {"d6 ff 00000000", "\"1970-01-01T00:00:00Z\""},
        {"d6 ff 6553f100", "\"2023-11-14T22:13:20Z\""},
        {"d6 ff 65e0937f", "\"2024-02-29T14:23:59Z\""},
        {"d6 ff ffffffff", "\"2106-02-07T06:28:15Z\""},
        {"c7 04 ff 38bb4b00", "\"2000-02-29T04:28:48Z\""},
        {"d7 ff 00000000 6553f100", "\"2023-11-14T22:13:20Z\""},
        {"d7 ff 1d4d3e00 6553f100", "\"2023-11-14T22:13:20.122900352Z\""},
        {"d7 ff 77359400 00000000", "\"1970-01-01T00:00:00.5Z\""},
        {"d7 ff 00000004 00000000", "\"1970-01-01T00:00:00.000000001Z\""},
        {"d7 ff ee6b27fc 00000000", "\"1970-01-01T00:00:00.999999999Z\""},
        {"d7 ff 00000003 ffffffff", "\"2514-05-30T01:53:03Z\""},
        {"d7 ff ee6b2800 00000000", "{\"$ext\":{\"type\":-1,\"data\":\"7msoAAAAAAA=\"}}"}, /* 10^9 ns */
        {"c7 0c ff 00000000 0000000000000000", "\"1970-01-01T00:00:00Z\""},
        {"c7 0c ff 3b9ac9ff ffffffffffffffff", "\"1969-12-31T23:59:59.999999999Z\""},
        {"c7 0c ff 000f4240 ffffffff7c558180", "\"1900-01-01T00:00:00.001Z\""},
        {"c7 0c ff 00000000 fffffff1868b8400", "\"0000-01-01T00:00:00Z\""},
        {"c7 0c ff 00000000 fffffff1868b83ff", "{\"$ext\":{\"type\":-1,\"data\":\"AAAAAP////GGi4P/\"}}"},
        {"c7 0c ff 00000000 fffffff186d94c80", "\"0000-02-29T00:00:00Z\""},
        {"c7 0c ff 00000000 0000003afff4417f", "\"9999-12-31T23:59:59Z\""},
        {"c7 0c ff 00000000 0000003afff44180", "{\"$ext\":{\"type\":-1,\"data\":\"AAAAAAAAADr/9EGA\"}}"},
        {"c7 0c ff 00000000 8000000000000000", "{\"$ext\":{\"type\":-1,\"data\":\"AAAAAIAAAAAAAAAA\"}}"},
        {"c7 0c ff 00000000 7fffffffffffffff", "{\"$ext\":{\"type\":-1,\"data\":\"AAAAAH//////////\"}}"},
        {"c7 0c ff 3b9aca00 0000000000000000", "{\"$ext\":{\"type\":-1,\"data\":\"O5rKAAAAAAAAAAAA\"}}"},
        {"d4 ff 00", "{\"$ext\":{\"type\":-1,\"data\":\"AA==\"}}"},
        {"c7 00 ff", "{\"$ext\":{\"type\":-1,\"data\":\"\"}}"},
        {"c7 05 ff 0000000000", "{\"$ext\":{\"type\":-1,\"data\":\"AAAAAAA=\"}}"},
    };
    EXPECT_ROWS(rows);
}

/* The C library's calendar as the oracle, a prime number of seconds apart, over all years. */
static void test_timestamps_over_all_years(void **state)
{
    for (int64_t seconds = -62167219200; seconds < 253402300800; seconds += 7654321) {
        char text[64], json[64];
        struct bytes b = hex("c7 0c ff 00000000");
        struct tm tm;
        time_t t = (time_t)seconds;
        for (int i = 7; i >= 0; i--)
            b.at[b.len++] = (uint8_t)((uint64_t)seconds >> 8 * i);
        gmtime_r(&t, &tm);
        snprintf(json, sizeof(json), "\"%04d-%02d-%02dT%02d:%02d:%02dZ\"", tm.tm_year + 1900, tm.tm_mon + 1,
                 tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec);
        struct json_writer w;
        json_writer_init(&w, text, sizeof(text) - 1);
        assert_int_equal(decode_value(NULL, b.at, b.len, &w), DECODE_OK);
        *w.at = '\0';
        assert_string_equal(text, json);
    }
}

static void test_keys_that_are_no_strings(void **state)
{
    static const struct row rows[] = {
        {"81 05 00", "{\"5\":0}"},
        {"81 ff 00", "{\"-1\":0}"},
        {"81 cf ffffffffffffffff 00", "{\"18446744073709551615\":0}"},
        {"81 c0 00", "{\"null\":0}"},
        {"81 c2 00", "{\"false\":0}"},
        {"81 c3 c3", "{\"true\":true}"},
        {"81 cb 3fb999999999999a 00", "{\"0.1\":0}"},
        {"81 cb 7ff8000000000000 00", "{\"null\":0}"},
        {"81 c4 01 66 00", "{\"{\\\"$bin\\\":\\\"Zg==\\\"}\":0}"},
        {"81 d4 05 66 00", "{\"{\\\"$ext\\\":{\\\"type\\\":5,\\\"data\\\":\\\"Zg==\\\"}}\":0}"},
        {"81 d6 ff 00000000 00", "{\"\\\"1970-01-01T00:00:00Z\\\"\":0}"},
        {"81 90 00", "{\"[]\":0}"},
        {"81 80 00", "{\"{}\":0}"},
        {"81 91 01 00", "{\"[1]\":0}"},
        {"82 92 01 a1 61 00 a1 62 01", "{\"[1,\\\"a\\\"]\":0,\"b\":1}"},
        {"81 91 a2 22 0a 00", "{\"[\\\"\\\\\\\"\\\\n\\\"]\":0}"},
        {"81 81 a1 61 81 a1 62 01 00", "{\"{\\\"a\\\":{\\\"b\\\":1}}\":0}"},
        {"81 81 01 c0 c0", "{\"{\\\"1\\\":null}\":null}"},
        {"81 81 81 01 c0 c0 c0", "{\"{\\\"{\\\\\\\"1\\\\\\\":null}\\\":null}\":null}"},
        {"91 82 91 90 81 90 90 c0 01", "[{\"[[]]\":{\"[]\":[]},\"null\":1}]"},
    };
    EXPECT_ROWS(rows);
}

/* ---- Errors ---- */

static void test_errors(void **state)
{
    static const struct {
        const char *bytes;
        enum decode_result result;
    } rows[] = {
        {"", DECODE_TRUNCATED},
        {"c1", DECODE_INVALID},
        {"92 01 c1", DECODE_INVALID},
        {"81 c1 00", DECODE_INVALID},
        {"81 a1 61 c1", DECODE_INVALID},
        {"81 a4 636f6465 c1", DECODE_INVALID},
        {"c0 c0", DECODE_TRAILING},
        {"00 c1", DECODE_TRAILING},
        {"90 00", DECODE_TRAILING},
        {"91 90 00", DECODE_TRAILING},
        {"80 00", DECODE_TRAILING},
        {"81 a1 61 00 00", DECODE_TRAILING},
        {"a1", DECODE_TRUNCATED},
        {"d9", DECODE_TRUNCATED},
        {"d9 01", DECODE_TRUNCATED},
        {"da 00", DECODE_TRUNCATED},
        {"db ffffffff 61", DECODE_TRUNCATED},
        {"c4 02 00", DECODE_TRUNCATED},
        {"c6 ffffffff", DECODE_TRUNCATED},
        {"d4", DECODE_TRUNCATED},
        {"d4 00", DECODE_TRUNCATED},
        {"d6 ff 000000", DECODE_TRUNCATED},
        {"d8 00 00", DECODE_TRUNCATED},
        {"c7 00", DECODE_TRUNCATED},
        {"c9 ffffffff 00", DECODE_TRUNCATED},
        {"cc", DECODE_TRUNCATED},
        {"cf 00000000000000", DECODE_TRUNCATED},
        {"ca 000000", DECODE_TRUNCATED},
        {"cb 00000000000000", DECODE_TRUNCATED},
        {"91", DECODE_TRUNCATED},
        {"92 00", DECODE_TRUNCATED},
        {"dc 0002 00", DECODE_TRUNCATED},
        {"dd 08000000", DECODE_TRUNCATED},
        {"dd ffffffff 00", DECODE_TRUNCATED},
        {"81", DECODE_TRUNCATED},
        {"81 a1 61", DECODE_TRUNCATED},
        {"82 a0 00 a0", DECODE_TRUNCATED},
        {"de 0001 a0", DECODE_TRUNCATED},
        {"df ffffffff a0 00", DECODE_TRUNCATED},
        {"df 80000000 a0 00", DECODE_TRUNCATED}, /* twice that is 2^32 */
        {"81 81 81", DECODE_TRUNCATED},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        expect_error(rows[i].bytes, rows[i].result);
}

static void test_counts_are_checked_before_any_item(void **state)
{
    static const char *const rows[] = {"dd 00000003 c1 00", "df 00000002 c1 00 00"};
    for (size_t i = 0; i < 2; i++) /* else it would be the 0xc1 that is found */
        expect_error(rows[i], DECODE_TRUNCATED);
}

static void test_depth(void **state)
{
    struct bytes b = {.len = 0};
    char json[256] = "";
    add_times(&b, "91", DECODE_DEPTH_MAX - 1);
    add(&b, "90");
    memset(json, '[', DECODE_DEPTH_MAX);
    memset(json + DECODE_DEPTH_MAX, ']', DECODE_DEPTH_MAX);
    expect_decoded(NULL, b, json);
    b.len = 0;
    add_times(&b, "91", DECODE_DEPTH_MAX);
    add(&b, "c0");
    memcpy(json + DECODE_DEPTH_MAX, "null", 4);
    memset(json + DECODE_DEPTH_MAX + 4, ']', DECODE_DEPTH_MAX);
    expect_decoded(NULL, b, json);
    b.len = 0;
    add_times(&b, "91", DECODE_DEPTH_MAX);
    add(&b, "90");
    expect_error_of(b, DECODE_TOO_DEEP);
    b.len = 0;
    add_times(&b, "81a161", DECODE_DEPTH_MAX);
    add(&b, "80");
    expect_error_of(b, DECODE_TOO_DEEP);
    b.len = 0;
    add_times(&b, "91", sizeof(b.at) - 1);
    add(&b, "c0");
    expect_error_of(b, DECODE_TOO_DEEP);
}

static void test_depth_of_keys(void **state)
{
    struct bytes b = {.len = 0};
    char text[4096];
    struct json_writer w;
    add_times(&b, "81", 1 + DECODE_KEY_DEPTH_MAX);
    add(&b, "c0");
    add_times(&b, "c0", 1 + DECODE_KEY_DEPTH_MAX);
    json_writer_init(&w, text, sizeof(text));
    assert_int_equal(decode_value(NULL, b.at, b.len, &w), DECODE_OK);
    b.len = 0;
    add_times(&b, "81", 2 + DECODE_KEY_DEPTH_MAX);
    add(&b, "c0");
    add_times(&b, "c0", 2 + DECODE_KEY_DEPTH_MAX);
    expect_error_of(b, DECODE_TOO_DEEP);
    b.len = 0; /* one after the other is no nesting */
    add(&b, "88");
    add_times(&b, "91 91 91 01 02", 8);
    expect_decoded(NULL, b,
                   "{\"[[[1]]]\":2,\"[[[1]]]\":2,\"[[[1]]]\":2,\"[[[1]]]\":2,\"[[[1]]]\":2,\"[[[1]]]\":2,"
                   "\"[[[1]]]\":2,\"[[[1]]]\":2}");
}

static struct bytes rich_frame(void)
{
    struct bytes b = hex("83 a4 636f6465 d3 0000000000000000 a4 64617461 8c");
    add(&b, "a9 6d6573736167654964 d9 24 "
            "32663164396335322d366630622d346435652d396134332d356237663366306338653131");
    add(&b, "ab 6d65737361676554797065 a6 5478744d7367 a4 66726f6d a5 616c696365 a2 746f da 0003 626f62");
    add(&b, "b0 636f6e766572736174696f6e54797065 cc 01 a8 73656e7454696d65 cf 0000018bcfe568ff");
    add(&b, "a7 636f6e74656e74 81 a7 6d657373616765 a6 e4bda0e5a5bd");
    add(&b, "05 cd 0102 c0 ce 01020304 c3 d1 8000 91 01 d2 80000000 ca 3fc00000 db 00000001 78");
    add(&b, "a6 6572724d7367 96 c4 03 010203 c5 0001 ff c6 00000001 fe d6 ff 6553f100 c7 02 05 0102 c2");
    return b;
}

static const char rich_json[] =
    "\"code\":0,\"data\":{\"messageId\":\"2f1d9c52-6f0b-4d5e-9a43-5b7f3f0c8e11\",\"messageType\":\"TxtMsg\","
    "\"from\":\"alice\",\"to\":\"bob\",\"conversationType\":1,\"sentTime\":1700000000255,\"content\":"
    "{\"message\":\"你好\"},\"5\":258,\"null\":16909060,\"true\":-32768,\"[1]\":-2147483648,\"1.5\":\"x\"},"
    "\"errMsg\":[{\"$bin\":\"AQID\"},{\"$bin\":\"/w==\"},{\"$bin\":\"/g==\"},\"2023-11-14T22:13:20Z\","
    "{\"$ext\":{\"type\":5,\"data\":\"AQI=\"}},false]";

static void test_cut_off_anywhere(void **state)
{
    struct bytes rich = rich_frame();
    for (size_t len = 0; len < rich.len; len++) {
        struct bytes b = rich;
        b.len = len;
        expect_error_of(b, DECODE_TRUNCATED);
    }
    add(&rich, "00");
    expect_error_of(rich, DECODE_TRAILING);
}

/* ---- Room ---- */

typedef enum decode_result decode_fn(struct bytes b, struct json_writer *w);

static enum decode_result run_value(struct bytes b, struct json_writer *w)
{
    return decode_value(NULL, b.at, b.len, w);
}

static enum decode_result run_frame(struct bytes b, struct json_writer *w)
{
    struct decode_frame f;
    return decode_frame(NULL, b.at, b.len, w, &f);
}

static void expect_ends_well_in_any_room(decode_fn *run, struct bytes b)
{
    char *text = malloc(65536);
    struct json_writer w;
    json_writer_init(&w, text, 65536);
    assert_int_equal(run(b, &w), DECODE_OK);
    size_t full = json_writer_length(&w);
    for (size_t size = 0; size < full + 16; size++) {
        char *span = malloc(size + 1);
        json_writer_init(&w, span, size);
        enum decode_result r = run(b, &w);
        if (size < full || r != DECODE_OK) {
            assert_string_equal(decode_result_text(r), decode_result_text(DECODE_NO_ROOM));
        } else {
            assert_int_equal(json_writer_length(&w), full);
            assert_memory_equal(span, text, full);
        }
        if (size >= full + 8)
            assert_int_equal(r, DECODE_OK);
        free(span);
    }
    free(text);
}

static void test_no_room(void **state)
{
    static const char *const rows[] = {
        "c0",
        "a0",
        "05",
        "cd 1000",
        "90",
        "80",
        "c4 05 0102030405",
        "d6 ff 6553f100",
        "81 91 a1 22 c0",
        "81 81 81 a1 5c c0 c0 c0",
        "92 81 05 c0 ca 3dcccccd",
        "81 a3 736571 05",
        "c7 03 05 010203",
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        expect_ends_well_in_any_room(run_value, hex(rows[i]));
        expect_ends_well_in_any_room(run_frame, hex(rows[i]));
    }
    expect_ends_well_in_any_room(run_value, rich_frame());
    expect_ends_well_in_any_room(run_frame, rich_frame());
}

/* A few bytes at a time, in another block each time. */
static bool grow_by_moving(struct json_writer *w, size_t need)
{
    size_t length = json_writer_length(w);
    char *moved = malloc(length + need);
    if (length)
        memcpy(moved, w->base, length);
    free(w->base);
    *w = (struct json_writer){moved, moved + length, moved + length + need, w->grow, w->owner, w->failed};
    return true;
}

static const char *nul_terminated(struct json_writer *w)
{
    assert_true(json_room(w, 1));
    *w->at = '\0';
    return w->base;
}

static void test_the_text_may_move(void **state)
{
    struct bytes b = rich_frame();
    struct json_writer w = {.grow = grow_by_moving};
    struct decode_frame f;
    json_literal(&w, "before");
    assert_int_equal(decode_frame(NULL, b.at, b.len, &w, &f), DECODE_OK);
    assert_int_equal(json_writer_length(&w), 6 + sizeof(rich_json) - 1);
    assert_memory_equal(w.base, "before", 6);
    assert_memory_equal(w.base + 6, rich_json, sizeof(rich_json) - 1);
    assert_int_equal(f.type.json_len, 6);
    assert_memory_equal(w.base + 6 + f.type.json_at, "TxtMsg", 6);
    free(w.base);
    w = (struct json_writer){.grow = grow_by_moving};
    b = hex("81 81 81 91 a2 225c c0 c0 c0");
    assert_int_equal(decode_value(NULL, b.at, b.len, &w), DECODE_OK);
    expect_decoded(NULL, b, nul_terminated(&w));
    free(w.base);
}

/* ---- Frames ---- */

struct frame_result {
    char text[4096];
    uint8_t *in;
    struct decode_frame f;
};

/* in must be freed */
static void frame_run(struct frame_result *r, struct bytes b, const char *json)
{
    struct json_writer w;
    json_writer_init(&w, r->text, sizeof(r->text) - 1);
    json_literal(&w, "{\"seq\":1,");
    r->in = exact_copy(b.at, b.len);
    memset(&r->f, 0xa5, sizeof(r->f));
    assert_string_equal(decode_result_text(decode_frame(NULL, r->in, b.len, &w, &r->f)), "ok");
    *w.at = '\0';
    assert_string_equal(r->text + 9, json);
    memmove(r->text, r->text + 9, strlen(r->text + 9) + 1);
}

static void expect_field(const struct frame_result *r, const struct decode_string *s, const char *bytes,
                         const char *json)
{
    if (!bytes) {
        assert_null(s->bytes);
        assert_int_equal(s->len, 0);
        assert_int_equal(s->json_len, 0);
        return;
    }
    assert_non_null(s->bytes);
    assert_int_equal(s->len, strlen(bytes));
    assert_memory_equal(s->bytes, bytes, s->len);
    assert_int_equal(s->json_len, strlen(json));
    assert_memory_equal(r->text + s->json_at, json, s->json_len);
    assert_int_equal(r->text[s->json_at - 1], '"');
    assert_int_equal(r->text[s->json_at + s->json_len], '"');
}

static void test_frame(void **state)
{
    struct frame_result r;
    frame_run(&r, rich_frame(), rich_json);
    assert_true(r.f.is_envelope && r.f.has_code && r.f.has_data && r.f.has_conversation);
    assert_int_equal(r.f.code, 0);
    assert_int_equal(r.f.conversation, 1);
    expect_field(&r, &r.f.message_id, "2f1d9c52-6f0b-4d5e-9a43-5b7f3f0c8e11",
                 "2f1d9c52-6f0b-4d5e-9a43-5b7f3f0c8e11");
    expect_field(&r, &r.f.type, "TxtMsg", "TxtMsg");
    expect_field(&r, &r.f.from, "alice", "alice");
    expect_field(&r, &r.f.to, "bob", "bob");
    expect_field(&r, &r.f.signal, NULL, NULL);
    free(r.in);
}

static void test_frame_strings_as_they_stand_and_escaped(void **state)
{
    struct frame_result r;
    frame_run(&r, hex("81 a4 64617461 83 aa 7369676e616c4e616d65 a3 61220a a4 66726f6d a1 ff a2 746f a0"),
              "\"data\":{\"signalName\":\"a\\\"\\n\",\"from\":\"\xef\xbf\xbd\",\"to\":\"\"}");
    expect_field(&r, &r.f.signal, "a\"\n", "a\\\"\\n");
    expect_field(&r, &r.f.from, "\xff", "\xef\xbf\xbd");
    expect_field(&r, &r.f.to, "", "");
    assert_true(r.f.is_envelope && !r.f.has_code && r.f.has_data && !r.f.has_conversation);
    free(r.in);
}

static void test_frames_of_all_sorts(void **state)
{
    static const struct {
        const char *bytes, *json;
        bool is_envelope, has_code;
        int64_t code;
        bool has_data;
    } rows[] = {
        {"82 a6 6572724d7367 a5 636c6f7365 a4 636f6465 04", "\"errMsg\":\"close\",\"code\":4", true, true, 4,
         0},
        {"81 a4 636f6465 ff", "\"code\":-1", true, true, -1, false},
        {"81 a4 636f6465 cf ffffffffffffffff", "\"code\":18446744073709551615", true, true, INT64_MAX, false},
        {"81 a4 636f6465 d3 8000000000000000", "\"code\":-9223372036854775808", true, true, INT64_MIN, false},
        {"81 a4 636f6465 a1 30", "\"code\":\"0\"", true, false, 0, false},
        {"81 a4 636f6465 c0", "\"code\":null", true, false, 0, false},
        {"81 a4 636f6465 cb 0000000000000000", "\"code\":0.0", true, false, 0, false},
        {"81 a4 636f6465 81 a1 61 05", "\"code\":{\"a\":5}", true, false, 0, false},
        {"82 a4 636f6465 01 a4 636f6465 02", "\"code\":1,\"code\":2", true, true, 2, false},
        {"82 a4 636f6465 01 a4 636f6465 c0", "\"code\":1,\"code\":null", true, false, 0, false},
        {"81 a4 64617461 80", "\"data\":{}", true, false, 0, true},
        {"81 a4 64617461 05", "\"data\":5", true, false, 0, false},
        {"81 a4 64617461 91 80", "\"data\":[{}]", true, false, 0, false},
        {"82 a4 64617461 80 a4 64617461 05", "\"data\":{},\"data\":5", true, false, 0, false},
        {"82 a4 636f6465 03 a3 736571 07", "\"data\":{\"code\":3,\"seq\":7}", true, true, 3, false},
        {"82 a4 74696d65 c0 a4 636f6465 03", "\"data\":{\"time\":null,\"code\":3}", true, true, 3, false},
        /* only the envelope's own level counts */
        {"82 a4 636f6465 00 a1 78 82 a3 736571 01 a4 74696d65 02", "\"code\":0,\"x\":{\"seq\":1,\"time\":2}",
         true, true, 0, false},
        {"81 a1 78 81 a4 636f6465 05", "\"data\":{\"x\":{\"code\":5}}", false, false, 0, false},
        {"81 a5 636f646564 01", "\"data\":{\"coded\":1}", false, false, 0, false},
        {"81 c4 04 636f6465 01", "\"data\":{\"{\\\"$bin\\\":\\\"Y29kZQ==\\\"}\":1}", false, false, 0, false},
        {"80", "\"data\":{}", false, false, 0, false},
        {"c0", "\"data\":null", false, false, 0, false},
        {"05", "\"data\":5", false, false, 0, false},
        {"a2 6869", "\"data\":\"hi\"", false, false, 0, false},
        {"92 01 81 a4 636f6465 05", "\"data\":[1,{\"code\":5}]", false, false, 0, false},
        {"82 91 81 a4 636f6465 05 c0 a4 636f6465 06", "\"[{\\\"code\\\":5}]\":null,\"code\":6", true, true, 6,
         false},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct frame_result r;
        frame_run(&r, hex(rows[i].bytes), rows[i].json);
        assert_int_equal(r.f.is_envelope, rows[i].is_envelope);
        assert_int_equal(r.f.has_code, rows[i].has_code);
        assert_int_equal(r.f.code, rows[i].code);
        assert_int_equal(r.f.has_data, rows[i].has_data);
        assert_false(r.f.has_conversation);
        expect_field(&r, &r.f.message_id, NULL, NULL);
        free(r.in);
    }
}

static void test_fields_are_found_when_the_frame_is_wrapped(void **state)
{
    struct frame_result r;
    frame_run(
        &r, hex("82 a4 64617461 82 a4 66726f6d a1 22 b0 636f6e766572736174696f6e54797065 d0 fb a3 736571 01"),
        "\"data\":{\"data\":{\"from\":\"\\\"\",\"conversationType\":-5},\"seq\":1}");
    expect_field(&r, &r.f.from, "\"", "\\\"");
    expect_field(&r, &r.f.to, NULL, NULL);
    assert_true(r.f.has_conversation);
    assert_int_equal(r.f.conversation, -5);
    free(r.in);
}

static void test_fields_of_the_datas_own_level_only(void **state)
{
    struct frame_result r;
    frame_run(&r,
              hex("83 a4 66726f6d a1 61 a4 64617461 82 a1 78 81 a2 746f a1 62 91 81 a4 66726f6d a1 64 05 a2 "
                  "746f a1 63"),
              "\"from\":\"a\",\"data\":{\"x\":{\"to\":\"b\"},\"[{\\\"from\\\":\\\"d\\\"}]\":5},\"to\":\"c\"");
    expect_field(&r, &r.f.from, NULL, NULL);
    expect_field(&r, &r.f.to, NULL, NULL);
    free(r.in);
}

static void test_the_last_of_duplicate_fields_counts(void **state)
{
    struct frame_result r;
    frame_run(&r, hex("81 a4 64617461 84 a2 746f a1 61 a2 746f a2 6263 a4 66726f6d a1 64 a4 66726f6d 05"),
              "\"data\":{\"to\":\"a\",\"to\":\"bc\",\"from\":\"d\",\"from\":5}");
    expect_field(&r, &r.f.to, "bc", "bc");
    expect_field(&r, &r.f.from, NULL, NULL);
    free(r.in);
    frame_run(&r, hex("82 a4 64617461 81 a2 746f a1 61 a4 64617461 81 a4 66726f6d a1 62"),
              "\"data\":{\"to\":\"a\"},\"data\":{\"from\":\"b\"}");
    expect_field(&r, &r.f.to, NULL, NULL);
    expect_field(&r, &r.f.from, "b", "b");
    free(r.in);
}

static void test_depth_of_a_frame(void **state)
{
    struct bytes b = hex("81 a4 64617461");
    struct json_writer w;
    struct decode_frame f;
    char text[4096];
    add_times(&b, "81a161", MESSAGE_DEPTH_MAX - 1);
    add(&b, "80");
    json_writer_init(&w, text, sizeof(text));
    assert_int_equal(decode_frame(NULL, b.at, b.len, &w, &f), DECODE_OK);
    b = hex("81 a4 64617461");
    add_times(&b, "81a161", MESSAGE_DEPTH_MAX);
    add(&b, "80");
    expect_error_of(b, DECODE_TOO_DEEP);
}

/* ---- The oracle: msgpack-c's objects, printed the plain way ---- */

static void print_object(struct json_writer *w, const msgpack_object *o);

static void print_ext(struct json_writer *w, int type, const char *bytes, size_t len)
{
    msgpack_timestamp t = {0};
    msgpack_object o = {.type = MSGPACK_OBJECT_EXT, .via.ext = {(int8_t)type, (uint32_t)len, bytes}};
    struct tm tm;
    if (type == -1 && msgpack_object_to_timestamp(&o, &t) && t.tv_nsec < 1000000000 &&
        gmtime_r(&(time_t){t.tv_sec}, &tm) && tm.tm_year >= -1900 && tm.tm_year <= 8099) {
        char text[64];
        int n = snprintf(text, sizeof(text), "%04d-%02d-%02dT%02d:%02d:%02d.%09u", tm.tm_year + 1900,
                         tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec, t.tv_nsec);
        while (text[n - 1] == '0' && t.tv_nsec)
            n--;
        if (!t.tv_nsec)
            n -= 10;
        json_literal(w, "\"");
        json_raw(w, text, (size_t)n);
        json_literal(w, "Z\"");
        return;
    }
    json_literal(w, "{\"$ext\":{\"type\":");
    json_int(w, type);
    json_literal(w, ",\"data\":\"");
    json_base64(w, (const uint8_t *)bytes, len);
    json_literal(w, "\"}}");
}

static void print_key(struct json_writer *w, const msgpack_object *key)
{
    if (key->type == MSGPACK_OBJECT_STR) {
        json_quoted(w, key->via.str.ptr, key->via.str.size);
        return;
    }
    const size_t size = 1 << 18;
    char *text = malloc(size);
    struct json_writer k;
    json_writer_init(&k, text, size);
    print_object(&k, key);
    assert_false(k.failed);
    json_quoted(w, text, json_writer_length(&k));
    free(text);
}

static void print_array(struct json_writer *w, const msgpack_object_array *a)
{
    json_literal(w, "[");
    for (uint32_t i = 0; i < a->size; i++) {
        json_text(w, i ? "," : "");
        print_object(w, &a->ptr[i]);
    }
    json_literal(w, "]");
}

static void print_map(struct json_writer *w, const msgpack_object_map *m)
{
    json_literal(w, "{");
    for (uint32_t i = 0; i < m->size; i++) {
        json_text(w, i ? "," : "");
        print_key(w, &m->ptr[i].key);
        json_literal(w, ":");
        print_object(w, &m->ptr[i].val);
    }
    json_literal(w, "}");
}

static void print_object(struct json_writer *w, const msgpack_object *o)
{
    switch (o->type) {
    case MSGPACK_OBJECT_NIL:
        json_literal(w, "null");
        break;
    case MSGPACK_OBJECT_BOOLEAN:
        json_text(w, o->via.boolean ? "true" : "false");
        break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        json_uint(w, o->via.u64);
        break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        json_int(w, o->via.i64);
        break;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        json_double(w, o->via.f64);
        break;
    case MSGPACK_OBJECT_STR:
        json_quoted(w, o->via.str.ptr, o->via.str.size);
        break;
    case MSGPACK_OBJECT_BIN:
        json_literal(w, "{\"$bin\":\"");
        json_base64(w, (const uint8_t *)o->via.bin.ptr, o->via.bin.size);
        json_literal(w, "\"}");
        break;
    case MSGPACK_OBJECT_EXT:
        print_ext(w, o->via.ext.type, o->via.ext.ptr, o->via.ext.size);
        break;
    case MSGPACK_OBJECT_ARRAY:
        print_array(w, &o->via.array);
        break;
    case MSGPACK_OBJECT_MAP:
        print_map(w, &o->via.map);
        break;
    }
}

/* ---- Random values ---- */

static void pack_random(msgpack_packer *p, int depth, int key_depth);

static void pack_random_text(msgpack_packer *p)
{
    static const char *const pieces[] = {"a",
                                         "data",
                                         "code",
                                         "你好",
                                         "\"",
                                         "\\",
                                         "\n",
                                         "😀",
                                         "\xff",
                                         "\xe4\xbd",
                                         "plain text that is longer than a block"};
    char text[512];
    size_t len = 0;
    for (uint64_t n = random_below(random_below(8) ? 4 : 12); n > 0; n--) {
        const char *piece = pieces[random_below(sizeof(pieces) / sizeof(pieces[0]))];
        memcpy(text + len, piece, strlen(piece));
        len += strlen(piece);
    }
    if (random_below(16) == 0)
        text[len++] = '\0';
    msgpack_pack_str_with_body(p, text, len);
}

static void pack_random_number(msgpack_packer *p)
{
    uint64_t bits = random_next() >> random_below(64);
    double d;
    float f;
    uint32_t half = (uint32_t)random_next();
    memcpy(&d, &(uint64_t){random_next()}, sizeof(d));
    memcpy(&f, &half, sizeof(f));
    switch (random_below(9)) {
    case 0:
        msgpack_pack_uint64(p, bits);
        break;
    case 1:
        msgpack_pack_int64(p, -(int64_t)(bits >> 1));
        break;
    case 2:
        msgpack_pack_double(p, d);
        break;
    case 3:
        msgpack_pack_double(p, (double)(bits % 1000000) / 100);
        break;
    case 4:
        msgpack_pack_float(p, f);
        break;
    case 5:
        msgpack_pack_fix_int16(p, (int16_t)bits); /* not the smallest form, which is as good */
        break;
    case 6:
        msgpack_pack_fix_uint32(p, (uint32_t)bits);
        break;
    case 7:
        msgpack_pack_fix_int64(p, (int64_t)random_next());
        break;
    default:
        msgpack_pack_fix_uint8(p, (uint8_t)bits);
        break;
    }
}

static void pack_random_bytes(msgpack_packer *p)
{
    uint8_t bytes[300];
    static const size_t lengths[] = {0, 1, 2, 3, 4, 5, 8, 12, 16, 17, 299};
    size_t len = lengths[random_below(sizeof(lengths) / sizeof(lengths[0]))];
    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)random_next();
    if (random_below(2))
        msgpack_pack_bin_with_body(p, bytes, len);
    else
        msgpack_pack_ext_with_body(p, bytes, len, (int8_t)random_next());
}

static void pack_random_timestamp(msgpack_packer *p)
{
    uint64_t range = random_below(3);
    msgpack_timestamp t = {.tv_nsec = random_below(2) ? (uint32_t)random_below(1000000000) : 0};
    t.tv_sec =
        range == 0 ? (int64_t)random_below(UINT32_MAX) : (int64_t)random_next() >> (range == 1 ? 25 : 0);
    msgpack_pack_timestamp(p, &t);
}

static void pack_random_map(msgpack_packer *p, int depth, int key_depth)
{
    uint64_t size = random_below(random_below(10) ? 5 : 20);
    msgpack_pack_map(p, size);
    for (uint64_t i = 0; i < size; i++) {
        if (random_below(4))
            pack_random_text(p);
        else
            pack_random(p, key_depth < 3 && random_below(3) == 0 ? depth - 1 : 0, key_depth + 1);
        pack_random(p, depth - 1, key_depth);
    }
}

static void pack_random(msgpack_packer *p, int depth, int key_depth)
{
    uint64_t size;
    switch (random_below(depth > 0 ? 12 : 8)) {
    case 0:
        msgpack_pack_nil(p);
        break;
    case 1:
        random_below(2) ? msgpack_pack_true(p) : msgpack_pack_false(p);
        break;
    case 2:
    case 3:
        pack_random_number(p);
        break;
    case 4:
    case 5:
        pack_random_text(p);
        break;
    case 6:
        pack_random_bytes(p);
        break;
    case 7:
        pack_random_timestamp(p);
        break;
    case 8:
    case 9:
        size = random_below(random_below(10) ? 5 : 20);
        msgpack_pack_array(p, size);
        for (uint64_t i = 0; i < size; i++)
            pack_random(p, depth - 1, key_depth);
        break;
    default:
        pack_random_map(p, depth, key_depth);
        break;
    }
}

/*
 * msgpack-c believes every count and reserves memory for it: so counts are checked first, and its depth (32).
 */
static bool is_safe(const uint8_t **at, const uint8_t *end, int depth)
{
    if (*at == end || depth > 30)
        return false;
    uint8_t c = *(*at)++;
    size_t left = (size_t)(end - *at), payload = 0, items = 0, width;
    bool is_array = (c & 0xf0) == 0x90 || c == 0xdc || c == 0xdd;
    bool is_map = (c & 0xf0) == 0x80 || c == 0xde || c == 0xdf;
    if (c >= 0xdc && c <= 0xdf) {
        width = c % 2 ? 4 : 2;
        if (left < width)
            return false;
        for (size_t i = 0; i < width; i++)
            items = items << 8 | *(*at)++;
        left -= width;
    } else if (is_array || is_map) {
        items = c & 15;
    } else if ((c & 0xe0) == 0xa0) {
        payload = c & 31;
    } else if (c >= 0xc4 && c <= 0xc9) {
        width = (size_t)1 << (c - 0xc4) % 3;
        if (left < width)
            return false;
        for (size_t i = 0; i < width; i++)
            payload = payload << 8 | *(*at)++;
        left -= width;
        payload += c >= 0xc7;
    } else if (c >= 0xd9 && c <= 0xdb) {
        width = (size_t)1 << (c - 0xd9);
        if (left < width)
            return false;
        for (size_t i = 0; i < width; i++)
            payload = payload << 8 | *(*at)++;
        left -= width;
    } else if (c >= 0xca && c <= 0xd8) {
        static const uint8_t sizes[] = {4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 2, 3, 5, 9, 17};
        payload = sizes[c - 0xca];
    } else if (c == 0xc1) {
        return false;
    }
    if (is_map)
        items *= 2;
    if (payload > left || items > left)
        return false;
    *at += payload;
    while (items--)
        if (!is_safe(at, end, depth + 1))
            return false;
    return true;
}

static bool oracle_accepts(const uint8_t *bytes, size_t len, struct json_writer *w)
{
    const uint8_t *at = bytes;
    if (!is_safe(&at, bytes + len, 1) || at != bytes + len)
        return false;
    msgpack_unpacked u;
    size_t used = 0;
    msgpack_unpacked_init(&u);
    assert_int_equal(msgpack_unpack_next(&u, (const char *)bytes, len, &used), MSGPACK_UNPACK_SUCCESS);
    assert_int_equal(used, len);
    print_object(w, &u.data);
    assert_false(w->failed);
    msgpack_unpacked_destroy(&u);
    return true;
}

/* jansson cannot hold a NUL in a key, nor integers beyond 63 bits as such. */
static void expect_parses(const char *text, size_t len)
{
    json_error_t e;
    json_t *root = json_loadb(text, len, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_DECODE_INT_AS_REAL, &e);
    if (!root && json_error_code(&e) != json_error_null_byte_in_key)
        fail_msg("%s: %.*s", e.text, (int)len, text);
    json_decref(root);
}

static void expect_plain_line(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        assert_true((uint8_t)text[i] >= 0x20);
}

struct buffers {
    char expected[1 << 20], text[1 << 20];
};

/* Says whether it was accepted. Whatever the bytes, both agree; only keys nested deeper than ours may are an
 * exception. */
static bool compare(struct buffers *s, const uint8_t *bytes, size_t len)
{
    struct json_writer expected, w;
    struct decode_frame f;
    uint8_t *in = exact_copy(bytes, len);
    json_writer_init(&expected, s->expected, sizeof(s->expected));
    json_writer_init(&w, s->text, sizeof(s->text));
    bool accepts = oracle_accepts(in, len, &expected);
    enum decode_result r = decode_value(NULL, in, len, &w);
    if (accepts && r != DECODE_TOO_DEEP) {
        assert_string_equal(decode_result_text(r), "ok");
        assert_int_equal(json_writer_length(&w), json_writer_length(&expected));
        assert_memory_equal(s->text, s->expected, json_writer_length(&w));
        expect_parses(s->text, json_writer_length(&w));
        expect_plain_line(s->text, json_writer_length(&w));
    } else if (!accepts) {
        assert_int_not_equal(r, DECODE_OK);
    }
    json_writer_init(&w, s->text, sizeof(s->text));
    json_literal(&w, "{");
    enum decode_result as_frame = decode_frame(NULL, in, len, &w, &f);
    json_literal(&w, "}");
    assert_int_equal(as_frame == DECODE_OK, r == DECODE_OK);
    if (as_frame == DECODE_OK)
        expect_parses(s->text, json_writer_length(&w));
    free(in);
    return r == DECODE_OK;
}

static void pack_value(msgpack_sbuffer *b, int depth)
{
    msgpack_packer p;
    msgpack_sbuffer_clear(b);
    msgpack_packer_init(&p, b, msgpack_sbuffer_write);
    pack_random(&p, depth, 0);
}

static void test_random_values_as_msgpack_c(void **state)
{
    struct buffers *s = malloc(sizeof(*s));
    msgpack_sbuffer b;
    msgpack_sbuffer_init(&b);
    for (int i = 0; i < 20000; i++) {
        pack_value(&b, 1 + i % 5);
        assert_true(compare(s, (const uint8_t *)b.data, b.size));
    }
    msgpack_sbuffer_destroy(&b);
    free(s);
}

static void damage(uint8_t *bytes, size_t *len)
{
    for (uint64_t n = 1 + random_below(4); n > 0 && *len > 0; n--)
        switch (random_below(4)) {
        case 0:
            bytes[random_below(*len)] = (uint8_t)random_next();
            break;
        case 1:
            bytes[random_below(*len)] ^= (uint8_t)(1 << random_below(8));
            break;
        case 2:
            bytes[random_below(*len)] = (uint8_t)(0x80 + random_below(0x60)); /* a head */
            break;
        default:
            *len -= random_below(4) ? 0 : random_below(*len);
            break;
        }
}

static void test_damaged_values(void **state)
{
    struct buffers *s = malloc(sizeof(*s));
    msgpack_sbuffer b;
    unsigned accepted = 0;
    msgpack_sbuffer_init(&b);
    for (int i = 0; i < 20000; i++) {
        pack_value(&b, 1 + i % 4);
        size_t len = b.size;
        damage((uint8_t *)b.data, &len);
        accepted += compare(s, (const uint8_t *)b.data, len);
    }
    assert_in_range(accepted, 1000, 19000);
    msgpack_sbuffer_destroy(&b);
    free(s);
}

static void test_garbage(void **state)
{
    struct buffers *s = malloc(sizeof(*s));
    uint8_t bytes[64];
    for (int i = 0; i < 100000; i++) {
        size_t len = random_below(sizeof(bytes));
        for (size_t k = 0; k < len; k++)
            bytes[k] = (uint8_t)(random_below(3) ? random_next() : 0x80 + random_below(32));
        compare(s, bytes, len);
    }
    free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_scalars),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_containers),
        cmocka_unit_test(test_binaries),
        cmocka_unit_test(test_large_binaries_are_attached),
        cmocka_unit_test(test_extensions),
        cmocka_unit_test(test_timestamps),
        cmocka_unit_test(test_timestamps_over_all_years),
        cmocka_unit_test(test_keys_that_are_no_strings),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_counts_are_checked_before_any_item),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_depth_of_keys),
        cmocka_unit_test(test_cut_off_anywhere),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_the_text_may_move),
        cmocka_unit_test(test_frame),
        cmocka_unit_test(test_frame_strings_as_they_stand_and_escaped),
        cmocka_unit_test(test_frames_of_all_sorts),
        cmocka_unit_test(test_fields_are_found_when_the_frame_is_wrapped),
        cmocka_unit_test(test_fields_of_the_datas_own_level_only),
        cmocka_unit_test(test_the_last_of_duplicate_fields_counts),
        cmocka_unit_test(test_depth_of_a_frame),
        cmocka_unit_test(test_random_values_as_msgpack_c),
        cmocka_unit_test(test_damaged_values),
        cmocka_unit_test(test_garbage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
