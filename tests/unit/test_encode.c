/* JSON -> MessagePack: exact bytes by hand, msgpack-c's packer as the oracle for random values. */
#include "encode.h"

#include "random_json.h"

#include <errno.h>
#include <jansson.h>
#include <msgpack.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define DEPTH 254
#define TEN(text) text text text text text text text text text text
#define BYTES(text) text, sizeof(text) - 1

/* A scanned text and what it became, in memory of exactly encode_bound bytes. */
struct encoded {
    struct scan scan;
    uint8_t *bytes;
    size_t len, bound;
    struct encode_error error;
    struct encode_message message;
};

static void encoded_init(struct encoded *x, const char *text, size_t len)
{
    memset(x, 0, sizeof(*x));
    scan_init(&x->scan);
    if (scan_text(&x->scan, text, len, DEPTH) != SCAN_OK)
        fail_msg("%s: %s", text, x->scan.error);
}

static void encoded_deinit(struct encoded *x)
{
    free(x->bytes);
    scan_deinit(&x->scan);
}

static struct encode_buffer encoded_buffer(struct encoded *x, size_t size)
{
    x->bound = size;
    x->bytes = malloc(size ? size : 1);
    assert_non_null(x->bytes);
    return (struct encode_buffer){x->bytes, x->bytes + size};
}

static int encode(struct encoded *x, const char *text, size_t len)
{
    encoded_init(x, text, len);
    struct encode_buffer b = encoded_buffer(x, encode_bound(&x->scan, 0));
    int r = encode_value(&x->scan, 0, &b, &x->error);
    x->len = (size_t)(b.at - x->bytes);
    if (r != 0)
        assert_int_equal(x->len, 0);
    return r;
}

static void assert_encodes(const char *text, const char *bytes, size_t len)
{
    struct encoded x;
    assert_int_equal(encode(&x, text, strlen(text)), 0);
    if (x.len != len || memcmp(x.bytes, bytes, len) != 0)
        print_error("%s\n", text);
    assert_int_equal(x.len, len);
    assert_memory_equal(x.bytes, bytes, len);
    encoded_deinit(&x);
}

static void assert_refused(const char *text, const char *detail)
{
    struct encoded x;
    if (encode(&x, text, strlen(text)) != -EINVAL)
        fail_msg("%s was not refused", text);
    assert_int_equal(x.error.error, ERROR_INVALID_PARAMS);
    assert_string_equal(x.error.detail, detail);
    encoded_deinit(&x);
}

/* ---- Values ---- */

static const struct {
    const char *text, *bytes;
    size_t len;
} values[] = {
    {"null", BYTES("\xc0")},
    {"false", BYTES("\xc2")},
    {"true", BYTES("\xc3")},
    {"0", BYTES("\x00")},
    {"-0", BYTES("\x00")},
    {"127", BYTES("\x7f")},
    {"128", BYTES("\xcc\x80")},
    {"255", BYTES("\xcc\xff")},
    {"256", BYTES("\xcd\x01\x00")},
    {"65535", BYTES("\xcd\xff\xff")},
    {"65536", BYTES("\xce\x00\x01\x00\x00")},
    {"4294967295", BYTES("\xce\xff\xff\xff\xff")},
    {"4294967296", BYTES("\xcf\x00\x00\x00\x01\x00\x00\x00\x00")},
    {"9223372036854775807", BYTES("\xcf\x7f\xff\xff\xff\xff\xff\xff\xff")},
    {"9223372036854775808", BYTES("\xcf\x80\x00\x00\x00\x00\x00\x00\x00")},
    {"18446744073709551615", BYTES("\xcf\xff\xff\xff\xff\xff\xff\xff\xff")},
    {"-1", BYTES("\xff")},
    {"-32", BYTES("\xe0")},
    {"-33", BYTES("\xd0\xdf")},
    {"-128", BYTES("\xd0\x80")},
    {"-129", BYTES("\xd1\xff\x7f")},
    {"-32768", BYTES("\xd1\x80\x00")},
    {"-32769", BYTES("\xd2\xff\xff\x7f\xff")},
    {"-2147483648", BYTES("\xd2\x80\x00\x00\x00")},
    {"-2147483649", BYTES("\xd3\xff\xff\xff\xff\x7f\xff\xff\xff")},
    {"-9223372036854775808", BYTES("\xd3\x80\x00\x00\x00\x00\x00\x00\x00")},
    {"1.5", BYTES("\xcb\x3f\xf8\x00\x00\x00\x00\x00\x00")},
    {"-0.0", BYTES("\xcb\x80\x00\x00\x00\x00\x00\x00\x00")},
    {"0.1", BYTES("\xcb\x3f\xb9\x99\x99\x99\x99\x99\x9a")},
    {"1e0", BYTES("\xcb\x3f\xf0\x00\x00\x00\x00\x00\x00")},
    {"4.9e-324", BYTES("\xcb\x00\x00\x00\x00\x00\x00\x00\x01")},
    {"\"\"", BYTES("\xa0")},
    {"\"a中\"", BYTES("\xa4"
                      "a\xe4\xb8\xad")},
    {"\"\\u0000\\n\\u00e9\\ud83d\\ude00\"", BYTES("\xa8\0\n\xc3\xa9\xf0\x9f\x98\x80")},
    {"[]", BYTES("\x90")},
    {"{}", BYTES("\x80")},
    {" [ 1 , [ ] , { \"a\" : [ null ] , \"\" : 2.5 } ] ",
     BYTES("\x93\x01\x90\x82\xa1"
           "a\x91\xc0\xa0\xcb\x40\x04\x00\x00\x00\x00\x00\x00")},
    {"{\"b\":1,\"a\":2,\"\\u0063\":3}", BYTES("\x83\xa1"
                                              "b\x01\xa1"
                                              "a\x02\xa1"
                                              "c\x03")},
};

static void test_values(void **state)
{
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++)
        assert_encodes(values[i].text, values[i].bytes, values[i].len);
}

/* A string of n characters, the first of which are escaped. */
static char *string_of(size_t n, size_t escapes)
{
    char *text = malloc(n + 5 * escapes + 3), *at = text;
    assert_non_null(text);
    *at++ = '"';
    for (size_t i = 0; i < n; i++)
        at += sprintf(at, "%s", i < escapes ? "\\u0078" : "x");
    strcpy(at, "\"");
    return text;
}

static void test_string_headers(void **state)
{
    static const struct {
        size_t n;
        const char *header;
        size_t len;
    } rows[] = {
        {31, BYTES("\xbf")},          {32, BYTES("\xd9\x20")},        {255, BYTES("\xd9\xff")},
        {256, BYTES("\xda\x01\x00")}, {65535, BYTES("\xda\xff\xff")}, {65536, BYTES("\xdb\x00\x01\x00\x00")},
    };
    /* The more of it is escaped, the more the header would be too long if the text's length decided. */
    static const size_t escapes[] = {0, 1, 7, 31, 250};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        for (size_t k = 0; k < sizeof(escapes) / sizeof(escapes[0]); k++) {
            struct encoded x;
            char *text = string_of(rows[i].n, escapes[k] < rows[i].n ? escapes[k] : rows[i].n);
            assert_int_equal(encode(&x, text, strlen(text)), 0);
            assert_int_equal(x.len, rows[i].len + rows[i].n);
            assert_memory_equal(x.bytes, rows[i].header, rows[i].len);
            for (size_t c = rows[i].len; c < x.len; c++)
                assert_int_equal(x.bytes[c], 'x');
            encoded_deinit(&x);
            free(text);
        }
}

static void assert_container_header(size_t n, bool map, const char *header, size_t len)
{
    struct encoded x;
    char *text = malloc(n * 16 + 3), *at = text;
    assert_non_null(text);
    *at++ = map ? '{' : '[';
    for (size_t i = 0; i < n; i++)
        at += map ? sprintf(at, "%s\"%zu\":0", i ? "," : "", i) : sprintf(at, "%s0", i ? "," : "");
    strcpy(at, map ? "}" : "]");
    assert_int_equal(encode(&x, text, strlen(text)), 0);
    assert_memory_equal(x.bytes, header, len);
    if (!map)
        assert_int_equal(x.len, len - 1 + n);
    encoded_deinit(&x);
    free(text);
}

static void test_container_headers(void **state)
{
    assert_container_header(15, false, BYTES("\x9f\x00"));
    assert_container_header(16, false, BYTES("\xdc\x00\x10\x00"));
    assert_container_header(65535, false, BYTES("\xdc\xff\xff\x00"));
    assert_container_header(65536, false, BYTES("\xdd\x00\x01\x00\x00\x00"));
    assert_container_header(15, true, BYTES("\x8f\xa1"));
    assert_container_header(16, true, BYTES("\xde\x00\x10\xa1"));
    assert_container_header(65535, true, BYTES("\xde\xff\xff\xa1"));
    assert_container_header(65536, true, BYTES("\xdf\x00\x01\x00\x00\xa1"));
}

/* ---- Objects that stand for something else ---- */

#define BIN_REFUSED "\"$bin\" must be a string of padded base64"
#define EXT_REFUSED "\"$ext\" must be {\"type\":-128 to 127,\"data\":padded base64}"
#define FILE_REFUSED                                                                                         \
    "\"$file\" is refused: the daemon opens no file for a caller; pass it open as \"$fd\", or its bytes as " \
    "\"$bin\""
#define FD_REFUSED "\"$fd\" 0: no such file descriptor came with the line"
#define FD_WRONG "\"$fd\" must be the number of a file descriptor that came with the line, from 0 up"

static void test_bin(void **state)
{
    assert_encodes("{\"$bin\":\"\"}", BYTES("\xc4\x00"));
    assert_encodes("{\"$bin\":\"AA==\"}", BYTES("\xc4\x01\x00"));
    assert_encodes("{\"$bin\":\"/w==\"}", BYTES("\xc4\x01\xff"));
    assert_encodes("{\"$bin\":\"+/8=\"}", BYTES("\xc4\x02\xfb\xff"));
    assert_encodes("{\"$bin\":\"AQID\"}", BYTES("\xc4\x03\x01\x02\x03"));
    assert_encodes("{\"$bin\":\"AQIDBA==\"}", BYTES("\xc4\x04\x01\x02\x03\x04"));
    assert_encodes("{\"$bin\":\"az09AZ+/\"}", BYTES("\xc4\x06\x6b\x3d\x3d\x01\x9f\xbf"));
    assert_encodes("[{\"$bin\":\"\\/\\u002b8=\"},1]",
                   BYTES("\x92\xc4\x02\xff\xef\x01")); /* escaped slashes */
    assert_encodes("{\"\\u0024bin\":\"AA==\"}", BYTES("\xc4\x01\x00"));
}

static void test_bad_bin(void **state)
{
    static const char *const bad[] = {
        "{\"$bin\":\"A\"}",     "{\"$bin\":\"AA\"}",   "{\"$bin\":\"AAA\"}",      "{\"$bin\":\"AA=\"}",
        "{\"$bin\":\"A===\"}",  "{\"$bin\":\"====\"}", "{\"$bin\":\"=AAA\"}",     "{\"$bin\":\"AA=A\"}",
        "{\"$bin\":\"AB==\"}",  "{\"$bin\":\"AAB=\"}", "{\"$bin\":\"AA==AAAA\"}", "{\"$bin\":\"AAA AAAA\"}",
        "{\"$bin\":\"AA-A\"}",  "{\"$bin\":\"AA_A\"}", "{\"$bin\":\"AA\\n==\"}",  "{\"$bin\":\"AAA\\u0000\"}",
        "{\"$bin\":\"AAA中\"}", "{\"$bin\":\"A[AA\"}", "{\"$bin\":\"A{AA\"}",     "{\"$bin\":\"A*AA\"}",
        "{\"$bin\":1}",         "{\"$bin\":null}",     "{\"$bin\":[]}",           "{\"$bin\":{}}",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_refused(bad[i], BIN_REFUSED);
}

/* Bins at the edges of the headers; what is decoded must not catch up with unescaped text that it is decoded
 * from. */
static void test_bin_headers(void **state)
{
    static const size_t sizes[] = {254, 255, 256, 257, 65535, 65536, 65537};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
        for (int escaped = 0; escaped < 2; escaped++) {
            size_t n = sizes[i], groups = (n + 2) / 3, padding = groups * 3 - n;
            char *text = malloc(groups * 4 + 32), *at = text;
            struct encoded x;
            assert_non_null(text);
            at += sprintf(at, "{\"$bin\":\"%s", escaped ? "\\u0041" : "A");
            memset(at, 'A', groups * 4 - 1);
            at += groups * 4 - 1 - padding;
            sprintf(at, "%s\"}", padding == 0 ? "" : padding == 1 ? "=" : "==");
            assert_int_equal(encode(&x, text, strlen(text)), 0);
            size_t header = n < 256 ? 2 : n < 65536 ? 3 : 5;
            assert_int_equal(x.len, header + n);
            assert_int_equal(x.bytes[0], header == 2 ? 0xc4 : header == 3 ? 0xc5 : 0xc6);
            encoded_deinit(&x);
            free(text);
        }
}

static void test_ext(void **state)
{
    assert_encodes("{\"$ext\":{\"type\":1,\"data\":\"\"}}", BYTES("\xc7\x00\x01"));
    assert_encodes("{\"$ext\":{\"type\":127,\"data\":\"AQ==\"}}", BYTES("\xd4\x7f\x01"));
    assert_encodes("{\"$ext\":{\"type\":-128,\"data\":\"AQI=\"}}", BYTES("\xd5\x80\x01\x02"));
    assert_encodes("{\"$ext\":{\"data\":\"AQID\",\"type\":-1}}", BYTES("\xc7\x03\xff\x01\x02\x03"));
    assert_encodes("{\"$ext\":{\"type\":0,\"data\":\"AQIDBA==\"}}", BYTES("\xd6\x00\x01\x02\x03\x04"));
    assert_encodes("{\"$ext\":{\"type\":5,\"data\":\"\\u0041QIDBAUGBwg=\"}}",
                   BYTES("\xd7\x05\x01\x02\x03\x04\x05\x06\x07\x08"));
    assert_encodes("{\"$ext\":{\"type\":5,\"data\":\"AAAAAAAAAAAAAAAAAAAAAA==\"}}",
                   BYTES("\xd8\x05\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"));
    assert_encodes("[{\"$ext\":{\"type\":5,\"data\":\"AQIDBAU=\"}},7]",
                   BYTES("\x92\xc7\x05\x05\x01\x02\x03\x04\x05\x07"));
}

static void test_bad_ext(void **state)
{
    static const char *const bad[] = {
        "{\"$ext\":1}",
        "{\"$ext\":\"AA==\"}",
        "{\"$ext\":[]}",
        "{\"$ext\":{}}",
        "{\"$ext\":{\"type\":1}}",
        "{\"$ext\":{\"data\":\"\"}}",
        "{\"$ext\":{\"type\":1,\"data\":\"\",\"more\":1}}",
        "{\"$ext\":{\"type\":128,\"data\":\"\"}}",
        "{\"$ext\":{\"type\":-129,\"data\":\"\"}}",
        "{\"$ext\":{\"type\":18446744073709551615,\"data\":\"\"}}",
        "{\"$ext\":{\"type\":1.0,\"data\":\"\"}}",
        "{\"$ext\":{\"type\":\"1\",\"data\":\"\"}}",
        "{\"$ext\":{\"type\":1,\"data\":1}}",
        "{\"$ext\":{\"type\":1,\"data\":\"A\"}}",
        "{\"$ext\":{\"type\":1,\"data\":\"A*==\"}}",
        "{\"$ext\":{\"type\":1,\"date\":\"\"}}",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_refused(bad[i], EXT_REFUSED);
}

static void test_refused_objects(void **state)
{
    assert_refused("{\"$file\":\"/etc/passwd\"}", FILE_REFUSED);
    assert_refused("[1,{\"a\":{\"$file\":null}}]", FILE_REFUSED);
    assert_refused("{\"$file\":\"/x\",\"size\":1,\"sha256\":\"\"}", FILE_REFUSED); /* as decode writes it */
    assert_refused("{\"$fd\":0}", FD_REFUSED);
    assert_refused("{\"$fd\":-1}", FD_WRONG);
    assert_refused("{\"$fd\":1.0}", FD_WRONG);
    assert_refused("{\"$fd\":\"0\"}", FD_WRONG);
}

static void test_plain_objects_with_such_keys(void **state)
{
    assert_encodes("{\"$bin\":1,\"a\":2}", BYTES("\x82\xa4$bin\x01\xa1"
                                                 "a\x02"));
    assert_encodes("{\"a\":2,\"$bin\":1}", BYTES("\x82\xa1"
                                                 "a\x02\xa4$bin\x01"));
    assert_encodes("{\"$ext\":1,\"$bin\":1}", BYTES("\x82\xa4$ext\x01\xa4$bin\x01"));
    assert_encodes("{\"$file\":1,\"a\":2}", BYTES("\x82\xa5$file\x01\xa1"
                                                  "a\x02"));
    assert_encodes("{\"$fd\":1,\"size\":2,\"sha256\":3}", BYTES("\x83\xa3$fd\x01\xa4size\x02\xa6sha256\x03"));
    assert_encodes("{\"$\":1}", BYTES("\x81\xa1$\x01"));
    assert_encodes("{\"$bin2\":1}", BYTES("\x81\xa5$bin2\x01"));
    assert_encodes("{\"$BIN\":1}", BYTES("\x81\xa4$BIN\x01"));
    assert_encodes("{\"bin\":1}", BYTES("\x81\xa3"
                                        "bin\x01"));
    assert_encodes("{\"\\u0041\":1}", BYTES("\x81\xa1"
                                            "A\x01"));
    assert_encodes("[\"$bin\"]", BYTES("\x91\xa4$bin"));
}

/* ---- Depth and room ---- */

static int encode_nested(struct encoded *x, unsigned levels, const char *inner)
{
    char text[1024];
    size_t len = 0;
    for (unsigned i = 0; i < levels; i++)
        len += (size_t)sprintf(text + len, i % 2 ? "[" : "{\"a\":");
    len += (size_t)sprintf(text + len, "%s", inner);
    for (unsigned i = levels; i-- > 0;)
        len += (size_t)sprintf(text + len, i % 2 ? "]" : "}");
    return encode(x, text, len);
}

static void test_depth(void **state)
{
    static const struct {
        unsigned levels;
        const char *inner;
        int result;
    } rows[] = {
        {MESSAGE_DEPTH_MAX, "1", 0},
        {MESSAGE_DEPTH_MAX, "{\"$bin\":\"\"}", 0}, /* does not nest */
        {MESSAGE_DEPTH_MAX, "{\"$ext\":{\"type\":1,\"data\":\"\"}}", 0},
        {MESSAGE_DEPTH_MAX, "[]", -EINVAL},
        {MESSAGE_DEPTH_MAX, "{}", -EINVAL},
        {MESSAGE_DEPTH_MAX + 1, "1", -EINVAL},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct encoded x;
        assert_int_equal(encode_nested(&x, rows[i].levels, rows[i].inner), rows[i].result);
        if (rows[i].result < 0)
            assert_string_equal(x.error.detail, "the value is nested deeper than 64 levels");
        encoded_deinit(&x);
    }
}

static void test_depth_counts_from_the_token(void **state)
{
    struct encoded x;
    assert_int_equal(encode_nested(&x, MESSAGE_DEPTH_MAX + 1, "1"), -EINVAL);
    struct encode_buffer b = {x.bytes, x.bytes + x.bound};
    assert_int_equal(encode_value(&x.scan, scan_member(&x.scan, 0, "a"), &b, &x.error), 0);
    encoded_deinit(&x);
}

static void test_buffer_too_small(void **state)
{
    struct encoded x;
    uint8_t bytes[32];
    encoded_init(&x, BYTES("[1,2]"));
    struct encode_buffer b = {bytes, bytes + encode_bound(&x.scan, 0) - 1};
    assert_int_equal(encode_value(&x.scan, 0, &b, &x.error), -ENOBUFS);
    assert_ptr_equal(b.at, bytes);
    encoded_deinit(&x);
}

/* The bound holds where the text is shortest for what it becomes; that nothing is written beyond it is the
 * sanitizer's. */
static void test_bound_in_the_worst_cases(void **state)
{
    static const char *const rows[] = {
        "1.5",
        "[1.5]",
        "[" TEN(TEN("1e5,")) "1e5]",
        "[" TEN(TEN("0,")) "0]",
        "[" TEN(TEN("128,")) "0]",
        "[" TEN(TEN("256,")) "0]",
        "[" TEN(TEN("65536,")) "0]",
        "[" TEN(TEN("4294967296,")) "0]",
        "[" TEN(TEN("\"\",")) "0]",
        "[" TEN(TEN("[],")) "0]",
        "[" TEN(TEN("-33,")) "0]",
        "[" TEN(TEN("-129,")) "0]",
        "[" TEN("\"" TEN("0123456789") TEN("0123456789") TEN("0123456789") "\",") "0]",
        "\"" TEN("0123456789") TEN("0123456789") TEN("0123456789") "\"",
        "[" TEN("{\"$bin\":\"\"},") TEN("{\"$ext\":{\"type\":1,\"data\":\"AA==\"}},") "0]",
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct encoded x;
        assert_int_equal(encode(&x, rows[i], strlen(rows[i])), 0);
        assert_true(x.len <= x.bound);
        encoded_deinit(&x);
    }
}

static void test_bound_is_tight(void **state)
{
    struct encoded x;
    encoded_init(&x, BYTES("{\"a\":\"" TEN(TEN("0123456789")) "\"}"));
    assert_true(encode_bound(&x.scan, 0) <= x.scan.tokens[0].len + 6);
    encoded_deinit(&x);
}

/* ---- msgpack-c as the oracle ---- */

static void pack(msgpack_packer *p, json_t *value)
{
    size_t index;
    const char *key;
    json_t *child;
    switch (json_typeof(value)) {
    case JSON_NULL:
        msgpack_pack_nil(p);
        break;
    case JSON_TRUE:
        msgpack_pack_true(p);
        break;
    case JSON_FALSE:
        msgpack_pack_false(p);
        break;
    case JSON_INTEGER:
        msgpack_pack_int64(p, json_integer_value(value));
        break;
    case JSON_REAL:
        msgpack_pack_double(p, json_real_value(value));
        break;
    case JSON_STRING:
        msgpack_pack_str_with_body(p, json_string_value(value), json_string_length(value));
        break;
    case JSON_ARRAY:
        msgpack_pack_array(p, json_array_size(value));
        json_array_foreach(value, index, child) pack(p, child);
        break;
    case JSON_OBJECT:
        msgpack_pack_map(p, json_object_size(value));
        json_object_foreach(value, key, child)
        {
            msgpack_pack_str_with_body(p, key, strlen(key));
            pack(p, child);
        }
    }
}

static void test_random_values_as_msgpack_c_packs_them(void **state)
{
    struct random_json r = {.state = 3, .spaces = true};
    msgpack_sbuffer expected;
    msgpack_packer p;
    msgpack_sbuffer_init(&expected);
    msgpack_packer_init(&p, &expected, msgpack_sbuffer_write);
    for (int i = 0; i < 20000; i++) {
        struct encoded x;
        random_json_next(&r, 6);
        json_t *value = json_loadb(r.text, r.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
        assert_non_null(value);
        msgpack_sbuffer_clear(&expected);
        pack(&p, value);
        json_decref(value);
        assert_int_equal(encode(&x, r.text, r.len), 0);
        if (x.len != expected.size || memcmp(x.bytes, expected.data, x.len) != 0)
            fail_msg("msgpack-c packs it otherwise: %s", r.text);
        encoded_deinit(&x);
    }
    msgpack_sbuffer_destroy(&expected);
    random_json_deinit(&r);
}

/* A part of a text is encoded as if it were alone, and within its own bound. */
static void test_every_token_of_a_text(void **state)
{
    struct random_json r = {.state = 4, .spaces = true, .unsigneds = true};
    for (int i = 0; i < 500; i++) {
        struct encoded whole;
        random_json_next(&r, 5);
        assert_int_equal(encode(&whole, r.text, r.len), 0);
        for (uint32_t t = 0; t < whole.scan.count; t++) {
            const struct scan_token *token = &whole.scan.tokens[t];
            size_t quote = token->type == SCAN_STRING;
            struct encoded part, alone;
            assert_int_equal(encode(&alone, r.text + token->at - quote, token->len + 2 * quote), 0);
            memset(&part, 0, sizeof(part));
            struct encode_buffer b = encoded_buffer(&part, encode_bound(&whole.scan, t));
            assert_int_equal(encode_value(&whole.scan, t, &b, &part.error), 0);
            assert_int_equal(b.at - part.bytes, alone.len);
            assert_memory_equal(part.bytes, alone.bytes, alone.len);
            encoded_deinit(&part);
            encoded_deinit(&alone);
        }
        encoded_deinit(&whole);
    }
    random_json_deinit(&r);
}

/* ---- Messages ---- */

#define UUID "2f1d9c52-6f0b-4d5e-9a43-5b7f3f0c8e11"
#define TIME_BYTES "\xcf\x00\x00\x01\x8b\xcf\xe5\x68\x7b" /* 1700000000123 */

static const struct encode_defaults defaults = {
    .message_id = UUID, .from = "alice", .sent_time_ms = 1700000000123};

static int encode_as_message(struct encoded *x, const char *text, const struct encode_defaults *d)
{
    encoded_init(x, text, strlen(text));
    struct encode_buffer b = encoded_buffer(x, encode_message_bound(&x->scan, 0, d));
    int r = encode_message(&x->scan, 0, d, &b, &x->message, &x->error);
    x->len = (size_t)(b.at - x->bytes);
    if (r != 0)
        assert_int_equal(x->len, 0);
    return r;
}

static void assert_message(const char *text, const struct encode_defaults *d, const char *bytes, size_t len,
                           const char *id)
{
    struct encoded x;
    int r = encode_as_message(&x, text, d);
    if (r != 0)
        fail_msg("%s: %s", text, x.error.detail);
    if (x.len != len || memcmp(x.bytes, bytes, len) != 0)
        print_error("%s\n", text);
    assert_int_equal(x.len, len);
    assert_memory_equal(x.bytes, bytes, len);
    assert_int_equal(x.message.message_id_len, strlen(id));
    assert_memory_equal(x.message.message_id, id, strlen(id));
    encoded_deinit(&x);
}

static void assert_message_refused(const char *text, const char *detail)
{
    struct encoded x;
    if (encode_as_message(&x, text, &defaults) != -EINVAL)
        fail_msg("%s was not refused", text);
    assert_int_equal(x.error.error, ERROR_INVALID_PARAMS);
    assert_string_equal(x.error.detail, detail);
    encoded_deinit(&x);
}

/* Each key with its header, as it is written. */
#define TYPE "\xabmessageType"
#define ID "\xa9messageId"
#define CONVERSATION \
    "\xb0"           \
    "conversationType"
#define FROM \
    "\xa4"   \
    "from"
#define TO "\xa2to"
#define TIME "\xa8sentTime"
#define DIRECTION "\xb0messageDirection"
#define SIGNAL "\xaasignalName"
#define CONTENT \
    "\xa7"      \
    "content"

static void test_message_of_nothing(void **state)
{
    static const struct encode_defaults nobody = {.message_id = UUID, .sent_time_ms = -1};
    assert_message("{}", &defaults,
                   BYTES("\x87" TYPE "\xa6TxtMsg" ID "\xd9\x24" UUID CONVERSATION "\x00" FROM "\xa5"
                         "alice" TO "\xa6server" TIME TIME_BYTES DIRECTION "\x01"),
                   UUID);
    assert_message("{}", &nobody,
                   BYTES("\x86" TYPE "\xa6TxtMsg" ID "\xd9\x24" UUID CONVERSATION "\x00" TO "\xa6server" TIME
                         "\xff" DIRECTION "\x01"),
                   UUID);
}

/* The caller's keys come first and as they are, whatever they are; then what is missing, in its order. */
static void test_message_keeps_what_was_given(void **state)
{
    assert_message(
        "{\"content\":{\"message\":[1,null],\"x\":2.5},\"my key\":{},\"to\":\"bob\",\"conversationType\":1}",
        &defaults,
        BYTES("\x89" CONTENT "\x82\xa7message\x92\x01\xc0\xa1x\xcb\x40\x04\x00\x00\x00\x00\x00\x00"
              "\xa6my key\x80" TO "\xa3"
              "bob" CONVERSATION "\x01" TYPE "\xa6TxtMsg" ID "\xd9\x24" UUID FROM "\xa5"
              "alice" TIME TIME_BYTES DIRECTION "\x01"),
        UUID);
    assert_message("{\"messageDirection\":-7,\"sentTime\":18446744073709551615,\"to\":\"\",\"from\":\"\","
                   "\"conversationType\":0,\"messageId\":\"1\",\"messageType\":\"x\"}",
                   &defaults,
                   BYTES("\x87" DIRECTION "\xf9" TIME "\xcf\xff\xff\xff\xff\xff\xff\xff\xff" TO "\xa0" FROM
                         "\xa0" CONVERSATION "\x00" ID "\xa1"
                         "1" TYPE "\xa1x"),
                   "1");
}

/* Keys and values are compared unescaped; a key that only looks like a known one is nobody's business. */
static void test_message_with_escapes(void **state)
{
    assert_message("{\"message\\u0049d\":\"a\\u0062\\n\",\"t\\u006f\":\"x\",\"messageid\":0,\"From\":0}",
                   &defaults,
                   BYTES("\x89" ID "\xa3"
                         "ab\n" TO "\xa1x"
                         "\xa9messageid\x00\xa4"
                         "From\x00" TYPE "\xa6TxtMsg" CONVERSATION "\x00" FROM "\xa5"
                         "alice" TIME TIME_BYTES DIRECTION "\x01"),
                   "ab\n");
}

static void test_message_types(void **state)
{
    struct encoded x;
    static const char *const rows[] = {"TxtMsg",  "TextMsg",   "ImgMsg", "FileMsg",
                                       "PingMsg", "signalmsg", "text",   "中"};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        char text[64], expected[64];
        snprintf(text, sizeof(text), "{\"messageType\":\"%s\"}", rows[i]);
        assert_int_equal(encode_as_message(&x, text, &defaults), 0);
        int len =
            snprintf(expected, sizeof(expected), "\x87" TYPE "%c%s", (char)(0xa0 + strlen(rows[i])), rows[i]);
        assert_memory_equal(x.bytes, expected, (size_t)len);
        encoded_deinit(&x);
    }
    assert_message_refused("{\"messageType\":\"SignalMsg\"}",
                           "\"signalName\" is required for messageType SignalMsg");
    assert_message_refused("{\"messageType\":\"Signal\\u004dsg\"}",
                           "\"signalName\" is required for messageType SignalMsg");
    assert_int_equal(encode_as_message(&x, "{\"messageType\":\"SignalMsg\",\"signalName\":\"s\"}", &defaults),
                     0);
    static const char expected_signal[] = "\x88" TYPE "\xa9SignalMsg" SIGNAL "\xa1s" ID;
    assert_memory_equal(x.bytes, expected_signal, sizeof(expected_signal) - 1);
    encoded_deinit(&x);
}

static void test_message_conversations(void **state)
{
    for (int type = 0; type < CONVERSATION_TYPE_COUNT; type++) {
        char text[64], detail[64];
        struct encoded x;
        snprintf(text, sizeof(text), "{\"conversationType\":%d,\"to\":\"bob\"}", type);
        assert_int_equal(encode_as_message(&x, text, &defaults), 0);
        encoded_deinit(&x);
        snprintf(text, sizeof(text), "{\"conversationType\":%d}", type);
        snprintf(detail, sizeof(detail), "\"to\" is required for conversationType %d", type);
        if (type > 0)
            assert_message_refused(text, detail);
    }
}

static void test_messages_refused(void **state)
{
    static const char conversation[] = "\"conversationType\" must be an integer from 0 to 5";
    static const struct {
        const char *text, *detail;
    } rows[] = {
        {"[]", "\"message\" must be an object"},
        {"null", "\"message\" must be an object"},
        {"{\"messageType\":\"\"}", "\"messageType\" must be a string that is not empty"},
        {"{\"messageType\":1}", "\"messageType\" must be a string that is not empty"},
        {"{\"messageId\":\"\"}", "\"messageId\" must be a string that is not empty"},
        {"{\"messageId\":null}", "\"messageId\" must be a string that is not empty"},
        {"{\"conversationType\":6,\"to\":\"x\"}", conversation},
        {"{\"conversationType\":-1,\"to\":\"x\"}", conversation},
        {"{\"conversationType\":18446744073709551615,\"to\":\"x\"}", conversation},
        {"{\"conversationType\":1.0}", "\"conversationType\" must be an integer"},
        {"{\"conversationType\":\"1\"}", "\"conversationType\" must be an integer"},
        {"{\"from\":1}", "\"from\" must be a string"},
        {"{\"to\":[\"bob\"]}", "\"to\" must be a string"},
        {"{\"to\":{\"$bin\":\"\"}}", "\"to\" must be a string"},
        {"{\"sentTime\":1.5}", "\"sentTime\" must be an integer"},
        {"{\"sentTime\":\"now\"}", "\"sentTime\" must be an integer"},
        {"{\"messageDirection\":true}", "\"messageDirection\" must be an integer"},
        {"{\"signalName\":\"\"}", "\"signalName\" must be a string that is not empty"},
        {"{\"content\":\"hello\"}", "\"content\" must be an object"},
        {"{\"content\":[]}", "\"content\" must be an object"},
        {"{\"content\":{\"$bin\":\"AA==\"}}", "\"content\" must be an object"},
        {"{\"content\":{\"message\":{\"$bin\":\"A\"}}}", BIN_REFUSED},
        {"{\"content\":{\"message\":{\"$file\":\"/x\"}}}", FILE_REFUSED},
        {"{\"x\":{\"$fd\":0}}", FD_REFUSED},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        assert_message_refused(rows[i].text, rows[i].detail);
}

static void test_message_id_length(void **state)
{
    for (size_t escapes = 0; escapes <= MESSAGE_ID_MAX; escapes += MESSAGE_ID_MAX / 2)
        for (size_t n = MESSAGE_ID_MAX; n <= MESSAGE_ID_MAX + 1; n++) {
            char *id = string_of(n, escapes), text[2048];
            struct encoded x;
            snprintf(text, sizeof(text), "{\"messageId\":%s}", id);
            if (n > MESSAGE_ID_MAX) {
                assert_message_refused(text, "\"messageId\" is longer than 128 bytes");
            } else {
                assert_int_equal(encode_as_message(&x, text, &defaults), 0);
                assert_int_equal(x.message.message_id_len, MESSAGE_ID_MAX);
                for (size_t i = 0; i < MESSAGE_ID_MAX; i++)
                    assert_int_equal(x.message.message_id[i], 'x');
                encoded_deinit(&x);
            }
            free(id);
        }
    char *long_id = string_of(10000, 10000), *text = malloc(70000);
    assert_non_null(text);
    sprintf(text, "{\"messageId\":%s}", long_id);
    assert_message_refused(text, "\"messageId\" is longer than 128 bytes");
    free(text);
    free(long_id);
}

/* The message's own map is level 1. */
static void test_message_depth(void **state)
{
    for (unsigned levels = MESSAGE_DEPTH_MAX - 1; levels <= MESSAGE_DEPTH_MAX; levels++) {
        char text[256];
        struct encoded x;
        size_t len = (size_t)sprintf(text, "{\"x\":");
        memset(text + len, '[', levels);
        memset(text + len + levels, ']', levels);
        strcpy(text + len + 2 * levels, "}");
        if (levels < MESSAGE_DEPTH_MAX) {
            assert_int_equal(encode_as_message(&x, text, &defaults), 0);
            encoded_deinit(&x);
        } else {
            assert_message_refused(text, "the value is nested deeper than 64 levels");
        }
    }
}

/* A file is a bin whose bytes are left out; its header is as long as its size asks for. */
static void test_files(void **state)
{
    static const size_t sizes[] = {0, 255, 256, 65535, 65536};
    static const char *const headers[] = {"\xc4\x00", "\xc4\xff", "\xc5\x01\x00", "\xc5\xff\xff",
                                          "\xc6\x00\x01\x00\x00"};
    static const size_t lengths[] = {2, 2, 3, 3, 5};
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        struct encode_files files = {.count = 1, .size = {sizes[i]}};
        struct encode_defaults d = {.message_id = defaults.message_id, .files = &files};
        struct encoded x;
        assert_int_equal(encode_as_message(&x, "{\"x\":{\"$fd\":0}}", &d), 0);
        assert_int_equal(files.used, 1);
        assert_int_equal(files.holes[0].at, 3 + lengths[i]);
        assert_memory_equal(x.bytes + 3, headers[i], lengths[i]);
        assert_memory_equal(x.bytes + files.holes[0].at + sizes[i], TYPE, sizeof(TYPE) - 1);
        encoded_deinit(&x);
    }
}

static void test_files_refused(void **state)
{
    static const struct {
        const char *text, *detail;
    } rows[] = {
        {"{\"x\":{\"$fd\":2}}", "\"$fd\" 2: no such file descriptor came with the line"},
        {"{\"x\":[{\"$fd\":1},{\"$fd\":1}]}", "\"$fd\" 1: is there twice"},
        {"{\"content\":{\"$fd\":0}}", "\"content\" must be an object"},
        {"{\"to\":{\"$fd\":0}}", "\"to\" must be a string"},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct encode_files files = {.count = 2, .size = {1, 2}};
        struct encode_defaults d = {.message_id = defaults.message_id, .files = &files};
        struct encoded x;
        assert_int_equal(encode_as_message(&x, rows[i].text, &d), -EINVAL);
        assert_string_equal(x.error.detail, rows[i].detail);
        encoded_deinit(&x);
    }
}

/* Deep within a request as at the top. */
static void test_message_within_a_request(void **state)
{
    static const char text[] =
        "{\"id\":1,\"params\":{\"message\":{\"to\":\"bob\",\"conversationType\":2}},\"more\":[1]}";
    struct encoded x, alone;
    encoded_init(&x, BYTES(text));
    uint32_t message = scan_member(&x.scan, scan_member(&x.scan, 0, "params"), "message");
    struct encode_buffer b = encoded_buffer(&x, encode_bound(&x.scan, message) + ENCODE_MESSAGE_EXTRA + 5);
    assert_int_equal(encode_message(&x.scan, message, &defaults, &b, &x.message, &x.error), 0);
    assert_int_equal(encode_as_message(&alone, "{\"to\":\"bob\",\"conversationType\":2}", &defaults), 0);
    assert_int_equal(b.at - x.bytes, alone.len);
    assert_memory_equal(x.bytes, alone.bytes, alone.len);
    encoded_deinit(&x);
    encoded_deinit(&alone);
}

/* The map's header grows when the defaults are added; the room for them is enough with the longest id and
 * from. */
static void test_message_with_many_keys(void **state)
{
    for (unsigned keys = 0; keys < 20; keys++) {
        static char from[70000];
        char text[512] = "{", *at = text + 1;
        struct encoded x;
        struct encode_defaults d = {.message_id = UUID, .from = from, .sent_time_ms = INT64_MIN};
        memset(from, 'f', sizeof(from) - 1);
        for (unsigned i = 0; i < keys; i++)
            at += sprintf(at, "%s\"%u\":0", i ? "," : "", i);
        strcpy(at, "}");
        assert_int_equal(encode_as_message(&x, text, &d), 0);
        msgpack_zone zone;
        msgpack_object o;
        size_t offset = 0;
        msgpack_zone_init(&zone, 8192);
        assert_int_equal(msgpack_unpack((const char *)x.bytes, x.len, &offset, &zone, &o),
                         MSGPACK_UNPACK_SUCCESS);
        assert_int_equal(offset, x.len);
        assert_int_equal(o.via.map.size, keys + 7);
        msgpack_zone_destroy(&zone);
        encoded_deinit(&x);
    }
}

static void test_message_buffer_too_small(void **state)
{
    struct encoded x;
    encoded_init(&x, BYTES("{}"));
    struct encode_buffer b = encoded_buffer(&x, encode_bound(&x.scan, 0) + ENCODE_MESSAGE_EXTRA + 5 - 1);
    assert_int_equal(encode_message(&x.scan, 0, &defaults, &b, &x.message, &x.error), -ENOBUFS);
    assert_ptr_equal(b.at, x.bytes);
    encoded_deinit(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values),
        cmocka_unit_test(test_string_headers),
        cmocka_unit_test(test_container_headers),
        cmocka_unit_test(test_bin),
        cmocka_unit_test(test_bad_bin),
        cmocka_unit_test(test_bin_headers),
        cmocka_unit_test(test_ext),
        cmocka_unit_test(test_bad_ext),
        cmocka_unit_test(test_refused_objects),
        cmocka_unit_test(test_plain_objects_with_such_keys),
        cmocka_unit_test(test_depth),
        cmocka_unit_test(test_depth_counts_from_the_token),
        cmocka_unit_test(test_buffer_too_small),
        cmocka_unit_test(test_bound_in_the_worst_cases),
        cmocka_unit_test(test_bound_is_tight),
        cmocka_unit_test(test_random_values_as_msgpack_c_packs_them),
        cmocka_unit_test(test_every_token_of_a_text),
        cmocka_unit_test(test_message_of_nothing),
        cmocka_unit_test(test_message_keeps_what_was_given),
        cmocka_unit_test(test_message_with_escapes),
        cmocka_unit_test(test_message_types),
        cmocka_unit_test(test_message_conversations),
        cmocka_unit_test(test_messages_refused),
        cmocka_unit_test(test_message_id_length),
        cmocka_unit_test(test_message_depth),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_files_refused),
        cmocka_unit_test(test_message_within_a_request),
        cmocka_unit_test(test_message_with_many_keys),
        cmocka_unit_test(test_message_buffer_too_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
