/* Lines: whole or absent, and read from the end whatever their sizes. */
#include "tests/lib/check.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/line_file.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "tests/lib/scratch.h"

static char folder[SCRATCH_SIZE], path[2 * SCRATCH_SIZE];

static int set_up(void **state)
{
    (void)state;
    scratch_make(folder);
    scratch_path(path, folder, "lines.jsonl");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    scratch_remove(folder);
    return 0;
}

static void write_file(const char *bytes, size_t size)
{
    const struct file_part part = {bytes, size};
    struct err err = {0};
    assert_int_equal(file_replace(path, &part, 1, &err), STATUS_OK);
}

/* ---- Reading ---- */

/* Expects the lines of `text`, last first. */
struct reading {
    const char *text;
    size_t left; /* bytes of text that are still to come, up to the end of a line */
    int n, most; /* lines seen; stop after `most` */
};

static bool expect_line(void *arg, const char *line, size_t size, off_t offset)
{
    struct reading *reading = arg;
    size_t begin = reading->left;
    while (begin > 0 && reading->text[begin - 1] != '\n') {
        begin--;
    }
    assert_int_equal(offset, begin);
    const size_t expected = reading->left - begin;
    if (expected > LINE_FILE_LINE_MAX) {
        assert_null(line);
    } else {
        assert_int_equal(size, expected);
        assert_memory_equal(line, reading->text + begin, size);
    }
    reading->left = begin > 0 ? begin - 1 : 0;
    reading->n++;
    return reading->n != reading->most;
}

static void check_backwards(const char *text, size_t size, int lines, int most)
{
    write_file(text, size);
    const char *last = size > 0 ? memrchr(text, '\n', size) : NULL;
    const size_t end = last != NULL ? (size_t)(last - text) + 1 : 0;
    struct reading reading = {.text = text, .left = end > 0 ? end - 1 : 0, .most = most};
    struct err err = {0};
    off_t whole = -1;
    assert_int_equal(line_file_backwards(path, expect_line, &reading, &whole, &err), STATUS_OK);
    assert_int_equal(whole, end);
    assert_int_equal(reading.n, most > 0 && most < lines ? most : lines);
}

static void short_files(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int lines;
    } cases[] = {{"", 0},     {"a", 0},      {"\n", 1},     {"a\n", 1},
                 {"a\nb", 1}, {"a\nb\n", 2}, {"\n\n\n", 3}, {"\n\nabc\n\nx", 4}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        check_backwards(cases[i].text, strlen(cases[i].text), cases[i].lines, 0);
        check_backwards(cases[i].text, strlen(cases[i].text), cases[i].lines, 1);
    }
    struct err err = {0};
    assert_int_equal(unlink(path), 0);
    assert_int_equal(line_file_backwards(path, expect_line, NULL, NULL, &err), STATUS_NOT_FOUND);
}

/* Lines whose ends fall on every side of the blocks that are read. */
static void lines_across_blocks(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 7, "lines", 0);
    const size_t room = 1 << 20;
    char *text = mem_new(room + 1);
    for (int round = 0; round < 30; round++) {
        size_t size = 0;
        int lines = 0;
        const uint64_t most = round % 3 == 0 ? 40 : round % 3 == 1 ? 70000 : 300000;
        for (;;) {
            const size_t n = (size_t)rng_below(&rng, most);
            if (size + n + 1 > room) {
                break;
            }
            memset(text + size, 'a' + lines % 26, n);
            text[size + n] = '\n';
            size += n + 1;
            lines++;
        }
        check_backwards(text, size, lines, 0);
        check_backwards(text, size - 1 - (size > 1 && text[size - 2] != '\n'), lines - 1, 0);
    }
    mem_free(text);
}

/* A line that is too long is passed over; memory stays bounded. */
static void a_line_that_is_too_long(void **state)
{
    (void)state;
    const size_t n = LINE_FILE_LINE_MAX + (3u << 20);
    char *text = mem_new(n + 16);
    memset(text, 'x', n + 16);
    memcpy(text, "first\n", 6);
    text[n] = '\n';
    memcpy(text + n + 1, "last\n", 5);
    check_backwards(text, n + 6, 3, 0);
    mem_free(text);
}

/* ---- Appending ---- */

static void expect_file(const char *expected)
{
    char *text = scratch_read(path);
    assert_string_equal(text, expected);
    free(text);
}

/* A limit on the file's size cuts a write in the middle, as a full disk does. */
static void a_line_that_does_not_fit_leaves_nothing(void **state)
{
    (void)state;
    struct line_file file;
    struct err err = {0};
    assert_int_equal(line_file_open(&file, path, &err), STATUS_OK);
    assert_int_equal(line_file_append(&file, "first", 5, &err), STATUS_OK);
    const struct rlimit limit = {.rlim_cur = 10, .rlim_max = RLIM_INFINITY};
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    assert_true(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    const status s = line_file_append(&file, "second, which is longer", 23, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_not_equal(s, STATUS_OK);
    expect_file("first\n");
    assert_int_equal(line_file_append(&file, "third", 5, &err), STATUS_OK);
    expect_file("first\nthird\n");
    line_file_close(&file);
    line_file_close(&file);
}

static void every_write_may_fail(void **state)
{
    (void)state;
    struct line_file file;
    struct err err = {0};
    assert_int_equal(line_file_open(&file, path, &err), STATUS_OK);
    file_fail_at(1, ENOSPC);
    assert_int_equal(line_file_append(&file, "lost", 4, &err), STATUS_FULL);
    file_fail_at(0, 0);
    memory_fail_at(1);
    assert_int_equal(line_file_append(&file, "lost", 4, &err), STATUS_NO_MEMORY);
    memory_fail_at(0);
    expect_file("");
    /* A part of a line that could not be removed ends where the next line begins. */
    file.torn = true;
    assert_int_equal(line_file_append(&file, "next", 4, &err), STATUS_OK);
    assert_int_equal(line_file_append(&file, "last", 4, &err), STATUS_OK);
    expect_file("\nnext\nlast\n");
    line_file_close(&file);
}

static void links_are_refused(void **state)
{
    (void)state;
    char target[2 * SCRATCH_SIZE];
    scratch_path(target, folder, "target");
    assert_int_equal(symlink(target, path), 0);
    struct line_file file;
    struct err err = {0};
    assert_int_not_equal(line_file_open(&file, path, &err), STATUS_OK);
    assert_int_not_equal(access(target, F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(short_files, set_up, tear_down),
        cmocka_unit_test_setup_teardown(lines_across_blocks, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_line_that_is_too_long, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_line_that_does_not_fit_leaves_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_write_may_fail, set_up, tear_down),
        cmocka_unit_test_setup_teardown(links_are_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
