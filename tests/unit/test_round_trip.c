/*
 * The whole mapping, there and back: JSON -> MessagePack -> JSON comes back as the same value in its plainest
 * writing, MessagePack -> JSON -> MessagePack as the same bytes (of what JSON can hold without loss:
 * everything but float32, NaN and infinities, ill-formed UTF-8, timestamps, keys that are no strings, and
 * forms longer than need be).
 */
#include "decode.h"
#include "encode.h"

#include "random_json.h"

#include <jansson.h>
#include <msgpack.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define DEPTH 254

/* A text as it is scanned, encoded, and decoded again. */
struct trip {
    struct scan scan;
    uint8_t *bytes;
    size_t len;
    char *text; /* what came back */
    size_t text_len;
};

static void *allocate(size_t size)
{
    void *p = malloc(size);
    assert_non_null(p);
    return p;
}

/* Longer than any JSON text of so many bytes: a byte becomes six characters at most, a double 24. */
static size_t text_room(size_t len)
{
    return 32 * len + 64;
}

static void decode_text(const uint8_t *bytes, size_t len, char **text, size_t *text_len)
{
    struct json_writer w;
    *text = allocate(text_room(len));
    json_writer_init(&w, *text, text_room(len));
    enum decode_result r = decode_value(NULL, bytes, len, &w);
    if (r != DECODE_OK || w.failed)
        fail_msg("not decoded: %s", decode_result_text(r));
    *text_len = json_writer_length(&w);
    (*text)[*text_len] = '\0';
}

static void encode_text(struct trip *t, const char *text, size_t len)
{
    struct encode_error e;
    scan_init(&t->scan);
    if (scan_text(&t->scan, text, len, DEPTH) != SCAN_OK)
        fail_msg("%s: %s", t->scan.error, text);
    size_t bound = encode_bound(&t->scan, 0);
    t->bytes = allocate(bound);
    struct encode_buffer b = {t->bytes, t->bytes + bound};
    if (encode_value(&t->scan, 0, &b, &e) != 0)
        fail_msg("%s: %s", e.detail, text);
    t->len = (size_t)(b.at - t->bytes);
}

static void trip_json(struct trip *t, const char *text, size_t len)
{
    encode_text(t, text, len);
    decode_text(t->bytes, t->len, &t->text, &t->text_len);
}

static void trip_deinit(struct trip *t)
{
    free(t->bytes);
    free(t->text);
    scan_deinit(&t->scan);
}

/* ---- JSON -> MessagePack -> JSON ---- */

static void write_scalar(const struct scan *s, uint32_t token, struct json_writer *w)
{
    const struct scan_token *t = &s->tokens[token];
    if (t->type == SCAN_REAL) {
        json_double(w, scan_double(s, token));
    } else if (t->type == SCAN_STRING) {
        char *bytes = allocate(t->len + 1);
        json_quoted(w, bytes, scan_string_copy(s, token, bytes));
        free(bytes);
    } else {
        json_raw(w, s->text + t->at, t->len);
    }
}

/* The plainest writing of a scanned value: no white space, no needless escapes, the shortest reals. */
static void write_plain(const struct scan *s, uint32_t token, struct json_writer *w)
{
    const struct scan_token *t = &s->tokens[token];
    if (t->type < SCAN_ARRAY) {
        write_scalar(s, token, w);
        return;
    }
    bool object = t->type == SCAN_OBJECT;
    json_text(w, object ? "{" : "[");
    for (uint32_t i = token + 1; i < t->next; i = s->tokens[i].next) {
        if (i > token + 1)
            json_text(w, ",");
        if (object) {
            write_scalar(s, i++, w);
            json_text(w, ":");
        }
        write_plain(s, i, w);
    }
    json_text(w, object ? "}" : "]");
}

static void assert_plain_text(const struct trip *t)
{
    struct json_writer w;
    size_t size = text_room(t->len);
    char *text = allocate(size);
    json_writer_init(&w, text, size);
    write_plain(&t->scan, 0, &w);
    assert_false(w.failed);
    if (json_writer_length(&w) != t->text_len || memcmp(text, t->text, t->text_len) != 0)
        fail_msg("came back as %s, not as %.*s", t->text, (int)json_writer_length(&w), text);
    free(text);
}

/* Token by token the same, numbers to the last bit. */
static void assert_same_numbers(const struct trip *t)
{
    struct scan back;
    scan_init(&back);
    assert_int_equal(scan_text(&back, t->text, t->text_len, DEPTH), SCAN_OK);
    assert_int_equal(back.count, t->scan.count);
    for (uint32_t i = 0; i < back.count; i++) {
        int64_t a = 0, b = 0;
        uint64_t ua = 0, ub = 0;
        assert_int_equal(back.tokens[i].type, t->scan.tokens[i].type);
        if (back.tokens[i].type == SCAN_INT) {
            assert_int_equal(scan_int64(&back, i, &a), scan_int64(&t->scan, i, &b));
            assert_int_equal(scan_uint64(&back, i, &ua), scan_uint64(&t->scan, i, &ub));
            assert_true(a == b && ua == ub);
        } else if (back.tokens[i].type == SCAN_REAL) {
            double da = scan_double(&back, i), db = scan_double(&t->scan, i);
            assert_memory_equal(&da, &db, sizeof(da));
        }
    }
    scan_deinit(&back);
}

static void assert_jansson_finds_it_equal(const struct trip *t, const char *text, size_t len)
{
    json_t *sent = json_loadb(text, len, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    json_t *back =
        json_loadb(t->text, t->text_len, JSON_DECODE_ANY | JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES, NULL);
    assert_int_equal(sent == NULL, back == NULL); /* integers above INT64_MAX: it reads neither */
    if (sent && !json_equal(sent, back))
        fail_msg("jansson: not equal: %.*s and %s", (int)len, text, t->text);
    json_decref(sent);
    json_decref(back);
}

static void assert_comes_back(const char *text, size_t len)
{
    struct trip t, again;
    trip_json(&t, text, len);
    assert_plain_text(&t);
    assert_same_numbers(&t);
    assert_jansson_finds_it_equal(&t, text, len);
    trip_json(&again, t.text, t.text_len);
    assert_int_equal(again.len, t.len);
    assert_memory_equal(again.bytes, t.bytes, t.len);
    assert_string_equal(again.text, t.text);
    trip_deinit(&again);
    trip_deinit(&t);
}

static void test_random_json(void **state)
{
    struct random_json r = {.state = 5, .spaces = true, .unsigneds = true};
    for (int i = 0; i < 10000; i++) {
        random_json_next(&r, 6);
        assert_comes_back(r.text, r.len);
    }
    random_json_deinit(&r);
}

static void test_random_reals(void **state)
{
    struct random_json r = {.state = 6};
    for (int i = 0; i < 300; i++) {
        r.len = 0;
        random_put_text(&r, "[");
        for (int n = 0; n < 50; n++) {
            random_real(&r);
            random_put_text(&r, ",");
        }
        random_put_text(&r, "-0.0]");
        assert_comes_back(r.text, r.len);
    }
    random_json_deinit(&r);
}

static void test_random_integers(void **state)
{
    struct random_json r = {.state = 7, .unsigneds = true};
    for (int i = 0; i < 300; i++) {
        r.len = 0;
        random_put_text(&r, "[");
        for (int n = 0; n < 50; n++) {
            random_integer(&r);
            random_put_text(&r, ",");
        }
        random_put_text(&r, "18446744073709551615,-9223372036854775808]");
        assert_comes_back(r.text, r.len);
    }
    random_json_deinit(&r);
}

/* Every character of Unicode, first as an escape, then as itself. */
static void test_all_characters(void **state)
{
    enum { CHUNK = 0x800 };
    static char text[CHUNK * 12 + 8];
    for (unsigned chunk = 0; chunk < 0x110000; chunk += CHUNK) {
        char *at = text;
        if (chunk == 0xd800)
            continue; /* the surrogates, which are no characters */
        at += sprintf(at, "[\"");
        for (unsigned c = chunk; c < chunk + CHUNK; c++)
            at += c < 0x10000
                      ? sprintf(at, "\\u%04x", c)
                      : sprintf(at, "\\u%04X\\u%04x", 0xd800 + ((c - 0x10000) >> 10), 0xdc00 + (c & 0x3ff));
        at += sprintf(at, "\"]");
        assert_comes_back(text, (size_t)(at - text));
    }
}

static void test_what_stands_for_something_else(void **state)
{
    static const char *const same[] = {
        "{\"$bin\":\"\"}",
        "{\"$bin\":\"AQID\"}",
        "{\"$bin\":\"/+8=\"}",
        "{\"$ext\":{\"type\":5,\"data\":\"AQIDBA==\"}}",
        "{\"$ext\":{\"type\":-128,\"data\":\"\"}}",
        "{\"$ext\":{\"type\":-1,\"data\":\"AQID\"}}", /* not a timestamp: none has three bytes */
        "[{\"$bin\":\"AQID\"},{\"$bin\":1,\"x\":2},{\"x\":{\"$ext\":{\"type\":0,\"data\":\"AA==\"}}}]",
    };
    for (size_t i = 0; i < sizeof(same) / sizeof(same[0]); i++) {
        struct trip t;
        trip_json(&t, same[i], strlen(same[i]));
        assert_string_equal(t.text, same[i]);
        trip_deinit(&t);
    }
}

static void test_deepest(void **state)
{
    char text[512];
    size_t len = 0;
    for (int i = 0; i < MESSAGE_DEPTH_MAX; i++)
        len += (size_t)sprintf(text + len, i % 2 ? "[" : "{\"a\":");
    len += (size_t)sprintf(text + len, "{\"$bin\":\"AQID\"}");
    for (int i = MESSAGE_DEPTH_MAX; i-- > 0;)
        len += (size_t)sprintf(text + len, i % 2 ? "]" : "}");
    struct trip t;
    trip_json(&t, text, len);
    assert_string_equal(t.text, text);
    trip_deinit(&t);
}

/* ---- MessagePack -> JSON -> MessagePack ---- */

static void pack_random(msgpack_packer *p, struct random_json *r, unsigned levels);

static void pack_random_string(msgpack_packer *p, struct random_json *r)
{
    static const char *const some[] = {"a", "b", "\"", "\\", "/", "\n", "\x01", "\x7f", "é", "中", "😀", "$"};
    char text[1200];
    size_t len = 0;
    for (unsigned n = random_below(r, 8) ? random_below(r, 40) : random_below(r, 290); n > 0; n--)
        len += (size_t)sprintf(text + len, "%s", some[random_below(r, 12)]);
    msgpack_pack_str_with_body(p, text, len);
}

static size_t random_bytes(struct random_json *r, char *bytes)
{
    size_t len = random_below(r, 4) ? random_below(r, 20) : random_below(r, 300);
    for (size_t i = 0; i < len; i++)
        bytes[i] = (char)random_bits(r);
    return len;
}

static void pack_random_map(msgpack_packer *p, struct random_json *r, unsigned levels)
{
    unsigned n = random_below(r, 20) ? random_below(r, 5) : random_below(r, 40);
    msgpack_pack_map(p, n);
    for (unsigned i = 0; i < n; i++) {
        char key[16];
        msgpack_pack_str_with_body(p, key, (size_t)sprintf(key, "%u\"\n", i));
        pack_random(p, r, levels - 1);
    }
}

static void pack_random_array(msgpack_packer *p, struct random_json *r, unsigned levels)
{
    unsigned n = random_below(r, 20) ? random_below(r, 5) : random_below(r, 40);
    msgpack_pack_array(p, n);
    for (unsigned i = 0; i < n; i++)
        pack_random(p, r, levels - 1);
}

static void pack_random_double(msgpack_packer *p, struct random_json *r)
{
    uint64_t bits = random_bits(r);
    double value;
    memcpy(&value, &bits, sizeof(value));
    msgpack_pack_double(p, isfinite(value) ? value : 1e100);
}

static void pack_random(msgpack_packer *p, struct random_json *r, unsigned levels)
{
    char bytes[300];
    switch (random_below(r, levels > 0 ? 10 : 8)) {
    case 0:
        msgpack_pack_nil(p);
        break;
    case 1:
        if (random_below(r, 2))
            msgpack_pack_true(p);
        else
            msgpack_pack_false(p);
        break;
    case 2:
        msgpack_pack_uint64(p, random_bits(r) >> random_below(r, 64));
        break;
    case 3:
        msgpack_pack_int64(p, (int64_t)random_bits(r) >> random_below(r, 64));
        break;
    case 4:
        pack_random_double(p, r);
        break;
    case 5:
        pack_random_string(p, r);
        break;
    case 6: {
        size_t len = random_bytes(r, bytes);
        msgpack_pack_bin_with_body(p, bytes, len);
        break;
    }
    case 7: {
        size_t len = random_bytes(r, bytes);
        int type = (int)random_below(r, 255) - 128;
        msgpack_pack_ext_with_body(p, bytes, len,
                                   (int8_t)(type < -1 ? type : type + 1)); /* not -1: a timestamp */
        break;
    }
    case 8:
        pack_random_array(p, r, levels);
        break;
    default:
        pack_random_map(p, r, levels);
    }
}

static void test_random_msgpack(void **state)
{
    struct random_json r = {.state = 8};
    msgpack_sbuffer sent;
    msgpack_packer p;
    msgpack_sbuffer_init(&sent);
    msgpack_packer_init(&p, &sent, msgpack_sbuffer_write);
    for (int i = 0; i < 10000; i++) {
        struct trip t = {.text = NULL};
        msgpack_sbuffer_clear(&sent);
        pack_random(&p, &r, 6);
        decode_text((const uint8_t *)sent.data, sent.size, &t.text, &t.text_len);
        encode_text(&t, t.text, t.text_len);
        if (t.len != sent.size || memcmp(t.bytes, sent.data, t.len) != 0)
            fail_msg("other bytes came back of %s", t.text);
        trip_deinit(&t);
    }
    msgpack_sbuffer_destroy(&sent);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_json),
        cmocka_unit_test(test_random_reals),
        cmocka_unit_test(test_random_integers),
        cmocka_unit_test(test_all_characters),
        cmocka_unit_test(test_what_stands_for_something_else),
        cmocka_unit_test(test_deepest),
        cmocka_unit_test(test_random_msgpack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
