/* The bar's drawing, and when a line is due. */
#include <pty.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/progress.h"

#define LOG_MODULE "test"
#include "common/base/log.h"
#include "tests/lib/check.h"

static void bar_shows_fraction_text_and_time_left(void **state)
{
    (void)state;
    char line[200];
    progress_bar(line, sizeof line, "learner", 200, 0.5, "step 5/10", 450);
    assert_string_equal(line, "learner [############............]  50%  step 5/10  ETA 7m30s");
    progress_bar(line, sizeof line, "learner", 200, 1.5, "done", -1);
    assert_string_equal(line, "learner [########################] 100%  done");
    progress_bar(line, sizeof line, "restorer", 200, -1, "12 episodes/s", -1);
    assert_string_equal(line, "restorer 12 episodes/s");
    progress_bar(line, sizeof line, "x", 200, 0, "t", 7500);
    assert_non_null(strstr(line, "ETA 2h05m"));
    progress_bar(line, sizeof line, "x", 200, 0, "t", 3.0 * 86400 + 4 * 3600);
    assert_non_null(strstr(line, "ETA 3d04h"));
    /* Never wider than the terminal, or the buffer. */
    assert_int_equal(progress_bar(line, sizeof line, "learner", 20, 0.5, "step", 1), 19);
    assert_int_equal(progress_bar(line, 10, "learner", 20, 0.5, "step", 1), 9);
    assert_int_equal(strlen(line), 9);
}

static void lines_come_every_10_s_or_5_percent(void **state)
{
    (void)state;
    struct progress p;
    progress_init(&p, "learner", false);
    const uint64_t s = NS_PER_S;
    assert_true(progress_show(&p, 100 * s, 0.0, "a"));
    assert_false(progress_show(&p, 101 * s, 0.01, "b"));
    assert_false(progress_show(&p, 102 * s, 0.049, "c"));
    assert_true(progress_show(&p, 103 * s, 0.05, "d"));
    assert_false(progress_show(&p, 104 * s, 0.06, "e"));
    assert_true(progress_show(&p, 113 * s, 0.07, "f"));
    assert_true(progress_show(&p, 113 * s + 1, 0.9, "g"));
    assert_false(progress_show(&p, 114 * s, 0.99 * 0.95, "h"));
    assert_true(progress_show(&p, 114 * s, 1, "end"));
    assert_false(progress_show(&p, 115 * s, 1, "end"));
    progress_end(&p);
}

static void endless_work_reports_every_10_s(void **state)
{
    (void)state;
    struct progress p;
    progress_init(&p, "restorer", false);
    int shown = 0;
    for (uint64_t i = 0; i < 1000; i++) {
        shown += progress_show(&p, i * 100 * NS_PER_MS, -1, "going");
    }
    assert_int_equal(shown, 10);
}

/* On a real terminal (a pty, 40 columns): the bar stays below the log lines and is taken away at
 * the end. */
static void terminal_keeps_the_bar_below_the_log(void **state)
{
    (void)state;
    int fd = -1;
    const struct winsize window = {.ws_row = 24, .ws_col = 40};
    fflush(NULL);
    const pid_t pid = forkpty(&fd, NULL, NULL, &window);
    assert_true(pid >= 0);
    if (pid == 0) {
        struct progress p;
        progress_init(&p, "learner", isatty(STDERR_FILENO) == 1);
        progress_show(&p, 1 * NS_PER_S, 0.25, "step 1, which is a long text");
        log_write(LOG_INFO, "test", "a line");
        progress_show(&p, 2 * NS_PER_S, 0.5, "step 2");
        progress_end(&p);
        _exit(0);
    }
    char text[4096] = "";
    size_t used = 0;
    ssize_t n;
    while (used < sizeof text - 1 && (n = read(fd, text + used, sizeof text - 1 - used)) > 0) {
        used += (size_t)n;
    }
    text[used] = '\0';
    int ended = 0;
    assert_int_equal(waitpid(pid, &ended, 0), pid);
    assert_int_equal(ended, 0);
    close(fd);

    const char *erase = "\r\033[K";
    const char *bar = "learner [######..................]  25% "; /* cut to 39 columns */
    const char *first = strstr(text, erase);
    assert_ptr_equal(first, text);
    assert_int_equal(strncmp(first + 4, bar, 39), 0);
    const char *second = strstr(first + 4, erase);
    assert_ptr_equal(second, first + 4 + 39);
    assert_int_equal(strncmp(second + 4, "20", 2), 0); /* the log line in its place, */
    const char *line = strstr(second, "test: a line\r\n");
    assert_non_null(line);
    assert_int_equal(strncmp(line + 14, bar, 39), 0); /* and the bar again below */
    assert_non_null(strstr(line, "[############............]  50%"));
    assert_string_equal(text + used - 4, erase);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bar_shows_fraction_text_and_time_left),
        cmocka_unit_test(lines_come_every_10_s_or_5_percent),
        cmocka_unit_test(endless_work_reports_every_10_s),
        cmocka_unit_test(terminal_keeps_the_bar_below_the_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
