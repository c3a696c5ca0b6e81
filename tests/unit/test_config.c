/*
 * The configuration: every key with good, bad and edge values, the exact texts of errors, checks across keys,
 * what a reload may change, what is printed, and that the manual page names every key.
 */
#include "config.h"
#include "config_kind.h"
#include "headers.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

/* One folder for the whole run: the configuration that is loaded, and a file for keys that name one. */
static char folder[] = "/tmp/test_config.XXXXXX";
static char conf[64], some_file[64];

static int folder_make(void **state)
{
    FILE *to;

    assert_non_null(mkdtemp(folder));
    snprintf(conf, sizeof(conf), "%s/a.conf", folder);
    snprintf(some_file, sizeof(some_file), "%s/some", folder);
    to = fopen(some_file, "w");
    assert_non_null(to);
    return fclose(to);
}

static int folder_remove(void **state)
{
    unlink(conf);
    unlink(some_file);
    return rmdir(folder);
}

static int load_bytes(struct config **c, const char *bytes, size_t len, char *error, size_t n)
{
    FILE *to = fopen(conf, "w");

    assert_non_null(to);
    assert_int_equal(fwrite(bytes, 1, len, to), len);
    assert_int_equal(fclose(to), 0);
    return config_load(c, conf, error, n);
}

/* `$F` in a text stands for the file that exists. */
static void expand(const char *text, char *out, size_t n)
{
    const char *mark = strstr(text, "$F");

    if (mark)
        snprintf(out, n, "%.*s%s%s", (int)(mark - text), text, some_file, mark + 2);
    else
        snprintf(out, n, "%s", text);
}

static struct config *good(const char *text)
{
    struct config *c = NULL;
    char error[1024] = "", expanded[32768];

    expand(text, expanded, sizeof(expanded));
    if (load_bytes(&c, expanded, strlen(expanded), error, sizeof(error)) != 0)
        fail_msg("%s\n%s", error, expanded);
    return c;
}

/* `where` is what follows the file's name: ":3: what is wrong". */
static void bad(const char *text, const char *where)
{
    struct config *c = NULL;
    char error[1024] = "", expected[sizeof(conf) + 1024], expanded[32768], said[1024];

    expand(text, expanded, sizeof(expanded));
    expand(where, said, sizeof(said));
    snprintf(expected, sizeof(expected), "%s%s", conf, said);
    assert_int_equal(load_bytes(&c, expanded, strlen(expanded), error, sizeof(error)), -EINVAL);
    assert_string_equal(error, expected);
    assert_null(c);
}

#define URL "[Session]\nUrl=ws://h/\n"

static void only_url_is_needed(void **state)
{
    struct config *c = good(URL);

    assert_string_equal(c->url_text, "ws://h/");
    assert_string_equal(c->url.host, "h");
    assert_int_equal(c->url.port, 80);
    assert_null(c->user_id);
    assert_int_equal(c->ping_gap_ms, 6000);
    assert_int_equal(c->ping_timeout_ms, 12000);
    assert_int_equal(c->reconnect_min_ms, 500);
    assert_int_equal(c->reconnect_max_ms, 30000);
    assert_int_equal(c->reconnect_stable_ms, 10000);
    assert_null(c->disconnect_signals);
    assert_int_equal(c->no_reconnect_count, 0);
    assert_null(c->headers);
    assert_null(c->header_file);
    assert_string_equal(c->ca_file, "/etc/ssl/certs/ca-certificates.crt");
    assert_null(c->cert_file);
    assert_null(c->key_file);
    assert_false(c->has_proxy);
    assert_int_equal(c->ring_size, 8 << 20);
    assert_int_equal(c->max_line, 1 << 20);
    assert_int_equal(c->max_message, 64 << 20);
    assert_int_equal(c->inline_binary, 64 << 10);
    assert_int_equal(c->max_clients, 4096);
    assert_int_equal(c->max_clients_per_user, 1024);
    assert_int_equal(c->max_pending, 4096);
    assert_int_equal(c->max_pending_per_user, 1024);
    assert_int_equal(c->send_rate, 0);
    assert_int_equal(c->receive.count, 1);
    assert_int_equal(c->receive.entries[0].kind, ACCESS_EVERYBODY);
    assert_int_equal(c->send.count, 1);
    assert_int_equal(c->send.entries[0].kind, ACCESS_EVERYBODY);
    assert_int_equal(c->control.count, 0);
    assert_int_equal(c->stall_timeout_ms, 60000);
    assert_int_equal(c->ack_timeout_ms, 30000);
    assert_true(c->history);
    assert_int_equal(c->history_max_age_ms, 7 * 86400000);
    assert_int_equal(c->history_max_bytes, 256 << 20);
    assert_int_equal(c->outbox_max, 100000);
    assert_int_equal(c->outbox_window, 64);
    assert_int_equal(c->outbox_expires_ms, 86400000);
    assert_int_equal(c->outbox_keep_ms, 7 * 86400000);
    assert_int_equal(c->attachments_max, 1 << 30);
    config_free(c);
}

static void all_keys_are_read(void **state)
{
    struct config *c =
        good("[Local]\nRingSize = 1M\nMaxLine=64K\nMaxMessage=1G\nInlineBinary=0\nMaxClients=10\n"
             "MaxClientsPerUser=5\nMaxPending=1\nMaxPendingPerUser=2\nSendRate=3\nStallTimeout="
             "100ms\nAckTimeout=1d\n"
             "[Store]\nHistory=no\nHistoryMaxAge=2d\nHistoryMaxSize=1G\nOutboxMax=7\nOutboxWindow=1\n"
             "OutboxExpires=5s\nOutboxKeep=0\nAttachmentsMaxSize=0\n"
             "[Session]\nUrl=ws://h:81/p?q=1\nUserId=\xE4\xBD\xA0 two\nPingGap=100ms\nPingTimeout=1\n"
             "ReconnectMin=10ms\nReconnectMax=10ms\nReconnectStable=0\nDisconnectSignals=a  b\n"
             "DisconnectSignals=c\nNoReconnectCodes=1000 4999\nNoReconnectCodes=4001\n"
             "Header=A: b ; c # d\nHeader=B:\nHeaderFile=$F\nProxy=p:3128\n");

    assert_int_equal(c->ring_size, 1 << 20);
    assert_int_equal(c->max_line, 64 << 10);
    assert_int_equal(c->max_message, 1 << 30);
    assert_int_equal(c->inline_binary, 0);
    assert_int_equal(c->max_clients, 10);
    assert_int_equal(c->max_clients_per_user, 5);
    assert_int_equal(c->max_pending, 1);
    assert_int_equal(c->max_pending_per_user, 2);
    assert_int_equal(c->send_rate, 3);
    assert_int_equal(c->stall_timeout_ms, 100);
    assert_int_equal(c->ack_timeout_ms, 86400000);
    assert_false(c->history);
    assert_int_equal(c->history_max_age_ms, 2 * 86400000);
    assert_int_equal(c->history_max_bytes, 1 << 30);
    assert_int_equal(c->outbox_max, 7);
    assert_int_equal(c->outbox_window, 1);
    assert_int_equal(c->outbox_expires_ms, 5000);
    assert_int_equal(c->outbox_keep_ms, 0);
    assert_int_equal(c->attachments_max, 0);
    assert_int_equal(c->url.port, 81);
    assert_string_equal(c->url.path, "/p?q=1");
    assert_string_equal(c->user_id, "\xE4\xBD\xA0 two");
    assert_int_equal(c->ping_gap_ms, 100);
    assert_int_equal(c->ping_timeout_ms, 1000);
    assert_int_equal(c->reconnect_min_ms, 10);
    assert_int_equal(c->reconnect_max_ms, 10);
    assert_int_equal(c->reconnect_stable_ms, 0);
    assert_string_equal(c->disconnect_signals[0], "a");
    assert_string_equal(c->disconnect_signals[1], "b");
    assert_string_equal(c->disconnect_signals[2], "c");
    assert_null(c->disconnect_signals[3]);
    assert_int_equal(c->no_reconnect_count, 3);
    assert_int_equal(c->no_reconnect_codes[0], 1000);
    assert_int_equal(c->no_reconnect_codes[1], 4999);
    assert_int_equal(c->no_reconnect_codes[2], 4001);
    assert_string_equal(c->headers[0], "A: b ; c # d");
    assert_string_equal(c->headers[1], "B:");
    assert_null(c->headers[2]);
    assert_string_equal(c->header_file, some_file);
    assert_true(c->has_proxy);
    assert_string_equal(c->proxy_host, "p");
    assert_int_equal(c->proxy_port, 3128);
    config_free(c);
}

static void certificates_come_in_pairs(void **state)
{
    struct config *c = good(URL "CertFile=$F\nKeyFile=/dev/../etc/passwd\nCaFile=/etc/passwd\n");

    assert_string_equal(c->cert_file, some_file);
    assert_string_equal(c->key_file, "/dev/../etc/passwd");
    assert_string_equal(c->ca_file, "/etc/passwd");
    config_free(c);
    bad(URL "CertFile=$F\n", ":3: CertFile needs KeyFile");
    bad(URL "\nKeyFile=$F\n", ":4: KeyFile needs CertFile");
}

static void amounts(void **state)
{
    static const struct {
        const char *text;
        uint64_t ms;
    } spans[] = {{"500ms", 500},    {"6s", 6000},        {"6 s", 6000},      {"6sec", 6000},
                 {"6", 6000},       {"5min", 300000},    {"5m", 300000},     {"1h", 3600000},
                 {"2d", 172800000}, {"1min 30s", 90000}, {"1min30s", 90000}, {"1h 1min 1s 1ms", 3661001},
                 {"007s", 7000},    {"0s 700ms", 700}};
    static const struct {
        const char *text;
        uint64_t bytes;
    } sizes[] = {{"65536", 65536}, {"64K", 65536}, {"1M", 1048576}, {"1 G", 1073741824}};
    char line[128];

    for (size_t i = 0; i < COUNT(spans); i++) {
        struct config *c;

        if (spans[i].ms > 86400000)
            continue;
        snprintf(line, sizeof(line), URL "[Local]\nAckTimeout=%s\n", spans[i].text);
        c = good(line);
        assert_int_equal(c->ack_timeout_ms, spans[i].ms);
        config_free(c);
    }
    for (size_t i = 0; i < COUNT(sizes); i++) {
        struct config *c;

        snprintf(line, sizeof(line), URL "[Local]\nMaxMessage=%s\n", sizes[i].text);
        c = good(line);
        assert_int_equal(c->max_message, sizes[i].bytes);
        config_free(c);
    }
}

static void amounts_are_written_short(void **state)
{
    char out[CONFIG_AMOUNT_MAX];

    assert_string_equal(config_span_text(0, out), "0");
    assert_string_equal(config_span_text(500, out), "500ms");
    assert_string_equal(config_span_text(90000, out), "1min 30s");
    assert_string_equal(config_span_text(86400000, out), "1d");
    assert_string_equal(config_span_text(93784005, out), "1d 2h 3min 4s 5ms");
    assert_string_equal(config_span_text(UINT64_MAX, out), "213503982334d 14h 25min 51s 615ms");
    assert_string_equal(config_size_text(0, out), "0");
    assert_string_equal(config_size_text(4097, out), "4097");
    assert_string_equal(config_size_text(4096, out), "4K");
    assert_string_equal(config_size_text(8 << 20, out), "8M");
    assert_string_equal(config_size_text(1 << 30, out), "1G");
}

/* Each in the line after Url. */
static void bad_values_in_session(void **state)
{
    static const char *const cases[][2] = {
        {"PingGap=six", "PingGap: six is not a time span, such as 500ms, 6s, 5min or 1min 30s"},
        {"PingGap=6x", "PingGap: 6x is not a time span, such as 500ms, 6s, 5min or 1min 30s"},
        {"PingGap=6S", "PingGap: 6S is not a time span, such as 500ms, 6s, 5min or 1min 30s"},
        {"PingGap=-6s", "PingGap: -6s is not a time span, such as 500ms, 6s, 5min or 1min 30s"},
        {"PingGap=1.5s", "PingGap: 1.5s is not a time span, such as 500ms, 6s, 5min or 1min 30s"},
        {"PingGap=1min 30", "PingGap: 1min 30 is not a time span, such as 500ms, 6s, 5min or 1min 30s"},
        {"PingGap=6 # s", "PingGap: 6 # s is not a time span, such as 500ms, 6s, 5min or 1min 30s"},
        {"PingGap=99ms", "PingGap: 99ms is less than 100ms"},
        {"PingGap=0", "PingGap: 0 is less than 100ms"},
        {"PingGap=3601s", "PingGap: 3601s is more than 1h"},
        {"PingGap=99999999999999999999999d", "PingGap: 99999999999999999999999d is more than 1h"},
        {"PingGap=18446744073709551615s 1s", "PingGap: 18446744073709551615s 1s is more than 1h"},
        {"PingGap=", "PingGap has no value"},
        {"PingTimeout=0", "PingTimeout: 0 is less than 100ms"},
        {"ReconnectMin=9ms", "ReconnectMin: 9ms is less than 10ms"},
        {"ReconnectMin=1min", "ReconnectMin (1min) is longer than ReconnectMax (30s)"},
        {"ReconnectMax=499ms", "ReconnectMin (500ms) is longer than ReconnectMax (499ms)"},
        {"ReconnectMax=25h", "ReconnectMax: 25h is more than 1d"},
        {"ReconnectStable=25h", "ReconnectStable: 25h is more than 1d"},
        {"UserId=\"alice\"", "UserId: write it without quotes"},
        {"UserId='alice'", "UserId: write it without quotes"},
        {"UserId=alice # me", "UserId: a comment needs a line of its own"},
        {"UserId=alice ; me", "UserId: a comment needs a line of its own"},
        {"DisconnectSignals=quit ; end", "DisconnectSignals: a comment needs a line of its own"},
        {"DisconnectSignals=\"quit now\"", "DisconnectSignals: write it without quotes"},
        {"NoReconnectCodes=999", "NoReconnectCodes: 999 is not a close code, 1000 to 4999"},
        {"NoReconnectCodes=5000", "NoReconnectCodes: 5000 is not a close code, 1000 to 4999"},
        {"NoReconnectCodes=66536", "NoReconnectCodes: 66536 is not a close code, 1000 to 4999"},
        {"NoReconnectCodes=4001,4002", "NoReconnectCodes: 4001,4002 is not a close code, 1000 to 4999"},
        {"NoReconnectCodes=4001 x", "NoReconnectCodes: x is not a close code, 1000 to 4999"},
        {"NoReconnectCodes=1006", "NoReconnectCodes: 1006 is never sent by a server"},
        {"Header=secret", "Header: not a header line (Name: value)"},
        {"Header=: secret", "Header: not a header line (Name: value)"},
        {"Header=A B: secret", "Header: not a header line (Name: value)"},
        {"Header=A : secret", "Header: not a header line (Name: value)"},
        {"Header=\xC3\xA4: secret", "Header: not a header line (Name: value)"},
        {"Header=host: x", "Header: this header belongs to the websocket handshake"},
        {"Header=Sec-WebSocket-Key: x", "Header: this header belongs to the websocket handshake"},
        {"Header=Content-Length: 1", "Header: this header belongs to the websocket handshake"},
        {"HeaderFile=token", "HeaderFile: token is not an absolute path"},
        {"HeaderFile=credential:", "HeaderFile: credential: does not name a credential"},
        {"HeaderFile=credential:../x", "HeaderFile: credential:../x does not name a credential"},
        {"HeaderFile=credential:..", "HeaderFile: credential:.. does not name a credential"},
        {"HeaderFile=~/token", "HeaderFile: ~/token is not an absolute path"},
        {"HeaderFile=/nonexistent/token",
         "HeaderFile: /nonexistent/token cannot be read: No such file or directory"},
        {"CaFile=/nonexistent", "CaFile: /nonexistent cannot be read: No such file or directory"},
        {"CaFile=/tmp", "CaFile: /tmp is not a regular file"},
        {"CaFile=/dev/zero", "CaFile: /dev/zero is not a regular file"},
        {"CertFile=/nonexistent\nKeyFile=$F",
         "CertFile: /nonexistent cannot be read: No such file or directory"},
        {"KeyFile=/nonexistent\nCertFile=$F",
         "KeyFile: /nonexistent cannot be read: No such file or directory"},
        {"Pinggap=6s", "unknown key Pinggap in [Session]; did you mean PingGap?"},
        {"PingGapp=6s", "unknown key PingGapp in [Session]; did you mean PingGap?"},
        {"PINGGAP=6s", "unknown key PINGGAP in [Session]; did you mean PingGap?"},
        {"UserID=6s", "unknown key UserID in [Session]; did you mean UserId?"},
        {"Password=6s", "unknown key Password in [Session]"},
        {"RingSize=8M", "unknown key RingSize in [Session]; it belongs in [Local]"},
        {"Url=ws://g/", "Url was already given in line 2"},
        {"[Sesion]", "unknown section [Sesion]; did you mean [Session]?"},
        {"[local]", "unknown section [local]; did you mean [Local]?"},
        {"[Whatever]", "unknown section [Whatever]"},
        {"UserId", "neither [Section] nor Key=value nor a comment"},
    };
    char text[512], where[512];

    for (size_t i = 0; i < COUNT(cases); i++) {
        snprintf(text, sizeof(text), URL "%s\n", cases[i][0]);
        snprintf(where, sizeof(where), ":3: %s", cases[i][1]);
        bad(text, where);
    }
}

/* Each in the line after [Local]. */
static void bad_values_in_local(void **state)
{
    static const char *const cases[][2] = {
        {"RingSize=8m", "RingSize: 8m is not a size, such as 4096, 64K, 8M or 1G"},
        {"RingSize=8MB", "RingSize: 8MB is not a size, such as 4096, 64K, 8M or 1G"},
        {"RingSize=1M 1K", "RingSize: 1M 1K is not a size, such as 4096, 64K, 8M or 1G"},
        {"RingSize=63K", "RingSize: 63K is less than 64K"},
        {"RingSize=2G", "RingSize: 2G is more than 1G"},
        {"MaxLine=4095", "MaxLine: 4095 is less than 4K"},
        {"MaxLine=65M", "MaxLine: 65M is more than 64M"},
        {"MaxMessage=1K", "MaxMessage: 1K is less than 4K"},
        {"MaxMessage=1073741825", "MaxMessage: 1073741825 is more than 1G"},
        {"InlineBinary=64M 1", "InlineBinary: 64M 1 is not a size, such as 4096, 64K, 8M or 1G"},
        {"InlineBinary=65M", "InlineBinary: 65M is more than 64M"},
        {"MaxClients=0", "MaxClients: 0 is less than 1"},
        {"MaxClients=4K", "MaxClients: 4K is not a number, such as 4096"},
        {"MaxClients=1000001", "MaxClients: 1000001 is more than 1000000"},
        {"MaxClients=18446744073709551617", "MaxClients: 18446744073709551617 is more than 1000000"},
        {"MaxClientsPerUser=0", "MaxClientsPerUser: 0 is less than 1"},
        {"MaxPending=many", "MaxPending: many is not a number, such as 4096"},
        {"SendRate=1000001", "SendRate: 1000001 is more than 1000000"},
        {"SendRate=10/s", "SendRate: 10/s is not a number, such as 4096"},
        {"MaxPendingPerUser=0", "MaxPendingPerUser: 0 is less than 1"},
        {"StallTimeout=10ms", "StallTimeout: 10ms is less than 100ms"},
        {"AckTimeout=2d", "AckTimeout: 2d is more than 1d"},
        {"History=no", "unknown key History in [Local]; it belongs in [Store]"},
        {"[Store]\nHistory=on", "History: on is neither yes nor no"},
        {"Url=ws://h/", "unknown key Url in [Local]; it belongs in [Session]"},
        {"MaxClient=1", "unknown key MaxClient in [Local]; did you mean MaxClients?"},
    };
    char text[256], where[256];

    for (size_t i = 0; i < COUNT(cases); i++) {
        snprintf(text, sizeof(text), URL "[Local]\n%s\n", cases[i][0]);
        snprintf(where, sizeof(where), ":%d: %s", *cases[i][0] == '[' ? 5 : 4, cases[i][1]);
        bad(text, where);
    }
}

static void url_is_needed_and_checked(void **state)
{
    const char *why;
    struct url u;
    char where[256];

    bad("", ": Url is missing in [Session]");
    bad("[Session]\nUserId=a\n", ": Url is missing in [Session]");
    bad("Url=ws://h/\n", ":1: a key before the first [Section]");
    bad("[Session]\nUrl=ws://h/\x01\n", ":2: a control character");
    assert_true(url_parse(&u, "http://h/", &why) < 0);
    snprintf(where, sizeof(where), ":2: Url: %s", why);
    bad("[Session]\nUrl=http://h/\n", where);
    assert_true(url_parse(&u, "ws://h/a b", &why) < 0);
    snprintf(where, sizeof(where), ":2: Url: %s", why);
    bad("[Session]\nUrl=ws://h/a b\n", where);
}

static void proxy_is_checked(void **state)
{
    char host[URL_HOST_MAX + 1], where[256];
    const char *why;
    uint16_t port;

    assert_true(url_parse_proxy("socks5://p:1", host, &port, &why) < 0);
    snprintf(where, sizeof(where), ":3: Proxy: %s", why);
    bad(URL "Proxy=socks5://p:1\n", where);
}

static void the_later_key_is_named(void **state)
{
    bad(URL "ReconnectMin=2s\n\nReconnectMax=1s\n", ":5: ReconnectMin (2s) is longer than ReconnectMax (1s)");
    bad(URL "ReconnectMax=1s\nReconnectMin=2s\n", ":4: ReconnectMin (2s) is longer than ReconnectMax (1s)");
}

static void long_lines_are_read_whole(void **state)
{
    char text[4096], path[1501], header[1501];
    struct config *c;

    memset(path, 'p', 1500);
    memset(header, 'h', 1500);
    path[1500] = header[1500] = '\0';
    snprintf(text, sizeof(text), "[Session]\nUrl=ws://h/%s\nHeader=X-Token: %s\n", path, header);
    c = good(text);
    assert_int_equal(strlen(c->url.path), 1501);
    assert_int_equal(strlen(c->headers[0]), strlen("X-Token: ") + 1500);
    assert_string_equal(c->headers[0] + strlen("X-Token: "), header);
    config_free(c);
}

/* Only where something is checked against it: a machine without TLS certificates can serve ws://. */
static void default_ca_file_is_needed_for_tls(void **state)
{
    const char *path = config_keys[CONFIG_CA_FILE].standard;
    char where[512];

    if (access(path, R_OK) == 0) {
        config_free(good("[Session]\nUrl=wss://h/\n"));
        return;
    }
    snprintf(where, sizeof(where), ":2: CaFile: %s cannot be read: %s", path, strerror(errno));
    bad("[Session]\nUrl=wss://h/\n", where);
}

static void credentials_are_files_that_systemd_gives(void **state)
{
    static const char text[] = URL "HeaderFile=credential:some\n";
    struct config *c;
    char error[1024];

    unsetenv("CREDENTIALS_DIRECTORY");
    bad(text, ":3: HeaderFile: credential:some: imd was not started with credentials");
    assert_int_equal(config_load_outside(&c, conf, error, sizeof(error)), 0);
    assert_string_equal(c->header_file, "credential:some");
    config_free(c);
    setenv("CREDENTIALS_DIRECTORY", folder, 1);
    c = good(text);
    assert_string_equal(c->header_file, some_file);
    config_free(c);
    assert_int_equal(load_bytes(&c, URL "CaFile=credential:other\n", strlen(URL "CaFile=credential:other\n"),
                                error, sizeof(error)),
                     -EINVAL);
    assert_non_null(strstr(error, "/other cannot be read: No such file or directory"));
    setenv("CREDENTIALS_DIRECTORY", "relative", 1);
    bad(text, ":3: HeaderFile: credential:some: imd was not started with credentials");
    unsetenv("CREDENTIALS_DIRECTORY");
}

static void lists_are_bounded(void **state)
{
    char text[4096] = URL "DisconnectSignals=";

    for (int i = 0; i < 257; i++)
        strcat(text, "s ");
    bad(text, ":3: DisconnectSignals: more than 256 values");
    strcpy(text, URL "NoReconnectCodes=");
    for (int i = 0; i < 257; i++)
        strcat(text, "4000 ");
    bad(text, ":3: NoReconnectCodes: more than 256 values");
}

static void headers_are_bounded_together(void **state)
{
    /* 4096 bytes with its line end: four fill HEADERS_MAX. */
    char text[32768], line[5000] = "Header=A: ";
    struct config *c;

    memset(line + strlen(line), 'x', 4094 - strlen("A: "));
    snprintf(text, sizeof(text), URL "%s\n%s\n%s\n%s\n", line, line, line, line);
    assert_int_equal(HEADERS_MAX, 4 * 4096);
    c = good(text);
    assert_non_null(c->headers[3]);
    config_free(c);
    strcat(text, "Header=B:\n");
    bad(text, ":7: Header: more than 16384 bytes of headers");
}

static void ring_is_whole_pages(void **state)
{
    struct config *c = good(URL "[Local]\nRingSize=65537\n");
    size_t page = (size_t)sysconf(_SC_PAGESIZE);

    assert_int_equal(c->ring_size % page, 0);
    assert_in_range(c->ring_size, 65537, 65537 + page - 1);
    config_free(c);
}

static void unreadable_file(void **state)
{
    struct config *c = NULL;
    char error[256];

    assert_int_equal(config_load(&c, "/nonexistent/a.conf", error, sizeof(error)), -ENOENT);
    assert_string_equal(error, "/nonexistent/a.conf: cannot be read: No such file or directory");
    assert_int_equal(config_load(&c, "/tmp", error, sizeof(error)), -EISDIR);
    assert_string_equal(error, "/tmp: cannot be read: Is a directory");
    assert_int_equal(config_load(&c, "/tmp", error, 8), -EISDIR);
    assert_string_equal(error, "/tmp: c");
    assert_null(c);
    config_free(c);
}

/* ---- Who has access: root and the group root are wherever there are names at all ---- */

static void entry_is(const struct config_access *a, size_t i, enum access_kind kind, id_t id)
{
    assert_true(i < a->count);
    assert_int_equal(a->entries[i].kind, kind);
    assert_int_equal(a->entries[i].id, id);
}

static void access_lists_are_read(void **state)
{
    struct config *c =
        good(URL "[Access]\nReceive=@0 0\nReceive=4294967294\nSend=root  @root *\nControl=007\n");

    assert_int_equal(c->receive.count, 3); /* and not the default beside them */
    entry_is(&c->receive, 0, ACCESS_GROUP, 0);
    entry_is(&c->receive, 1, ACCESS_USER, 0);
    entry_is(&c->receive, 2, ACCESS_USER, 4294967294);
    assert_int_equal(c->send.count, 3);
    entry_is(&c->send, 0, ACCESS_USER, 0);
    entry_is(&c->send, 1, ACCESS_GROUP, 0);
    entry_is(&c->send, 2, ACCESS_EVERYBODY, 0);
    assert_int_equal(c->control.count, 1);
    entry_is(&c->control, 0, ACCESS_USER, 7);
    config_free(c);
}

static void bad_access_lists(void **state)
{
    static const char *const cases[][2] = {
        {"Receive=", "Receive has no value"},
        {"Receive=no-such-user", "Receive: there is no user no-such-user"},
        {"Send=root @no-such-group", "Send: there is no group no-such-group"},
        {"Control=**", "Control: there is no user **"},
        {"Control=root @", "Control: the name of a group is missing behind @"},
        {"Control=4294967295", "Control: 4294967295 is not the number of a user"},
        {"Control=@99999999999", "Control: 99999999999 is not the number of a group"},
        {"Control=-1", "Control: there is no user -1"},
        {"Control=root # me", "Control: a comment needs a line of its own"},
        {"Control=\"root\"", "Control: write it without quotes"},
        {"Controls=root", "unknown key Controls in [Access]; did you mean Control?"},
    };
    char text[256], where[256];

    for (size_t i = 0; i < COUNT(cases); i++) {
        snprintf(text, sizeof(text), URL "[Access]\n%s\n", cases[i][0]);
        snprintf(where, sizeof(where), ":4: %s", cases[i][1]);
        bad(text, where);
    }
}

static void any_bytes_are_an_error_or_a_config(void **state)
{
    static const char *const words[] = {"[Session]\n", "[Local]\n", "Url=",
                                        "ws://h/",     "\n",        "Header=",
                                        "A: b",        "RingSize=", "64K",
                                        "PingGap=",    "1min 30s",  "NoReconnectCodes=",
                                        "4001 ",       "\xFF",      "\x01",
                                        "\\\n",        "Proxy=",    "p:1",
                                        "UserId=",     "=",         "DisconnectSignals=",
                                        "9999999999",  "#",         ";",
                                        "[Access]\n",  "Send=",     "@"};
    uint32_t seed = 7;
    unsigned loaded = 0;

    for (int round = 0; round < 1500; round++) {
        struct config *c = NULL;
        char text[512] = "", error[256] = "";
        size_t len = 0;

        if (round % 3 == 0)
            len = (size_t)snprintf(text, sizeof(text), URL);
        for (int i = 0; i < 12; i++) {
            const char *word;

            seed = seed * 1664525 + 1013904223;
            word = words[(seed >> 16) % COUNT(words)];
            memcpy(text + len, word, strlen(word));
            len += strlen(word);
            if (round % 5 == 0)
                text[len++] = (char)(seed >> 24);
        }
        if (load_bytes(&c, text, len, error, sizeof(error)) == 0) {
            assert_string_equal(error, "");
            loaded++;
        } else {
            assert_memory_equal(error, conf, strlen(conf));
            assert_null(c);
        }
        config_free(c);
    }
    assert_true(loaded > 0);
}

/* ---- Reload and print ---- */

static void changes_are_named(void **state)
{
    struct config *now = good(URL "Header=A: 1\n[Local]\nRingSize=1M\nMaxLine=8K\n");
    struct config *next =
        good("[Session]\nUrl=ws://g/\nPingGap=5s\nHeader=A: 2\n[Local]\nRingSize=2M\nMaxPending=9\n");
    char names[256];

    assert_int_equal(config_changed(now, now, CONFIG_RELOAD, names, sizeof(names)), 0);
    assert_string_equal(names, "");
    assert_int_equal(config_changed(now, next, CONFIG_RELOAD, names, sizeof(names)), 4);
    assert_string_equal(names, "Url, PingGap, PingTimeout, Header");
    assert_int_equal(config_changed(now, next, CONFIG_START, names, sizeof(names)), 3);
    assert_string_equal(names, "RingSize, MaxLine, MaxPending");
    assert_int_equal(config_changed(now, next, CONFIG_START, names, 10), 3);
    assert_string_equal(names, "RingSize,");
    config_keep_start(next, now);
    assert_int_equal(next->ring_size, 1 << 20);
    assert_int_equal(next->max_line, 8 << 10);
    assert_int_equal(next->max_pending, 4096);
    assert_int_equal(config_changed(now, next, CONFIG_START, names, sizeof(names)), 0);
    assert_int_equal(next->ping_gap_ms, 5000);
    config_free(now);
    config_free(next);
}

static void start_keys_are_plain(void **state)
{
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++)
        if (config_keys[i].when == CONFIG_START)
            assert_true(config_keys[i].kind->plain > 0);
}

static char *printed(const struct config *c)
{
    char *text = NULL;
    size_t len;
    FILE *to = open_memstream(&text, &len);

    assert_non_null(to);
    config_print(c, to);
    assert_int_equal(fclose(to), 0);
    return text;
}

static void print_blanks_secrets(void **state)
{
    struct config *c =
        good("[Session]\nUrl=ws://h/p?token=s3cret\nUserId=me\nHeader=A: s3cret\nHeader=B: s3cret\n"
             "NoReconnectCodes=4001 4002\nDisconnectSignals=x y\nProxy=[::1]:8080\n");
    char *text = printed(c);

    assert_string_equal(text, "[Session]\n"
                              "Url=ws://h/p?token=***\n"
                              "UserId=me\n"
                              "#PingGap=6s\n"
                              "#PingTimeout=12s\n"
                              "#ReconnectMin=500ms\n"
                              "#ReconnectMax=30s\n"
                              "#ReconnectStable=10s\n"
                              "DisconnectSignals=x y\n"
                              "NoReconnectCodes=4001 4002\n"
                              "Header=A: ***\n"
                              "Header=B: ***\n"
                              "#HeaderFile=\n"
                              "#CaFile=/etc/ssl/certs/ca-certificates.crt\n"
                              "#CertFile=\n"
                              "#KeyFile=\n"
                              "Proxy=[::1]:8080\n"
                              "\n"
                              "[Local]\n"
                              "#RingSize=8M\n"
                              "#MaxLine=1M\n"
                              "#MaxMessage=64M\n"
                              "#InlineBinary=64K\n"
                              "#MaxClients=4096\n"
                              "#MaxClientsPerUser=1024\n"
                              "#MaxPending=4096\n"
                              "#MaxPendingPerUser=1024\n"
                              "#SendRate=0\n"
                              "#StallTimeout=1min\n"
                              "#AckTimeout=30s\n"
                              "\n"
                              "[Access]\n"
                              "#Receive=*\n"
                              "#Send=*\n"
                              "#Control=\n"
                              "\n"
                              "[Store]\n"
                              "#History=yes\n"
                              "#HistoryMaxAge=7d\n"
                              "#HistoryMaxSize=256M\n"
                              "#OutboxMax=100000\n"
                              "#OutboxWindow=64\n"
                              "#OutboxExpires=1d\n"
                              "#OutboxKeep=7d\n#AttachmentsMaxSize=1G\n");
    free(text);
    config_free(c);
}

/* What is printed reads back as the same, but for what is blanked. */
static void print_reads_back(void **state)
{
    struct config *c =
        good(URL "PingGap=1min 1ms\nPingTimeout=2h\nUserId=a b\n[Local]\nRingSize=1M\nMaxLine=4097\n"
                 "[Access]\nReceive=root @root\nReceive=5\nControl=*\n");
    char *text = printed(c), names[256];
    struct config *again = good(text);

    assert_int_equal(config_changed(c, again, CONFIG_RELOAD, names, sizeof(names)), 0);
    assert_int_equal(config_changed(c, again, CONFIG_START, names, sizeof(names)), 0);
    free(text);
    config_free(c);
    config_free(again);
}

static void manual_page_has_every_key(void **state)
{
    static char page[1 << 18];
    FILE *from = fopen(CONFIG_MANUAL_PAGE, "r");
    size_t len;

    assert_non_null(from);
    len = fread(page, 1, sizeof(page) - 1, from);
    fclose(from);
    page[len] = '\0';
    for (size_t i = 0; i < CONFIG_KEY_COUNT; i++) {
        char heading[64];

        snprintf(heading, sizeof(heading), "\\fB%s\\fR=", config_keys[i].name);
        if (!strstr(page, heading))
            fail_msg("%s is not in the manual page", config_keys[i].name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_url_is_needed),
        cmocka_unit_test(all_keys_are_read),
        cmocka_unit_test(certificates_come_in_pairs),
        cmocka_unit_test(amounts),
        cmocka_unit_test(amounts_are_written_short),
        cmocka_unit_test(bad_values_in_session),
        cmocka_unit_test(bad_values_in_local),
        cmocka_unit_test(url_is_needed_and_checked),
        cmocka_unit_test(proxy_is_checked),
        cmocka_unit_test(the_later_key_is_named),
        cmocka_unit_test(long_lines_are_read_whole),
        cmocka_unit_test(default_ca_file_is_needed_for_tls),
        cmocka_unit_test(credentials_are_files_that_systemd_gives),
        cmocka_unit_test(lists_are_bounded),
        cmocka_unit_test(headers_are_bounded_together),
        cmocka_unit_test(ring_is_whole_pages),
        cmocka_unit_test(unreadable_file),
        cmocka_unit_test(access_lists_are_read),
        cmocka_unit_test(bad_access_lists),
        cmocka_unit_test(any_bytes_are_an_error_or_a_config),
        cmocka_unit_test(changes_are_named),
        cmocka_unit_test(start_keys_are_plain),
        cmocka_unit_test(print_blanks_secrets),
        cmocka_unit_test(print_reads_back),
        cmocka_unit_test(manual_page_has_every_key),
    };

    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
