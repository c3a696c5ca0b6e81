/* fdstore: what the service manager is told, byte by byte, in order, also when it does not read for a while.
 */
#include "fdstore.h"

#include "loop.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-event.h>
#include <unistd.h>

struct manager {
    char folder[64], path[96];
    int fd;
    struct loop *loop;
    struct fdstore *store;
};

static int setup(void **state)
{
    struct manager *m = calloc(1, sizeof *m);
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    strcpy(m->folder, "/tmp/imd-fdstore-XXXXXX");
    assert_non_null(mkdtemp(m->folder));
    snprintf(m->path, sizeof m->path, "%s/notify", m->folder);
    strcpy(a.sun_path, m->path);
    m->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(m->fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(loop_new(&m->loop), 0);
    assert_int_equal(fdstore_new(&m->store, m->loop, m->path), 0);
    *state = m;
    return 0;
}

static int teardown(void **state)
{
    struct manager *m = *state;

    fdstore_free(m->store);
    loop_free(m->loop);
    close(m->fd);
    unlink(m->path);
    rmdir(m->folder);
    free(m);
    return 0;
}

/* The descriptor that came with it, or -1; -2: nothing was said. */
static int hear(const struct manager *m, char *text, size_t size)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))];
    struct iovec v = {text, size - 1};
    struct msghdr h = {
        .msg_iov = &v, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
    ssize_t n = recvmsg(m->fd, &h, 0);
    int fd = -1;

    if (n < 0)
        return -2;
    text[n] = '\0';
    if (CMSG_FIRSTHDR(&h))
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&h)), sizeof fd);
    return fd;
}

static void assert_removed(const struct manager *m, const char *name)
{
    char text[200], wanted[200];

    snprintf(wanted, sizeof wanted, "FDSTOREREMOVE=1\nFDNAME=%s\n", name);
    assert_int_equal(hear(m, text, sizeof text), -1);
    assert_string_equal(text, wanted);
}

static void assert_put(const struct manager *m, int fd, const char *name)
{
    char text[200], wanted[200];
    struct stat ours, theirs;
    int got = hear(m, text, sizeof text);

    snprintf(wanted, sizeof wanted, "FDSTORE=1\nFDPOLL=0\nFDNAME=%s\n", name);
    assert_true(got >= 0);
    assert_string_equal(text, wanted);
    assert_int_equal(fstat(fd, &ours), 0);
    assert_int_equal(fstat(got, &theirs), 0);
    assert_int_equal(ours.st_ino, theirs.st_ino);
    close(got);
}

static void assert_silent(const struct manager *m)
{
    char text[200];

    assert_int_equal(hear(m, text, sizeof text), -2);
}

static void test_put_and_remove(void **state)
{
    struct manager *m = *state;
    int fds[2];

    assert_int_equal(pipe(fds), 0);
    assert_int_equal(fdstore_put(m->store, fds[0], "a"), 0);
    assert_int_equal(fdstore_put(m->store, fds[1], "b"), 0);
    fdstore_remove(m->store, "a");
    assert_put(m, fds[0], "a");
    assert_put(m, fds[1], "b");
    assert_removed(m, "a");
    assert_silent(m);
    close(fds[0]);
    close(fds[1]);
}

static int stop(sd_event_source *s, uint64_t usec, void *loop)
{
    loop_stop(loop);
    return 0;
}

/* Turns of the loop, in which what waits goes as it can. */
static void turn(struct manager *m)
{
    assert_true(sd_event_add_time(loop_event(m->loop), NULL, CLOCK_BOOTTIME, 0, 0, stop, m->loop) >= 0);
    assert_int_equal(loop_run(m->loop), 0);
}

static void test_a_manager_that_does_not_read_holds_up_nobody(void **state)
{
    struct manager *m = *state;
    int fd = dup(0);
    char name[FDSTORE_NAME_MAX];

    for (unsigned n = 0; n < 2000; n++) { /* more than any queue of datagrams holds */
        snprintf(name, sizeof name, "n%u", n);
        assert_int_equal(fdstore_put(m->store, fd, name), 0);
    }
    fdstore_remove(m->store, "n1999"); /* waits: is not even said */
    fdstore_remove(m->store, "n0");    /* was said: follows */
    for (unsigned i = 0; i < 1999; i++) {
        snprintf(name, sizeof name, "n%u", i);
        assert_put(m, fd, name);
        turn(m);
    }
    assert_removed(m, "n0");
    assert_silent(m);
    close(fd);
}

static void test_the_end_waits_for_the_manager(void **state)
{
    struct manager *m = *state;
    char name[FDSTORE_NAME_MAX], text[200];
    unsigned heard = 0;
    int fd = dup(0), got;

    for (unsigned n = 0; n < 2000; n++) {
        snprintf(name, sizeof name, "n%u", n);
        assert_int_equal(fdstore_put(m->store, fd, name), 0);
    }
    fdstore_finish(m->store, 10); /* nobody reads: it gives up */
    while ((got = hear(m, text, sizeof text)) >= 0) {
        close(got);
        heard++;
        fdstore_finish(m->store, 0);
    }
    assert_int_equal(heard, 2000);
    close(fd);
}

static void test_addresses(void **state)
{
    struct manager *m = *state;
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct fdstore *s = NULL;
    char name[64];
    socklen_t len;
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    struct manager other = {.fd = fd};

    snprintf(name, sizeof name, "@imd-test-%d", (int)getpid());
    memcpy(a.sun_path + 1, name + 1, strlen(name) - 1);
    len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(name));
    assert_int_equal(bind(fd, (struct sockaddr *)&a, len), 0);
    assert_int_equal(fdstore_new(&s, m->loop, name), 0);
    fdstore_remove(s, "x");
    assert_removed(&other, "x");
    fdstore_free(s);
    close(fd);
    assert_int_equal(fdstore_new(&s, m->loop, "vsock:2:1"), -EINVAL);
    assert_int_equal(fdstore_new(&s, m->loop, ""), -EINVAL);
    assert_int_equal(fdstore_new(&s, m->loop, "/nowhere/at/all"), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_put_and_remove, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_manager_that_does_not_read_holds_up_nobody, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_end_waits_for_the_manager, setup, teardown),
        cmocka_unit_test_setup_teardown(test_addresses, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
