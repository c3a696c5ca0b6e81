/*
 * transport, on a real loop against the loopback IM server: how a connection is made, how each kind of failure is told, what comes
 * in and what goes out. Every test waits for what it expects; PATIENCE_SECS is only there so that a failure does not hang.
 */
#include "certificates.h"
#include "loop.h"
#include "transport.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#define PATIENCE_SECS 60
#define MESSAGE_MAX (8u << 20)
#define HOUR 3600L

/* ---- the folder with certificates ------------------------------------------------------------------------------------ */

static char folder[64];

static const char *in_folder(const char *name)
{
    static char paths[8][128];
    static unsigned next;
    char *path = paths[next++ % 8];

    snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, const char *text)
{
    FILE *f = fopen(in_folder(name), "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static const struct certificate certificates[] = {
    {"ca", NULL, NULL, -HOUR, HOUR},
    {"other-ca", NULL, NULL, -HOUR, HOUR},
    {"localhost", "ca", "DNS:localhost,IP:127.0.0.1,IP:::1", -HOUR, HOUR},
    {"elsewhere", "ca", "DNS:elsewhere.example,IP:192.0.2.1", -HOUR, HOUR},
    {"expired", "ca", "DNS:localhost,IP:127.0.0.1", -2 * HOUR, -HOUR},
    {"foreign", "other-ca", "DNS:localhost,IP:127.0.0.1", -HOUR, HOUR},
    {"client", "ca", NULL, -HOUR, HOUR},
};

static int set_up_folder(void **state)
{
    snprintf(folder, sizeof(folder), "/tmp/test-transport-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    for (size_t i = 0; i < sizeof(certificates) / sizeof(certificates[0]); i++)
        if (certificate_make(folder, &certificates[i]) < 0)
            return -1;
    return 0;
}

static int tear_down_folder(void **state)
{
    DIR *d = opendir(folder);

    for (struct dirent *e; d && (e = readdir(d));)
        if (e->d_name[0] != '.')
            unlink(in_folder(e->d_name));
    closedir(d);
    return rmdir(folder);
}

/* ---- the server ------------------------------------------------------------------------------------------------------ */

struct server {
    pid_t pid;
    unsigned port;
    int control;
    char reply[65536];
};

static int connect_unix(const char *path)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    return fd;
}

static void read_line(int fd, char *line, size_t size)
{
    size_t len = 0;

    while (len + 1 < size && read(fd, line + len, 1) == 1 && line[len] != '\n')
        len++;
    line[len] = '\0';
}

/* Up to six further arguments, the last NULL. */
static void server_start(struct server *s, const char *listen_at, const char *const *more)
{
    const char *arguments[16] = {IM_SERVER, "--listen", listen_at, "--control", in_folder("control")};
    size_t n = 5;
    int out[2];
    char line[64];

    for (; more && *more; more++)
        arguments[n++] = *more;
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    s->pid = fork();
    if (s->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(out[1], STDOUT_FILENO);
        execv(IM_SERVER, (char *const *)(uintptr_t)arguments);
        _exit(127);
    }
    close(out[1]);
    read_line(out[0], line, sizeof(line));
    close(out[0]);
    assert_int_equal(sscanf(line, "{\"port\":%u}", &s->port), 1);
    s->control = connect_unix(in_folder("control"));
}

static void server_stop(struct server *s)
{
    close(s->control);
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    unlink(in_folder("control"));
}

static const char *command(struct server *s, const char *format, ...) __attribute__((format(printf, 2, 3)));

static const char *command(struct server *s, const char *format, ...)
{
    char line[512];
    va_list args;

    va_start(args, format);
    int n = vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    line[n] = '\n';
    assert_int_equal(write(s->control, line, (size_t)n + 1), n + 1);
    read_line(s->control, s->reply, sizeof(s->reply));
    if (!strstr(s->reply, "\"ok\":true"))
        fail_msg("%.*s: %s", n, line, s->reply);
    return s->reply;
}

static long stat_of(struct server *s, const char *name)
{
    char key[64];

    snprintf(key, sizeof(key), "\"%s\":", name);
    const char *at = strstr(command(s, "{\"cmd\":\"stats\"}"), key);
    assert_non_null(at);
    return strtol(at + strlen(key), NULL, 10);
}

/* ---- the rig: a transport that notes what it is told ------------------------------------------------------------------- */

struct rig {
    struct loop *loop;
    struct transport *transport;
    struct transport_options options;
    struct loop_hook hook;
    bool (*until)(struct rig *r);
    bool in_call; /* a call of ours is under way: `closed` must not come */
    int opened, closed, messages, texts, alive, pongs, drained;
    size_t text_len, last_len, total_len;
    bool intact; /* all messages so far were what was expected of them */
    uint8_t first[64];
    struct transport_end end;
    bool reopen_in_closed;
};

static struct rig *rig_of_hook(struct loop_hook *h)
{
    return (struct rig *)((char *)h - offsetof(struct rig, hook));
}

static void on_turn(struct loop_hook *h)
{
    struct rig *r = rig_of_hook(h);

    if (r->until && r->until(r))
        loop_stop(r->loop);
}

static void on_opened(void *self)
{
    ((struct rig *)self)->opened++;
}

static void on_closed(void *self, const struct transport_end *end)
{
    struct rig *r = self;

    assert_false(r->in_call);
    r->closed++;
    r->end = *end;
    if (r->reopen_in_closed) {
        r->reopen_in_closed = false;
        transport_open(r->transport);
    }
}

static void on_message(void *self, const uint8_t *bytes, size_t len)
{
    struct rig *r = self;

    r->messages++;
    r->last_len = len;
    r->total_len += len;
    memcpy(r->first, bytes, len < sizeof(r->first) ? len : sizeof(r->first));
}

static void on_text(void *self, size_t len)
{
    struct rig *r = self;

    r->texts++;
    r->text_len = len;
}

static void on_alive(void *self)
{
    ((struct rig *)self)->alive++;
}

static void on_pong(void *self)
{
    ((struct rig *)self)->pongs++;
}

static void on_drained(void *self)
{
    ((struct rig *)self)->drained++;
}

static int out_of_patience(sd_event_source *s, uint64_t usec, void *self)
{
    fail_msg("what was waited for did not come");
    return 0;
}

static void run_until(struct rig *r, bool (*until)(struct rig *r))
{
    sd_event_source *patience = NULL;
    uint64_t at = (loop_now_ms(r->loop) + PATIENCE_SECS * 1000) * 1000;

    r->until = until;
    sd_event_add_time(loop_event(r->loop), &patience, CLOCK_BOOTTIME, at, 1000, out_of_patience, r);
    assert_int_equal(loop_run(r->loop), 0);
    sd_event_source_disable_unref(patience);
    r->until = NULL;
}

static bool is_open(struct rig *r)
{
    return r->opened > 0;
}

static bool is_closed(struct rig *r)
{
    return r->closed > 0;
}

static void add_transport(struct rig *r)
{
    const struct transport_listener l = {
        .self = r,
        .opened = on_opened,
        .closed = on_closed,
        .message = on_message,
        .text_message = on_text,
        .alive = on_alive,
        .pong = on_pong,
        .drained = on_drained,
    };

    assert_int_equal(transport_new(&r->transport, r->loop, &l), 0);
    r->hook.turn = on_turn;
    loop_hook_add(r->loop, &r->hook);
}

static int set_up(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));

    *state = r;
    if (!r || loop_new(&r->loop) < 0)
        return -1;
    r->options = (struct transport_options){.ca_file = in_folder("ca.pem"), .message_max = MESSAGE_MAX};
    add_transport(r);
    return 0;
}

static int tear_down(void **state)
{
    struct rig *r = *state;

    transport_free(r->transport);
    loop_free(r->loop);
    free(r);
    return 0;
}

static void set_url(struct rig *r, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void set_url(struct rig *r, const char *format, ...)
{
    char text[256];
    const char *why = "";
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (url_parse(&r->options.url, text, &why) < 0)
        fail_msg("%s: %s", text, why);
}

static void begin(struct rig *r)
{
    r->opened = r->closed = r->messages = r->texts = r->alive = r->pongs = r->drained = 0;
    r->total_len = 0;
    r->in_call = true;
    assert_int_equal(transport_configure(r->transport, &r->options), 0);
    transport_open(r->transport);
    r->in_call = false;
}

static void open_to(struct rig *r, struct server *s)
{
    server_start(s, "127.0.0.1:0", NULL);
    set_url(r, "ws://127.0.0.1:%u/im?user=1", s->port);
    begin(r);
    run_until(r, is_open);
}

static void send_bytes(struct rig *r, const void *bytes, size_t len)
{
    uint8_t *room = transport_reserve(r->transport, len + 10);

    assert_non_null(room);
    memcpy(room, bytes, len);
    transport_commit(r->transport, len);
}

static void close_now(struct rig *r, unsigned code, enum link_reason reason)
{
    r->in_call = true;
    transport_close(r->transport, code, reason);
    r->in_call = false;
}

/* ---- opening and closing ----------------------------------------------------------------------------------------------- */

static bool has_three_messages(struct rig *r)
{
    return r->messages == 3;
}

static bool has_pong(struct rig *r)
{
    return r->pongs == 1;
}

static void test_the_whole_way(void **state)
{
    struct rig *r = *state;
    struct server s;

    open_to(r, &s);
    assert_int_equal(r->closed, 0);
    assert_non_null(transport_reserve(r->transport, 100)); /* taken back: nothing of it may be sent */
    transport_commit(r->transport, 0);
    send_bytes(r, "\x81\xa1n\x01", 4);
    send_bytes(r, "\x81\xa1n\x02", 4);
    send_bytes(r, "\x81\xa1n\x03", 4);
    run_until(r, has_three_messages);
    assert_non_null(strstr(command(&s, "{\"cmd\":\"received\"}"), "[\"81a16e01\",\"81a16e02\",\"81a16e03\"]"));
    assert_true(r->alive >= 1);

    transport_ping(r->transport);
    run_until(r, has_pong);
    assert_int_equal(stat_of(&s, "wsPings"), 1);

    struct transport_counters c = transport_counters(r->transport);
    assert_true(c.bytes_in > 100 && c.bytes_out > 100);
    close_now(r, 1001, LINK_REASON_SHUTDOWN);
    assert_null(transport_reserve(r->transport, 1));
    run_until(r, is_closed);
    assert_int_equal(r->end.reason, LINK_REASON_SHUTDOWN);
    assert_true(r->end.was_open);
    assert_int_equal(stat_of(&s, "lastCloseCode"), 1001);
    assert_true(transport_counters(r->transport).bytes_in >= c.bytes_in);
    server_stop(&s);
}

static void test_request_headers(void **state)
{
    static const char *const lines[] = {"X-Token: abc", "Origin: https://example.org", NULL};
    struct rig *r = *state;
    struct server s;

    write_file("headers", "# a comment\n\nX-File: one\r\nX-More: two");
    setenv("http_proxy", "127.0.0.1:1", 1); /* must not be used */
    r->options.headers = lines;
    r->options.header_file = in_folder("headers");
    open_to(r, &s);
    unsetenv("http_proxy");
    const char *headers = command(&s, "{\"cmd\":\"headers\"}");
    assert_non_null(strstr(headers, "\"uri\":\"/im?user=1\""));
    assert_non_null(strstr(headers, "\"x-token\":\"abc\""));
    assert_non_null(strstr(headers, "\"origin\":\"https://example.org\""));
    assert_non_null(strstr(headers, "\"x-file\":\"one\""));
    assert_non_null(strstr(headers, "\"x-more\":\"two\""));
    assert_non_null(strstr(headers, "\"user-agent\":\"imd/" IMD_VERSION "\""));
    assert_non_null(strstr(headers, "\"host\":\"127.0.0.1:"));
    assert_null(strstr(headers, "sec-websocket-extensions"));

    write_file("headers", "X-File: renewed\n"); /* read anew, without being told */
    close_now(r, 1000, LINK_REASON_REQUESTED);
    run_until(r, is_closed);
    r->opened = 0;
    transport_open(r->transport);
    run_until(r, is_open);
    headers = command(&s, "{\"cmd\":\"headers\"}");
    assert_non_null(strstr(headers, "\"x-file\":\"renewed\""));
    server_stop(&s);
}

static void test_bad_credentials(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"no colon here\n", "not a header line"},
        {"Bad Name: x\n", "not a header line"},
        {"X-A: b\x01\n", "a control character"},
        {"Host: elsewhere\n", "belongs to the websocket handshake"},
        {"Sec-WebSocket-Extensions: permessage-deflate\n", "belongs to the websocket handshake"},
        {NULL, "No such file"},
    };
    struct rig *r = *state;

    set_url(r, "ws://127.0.0.1:1/");
    r->options.header_file = in_folder("headers");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        unlink(in_folder("headers"));
        if (cases[i].text)
            write_file("headers", cases[i].text);
        begin(r);
        run_until(r, is_closed);
        assert_int_equal(r->end.reason, LINK_REASON_CREDENTIALS);
        assert_non_null(strstr(r->end.detail, cases[i].says));
    }
    assert_int_equal(mkfifo(in_folder("fifo"), 0600), 0); /* must not hang the loop */
    r->options.header_file = in_folder("fifo");
    begin(r);
    run_until(r, is_closed);
    assert_int_equal(r->end.reason, LINK_REASON_CREDENTIALS);
    assert_non_null(strstr(r->end.detail, "not a regular file"));
}

static void test_bad_configuration(void **state)
{
    static const char *const two_lines[] = {"X-A: b\r\nX-C: d", NULL};
    static const char *const reserved[] = {"Connection: close", NULL};
    struct rig *r = *state;

    set_url(r, "wss://localhost:1/");
    r->options.ca_file = in_folder("absent");
    assert_int_equal(transport_configure(r->transport, &r->options), -ENOENT);
    r->options.ca_file = in_folder("ca.key"); /* PEM, but no certificate */
    assert_int_equal(transport_configure(r->transport, &r->options), -EINVAL);
    r->options.ca_file = folder;
    assert_int_equal(transport_configure(r->transport, &r->options), -EINVAL);
    r->options.ca_file = in_folder("ca.pem");
    assert_int_equal(transport_configure(r->transport, &r->options), 0);
    r->options.headers = two_lines;
    assert_int_equal(transport_configure(r->transport, &r->options), -EINVAL);
    r->options.headers = reserved;
    assert_int_equal(transport_configure(r->transport, &r->options), -EINVAL);
}

/* A change of configuration leaves the open connection alone, and is what the next one uses. */
static void test_configure_while_open(void **state)
{
    struct rig *r = *state;
    struct server s;
    char header[] = "X-Token: old";
    const char *lines[] = {header, NULL};

    r->options.headers = lines;
    open_to(r, &s);
    memcpy(header, "X-Token: new", sizeof(header)); /* strings are copied */
    assert_int_equal(transport_configure(r->transport, &r->options), 0);
    send_bytes(r, "\x80", 1);
    send_bytes(r, "\x80", 1);
    send_bytes(r, "\x80", 1);
    run_until(r, has_three_messages);
    assert_non_null(strstr(command(&s, "{\"cmd\":\"headers\"}"), "\"x-token\":\"old\""));
    close_now(r, 1000, LINK_REASON_REQUESTED);
    run_until(r, is_closed);
    r->opened = 0;
    transport_open(r->transport);
    run_until(r, is_open);
    assert_non_null(strstr(command(&s, "{\"cmd\":\"headers\"}"), "\"x-token\":\"new\""));
    server_stop(&s);
}

static bool is_open_twice(struct rig *r)
{
    return r->opened == 2;
}

static void test_open_from_within_closed(void **state)
{
    struct rig *r = *state;
    struct server s;

    open_to(r, &s);
    r->reopen_in_closed = true;
    transport_abort(r->transport, LINK_REASON_HEARTBEAT);
    run_until(r, is_open_twice);
    assert_int_equal(r->closed, 1);
    server_stop(&s);
}

static int open_descriptors(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");

    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void test_nothing_is_left_behind(void **state)
{
    struct rig *r = *state;
    struct server s;
    int before = 0;

    server_start(&s, "127.0.0.1:0", NULL);
    for (int i = 0; i < 30; i++) {
        set_url(r, i % 3 == 2 ? "wss://127.0.0.1:%u/" : "ws://127.0.0.1:%u/", s.port);
        begin(r);
        run_until(r, i % 3 == 2 ? is_closed : is_open);
        if (i % 3 == 0)
            transport_abort(r->transport, LINK_REASON_HEARTBEAT);
        if (i % 3 == 1)
            close_now(r, 1000, LINK_REASON_REQUESTED);
        run_until(r, is_closed);
        if (i == 2)
            before = open_descriptors();
    }
    assert_int_equal(open_descriptors(), before);
    server_stop(&s);
}

static void test_free_at_any_time(void **state)
{
    struct rig *r = *state;
    struct server s;

    server_start(&s, "127.0.0.1:0", NULL);
    set_url(r, "ws://localhost:%u/", s.port);
    begin(r); /* resolving */
    loop_hook_remove(r->loop, &r->hook);
    transport_free(r->transport);

    add_transport(r);
    command(&s, "{\"cmd\":\"upgrade\",\"answer\":\"silent\"}");
    set_url(r, "ws://127.0.0.1:%u/", s.port);
    begin(r);
    while (stat_of(&s, "held") == 0) { /* dialing */
        loop_wake(r->loop);
        r->until = NULL;
        loop_stop(r->loop);
        loop_run(r->loop);
        loop_wake(r->loop);
        run_until(r, is_open == NULL ? NULL : is_closed);
    }
    server_stop(&s);
}
