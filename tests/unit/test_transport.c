/*
 * transport, on a real loop against the loopback IM server: how a connection is made, how each kind of
 * failure is told, what comes in and what goes out. Names are looked up in a table here: the
 * linker takes this resolve_start for resolve.c's. Every test waits for what it expects; PATIENCE_SECS is
 * only there so that a failure does not hang.
 */
#include "certificates.h"
#include "loop.h"
#include "resolve.h"
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
#include <netdb.h>
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

/* ---- the folder with certificates ---- */

static char folder[64];

/* The last few stay valid. */
static const char *file_of(const char *name, const char *suffix)
{
    static char paths[16][512];
    static unsigned next;
    char *path = paths[next++ % 16];

    snprintf(path, sizeof(paths[0]), "%s/%s%s", folder, name, suffix);
    return path;
}

static const char *in_folder(const char *name)
{
    return file_of(name, "");
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

/* ---- names ---- */

static const struct {
    const char *name;
    struct resolve_result result;
    bool never; /* the name server is silent */
} names[] = {
    {"localhost", {.count = 1, .address = {"127.0.0.1"}}, false},
    {"first.test", {.count = 2, .address = {"127.0.0.1", "127.0.0.9"}}, false},
    {"last.test", {.count = 3, .address = {"127.0.0.8", "127.0.0.9", "127.0.0.1"}}, false},
    {"unknown.test", {.error = EAI_NONAME}, false},
    {"silent.test", {.error = EAI_AGAIN}, true},
};

struct resolve {
    sd_event_source *answer;
    struct resolve_result result;
    void (*done)(void *self, const struct resolve_result *r);
    void *self;
};

static int answer_later(sd_event_source *s, void *self)
{
    struct resolve r = *(struct resolve *)self;

    sd_event_source_disable_unref(r.answer);
    free(self);
    r.done(r.self, &r.result);
    return 0;
}

int resolve_start(struct resolve **out, struct sd_event *ev, const char *host,
                  void (*done)(void *self, const struct resolve_result *r), void *self)
{
    size_t i = 0;
    struct resolve *r = calloc(1, sizeof(*r));

    while (strcmp(names[i].name, host) != 0)
        i++;
    *r = (struct resolve){.result = names[i].result, .done = done, .self = self};
    *out = r;
    return names[i].never ? 0 : sd_event_add_defer(ev, &r->answer, answer_later, r);
}

void resolve_cancel(struct resolve *r)
{
    if (!r)
        return;
    sd_event_source_disable_unref(r->answer);
    free(r);
}

/* ---- the server ---- */

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

    while (len + 1 < size) {
        ssize_t n = read(fd, line + len, size - 1 - len); /* a reply ends what has been sent so far */
        len += n > 0 ? (size_t)n : 0;
        if (n <= 0 || line[len - 1] == '\n')
            break;
    }
    line[len > 0 && line[len - 1] == '\n' ? len - 1 : len] = '\0';
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

/* ---- the rig: a transport that notes what it is told ---- */

struct rig {
    struct loop *loop;
    struct transport *transport;
    struct transport_options options;
    struct loop_hook hook;
    bool (*until)(struct rig *r);
    bool in_call; /* a call of ours is under way: `closed` must not come */
    int opened, closed, messages, texts, alive, pongs, drained;
    size_t text_len, last_len, total_len;
    uint8_t first[64];
    struct transport_end end;
    bool reopen_in_closed;
    bool pauses; /* after each message */
    int wanted;  /* messages */
    bool takes;
    uint8_t *taken; /* of the last message */
    bool copied;    /* … in other memory than it was told in */
    uint64_t heard_ms;
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
    if (r->takes) {
        free(r->taken);
        r->taken = transport_take(r->transport);
        r->copied = r->taken != bytes;
    }
    if (r->pauses)
        transport_pause(r->transport, true);
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

static int nothing(sd_event_source *s, void *self)
{
    return 0;
}

static void run_until(struct rig *r, bool (*until)(struct rig *r))
{
    sd_event_source *patience = NULL;
    uint64_t at = (loop_now_ms(r->loop) + PATIENCE_SECS * 1000) * 1000;

    r->until = until;
    sd_event_add_defer(loop_event(r->loop), NULL, nothing,
                       NULL); /* what was called so far belongs to a turn */
    sd_event_add_time(loop_event(r->loop), &patience, CLOCK_BOOTTIME, at, 1000, out_of_patience, r);
    assert_int_equal(loop_run(r->loop), 0);
    sd_event_source_disable_unref(patience);
    r->until = NULL;
}

static bool at_once(struct rig *r)
{
    return true;
}

static void turn_once(struct rig *r)
{
    run_until(r, at_once);
}

/* Turns the loop until a number of the server's is what is waited for. */
static void turn_until_stat(struct rig *r, struct server *s, const char *name, long min)
{
    while (stat_of(s, name) < min)
        turn_once(r);
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
    free(r->taken);
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

/* ---- opening and closing ---- */

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
    assert_non_null(
        strstr(command(&s, "{\"cmd\":\"received\"}"), "[\"81a16e01\",\"81a16e02\",\"81a16e03\"]"));
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
    set_url(r, "ws://silent.test:%u/", s.port);
    begin(r); /* resolving */
    loop_hook_remove(r->loop, &r->hook);
    transport_free(r->transport);

    add_transport(r);
    command(&s, "{\"cmd\":\"upgrade\",\"answer\":\"silent\"}");
    set_url(r, "ws://127.0.0.1:%u/", s.port);
    begin(r);
    turn_until_stat(r, &s, "held", 1); /* dialing */
    loop_hook_remove(r->loop, &r->hook);
    transport_free(r->transport);

    add_transport(r);
    command(&s, "{\"cmd\":\"upgrade\",\"answer\":\"ok\"}");
    begin(r);
    run_until(r, is_open);
    send_bytes(r, "\x80", 1);
    loop_hook_remove(r->loop, &r->hook);
    transport_free(r->transport); /* open, with something to write */

    add_transport(r); /* the connection is gone, and the loop works */
    begin(r);
    run_until(r, is_open);
    turn_until_stat(r, &s, "accepted", 2);
    assert_int_equal(stat_of(&s, "connections"), 1);
    transport_free(NULL);
    server_stop(&s);
}

static void test_give_up_before_open(void **state)
{
    struct rig *r = *state;
    struct server s;

    server_start(&s, "127.0.0.1:0", NULL);
    set_url(r, "ws://silent.test:%u/", s.port);
    begin(r);
    close_now(r, 1000, LINK_REASON_REQUESTED); /* resolving */
    run_until(r, is_closed);
    assert_int_equal(r->end.reason, LINK_REASON_REQUESTED);
    assert_int_equal(r->closed, 1);

    command(&s, "{\"cmd\":\"upgrade\",\"answer\":\"silent\"}");
    set_url(r, "ws://127.0.0.1:%u/", s.port);
    begin(r);
    close_now(r, 1000, LINK_REASON_REQUESTED); /* not even dialed */
    run_until(r, is_closed);
    begin(r);
    turn_until_stat(r, &s, "held", 1); /* dialing */
    r->in_call = true;
    transport_abort(r->transport, LINK_REASON_SHUTDOWN);
    transport_close(r->transport, 1000, LINK_REASON_REQUESTED); /* the first one counts */
    r->in_call = false;
    run_until(r, is_closed);
    assert_int_equal(r->end.reason, LINK_REASON_SHUTDOWN);
    assert_false(r->end.was_open);
    assert_int_equal(r->opened, 0);
    transport_close(r->transport, 1000, LINK_REASON_REQUESTED); /* idle: nothing to do */
    transport_abort(r->transport, LINK_REASON_REQUESTED);
    assert_int_equal(r->closed, 1);
    server_stop(&s);
}

/* ---- failures to connect ---- */

static uint16_t bound_socket(int *fd, int backlog)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);

    *fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(*fd, (struct sockaddr *)&a, sizeof(a)), 0);
    if (backlog >= 0)
        assert_int_equal(listen(*fd, backlog), 0);
    assert_int_equal(getsockname(*fd, (struct sockaddr *)&a, &len), 0);
    return ntohs(a.sin_port);
}

static void test_refused(void **state)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost"};
    struct rig *r = *state;
    int fd;
    uint16_t port = bound_socket(&fd, -1); /* bound, so that nobody else takes it, but nobody listens */

    for (size_t i = 0; i < 2; i++) {
        set_url(r, "ws://%s:%u/", hosts[i], port);
        begin(r);
        run_until(r, is_closed);
        assert_int_equal(r->end.reason, LINK_REASON_REFUSED);
        assert_non_null(strstr(r->end.detail, "Connection refused"));
        assert_int_equal(r->opened, 0);
        assert_int_equal(r->closed, 1);
    }
    close(fd);
}

static void test_unknown_name(void **state)
{
    struct rig *r = *state;

    set_url(r, "ws://unknown.test/");
    begin(r);
    run_until(r, is_closed);
    assert_int_equal(r->end.reason, LINK_REASON_DNS);
    assert_string_equal(r->end.detail, gai_strerror(EAI_NONAME));
}

/* Every address is tried before it is over, and the failure that says most is told. */
static void test_several_addresses(void **state)
{
    static const char *const hosts[] = {"first.test", "last.test"};
    struct rig *r = *state;
    struct server s;

    server_start(&s, "127.0.0.1:0", NULL);
    for (int i = 0; i < 2; i++) {
        command(&s, "{\"cmd\":\"upgrade\",\"answer\":\"ok\"}");
        set_url(r, "ws://%s:%u/", hosts[i], s.port);
        begin(r);
        run_until(r, is_open);
        close_now(r, 1000, LINK_REASON_REQUESTED);
        run_until(r, is_closed);
        command(&s, "{\"cmd\":\"upgrade\",\"answer\":\"401\"}");
        begin(r);
        run_until(r, is_closed);
        assert_int_equal(r->end.reason, LINK_REASON_UNAUTHORIZED);
        assert_int_equal(r->end.http_status, 401);
        command(&s, "{\"cmd\":\"stop_listening\"}");
        begin(r);
        run_until(r, is_closed);
        assert_int_equal(r->end.reason, LINK_REASON_REFUSED);
        command(&s, "{\"cmd\":\"start_listening\"}");
    }
    server_stop(&s);
}

static void test_answers_to_the_upgrade(void **state)
{
    static const struct {
        const char *answer;
        enum link_reason reason;
        unsigned status;
    } cases[] = {
        {"401", LINK_REASON_UNAUTHORIZED, 401}, {"403", LINK_REASON_UNAUTHORIZED, 403},
        {"200", LINK_REASON_UPGRADE, 200},      {"302", LINK_REASON_UPGRADE, 302},
        {"307", LINK_REASON_UPGRADE, 307},      {"404", LINK_REASON_UPGRADE, 404},
        {"500", LINK_REASON_UPGRADE, 500},      {"503", LINK_REASON_UPGRADE, 503},
        {"garbage", LINK_REASON_PROTOCOL, 0},   {"badaccept", LINK_REASON_PROTOCOL, 101},
    };
    struct rig *r = *state;
    struct server s;

    server_start(&s, "127.0.0.1:0", NULL);
    set_url(r, "ws://127.0.0.1:%u/", s.port);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        command(&s, "{\"cmd\":\"upgrade\",\"answer\":\"%s\"}", cases[i].answer);
        begin(r);
        run_until(r, is_closed);
        if (r->end.reason != cases[i].reason || r->end.http_status != cases[i].status)
            fail_msg("%s: reason %d, status %u, %s", cases[i].answer, (int)r->end.reason, r->end.http_status,
                     r->end.detail);
        assert_int_equal(r->opened, 0);
        assert_false(r->end.was_open);
    }
    server_stop(&s);
}

/* What can only be seen by waiting, all at once: DIAL_MS is 10 s. */
enum { SILENT_PLAIN, SILENT_TLS, FULL_BACKLOG, SILENT_COUNT };

static struct rig silent[SILENT_COUNT];

static bool all_are_closed(struct rig *r)
{
    for (int i = 0; i < SILENT_COUNT; i++)
        if (silent[i].closed == 0)
            return false;
    return true;
}

static void test_silence(void **state)
{
    static const enum link_reason expected[] = {LINK_REASON_TIMEOUT, LINK_REASON_TIMEOUT,
                                                LINK_REASON_UNREACHABLE};
    struct rig *r = *state;
    struct server s;
    int full, fillers[4];
    uint16_t full_port = bound_socket(&full, 0);
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(full_port)};

    for (int i = 0; i < 4; i++) { /* SYNs are dropped when nobody accepts */
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        connect(fillers[i], (struct sockaddr *)&a, sizeof(a));
    }
    server_start(&s, "127.0.0.1:0", NULL);
    command(&s, "{\"cmd\":\"upgrade\",\"answer\":\"silent\"}");
    for (int i = 0; i < SILENT_COUNT; i++) {
        silent[i] = (struct rig){.loop = r->loop, .options = r->options};
        add_transport(&silent[i]);
        set_url(&silent[i], "%s://127.0.0.1:%u/", i == SILENT_TLS ? "wss" : "ws",
                i == FULL_BACKLOG ? full_port : s.port);
        begin(&silent[i]);
    }
    run_until(r, all_are_closed);
    for (int i = 0; i < SILENT_COUNT; i++) {
        if (silent[i].end.reason != expected[i])
            fail_msg("%d: reason %d, %s", i, (int)silent[i].end.reason, silent[i].end.detail);
        assert_int_equal(silent[i].closed, 1);
        loop_hook_remove(r->loop, &silent[i].hook);
        transport_free(silent[i].transport);
        close(fillers[i]);
    }
    close(fillers[3]);
    close(full);
    server_stop(&s);
}

/* ---- TLS
 * ---------------------------------------------------------------------------------------------------------------
 */

struct tls_case {
    const char *certificate; /* of the server */
    const char *host;
    const char *ca, *client_ca; /* ours; what the server asks of us */
    const char *identity;
    bool opens;
    enum link_reason reason;
    const char *says;
};

static const struct tls_case tls_cases[] = {
    {"localhost", "localhost", "ca.pem", NULL, NULL, true, LINK_REASON_NONE, NULL},
    {"localhost", "127.0.0.1", "ca.pem", NULL, NULL, true, LINK_REASON_NONE, NULL},
    {"elsewhere", "localhost", "ca.pem", NULL, NULL, false, LINK_REASON_TLS, "ostname mismatch"},
    {"elsewhere", "127.0.0.1", "ca.pem", NULL, NULL, false, LINK_REASON_TLS, "IP address mismatch"},
    {"expired", "localhost", "ca.pem", NULL, NULL, false, LINK_REASON_TLS, "certificate has expired"},
    {"foreign", "localhost", "ca.pem", NULL, NULL, false, LINK_REASON_TLS, "unable to get local issuer"},
    {"foreign", "localhost", "other-ca.pem", NULL, NULL, true, LINK_REASON_NONE, NULL},
    {"other-ca", "localhost", "ca.pem", NULL, NULL, false, LINK_REASON_TLS, "self-signed certificate"},
    {"localhost", "localhost", "ca.pem", "ca.pem", "client", true, LINK_REASON_NONE, NULL},
    {"localhost", "localhost", "ca.pem", "ca.pem", NULL, false, LINK_REASON_TLS, "certificate required"},
    {"localhost", "localhost", "ca.pem", "ca.pem", "absent", false, LINK_REASON_CREDENTIALS,
     "absent.pem: No such"},
    {"localhost", "localhost", "ca.pem", "ca.pem", "mixed", false, LINK_REASON_CREDENTIALS, "mixed.key: "},
};

static void run_tls_case(struct rig *r, const struct tls_case *c)
{
    const char *arguments[] = {"--tls",
                               file_of(c->certificate, ".pem"),
                               file_of(c->certificate, ".key"),
                               c->client_ca ? "--client-ca" : NULL,
                               c->client_ca ? in_folder(c->client_ca) : NULL,
                               NULL};
    struct server s;

    server_start(&s, "127.0.0.1:0", arguments);
    r->options.ca_file = in_folder(c->ca);
    r->options.cert_file = c->identity ? file_of(c->identity, ".pem") : NULL;
    r->options.key_file = c->identity ? file_of(c->identity, ".key") : NULL;
    set_url(r, "wss://%s:%u/", c->host, s.port);
    begin(r);
    run_until(r, c->opens ? is_open : is_closed);
    if (r->end.reason != c->reason || (c->says && !strstr(r->end.detail, c->says)))
        fail_msg("%s as %s: reason %d, %s", c->certificate, c->host, (int)r->end.reason, r->end.detail);
    if (c->opens) {
        send_bytes(r, "\x80", 1);
        send_bytes(r, "\x80", 1);
        send_bytes(r, "\x80", 1);
        run_until(r, has_three_messages);
        close_now(r, 1000, LINK_REASON_REQUESTED);
        run_until(r, is_closed);
    }
    r->end = (struct transport_end){0};
    server_stop(&s);
}

static void test_tls(void **state)
{
    write_file("mixed.pem", "");
    unlink(in_folder("mixed.pem"));
    assert_int_equal(link(in_folder("client.pem"), in_folder("mixed.pem")), 0);
    assert_int_equal(link(in_folder("ca.key"), in_folder("mixed.key")), 0);
    for (size_t i = 0; i < sizeof(tls_cases) / sizeof(tls_cases[0]); i++)
        run_tls_case(*state, &tls_cases[i]);
}

static void test_tls_of_ipv6_literal(void **state)
{
    const char *arguments[] = {"--tls", in_folder("localhost.pem"), in_folder("localhost.key"), NULL};
    const char *elsewhere[] = {"--tls", in_folder("elsewhere.pem"), in_folder("elsewhere.key"), NULL};
    struct rig *r = *state;
    struct server s;
    int probe = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 a = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};

    bool have_ipv6 = bind(probe, (struct sockaddr *)&a, sizeof(a)) == 0;
    close(probe);
    if (!have_ipv6)
        skip();
    server_start(&s, "[::1]:0", arguments);
    set_url(r, "wss://[::1]:%u/", s.port);
    begin(r);
    run_until(r, is_open);
    assert_non_null(strstr(command(&s, "{\"cmd\":\"headers\"}"), "\"host\":\"[::1]:"));
    server_stop(&s);
    run_until(r, is_closed);

    server_start(&s, "[::1]:0", elsewhere);
    set_url(r, "wss://[::1]:%u/", s.port);
    begin(r);
    run_until(r, is_closed);
    assert_int_equal(r->end.reason, LINK_REASON_TLS);
    assert_non_null(strstr(r->end.detail, "IP address mismatch"));
    server_stop(&s);
}

static void test_tls_to_a_plain_server(void **state)
{
    struct rig *r = *state;
    struct server s;

    server_start(&s, "127.0.0.1:0", NULL);
    set_url(r, "wss://127.0.0.1:%u/", s.port);
    begin(r);
    run_until(r, is_closed);
    assert_int_equal(r->end.reason, LINK_REASON_TLS);
    assert_non_null(strstr(r->end.detail, "wrong version number"));
    server_stop(&s);
}

/* The certificate on disk was renewed: the next attempt uses the new one without being told. */
static void test_identity_is_read_anew(void **state)
{
    const char *arguments[] = {"--tls",       in_folder("localhost.pem"), in_folder("localhost.key"),
                               "--client-ca", in_folder("ca.pem"),        NULL};
    static const struct certificate wrong = {"renewed", "other-ca", NULL, -HOUR, HOUR},
                                    right = {"renewed", "ca", NULL, -HOUR, HOUR};
    struct rig *r = *state;
    struct server s;

    server_start(&s, "127.0.0.1:0", arguments);
    assert_int_equal(certificate_make(folder, &wrong), 0);
    r->options.cert_file = in_folder("renewed.pem");
    r->options.key_file = in_folder("renewed.key");
    set_url(r, "wss://127.0.0.1:%u/", s.port);
    begin(r);
    run_until(r, is_closed);
    assert_int_equal(r->end.reason, LINK_REASON_TLS);
    assert_int_equal(certificate_make(folder, &right), 0);
    transport_open(r->transport);
    run_until(r, is_open);
    server_stop(&s);
}

/* ---- what comes in ---- */

static bool has_message(struct rig *r)
{
    return r->messages == 1;
}

static void test_fragments(void **state)
{
    struct rig *r = *state;
    struct server s;

    open_to(r, &s);
    command(&s, "{\"cmd\":\"push\",\"hex\":\"0102030405\",\"fragments\":[0,1,0,2]}");
    run_until(r, has_message);
    assert_int_equal(r->last_len, 5);
    assert_memory_equal(r->first, "\1\2\3\4\5", 5);

    r->messages = 0;
    command(&s, "{\"cmd\":\"push_big\",\"size\":5000000,\"fragments\":7}");
    run_until(r, has_message);
    assert_true(r->last_len > 5000000);

    r->messages = 0;
    command(&s, "{\"cmd\":\"push\",\"hex\":\"\"}");
    run_until(r, has_message);
    assert_int_equal(r->last_len, 0);

    command(&s, "{\"cmd\":\"push_many\",\"count\":2,\"size\":70000}");
    run_until(r, has_three_messages);
    assert_true(r->last_len > 70000 && r->last_len < 70200);
    server_stop(&s);
}

static void test_limit(void **state)
{
    struct rig *r = *state;
    struct server s;

    open_to(r, &s);
    command(&s, "{\"cmd\":\"push_big\",\"size\":1000000,\"fragments\":3}");
    run_until(r, has_message);
    size_t whole = r->last_len;
    close_now(r, 1000, LINK_REASON_REQUESTED);
    run_until(r, is_closed);

    r->options.message_max = whole;
    begin(r);
    run_until(r, is_open);
    command(&s, "{\"cmd\":\"push_big\",\"size\":1000000,\"fragments\":3}");
    run_until(r, has_message);
    assert_int_equal(r->closed, 0);
    for (int fragments = 1; fragments <= 3; fragments += 2) {
        r->messages = 0;
        command(&s, "{\"cmd\":\"push_big\",\"size\":1000001,\"fragments\":%d}", fragments);
        run_until(r, is_closed);
        assert_int_equal(r->messages, 0);
        assert_int_equal(r->end.reason, LINK_REASON_TOO_LARGE);
        assert_int_equal(stat_of(&s, "lastCloseCode"), 1009);
        begin(r);
        run_until(r, is_open);
    }
    command(&s, "{\"cmd\":\"push_big\",\"size\":1000000}");
    run_until(r, has_message);
    server_stop(&s);
}

static bool has_text(struct rig *r)
{
    return r->texts == 1;
}

static void test_text(void **state)
{
    struct rig *r = *state;
    struct server s;

    open_to(r, &s);
    command(&s, "{\"cmd\":\"push\",\"hex\":\"68656c6c6f\",\"opcode\":\"text\",\"fragments\":2}");
    run_until(r, has_text);
    assert_int_equal(r->text_len, 5);
    assert_int_equal(r->messages, 0);
    server_stop(&s);
}

static bool has_heard_more(struct rig *r)
{
    return transport_heard_ms(r->transport) > r->heard_ms;
}

/* Bytes that nobody is told of are signs of life too: a ping, a part of a frame. */
static void test_heard(void **state)
{
    static const char *const bytes[] = {"8900", "827e1000aabb", "cc"};
    struct rig *r = *state;
    struct server s;

    assert_int_equal(transport_heard_ms(r->transport), 0);
    open_to(r, &s);
    for (size_t i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) {
        r->heard_ms = transport_heard_ms(r->transport);
        assert_true(r->heard_ms && r->heard_ms <= loop_now_ms(r->loop));
        while (!has_heard_more(r)) { /* the kernel's clock for this is a coarse one */
            command(&s, "{\"cmd\":\"raw\",\"hex\":\"%s\"}", bytes[i]);
            run_until(r, at_once);
        }
        assert_int_equal(r->messages + r->texts, 0);
    }
    server_stop(&s);
}

static void turn_for_a_while(struct rig *r)
{
    for (int i = 0; i < 20; i++)
        turn_once(r);
}

static void test_pause(void **state)
{
    struct rig *r = *state;
    struct server s;

    open_to(r, &s);
    transport_pause(r->transport, true);
    command(&s, "{\"cmd\":\"push\",\"hex\":\"c0\",\"count\":3}");
    while (stat_of(&s, "queued") > 0) /* the kernel has it */
        ;
    turn_for_a_while(r);
    assert_int_equal(r->messages, 0);
    transport_pause(r->transport, false);
    run_until(r, has_three_messages);

    transport_pause(r->transport, true); /* survives a reconnect */
    transport_abort(r->transport, LINK_REASON_HEARTBEAT);
    run_until(r, is_closed);
    begin(r);
    run_until(r, is_open);
    command(&s, "{\"cmd\":\"push\",\"hex\":\"c0\",\"count\":3}");
    while (stat_of(&s, "queued") > 0)
        ;
    turn_for_a_while(r);
    assert_int_equal(r->messages, 0);
    transport_pause(r->transport, false);
    run_until(r, has_three_messages);
    server_stop(&s);
}

static bool has_wanted(struct rig *r)
{
    return r->messages >= r->wanted;
}

/* Of messages that come together, the first one stops the others. */
static void check_pause_within(struct rig *r, struct server *s)
{
    command(s, "{\"cmd\":\"push\",\"hex\":\"c0\",\"count\":40}");
    command(s, "{\"cmd\":\"push\",\"hex\":\"61\",\"opcode\":\"text\"}");
    command(s, "{\"cmd\":\"push_many\",\"count\":2,\"size\":70000}");
    transport_ping(r->transport);
    r->pauses = true;
    for (r->wanted = 1; r->wanted <= 42; r->wanted++) {
        run_until(r, has_wanted);
        int texts = r->texts, pongs = r->pongs;
        turn_for_a_while(r);
        assert_int_equal(r->messages, r->wanted);
        assert_int_equal(r->texts, texts);
        assert_int_equal(r->pongs, pongs);
        transport_pause(r->transport, false);
    }
    assert_int_equal(r->texts, 1);
    run_until(r, has_pong);
    r->pauses = false;
}

static void test_pause_within_a_message(void **state)
{
    struct rig *r = *state;
    struct server s;

    open_to(r, &s);
    check_pause_within(r, &s);
    server_stop(&s);
}

static void test_pause_within_a_message_of_tls(void **state)
{
    const char *arguments[] = {"--tls", in_folder("localhost.pem"), in_folder("localhost.key"), NULL};
    struct rig *r = *state;
    struct server s;

    server_start(&s, "127.0.0.1:0", arguments);
    set_url(r, "wss://localhost:%u/", s.port);
    begin(r);
    run_until(r, is_open);
    check_pause_within(r, &s);
    server_stop(&s);
}

static void test_take(void **state)
{
    struct rig *r = *state;
    struct server s;

    open_to(r, &s);
    r->takes = true;
    command(&s, "{\"cmd\":\"push\",\"hex\":\"0102030405\"}");
    run_until(r, has_message);
    assert_true(r->copied);
    assert_memory_equal(r->taken, "\1\2\3\4\5", 5);

    r->messages = 0;
    command(&s, "{\"cmd\":\"push_big\",\"size\":5000000}");
    run_until(r, has_message);
    assert_false(r->copied);
    assert_int_equal(r->taken[r->last_len / 2], 'x');

    command(&s, "{\"cmd\":\"push_many\",\"count\":2,\"size\":70000}");
    run_until(r, has_three_messages);
    server_stop(&s);
}

/* ---- what goes out ---- */

static void fill(uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
}

static bool has_drained(struct rig *r)
{
    return r->drained > 0;
}

#define LARGE 6000000u

static void test_large_message_goes_out_whole(void **state)
{
    struct rig *r = *state;
    struct server s;
    static uint8_t echo[2 * 65536 + 20];

    open_to(r, &s);
    command(&s, "{\"cmd\":\"mode\",\"ack\":\"swallow\"}");
    uint8_t *room = transport_reserve(r->transport, LARGE);
    fill(room, LARGE);
    assert_false(transport_congested(r->transport));
    transport_commit(r->transport, LARGE);
    assert_true(transport_congested(r->transport));
    transport_ping(r->transport); /* goes between fragments */
    run_until(r, has_drained);
    assert_false(transport_congested(r->transport));
    turn_until_stat(r, &s, "bytes", LARGE);
    assert_int_equal(stat_of(&s, "frames"), 1);
    assert_int_equal(stat_of(&s, "invalid"), 1);
    assert_int_equal(r->drained, 1);

    fill(echo, sizeof(echo));
    send_bytes(r, echo, sizeof(echo));
    turn_until_stat(r, &s, "frames", 2);
    server_stop(&s);
}

/* Every byte of a message that goes out in fragments, and the order among small ones: what was sent comes
 * back in an envelope. */
#define BULK 200000u
#define BULKS 40

/* Makes the kernel take little at a time of what we send to this port, so that writes are cut anywhere. */
static void shrink_send_buffer(unsigned port)
{
    int small = 8192, shrunk = 0;

    for (int fd = 3; fd < 64; fd++) {
        struct sockaddr_in peer;
        socklen_t len = sizeof(peer);
        if (getpeername(fd, (struct sockaddr *)&peer, &len) == 0 && peer.sin_family == AF_INET &&
            ntohs(peer.sin_port) == port)
            shrunk += setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)) == 0;
    }
    assert_int_equal(shrunk, 1);
}

static char *skip_bytes(char *at, const char *hex)
{
    size_t n = strlen(hex);

    assert_int_equal(at[0], '"');
    if (memcmp(at + 1, hex, n) != 0)
        fail_msg("other bytes than %.40s…: %.40s…", hex, at + 1);
    assert_int_equal(at[1 + n], '"');
    return at + n + 3; /* the comma too */
}

static void test_bytes_and_order(void **state)
{
    struct rig *r = *state;
    struct server s;
    static uint8_t map[BULK + 8] = "\x81\xa1x\xc6\x00\x03\x0d\x40"; /* {"x": 200000 bytes} */
    static char hex[2 * sizeof(map) + 1], small_hex[32], line[BULKS * (2 * sizeof(map) + 64)];

    open_to(r, &s);
    shrink_send_buffer(s.port);
    fill(map + 8, BULK);
    command(&s, "{\"cmd\":\"mode\",\"ack\":\"swallow\"}");
    command(&s, "{\"cmd\":\"stop_reading\"}");
    for (int i = 0; i < BULKS; i++) {
        uint8_t small[] = {0x81, 0xa1, 'n', (uint8_t)i};
        send_bytes(r, small, sizeof(small));
        send_bytes(r, map, sizeof(map));
    }
    for (int i = 0; i < 100; i++) /* until nothing goes out any more */
        turn_once(r);
    assert_true(transport_congested(r->transport));
    command(&s, "{\"cmd\":\"start_reading\"}");
    turn_until_stat(r, &s, "frames", 2L * BULKS);
    assert_int_equal(write(s.control, "{\"cmd\":\"received\"}\n", 19), 19);
    read_line(s.control, line, sizeof(line));
    for (size_t i = 0; i < sizeof(map); i++)
        snprintf(hex + 2 * i, 3, "%02x", map[i]);
    char *at = strstr(line, "[\"") + 1;
    for (int i = 0; i < BULKS; i++) {
        snprintf(small_hex, sizeof(small_hex), "81a16e%02x", (unsigned)i);
        at = skip_bytes(at, small_hex);
        at = skip_bytes(at, hex);
    }
    server_stop(&s);
}

/* ---- how connections end ---- */

static void test_server_closes(void **state)
{
    struct rig *r = *state;
    struct server s;

    open_to(r, &s);
    command(&s, "{\"cmd\":\"close\",\"code\":4001,\"reason\":\"go away\"}");
    run_until(r, is_closed);
    assert_int_equal(r->end.reason, LINK_REASON_CLOSED);
    assert_int_equal(r->end.close_code, 4001);
    assert_true(r->end.was_open);
    server_stop(&s);
}

static void test_connection_is_cut(void **state)
{
    static const char *const drops[] = {"{\"cmd\":\"drop\"}", "{\"cmd\":\"drop\",\"rst\":true}"};
    struct rig *r = *state;
    struct server s;

    open_to(r, &s);
    for (int i = 0; i < 2; i++) {
        command(&s, "%s", drops[i]);
        run_until(r, is_closed);
        assert_int_equal(r->end.reason, LINK_REASON_CLOSED);
        assert_int_equal(r->end.close_code, 0);
        begin(r);
        run_until(r, is_open);
    }
    server_stop(&s);
}

static void test_protocol_violations(void **state)
{
    static const char *const bytes[] = {
        "8b00",                 /* a reserved opcode */
        "c200",                 /* a reserved bit */
        "0900",                 /* a ping in fragments */
        "827fffffffffffffffff", /* a length of 2^64 - 1 */
        "8001aa",               /* a continuation of nothing */
        "0201aa8201bb",         /* a message within a message */
    };
    struct rig *r = *state;
    struct server s;

    open_to(r, &s);
    for (size_t i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) {
        command(&s, "{\"cmd\":\"raw\",\"hex\":\"%s\"}", bytes[i]);
        run_until(r, is_closed);
        if (r->end.reason != LINK_REASON_PROTOCOL)
            fail_msg("%s: reason %d, %s", bytes[i], (int)r->end.reason, r->end.detail);
        begin(r);
        run_until(r, is_open);
    }
    server_stop(&s);
}

/* What is queued goes out before the close frame. */
static void test_close_after_the_queue(void **state)
{
    struct rig *r = *state;
    struct server s;

    open_to(r, &s);
    command(&s, "{\"cmd\":\"mode\",\"ack\":\"swallow\"}");
    uint8_t *room = transport_reserve(r->transport, LARGE);
    fill(room, LARGE);
    transport_commit(r->transport, LARGE);
    send_bytes(r, "\x80", 1);
    close_now(r, 4002, LINK_REASON_REQUESTED);
    run_until(r, is_closed);
    assert_int_equal(r->end.reason, LINK_REASON_REQUESTED);
    assert_int_equal(stat_of(&s, "frames"), 2);
    assert_int_equal(stat_of(&s, "lastCloseCode"), 4002);
    server_stop(&s);
}

/* A server that reads nothing: neither the queue nor the close frame goes out, and it is over all the same.
 */
static void test_close_of_a_choked_connection(void **state)
{
    struct rig *r = *state;
    struct server s;

    open_to(r, &s);
    command(&s, "{\"cmd\":\"stop_reading\"}");
    for (int i = 0; i < 10; i++) {
        uint8_t *room = transport_reserve(r->transport, LARGE);
        memset(room, 0, LARGE);
        transport_commit(r->transport, LARGE);
    }
    uint64_t before = loop_now_ms(r->loop);
    close_now(r, 1000, LINK_REASON_REQUESTED);
    run_until(r, is_closed);
    assert_int_equal(r->end.reason, LINK_REASON_REQUESTED);
    assert_true(loop_now_ms(r->loop) - before >= TRANSPORT_CLOSE_MS);
    server_stop(&s);
}

static void test_abort(void **state)
{
    struct rig *r = *state;
    struct server s;

    open_to(r, &s);
    command(&s, "{\"cmd\":\"stop_reading\"}");
    r->in_call = true;
    transport_abort(r->transport, LINK_REASON_HEARTBEAT);
    r->in_call = false;
    assert_null(transport_reserve(r->transport, 1));
    run_until(r, is_closed);
    assert_int_equal(r->end.reason, LINK_REASON_HEARTBEAT);
    assert_true(r->end.was_open);
    server_stop(&s);
}

/* ---- proxy
 * -----------------------------------------------------------------------------------------------------------------
 */

/* Takes one connection, reads the request, answers, and carries bytes to where the request asks for. */
static void carry(int a, int b)
{
    struct pollfd p[2] = {{.fd = a, .events = POLLIN}, {.fd = b, .events = POLLIN}};
    char bytes[4096];

    while (poll(p, 2, -1) > 0)
        for (int i = 0; i < 2; i++) {
            ssize_t n = p[i].revents ? read(p[i].fd, bytes, sizeof(bytes)) : 0;
            if (p[i].revents && (n <= 0 || write(p[1 - i].fd, bytes, (size_t)n) != n))
                return;
        }
}

static void serve_as_proxy(int listener, const char *answer)
{
    struct pollfd p = {.fd = listener, .events = POLLIN};
    char request[1024] = "";
    unsigned port;

    poll(&p, 1, -1);
    int client = accept(listener, NULL, NULL);
    for (size_t n = 0; !strstr(request, "\r\n\r\n") && n < sizeof(request) - 1; n++)
        if (read(client, request + n, 1) != 1)
            return;
    if (sscanf(request, "CONNECT localhost:%u HTTP/1.1", &port) != 1)
        return;
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
    int server = socket(AF_INET, SOCK_STREAM, 0);
    if (connect(server, (struct sockaddr *)&a, sizeof(a)) == 0 && write(client, answer, strlen(answer)) > 0)
        carry(client, server);
}

static pid_t start_proxy(int listener, const char *answer)
{
    pid_t pid = fork();

    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        serve_as_proxy(listener, answer);
        _exit(0);
    }
    return pid;
}

static void stop_proxy(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

/* The name goes to the proxy, and is still what the certificate must prove. */
static void test_proxy(void **state)
{
    const char *arguments[] = {"--tls", in_folder("localhost.pem"), in_folder("localhost.key"), NULL};
    struct rig *r = *state;
    struct server s;
    int listener;

    server_start(&s, "127.0.0.1:0", arguments);
    r->options.proxy_host = "127.0.0.1";
    r->options.proxy_port = bound_socket(&listener, 4);
    set_url(r, "wss://localhost:%u/", s.port);
    pid_t proxy = start_proxy(listener, "HTTP/1.1 200 OK\r\n\r\n");
    begin(r);
    run_until(r, is_open);
    stop_proxy(proxy);
    run_until(r, is_closed);

    proxy = start_proxy(listener, "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
    begin(r);
    run_until(r, is_closed);
    assert_int_equal(r->end.reason, LINK_REASON_PROXY);
    stop_proxy(proxy);

    close(listener);
    begin(r);
    run_until(r, is_closed);
    assert_int_equal(r->end.reason, LINK_REASON_PROXY);
    server_stop(&s);
}

#define with_rig(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_rig(test_the_whole_way),
        with_rig(test_request_headers),
        with_rig(test_bad_credentials),
        with_rig(test_bad_configuration),
        with_rig(test_configure_while_open),
        with_rig(test_open_from_within_closed),
        with_rig(test_nothing_is_left_behind),
        with_rig(test_free_at_any_time),
        with_rig(test_give_up_before_open),
        with_rig(test_refused),
        with_rig(test_unknown_name),
        with_rig(test_several_addresses),
        with_rig(test_answers_to_the_upgrade),
        with_rig(test_silence),
        with_rig(test_tls),
        with_rig(test_tls_of_ipv6_literal),
        with_rig(test_tls_to_a_plain_server),
        with_rig(test_identity_is_read_anew),
        with_rig(test_fragments),
        with_rig(test_limit),
        with_rig(test_text),
        with_rig(test_heard),
        with_rig(test_pause),
        with_rig(test_pause_within_a_message),
        with_rig(test_pause_within_a_message_of_tls),
        with_rig(test_take),
        with_rig(test_large_message_goes_out_whole),
        with_rig(test_bytes_and_order),
        with_rig(test_server_closes),
        with_rig(test_connection_is_cut),
        with_rig(test_protocol_violations),
        with_rig(test_close_after_the_queue),
        with_rig(test_close_of_a_choked_connection),
        with_rig(test_abort),
        with_rig(test_proxy),
    };

    return cmocka_run_group_tests(tests, set_up_folder, tear_down_folder);
}
