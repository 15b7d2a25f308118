/* Log lines as they come out of stderr, the limit on warnings, and last words of a crash. */
#include <fcntl.h>
#include <regex.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

#define LOG_MODULE "test"
#include "common/base/log.h"

static char path[2 * SCRATCH_SIZE];

/* Runs `body` in a child whose stderr is the file; returns the child's wait status. */
static int run_child(void (*body)(void))
{
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        dup2(fd, STDERR_FILENO);
        log_open("learner/2", LOG_INFO);
        body();
        _exit(0);
    }
    int ended = 0;
    assert_int_equal(waitpid(pid, &ended, 0), pid);
    return ended;
}

static bool matches(const char *text, const char *pattern)
{
    regex_t regex;
    assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NEWLINE), 0);
    const bool found = regexec(&regex, text, 0, NULL, 0) == 0;
    regfree(&regex);
    return found;
}

static size_t count_lines(const char *text)
{
    size_t n = 0;
    for (; *text != '\0'; text++) {
        n += *text == '\n';
    }
    return n;
}

static void write_some(void)
{
    log_debug("not shown");
    log_info("sentence key=%d", 7);
    log_set_level(LOG_DEBUG);
    log_debug("shown");
    log_error("peer said \"%s\"", "a\nfake line\r\x1b[2J");
    char longer[9000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    log_info("%s", longer);
}

static void lines_have_time_level_process_module(void **state)
{
    (void)state;
    assert_int_equal(run_child(write_some), 0);
    char *text = scratch_read(path);
    assert_non_null(text);
    assert_int_equal(count_lines(text), 4);
    assert_true(matches(text, "^20[0-9]{2}-[01][0-9]-[0-3][0-9]T[0-2][0-9]:[0-5][0-9]:[0-6][0-9]"
                              "\\.[0-9]{3}Z INFO learner/2 test: sentence key=7$"));
    assert_true(matches(text, "DEBUG learner/2 test: shown$"));
    assert_null(strstr(text, "not shown"));
    assert_true(matches(text, "ERROR learner/2 test: peer said \"a fake line  \\[2J\"$"));
    assert_true(matches(text, "xxx\\.\\.\\.$"));
    free(text);
}

static void warn_often(void)
{
    for (int i = 0; i < 100; i++) {
        log_warn("one place i=%d", i);
    }
    log_warn("another place");
    usleep(1100 * 1000);
    log_warn("one place i=%d", 100); /* same text, another call: strings may be merged or not */
}

static void warnings_are_limited_by_place(void **state)
{
    (void)state;
    assert_int_equal(run_child(warn_often), 0);
    char *text = scratch_read(path);
    assert_non_null(text);
    const size_t n = count_lines(text);
    /* 5 a second; the loop may straddle a second's end. */
    assert_in_range(n, 7, 12);
    assert_true(matches(text, "another place$"));
    free(text);
}

static void level_names(void **state)
{
    (void)state;
    enum log_level level = LOG_DEBUG;
    struct err err = {0};
    assert_int_equal(log_level_parse(&level, "warn", &err), STATUS_OK);
    assert_int_equal(level, LOG_WARN);
    assert_int_equal(log_level_parse(&level, "WARN", &err), STATUS_INVALID);
    assert_int_equal(level, LOG_WARN);
    assert_non_null(strstr(err.text, "expected debug, info, warn or error"));
}

static void fail_assertion(void)
{
    const volatile int one = 1;
    ASSERT(one == 2);
}

static void assertion_says_where_and_aborts(void **state)
{
    (void)state;
    const int ended = run_child(fail_assertion);
    assert_true(WIFSIGNALED(ended));
    assert_int_equal(WTERMSIG(ended), SIGABRT);
    char *text = scratch_read(path);
    assert_non_null(strstr(text, "assertion failed: one == 2 file="));
    assert_non_null(strstr(text, "log_test.c"));
    assert_non_null(strstr(text, "SIGABRT"));
    assert_non_null(strstr(text, "hindcast " HINDCAST_VERSION " learner/2"));
    /* The backtrace stands there once. */
    const char *frame = strstr(text, "assert_failed+");
    assert_non_null(frame);
    assert_null(strstr(frame + 1, "assert_failed+"));
    free(text);
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static void touch_nothing(void)
{
    raise(SIGSEGV);
}

static void bad_access_prints_backtrace(void **state)
{
    (void)state;
    const int ended = run_child(touch_nothing);
    assert_true(WIFSIGNALED(ended));
    assert_int_equal(WTERMSIG(ended), SIGSEGV);
    char *text = scratch_read(path);
    assert_non_null(strstr(text, "SIGSEGV"));
    assert_non_null(strstr(text, "log_test("));
    free(text);
}
#endif

static int set_up(void **state)
{
    (void)state;
    scratch_make(scratch_folder);
    scratch_path(path, scratch_folder, "stderr");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_have_time_level_process_module),
        cmocka_unit_test(warnings_are_limited_by_place),
        cmocka_unit_test(level_names),
        cmocka_unit_test(assertion_says_where_and_aborts),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
        cmocka_unit_test(bad_access_prints_backtrace),
#endif
    };
    return cmocka_run_group_tests(tests, set_up, scratch_tear_down);
}
