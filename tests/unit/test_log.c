/* log: the exact bytes of lines and of the journal's entries, and that nobody who has stopped reading stops
 * us. */
#include "log.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define MANY 5000 /* lines; no pipe and no socket holds as many */

/* stderr is one end of something, and a journal listens in a folder of its own. */
struct rig {
    int saved, far;
    char folder[32];
    struct sockaddr_un path;
    int journal;
    char out[1 << 20];
};

static int set_up(void **state)
{
    struct rig *r = calloc(1, sizeof(*r));

    strcpy(r->folder, "/tmp/imd-log-XXXXXX");
    assert_non_null(mkdtemp(r->folder));
    r->path.sun_family = AF_UNIX;
    snprintf(r->path.sun_path, sizeof(r->path.sun_path), "%s/journal", r->folder);
    r->journal = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(r->journal, (struct sockaddr *)&r->path, sizeof(r->path)), 0);
    r->far = -1;
    r->saved = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    struct rig *r = *state;

    unsetenv("JOURNAL_STREAM");
    dup2(r->saved, STDERR_FILENO);
    close(r->saved);
    if (r->far >= 0)
        close(r->far);
    close(r->journal);
    unlink(r->path.sun_path);
    rmdir(r->folder);
    log_init("", NULL);
    free(r);
    return 0;
}

static void use(struct rig *r, int ours, int far)
{
    dup2(ours, STDERR_FILENO);
    close(ours);
    fcntl(far, F_SETFL, O_NONBLOCK);
    r->far = far;
}

static void use_pipe(struct rig *r)
{
    int p[2];

    assert_int_equal(pipe2(p, O_CLOEXEC), 0);
    use(r, p[1], p[0]);
    log_init("work", r->path.sun_path);
}

static void use_socket(struct rig *r)
{
    int p[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p), 0);
    use(r, p[1], p[0]);
    log_init("work", r->path.sun_path);
}

/* As systemd starts a service: stderr is a stream to the journal. */
static void use_journal(struct rig *r)
{
    char stream[64];
    struct stat s;

    use_socket(r);
    fstat(STDERR_FILENO, &s);
    snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)s.st_dev, (uintmax_t)s.st_ino);
    setenv("JOURNAL_STREAM", stream, 1);
    log_init("work", r->path.sun_path);
}

static const char *take(struct rig *r, int fd, size_t *len)
{
    ssize_t n = read(fd, r->out, sizeof(r->out) - 1);

    r->out[n > 0 ? n : 0] = '\0';
    if (len)
        *len = n > 0 ? (size_t)n : 0;
    return r->out;
}

static const char *taken(struct rig *r)
{
    return take(r, r->far, NULL);
}

static const char *taken_entry(struct rig *r)
{
    return take(r, r->journal, NULL);
}

/* ---- lines ---- */

static void test_lines(void **state)
{
    struct rig *r = *state;

    use_pipe(r);
    log_warning("one %d", 1);
    log_line(LOG_DEBUG, "not written");
    log_line(LOG_INFO, "two");
    assert_string_equal(taken(r), "<4>one 1\n<6>two\n");
    log_event(&(struct log_event){.level = LOG_NOTICE, .id = LOG_LINK_CHANGED, .state = "connected"}, "as %s",
              "text");
    assert_string_equal(taken(r), "<5>as text\n");
}

static void test_long_line(void **state)
{
    struct rig *r = *state;
    static char lengthy[2000];
    size_t n;

    memset(lengthy, 'x', sizeof(lengthy) - 1);
    use_pipe(r);
    log_line(LOG_INFO, "%s", lengthy);
    take(r, r->far, &n);
    assert_int_equal(n, LOG_LINE_MAX - 1);
    assert_string_equal(r->out + n - 5, "x...\n");
    for (size_t i = 0; i + 2 < sizeof(lengthy); i += 2)
        memcpy(lengthy + i, "\u00e4", 2);
    log_line(LOG_INFO, "x%s", lengthy); /* cut within a character */
    take(r, r->far, &n);
    assert_int_equal(n, LOG_LINE_MAX - 1);
    assert_string_equal(r->out + n - 6, "\xa4?...\n");
}

static void test_what_peers_sent_is_harmless(void **state)
{
    struct rig *r = *state;

    use_pipe(r);
    log_line(LOG_INFO, "%s",
             "a\n<0>b\033[2J\r\x7f"
             "c");
    assert_string_equal(taken(r), "<6>a <0>b [2J  c\n");
    log_line(LOG_INFO, "%s",
             "\xc2\x9b"
             "2J \u00e4\u20ac\U0001f600");
    assert_string_equal(taken(r), "<6>  2J \u00e4\u20ac\U0001f600\n");
    log_line(LOG_INFO, "%s",
             "\x9b"
             "2J \xc3");
    assert_string_equal(taken(r), "<6>?2J ?\n");
}

static void test_limit(void **state)
{
    struct rig *r = *state;
    struct log_limit l = {0};
    int passed = 0;

    for (int i = 0; i < 20; i++)
        passed += log_limit_pass(&l);
    assert_int_equal(passed, LOG_LIMIT_BURST);
    use_pipe(r);
    l.since_ms -= LOG_LIMIT_SECONDS * 1000;
    assert_true(log_limit_pass(&l));
    assert_string_equal(taken(r), "<5>15 lines like the next were not written\n");
}

/* ---- nobody reads ---- */

static void log_many(void)
{
    for (int i = 0; i < MANY; i++)
        log_line(LOG_INFO, "a line that nobody reads, %0100d", i);
}

static unsigned count_lines(const char *s)
{
    unsigned n = 0;

    for (; (s = strchr(s, '\n')); s++)
        n++;
    return n;
}

/* What came and what is told to be missing are together what was written. */
static void check_lost(struct rig *r)
{
    unsigned came = 0, lost = 0;
    const char *told;

    log_many();
    for (size_t n = 1; n > 0;) {
        take(r, r->far, &n);
        came += count_lines(r->out);
    }
    log_line(LOG_INFO, "read again");
    told = taken(r);
    assert_int_equal(sscanf(told, "<4>%u log lines were lost: nobody read them in time\n", &lost), 1);
    assert_non_null(strstr(told, "\n<6>read again\n"));
    assert_int_equal(came + lost, MANY);
    assert_true(came > 0 && lost > 0);
}

static void test_full_pipe(void **state)
{
    struct rig *r = *state;

    use_pipe(r);
    check_lost(r);
    assert_int_equal(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0); /* it is not ours alone */
}

static void test_full_socket(void **state)
{
    struct rig *r = *state;

    use_socket(r);
    check_lost(r);
    assert_int_equal(fcntl(STDERR_FILENO, F_GETFL) & O_NONBLOCK, 0);
}

/* ---- the journal ---- */

static void test_entry(void **state)
{
    struct rig *r = *state;

    use_journal(r);
    log_warning("one %d", 1);
    assert_string_equal(taken_entry(r),
                        "MESSAGE=one 1\nPRIORITY=4\nSYSLOG_IDENTIFIER=imd\nIM_ACCOUNT=work\n");
    assert_string_equal(taken(r), "");
}

static void test_fields(void **state)
{
    struct rig *r = *state;
    int64_t code = -7;
    uid_t uid = 4294967294u;

    use_journal(r);
    log_event(&(struct log_event){.level = LOG_NOTICE,
                                  .id = LOG_LINK_CHANGED,
                                  .state = "waiting",
                                  .reason = "refused",
                                  .message_id = "id-1 and more",
                                  .message_id_len = 4,
                                  .code = &code,
                                  .client_uid = &uid},
              "text");
    assert_string_equal(taken_entry(r),
                        "MESSAGE=text\nPRIORITY=5\nSYSLOG_IDENTIFIER=imd\nIM_ACCOUNT=work\n"
                        "MESSAGE_ID=84ed112a3aab44e587b905387e6db4fa\nIM_STATE=waiting\n"
                        "IM_REASON=refused\nIM_MESSAGE_ID=id-1\nIM_CODE=-7\nIM_CLIENT_UID=4294967294\n");
}

/* A plain entry with a field; imd(8) has the numbers of the others. */
static void test_plain_event(void **state)
{
    struct rig *r = *state;
    uid_t uid = 0;

    use_journal(r);
    log_event(&(struct log_event){.level = LOG_INFO, .client_uid = &uid}, "text");
    assert_string_equal(
        taken_entry(r),
        "MESSAGE=text\nPRIORITY=6\nSYSLOG_IDENTIFIER=imd\nIM_ACCOUNT=work\nIM_CLIENT_UID=0\n");
}

static void test_numbers_in_the_manual(void **state)
{
#define UUID(id, uuid) uuid,
    static const char *const ids[] = {LOG_EVENTS(UUID)};
#undef UUID
    struct rig *r = *state;
    int fd = open(MANUAL_PAGE, O_RDONLY | O_CLOEXEC);

    take(r, fd, NULL);
    close(fd);
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        assert_non_null(strstr(r->out, ids[i]));
}

/* A value that would begin a field of its own is sent with its length. */
static void test_field_with_newline(void **state)
{
    static const char end[] = "IM_MESSAGE_ID\n\x0d\0\0\0\0\0\0\0a\nPRIORITY=0\n\n";
    struct rig *r = *state;
    size_t n;

    use_journal(r);
    log_event(&(struct log_event){.level = LOG_WARNING,
                                  .id = LOG_MESSAGE_NOT_DELIVERED,
                                  .message_id = "a\nPRIORITY=0\n",
                                  .message_id_len = 13},
              "a\nb");
    take(r, r->journal, &n);
    assert_memory_equal(r->out, "MESSAGE=a b\nPRIORITY=4\n", 23);
    assert_memory_equal(r->out + n - (sizeof(end) - 1), end, sizeof(end) - 1);
}

static void test_largest_entry(void **state)
{
    static char lengthy[2000], id[128];
    struct rig *r = *state;
    int64_t code = INT64_MIN;
    uid_t uid = (uid_t)-1;

    memset(lengthy, 'x', sizeof(lengthy) - 1);
    memset(id, '\n', sizeof(id));
    use_journal(r);
    log_init(lengthy, r->path.sun_path);
    log_event(&(struct log_event){.level = LOG_WARNING,
                                  .id = LOG_MESSAGE_NOT_DELIVERED,
                                  .state = "disconnected",
                                  .reason = "disconnect-signal",
                                  .message_id = id,
                                  .message_id_len = sizeof(id),
                                  .code = &code,
                                  .client_uid = &uid},
              "%s", lengthy);
    size_t n;
    take(r, r->journal, &n);
    assert_true(n > LOG_LINE_MAX);
    assert_string_equal(r->out + n - 25, "IM_CLIENT_UID=4294967295\n");
}

static void test_full_journal(void **state)
{
    struct rig *r = *state;
    unsigned came = 0, lost = 0;

    use_journal(r);
    log_many();
    while (*taken_entry(r))
        came++;
    log_line(LOG_INFO, "read again");
    assert_int_equal(sscanf(taken_entry(r), "MESSAGE=%u log lines were lost", &lost), 1);
    assert_int_equal(strncmp(taken_entry(r), "MESSAGE=read again\n", 19), 0);
    assert_int_equal(came + lost, MANY);
    assert_string_equal(taken(r), ""); /* its stream is full as well, then */
}

static void test_journal_that_is_gone(void **state)
{
    struct rig *r = *state;

    use_journal(r);
    unlink(r->path.sun_path);
    log_line(LOG_INFO, "to its stream");
    assert_string_equal(taken(r), "<6>to its stream\n");
}

static void test_stream_of_somebody_else(void **state)
{
    struct rig *r = *state;

    use_journal(r);
    close(r->far);
    use_pipe(r);
    log_line(LOG_INFO, "to the pipe");
    assert_string_equal(taken(r), "<6>to the pipe\n");
    assert_string_equal(taken_entry(r), "");
}

#define with_rig(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_rig(test_lines),
        with_rig(test_long_line),
        with_rig(test_what_peers_sent_is_harmless),
        with_rig(test_limit),
        with_rig(test_full_pipe),
        with_rig(test_full_socket),
        with_rig(test_entry),
        with_rig(test_fields),
        with_rig(test_plain_event),
        with_rig(test_numbers_in_the_manual),
        with_rig(test_field_with_newline),
        with_rig(test_largest_entry),
        with_rig(test_full_journal),
        with_rig(test_journal_that_is_gone),
        with_rig(test_stream_of_somebody_else),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
