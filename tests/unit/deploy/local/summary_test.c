/* The summary of a run: gathered from what the processes left, without what was not made. */
#include "deploy/local/summary.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/json.h"
#include "common/trajectory/dataset_writer.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"
#include "tests/lib/trajectories.h"

static double make_logs(const char *path, uint64_t seed)
{
    struct err err = {0};
    struct signature signature;
    trajectories_signature(&signature, 1);
    struct episode episode;
    trajectories_episode(&episode, &signature, 20, seed, false);
    double sum = episode_return(&episode, &signature, 0);
    const struct episode *list[] = {&episode};
    struct dataset_writer *writer;
    assert_int_equal(dataset_writer_open(&writer, path, &signature, NULL, &err), STATUS_OK);
    assert_int_equal(dataset_writer_shard(writer, list, 1, &err), STATUS_OK);
    dataset_writer_close(writer);
    episode_fini(&episode);
    return sum;
}

static status make_summary(struct err *err)
{
    FILE *out = fopen("/dev/null", "w");
    status s = summary_make(scratch_folder, false, 12.5, out, err);
    fclose(out);
    return s;
}

static double number(const char *key)
{
    char path[2 * SCRATCH_SIZE];
    struct err err = {0};
    cJSON *json;
    double value;
    assert_int_equal(
        json_read(scratch_path(path, scratch_folder, "summary.json"), 1 << 20, &json, &err),
        STATUS_OK);
    assert_int_equal(json_number(json, key, &value, "summary", &err), STATUS_OK);
    cJSON_Delete(json);
    return value;
}

static void assert_number(const char *key, double expected)
{
    double value = number(key);
    if (fabs(value - expected) > 1e-9 * fmax(1, fabs(expected))) {
        fail_msg("%s: %.17g, expected %.17g", key, value, expected);
    }
}

static void all_parts_are_gathered(void **state)
{
    (void)state;
    char a[2 * SCRATCH_SIZE], b[2 * SCRATCH_SIZE], path[2 * SCRATCH_SIZE], text[8 * SCRATCH_SIZE];
    double first = make_logs(scratch_path(a, scratch_folder, "a"), 1);
    double second = make_logs(scratch_path(b, scratch_folder, "b"), 2);
    snprintf(text, sizeof text, "{\"datasets\": [\"%s\", \"%s\"]}", a, b);
    scratch_write(scratch_path(path, scratch_folder, "restorer.json"), text);
    scratch_write(scratch_path(path, scratch_folder, "evaluation.json"),
                  "{\"return_mean\": 150.5, \"prior_return_mean\": 70, \"algorithm\": \"abm+mpo\", "
                  "\"last\": {\"return_mean\": 140, \"learner_step\": 207}}");
    scratch_write(
        scratch_path(path, scratch_folder, "learner.jsonl"),
        "{\"step\": 100, \"learning_seconds\": 4}\n{\"step\": 200, \"learning_seconds\": 5}\n");
    struct err err = {0};
    assert_int_equal(make_summary(&err), STATUS_OK);
    assert_true(summary_is_there(scratch_folder));
    assert_number("logged_return_mean", (first + second) / 2);
    double larger = first > second ? first : second;
    assert_number("logged_return_max", larger);
    assert_number("policy_return_mean", 150.5);
    assert_number("prior_return_mean", 70);
    assert_number("last_policy_return_mean", 140);
    assert_number("learner_steps", 207); /* the limit was reached between two reports */
    assert_number("learner_steps_per_second", 40);
    assert_number("wall_seconds", 12.5);
}

static void what_was_not_made_is_left_out(void **state)
{
    (void)state;
    struct err err = {0};
    assert_false(summary_is_there(scratch_folder));
    assert_int_equal(make_summary(&err), STATUS_OK);
    assert_number("wall_seconds", 12.5);
    char path[2 * SCRATCH_SIZE];
    char *text = scratch_read(scratch_path(path, scratch_folder, "summary.json"));
    assert_null(strstr(text, "policy_return_mean"));
    free(text);
}

static void a_damaged_part_is_named(void **state)
{
    (void)state;
    char path[2 * SCRATCH_SIZE];
    scratch_write(scratch_path(path, scratch_folder, "evaluation.json"), "{\"return_mean\": ");
    struct err err = {0};
    assert_int_not_equal(make_summary(&err), STATUS_OK);
    assert_non_null(strstr(err.text, "evaluation.json"));
    assert_false(summary_is_there(scratch_folder));
}

static void a_long_file_is_read_at_its_end(void **state)
{
    (void)state;
    char path[2 * SCRATCH_SIZE];
    FILE *file = fopen(scratch_path(path, scratch_folder, "learner.jsonl"), "w");
    assert_non_null(file);
    for (int i = 1; i <= 40000; i++) { /* 3 MiB, and lines that the last MiB cuts */
        fprintf(file, "{\"step\": %d, \"learning_seconds\": %d, \"more\": \"0123456789012345\"}\n",
                i, 2 * i);
    }
    assert_int_equal(fclose(file), 0);
    struct err err = {0};
    assert_int_equal(make_summary(&err), STATUS_OK);
    assert_number("learner_steps", 40000);
    assert_number("learner_steps_per_second", 0.5);
}

static void a_cut_last_line_is_skipped(void **state)
{
    (void)state;
    char path[2 * SCRATCH_SIZE];
    scratch_write(scratch_path(path, scratch_folder, "learner.jsonl"),
                  "{\"step\": 100, \"learning_seconds\": 4}\n\n{\"step\": 200, \"learning_sec");
    struct err err = {0};
    assert_int_equal(make_summary(&err), STATUS_OK);
    assert_number("learner_steps", 100);
    scratch_write(path, "");
    assert_int_equal(make_summary(&err), STATUS_OK);
    scratch_write(path, "nothing of\nuse\n");
    assert_int_equal(make_summary(&err), STATUS_CORRUPT);
    assert_non_null(strstr(err.text, "learner.jsonl"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_parts_are_gathered, scratch_set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(what_was_not_made_is_left_out, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(a_damaged_part_is_named, scratch_set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(a_long_file_is_read_at_its_end, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(a_cut_last_line_is_skipped, scratch_set_up,
                                        scratch_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
