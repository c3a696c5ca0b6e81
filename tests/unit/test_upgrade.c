/* upgrade: requests byte for byte; answers, good ones in every dress, bad ones of every kind, and in pieces.
 */
#include "upgrade.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

/* The example of RFC 6455, 1.3. */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
static const uint8_t nonce[16] = "the sample nonce";

static struct url parsed(const char *text)
{
    struct url u;
    const char *why = "";

    if (url_parse(&u, text, &why) < 0)
        fail_msg("%s: %s", text, why);
    return u;
}

/* ---- Requests ---- */

static void check_request(const char *url, const struct headers *h, const char *expected)
{
    static char out[UPGRADE_REQUEST_MAX];
    struct url u = parsed(url);
    char key[UPGRADE_KEY_SIZE];

    memset(out, 'x', sizeof out);
    assert_int_equal(upgrade_request(out, &u, h, nonce, key), strlen(expected));
    assert_memory_equal(out, expected, strlen(expected));
    assert_memory_equal(key, KEY, UPGRADE_KEY_SIZE);
}

static void test_request(void **state)
{
    static char lines[] = "X-Token: abc\r\nOrigin: https://example.org\r\n";
    static char agent[] = "User-Agent: another\r\n";
    struct headers none = {0}, more = {.text = lines, .len = sizeof lines - 1};
    struct headers own = {.text = agent, .len = sizeof agent - 1, .has_user_agent = true};

    check_request("ws://im.example/chat?user=1&token=a%20b", &none,
                  "GET /chat?user=1&token=a%20b HTTP/1.1\r\n"
                  "Host: im.example\r\n"
                  "Upgrade: websocket\r\n"
                  "Connection: Upgrade\r\n"
                  "Sec-WebSocket-Key: " KEY "\r\n"
                  "Sec-WebSocket-Version: 13\r\n"
                  "User-Agent: imd/" IMD_VERSION "\r\n"
                  "\r\n");
    check_request("wss://IM.example:8443", &more,
                  "GET / HTTP/1.1\r\n"
                  "Host: im.example:8443\r\n"
                  "Upgrade: websocket\r\n"
                  "Connection: Upgrade\r\n"
                  "Sec-WebSocket-Key: " KEY "\r\n"
                  "Sec-WebSocket-Version: 13\r\n"
                  "User-Agent: imd/" IMD_VERSION "\r\n"
                  "X-Token: abc\r\n"
                  "Origin: https://example.org\r\n"
                  "\r\n");
    check_request("ws://[::1]:81/x", &own,
                  "GET /x HTTP/1.1\r\n"
                  "Host: [::1]:81\r\n"
                  "Upgrade: websocket\r\n"
                  "Connection: Upgrade\r\n"
                  "Sec-WebSocket-Key: " KEY "\r\n"
                  "Sec-WebSocket-Version: 13\r\n"
                  "User-Agent: another\r\n"
                  "\r\n");
}

/* The longest of everything has room. */
static void test_longest_request(void **state)
{
    struct headers h = {.text = malloc(HEADERS_MAX), .len = HEADERS_MAX};
    char *out = malloc(UPGRADE_REQUEST_MAX);
    char key[UPGRADE_KEY_SIZE];
    struct url u = {.port = 65535, .path = "/"};
    size_t n;

    memset(u.host, 'h', URL_HOST_MAX);
    memset(u.path + 1, 'p', URL_PATH_MAX - 1);
    memset(h.text, 'v', h.len);
    n = upgrade_request(out, &u, &h, nonce, key);
    assert_true(n <= UPGRADE_REQUEST_MAX);
    assert_memory_equal(out + n - 6, "vvvv\r\n", 6);
    assert_memory_equal(out + n - HEADERS_MAX - 4, "\r\nvv", 4);
    n = upgrade_connect_request(out, &u);
    assert_memory_equal(out + n - 12, "hh:65535\r\n\r\n", 12);
    free(h.text);
    free(out);
}

static void test_connect_request(void **state)
{
    static const struct {
        const char *url, *expected;
    } cases[] = {
        {"wss://im.example/x", "CONNECT im.example:443 HTTP/1.1\r\nHost: im.example:443\r\n\r\n"},
        {"ws://im.example/x", "CONNECT im.example:80 HTTP/1.1\r\nHost: im.example:80\r\n\r\n"},
        {"wss://[fe80::1]:99", "CONNECT [fe80::1]:99 HTTP/1.1\r\nHost: [fe80::1]:99\r\n\r\n"},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        static char out[UPGRADE_REQUEST_MAX];
        struct url u = parsed(cases[i].url);

        assert_int_equal(upgrade_connect_request(out, &u), strlen(cases[i].expected));
        assert_string_equal(out, cases[i].expected);
    }
}

/* ---- Answers ---- */

/* In memory that ends where the text ends, so that no byte behind it can be read unseen. */
static enum upgrade_verdict read_answer(struct upgrade_answer *a, const char *text, size_t n)
{
    char *copy = malloc(n ? n : 1);
    enum upgrade_verdict v;

    memset(a, 0xee, sizeof *a);
    memcpy(copy, text, n);
    v = upgrade_answer_read(a, copy, n, KEY);
    free(copy);
    return v;
}

static enum upgrade_verdict read_proxy_answer(struct upgrade_answer *a, const char *text, size_t n)
{
    char *copy = malloc(n ? n : 1);
    enum upgrade_verdict v;

    memset(a, 0xee, sizeof *a);
    memcpy(copy, text, n);
    v = upgrade_connect_answer_read(a, copy, n);
    free(copy);
    return v;
}

#define LINE "HTTP/1.1 101 Switching Protocols\r\n"
#define UPGRADE "Upgrade: websocket\r\n"
#define CONNECTION "Connection: Upgrade\r\n"
#define ACCEPTED "Sec-WebSocket-Accept: " ACCEPT "\r\n"
#define GOOD LINE UPGRADE CONNECTION ACCEPTED

static const char *const good[] = {
    GOOD "\r\n",
    LINE ACCEPTED CONNECTION UPGRADE "\r\n",
    "HTTP/1.1 101\r\n" UPGRADE CONNECTION ACCEPTED "\r\n",  /* no words */
    "HTTP/1.1 101 \r\n" UPGRADE CONNECTION ACCEPTED "\r\n", /* … */
    "HTTP/1.1 101 \xc3\xa4\r\n" UPGRADE CONNECTION ACCEPTED "\r\n",
    LINE "UPGRADE: WebSocket\r\ncONNECTION: upGRADE\r\nsec-websocket-ACCEPT: " ACCEPT "\r\n\r\n",
    LINE "Upgrade:websocket\r\nConnection:Upgrade\r\nSec-WebSocket-Accept:" ACCEPT "\r\n\r\n",
    LINE "Upgrade: \t websocket \t\r\nConnection:\tUpgrade\t\r\nSec-WebSocket-Accept:  " ACCEPT "  \r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\nUpgrade: websocket\nConnection: Upgrade\n"
    "Sec-WebSocket-Accept: " ACCEPT "\n\n",
    LINE "Upgrade: h2c, websocket\r\nConnection: keep-alive , Upgrade\r\n" ACCEPTED "\r\n",
    LINE "Upgrade: websocket,,\r\nConnection: ,upgrade,close\r\n" ACCEPTED "\r\n",
    LINE "Upgrade: h2c\r\n" UPGRADE "Connection: keep-alive\r\n" CONNECTION ACCEPTED
         "\r\n", /* several lines */
    LINE UPGRADE "Upgrade: h2c\r\n" CONNECTION "Connection: keep-alive\r\n" ACCEPTED "\r\n",
    GOOD "Server: a: b\r\nDate: x\r\nX-Empty:\r\nSet-Cookie: c=d; Path=/\r\n\r\n",
    GOOD "Sec-WebSocket-Protocol:\r\nSec-WebSocket-Extensions: \r\n\r\n", /* names none */
};

static void test_good_answers(void **state)
{
    static const char *const behind[] = {"", "\x82\x01x", "\r\n\r\n", "HTTP/1.1 404\r\n\r\n"};

    for (size_t i = 0; i < COUNT(good); i++)
        for (size_t k = 0; k < COUNT(behind); k++) {
            struct upgrade_answer a;
            size_t n = strlen(good[i]);
            char text[1024];

            memcpy(text, good[i], n);
            memcpy(text + n, behind[k], strlen(behind[k]));
            assert_int_equal(read_answer(&a, text, n + strlen(behind[k])), UPGRADE_DONE);
            assert_int_equal(a.status, 101);
            assert_int_equal(a.size, n);
            assert_null(a.why);
        }
}

/* Whatever is missing yet, it is not judged before its end. */
static void test_prefixes(void **state)
{
    struct upgrade_answer a;

    for (size_t i = 0; i < COUNT(good); i++)
        for (size_t n = 0; n < strlen(good[i]); n++)
            assert_int_equal(read_answer(&a, good[i], n), UPGRADE_MORE);
    for (size_t n = 0; n < 13; n++) {
        assert_int_equal(read_proxy_answer(&a, "HTTP/1.1 200\r\n", n), UPGRADE_MORE);
        assert_int_equal(read_answer(&a, "HTTP/1.1 401\r\n", n), UPGRADE_MORE);
    }
}

static const struct {
    const char *text, *why;
} bad[] = {
    {LINE "\r\n", "no \"Upgrade: websocket\""},
    {LINE CONNECTION ACCEPTED "\r\n", "no \"Upgrade: websocket\""},
    {LINE "Upgrade: websockets\r\n" CONNECTION ACCEPTED "\r\n", "no \"Upgrade: websocket\""},
    {LINE "Upgrade: web, socket\r\n" CONNECTION ACCEPTED "\r\n", "no \"Upgrade: websocket\""},
    {LINE "Upgrade : websocket\r\n" CONNECTION ACCEPTED "\r\n", "no \"Upgrade: websocket\""},
    {LINE "Upgrade: websocket/13\r\n" CONNECTION ACCEPTED "\r\n", "no \"Upgrade: websocket\""},
    {LINE UPGRADE ACCEPTED "\r\n", "no \"Connection: Upgrade\""},
    {LINE UPGRADE "Connection: keep-alive\r\n" ACCEPTED "\r\n", "no \"Connection: Upgrade\""},
    {LINE UPGRADE CONNECTION "\r\n", "wrong Sec-WebSocket-Accept"},
    {LINE UPGRADE CONNECTION "Sec-WebSocket-Accept:\r\n\r\n", "wrong Sec-WebSocket-Accept"},
    {LINE UPGRADE CONNECTION "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOp=\r\n\r\n", "wrong Sec-"},
    {LINE UPGRADE CONNECTION "Sec-WebSocket-Accept: S3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n", "wrong Sec-"},
    {LINE UPGRADE CONNECTION "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo\r\n\r\n", "wrong Sec-"},
    {LINE UPGRADE CONNECTION "Sec-WebSocket-Accept: " ACCEPT "x\r\n\r\n", "wrong Sec-"},
    {LINE UPGRADE CONNECTION "Sec-WebSocket-Accept: x" ACCEPT "\r\n\r\n", "wrong Sec-"},
    {LINE UPGRADE CONNECTION "Sec-WebSocket-Accept: " KEY "\r\n\r\n", "wrong Sec-"},
    {GOOD "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOp=\r\n\r\n", "wrong Sec-"}, /* two */
    {LINE UPGRADE CONNECTION "Sec-WebSocket-Accept: x\r\n" ACCEPTED "\r\n", "wrong Sec-"},
    {GOOD "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n", "an extension"},
    {GOOD "sec-websocket-extensions:x\r\n\r\n", "an extension"},
    {GOOD "Sec-WebSocket-Protocol: chat\r\n\r\n", "a subprotocol"},
    {GOOD "no colon\r\n\r\n", "not HTTP"},
    {GOOD ": no name\r\n\r\n", "not HTTP"},
    {GOOD "X: a\r\n folded\r\n\r\n", "not HTTP"},
    {GOOD "X: a\r\n folded: b\r\n\r\n", "not HTTP"},
    {GOOD "X: a\r\n\tfolded: b\r\n\r\n", "not HTTP"},
    {GOOD "\r\r\n\r\n", "not HTTP"},
    {"HTTP/2 101\r\n\r\n", "not HTTP"},
    {"HTTP/1.1  101\r\n", "not HTTP"},
    {"HTTP/1.x 101\r\n", "not HTTP"},
    {"HTTP/1.1\t101 x\r\n", "not HTTP"},
    {"HTTP/1.1 10\r\n", "not HTTP"},
    {"HTTP/1.1 1015\r\n", "not HTTP"},
    {"HTTP/1.1 10x\r\n", "not HTTP"},
    {"HTTP/1.1 1o1 x\r\n", "not HTTP"},
    {"HTTP/1.1 101x\r\n", "not HTTP"},
    {"HTTP/1.1 -11\r\n", "not HTTP"},
    {"HTTP/1.\r\n", "not HTTP"},
    {"HTTP/1.1\r\n", "not HTTP"},
    {"http/1.1 101\r\n", "not HTTP"},
    {"\r\nHTTP/1.1 101\r\n", "not HTTP"},
    {"SSH-2.0-OpenSSH\r\n", "not HTTP"},
    {"\x15\x03\x01", "not HTTP"},
    {"x", "not HTTP"},
};

static void test_bad_answers(void **state)
{
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct upgrade_answer a;

        if (read_answer(&a, bad[i].text, strlen(bad[i].text)) != UPGRADE_BROKEN)
            fail_msg("%s", bad[i].text);
        assert_non_null(strstr(a.why, bad[i].why));
    }
}

static void test_zero_bytes(void **state)
{
    static const char in_value[] = GOOD "X: a\0b\r\n\r\n", in_name[] = GOOD "X\0: a\r\n\r\n";
    static const char hidden[] = LINE UPGRADE CONNECTION "Sec-WebSocket-Accept: " ACCEPT "\0\r\n\r\n";
    struct upgrade_answer a;

    assert_int_equal(read_answer(&a, in_value, sizeof in_value - 1), UPGRADE_BROKEN);
    assert_int_equal(read_answer(&a, in_name, sizeof in_name - 1), UPGRADE_BROKEN);
    assert_int_equal(read_answer(&a, hidden, sizeof hidden - 1), UPGRADE_BROKEN);
}

/* Another status is told as soon as its line is there. */
static void test_other_status(void **state)
{
    static const unsigned statuses[] = {100, 103, 200, 301, 400, 401, 403, 426, 503, 999, 0};

    for (size_t i = 0; statuses[i]; i++) {
        struct upgrade_answer a;
        char text[64];
        int n = snprintf(text, sizeof text, "HTTP/1.%u %u Words of it\r\n", (unsigned)i % 2, statuses[i]);

        for (int cut = 0; cut < n; cut++)
            assert_int_equal(read_answer(&a, text, (size_t)cut), UPGRADE_MORE);
        assert_int_equal(read_answer(&a, text, (size_t)n), UPGRADE_STATUS);
        assert_int_equal(a.status, statuses[i]);
        assert_int_equal(a.size, 0);
        assert_null(a.why);
    }
}

/* ---- Its size ---- */

/* A head of exactly so many bytes. */
static size_t make_head(char *out, const char *start, size_t size)
{
    size_t n = strlen(start);

    memcpy(out, start, n);
    memcpy(out + n, "X: ", 3);
    memset(out + n + 3, 'x', size - n - 3);
    memcpy(out + size - 4, "\r\n\r\n", 4);
    return size;
}

static void test_size(void **state)
{
    static char text[2 * UPGRADE_ANSWER_MAX];
    struct upgrade_answer a;

    make_head(text, GOOD, UPGRADE_ANSWER_MAX);
    memset(text + UPGRADE_ANSWER_MAX, '\n', UPGRADE_ANSWER_MAX); /* … of what follows no byte is meant */
    assert_int_equal(read_answer(&a, text, UPGRADE_ANSWER_MAX - 1), UPGRADE_MORE);
    assert_int_equal(read_answer(&a, text, UPGRADE_ANSWER_MAX), UPGRADE_DONE);
    assert_int_equal(read_answer(&a, text, sizeof text), UPGRADE_DONE);
    assert_int_equal(a.size, UPGRADE_ANSWER_MAX);
    make_head(text, "HTTP/1.1 200\r\n", UPGRADE_ANSWER_MAX);
    assert_int_equal(read_proxy_answer(&a, text, UPGRADE_ANSWER_MAX - 1), UPGRADE_MORE);
    assert_int_equal(read_proxy_answer(&a, text, sizeof text), UPGRADE_DONE);

    make_head(text, GOOD, UPGRADE_ANSWER_MAX + 1);
    for (size_t n = UPGRADE_ANSWER_MAX - 1; n <= UPGRADE_ANSWER_MAX + 1; n++) {
        bool more = n < UPGRADE_ANSWER_MAX;

        assert_int_equal(read_answer(&a, text, n), more ? UPGRADE_MORE : UPGRADE_BROKEN);
        assert_true(more || strstr(a.why, "too long"));
    }
    make_head(text, "HTTP/1.1 200\r\n", UPGRADE_ANSWER_MAX + 1);
    assert_int_equal(read_proxy_answer(&a, text, UPGRADE_ANSWER_MAX), UPGRADE_BROKEN);

    memset(text, 'x', sizeof text); /* one line without an end */
    memcpy(text, "HTTP/1.1 101 ", 13);
    assert_int_equal(read_answer(&a, text, UPGRADE_ANSWER_MAX - 1), UPGRADE_MORE);
    assert_int_equal(read_answer(&a, text, UPGRADE_ANSWER_MAX), UPGRADE_BROKEN);
    assert_non_null(strstr(a.why, "too long"));
}

/* ---- The proxy's ---- */

static void test_connect_answers(void **state)
{
    static const struct {
        const char *text;
        enum upgrade_verdict verdict;
        unsigned status;
        size_t size;
    } cases[] = {
        {"HTTP/1.1 200 Connection established\r\n\r\n", UPGRADE_DONE, 200, 39},
        {"HTTP/1.0 200 OK\r\nVia: x\r\nno colon\r\n\r\nmore", UPGRADE_DONE, 200, 37},
        {"HTTP/1.1 204\n\n", UPGRADE_DONE, 204, 14},
        {"HTTP/1.1 299\r\n\r\n", UPGRADE_DONE, 299, 16},
        {"HTTP/1.1 200\r\n", UPGRADE_MORE, 200, 0},
        {"HTTP/1.1 200\r\nVia: x\r\n", UPGRADE_MORE, 200, 0},
        {"HTTP/1.1 199\r\n", UPGRADE_STATUS, 199, 0},
        {"HTTP/1.1 300\r\n", UPGRADE_STATUS, 300, 0},
        {"HTTP/1.1 407 Proxy Authentication Required\r\nX: y", UPGRADE_STATUS, 407, 0},
        {"HTTP/1.1 502 Bad Gateway\r\n", UPGRADE_STATUS, 502, 0},
        {"SOCKS", UPGRADE_BROKEN, 0, 0},
        {"HTTP/1.1 20\r\n", UPGRADE_BROKEN, 0, 0},
    };

    for (size_t i = 0; i < COUNT(cases); i++) {
        struct upgrade_answer a;

        assert_int_equal(read_proxy_answer(&a, cases[i].text, strlen(cases[i].text)), cases[i].verdict);
        assert_int_equal(a.status, cases[i].status);
        assert_int_equal(a.size, cases[i].size);
        assert_int_equal(a.why != NULL, cases[i].verdict == UPGRADE_BROKEN);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request),
        cmocka_unit_test(test_longest_request),
        cmocka_unit_test(test_connect_request),
        cmocka_unit_test(test_good_answers),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_bad_answers),
        cmocka_unit_test(test_zero_bytes),
        cmocka_unit_test(test_other_status),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_connect_answers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
