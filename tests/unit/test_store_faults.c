/*
 * store: a disk that is full, fails, or may not be written. What was answered is true; what must not be lost
 * waits and is written when that works again; all that goes on goes on.
 */
#include "store_rig.h"
#include "event.h"
#include "store_vfs.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEVER INT64_MAX

static int heal_and_tear_down(void **state)
{
    store_vfs_heal();
    return rig_tear_down(state);
}

static void wait_for_health(struct rig *r)
{
    while (rig_report(r).failed)
        rig_turn(r);
}

static void count_told(struct rig *r, uint64_t wanted, unsigned wanted_gaps)
{
    unsigned gaps;

    assert_int_equal(rig_check_all(r, r->seq, &gaps), wanted);
    assert_int_equal(gaps, wanted_gaps);
}

static unsigned listed(struct rig *r)
{
    struct storage_list l = {.request.op = STORAGE_LIST, .limit = 100000};

    assert_int_equal(rig_do(r, &l.request), ERROR_NONE);
    free(l.entries);
    return l.count;
}

/* ---- one kind of fault after the other ---- */

static const struct {
    const char *name;
    enum store_vfs_call call;
    int rc;
} kinds[] = {
    {"full", VFS_WRITE, SQLITE_FULL},        {"write", VFS_WRITE, SQLITE_IOERR_WRITE},
    {"fsync", VFS_SYNC, SQLITE_IOERR_FSYNC}, {"read-only", VFS_WRITE, SQLITE_READONLY},
    {"denied", VFS_WRITE, SQLITE_PERM},      {"no memory", VFS_WRITE, SQLITE_NOMEM},
    {"busy", VFS_WRITE, SQLITE_BUSY},
};

/* A batch and a message while nothing can be written: the batch waits and is read all the same, the message
 * is refused, and both stay true. */
static void fail_once(struct rig *r, enum store_vfs_call call, int rc, unsigned *messages)
{
    uint64_t before = r->seq;
    char id[32];

    snprintf(id, sizeof(id), "during%d-%u", rc, *messages);
    store_vfs_fail(call, rc, 1, -1);
    struct rig_batch *b = rig_post_append(r, 20, 1);
    assert_int_equal(rig_queue(r, id, NEVER, NULL), ERROR_STORAGE);
    assert_true(rig_report(r).failed);
    assert_true(rig_report(r).detail[0] != '\0');
    assert_true(store_vfs_failures() > 0);
    assert_int_equal(rig_check_all(r, r->seq, NULL), before + 20);
    store_vfs_heal();
    assert_int_equal(rig_wait_append(r, b), ERROR_NONE);
    wait_for_health(r);
    assert_int_equal(listed(r), *messages); /* what was refused is not there, whatever became of its commit */
    assert_int_equal(rig_queue(r, id, NEVER, NULL), ERROR_NONE);
    ++*messages;
    assert_int_equal(listed(r), *messages);
    assert_int_equal(rig_report(r).lost, 0);
    count_told(r, before + 20, 0);
}

static void test_each_fault(void **state)
{
    struct rig *r = *state;
    unsigned messages = 0;

    assert_int_equal(rig_start(r), 0);
    assert_int_equal(rig_append(r, 10, 1), ERROR_NONE);
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        unsigned changed = r->changed;
        fail_once(r, kinds[i].call, kinds[i].rc, &messages);
        while (r->changed < changed + 2) /* both edges */
            rig_turn(r);
    }
    uint64_t told = r->seq;
    rig_stop(r);
    assert_int_equal(rig_start(r), 0);
    assert_int_equal(r->seq, told);
    count_told(r, told, 0);
    assert_int_equal(listed(r), messages);
}

/* It begins while the disk does not: numbers begin at the time of day, and what is missing between is told
 * later. */
static void test_fails_at_start(void **state)
{
    struct rig *r = *state;
    unsigned gaps;

    assert_int_equal(rig_start(r), 0);
    assert_int_equal(rig_append(r, 10, 1), ERROR_NONE);
    rig_stop(r);
    store_vfs_fail(VFS_OPEN, SQLITE_CANTOPEN, 1, -1);
    uint64_t before = (uint64_t)rig_now();
    assert_int_equal(rig_start(r), 0);
    assert_true(r->seq >= before);
    assert_true(rig_report(r).failed);
    uint64_t base = r->seq;
    assert_int_equal(rig_queue(r, "a", NEVER, NULL), ERROR_STORAGE);
    struct storage_read read = rig_read_of(0, r->seq);
    assert_int_equal(rig_do(r, &read.request), ERROR_STORAGE);
    struct rig_batch *b = rig_post_append(r, 10, 1);
    store_vfs_heal();
    assert_int_equal(rig_wait_append(r, b), ERROR_NONE);
    assert_int_equal(rig_check_all(r, r->seq, &gaps), 20);
    assert_int_equal(gaps, 1);
    unsigned count;
    char *line = rig_read_all(r, rig_read_of(base - 5, base), &count);
    assert_non_null(strstr(line, "\"reason\":\"storage\""));
    free(line);
}

static void test_read_only_at_start(void **state)
{
    struct rig *r = *state;
    unsigned gaps;

    assert_int_equal(rig_start(r), 0);
    assert_int_equal(rig_append(r, 10, 1), ERROR_NONE);
    assert_int_equal(rig_queue(r, "a", NEVER, NULL), ERROR_NONE);
    rig_stop(r);
    store_vfs_fail(VFS_WRITE, SQLITE_FULL, 1, -1); /* can be read, cannot be marked as begun */
    assert_int_equal(rig_start(r), 0);
    assert_true(rig_report(r).failed);
    assert_int_equal(rig_check_all(r, r->seq, &gaps), 10);
    struct storage_take t = {
        .request.op = STORAGE_TAKE, .limit = 10, .max_bytes = 1 << 20, .now_ms = rig_now()};
    assert_int_equal(rig_do(r, &t.request), ERROR_NONE);
    assert_int_equal(t.count, 1); /* it is sent all the same */
    struct storage_finish f = {.request.op = STORAGE_FINISH, .entry = t.messages[0].entry};
    f.entry.state = OUTBOX_ACKED;
    free(t.block);
    store_vfs_heal();
    assert_int_equal(rig_do(r, &f.request), ERROR_NONE);
    wait_for_health(r);
    assert_int_equal(rig_report(r).queued, 0);
    rig_append(r, 3, 1);
    assert_int_equal(rig_check_all(r, r->seq, &gaps), 13);
    assert_int_equal(gaps, 1);
}

/* More than can be kept: the oldest are given up, and told as one GAP. */
static void test_gives_up(void **state)
{
    struct rig *r = *state;
    struct rig_batch *batches[30];
    unsigned lost = 0, gaps;

    assert_int_equal(rig_start(r), 0);
    assert_int_equal(rig_append(r, 10, 1), ERROR_NONE);
    store_vfs_fail(VFS_WRITE, SQLITE_FULL, 1, -1);
    for (unsigned i = 0; i < 30; i++) {
        batches[i] = rig_post_append(r, 10, 1);
        assert_int_equal(rig_queue(r, "a", NEVER, NULL), ERROR_STORAGE);
    }
    assert_int_equal(rig_report(r).lost, 140);
    assert_int_equal(rig_check_all(r, r->seq, &gaps), 170); /* those that are kept can be read */
    store_vfs_heal();
    for (unsigned i = 0; i < 30; i++)
        lost += rig_wait_append(r, batches[i]) == ERROR_STORAGE;
    assert_int_equal(lost, 14);
    count_told(r, 170, 1);
    rig_stop(r);
    assert_int_equal(rig_start(r), 0);
    assert_int_equal(r->seq, 310);
    count_told(r, 170, 1);
}

/* It ends while nothing can be written: all are answered, and the next start tells what is missing. */
static void test_fails_at_end(void **state)
{
    struct rig *r = *state;

    assert_int_equal(rig_start(r), 0);
    struct storage_reserve reserve = {.request.op = STORAGE_RESERVE, .through = 1000};
    assert_int_equal(rig_do(r, &reserve.request), ERROR_NONE);
    assert_int_equal(rig_append(r, 10, 1), ERROR_NONE);
    store_vfs_fail(VFS_SYNC, SQLITE_IOERR_FSYNC, 1, -1);
    store_vfs_fail(VFS_WRITE, SQLITE_IOERR_WRITE, 1, -1);
    struct rig_batch *b = rig_post_append(r, 10, 1);
    rig_stop(r);
    store_vfs_heal();
    assert_int_equal(rig_start(r), 0);
    assert_int_equal(r->seq, 1000);
    count_told(r, 10, 1);
    assert_int_equal(rig_wait_append(r, b), ERROR_STORAGE);
}

/* Any call may fail at any time: each round another one, for a while. */
static void test_anything(void **state)
{
    static const struct {
        enum store_vfs_call call;
        int rc;
    } faults[] = {
        {VFS_OPEN, SQLITE_CANTOPEN},     {VFS_READ, SQLITE_IOERR_READ},         {VFS_WRITE, SQLITE_FULL},
        {VFS_WRITE, SQLITE_IOERR_WRITE}, {VFS_SYNC, SQLITE_IOERR_FSYNC},        {VFS_LOCK, SQLITE_BUSY},
        {VFS_LOCK, SQLITE_IOERR_LOCK},   {VFS_TRUNCATE, SQLITE_IOERR_TRUNCATE},
    };
    struct rig *r = *state;
    struct rig_batch *batches[4];
    unsigned accepted = 0, count = sizeof(faults) / sizeof(faults[0]);
    char id[16];

    srand(4711);
    assert_int_equal(rig_start(r), 0);
    for (unsigned round = 0; round < 200; round++) {
        unsigned n = (unsigned)rand() % count;
        store_vfs_fail(faults[n].call, faults[n].rc, 1 + rand() % 20, 1 + rand() % 30);
        for (unsigned i = 0; i < 4; i++) {
            batches[i] = rig_post_append(r, 1 + (unsigned)rand() % 30, 1);
            snprintf(id, sizeof(id), "%u-%u", round, i);
            accepted += rig_queue(r, id, NEVER, NULL) == ERROR_NONE;
        }
        store_vfs_heal();
        for (unsigned i = 0; i < 4; i++)
            assert_int_equal(rig_wait_append(r, batches[i]), ERROR_NONE);
        r->options.outbox_max = 100000;
        store_configure(r->store, &r->options);
        wait_for_health(r);
        assert_int_equal(listed(r), accepted);
    }
    count_told(r, r->seq, 0);
    rig_stop(r);
    assert_int_equal(rig_start(r), 0);
    count_told(r, r->seq, 0);
    assert_int_equal(listed(r), accepted);
}

/* ---- real disks ---- */

static bool mount_small(struct rig *r, const char *options)
{
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", r->folder, "tmpfs", 0, options) < 0) {
        print_message("skipped: no right to mount (%s)\n", strerror(errno));
        return false;
    }
    return true;
}

static void fill_disk(struct rig *r, const char *name)
{
    char path[128], zeros[4096] = "";

    snprintf(path, sizeof(path), "%s/%s", r->folder, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    while (write(fd, zeros, sizeof(zeros)) > 0)
        ;
    assert_int_equal(errno, ENOSPC);
    close(fd);
}

static void empty_disk(struct rig *r, const char *name)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/%s", r->folder, name);
    assert_int_equal(unlink(path), 0);
}

static void test_full_disk(void **state)
{
    struct rig *r = *state;
    unsigned messages = 0;
    char id[32];

    if (!mount_small(r, "size=2m"))
        skip();
    assert_int_equal(rig_start(r), 0);
    assert_int_equal(rig_append(r, 10, 1), ERROR_NONE);
    for (unsigned round = 0; round < 3; round++) {
        fill_disk(r, "ballast");
        struct rig_batch *b = rig_post_append(r, 200, 1);
        enum error e;
        do {
            snprintf(id, sizeof(id), "m%u", messages);
            e = rig_queue(r, id, NEVER, NULL);
            messages += e == ERROR_NONE;
        } while (e == ERROR_NONE);
        assert_int_equal(e, ERROR_STORAGE);
        assert_true(rig_report(r).failed);
        assert_int_equal(rig_check_all(r, r->seq, NULL), r->seq);
        assert_int_equal(listed(r), messages);
        empty_disk(r, "ballast");
        assert_int_equal(rig_wait_append(r, b), ERROR_NONE);
        wait_for_health(r);
    }
    count_told(r, r->seq, 0);
    rig_stop(r);
    umount2(r->folder, MNT_DETACH);
}

static void test_full_disk_at_start(void **state)
{
    struct rig *r = *state;

    if (!mount_small(r, "size=1m"))
        skip();
    fill_disk(r, "ballast");
    assert_int_equal(rig_start(r), 0);
    assert_true(rig_report(r).failed);
    assert_int_equal(rig_queue(r, "a", NEVER, NULL), ERROR_STORAGE);
    empty_disk(r, "ballast");
    wait_for_health(r);
    assert_int_equal(rig_queue(r, "a", NEVER, NULL), ERROR_NONE);
    rig_stop(r);
    umount2(r->folder, MNT_DETACH);
}

static void test_read_only_folder(void **state)
{
    struct rig *r = *state;

    if (!mount_small(r, "size=4m"))
        skip();
    assert_int_equal(rig_start(r), 0);
    assert_int_equal(rig_append(r, 10, 1), ERROR_NONE);
    rig_stop(r);
    assert_int_equal(mount(NULL, r->folder, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
    assert_int_equal(rig_start(r), 0); /* the lock cannot be taken: nothing is opened */
    assert_true(rig_report(r).failed);
    assert_int_equal(rig_queue(r, "a", NEVER, NULL), ERROR_STORAGE);
    struct rig_batch *b = rig_post_append(r, 10, 1);
    assert_int_equal(mount(NULL, r->folder, NULL, MS_REMOUNT, NULL), 0);
    assert_int_equal(rig_wait_append(r, b), ERROR_NONE);
    wait_for_health(r);
    assert_int_equal(rig_check_all(r, r->seq, NULL), 20);
    rig_stop(r);
    umount2(r->folder, MNT_DETACH);
}

#define with_rig(f) cmocka_unit_test_setup_teardown(f, rig_set_up, heal_and_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_rig(test_each_fault), with_rig(test_fails_at_start),     with_rig(test_read_only_at_start),
        with_rig(test_gives_up),   with_rig(test_fails_at_end),       with_rig(test_anything),
        with_rig(test_full_disk),  with_rig(test_full_disk_at_start), with_rig(test_read_only_folder),
    };

    store_vfs_install();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
