/* returns.csv: lines and journal agree after any crash. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "collector/returns_file.h"
#include "common/base/file.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"
#include "tests/lib/trajectories.h"

#define HEADER "episode,wall_s,version,learner_step,acting,task,steps,return_run,return_walk\n"

static char path[2 * SCRATCH_SIZE];
static struct environment_description environment;
static struct signature *const signature = &environment.signature;

static int setup(void **state)
{
    (void)state;
    scratch_make(scratch_folder);
    scratch_path(path, scratch_folder, "returns.csv");
    trajectories_signature(signature, 2);
    return 0;
}

static struct returns_file *open_file(uint64_t last)
{
    struct returns_file *file;
    struct err err = {0};
    if (returns_file_open(&file, path, &environment, last, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return file;
}

/* One transition with rewards (1.5, -2). */
static void append(struct returns_file *file, uint64_t sequence, bool random)
{
    struct err err = {0};
    struct finished_episode *finished = finished_episode_new(sequence, signature_width(signature));
    float observation[16] = {0}, action[4] = {0}, rewards[2] = {1.5f, -2.0f};
    finished->acting = random ? ACTING_RANDOM : ACTING_POLICY;
    finished->version = random ? 0 : 7;
    finished->learner_step = random ? 0 : 350;
    finished->task = 1;
    assert_int_equal(episode_begin(finished->episode, signature, observation, &err), STATUS_OK);
    assert_int_equal(
        episode_step(finished->episode, signature, action, rewards, 1.0f, observation, &err),
        STATUS_OK);
    assert_int_equal(returns_file_append(file, finished, 0.25 * (double)sequence, &err), STATUS_OK);
    finished_episode_free(finished);
}

static void check_text(const char *want)
{
    char *got = scratch_read(path);
    assert_string_equal(got, want);
    free(got);
}

static void lines_say_what_was_acted(void **state)
{
    (void)state;
    struct returns_file *file = open_file(0);
    append(file, 1, true);
    append(file, 2, false);
    returns_file_close(file);
    check_text(HEADER "1,0.250,0,0,random,walk,1,1.5,-2\n"
                      "2,0.500,7,350,policy,walk,1,1.5,-2\n");
}

/* The reward 1.5 of the first task is a success, -2 of the second is not. */
static void a_last_column_tells_success(void **state)
{
    (void)state;
    environment.success_steps = 20;
    environment.success[0] = 1.5;
    environment.success[1] = -1.9;
    struct returns_file *file = open_file(0);
    append(file, 1, true);
    environment.success[1] = -2.0;
    append(file, 2, true);
    returns_file_close(file);
    check_text("episode,wall_s,version,learner_step,acting,task,steps,return_run,return_walk,"
               "success\n"
               "1,0.250,0,0,random,walk,1,1.5,-2,0\n"
               "2,0.500,0,0,random,walk,1,1.5,-2,1\n");
    /* They are lines to keep. */
    returns_file_close(open_file(1));
    char *got = scratch_read(path);
    assert_non_null(strstr(got, "\n1,0.250"));
    assert_null(strstr(got, "\n2,0.500"));
    free(got);
    memset(&environment.success_steps, 0, sizeof environment.success_steps);
}

static void a_restart_takes_away_what_the_journal_lacks(void **state)
{
    (void)state;
    scratch_write(
        path,
        HEADER "1,a,0,0,random,run,1,1,1\n2,b,0,0,random,run,1,1,1\n3,c,0,0,random,run,1,1,1\n4,d");
    returns_file_close(open_file(2));
    check_text(HEADER "1,a,0,0,random,run,1,1,1\n2,b,0,0,random,run,1,1,1\n");
    struct returns_file *file = open_file(2);
    append(file, 3, true);
    returns_file_close(file);
    check_text(
        HEADER
        "1,a,0,0,random,run,1,1,1\n2,b,0,0,random,run,1,1,1\n3,0.750,0,0,random,walk,1,1.5,-2\n");
}

static void torn_anywhere_it_opens_again(void **state)
{
    (void)state;
    const char *whole = HEADER "1,a,0,0,random,run,1,1,1\n2,b,0,0,random,run,1,1,1\n";
    for (size_t n = 0; n <= strlen(whole); n++) {
        char torn[256];
        snprintf(torn, sizeof torn, "%.*s", (int)n, whole);
        scratch_write(path, torn);
        returns_file_close(open_file(2));
        const size_t line = strlen("1,a,0,0,random,run,1,1,1\n");
        size_t good = n < strlen(HEADER)          ? 0
                      : n == strlen(whole)        ? 2 * line
                      : n >= strlen(whole) - line ? line
                                                  : 0;
        char want[256];
        snprintf(want, sizeof want, "%s%.*s", HEADER, (int)good,
                 "1,a,0,0,random,run,1,1,1\n2,b,0,0,random,run,1,1,1\n");
        check_text(want);
    }
}

/* Half a line that could not be removed costs neither the lines before it nor those behind it. */
static void half_a_line_costs_no_other(void **state)
{
    (void)state;
    scratch_write(path, HEADER "1,a,0,0,random,run,1,1,1\n2,0.5\n\nx,y\n2,b,0,0,random,run,1,1,1\n"
                               "3,c,0,0,random,run,1,1,1\n");
    returns_file_close(open_file(3));
    check_text(HEADER "1,a,0,0,random,run,1,1,1\n2,b,0,0,random,run,1,1,1\n"
                      "3,c,0,0,random,run,1,1,1\n");
}

static void a_failed_write_leaves_whole_lines(void **state)
{
    (void)state;
    struct returns_file *file = open_file(0);
    append(file, 1, true);
    struct finished_episode *finished = finished_episode_new(2, signature_width(signature));
    float observation[16] = {0};
    assert_int_equal(episode_begin(finished->episode, signature, observation, NULL), STATUS_OK);
    file_fail_at(1, ENOSPC);
    assert_int_equal(returns_file_append(file, finished, 1, NULL), STATUS_FULL);
    file_fail_at(0, 0);
    finished_episode_free(finished);
    append(file, 2, true);
    returns_file_close(file);
    check_text(HEADER "1,0.250,0,0,random,walk,1,1.5,-2\n2,0.500,0,0,random,walk,1,1.5,-2\n");
}

static void other_columns_are_refused(void **state)
{
    (void)state;
    struct returns_file *file;
    struct err err = {0};
    scratch_write(path,
                  "time,episode,return_run,something,else,that,is,longer,than,the,header,of,ours"
                  ",by,far\n1,2\n");
    assert_int_equal(returns_file_open(&file, path, &environment, 2, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "return_walk"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lines_say_what_was_acted, setup, scratch_tear_down),
        cmocka_unit_test_setup_teardown(a_last_column_tells_success, setup, scratch_tear_down),
        cmocka_unit_test_setup_teardown(a_restart_takes_away_what_the_journal_lacks, setup,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(torn_anywhere_it_opens_again, setup, scratch_tear_down),
        cmocka_unit_test_setup_teardown(half_a_line_costs_no_other, setup, scratch_tear_down),
        cmocka_unit_test_setup_teardown(a_failed_write_leaves_whole_lines, setup,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(other_columns_are_refused, setup, scratch_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
