/* Whole files under injected failures; locks; folders. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/counter_file.h"
#include "common/base/file.h"
#include "common/base/memory.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

static char path[2 * SCRATCH_SIZE];
static char aside[2 * SCRATCH_SIZE];

static const struct file_part new_parts[] = {{"new ", 4}, {NULL, 0}, {"text", 4}};

static void assert_file(const char *expected)
{
    char *text = scratch_read(path);
    if (expected == NULL) {
        assert_null(text);
    } else {
        assert_non_null(text);
        assert_string_equal(text, expected);
    }
    free(text);
    assert_int_equal(access(aside, F_OK), -1);
}

/* Fails each call in turn until none is left to fail; after each failure the file is what it was.
 */
static void replace_with_failures(const char *before, int number, status expected)
{
    uint64_t nth = 1;
    for (;; nth++) {
        if (before == NULL) {
            unlink(path);
        } else {
            scratch_write(path, before);
        }
        struct err err = {0};
        file_fail_at(nth, number);
        const status s = file_replace(path, new_parts, 3, &err);
        file_fail_at(0, 0);
        if (s == STATUS_OK) {
            break;
        }
        assert_int_equal(s, expected);
        assert_non_null(strstr(err.text, strerror(number)));
        assert_non_null(strstr(err.text, "target"));
        assert_file(before);
    }
    assert_file("new text");
    /* Two writes, the file's sync, the rename, the folder's sync. */
    assert_int_equal(nth, 6);
}

static void replace_keeps_the_old_file_at_every_failure(void **state)
{
    (void)state;
    replace_with_failures("old text, which is longer", ENOSPC, STATUS_FULL);
    replace_with_failures("old text, which is longer", EIO, STATUS_IO);
}

static void replace_of_nothing_leaves_nothing_at_every_failure(void **state)
{
    (void)state;
    replace_with_failures(NULL, EDQUOT, STATUS_FULL);
}

static void replace_says_what_is_wrong(void **state)
{
    (void)state;
    struct err err = {0};
    char absent[3 * SCRATCH_SIZE];
    snprintf(absent, sizeof absent, "%s/no/such/file", scratch_folder);
    assert_int_equal(file_replace(absent, new_parts, 3, &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.text, absent));
    /* A folder cannot be replaced, and stays. */
    snprintf(absent, sizeof absent, "%s/full", scratch_folder);
    char inside[4 * SCRATCH_SIZE];
    snprintf(inside, sizeof inside, "%s/x", absent);
    assert_int_equal(mkdir(absent, 0700), 0);
    scratch_write(inside, "x");
    assert_int_not_equal(file_replace(absent, new_parts, 3, &err), STATUS_OK);
    assert_int_equal(access(inside, F_OK), 0);
}

static void reads_whole_files_up_to_a_limit(void **state)
{
    (void)state;
    struct err err = {0};
    void *bytes = NULL;
    size_t size = 0;
    scratch_write(path, "0123456789");
    assert_int_equal(file_read(path, 10, &bytes, &size, &err), STATUS_OK);
    assert_int_equal(size, 10);
    assert_string_equal(bytes, "0123456789"); /* the 0 byte behind it */
    mem_free(bytes);
    bytes = NULL;
    assert_int_equal(file_read(path, 9, &bytes, &size, &err), STATUS_INVALID);
    assert_null(bytes);
    assert_non_null(strstr(err.text, "10 bytes, expected at most 9"));
    /* A file without a size of its own. */
    assert_int_equal(file_read("/proc/self/status", 1 << 20, &bytes, &size, &err), STATUS_OK);
    assert_int_equal(strlen(bytes), size);
    mem_free(bytes);
    assert_int_equal(file_read("/proc/self/status", 16, &bytes, &size, &err), STATUS_INVALID);
    unlink(path);
    assert_int_equal(file_read(path, 10, &bytes, &size, &err), STATUS_NOT_FOUND);
    assert_int_equal(file_read(scratch_folder, 10, &bytes, &size, &err), STATUS_INVALID);
    scratch_write(path, "");
    assert_int_equal(file_read(path, 0, &bytes, &size, &err), STATUS_OK);
    assert_int_equal(size, 0);
    mem_free(bytes);
}

static void read_without_memory(void **state)
{
    (void)state;
    struct err err = {0};
    void *bytes = NULL;
    size_t size = 0;
    scratch_write(path, "0123456789");
    memory_fail_at(1);
    assert_int_equal(file_read(path, 10, &bytes, &size, &err), STATUS_NO_MEMORY);
    memory_fail_at(2); /* the one that makes room for what /proc does not announce */
    assert_int_equal(file_read("/proc/self/status", 1 << 20, &bytes, &size, &err),
                     STATUS_NO_MEMORY);
    memory_fail_at(0);
    assert_null(bytes);
}

static void reads_at_a_place(void **state)
{
    (void)state;
    struct err err = {0};
    char bytes[8] = {0};
    scratch_write(path, "0123456789");
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(file_read_at(fd, bytes, 4, 3, &err), STATUS_OK);
    assert_string_equal(bytes, "3456");
    assert_int_equal(file_read_at(fd, bytes, 4, 7, &err), STATUS_CLOSED);
    assert_non_null(strstr(err.text, "ends at byte 10"));
    assert_int_equal(file_read_at(fd, bytes, 0, 10, &err), STATUS_OK);
    close(fd);
    assert_int_equal(file_read_at(fd, bytes, 4, 0, &err), STATUS_IO);
}

static void makes_folders(void **state)
{
    (void)state;
    struct err err = {0};
    char deep[4 * SCRATCH_SIZE];
    snprintf(deep, sizeof deep, "%s/a//b/c/", scratch_folder);
    file_fail_at(2, EIO); /* the sync that makes the second one's name durable */
    assert_int_equal(file_make_folders(deep, &err), STATUS_IO);
    file_fail_at(0, 0);
    assert_int_not_equal(access(deep, F_OK), 0);
    assert_int_equal(file_make_folders(deep, &err), STATUS_OK);
    assert_int_equal(file_make_folders(deep, &err), STATUS_OK);
    struct stat info;
    assert_int_equal(stat(deep, &info), 0);
    assert_true(S_ISDIR(info.st_mode));
    scratch_write(path, "a file");
    snprintf(deep, sizeof deep, "%s/b", path);
    assert_int_equal(file_make_folders(deep, &err), STATUS_EXISTS);
    assert_non_null(strstr(err.text, "is not a folder"));
    assert_int_equal(file_make_folders("", &err), STATUS_INVALID);
    assert_int_equal(file_make_folders("/", &err), STATUS_OK);
}

static void lock_is_exclusive_and_ends_with_its_process(void **state)
{
    (void)state;
    struct err err = {0};
    int fd = -1;
    assert_false(file_is_locked(path));
    const pid_t pid = fork();
    if (pid == 0) {
        const bool got = file_lock(path, &fd, NULL) == STATUS_OK;
        scratch_write(aside, got ? "got" : "not");
        pause();
        _exit(0);
    }
    char *answer = scratch_read(aside);
    for (int i = 0; i < 500 && (answer == NULL || answer[0] == '\0'); i++) {
        usleep(10000);
        free(answer);
        answer = scratch_read(aside);
    }
    assert_non_null(answer);
    assert_string_equal(answer, "got");
    free(answer);
    assert_int_equal(file_lock(path, &fd, &err), STATUS_EXISTS);
    char holder[32];
    snprintf(holder, sizeof holder, "(pid %ld)", (long)pid);
    assert_non_null(strstr(err.text, holder));
    assert_true(file_is_locked(path));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_false(file_is_locked(path));
    assert_int_equal(file_lock(path, &fd, &err), STATUS_OK);
    int second = -1;
    assert_int_equal(file_lock(path, &second, &err), STATUS_EXISTS);
    close(fd);
    assert_int_equal(file_lock(path, &second, &err), STATUS_OK);
    close(second);
    unlink(aside);
}

static int set_up(void **state)
{
    (void)state;
    scratch_make(scratch_folder);
    scratch_path(path, scratch_folder, "target");
    scratch_path(aside, scratch_folder, "target.tmp");
    return 0;
}

/* Links that somebody else has put where files are written are not followed. */
static void planted_links_are_not_followed(void **state)
{
    (void)state;
    char precious[2 * SCRATCH_SIZE], counter[2 * SCRATCH_SIZE], lock[2 * SCRATCH_SIZE];
    scratch_path(precious, scratch_folder, "precious");
    scratch_path(counter, scratch_folder, "counter");
    scratch_path(lock, scratch_folder, "lock");
    scratch_write(precious, "precious");
    struct err err;

    /* What is written aside: the link goes, the file is replaced as ever. */
    assert_int_equal(symlink(precious, aside), 0);
    const struct file_part part = {"new", 3};
    assert_int_equal(file_replace(path, &part, 1, &err), STATUS_OK);
    assert_file("new");

    /* What is opened to stay: refused. */
    int fd = -1;
    assert_int_equal(symlink(precious, lock), 0);
    assert_int_equal(file_lock(lock, &fd, &err), STATUS_DENIED);
    assert_non_null(strstr(err.text, "symbolic link"));
    assert_int_equal(symlink(precious, counter), 0);
    struct counter_file file;
    uint64_t version;
    assert_int_not_equal(counter_file_open(&file, counter, "run", &version, &err), STATUS_OK);

    char *text = scratch_read(precious);
    assert_string_equal(text, "precious");
    free(text);
}

static void made_folders_are_the_owners(void **state)
{
    (void)state;
    struct err err;
    char folder[2 * SCRATCH_SIZE];
    scratch_path(folder, scratch_folder, "own/deep");
    const mode_t before = umask(0);
    assert_int_equal(file_make_folders(folder, &err), STATUS_OK);
    umask(before);
    struct stat info;
    assert_int_equal(stat(folder, &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
}

static void too_large_a_file_is_full(void **state)
{
    (void)state;
    struct err err;
    assert_int_equal(err_errno(&err, EFBIG, "write"), STATUS_FULL);
    /* The signal that would end the process is ignored from before main on. */
    struct rlimit before, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    small = before;
    small.rlim_cur = 4096;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    static char bytes[8192];
    const struct file_part part = {bytes, sizeof bytes};
    const status s = file_replace(path, &part, 1, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(s, STATUS_FULL);
    assert_file(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(replace_keeps_the_old_file_at_every_failure, set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(replace_of_nothing_leaves_nothing_at_every_failure, set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(replace_says_what_is_wrong, set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(reads_whole_files_up_to_a_limit, set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(read_without_memory, set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(reads_at_a_place, set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(makes_folders, set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(planted_links_are_not_followed, set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(made_folders_are_the_owners, set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(too_large_a_file_is_full, set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(lock_is_exclusive_and_ends_with_its_process, set_up,
                                        scratch_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
