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
    static const char *const commands[] = {"status", "send",    "signal",     "listen",    "history",
                                           "outbox", "connect", "disconnect", "reconnect", "stats"};
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        char usage[64];
        start(commands[i], "--help", NULL);
        close(program.in);
        read_all(program.out, text, sizeof(text));
        snprintf(usage, sizeof(usage), "Usage: imctl %s [OPTION]...", commands[i]);
        assert_memory_equal(text, usage, strlen(usage));
        assert_non_null(strstr(text, "\n  -a, --account ACCOUNT "));
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
        {{"listen", "-c", "club"},
         "imctl: 'club' is no value for --conversation; see 'imctl listen --help'\n"},
        {{"send", "a", "--expires", "5"}, "imctl: --expires is for --queue; see 'imctl send --help'\n"},
        {{"signal", "a", "--queue", "--timeout=5"},
         "imctl: --timeout is not for --queue; see 'imctl signal --help'\n"},
        {{"send", "a", "--queue", "--expires=2592001"},
         "imctl: '2592001' is no value for --expires; see 'imctl send --help'\n"},
        {{"listen", "--since", "x"}, "imctl: 'x' is no value for --since; see 'imctl listen --help'\n"},
        {{"listen", "--consumer", "\xff"}, "imctl: no UTF-8 in '--consumer'; see 'imctl listen --help'\n"},
        {{"history", "--until", "5"}, "imctl: '5' is no value for --until; see 'imctl history --help'\n"},
        {{"history", "-c", "club"},
         "imctl: 'club' is no value for --conversation; see 'imctl history --help'\n"},
        {{"history", "x"}, "imctl: one word too many: 'x'; see 'imctl history --help'\n"},
        {{"outbox", "x"}, "imctl: unknown action 'x'; see 'imctl outbox --help'\n"},
        {{"outbox", "show"}, "imctl: missing 'ID'; see 'imctl outbox --help'\n"},
        {{"outbox", "list", "x"}, "imctl: one word too many: 'x'; see 'imctl outbox --help'\n"},
        {{"outbox", "show", "x", "y"}, "imctl: one word too many: 'y'; see 'imctl outbox --help'\n"},
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

#define SEND_QUEUED(manner)                                                                                  \
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"send\",\"params\":{\"message\":{\"messageType\":\"TxtMsg\"," \
    "\"content\":{\"message\":\"hi\"}}," manner "}}"

static void send_may_be_queued(void **state)
{
    start("send", "--queue", "hi", NULL);
    imd_hears(SEND_QUEUED("\"queue\":true"));
    imd_says(RESULT("1", "{\"messageId\":\"id-1\",\"state\":\"queued\"}"));
    ends(0, "id-1 queued\n", "");
    imd_teardown(NULL);
    imd_setup(NULL);
    start("send", "hi", "--queue", "--expires", "2592000", "--json", NULL);
    imd_hears(SEND_QUEUED("\"queue\":true,\"expiresMs\":2592000000"));
    imd_says(RESULT("1", "{\"messageId\":\"id-1\",\"state\":\"queued\"}"));
    ends(0, "{\"messageId\":\"id-1\",\"state\":\"queued\"}\n", "");
}

/* A messageId that is known already: how it ended is how this ends. */
static void a_send_that_was_queued_before_tells_its_end(void **state)
{
    static const struct {
        const char *state;
        int status;
    } cases[] = {{"sent", 0}, {"acked", 0}, {"rejected", 76}, {"expired", 124}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char line[128], out[64];
        start("send", "hi", "--queue", NULL);
        imd_hears(SEND_QUEUED("\"queue\":true"));
        snprintf(line, sizeof(line), RESULT("1", "{\"messageId\":\"i\",\"state\":\"%s\"}"), cases[i].state);
        imd_says(line);
        snprintf(out, sizeof(out), "i %s\n", cases[i].state);
        ends(cases[i].status, out, "");
        close(client);
        client = -1;
    }
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

static void status_tells_of_storage_and_outbox(void **state)
{
    start("status", NULL);
    imd_hears(REQUEST("1", "status"));
    imd_says(RESULT("1", "{\"state\":\"connected\",\"pending\":1,\"queued\":2,\"storage\":\"failed\","
                         "\"storageDetail\":\"disk full\"}"));
    ends(0,
         "       Link: connected\n"
         "    Storage: failed: disk full\n"
         " Unanswered: 1\n"
         "     Queued: 2\n",
         "");
    imd_teardown(NULL);
    imd_setup(NULL);
    start("status", NULL);
    imd_hears(REQUEST("1", "status"));
    imd_says(RESULT("1", "{\"state\":\"connected\",\"queued\":0,\"storage\":\"ok\"}"));
    ends(0, "       Link: connected\n     Queued: 0\n", "");
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

/* ---- listen from somewhere on ---- */

#define SUBSCRIBE_WITH(id, params) \
    "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"method\":\"subscribe\",\"params\":{" params "}}"
#define HISTORY(id, params) \
    "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"method\":\"history\",\"params\":{" params "}}"
#define ACK(id, seq) "{\"jsonrpc\":\"2.0\",\"id\":" id ",\"method\":\"ack\",\"params\":{\"seq\":" seq "}}"
#define GAP_3_5 EVENT("GAP", "\"from\":3,\"to\":5,\"reason\":\"crash\"")

static void listen_begins_where_it_was_told(void **state)
{
    start("listen", "--since", "41", "-n", "1", NULL);
    imd_hears(SUBSCRIBE_WITH("1", "\"since\":41"));
    imd_says(SUBSCRIBED "\n" MESSAGE_1);
    ends(0, MESSAGE_1 "\n", "");
    imd_teardown(NULL);
    imd_setup(NULL);
    start("listen", "--since", "earliest", "-n", "1", "--from", "bob", NULL);
    imd_hears(SUBSCRIBE_WITH("1", "\"filter\":{\"from\":[\"bob\"]},\"since\":\"earliest\""));
    imd_says(SUBSCRIBED "\n" MESSAGE_1);
    ends(0, MESSAGE_1 "\n", "");
}

/* The number of a time is asked for: that of the first event since, or else that of the last event. */
static void listen_begins_at_a_time(void **state)
{
    static const struct {
        const char *events, *since;
    } cases[] = {{MESSAGE_2, "1"}, {GAP_3_5, "2"}, {"", "9"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char line[512];
        start("listen", "--since", "@1700000000.5", "-n", "1", NULL);
        imd_hears(REQUEST("1", "status"));
        imd_says(RESULT("1", "{\"seq\":9}"));
        imd_hears(HISTORY("2", "\"since\":1700000000500,\"limit\":1"));
        snprintf(line, sizeof(line), RESULT("2", "{\"events\":[%s],\"more\":false}"), cases[i].events);
        imd_says(line);
        snprintf(line, sizeof(line), SUBSCRIBE_WITH("3", "\"since\":%s"), cases[i].since);
        imd_hears(line);
        imd_says(RESULT("3", "{}") "\n" MESSAGE_2);
        ends(0, MESSAGE_2 "\n", "");
        close(client);
        client = -1;
    }
}

static void a_consumer_acks_what_was_printed(void **state)
{
    start("listen", "--consumer", "me", "-n", "2", NULL);
    imd_hears(SUBSCRIBE_WITH("1", "\"consumer\":\"me\""));
    imd_says(SUBSCRIBED "\n" STATUS_EVENT); /* has no number */
    imd_says(MESSAGE_1);
    imd_hears(ACK("2", "1"));
    imd_says(GAP_3_5
             "\n" MESSAGE_2); /* no second ack before the first is answered; then it is the last one's */
    imd_says(RESULT("2", "{}"));
    imd_hears(ACK("3", "5"));
    imd_says(RESULT("3", "{}"));
    ends(0, STATUS_EVENT "\n" MESSAGE_1 "\n" GAP_3_5 "\n" MESSAGE_2 "\n", "");
}

static void a_consumer_ends_when_its_ack_is_refused(void **state)
{
    start("listen", "--consumer", "me", NULL);
    imd_hears(SUBSCRIBE_WITH("1", "\"consumer\":\"me\""));
    imd_says(SUBSCRIBED "\n" MESSAGE_1);
    imd_hears(ACK("2", "1"));
    imd_says(FAILURE("2", "{\"code\":-74,\"message\":\"disk full\",\"data\":{\"reason\":\"storage\"}}"));
    ends(74, MESSAGE_1 "\n", "imctl: disk full\n");
    imd_teardown(NULL);
    imd_setup(NULL);
    start("listen", "--consumer", "me", NULL);
    imd_hears(SUBSCRIBE_WITH("1", "\"consumer\":\"me\""));
    imd_says(SUBSCRIBED "\n" MESSAGE_1);
    imd_hears(ACK("2", "1"));
    close(client);
    client = -1;
    ends(69, MESSAGE_1 "\n", "imctl: imd has ended the connection\n");
}

/* ---- history ---- */

static void history_prints_in_the_order_of_time(void **state)
{
    start("history", NULL);
    imd_hears(HISTORY("1", "\"limit\":100,\"reverse\":true"));
    imd_says(RESULT("1", "{\"events\":[" GAP_3_5 "," MESSAGE_2 "," MESSAGE_1 "],\"more\":false}"));
    ends(0, MESSAGE_1 "\n" MESSAGE_2 "\n" GAP_3_5 "\n", "");
    imd_teardown(NULL);
    imd_setup(NULL);
    start("history", "-r", "-n", "5", NULL);
    imd_hears(HISTORY("1", "\"limit\":5,\"reverse\":true"));
    imd_says(RESULT("1", "{\"events\":[" MESSAGE_2 "," MESSAGE_1 "],\"more\":false}"));
    ends(0, MESSAGE_2 "\n" MESSAGE_1 "\n", "");
    imd_teardown(NULL);
    imd_setup(NULL);
    start("history", "--json", NULL);
    imd_hears(HISTORY("1", "\"limit\":100,\"reverse\":true"));
    imd_says(RESULT("1", "{\"events\":[],\"more\":false}"));
    ends(0, "", "");
}

/* A page ends where the one before it began; a GAP begins with its first number. */
static void history_goes_back_page_by_page(void **state)
{
    static const char *const orders[] = {"-r", "--json"};
    for (size_t i = 0; i < 2; i++) {
        start("history", "-n", "1002", orders[i], NULL);
        imd_hears(HISTORY("1", "\"limit\":1000,\"reverse\":true"));
        imd_says(RESULT("1", "{\"events\":[" GAP_3_5 "],\"more\":true}")); /* fewer than asked for */
        imd_hears(HISTORY("2", "\"before\":3,\"limit\":1000,\"reverse\":true"));
        imd_says(RESULT("2", "{\"events\":[" MESSAGE_2 "],\"more\":true}"));
        imd_hears(HISTORY("3", "\"before\":2,\"limit\":1000,\"reverse\":true"));
        imd_says(RESULT("3", "{\"events\":[" MESSAGE_1 "],\"more\":false}"));
        ends(0,
             i == 0 ? GAP_3_5 "\n" MESSAGE_2 "\n" MESSAGE_1 "\n" : MESSAGE_1 "\n" MESSAGE_2 "\n" GAP_3_5 "\n",
             "");
        close(client);
        client = -1;
    }
    start("history", "-n", "2", NULL);
    imd_hears(HISTORY("1", "\"limit\":2,\"reverse\":true"));
    imd_says(RESULT("1", "{\"events\":[" GAP_3_5 "," MESSAGE_2 "],\"more\":true}")); /* all that was wanted */
    ends(0, MESSAGE_2 "\n" GAP_3_5 "\n", "");
}

static void history_asks_for_what_it_was_told(void **state)
{
    start("history", "--since", "7", "--until", "2023-11-14T23:13:20+01:00", "--from", "bob", "--from", "eve",
          "--type", "text", "-c", "group", "-c", "9", "--signal", "end", NULL);
    imd_hears(HISTORY("1", "\"filter\":{\"messageType\":[\"text\"],\"conversationType\":[3,9],"
                           "\"from\":[\"bob\",\"eve\"],\"signalName\":[\"end\"]},"
                           "\"after\":7,\"until\":1700000000000,\"limit\":100,\"reverse\":true"));
    imd_says(FAILURE("1", "{\"code\":-74,\"message\":\"no\",\"data\":{\"reason\":\"storage\"}}"));
    ends(74, "", "imctl: no\n");
    imd_teardown(NULL);
    imd_setup(NULL);
    start("history", "--since", "2023-11-14 22:13", NULL);
    imd_hears(HISTORY("1", "\"since\":1699999980000,\"limit\":100,\"reverse\":true"));
    imd_says(RESULT("1", "{\"events\":[],\"more\":false}"));
    ends(0, "", "");
}

/* ---- outbox ---- */

#define OUTBOX_OF(id) \
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"outbox\",\"params\":{\"messageId\":\"" id "\"}}"
#define CANCEL "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"outbox.cancel\",\"params\":{\"messageId\":\"a\"}}"
#define ENTRY                                                                                  \
    "{\"messageId\":\"a\",\"state\":\"rejected\",\"attempts\":2,\"queuedTime\":1700000000000," \
    "\"expiresTime\":1700086400000,\"changedTime\":1700000001000,\"code\":7}"
#define ENTRY_FUTURE \
    "{\"messageId\":\"\\u001b\\u00e4\",\"state\":\"queued\",\"attempts\":0,\"queuedTime\":99999999999999}"

static void outbox_is_a_table_for_people(void **state)
{
    static const char *const words[] = {NULL, "list"};
    for (size_t i = 0; i < 2; i++) {
        start("outbox", words[i], NULL);
        imd_hears(REQUEST("1", "outbox"));
        imd_says(RESULT("1", "{\"entries\":[" ENTRY_FUTURE "]}"));
        ends(0,
             "MESSAGE                               STATE      ATTEMPTS  AGE\n"
             "\\x1b\xc3\xa4                                 queued            0  0.0 s\n",
             "");
        close(client);
        client = -1;
    }
    start("outbox", "--json", NULL);
    imd_hears(REQUEST("1", "outbox"));
    imd_says(RESULT("1", "{\"entries\":[" ENTRY "]}"));
    ends(0, "{\"entries\":[" ENTRY "]}\n", "");
}

#define ENTRY_OF(id, time) \
    "{\"messageId\":\"" id "\",\"state\":\"acked\",\"attempts\":1,\"queuedTime\":" time "}"

/* The oldest first, the newest of them when there are to be so many; times are included. */
static void outbox_lists_a_choice(void **state)
{
    static const struct {
        const char *words[4], *entries;
    } cases[] = {
        {{"-r", NULL}, ENTRY_OF("c", "3000") "," ENTRY_OF("b", "2000") "," ENTRY_OF("a", "1000")},
        {{"-n", "2", NULL}, ENTRY_OF("b", "2000") "," ENTRY_OF("c", "3000")},
        {{"-rn2", NULL}, ENTRY_OF("c", "3000") "," ENTRY_OF("b", "2000")},
        {{"-n", "4", NULL}, ENTRY_OF("a", "1000") "," ENTRY_OF("b", "2000") "," ENTRY_OF("c", "3000")},
        {{"--since", "@2", NULL}, ENTRY_OF("b", "2000") "," ENTRY_OF("c", "3000")},
        {{"--until", "@2", NULL}, ENTRY_OF("a", "1000") "," ENTRY_OF("b", "2000")},
        {{"--until=@2", "--since=@2", NULL}, ENTRY_OF("b", "2000")},
        {{"--since", "@4", NULL}, ""},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char line[512];
        start("outbox", "--json", "list", cases[i].words[0], cases[i].words[1], NULL);
        imd_hears(REQUEST("1", "outbox"));
        imd_says(RESULT("1", "{\"entries\":[" ENTRY_OF("a", "1000") "," ENTRY_OF("b", "2000") "," ENTRY_OF(
                                 "c", "3000") "]}"));
        snprintf(line, sizeof(line), "{\"entries\":[%s]}\n", cases[i].entries);
        ends(0, line, "");
        close(client);
        client = -1;
    }
}

static void outbox_shows_one(void **state)
{
    start("outbox", "show", "a", NULL);
    imd_hears(OUTBOX_OF("a"));
    imd_says(RESULT("1", "{\"entries\":[" ENTRY "]}"));
    ends(0,
         "    Message: a\n"
         "      State: rejected (code 7)\n"
         "   Attempts: 2\n"
         "     Queued: 2023-11-14 22:13:20\n"
         "    Expires: 2023-11-15 22:13:20\n"
         "    Changed: 2023-11-14 22:13:21\n",
         "");
    imd_teardown(NULL);
    imd_setup(NULL);
    start("outbox", "show", "b", NULL);
    imd_hears(OUTBOX_OF("b"));
    imd_says(
        FAILURE("1", "{\"code\":-79,\"message\":\"no such message\",\"data\":{\"reason\":\"not_found\"}}"));
    ends(65, "", "imctl: the outbox knows no message 'b'; see 'imctl outbox'\n");
    start("outbox", "show", "\xff", NULL);
    ends(65, "", "imctl: what is to be sent is no text in UTF-8\n");
}

static void outbox_cancels_one(void **state)
{
    start("outbox", "cancel", "a", NULL);
    imd_hears(CANCEL);
    imd_says(RESULT("1", "{}"));
    ends(0, "a cancelled\n", "");
    imd_teardown(NULL);
    imd_setup(NULL);
    start("outbox", "cancel", "a", "--json", NULL);
    imd_hears(CANCEL);
    imd_says(FAILURE("1", "{\"code\":-80,\"message\":\"sent already\",\"data\":{\"reason\":\"conflict\"}}"));
    ends(65, "", "imctl: sent already\n");
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
    start_on(terminal_open(&screen), "listen", "-n", "8", NULL);
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
    imd_says(EVENT("MESSAGE",
                   TIME "\"code\":0,\"data\":{\"messageType\":\"FileMsg\",\"from\":\"a\",\"content\":"
                        "{\"message\":{\"$bin\":\"AQI=\"},\"name\":\"a\\nb.pdf\"}}"));
    imd_says(EVENT("MESSAGE",
                   TIME "\"code\":0,\"data\":{\"messageType\":\"ImgMsg\",\"from\":\"a\",\"content\":"
                        "{\"message\":{\"$file\":\"/x\",\"size\":999999999,\"sha256\":\"\"}}}"));
    imd_says(EVENT("MESSAGE", TIME "\"code\":0,\"data\":[1]"));
    imd_says(EVENT("GAP", "\"from\":3,\"to\":5,\"reason\":\"pruned\""));
    imd_says(EVENT("GAP", "\"from\":0,\"to\":0,\"reason\":\"outbox\""));
    imd_says(EVENT("OUTBOX", "\"messageId\":\"m\",\"state\":\"rejected\",\"code\":7,\"time\":1700000000000"));
    imd_says(EVENT("STATUS", "\"state\":\"connected\",\"storage\":\"failed\",\"time\":1700000000000"));
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
                              "22:13:20 a: [file] a\\x0ab.pdf, 2 B\n"
                              "22:13:20 a: [image] file, 1.0 GB\n"
                              "22:13:20 server: [1]\n"
                              "-- lost: events 3 to 5 (pruned)\n"
                              "-- lost: changes of the outbox; see 'imctl outbox'\n"
                              "22:13:20 -- outbox m rejected (code 7)\n"
                              "22:13:20 -- connected, storage failed\n"
                              "22:13:20 a: \n");
    read_all(program.err, text, sizeof(text));
    assert_string_equal(text, "");
    assert_int_equal(waitpid(program.pid, &how, 0), program.pid);
    assert_int_equal(how, 0);
}

static void on_a_terminal_a_saved_file_is_told(void **state)
{
    int screen, how;
    char text[4096], line[256], file[128];
    start_on(terminal_open(&screen), "listen", "-n", "1", "--save-files", folder, NULL);
    imd_hears(SUBSCRIBE);
    imd_says(SUBSCRIBED);
    imd_says(EVENT("MESSAGE",
                   TIME "\"code\":0,\"data\":{\"messageType\":\"FileMsg\",\"from\":\"a\",\"content\":"
                        "{\"message\":{\"$bin\":\"AQI=\"},\"name\":\"a.bin\"}}"));
    close(program.in);
    read_all(screen, text, sizeof(text));
    snprintf(file, sizeof(file), "%s/1-a.bin", folder);
    snprintf(line, sizeof(line), "22:13:20 a: [file] a.bin, 2 B, saved as %s\n", file);
    assert_string_equal(text, line);
    assert_int_equal(unlink(file), 0);
    read_all(program.err, text, sizeof(text));
    assert_string_equal(text, "");
    assert_int_equal(waitpid(program.pid, &how, 0), program.pid);
    assert_int_equal(how, 0);
}

/* What others wrote drives no terminal, in whatever form it is asked for. */
static void on_a_terminal_a_format_is_harmless(void **state)
{
    int screen, how;
    char text[4096];
    start_on(terminal_open(&screen), "listen", "-n", "1", "--format", "%m|%j\\t|", NULL);
    imd_hears(SUBSCRIBE);
    imd_says(SUBSCRIBED);
    imd_says(EVENT("MESSAGE", "\"data\":{\"content\":{\"message\":\"a\\n\\u001b\xc2\x9b\\\\\"}}"));
    close(program.in);
    read_all(screen, text, sizeof(text));
    assert_string_equal(text,
                        "a\\x0a\\x1b\\x9b\\|{\"jsonrpc\":\"2.0\",\"method\":\"MESSAGE\",\"params\":{\"data\":"
                        "{\"content\":{\"message\":\"a\\n\\u001b\\x9b\\\\\"}}}}\t|\n");
    assert_int_equal(waitpid(program.pid, &how, 0), program.pid);
    assert_int_equal(how, 0);
    close(program.err);
}

static void on_a_terminal_history_has_dates(void **state)
{
    int screen, how;
    char text[4096];
    start_on(terminal_open(&screen), "history", NULL);
    imd_hears(HISTORY("1", "\"limit\":100,\"reverse\":true"));
    imd_says(RESULT("1", "{\"events\":[" EVENT(
                             "MESSAGE", TIME "\"code\":0,\"data\":{\"messageType\":\"TxtMsg\",\"from\":\"a\","
                                             "\"content\":{\"message\":\"hi\"}}") "],\"more\":false}"));
    close(program.in);
    read_all(screen, text, sizeof(text));
    assert_string_equal(text, "2023-11-14 22:13:20 a: hi\n");
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
        TEST(send_may_be_queued),
        TEST(a_send_that_was_queued_before_tells_its_end),
        TEST(send_reads_standard_input),
        TEST(send_refuses_what_is_no_text),
        TEST(signal_sends_a_signal),
        TEST(errors_end_with_their_status),
        TEST(a_daemon_that_dies_leaves_a_send_unknown),
        TEST(status_is_a_block_for_people),
        TEST(status_tells_of_storage_and_outbox),
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
        TEST(listen_begins_where_it_was_told),
        TEST(listen_begins_at_a_time),
        TEST(a_consumer_acks_what_was_printed),
        TEST(a_consumer_ends_when_its_ack_is_refused),
        TEST(history_prints_in_the_order_of_time),
        TEST(history_goes_back_page_by_page),
        TEST(history_asks_for_what_it_was_told),
        TEST(outbox_is_a_table_for_people),
        TEST(outbox_lists_a_choice),
        TEST(outbox_shows_one),
        TEST(outbox_cancels_one),
        TEST(a_full_disk_is_an_error),
        TEST(on_a_terminal_events_are_for_people),
        TEST(on_a_terminal_a_saved_file_is_told),
        TEST(on_a_terminal_a_format_is_harmless),
        TEST(on_a_terminal_history_has_dates),
    };
    if (!mkdtemp(folder))
        return 1;
    snprintf(path, sizeof(path), "%s/s", folder);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    rmdir(folder);
    return failed;
}
