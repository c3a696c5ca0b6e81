/* The INI reader: what each kind of line gives, what is refused, and that no bytes whatever lead it out of
 * its text. */
#include "ini.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

struct copy {
    char *text;
    struct ini ini;
};

/* A heap copy of just the right size, so that a sanitizer sees a step too far. */
static void begin(struct copy *c, const char *text, size_t len)
{
    c->text = malloc(len + 1);
    assert_non_null(c->text);
    memcpy(c->text, text, len);
    c->text[len] = '\0';
    ini_init(&c->ini, c->text, len);
}

#define BEGIN(c, literal) begin(c, literal, sizeof(literal) - 1)

static void expect_entry(struct copy *c, unsigned line, const char *section, const char *key,
                         const char *value)
{
    assert_int_equal(ini_next(&c->ini), INI_ENTRY);
    assert_int_equal(c->ini.line, line);
    assert_string_equal(c->ini.section, section);
    assert_string_equal(c->ini.key, key);
    assert_string_equal(c->ini.value, value);
}

static void expect_section(struct copy *c, unsigned line, const char *section)
{
    assert_int_equal(ini_next(&c->ini), INI_SECTION);
    assert_int_equal(c->ini.line, line);
    assert_string_equal(c->ini.section, section);
}

static void expect_end(struct copy *c)
{
    assert_int_equal(ini_next(&c->ini), INI_END);
    assert_int_equal(ini_next(&c->ini), INI_END);
    free(c->text);
}

static void reads_sections_entries_comments(void **state)
{
    struct copy c;

    BEGIN(&c, "# one\n; two\n\n  [ A ]  \nk=v\n\t key\t=  a value \t\n[B]\r\nx=1\r\ny=2");
    expect_section(&c, 4, "A");
    expect_entry(&c, 5, "A", "k", "v");
    expect_entry(&c, 6, "A", "key", "a value");
    expect_section(&c, 7, "B");
    expect_entry(&c, 8, "B", "x", "1");
    expect_entry(&c, 9, "B", "y", "2");
    expect_end(&c);
}

static void value_is_the_whole_line(void **state)
{
    struct copy c;

    BEGIN(&c, "k=a ; b # c\nk==\nk=\nk=\"q\"\nk=v: [x] \xE4\xBD\xA0");
    expect_entry(&c, 1, "", "k", "a ; b # c");
    expect_entry(&c, 2, "", "k", "=");
    expect_entry(&c, 3, "", "k", "");
    expect_entry(&c, 4, "", "k", "\"q\"");
    expect_entry(&c, 5, "", "k", "v: [x] \xE4\xBD\xA0");
    expect_end(&c);
}

static void byte_order_mark_is_skipped(void **state)
{
    struct copy c;

    BEGIN(&c, "\xEF\xBB\xBF[A]\n");
    expect_section(&c, 1, "A");
    expect_end(&c);
}

static void long_line_stays_whole(void **state)
{
    static char text[100002] = "k=";
    struct copy c;

    memset(text + 2, 'x', sizeof(text) - 2);
    begin(&c, text, sizeof(text));
    assert_int_equal(ini_next(&c.ini), INI_ENTRY);
    assert_int_equal(strlen(c.ini.value), 100000);
    expect_end(&c);
}

static void refuses(const char *text, size_t len, unsigned line, const char *why)
{
    struct copy c;
    enum ini_result r;

    begin(&c, text, len);
    do
        r = ini_next(&c.ini);
    while (r == INI_SECTION || r == INI_ENTRY);
    assert_int_equal(r, INI_BAD);
    assert_int_equal(c.ini.line, line);
    assert_string_equal(c.ini.why, why);
    free(c.text);
}

#define REFUSES(literal, line, why) refuses(literal, sizeof(literal) - 1, line, why)

static void bad_lines_are_named(void **state)
{
    REFUSES("[A\n", 1, "a section line ends with ']'");
    REFUSES("[", 1, "a section line ends with ']'");
    REFUSES("[A] x\n", 1, "a section line ends with ']'");
    REFUSES("[]\n", 1, "not a section name");
    REFUSES("[ ]\n", 1, "not a section name");
    REFUSES("[A]]\n", 1, "not a section name");
    REFUSES("[A]\nnonsense\n", 2, "neither [Section] nor Key=value nor a comment");
    REFUSES("k: v\n", 1, "neither [Section] nor Key=value nor a comment");
    REFUSES("=v\n", 1, "no key before '='");
    REFUSES("k=a\\\n b\n", 1, "a value is not continued on the next line; write it on one line");
    REFUSES("k=a\n\nk=\0x\n", 3, "a NUL byte; this is no text file");
    REFUSES("k=\x01\n", 1, "a control character");
    REFUSES("# \x1B[31m\n", 1, "a control character");
    REFUSES("k=a\rb\n", 1, "a control character");
    REFUSES("k=\x7F\n", 1, "a control character");
    REFUSES("k=\xFF\n", 1, "not valid UTF-8");
    REFUSES("k=\xC3\n", 1, "not valid UTF-8");
    REFUSES("k=\xC0\x80\n", 1, "not valid UTF-8");
    REFUSES("k=\xED\xA0\x80\n", 1, "not valid UTF-8");
    REFUSES("k=\xE0\x9F\xBF\n", 1, "not valid UTF-8");
    REFUSES("k=\xF0\x8F\xBF\xBF\n", 1, "not valid UTF-8");
    REFUSES("k=\xF4\x90\x80\x80", 1, "not valid UTF-8");
    REFUSES("k=\xE4\xBD", 1, "not valid UTF-8");
}

static void any_bytes_end(void **state)
{
    static const char alphabet[] = "[]=#;\n\r\t k\\\"\xEF\xBB\xBF\xF4\x80\x00\x01";
    uint32_t seed = 1;

    for (int round = 0; round < 20000; round++) {
        char text[48];
        size_t len = (size_t)round % sizeof(text);
        unsigned results = 0;
        struct copy c;
        enum ini_result r;

        for (size_t i = 0; i < len; i++) {
            seed = seed * 1664525 + 1013904223;
            text[i] = round % 2 ? (char)(seed >> 24) : alphabet[(seed >> 16) % sizeof(alphabet)];
        }
        begin(&c, text, len);
        while ((r = ini_next(&c.ini)) != INI_END) {
            assert_true(++results <= len);
            if (r == INI_ENTRY)
                assert_true(strlen(c.ini.key) > 0 && !strchr(c.ini.value, '\n'));
        }
        free(c.text);
    }
}

/* ---- Files ---- */

struct folder {
    char path[64];
    char file[128];
};

static int folder_make(void **state)
{
    struct folder *f = calloc(1, sizeof(*f));

    assert_non_null(f);
    strcpy(f->path, "/tmp/test_ini.XXXXXX");
    assert_non_null(mkdtemp(f->path));
    snprintf(f->file, sizeof(f->file), "%s/file", f->path);
    *state = f;
    return 0;
}

static int folder_remove(void **state)
{
    struct folder *f = *state;

    unlink(f->file);
    assert_int_equal(rmdir(f->path), 0);
    free(f);
    return 0;
}

static void cannot_read(const char *path, int error, const char *why)
{
    char *text = NULL;
    const char *said = NULL;
    size_t len;

    assert_int_equal(ini_file_read(path, &text, &len, &said), error);
    assert_string_equal(said, why);
    assert_null(text);
}

static void file_of_size(const char *path, size_t size)
{
    FILE *to = fopen(path, "w");

    assert_non_null(to);
    for (size_t i = 0; i < size; i++)
        fputc('#', to);
    assert_int_equal(fclose(to), 0);
}

static void only_a_regular_file_is_read(void **state)
{
    struct folder *f = *state;

    cannot_read(f->file, -ENOENT, "No such file or directory");
    cannot_read(f->path, -EISDIR, "Is a directory");
    cannot_read("/dev/zero", -EINVAL, "not a regular file");
    assert_int_equal(mkfifo(f->file, 0600), 0);
    cannot_read(f->file, -EINVAL, "not a regular file");
}

static void size_is_capped(void **state)
{
    struct folder *f = *state;
    char *text = NULL;
    const char *why;
    size_t len;

    file_of_size(f->file, INI_FILE_MAX);
    assert_int_equal(ini_file_read(f->file, &text, &len, &why), 0);
    assert_int_equal(len, INI_FILE_MAX);
    assert_int_equal(text[len], '\0');
    free(text);
    file_of_size(f->file, INI_FILE_MAX + 1);
    cannot_read(f->file, -EFBIG, "larger than 1 MiB");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_sections_entries_comments),
        cmocka_unit_test(value_is_the_whole_line),
        cmocka_unit_test(byte_order_mark_is_skipped),
        cmocka_unit_test(long_line_stays_whole),
        cmocka_unit_test(bad_lines_are_named),
        cmocka_unit_test(any_bytes_end),
        cmocka_unit_test_setup_teardown(only_a_regular_file_is_read, folder_make, folder_remove),
        cmocka_unit_test_setup_teardown(size_is_capped, folder_make, folder_remove),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
