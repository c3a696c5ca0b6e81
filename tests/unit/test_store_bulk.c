/*
 * store: large appends, whose lines are in files beside the database. They are told as all others are,
 * whatever happens to the files; the files take no more room than they may, and go when nothing is left of
 * them.
 */
#include "store_rig.h"
#include "event.h"
#include "store_vfs.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define LARGE 1000 /* events of an append that goes to a file */

static int heal_and_tear_down(void **state)
{
    store_vfs_heal();
    return rig_tear_down(state);
}

static void path_of(struct rig *r, char path[128], unsigned number)
{
    snprintf(path, 128, "%s/lines-%u", r->state, number);
}

static off_t size_of(struct rig *r, unsigned number)
{
    char path[128];
    struct stat s;

    path_of(r, path, number);
    return stat(path, &s) == 0 ? s.st_size : -1;
}

/* How many there are whose names begin so, and their bytes. */
static unsigned count_files(struct rig *r, const char *prefix, uint64_t *bytes)
{
    DIR *d = opendir(r->state);
    unsigned count = 0;
    struct stat s;

    *bytes = 0;
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));) {
        if (strncmp(e->d_name, prefix, strlen(prefix)) != 0)
            continue;
        if (fstatat(dirfd(d), e->d_name, &s, 0) < 0) { /* removed at this moment */
            assert_int_equal(errno, ENOENT);
            continue;
        }
        count++;
        assert_int_equal(s.st_mode & 0777, 0600);
        *bytes += (uint64_t)s.st_size;
    }
    closedir(d);
    return count;
}

static void restart(struct rig *r)
{
    uint64_t seq = r->seq;

    rig_stop(r);
    assert_int_equal(rig_start(r), 0);
    assert_int_equal(r->seq, seq);
}

static void check_told(struct rig *r, uint64_t wanted, unsigned wanted_gaps)
{
    unsigned gaps;

    assert_int_equal(rig_check_all(r, r->seq, &gaps), wanted);
    assert_int_equal(gaps, wanted_gaps);
}

static void fill(struct rig *r)
{
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(rig_append(r, LARGE, 1), ERROR_NONE);
        assert_int_equal(rig_append(r, 7, 1), ERROR_NONE);
    }
}

static void test_told(void **state)
{
    struct rig *r = *state;
    uint64_t bytes;

    assert_int_equal(rig_start(r), 0);
    fill(r);
    check_told(r, 5035, 0);
    assert_int_equal(count_files(r, "lines-", &bytes), 1);
    assert_true(bytes > 5000 * 200);
    restart(r);
    check_told(r, 5035, 0);
    fill(r); /* goes on in the same file */
    restart(r);
    check_told(r, 10070, 0);
    assert_int_equal(count_files(r, "lines-", &bytes), 1);
    assert_true(rig_report(r).bytes > bytes);
}

/* Blocks are of both kinds of segments, whether they were made from memory or from disk. */
static void test_searched(void **state)
{
    struct rig *r = *state;
    unsigned count;

    assert_int_equal(rig_start(r), 0);
    for (unsigned i = 0; i < 6; i++) {
        fill(r);
        if (i % 2)
            restart(r);
    }
    struct filter *f = rig_filter("user3", NULL, NULL);
    for (unsigned reverse = 0; reverse < 2; reverse++) {
        struct storage_read read = rig_read_of(0, r->seq);
        read.filter = f;
        read.gaps = false;
        read.reverse = reverse;
        free(rig_read_all(r, read, &count));
        assert_int_equal(count, r->seq / RIG_SENDERS);
    }
    free(f);
}

/* ---- damage ---- */

static void flip(struct rig *r, unsigned number, off_t at)
{
    char path[128], byte;

    path_of(r, path, number);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

/* A byte of a line, or of what is beside the lines: one segment is told as a GAP. */
static void test_flipped(void **state)
{
    struct rig *r = *state;
    unsigned gaps;

    assert_int_equal(rig_start(r), 0);
    fill(r);
    rig_stop(r);
    for (off_t at = 100, size = size_of(r, 1); at < size; at += 70001) {
        flip(r, 1, at);
        assert_int_equal(rig_start(r), 0);
        assert_int_equal(r->seq, 5035);
        uint64_t told = rig_check_all(r, r->seq, &gaps);
        assert_true(told == 5035 ? gaps == 0 : gaps == 1 && told > 4800);
        rig_stop(r);
        flip(r, 1, at);
    }
    assert_int_equal(rig_start(r), 0);
    check_told(r, 5035, 0);
}

static void test_cut_off(void **state)
{
    struct rig *r = *state;
    char path[128];
    unsigned gaps;

    assert_int_equal(rig_start(r), 0);
    fill(r);
    rig_stop(r);
    path_of(r, path, 1);
    assert_int_equal(truncate(path, size_of(r, 1) / 2), 0);
    assert_int_equal(rig_start(r), 0);
    assert_int_equal(r->seq, 5035);
    uint64_t told = rig_check_all(r, r->seq, &gaps);
    assert_true(told > 2000 && told < 3200);
    assert_int_equal(rig_append(r, LARGE, 1), ERROR_NONE);
    assert_int_equal(rig_check_all(r, r->seq, &gaps), told + LARGE);
}

static void test_missing(void **state)
{
    struct rig *r = *state;
    char path[128];

    assert_int_equal(rig_start(r), 0);
    fill(r);
    rig_stop(r);
    path_of(r, path, 1);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(rig_start(r), 0);
    assert_int_equal(r->seq, 5035);
    check_told(r, 35, 5);
    assert_int_equal(rig_append(r, LARGE, 1), ERROR_NONE);
    check_told(r, 35 + LARGE, 5);
}

/* With the database its files are set aside; the new one begins its own. */
static void test_set_aside(void **state)
{
    struct rig *r = *state;
    char path[128];
    uint64_t bytes;

    assert_int_equal(rig_start(r), 0);
    fill(r);
    rig_stop(r);
    snprintf(path, sizeof(path), "%s/imd.db", r->state);
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(rig_start(r), 0);
    assert_int_equal(count_files(r, "lines-1.corrupt-", &bytes), 1);
    assert_int_equal(rig_append(r, LARGE, 1), ERROR_NONE);
    check_told(r, LARGE, 1);
    assert_true(size_of(r, 1) > 0);
    rig_stop(r);
    assert_int_equal(rig_start(r), 0);
    assert_int_equal(count_files(r, "lines-1.corrupt-", &bytes), 1);
}

/* What is in no row goes; what has another name stays. */
static void test_orphans(void **state)
{
    static const struct {
        const char *name;
        bool stays;
    } files[] = {
        {"lines-2", false}, {"lines-77", false}, {"lines-1", true}, {"lines-1x", true}, {"lines-", true}};
    struct rig *r = *state;
    char path[128];

    assert_int_equal(rig_start(r), 0);
    fill(r);
    off_t size = size_of(r, 1);
    rig_stop(r);
    for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", r->state, files[i].name);
        int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        assert_int_equal(write(fd, "left by a crash", 15), 15);
        close(fd);
    }
    assert_int_equal(rig_start(r), 0);
    for (unsigned i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", r->state, files[i].name);
        assert_int_equal(access(path, F_OK) == 0, files[i].stays);
    }
    check_told(r, 5035, 0);
    assert_int_equal(rig_append(r, LARGE, 1), ERROR_NONE);
    check_told(r, 6035, 0);
    assert_true(size_of(r, 1) > size);
}

/* ---- retention ---- */

static void wait_for_pruned(struct rig *r, uint64_t oldest)
{
    struct storage_list company = {.request.op = STORAGE_LIST, .limit = 1};

    while (rig_report(r).oldest != 0 && rig_report(r).oldest < oldest)
        assert_int_equal(rig_do(r, &company.request), ERROR_NONE);
}

static void test_pruned_by_size(void **state)
{
    struct rig *r = *state;
    uint64_t bytes;
    unsigned gaps;

    r->options.history_max_bytes = 8 << 20;
    assert_int_equal(rig_start(r), 0);
    for (unsigned i = 0; i < 80; i++) { /* some 20 MB */
        assert_int_equal(rig_append(r, LARGE, 1), ERROR_NONE);
        count_files(r, "lines-", &bytes);
        assert_true(bytes < 10 << 20);
    }
    wait_for_pruned(r, 50000);
    assert_true(count_files(r, "lines-", &bytes) >= 8);
    assert_true(bytes <= 8 << 20);
    uint64_t told = rig_check_all(r, r->seq, &gaps);
    assert_true(told >= 20000);
    assert_int_equal(gaps, 1);
    assert_int_equal(rig_report(r).oldest, r->seq - told + 1);
    restart(r);
    check_told(r, told, 1);
}

static void test_pruned_by_age(void **state)
{
    struct rig *r = *state;
    int64_t now = rig_now(), day = 86400000;
    uint64_t bytes;

    r->options.history_max_age_ms = (uint64_t)day;
    assert_int_equal(rig_start(r), 0);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(rig_append(r, LARGE, now - 2 * day), ERROR_NONE);
    wait_for_pruned(r, UINT64_MAX);
    assert_int_equal(count_files(r, "lines-", &bytes), 0);
    assert_int_equal(rig_append(r, LARGE, now), ERROR_NONE);
    check_told(r, LARGE, 1);
    assert_int_equal(count_files(r, "lines-", &bytes), 1);
    restart(r);
    check_told(r, LARGE, 1);
}

/* ---- faults ---- */

/* Without a file there are rows. */
static void test_no_file(void **state)
{
    struct rig *r = *state;
    uint64_t bytes;

    assert_int_equal(rig_start(r), 0);
    store_vfs_fail(VFS_OPEN, SQLITE_CANTOPEN, 1, -1);
    assert_int_equal(rig_append(r, LARGE, 1), ERROR_NONE);
    assert_int_equal(rig_report(r).failures, 0);
    assert_true(store_vfs_failures() > 0);
    check_told(r, LARGE, 0);
    store_vfs_heal();
    assert_int_equal(rig_append(r, LARGE, 1), ERROR_NONE);
    count_files(r, "lines-", &bytes);
    assert_true(bytes > LARGE * 200 && bytes < 2 * LARGE * 200);
    check_told(r, 2 * LARGE, 0);
}

/* A file that cannot be opened now is told to who asks, and nothing else stops. */
static void test_unreadable(void **state)
{
    struct rig *r = *state;
    struct storage_read read;

    assert_int_equal(rig_start(r), 0);
    fill(r);
    restart(r);
    store_vfs_fail(VFS_OPEN, SQLITE_CANTOPEN, 1, -1);
    read = rig_read_of(0, r->seq);
    assert_int_equal(rig_do(r, &read.request), ERROR_STORAGE);
    assert_int_equal(rig_append(r, 5, 1), ERROR_NONE);
    assert_false(rig_report(r).failed);
    store_vfs_heal();
    check_told(r, 5040, 0);
}

static void test_anything(void **state)
{
    static const struct {
        enum store_vfs_call call;
        int rc;
    } faults[] = {
        {VFS_OPEN, SQLITE_CANTOPEN},           {VFS_READ, SQLITE_IOERR_READ},  {VFS_WRITE, SQLITE_FULL},
        {VFS_WRITE, SQLITE_IOERR_WRITE},       {VFS_SYNC, SQLITE_IOERR_FSYNC}, {VFS_WRITE, SQLITE_NOMEM},
        {VFS_TRUNCATE, SQLITE_IOERR_TRUNCATE},
    };
    struct rig *r = *state;
    struct rig_batch *batches[4];
    unsigned count = sizeof(faults) / sizeof(faults[0]);
    uint64_t bytes;

    srand(4712);
    r->options.history_max_bytes = 32 << 20;
    assert_int_equal(rig_start(r), 0);
    for (unsigned round = 0; round < 100; round++) {
        unsigned n = (unsigned)rand() % count;
        store_vfs_fail(faults[n].call, faults[n].rc, 1 + rand() % 20, 1 + rand() % 30);
        for (unsigned i = 0; i < 4; i++)
            batches[i] = rig_post_append(r, 1 + (unsigned)rand() % (2 * LARGE), 1);
        usleep((unsigned)rand() % 20000);
        store_vfs_heal();
        for (unsigned i = 0; i < 4; i++)
            assert_int_equal(rig_wait_append(r, batches[i]), ERROR_NONE);
        while (rig_report(r).failed)
            rig_turn(r);
    }
    assert_int_equal(rig_report(r).lost, 0);
    r->options.history_max_bytes = 0; /* no more goes */
    restart(r);
    uint64_t oldest = rig_report(r).oldest;
    check_told(r, r->seq + 1 - oldest, oldest > 1);
    restart(r);
    check_told(r, r->seq + 1 - oldest, oldest > 1);
    count_files(r, "lines-", &bytes);
    assert_true(bytes <= 40 << 20);
}

/* ---- crashes ---- */

static void work_until_killed(struct rig *r, int to)
{
    struct loop *l = NULL;

    if (loop_new(&l) < 0)
        _exit(1);
    r->loop = l;
    if (rig_start(r) < 0)
        _exit(2);
    struct storage_reserve reserve = {.request.op = STORAGE_RESERVE, .through = r->seq + 1000000};
    if (rig_do(r, &reserve.request) != ERROR_NONE)
        _exit(3);
    for (unsigned i = 0;; i++)
        if (rig_append(r, i % 3 ? LARGE + i : 1 + i % 50, 1) != ERROR_NONE ||
            write(to, &r->seq, sizeof(r->seq)) != sizeof(r->seq))
            _exit(4);
}

static uint64_t crash_after(struct rig *r, unsigned appends)
{
    uint64_t told = 0;
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        work_until_killed(r, ends[1]);
    }
    close(ends[1]);
    for (unsigned i = 0; i < appends; i++)
        assert_int_equal(read(ends[0], &told, sizeof(told)), sizeof(told));
    usleep(appends * 137 % 1000);
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    while (read(ends[0], &told, sizeof(told)) == sizeof(told))
        ;
    close(ends[0]);
    return told;
}

/* All that was answered is there: nothing but the numbers that were reserved is missing. */
static void test_crash(void **state)
{
    struct rig *r = *state;
    uint64_t before = 0, told_before = 0;
    unsigned gaps;

    for (unsigned round = 1; round <= 8; round++) {
        uint64_t last = crash_after(r, round * 5);
        assert_int_equal(rig_start(r), 0);
        uint64_t told = rig_check_all(r, r->seq, &gaps);
        assert_int_equal(gaps, round);
        assert_true(told - told_before >= last - before);
        before = r->seq;
        told_before = told;
        rig_stop(r);
    }
}

/* ---- the version before ---- */

static void test_migrated(void **state)
{
    struct rig *r = *state;

    assert_int_equal(rig_start(r), 0);
    for (unsigned i = 0; i < 50; i++)
        assert_int_equal(rig_append(r, 100, 1), ERROR_NONE);
    rig_stop(r);
    rig_execute(r, "DROP TABLE line_file; PRAGMA user_version = 1");
    assert_int_equal(rig_start(r), 0);
    check_told(r, 5000, 0);
    assert_int_equal(rig_append(r, LARGE, 1), ERROR_NONE);
    restart(r);
    check_told(r, 5000 + LARGE, 0);
}

#define with_rig(f) cmocka_unit_test_setup_teardown(f, rig_set_up, heal_and_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_rig(test_told),    with_rig(test_searched),       with_rig(test_flipped),
        with_rig(test_cut_off), with_rig(test_missing),        with_rig(test_set_aside),
        with_rig(test_orphans), with_rig(test_pruned_by_size), with_rig(test_pruned_by_age),
        with_rig(test_no_file), with_rig(test_unreadable),     with_rig(test_anything),
        with_rig(test_crash),   with_rig(test_migrated),
    };

    store_vfs_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
