/*
 * store: what happens to the file behind imd's back. Flipped bits, a cut-off end, a crash, another imd, a
 * newer imd. Whatever it is: no wrong byte in a line or a frame, no number untold, no end that does not come.
 */
#include "store_rig.h"
#include "event.h"

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
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define SINGLE 150 /* appends of one event: two blocks */
#define MESSAGES 20

/* ---- copies of a state folder ---- */

struct image {
    const char *name;
    char *bytes;
    size_t size;
};

static const char *const names[] = {"imd.db", "imd.db-wal"};

static void read_file(const char *path, struct image *i)
{
    struct stat s;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return;
    assert_int_equal(fstat(fd, &s), 0);
    i->size = (size_t)s.st_size;
    i->bytes = malloc(i->size + 1);
    assert_int_equal(read(fd, i->bytes, i->size), i->size);
    close(fd);
}

static void take_images(struct rig *r, struct image images[2])
{
    char path[128];

    for (unsigned n = 0; n < 2; n++) {
        images[n] = (struct image){.name = names[n]};
        snprintf(path, sizeof(path), "%s/%s", r->state, names[n]);
        read_file(path, &images[n]);
    }
}

static void write_file(const char *path, const char *bytes, size_t size)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, size), size);
    close(fd);
}

static unsigned empty_folder(struct rig *r)
{
    char path[512];
    DIR *d = opendir(r->state);
    unsigned corrupt = 0;

    if (!d) {
        mkdir(r->state, 0700);
        return 0;
    }
    for (struct dirent *e; (e = readdir(d));) {
        snprintf(path, sizeof(path), "%s/%s", r->state, e->d_name);
        corrupt += strstr(e->d_name, ".db.corrupt-") != NULL && !strstr(e->d_name, "-wal") &&
                   !strstr(e->d_name, "-shm");
        if (e->d_name[0] != '.')
            unlink(path);
    }
    closedir(d);
    return corrupt;
}

static void put_images(struct rig *r, const struct image images[2])
{
    char path[128];

    empty_folder(r);
    for (unsigned n = 0; n < 2; n++) {
        snprintf(path, sizeof(path), "%s/%s", r->state, images[n].name);
        if (images[n].bytes)
            write_file(path, images[n].bytes, images[n].size);
    }
}

static void free_images(struct image images[2])
{
    free(images[0].bytes);
    free(images[1].bytes);
}

/* ---- a store with something of everything ---- */

static void fill(struct rig *r)
{
    struct rig_batch *batches[30];
    struct storage_reserve reserve = {.request.op = STORAGE_RESERVE, .through = 1000};
    struct storage_consumer c = {
        .request.op = STORAGE_CONSUMER, .name = "deploy", .name_len = 6, .create = true, .seq = 5};
    char id[16];

    assert_int_equal(rig_do(r, &reserve.request), ERROR_NONE);
    assert_int_equal(rig_do(r, &c.request), ERROR_NONE);
    for (unsigned round = 0; round < SINGLE / 30; round++) {
        for (unsigned i = 0; i < 30; i++)
            batches[i] = rig_post_append(r, 1, 1000000);
        for (unsigned i = 0; i < 30; i++)
            assert_int_equal(rig_wait_append(r, batches[i]), ERROR_NONE);
    }
    assert_int_equal(rig_append(r, 500, 2000000), ERROR_NONE);
    for (unsigned i = 0; i < MESSAGES; i++) {
        snprintf(id, sizeof(id), "m%u", i);
        assert_int_equal(rig_queue(r, id, INT64_MAX, NULL), ERROR_NONE);
    }
}

static void check_frames(struct rig *r)
{
    struct storage_take t = {
        .request.op = STORAGE_TAKE, .limit = 1000, .max_bytes = 1 << 20, .now_ms = rig_now()};
    struct storage_list l = {.request.op = STORAGE_LIST, .limit = 1000};
    char id[MESSAGE_ID_MAX + 1];

    if (rig_do(r, &t.request) == ERROR_NONE) {
        for (unsigned i = 0; i < t.count; i++) {
            const struct outbox_entry *e = &t.messages[i].entry;
            size_t len;
            snprintf(id, sizeof(id), "%.*s", (int)e->id_len, e->id);
            const uint8_t *frame = rig_frame(id, &len);
            assert_int_equal(t.messages[i].frame_len, len);
            assert_memory_equal(t.messages[i].frame, frame, len);
            assert_true(id[0] == 'm' && strtoul(id + 1, NULL, 10) < MESSAGES);
        }
        free(t.block);
    }
    if (rig_do(r, &l.request) == ERROR_NONE)
        free(l.entries);
}

static unsigned count_messages(struct rig *r)
{
    struct storage_list l = {.request.op = STORAGE_LIST, .limit = 1000};

    assert_int_equal(rig_do(r, &l.request), ERROR_NONE);
    free(l.entries);
    return l.count;
}

/* Filtered reads find no wrong byte either, and end. */
static void check_search(struct rig *r, uint64_t head)
{
    struct filter *f = rig_filter("user3", NULL, NULL);
    struct storage_read read = rig_read_of(0, head);
    unsigned count;
    char *got, wanted[RIG_LINE];

    read.filter = f;
    read.gaps = false;
    read.reverse = true;
    read.kinds = 1u << EVENT_MESSAGE;
    got = rig_read_all(r, read, &count);
    for (char *line = got; *line; line = strchr(line, '\n') + 1) {
        uint64_t seq = strtoull(strstr(line, "\"seq\":") + 6, NULL, 10);
        size_t len = rig_line(wanted, seq);
        assert_int_equal(seq % RIG_SENDERS, 3);
        assert_memory_equal(line, wanted, len);
    }
    free(got);
    free(f);
}

/* What came of it. */
struct outcome {
    unsigned whole, partly, aside, refused, failed;
};

/* Starts on what is there and looks at all of it; then goes on with it. */
static void try_it(struct rig *r, uint64_t head, bool tail_may_go, struct outcome *o)
{
    unsigned gaps = 0;
    uint64_t told = 0;

    int e = rig_start(r);
    if (e < 0) {
        assert_int_equal(e, -ENOTSUP); /* the version's byte was hit, and what guards it too */
        o->refused++;
        return;
    }
    if (rig_report(r).failed) {
        o->failed++;
        rig_stop(r);
        return;
    }
    uint64_t seq = r->seq;
    assert_true(tail_may_go || seq >= head);
    told = rig_check_all(r, seq, &gaps);
    check_search(r, seq);
    check_frames(r);
    unsigned messages = count_messages(r);
    r->seq = rig_report(r).failed ? r->seq : r->seq;
    assert_int_equal(rig_append(r, 3, 3000000), ERROR_NONE);
    rig_check_all(r, r->seq, NULL);
    rig_stop(r);
    if (empty_folder(r) > 0)
        o->aside++;
    else {
        if (!tail_may_go)
            assert_int_equal(messages, MESSAGES);
        if (told == head)
            o->whole++;
        else
            o->partly++;
    }
}

static void show(const char *what, const struct outcome *o)
{
    print_message("%s: whole %u, some told as GAP %u, set aside %u, refused %u, failed %u\n", what, o->whole,
                  o->partly, o->aside, o->refused, o->failed);
}

static unsigned flips(unsigned usual)
{
    const char *wanted = getenv("IMD_TEST_FLIPS");

    return wanted ? (unsigned)strtoul(wanted, NULL, 10) : usual;
}

static void flip_one(struct rig *r, struct image images[2], unsigned which, size_t at, unsigned bit,
                     uint64_t head, struct outcome *o)
{
    images[which].bytes[at] ^= (char)(1 << bit);
    put_images(r, images);
    try_it(r, head, which == 1, o);
    images[which].bytes[at] ^= (char)(1 << bit);
}

static void flip_many(struct rig *r, struct image images[2], unsigned which, unsigned count, uint64_t head,
                      const char *what)
{
    struct outcome o = {0};

    for (unsigned i = 0; i < count; i++) {
        size_t at = which == 0 && i < 110 ? i : (size_t)rand() % images[which].size;
        flip_one(r, images, which, at, (unsigned)rand() % 8, head, &o);
    }
    show(what, &o);
    assert_int_equal(o.whole + o.partly + o.aside + o.refused + o.failed, count);
}

static void test_flips_after_clean_end(void **state)
{
    struct rig *r = *state;
    struct image images[2];

    srand(20240229);
    assert_int_equal(rig_start(r), 0);
    fill(r);
    uint64_t head = r->seq;
    rig_stop(r);
    take_images(r, images);
    assert_null(images[1].bytes);
    flip_many(r, images, 0, flips(700), head, "database");
    free_images(images);
}

static void test_flips_with_log(void **state)
{
    struct rig *r = *state;
    struct image images[2];

    srand(20240301);
    assert_int_equal(rig_start(r), 0);
    fill(r);
    uint64_t head = r->seq;
    take_images(r, images);
    assert_non_null(images[1].bytes);
    rig_stop(r);
    flip_many(r, images, 1, flips(600), head, "log");
    flip_many(r, images, 0, flips(600) / 4, head, "database with a log");
    free_images(images);
}

static void test_truncated(void **state)
{
    struct rig *r = *state;
    struct image images[2];
    struct outcome o = {0};

    assert_int_equal(rig_start(r), 0);
    fill(r);
    uint64_t head = r->seq;
    rig_stop(r);
    take_images(r, images);
    size_t whole = images[0].size;
    for (unsigned i = 0; i < 40; i++) {
        images[0].size = whole * i / 40;
        put_images(r, images);
        try_it(r, head, false, &o);
    }
    show("truncated", &o);
    assert_int_equal(o.aside, 40);
    free_images(images);
}

/* ---- what is told after damage ---- */

static void test_set_aside(void **state)
{
    struct rig *r = *state;
    char path[128];

    assert_int_equal(rig_start(r), 0);
    fill(r);
    uint64_t head = r->seq;
    rig_stop(r);
    snprintf(path, sizeof(path), "%s/imd.db", r->state);
    write_file(path, "this is no database at all, but it is long enough to be looked at", 60);
    int64_t before = rig_now();
    assert_int_equal(rig_start(r), 0);
    assert_true(r->seq >= (uint64_t)before);
    unsigned gaps, count;
    assert_int_equal(rig_check_all(r, r->seq, &gaps), 0);
    assert_int_equal(gaps, 1);
    char *line = rig_read_all(r, rig_read_of(head, r->seq), &count), wanted[256];
    snprintf(wanted, sizeof(wanted),
             "{\"jsonrpc\":\"2.0\",\"method\":\"GAP\",\"params\":{\"from\":%" PRIu64 ",\"to\":%" PRIu64
             ",\"reason\":\"corrupt\"}}\n",
             head + 1, r->seq);
    assert_string_equal(line, wanted);
    free(line);
    assert_int_equal(rig_append(r, 10, 1), ERROR_NONE);
    rig_stop(r);
    assert_int_equal(empty_folder(r), 1);
}

static bool has_reason(struct rig *r, uint64_t seq, const char *reason)
{
    char wanted[64];
    unsigned count;
    char *line = rig_read_all(r, rig_read_of(seq - 1, seq), &count);

    snprintf(wanted, sizeof(wanted), "\"reason\":\"%s\"", reason);
    bool has = strstr(line, wanted) != NULL;
    free(line);
    return has;
}

static char *find_bytes(struct image *i, const char *text)
{
    return memmem(i->bytes, i->size, text, strlen(text));
}

/* One byte of a line: its segment is told to be damaged, and nothing else. */
static void test_damaged_line(void **state)
{
    struct rig *r = *state;
    struct image images[2];
    unsigned gaps;

    assert_int_equal(rig_start(r), 0);
    fill(r);
    rig_stop(r);
    take_images(r, images);
    *find_bytes(&images[0], "\"seq\":77,") ^= 1;
    put_images(r, images);
    assert_int_equal(rig_start(r), 0);
    assert_int_equal(rig_check_all(r, r->seq, &gaps), r->seq - 1);
    assert_int_equal(gaps, 1);
    assert_true(has_reason(r, 77, GAP_CORRUPT));
    free_images(images);
}

/* A page of messages says that it has fewer rows than it has: what SQLite itself would not notice. */
static void test_damaged_count(void **state)
{
    struct rig *r = *state;
    struct image images[2];

    assert_int_equal(rig_start(r), 0);
    fill(r);
    uint64_t head = r->seq;
    rig_stop(r);
    take_images(r, images);
    size_t page = (size_t)(find_bytes(&images[0], "and the rest of it") - images[0].bytes) / 4096 * 4096;
    assert_int_equal(images[0].bytes[page], 13); /* a leaf of a table */
    assert_true(images[0].bytes[page + 4] > 3);
    images[0].bytes[page + 4] -= 3;
    put_images(r, images);
    assert_int_equal(rig_start(r), 0);
    assert_true(r->seq > head);
    assert_int_equal(count_messages(r), 0);
    rig_stop(r);
    assert_int_equal(empty_folder(r), 1);
    free_images(images);
}

/* While imd runs: the numbers go on, what was there is told to be gone. */
static void test_damage_at_work(void **state)
{
    struct rig *r = *state;
    char path[128];
    unsigned gaps;

    assert_int_equal(rig_start(r), 0);
    fill(r);
    uint64_t head = r->seq;
    rig_stop(r);
    assert_int_equal(rig_start(r), 0);
    snprintf(path, sizeof(path), "%s/imd.db", r->state);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    char junk[4096];
    memset(junk, 0x55, sizeof(junk));
    struct stat s;
    assert_int_equal(fstat(fd, &s), 0);
    for (off_t at = 4096; at < s.st_size; at += 4096) /* all but the first page */
        assert_int_equal(pwrite(fd, junk, sizeof(junk), at), 4096);
    close(fd);
    for (unsigned i = 0; i < 20 && rig_append(r, 1, 5) == ERROR_NONE; i++)
        ;
    uint64_t told = rig_check_all(r, r->seq, &gaps);
    assert_int_equal(rig_append(r, 5, 5), ERROR_NONE);
    assert_true(rig_check_all(r, r->seq, &gaps) >= told);
    assert_true(r->seq > head && r->seq < head + 100);
    assert_true(has_reason(r, 1, GAP_CORRUPT) && has_reason(r, head, GAP_CORRUPT));
    assert_false(rig_report(r).failed);
    rig_stop(r);
    assert_int_equal(rig_start(r), 0);
    assert_true(r->seq >= head);
    rig_check_all(r, r->seq, &gaps);
}

/* ---- crashes ---- */

/* A child that tells by a pipe what was answered, until it is killed. */
static void work_until_killed(struct rig *r, int to)
{
    struct loop *l = NULL;
    uint64_t told[2] = {0};
    char id[16];

    if (loop_new(&l) < 0)
        _exit(1);
    r->loop = l;
    if (rig_start(r) < 0)
        _exit(2);
    struct storage_reserve reserve = {.request.op = STORAGE_RESERVE, .through = r->seq + 100000};
    if (rig_do(r, &reserve.request) != ERROR_NONE)
        _exit(3);
    for (unsigned i = 0;; i++) {
        snprintf(id, sizeof(id), "%d-%u", (int)getpid(), i);
        if (rig_append(r, 1 + i % 50, 1) != ERROR_NONE || rig_queue(r, id, INT64_MAX, NULL) != ERROR_NONE)
            _exit(4);
        told[0] = r->seq;
        told[1]++;
        if (write(to, told, sizeof(told)) != sizeof(told))
            _exit(5);
    }
}

static void crash_once(struct rig *r, unsigned after, uint64_t told[2])
{
    int ends[2];

    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    if (child == 0) {
        close(ends[0]);
        work_until_killed(r, ends[1]);
    }
    close(ends[1]);
    for (unsigned i = 0; i < after; i++)
        assert_int_equal(read(ends[0], told, 2 * sizeof(*told)), 2 * sizeof(*told));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    while (read(ends[0], told, 2 * sizeof(*told)) == 2 * sizeof(*told))
        ;
    close(ends[0]);
}

static void test_crash(void **state)
{
    struct rig *r = *state;
    uint64_t last = 0, messages = 0;
    unsigned gaps;

    r->options.outbox_max = 1000000;
    for (unsigned round = 1; round <= 5; round++) {
        uint64_t told[2];
        crash_once(r, round * 7, told);
        assert_int_equal(rig_start(r), 0);
        assert_true(r->seq > told[0]); /* reserved far beyond */
        assert_true(r->seq >= last + 100000);
        uint64_t kept = rig_check_all(r, r->seq, &gaps);
        assert_true(gaps == round && kept > 0);
        messages += told[1];
        assert_true(rig_report(r).queued >= messages); /* one more may be there, of which nobody was told */
        messages = rig_report(r).queued;
        last = r->seq;
        rig_stop(r);
    }
}

/* ---- whose it is ---- */

static void test_lock(void **state)
{
    struct rig *r = *state;
    struct store *other = NULL;
    struct storage_listener nobody = {0};
    uint64_t seq = 0, stored;
    char why[256], wanted[256];

    assert_int_equal(rig_start(r), 0);
    assert_int_equal(store_new(&other, r->loop, &r->options, &nobody, &seq, &stored, why, sizeof(why)),
                     -EBUSY);
    snprintf(wanted, sizeof(wanted), "the state folder %s is in use by another imd (pid %d)", r->state,
             (int)getpid());
    assert_string_equal(why, wanted);
    assert_null(other);
    rig_stop(r);
    assert_int_equal(store_new(&other, r->loop, &r->options, &nobody, &seq, &stored, why, sizeof(why)), 0);
    store_free(other, seq);
}

static void test_newer(void **state)
{
    struct rig *r = *state;
    struct image before[2], after[2];

    assert_int_equal(rig_start(r), 0);
    assert_int_equal(rig_append(r, 10, 1), ERROR_NONE);
    rig_stop(r);
    rig_execute(r, "UPDATE meta SET value = 3 WHERE key = 'version'; PRAGMA user_version = 3");
    take_images(r, before);
    assert_int_equal(rig_start(r), -ENOTSUP);
    assert_non_null(strstr(r->why, "was made by a newer imd"));
    take_images(r, after);
    assert_int_equal(before[0].size, after[0].size);
    assert_memory_equal(before[0].bytes, after[0].bytes, before[0].size);
    free_images(before);
    free_images(after);
}

static void test_folder(void **state)
{
    struct rig *r = *state;
    struct stat s;
    char deep[128], path[160];

    snprintf(deep, sizeof(deep), "%s/a/b/c", r->folder);
    r->options.folder = deep;
    assert_int_equal(rig_start(r), 0);
    assert_int_equal(stat(deep, &s), 0);
    assert_int_equal(s.st_mode & 0777, 0700);
    for (unsigned n = 0; n < 2; n++) {
        snprintf(path, sizeof(path), "%s/%s", deep, names[n]);
        assert_int_equal(stat(path, &s), 0);
        assert_int_equal(s.st_mode & 0777, 0600);
    }
}

#define with_rig(f) cmocka_unit_test_setup_teardown(f, rig_set_up, rig_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_rig(test_folder),         with_rig(test_lock),
        with_rig(test_newer),          with_rig(test_crash),
        with_rig(test_set_aside),      with_rig(test_damage_at_work),
        with_rig(test_damaged_line),   with_rig(test_damaged_count),
        with_rig(test_truncated),      with_rig(test_flips_after_clean_end),
        with_rig(test_flips_with_log),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
