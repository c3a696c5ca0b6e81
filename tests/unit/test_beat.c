/* beat: long pieces of work of the store show that they get on; so does a store that has nothing to do. */
#include "beat.h"
#include "attachments.h"
#include "store_rig.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define MIB ((size_t)1 << 20)

/* The calling thread counts here in a test. */
static atomic_uint_fast64_t count;

static uint64_t counted(void)
{
    return atomic_exchange(&count, 0);
}

static int set_up(void **state)
{
    beat_with_files();
    beat_into(&count);
    counted();
    return rig_set_up(state);
}

static int tear_down(void **state)
{
    beat_into(NULL);
    return rig_tear_down(state);
}

static sqlite3 *open_database(const struct rig *r)
{
    char path[128];
    sqlite3 *d = NULL;

    snprintf(path, sizeof(path), "%s/test.db", r->folder);
    assert_int_equal(sqlite3_open(path, &d), SQLITE_OK);
    beat_with_statements(d);
    return d;
}

static void execute(sqlite3 *d, const char *sql)
{
    assert_int_equal(sqlite3_exec(d, sql, NULL, NULL, NULL), SQLITE_OK);
}

static void test_threads_that_do_not_count(void **state)
{
    beat_into(NULL);
    beat();
    assert_int_equal(counted(), 0);
    beat_into(&count);
    beat();
    assert_int_equal(counted(), 1);
}

static void test_long_statement(void **state)
{
    sqlite3 *d = open_database(*state);

    counted();
    execute(d, "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000)"
               "SELECT max(i) FROM n");
    assert_true(counted() >= 100);
    sqlite3_close(d);
}

/* No statement runs in it: each page that it moves is a step. */
static void test_checkpoint(void **state)
{
    sqlite3 *d = open_database(*state);

    execute(d,
            "PRAGMA page_size=4096; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0; CREATE TABLE t(x);"
            "INSERT INTO t VALUES(zeroblob(4000000))");
    sqlite3_progress_handler(d, 0, NULL, NULL);
    counted();
    execute(d, "PRAGMA wal_checkpoint(TRUNCATE)");
    assert_true(counted() >= 2 * 900); /* read and written */
    sqlite3_close(d);
}

static void test_large_file(void **state)
{
    struct rig *r = *state;
    struct attachments a;
    uint8_t *bytes = calloc(8, MIB);
    struct storage_bin bin = {.len = 8 * MIB};
    struct storage_attach request = {.bytes = bytes, .bins = &bin, .count = 1};

    assert_int_equal(attachments_init(&a, r->folder, 64 * MIB), 0);
    counted();
    attachments_store(&a, &request);
    assert_true(bin.stored);
    assert_true(counted() >= 2 * 8); /* hashed and written */
    attachments_deinit(&a);
    free(bytes);
}

static void test_idle_store(void **state)
{
    struct rig *r = *state;
    struct storage *s = &r->storage;

    assert_int_equal(rig_start(r), 0);
    for (int i = 0; i < 5; i++) {
        uint64_t before = s->beats(s->self);
        while (s->beats(s->self) == before)
            usleep(1000);
    }
    rig_stop(r);
}

#define with_rig(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        with_rig(test_threads_that_do_not_count),
        with_rig(test_long_statement),
        with_rig(test_checkpoint),
        with_rig(test_large_file),
        with_rig(test_idle_store),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
