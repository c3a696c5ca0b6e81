/* url: what is taken, and what it becomes; what is refused; what people see. */
#include "url.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

static const struct {
    const char *text, *host, *path, *authority;
    uint16_t port;
    bool tls, literal;
} good[] = {
    {"ws://example.org", "example.org", "/", "example.org", 80, false, false},
    {"wss://example.org", "example.org", "/", "example.org", 443, true, false},
    {"WSS://Example.ORG:443/Im", "example.org", "/Im", "example.org", 443, true, false},
    {"ws://example.org:443/", "example.org", "/", "example.org:443", 443, false, false},
    {"ws://h?token=a/b?c", "h", "/?token=a/b?c", "h", 80, false, false},
    {"ws://h:1/a/b?x=1&y=%20", "h", "/a/b?x=1&y=%20", "h:1", 1, false, false},
    {"ws://127.0.0.1:65535/", "127.0.0.1", "/", "127.0.0.1:65535", 65535, false, true},
    {"wss://[::1]/", "::1", "/", "[::1]", 443, true, true},
    {"wss://[2001:DB8:0:0::1]:8443/im", "2001:db8::1", "/im", "[2001:db8::1]:8443", 8443, true, true},
    {"ws://xn--bcher-kva.example/", "xn--bcher-kva.example", "/", "xn--bcher-kva.example", 80, false, false},
    {"ws://a_b.c-d.0e/", "a_b.c-d.0e", "/", "a_b.c-d.0e", 80, false, false},
};

static void test_good(void **state)
{
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        struct url u;
        const char *why = NULL;
        char authority[URL_AUTHORITY_MAX];

        if (url_parse(&u, good[i].text, &why) != 0)
            fail_msg("%s: %s", good[i].text, why);
        url_authority(&u, authority);
        assert_string_equal(u.host, good[i].host);
        assert_string_equal(u.path, good[i].path);
        assert_string_equal(authority, good[i].authority);
        assert_int_equal(u.port, good[i].port);
        assert_int_equal(u.tls, good[i].tls);
        assert_int_equal(u.literal, good[i].literal);
    }
}

static const char *const bad[] = {
    "",
    "example.org",
    "http://example.org/",
    "ws:/example.org",
    "ws//example.org",
    "ws://",
    "ws:///path",
    "ws://:80/",
    "ws://host:/",
    "ws://host:0/",
    "ws://host:65536/",
    "ws://host:99999999999/",
    "ws://host:8o/",
    "ws://host:+80/",
    "ws://host:80:90/",
    "ws://user@host/",
    "ws://user:password@host/",
    "ws://host/#fragment",
    "ws://host#fragment",
    "ws://host/a b",
    "ws://host/a\tb",
    "ws://host/a\r\nX-Evil: 1",
    "ws://host\n/",
    " ws://host/",
    "ws://host/\x7f",
    "ws://host/\xc3\xa9",
    "ws://\xc3\xbc.example/",
    "ws://-host/",
    "ws://host-/",
    "ws://ho..st/",
    "ws://.host/",
    "ws://host./",
    "ws://ho%73t/",
    "ws://ho,st/",
    "ws://[::1/",
    "ws://::1/",
    "ws://[::1]x/",
    "ws://[::1]:/",
    "ws://[127.0.0.1]/",
    "ws://[fe80::1%25eth0]/",
    "ws://[]/",
    "ws://127.1/",
    "ws://127.0.0.256/",
    "ws://0x7f.0.0.1/",
    "ws://host.0x1/",
    "ws://2130706433/",
    "ws://1.2.3.4.5/",
    "ws://aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa/",
};

static void test_bad(void **state)
{
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct url u;
        const char *why = NULL;

        if (url_parse(&u, bad[i], &why) != -EINVAL || !why)
            fail_msg("taken: %s", bad[i]);
    }
}

/* A name of n bytes with dots, so that no label is too long. */
static void long_name(char *out, size_t n)
{
    for (size_t i = 0; i < n; i++)
        out[i] = i % 40 == 39 && i + 1 < n ? '.' : 'a';
    out[n] = '\0';
}

static void test_lengths(void **state)
{
    static char text[4096];
    struct url u;
    const char *why;

    strcpy(text, "ws://");
    long_name(text + 5, URL_HOST_MAX);
    assert_int_equal(url_parse(&u, text, &why), 0);
    strcat(text, ":81");
    assert_int_equal(url_parse(&u, text, &why), 0);
    long_name(text + 5, URL_HOST_MAX + 1);
    assert_int_equal(url_parse(&u, text, &why), -EINVAL);
    long_name(text + 5, 3000);
    assert_int_equal(url_parse(&u, text, &why), -EINVAL);

    strcpy(text, "ws://h/");
    memset(text + 7, 'p', URL_PATH_MAX - 1);
    text[7 + URL_PATH_MAX - 1] = '\0';
    assert_int_equal(url_parse(&u, text, &why), 0);
    assert_int_equal(strlen(u.path), URL_PATH_MAX);
    strcat(text, "p");
    assert_int_equal(url_parse(&u, text, &why), -EINVAL);
    text[6] = '?'; /* a slash is added */
    text[7 + URL_PATH_MAX - 1] = '\0';
    assert_int_equal(url_parse(&u, text, &why), -EINVAL);
    text[7 + URL_PATH_MAX - 2] = '\0';
    assert_int_equal(url_parse(&u, text, &why), 0);
}

static const struct {
    const char *text, *blanked;
} blanks[] = {
    {"ws://h/im", "ws://h/im"},
    {"wss://h:1/im?user=1&token=s3cret", "wss://h:1/im?user=***&token=***"},
    {"wss://h/im?s3cret", "wss://h/im?***"},
    {"wss://h?a=b=c&&d=&e", "wss://h?a=***&&d=***&***"},
    {"wss://u:p@w@h/im?x=1", "wss://***@h/im?x=***"},
    {"wss://h/a@b?x=1", "wss://h/a@b?x=***"},
    {"wss://h/#s3cret", "wss://h/#***"},
    {"wss://h/?a=1?b=2#c", "wss://h/?a=***#***"},
    {"nonsense?x=s3cret", "nonsense?x=***"},
};

static void test_blank(void **state)
{
    char out[64];

    for (size_t i = 0; i < sizeof(blanks) / sizeof(blanks[0]); i++) {
        url_blank(blanks[i].text, out, sizeof(out));
        assert_string_equal(out, blanks[i].blanked);
    }
    url_blank("wss://h/im?token=s3cret", out, 15); /* cut, terminated, nothing told */
    assert_string_equal(out, "wss://h/im?tok");
    url_blank("wss://h/im?token=s3cret", out, 1);
    assert_string_equal(out, "");
    memcpy(out, "x", 2);
    url_blank("wss://h/", out, 0);
    assert_string_equal(out, "x");
}

static void test_proxy(void **state)
{
    static const char *const refused[] = {
        "",         "proxy", "proxy:", "proxy:0", "http://proxy/", "u:p@h:1",      "https://h:1",
        "h:1/path", "h :1",  "h:1\n",  "[::1]",   "h:1?x",         "http://:3128", "http://h:1//"};
    char host[URL_HOST_MAX + 1];
    uint16_t port;
    const char *why;

    assert_int_equal(url_parse_proxy("Proxy.example:3128", host, &port, &why), 0);
    assert_string_equal(host, "proxy.example");
    assert_int_equal(port, 3128);
    assert_int_equal(url_parse_proxy("http://10.0.0.1:8080/", host, &port, &why), 0);
    assert_string_equal(host, "10.0.0.1");
    assert_int_equal(url_parse_proxy("[::1]:1", host, &port, &why), 0);
    assert_string_equal(host, "::1");
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        if (url_parse_proxy(refused[i], host, &port, &why) != -EINVAL)
            fail_msg("taken: %s", refused[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),  cmocka_unit_test(test_bad),   cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_blank), cmocka_unit_test(test_proxy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
