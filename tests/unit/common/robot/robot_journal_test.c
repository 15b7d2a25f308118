/* What was done on a robot is there afterwards: whole episodes, failed ones with their marks, and the
 * steps of a process that was killed. */
#include "common/robot/robot_journal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/trajectory/dataset.h"
#include "common/trajectory/shard_reader.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"
#include "tests/unit/common/robot/robot_samples.h"

static struct robot_description robot;

static int set_up(void **state)
{
    robot_sample(&robot);
    return scratch_set_up(state);
}

static struct robot_journal *open_journal(void)
{
    struct robot_journal *journal;
    struct err err = {0};
    const struct robot_journal_settings settings = {scratch_folder, "test", "sample", true};
    if (robot_journal_open(&journal, &settings, &robot.environment.signature, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return journal;
}

/* Begins an episode and takes n steps. */
static void act(struct robot_journal *journal, int n)
{
    struct err err = {0};
    float observation[4] = {0, 1, 2, 3};
    assert_int_equal(robot_journal_begin(journal, observation, &err), STATUS_OK);
    for (int i = 1; i <= n; i++) {
        const float action = 0.1f * (float)i, reward = (float)i;
        observation[0] = (float)i;
        assert_int_equal(robot_journal_step(journal, &action, &reward, 1.0f, observation, &err),
                         STATUS_OK);
    }
}

/* The transitions of the episodes of a dataset in the folder, as "3 2 "; checks the last numbers. */
static const char *lengths(const char *name)
{
    static char text[64];
    struct dataset *dataset;
    struct shard_reader *reader;
    struct episode episode;
    struct err err = {0};
    text[0] = '\0';
    if (dataset_open(&dataset, scratch_at(name), &err) != STATUS_OK) {
        return "";
    }
    episode_init(&episode, signature_width(&robot.environment.signature));
    for (size_t shard = 0; shard < dataset_n_shards(dataset); shard++) {
        assert_int_equal(shard_reader_open(&reader, dataset, shard, &err), STATUS_OK);
        for (uint64_t i = 0; i < shard_reader_episodes(reader); i++) {
            assert_int_equal(shard_reader_read(reader, i, &episode, &err), STATUS_OK);
            const float *last = episode.rows + (size_t)episode.T * episode.W;
            assert_true(last[0] == (float)episode.T && last[3] == 3.0f);
            assert_true(episode_return(&episode, &robot.environment.signature, 0) ==
                        0.5 * episode.T * (episode.T + 1));
            (void)snprintf(text + strlen(text), sizeof text - strlen(text), "%u ", episode.T);
        }
        shard_reader_close(reader);
    }
    episode_fini(&episode);
    dataset_close(dataset);
    return text;
}

/* The marks hold this text. */
static void assert_marked(const char *words)
{
    char *marks = scratch_read(scratch_at("failed.jsonl"));
    assert_non_null(marks);
    assert_non_null(strstr(marks, words));
    free(marks);
}

static void whole_and_failed_episodes(void **state)
{
    (void)state;
    struct err err = {0};
    struct robot_journal *journal = open_journal();
    act(journal, 3);
    assert_int_equal(robot_journal_end(journal, &err), STATUS_OK);
    act(journal, 2);
    assert_int_equal(robot_journal_fail(journal, "sensor", "it is \"nan\"", &err), STATUS_OK);
    act(journal, 0); /* without a step there is nothing to keep */
    assert_int_equal(robot_journal_fail(journal, "late", "", &err), STATUS_OK);
    act(journal, 4);
    act(journal, 5); /* the one before was given up */
    assert_int_equal(robot_journal_end(journal, &err), STATUS_OK);
    robot_journal_close(journal);
    assert_string_equal(lengths("logs"), "3 5 ");
    assert_string_equal(lengths("failed"), "2 4 ");
    assert_marked("{\"episode\":1,\"steps\":2,\"kind\":\"sensor\",\"text\":\"it is \\\"nan\\\"\"");
    assert_marked("{\"episode\":2,\"steps\":4,\"kind\":\"given up\"");
}

static void steps_of_a_killed_process(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        struct robot_journal *journal = open_journal();
        struct err err = {0};
        act(journal, 3);
        (void)!robot_journal_end(journal, &err);
        act(journal, 7);
        _exit(0); /* without a close, as after kill -9 */
    }
    int how;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFEXITED(how) && WEXITSTATUS(how) == 0);
    /* A step that was being written is left out. */
    FILE *steps = fopen(scratch_at("steps"), "ab");
    assert_non_null(steps);
    assert_int_equal(fwrite("half a", 1, 6, steps), 6);
    assert_int_equal(fclose(steps), 0);
    robot_journal_close(open_journal());
    robot_journal_close(open_journal());
    assert_string_equal(lengths("logs"), "3 ");
    assert_string_equal(lengths("failed"), "7 ");
    assert_marked("\"steps\":7,\"kind\":\"killed\"");
}

static void one_process_and_one_robot(void **state)
{
    (void)state;
    struct err err = {0};
    struct robot_journal *journal = open_journal(), *other;
    struct robot_journal_settings settings = {scratch_folder, "test", "sample", true};
    assert_int_equal(robot_journal_open(&other, &settings, &robot.environment.signature, &err),
                     STATUS_EXISTS);
    robot_journal_close(journal);
    settings.robot = "another";
    assert_int_equal(robot_journal_open(&other, &settings, &robot.environment.signature, &err),
                     STATUS_MISMATCH);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(whole_and_failed_episodes, set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(steps_of_a_killed_process, set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(one_process_and_one_robot, set_up, scratch_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
