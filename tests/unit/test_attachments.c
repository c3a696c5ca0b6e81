/*
 * attachments: the folder by itself, then through the store. What is in a file is exactly what came, by no
 * other name than its hash; the bound holds; of what else lies there nothing is touched.
 */
#include "attachments.h"
#include "loop.h"
#include "store_rig.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define KIB ((size_t)1024)

/* The folder under test is `attachments` in the rig's own. */
struct world {
    struct rig *rig;
    struct attachments a;
    struct storage_bin bins[STORAGE_BINS_MAX];
    struct storage_attach request;
    char path[160];
};

static int set_up(void **state)
{
    struct world *w = calloc(1, sizeof *w);
    void *rig;

    if (rig_set_up(&rig) < 0)
        return -1;
    w->rig = rig;
    *state = w;
    return attachments_init(&w->a, w->rig->folder, 1 << 20);
}

static int tear_down(void **state)
{
    struct world *w = *state;
    void *rig = w->rig;

    attachments_deinit(&w->a);
    free(w);
    return rig_tear_down(&rig);
}

/* A new start of the same folder. */
static void restart(struct world *w, uint64_t max)
{
    attachments_deinit(&w->a);
    assert_int_equal(attachments_init(&w->a, w->rig->folder, max), 0);
    attachments_trim(&w->a);
}

static const char *in_folder(struct world *w, const char *name)
{
    snprintf(w->path, sizeof w->path, "%s/attachments/%s", w->rig->folder, name);
    return w->path;
}

static bool exists(struct world *w, const char *name)
{
    struct stat s;

    return lstat(in_folder(w, name), &s) == 0;
}

static unsigned count(struct world *w)
{
    DIR *d = opendir(in_folder(w, ""));
    struct dirent *e;
    unsigned n = 0;

    while (d && (e = readdir(d)))
        n += e->d_name[0] != '.';
    if (d)
        closedir(d);
    return n;
}

static enum error store_bytes(struct world *w, const void *bytes, size_t len)
{
    w->bins[0] = (struct storage_bin){.at = 0, .len = len};
    w->request = (struct storage_attach){.bytes = bytes, .bins = w->bins, .count = 1};
    attachments_store(&w->a, &w->request);
    return w->request.request.error;
}

/* A file of this length, full of this byte; its name. */
static const char *store_of(struct world *w, int byte, size_t len)
{
    static char names[8][65];
    static unsigned next;
    char *name = names[next++ % 8];
    uint8_t *bytes = malloc(len);

    memset(bytes, byte, len);
    assert_int_equal(store_bytes(w, bytes, len), ERROR_NONE);
    assert_true(w->bins[0].stored);
    free(bytes);
    return memcpy(name, w->bins[0].sha256, 65);
}

static void assert_content(struct world *w, const char *name, const void *bytes, size_t len)
{
    char *found = calloc(1, len + 2);
    FILE *f = fopen(in_folder(w, name), "rb");

    assert_non_null(f);
    assert_int_equal(fread(found, 1, len + 1, f), len);
    assert_memory_equal(found, bytes, len);
    fclose(f);
    free(found);
}

static void make_file(struct world *w, const char *name, const char *text)
{
    FILE *f = fopen(in_folder(w, name), "w");

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* Seconds since 1970: so a test need not wait for the clock. */
static void set_age(struct world *w, const char *name, time_t changed)
{
    struct timespec t[2] = {{.tv_sec = changed}, {.tv_sec = changed}};

    assert_int_equal(utimensat(AT_FDCWD, in_folder(w, name), t, AT_SYMLINK_NOFOLLOW), 0);
}

static unsigned mode_of(struct world *w, const char *name)
{
    struct stat s;

    assert_int_equal(stat(in_folder(w, name), &s), 0);
    return s.st_mode & 07777;
}

/* ---- what is written ---- */

#define ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" /* FIPS 180-2 */
#define NOTHING "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void test_content_name_and_mode(void **state)
{
    struct world *w = *state;
    mode_t before = umask(077);

    assert_int_equal(store_bytes(w, "abc", 3), ERROR_NONE);
    umask(before);
    assert_string_equal(w->bins[0].sha256, ABC);
    assert_string_equal(w->request.folder, w->a.path);
    assert_string_equal(w->request.detail, "");
    assert_content(w, ABC, "abc", 3);
    assert_int_equal(mode_of(w, ""), 0750);
    assert_int_equal(mode_of(w, ABC), 0640);
    assert_int_equal(store_bytes(w, "", 0), ERROR_NONE);
    assert_content(w, NOTHING, "", 0);
    assert_int_equal(count(w), 2);
    assert_int_equal(w->a.total, 2 * 4096);
    assert_int_equal(w->a.written, 2);
}

static void test_several_of_one_message(void **state)
{
    struct world *w = *state;

    w->bins[0] = (struct storage_bin){.at = 1, .len = 3};
    w->bins[1] = (struct storage_bin){.at = 5, .len = 4};
    w->bins[2] = (struct storage_bin){.at = 9, .len = 3};
    w->request =
        (struct storage_attach){.bytes = (const uint8_t *)"-abc-wxyzabc", .bins = w->bins, .count = 3};
    attachments_store(&w->a, &w->request);
    assert_int_equal(w->request.request.error, ERROR_NONE);
    assert_string_equal(w->bins[0].sha256, ABC);
    assert_string_equal(w->bins[2].sha256, ABC);
    assert_content(w, w->bins[1].sha256, "wxyz", 4);
    assert_int_equal(count(w), 2);
}

static void test_a_large_one_is_exact(void **state)
{
    struct world *w = *state;
    size_t len = 3000001;
    uint8_t *bytes = malloc(len);

    for (size_t i = 0; i < len; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251);
    w->a.max = 4 << 20;
    assert_int_equal(store_bytes(w, bytes, len), ERROR_NONE);
    assert_content(w, w->bins[0].sha256, bytes, len);
    free(bytes);
}

static void test_the_same_is_not_written_again(void **state)
{
    struct world *w = *state;
    struct stat before, after;

    store_bytes(w, "abc", 3);
    set_age(w, ABC, 1000);
    assert_int_equal(stat(in_folder(w, ABC), &before), 0);
    assert_int_equal(store_bytes(w, "abc", 3), ERROR_NONE);
    assert_true(w->bins[0].stored);
    assert_int_equal(stat(in_folder(w, ABC), &after), 0);
    assert_int_equal(after.st_ino, before.st_ino);
    assert_true(after.st_mtime > 1000000);
    assert_int_equal(w->a.written, 1);
    assert_int_equal(w->a.total, 4096);
}

static void test_a_damaged_file_is_replaced(void **state)
{
    struct world *w = *state;

    store_of(w, 'x', 10);
    make_file(w, ABC, "not what its name says");
    restart(w, 1 << 20);
    assert_int_equal(w->a.total, 2 * 4096);
    assert_int_equal(store_bytes(w, "abc", 3), ERROR_NONE);
    assert_content(w, ABC, "abc", 3);
    assert_int_equal(w->a.total, 2 * 4096);
}

/* ---- the bound ---- */

static void test_the_oldest_go_first(void **state)
{
    struct world *w = *state;
    const char *names[5];

    for (int i = 0; i < 4; i++) {
        names[i] = store_of(w, i, 256 * KIB);
        set_age(w, names[i], 1000 + (i ^ 1)); /* 1, 0, 3, 2 */
    }
    assert_int_equal(w->a.total, 1 << 20);
    restart(w, 1 << 20);
    assert_int_equal(w->a.total, 1 << 20);
    store_of(w, 0, 256 * KIB); /* there, and young again */
    assert_int_equal(w->a.evicted, 0);
    names[4] = store_of(w, 4, 100);
    assert_false(exists(w, names[1]));
    assert_true(exists(w, names[0]) && exists(w, names[3]) && exists(w, names[2]) && exists(w, names[4]));
    store_of(w, 5, 400 * KIB);
    assert_false(exists(w, names[3]));
    assert_true(exists(w, names[0]) && exists(w, names[2]));
    assert_int_equal(w->a.evicted, 2);
    assert_int_equal(w->a.total, 2 * 256 * KIB + 4096 + 400 * KIB);
}

static void test_a_smaller_bound(void **state)
{
    struct world *w = *state;
    const char *old = store_of(w, 1, 256 * KIB), *young = store_of(w, 2, 256 * KIB);

    set_age(w, old, 1000);
    w->a.max = 300 * KIB;
    attachments_trim(&w->a);
    assert_false(exists(w, old));
    assert_true(exists(w, young));
    restart(w, 0);
    assert_int_equal(count(w), 0);
}

/* Small ones too: each takes a block. */
static void test_many(void **state)
{
    struct world *w = *state;
    char text[16];

    for (int i = 0; i < 3000; i++) {
        snprintf(text, sizeof text, "%d", i);
        assert_int_equal(store_bytes(w, text, strlen(text)), ERROR_NONE);
    }
    assert_int_equal(count(w), (1 << 20) / 4096);
    assert_int_equal(w->a.evicted, 3000 - (1 << 20) / 4096);
    assert_int_equal(w->a.total, 1 << 20);
}

static void test_what_is_too_large_stays_out(void **state)
{
    struct world *w = *state;
    const char *there = store_of(w, 1, 256 * KIB);
    uint8_t *bytes = calloc(1, 2 << 20);

    bytes[0] = 1;
    w->bins[0] = (struct storage_bin){.at = 0, .len = 600 * KIB};
    w->bins[1] = (struct storage_bin){.at = 1, .len = 600 * KIB};
    w->bins[2] = (struct storage_bin){.at = 2, .len = 100 * KIB};
    w->request = (struct storage_attach){.bytes = bytes, .bins = w->bins, .count = 3};
    attachments_store(&w->a, &w->request);
    assert_int_equal(w->request.request.error, ERROR_STORAGE);
    assert_string_equal(w->request.detail, "it is larger than AttachmentsMaxSize");
    assert_true(w->bins[0].stored && !w->bins[1].stored && w->bins[2].stored);
    assert_true(exists(w, there));
    assert_int_equal(w->a.failed, 1);
    free(bytes);
}

/* What a message has just brought is not removed for the rest of it, whatever the clock says. */
static void test_a_message_keeps_its_own(void **state)
{
    struct world *w = *state;
    uint8_t *bytes = calloc(1, 1 << 20);
    const char *future = store_of(w, 1, 256 * KIB);

    set_age(w, future, 4000000000);
    for (unsigned i = 0; i < 4; i++) {
        bytes[i * 256 * KIB] = (uint8_t)(i + 10);
        w->bins[i] = (struct storage_bin){.at = i * 256 * KIB, .len = 256 * KIB};
    }
    w->request = (struct storage_attach){.bytes = bytes, .bins = w->bins, .count = 4};
    attachments_store(&w->a, &w->request);
    assert_int_equal(w->request.request.error, ERROR_NONE);
    for (unsigned i = 0; i < 4; i++)
        assert_true(exists(w, w->bins[i].sha256));
    assert_false(exists(w, future));
    free(bytes);
}

static void test_files_that_somebody_removed(void **state)
{
    struct world *w = *state;
    const char *names[4];

    for (int i = 0; i < 4; i++)
        names[i] = store_of(w, i, 256 * KIB);
    for (int i = 0; i < 3; i++)
        unlink(in_folder(w, names[i]));
    store_of(w, 5, 256 * KIB);
    assert_true(exists(w, names[3])); /* there was room */
    assert_int_equal(w->a.total, 2 * 256 * KIB);
    assert_int_equal(w->a.evicted, 0);
}

/* ---- a hostile folder ---- */

static void test_foreign_files_are_not_touched(void **state)
{
    struct world *w = *state;
    static const char *const foreign[] = {"notes", "." ABC, ABC ".txt",
                                          "BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD"};
    char victim[160], big[200 * KIB + 1];

    memset(big, 'b', sizeof big - 1);
    big[sizeof big - 1] = '\0';
    store_of(w, 1, 10);
    for (unsigned i = 0; i < 4; i++) {
        make_file(w, foreign[i], big);
        set_age(w, foreign[i], 1000);
    }
    snprintf(victim, sizeof victim, "%s/victim", w->rig->folder);
    make_file(w, "../victim", "own"); /* as long as what is stored */
    assert_int_equal(symlink(victim, in_folder(w, ABC)), 0);
    assert_int_equal(symlink(victim, in_folder(w, "partial")), 0);
    assert_int_equal(mkdir(in_folder(w, NOTHING), 0700), 0);
    restart(w, 1 << 20);
    assert_int_equal(w->a.total, 4096);
    assert_false(exists(w, "partial"));
    assert_int_equal(symlink(victim, in_folder(w, "partial")), 0);
    for (int i = 0; i < 8; i++)
        store_of(w, i, 300 * KIB);
    for (unsigned i = 0; i < 4; i++)
        assert_content(w, foreign[i], big, sizeof big - 1);
    assert_int_equal(store_bytes(w, "abc", 3), ERROR_NONE); /* the link is replaced, not followed */
    assert_content(w, ABC, "abc", 3);
    assert_int_equal(store_bytes(w, "", 0), ERROR_STORAGE); /* a folder has that name */
    assert_content(w, "../victim", "own", 3);
    assert_int_equal(store_bytes(w, "next", 4), ERROR_NONE);
}

static void test_leftovers_go_at_the_start(void **state)
{
    struct world *w = *state;

    store_of(w, 1, 10);
    make_file(w, "partial", "half");
    restart(w, 1 << 20);
    assert_int_equal(count(w), 1);
    make_file(w, "partial", "half"); /* and are in nobody's way */
    assert_int_equal(store_bytes(w, "abc", 3), ERROR_NONE);
    assert_content(w, ABC, "abc", 3);
    assert_int_equal(count(w), 2);
}

/* ---- faults ---- */

static void test_a_write_that_fails(void **state)
{
    struct world *w = *state;
    struct rlimit before, small;
    uint8_t *bytes = calloc(1, 200 * KIB);

    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    small = (struct rlimit){.rlim_cur = 100 * KIB, .rlim_max = before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    assert_int_equal(store_bytes(w, bytes, 200 * KIB), ERROR_STORAGE);
    setrlimit(RLIMIT_FSIZE, &before);
    assert_false(w->bins[0].stored);
    assert_int_equal(count(w), 0);
    assert_int_equal(w->a.total, 0);
    assert_int_equal(w->a.failed, 1);
    assert_int_equal(store_bytes(w, bytes, 200 * KIB), ERROR_NONE);
    free(bytes);
}

static void test_a_folder_that_cannot_be(void **state)
{
    struct world *w = *state;

    assert_int_equal(mknod(w->a.path, S_IFREG | 0600, 0), 0);
    assert_int_equal(store_bytes(w, "abc", 3), ERROR_STORAGE);
    assert_string_equal(w->request.detail, strerror(ENOTDIR));
    unlink(w->a.path);
    assert_int_equal(store_bytes(w, "abc", 3), ERROR_NONE);
    unlink(in_folder(w, ABC)); /* the folder goes while it is in use */
    rmdir(w->a.path);
    assert_int_equal(store_bytes(w, "abc", 3), ERROR_NONE);
    assert_content(w, ABC, "abc", 3);
}

static void test_the_path_is_absolute(void **state)
{
    struct world *w = *state;
    char wanted[512], here[256];
    struct attachments a;

    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir(w->rig->folder), 0);
    assert_int_equal(attachments_init(&a, "relative", 1000), 0);
    snprintf(wanted, sizeof wanted, "%s/relative/attachments", w->rig->folder);
    assert_string_equal(a.path, wanted);
    attachments_deinit(&a);
    assert_int_equal(chdir(here), 0);
}

/* ---- through the store ---- */

static bool answered;
static struct loop *the_loop;

static void note_answer(struct storage_request *r)
{
    answered = true;
    loop_stop(the_loop);
}

static void post_abc(struct world *w)
{
    answered = false;
    the_loop = w->rig->loop;
    w->bins[0] = (struct storage_bin){.at = 0, .len = 3};
    w->request = (struct storage_attach){.request = {.op = STORAGE_ATTACH, .done = note_answer},
                                         .bytes = (const uint8_t *)"abc",
                                         .bins = w->bins,
                                         .count = 1};
    assert_int_equal(w->rig->storage.post(w->rig->storage.self, &w->request.request), 0);
}

static void test_the_store_does_it(void **state)
{
    struct world *w = *state;
    struct storage_report report;

    w->rig->options.attachments_max = 1 << 20;
    assert_int_equal(rig_start(w->rig), 0);
    post_abc(w);
    while (!answered)
        rig_turn(w->rig);
    assert_int_equal(w->request.request.error, ERROR_NONE);
    assert_string_equal(w->bins[0].sha256, ABC);
    report = rig_report(w->rig);
    assert_int_equal(report.attached, 1);
    assert_int_equal(report.attachment_bytes, 4096);
    rig_stop(w->rig);
    assert_int_equal(rig_start(w->rig), 0);
    while (rig_report(w->rig).attachment_bytes != 4096) /* counted once it has started */
        ;
    rig_stop(w->rig);
}

/* What was posted is done before the store is gone; a database that cannot be used is no hindrance. */
static void test_the_store_ends_or_has_no_database(void **state)
{
    struct world *w = *state;
    char path[160];

    w->rig->options.attachments_max = 1 << 20;
    mkdir(w->rig->state, 0700);
    snprintf(path, sizeof path, "%s/imd.db", w->rig->state);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_int_equal(rig_start(w->rig), 0);
    assert_true(rig_report(w->rig).failed);
    post_abc(w);
    rig_stop(w->rig);
    assert_true(answered);
    assert_int_equal(w->request.request.error, ERROR_NONE);
    assert_true(w->bins[0].stored);
}

#define with_world(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_world(test_content_name_and_mode),
        with_world(test_several_of_one_message),
        with_world(test_a_large_one_is_exact),
        with_world(test_the_same_is_not_written_again),
        with_world(test_a_damaged_file_is_replaced),
        with_world(test_the_oldest_go_first),
        with_world(test_a_smaller_bound),
        with_world(test_many),
        with_world(test_what_is_too_large_stays_out),
        with_world(test_a_message_keeps_its_own),
        with_world(test_files_that_somebody_removed),
        with_world(test_foreign_files_are_not_touched),
        with_world(test_leftovers_go_at_the_start),
        with_world(test_a_write_that_fails),
        with_world(test_a_folder_that_cannot_be),
        with_world(test_the_path_is_absolute),
        with_world(test_the_store_does_it),
        with_world(test_the_store_ends_or_has_no_database),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
