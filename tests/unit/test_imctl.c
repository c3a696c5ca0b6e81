/*
 * imctl as a process, the test playing imd behind its socket: exact requests, canned answers, and then what
 * is on standard output and standard error, and the exit status.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <cmocka.h>

#define WAIT_MS 30000 /* for what must come; far above what it takes */

static char folder[] = "/tmp/test_imctl.XXXXXX", path[64];
static int listener = -1, client = -1; /* imd's end */

static struct {
    pid_t pid;
    int in, out, err; /* our ends */
} program;

static int imd_setup(void **state)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    unlink(path);
    strcpy(address.sun_path, path);
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    return bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 8) ? -1 : 0;
}

static int imd_teardown(void **state)
{
    close(listener);
    if (client >= 0)
        close(client);
    client = -1;
    return 0;
}

/* ---- The program ---- */

/*
 * Starts imctl with these words; in is what its standard input reads, out its standard output (-1: a pipe).
 */
static void start_with(int out, char **words)
{
    int in_pipe[2], out_pipe[2] = {-1, -1}, err_pipe[2];
    posix_spawn_file_actions_t actions;
    char *environment[] = {(char *)"TZ=UTC", (char *)"TERM=dumb", (char *)"ASAN_OPTIONS=detect_leaks=1",
                           NULL};

    assert_int_equal(pipe2(in_pipe, O_CLOEXEC), 0);
    assert_int_equal(pipe2(err_pipe, O_CLOEXEC), 0);
    if (out < 0) {
        assert_int_equal(pipe2(out_pipe, O_CLOEXEC), 0);
        out = out_pipe[1];
    }
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in_pipe[0], 0);
    posix_spawn_file_actions_adddup2(&actions, out, 1);
    posix_spawn_file_actions_adddup2(&actions, err_pipe[1], 2);
    assert_int_equal(posix_spawn(&program.pid, IMCTL, &actions, NULL, words, environment), 0);
    posix_spawn_file_actions_destroy(&actions);
    close(in_pipe[0]);
    close(out);
    close(err_pipe[1]);
    program.in = in_pipe[1];
    program.out = out_pipe[0];
    program.err = err_pipe[0];
}

static void start_list(int out, const char *first, va_list args)
{
    char *words[24] = {(char *)"imctl", (char *)"-s", path};
    size_t n = 3;
    for (const char *word = first; word; word = va_arg(args, const char *))
        words[n++] = (char *)word;
    start_with(out, words);
}

/* imctl -s SOCKET and these words, ended by NULL. */
static void start(const char *first, ...)
{
    va_list args;
    va_start(args, first);
    start_list(-1, first, args);
    va_end(args);
}

static void start_on(int out, const char *first, ...)
{
    va_list args;
    va_start(args, first);
    start_list(out, first, args);
    va_end(args);
}

static void read_all(int fd, char *text, size_t size)
{
    size_t used = 0;
    ssize_t n;
    while (fd >= 0 && used < size - 1 && (n = read(fd, text + used, size - 1 - used)) > 0)
        used += (size_t)n;
    text[used] = '\0';
    if (fd >= 0)
        close(fd);
}

/* It ends like this. */
static void ends(int status, const char *out, const char *err)
{
    char text[8192];
    int how;
    close(program.in);
    read_all(program.out, text, sizeof(text));
    assert_string_equal(text, out);
    read_all(program.err, text, sizeof(text));
    assert_string_equal(text, err);
    assert_int_equal(waitpid(program.pid, &how, 0), program.pid);
    assert_true(WIFEXITED(how));
    assert_int_equal(WEXITSTATUS(how), status);
}

/* ---- imd ---- */

static void imd_accepts(void)
{
    struct pollfd p = {listener, POLLIN, 0};
    assert_int_equal(poll(&p, 1, WAIT_MS), 1);
    client = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(client >= 0);
}

/* The next line is exactly this; nothing comes with it that was not asked for. */
static void imd_hears(const char *line)
{
    char got[4096];
    size_t used = 0;
    struct pollfd p = {client, POLLIN, 0};
    if (client < 0)
        imd_accepts();
    p.fd = client;
    do {
        assert_int_equal(poll(&p, 1, WAIT_MS), 1);
        ssize_t n = read(client, got + used, sizeof(got) - 1 - used);
        assert_true(n > 0);
        used += (size_t)n;
    } while (got[used - 1] != '\n');
    got[used - 1] = '\0';
    assert_string_equal(got, line);
}

static void imd_says(const char *line)
{
    assert_int_equal(send(client, line, strlen(line), MSG_NOSIGNAL), strlen(line));
    assert_int_equal(send(client, "\n", 1, MSG_NOSIGNAL), 1);
}

#define REQUEST(id, method) "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"method\":\"" method "\"}"
#define SEND(message) \
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"send\",\"params\":{\"message\":{" message "}}}"
#define RESULT(id, result) "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"result\":" result "}"
#define FAILURE(id, error) "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"error\":" error "}"
#define EVENT(name, params) "{\"jsonrpc\":\"2.0\",\"method\":\"" name "\",\"params\":{" params "}}"

/* ---- The command line ---- */

static void help_and_version_are_data(void **state)
{
    char text[8192];
    int how;
    start("--version", NULL);
    ends(0, "imctl " IMD_VERSION "\n", "");
    static const char *const commands[] = {"status",  "send",       "signal",    "listen",
                                           "connect", "disconnect", "reconnect", "stats"};
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        char usage[64];
        start(commands[i], "--help", NULL);
        close(program.in);
        read_all(program.out, text, sizeof(text));
        snprintf(usage, sizeof(usage), "Usage: imctl %s [OPTION]...", commands[i]);
        assert_memory_equal(text, usage, strlen(usage));
        assert_non_null(strstr(text, "\n  -a, --account NAME "));
        read_all(program.err, text, sizeof(text));
        assert_string_equal(text, "");
        assert_int_equal(waitpid(program.pid, &how, 0), program.pid);
        assert_int_equal(how, 0);
    }
}

static void wrong_command_lines_end_with_64(void **state)
{
    static const struct {
        const char *words[5];
        const char *err;
    } cases[] = {
        {{"bogus"}, "imctl: unknown command 'bogus'; see 'imctl --help'\n"},
        {{"-x"}, "imctl: unknown option '-x'; see 'imctl --help'\n"},
        {{"status", "--bogus"}, "imctl: unknown option '--bogus'; see 'imctl status --help'\n"},
        {{"status", "--to", "x"}, "imctl: unknown option '--to'; see 'imctl status --help'\n"},
        {{"status", "x"}, "imctl: one word too many: 'x'; see 'imctl status --help'\n"},
        {{"status", "--wait", "up"}, "imctl: 'up' is no STATE[:SECONDS]; see 'imctl status --help'\n"},
        {{"status", "--wait", "connected:x"},
         "imctl: 'connected:x' is no STATE[:SECONDS]; see 'imctl status --help'\n"},
        {{"send"}, "imctl: missing 'TEXT|-'; see 'imctl send --help'\n"},
        {{"send", "a", "b"}, "imctl: one word too many: 'b'; see 'imctl send --help'\n"},
        {{"send", "-t"}, "imctl: no value for option '-t'; see 'imctl send --help'\n"},
        {{"send", "a", "-c", "club"}, "imctl: 'club' is no conversation type; see 'imctl send --help'\n"},
        {{"send", "a", "--timeout", "0"}, "imctl: '0' is no value for --timeout; see 'imctl send --help'\n"},
        {{"send", "a", "--timeout", "inf"},
         "imctl: 'inf' is no value for --timeout; see 'imctl send --help'\n"},
        {{"listen", "-n", "0"}, "imctl: '0' is no value for --count; see 'imctl listen --help'\n"},
        {{"listen", "-n", "-1"}, "imctl: '-1' is no value for --count; see 'imctl listen --help'\n"},
        {{"listen", "-e", "message"}, "imctl: 'message' is no event; see 'imctl listen --help'\n"},
        {{"listen", "-c", "club"}, "imctl: 'club' is no conversationType; see 'imctl listen --help'\n"},
        {{"-a", "../x"}, NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]) && cases[i].err; i++) {
        start(cases[i].words[0], cases[i].words[1], cases[i].words[2], cases[i].words[3], NULL);
        ends(64, "", cases[i].err);
    }
    char *bad_account[] = {(char *)"imctl", (char *)"-a", (char *)"../x", (char *)"status", NULL};
    start_with(-1, bad_account);
    ends(64, "", "imctl: '../x' is no account name\n");
}

static void a_daemon_that_is_not_there_is_named(void **state)
{
    char err[256];
    close(listener);
    listener = -1;
    snprintf(err, sizeof(err),
             "imctl: cannot reach imd at %s: nobody listens there; is imd@default.socket running?\n", path);
    start("status", NULL);
    ends(69, "", err);
    unlink(path);
    snprintf(err, sizeof(err), "imctl: cannot reach imd at %s: no such file; is imd@work.socket running?\n",
             path);
    start("-a", "work", "status", NULL);
    ends(69, "", err);
}

/* ---- send and signal ---- */

static void send_prints_the_message_id(void **state)
{
    start("send", "hi", NULL);
    imd_hears(SEND("\"messageType\":\"TxtMsg\",\"content\":{\"message\":\"hi\"}"));
    imd_says(RESULT("1", "{\"code\":0,\"data\":{\"messageId\":\"id-1\"}}"));
    ends(0, "id-1\n", "");
}

static void send_takes_its_options(void **state)
{
    start("--json", "send", "-t", "bob", "-falice", "--", "-hi", NULL);
    imd_hears(SEND(
        "\"messageType\":\"TxtMsg\",\"to\":\"bob\",\"from\":\"alice\",\"content\":{\"message\":\"-hi\"}"));
    imd_says(RESULT("1", "{\"code\":0,\"data\":{\"messageId\":\"id-1\"},\"errMsg\":\"ok\"}"));
    ends(0, "{\"code\":0,\"data\":{\"messageId\":\"id-1\"},\"errMsg\":\"ok\"}\n", "");
    imd_teardown(NULL);
    imd_setup(NULL);
    start("send", "hi", "-c", "group", "--type", "Own", "--id", "my", "--timeout", "1.5", NULL);
    imd_hears(
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"send\",\"params\":{\"message\":{\"messageType\":\"Own\","
        "\"messageId\":\"my\",\"conversationType\":3,\"content\":{\"message\":\"hi\"}},\"timeoutMs\":1500}}");
    imd_says(RESULT("1", "{\"code\":0,\"data\":{\"messageId\":\"my\"}}"));
    ends(0, "my\n", "");
}

static void send_reads_standard_input(void **state)
{
    start("send", "-", NULL);
    assert_int_equal(write(program.in, "one\ntwo\n\n", 9), 9);
    close(program.in);
    program.in = -1;
    imd_hears(SEND("\"messageType\":\"TxtMsg\",\"content\":{\"message\":\"one\\ntwo\\n\"}"));
    imd_says(RESULT("1", "{\"code\":0,\"data\":{\"messageId\":\"id-1\"}}"));
    ends(0, "id-1\n", "");
}

static void send_refuses_what_is_no_text(void **state)
{
    static const char *const inputs[] = {"a\xff", "a\0b"};
    for (size_t i = 0; i < 2; i++) {
        start("send", "-", NULL);
        assert_int_equal(write(program.in, inputs[i], 3), 3);
        ends(65, "", "imctl: what is to be sent is no text in UTF-8\n");
        if (client >= 0)
            close(client);
        client = -1;
    }
}

static void signal_sends_a_signal(void **state)
{
    start("signal", "end", "-t", "bob", NULL);
    imd_hears(SEND("\"messageType\":\"SignalMsg\",\"signalName\":\"end\",\"to\":\"bob\""));
    imd_says(RESULT("1", "{\"code\":0,\"data\":{\"messageId\":\"id-1\"}}"));
    ends(0, "id-1\n", "");
}

static void errors_end_with_their_status(void **state)
{
    static const struct {
        const char *error;
        int status;
        const char *err;
    } cases[] = {
        {"{\"code\":-76,\"message\":\"m\",\"data\":{\"reason\":\"rejected\",\"messageId\":\"i\",\"envelope\":"
         "{\"code\":7,\"data\":{},\"errMsg\":\"no such user\"}}}",
         76, "imctl: the server rejected the message: no such user (code 7)\n"},
        {"{\"code\":-124,\"message\":\"timed out\",\"data\":{\"reason\":\"unknown\",\"messageId\":\"i\"}}",
         124, "imctl: timed out (messageId i)\n"},
        {"{\"code\":-75,\"message\":\"full\",\"data\":{\"reason\":\"busy\",\"limit\":\"MaxPending\"}}", 75,
         "imctl: full (MaxPending)\n"},
        {"{\"code\":-69,\"message\":\"not connected\",\"data\":{\"reason\":\"not_connected\"}}", 69,
         "imctl: not connected\n"},
        {"{\"code\":-32602,\"message\":\"\\\"to\\\" is required\",\"data\":{\"reason\":\"invalid_params\"}}",
         65, "imctl: \"to\" is required\n"},
        {"{\"code\":-77,\"message\":\"no\",\"data\":{\"reason\":\"denied\"}}", 77, "imctl: no\n"},
        {"{\"code\":-74,\"message\":\"no\",\"data\":{\"reason\":\"storage\"}}", 74, "imctl: no\n"},
        {"{\"code\":-32603}", 70, "imctl: internal error\n"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char line[512];
        start("send", "hi", NULL);
        imd_hears(SEND("\"messageType\":\"TxtMsg\",\"content\":{\"message\":\"hi\"}"));
        snprintf(line, sizeof(line), FAILURE("1", "%s"), cases[i].error);
        imd_says(line);
        ends(cases[i].status, "", cases[i].err);
        close(client);
        client = -1;
    }
}

static void a_daemon_that_dies_leaves_a_send_unknown(void **state)
{
    start("send", "hi", NULL);
    imd_hears(SEND("\"messageType\":\"TxtMsg\",\"content\":{\"message\":\"hi\"}"));
    close(client);
    client = -1;
    ends(124, "", "imctl: the connection to imd ended before the answer came\n");
}

/* ---- status, the link, stats ---- */

#define STATUS_CONNECTED                                                                                    \
    "{\"state\":\"connected\",\"since\":1700000000000,\"url\":\"ws://x\",\"userId\":\"al\\u001bice\","      \
    "\"pingGapMs\":6000,\"rttMs\":0.25,\"lastInboundMs\":1200,\"pending\":0,\"clients\":2,\"subscribers\":" \
    "1,\"seq\":9}"
#define STATUS_WAITING                                                                                \
    "{\"state\":\"waiting\",\"reason\":\"refused\",\"attempt\":3,\"nextRetryMs\":1500,\"lastError\":" \
    "{\"reason\":\"refused\",\"detail\":\"nobody listens at x\",\"time\":1700000000000}}"

static void status_is_a_block_for_people(void **state)
{
    char text[4096];
    int how;
    start("status", NULL);
    imd_hears(REQUEST("1", "status"));
    imd_says(RESULT("1", STATUS_CONNECTED));
    close(program.in);
    read_all(program.out, text, sizeof(text));
    const char *first = "       Link: connected since 2023-11-14 22:13:20; ";
    assert_memory_equal(text, first, strlen(first)); /* then how long ago that is */
    assert_string_equal(strchr(text, '\n') + 1,
                        "     Server: ws://x\n"
                        "       User: al\\x1bice\n"
                        "  Heartbeat: every 6.0 s, round trip 0.25 ms, last heard 1.2 s ago\n"
                        " Unanswered: 0\n"
                        "    Clients: 2\n"
                        "Subscribers: 1\n"
                        " Last event: 9\n");
    read_all(program.err, text, sizeof(text));
    assert_string_equal(text, "");
    assert_int_equal(waitpid(program.pid, &how, 0), program.pid);
    assert_int_equal(how, 0);
}

static void status_says_by_its_exit_that_it_is_not_connected(void **state)
{
    start("status", NULL);
    imd_hears(REQUEST("1", "status"));
    imd_says(RESULT("1", STATUS_WAITING));
    ends(69,
         "       Link: waiting (refused)\n"
         "   Next try: in 1.5 s (try 3 in a row)\n"
         " Last error: nobody listens at x at 2023-11-14 22:13:20\n",
         "");
    imd_teardown(NULL);
    imd_setup(NULL);
    start("status", "--json", NULL);
    imd_hears(REQUEST("1", "status"));
    imd_says(RESULT("1", STATUS_WAITING));
    ends(69, STATUS_WAITING "\n", "");
}

#define SUBSCRIBE_STATUS \
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"subscribe\",\"params\":{\"events\":[\"STATUS\"]}}"

static void status_waits_without_a_race(void **state)
{
    start("status", "--json", "--wait", "connected", NULL);
    imd_hears(SUBSCRIBE_STATUS);
    imd_says(RESULT("1", "{\"seq\":0,\"status\":{\"state\":\"connected\"}}")); /* no event will come */
    imd_hears(REQUEST("2", "status"));
    imd_says(RESULT("2", "{\"state\":\"connected\"}"));
    ends(0, "{\"state\":\"connected\"}\n", "");
    imd_teardown(NULL);
    imd_setup(NULL);
    start("status", "--json", "--wait", "disconnected:60", NULL);
    imd_hears(SUBSCRIBE_STATUS);
    imd_says(RESULT("1", "{\"seq\":0,\"status\":{\"state\":\"waiting\"}}"));
    imd_says(EVENT("STATUS", "\"state\":\"connecting\""));
    imd_says(EVENT("STATUS", "\"state\":\"disconnected\""));
    imd_hears(REQUEST("2", "status"));
    imd_says(RESULT("2", "{\"state\":\"disconnected\"}"));
    ends(0, "{\"state\":\"disconnected\"}\n", "");
}

static void status_waits_no_longer_than_it_was_told(void **state)
{
    start("status", "--wait", "connected:0.05", NULL);
    imd_hears(SUBSCRIBE_STATUS);
    imd_says(RESULT("1", "{\"seq\":0,\"status\":{\"state\":\"waiting\"}}"));
    ends(124, "", "imctl: the link is not connected yet\n");
}

static void the_link_is_controlled(void **state)
{
    static const char *const commands[] = {"connect", "disconnect", "reconnect"};
    for (size_t i = 0; i < 3; i++) {
        char line[128];
        start(commands[i], NULL);
        snprintf(line, sizeof(line), REQUEST("1", "%s"), commands[i]);
        imd_hears(line);
        imd_says(RESULT("1", "{\"state\":\"connecting\"}"));
        ends(0, "connecting\n", "");
        close(client);
        client = -1;
    }
    start("connect", "--json", NULL);
    imd_hears(REQUEST("1", "connect"));
    imd_says(RESULT("1", "{\"state\":\"connecting\"}"));
    ends(0, "{\"state\":\"connecting\"}\n", "");
}

static void stats_are_one_a_line(void **state)
{
    start("stats", NULL);
    imd_hears(REQUEST("1", "stats"));
    imd_says(RESULT("1", "{\"framesIn\":12,\"store\":{\"rows\":3,\"mean\":0.5}}"));
    ends(0, "framesIn 12\nstore.rows 3\nstore.mean 0.5\n", "");
    imd_teardown(NULL);
    imd_setup(NULL);
    start("stats", "--json", NULL);
    imd_hears(REQUEST("1", "stats"));
    imd_says(RESULT("1", "{\"framesIn\":18446744073709551615}"));
    ends(0, "{\"framesIn\":18446744073709551615}\n", "");
}

/* ---- listen ---- */

#define SUBSCRIBE "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"subscribe\",\"params\":{}}"
#define SUBSCRIBED RESULT("1", "{\"seq\":0,\"status\":{\"state\":\"connected\"}}")
#define MESSAGE_1 \
    EVENT("MESSAGE", "\"seq\":1,\"time\":1700000000000,\"code\":0, \"data\":{\"n\":18446744073709551615}")
#define MESSAGE_2 EVENT("MESSAGE", "\"seq\":2,\"time\":1700000000000,\"code\":0,\"data\":{}")
#define STATUS_EVENT EVENT("STATUS", "\"state\":\"waiting\"")

static void listen_prints_lines_as_they_came(void **state)
{
    start("listen", "-n", "2", NULL);
    imd_hears(SUBSCRIBE);
    imd_says(SUBSCRIBED);
    imd_says(STATUS_EVENT); /* was not asked for: does not count */
    imd_says(MESSAGE_1);
    imd_says(MESSAGE_2);
    imd_says(MESSAGE_1);
    ends(0, STATUS_EVENT "\n" MESSAGE_1 "\n" MESSAGE_2 "\n", "");
}

static void listen_writes_each_event_at_once(void **state)
{
    char text[512] = "";
    size_t used = 0;
    start("listen", NULL);
    imd_hears(SUBSCRIBE);
    imd_says(SUBSCRIBED);
    imd_says(MESSAGE_1);
    while (!strchr(text, '\n')) { /* the program still runs, and no second event pushes the first out */
        ssize_t n = read(program.out, text + used, sizeof(text) - 1 - used);
        assert_true(n > 0);
        used += (size_t)n;
    }
    assert_string_equal(text, MESSAGE_1 "\n");
    close(client);
    client = -1;
    ends(69, "", "imctl: imd has ended the connection\n");
}

static void listen_asks_for_what_it_was_told(void **state)
{
    start("listen", "-e", "STATUS", "--event", "SENT", "--type", "text", "--type", "Own", "--from", "bob",
          "-c", "group", "--signal", "end", "-n", "1", NULL);
    imd_hears(
        "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"subscribe\",\"params\":{\"events\":[\"STATUS\",\"SENT\"],"
        "\"filter\":{\"messageType\":[\"text\",\"Own\"],\"conversationType\":[3],\"from\":[\"bob\"],"
        "\"signalName\":[\"end\"]}}}");
    imd_says(SUBSCRIBED);
    imd_says(STATUS_EVENT); /* was asked for: counts */
    ends(0, STATUS_EVENT "\n", "");
}

static void listen_ends_when_the_time_is_out(void **state)
{
    start("listen", "-W", "0.05", NULL);
    imd_hears(SUBSCRIBE);
    imd_says(SUBSCRIBED "\n" STATUS_EVENT); /* in one piece: both are there when the time is out */
    ends(124, STATUS_EVENT "\n", "");
    imd_teardown(NULL);
    imd_setup(NULL);
    start("listen", "-W", "0.2", NULL);
    imd_hears(SUBSCRIBE);
    imd_says(SUBSCRIBED "\n" MESSAGE_1);
    ends(0, MESSAGE_1 "\n", "");
}

/* As in `imctl listen | head -1`: it does not stay until the next event. */
static void listen_ends_when_its_reader_has_gone(void **state)
{
    start("listen", NULL);
    imd_hears(SUBSCRIBE);
    imd_says(SUBSCRIBED);
    close(program.out);
    program.out = -1;
    ends(0, "", "");
}

static void a_full_disk_is_an_error(void **state)
{
    int full = open("/dev/full", O_WRONLY | O_CLOEXEC);
    assert_true(full >= 0);
    start_on(full, "send", "hi", NULL);
    imd_hears(SEND("\"messageType\":\"TxtMsg\",\"content\":{\"message\":\"hi\"}"));
    imd_says(RESULT("1", "{\"code\":0,\"data\":{\"messageId\":\"id-1\"}}"));
    ends(74, "", "imctl: cannot write: No space left on device\n");
}

/* ---- A terminal ---- */

/* The two ends of a terminal that changes nothing of what is written to it. */
static int terminal_open(int *screen)
{
    struct termios t;
    *screen = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_true(*screen >= 0 && grantpt(*screen) == 0 && unlockpt(*screen) == 0);
    int end = open(ptsname(*screen), O_RDWR | O_NOCTTY | O_CLOEXEC);
    assert_int_equal(tcgetattr(end, &t), 0);
    cfmakeraw(&t);
    assert_int_equal(tcsetattr(end, TCSANOW, &t), 0);
    return end;
}

static void on_a_terminal_events_are_for_people(void **state)
{
    int screen;
    start_on(terminal_open(&screen), "listen", "-n", "6", NULL);
    imd_hears(SUBSCRIBE);
    imd_says(SUBSCRIBED);
#define TIME "\"seq\":1,\"time\":1700000000000,"
    imd_says(EVENT(
        "STATUS", "\"state\":\"waiting\",\"reason\":\"closed\",\"nextRetryMs\":1500,\"time\":1700000000000"));
    imd_says(EVENT("MESSAGE", TIME
                   "\"code\":0,\"data\":{\"messageType\":\"TxtMsg\",\"from\":\"alice\",\"to\":\"bob\","
                   "\"conversationType\":1,\"content\":{\"message\":\"\xe4\xbd\xa0 \\u001b[31m \\u009b\"}}"));
    imd_says(EVENT("MESSAGE", TIME "\"code\":0,\"data\":{\"messageType\":\"SignalMsg\",\"to\":\"room\","
                                   "\"conversationType\":3,\"signalName\":\"end\"}"));
    imd_says(EVENT("MESSAGE", TIME "\"code\":4,\"errMsg\":\"close\""));
    imd_says(EVENT("MESSAGE",
                   TIME "\"code\":0,\"data\":{\"messageType\":\"ImgMsg\",\"from\":\"a\",\"content\":"
                        "{\"message\":{\"w\":1}}}"));
    imd_says(EVENT("MESSAGE", TIME "\"code\":0,\"data\":[1]"));
    imd_says(EVENT("GAP", "\"from\":3,\"to\":5,\"reason\":\"pruned\""));
    imd_says(EVENT("MESSAGE", TIME "\"code\":0,\"data\":{\"messageType\":\"TextMsg\",\"from\":\"a\"}"));
    int how;
    char text[4096];
    close(program.in);
    read_all(screen, text, sizeof(text));
    assert_string_equal(text, "22:13:20 -- waiting (closed), next try in 1.5 s\n"
                              "22:13:20 alice -> bob: \xe4\xbd\xa0 \\x1b[31m \\x9b\n"
                              "22:13:20 server -> room (group): [signal end] \n"
                              "22:13:20 server: close (code 4)\n"
                              "22:13:20 a: [image] {\"w\":1}\n"
                              "22:13:20 server: [1]\n"
                              "-- lost: events 3 to 5 (pruned)\n"
                              "22:13:20 a: \n");
    read_all(program.err, text, sizeof(text));
    assert_string_equal(text, "");
    assert_int_equal(waitpid(program.pid, &how, 0), program.pid);
    assert_int_equal(how, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, imd_setup, imd_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(help_and_version_are_data),
        TEST(wrong_command_lines_end_with_64),
        TEST(a_daemon_that_is_not_there_is_named),
        TEST(send_prints_the_message_id),
        TEST(send_takes_its_options),
        TEST(send_reads_standard_input),
        TEST(send_refuses_what_is_no_text),
        TEST(signal_sends_a_signal),
        TEST(errors_end_with_their_status),
        TEST(a_daemon_that_dies_leaves_a_send_unknown),
        TEST(status_is_a_block_for_people),
        TEST(status_says_by_its_exit_that_it_is_not_connected),
        TEST(status_waits_without_a_race),
        TEST(status_waits_no_longer_than_it_was_told),
        TEST(the_link_is_controlled),
        TEST(stats_are_one_a_line),
        TEST(listen_prints_lines_as_they_came),
        TEST(listen_writes_each_event_at_once),
        TEST(listen_asks_for_what_it_was_told),
        TEST(listen_ends_when_the_time_is_out),
        TEST(listen_ends_when_its_reader_has_gone),
        TEST(a_full_disk_is_an_error),
        TEST(on_a_terminal_events_are_for_people),
    };
    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof(path), "%s/s", folder);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    rmdir(folder);
    return failed;
}
