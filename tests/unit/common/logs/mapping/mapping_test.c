/* Mapping files: every key, writing and reading back, and errors with their lines. */
#include "tests/lib/check.h"

#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/logs/mapping/mapping.h"
#include "tests/lib/scratch.h"

static const char whole[] = "format: csv\n"
                            "control_period_s: 0.02\n"
                            "episodes: {by: column, column: run}\n"
                            "observation:\n"
                            "  q: [q_0, q_1]\n"
                            "  strain: {columns: s, scale: 1000, offset: -1}\n"
                            "last_observation: next_observation\n"
                            "next_observation:\n"
                            "  q: [n_0, n_1]\n"
                            "  strain: {columns: [n_s], scale: 1000, offset: -1}\n"
                            "action:\n"
                            "  columns: [tau]\n"
                            "  min: [-12]\n"
                            "  max: [8]\n"
                            "rewards:\n"
                            "  reach: {column: \"r: each\", row: next}\n"
                            "  stay: s\n"
                            "terminated: {column: done, above: 0.5}\n"
                            "timeout: late\n";

static struct mapping read_text(const char *text)
{
    struct mapping mapping;
    struct err err = {0};
    scratch_write(scratch_at("mapping.yaml"), text);
    if (mapping_read(&mapping, scratch_at("mapping.yaml"), &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return mapping;
}

/* Reading the text must fail with an error text that contains `part`. */
static void refused(const char *text, const char *part)
{
    struct mapping mapping;
    struct err err = {0};
    scratch_write(scratch_at("mapping.yaml"), text);
    assert_int_equal(mapping_read(&mapping, scratch_at("mapping.yaml"), &err), STATUS_INVALID);
    if (strstr(err.text, part) == NULL) {
        fail_msg("\"%s\" does not contain \"%s\"", err.text, part);
    }
}

static void every_key_is_read(void **state)
{
    (void)state;
    struct mapping m = read_text(whole);
    assert_string_equal(m.format, "csv");
    assert_true(m.control_period_s == 0.02);
    assert_int_equal(m.episodes, MAPPING_BY_COLUMN);
    assert_string_equal(m.episode_column, "run");
    assert_int_equal(m.n_slices, 2);
    assert_int_equal(m.observation[0].n, 2);
    assert_string_equal(m.observation[0].names[1], "q_1");
    assert_true(m.observation[0].scale == 1 && m.observation[0].offset == 0);
    assert_true(m.observation[1].scale == 1000 && m.observation[1].offset == -1);
    assert_int_equal(m.last, MAPPING_LAST_NEXT);
    assert_string_equal(m.next[1].names[0], "n_s");
    assert_int_equal(m.A, 1);
    assert_true(m.action_min[0] == -12 && m.action_max[0] == 8);
    assert_int_equal(m.K, 2);
    assert_string_equal(m.reward[0].column, "r: each");
    assert_int_equal(m.reward[0].row, MAPPING_ROW_NEXT);
    assert_int_equal(m.reward[1].row, MAPPING_ROW_SAME);
    assert_string_equal(m.terminated.column, "done");
    assert_true(m.terminated.above == 0.5);
    assert_string_equal(m.timeout.column, "late");
    mapping_fini(&m);
}

static void keys_may_come_in_any_order(void **state)
{
    (void)state;
    struct mapping m = read_text("observation: {q: {scale: 10, offset: 3, columns: [a, b]}}\n"
                                 "action: {max: [1], columns: u, min: [-1]}\n");
    assert_int_equal(m.observation[0].n, 2);
    assert_true(m.observation[0].scale == 10 && m.observation[0].offset == 3);
    assert_true(m.action_min[0] == -1 && m.action_max[0] == 1);
    mapping_fini(&m);
}

static void a_written_mapping_reads_back_the_same(void **state)
{
    (void)state;
    struct mapping first = read_text(whole);
    struct text once = {0}, twice = {0};
    mapping_write(&first, &once);
    struct mapping second = read_text(once.bytes);
    mapping_write(&second, &twice);
    assert_string_equal(once.bytes, twice.bytes);
    assert_int_equal(second.observation[0].n, first.observation[0].n);
    assert_true(second.observation[1].scale == 1000 && second.terminated.above == 0.5);
    assert_string_equal(second.reward[0].column, "r: each");
    text_fini(&once);
    text_fini(&twice);
    mapping_fini(&first);
    mapping_fini(&second);
}

static void keys_about_time_read_back_the_same(void **state)
{
    (void)state;
    struct text once = {0}, twice = {0};
    struct mapping first = read_text(
        "format: mcap\ncontrol_period_s: 0.02\nepisodes: {by: times, times: [[1, 2.5], [3, 4]]}\n"
        "resample:\n  clock: header\n  time: t\n  method: linear\n  max_gap_s: 0.5\n  gaps: bad\n"
        "  groups:\n    \"/imu\": {clock: log, time: u, method: hold, delay_s: -0.1, max_gap_s: "
        "1}\n"
        "    \"/a\": {}\n  columns: {\"/imu/q\": slerp, \"/r\": sum}\n"
        "observation:\n  q: [\"/imu/q\"]\naction:\n  columns: u\n  min: [0]\n  max: [1]\n");
    mapping_write(&first, &once);
    struct mapping second = read_text(once.bytes);
    mapping_write(&second, &twice);
    assert_string_equal(once.bytes, twice.bytes);
    const struct mapping_resample *resample = &second.resample;
    assert_true(resample->on && resample->gaps_are_bad && resample->max_gap_s == 0.5);
    assert_true(resample->n_times == 2 && resample->times[1][1] == 4);
    assert_true(resample->n_groups == 2 && resample->groups[0].delay_s == -0.1);
    assert_int_equal(resample->columns[0].method, RESAMPLE_SLERP);
    text_fini(&once);
    text_fini(&twice);
    mapping_fini(&first);
    mapping_fini(&second);
}

static void errors_name_line_and_key(void **state)
{
    (void)state;
    const char *const observation = "observation: {q: [a]}\n";
    const char *const action = "action: {columns: [u], min: [-1], max: [1]}\n";
    char text[512];
    refused("", "is empty");
    refused("observation: {q: [a]\n", "not valid YAML");
    refused(observation, "action: columns are missing");
    refused(action, "observation: is missing");
    refused("observation: {q: []}\n", "mapping.yaml:1: q: expected a column's name");
    refused("format: csv\nobservaton: {q: [a]}\n", "mapping.yaml:2: \"observaton\" is not a key");
    refused("observation: {q: [a], q: [b]}\n", "q is given twice");
    refused("observation: {q: {column: a}}\n", "\"column\": expected columns, scale or offset");
    refused("observation: {q: {scale: 2}}\n", "q: columns are missing");
    refused("control_period_s: soon\n", "control_period_s: expected a number");
    refused("control_period_s: .inf\n", "control_period_s: expected a number");
    refused("last_observation: first\n", "expected last_row, next_observation or none");
    refused("terminated: {row: next}\n", "terminated: column is missing");
    refused("episodes: {by: magic}\n", "by: expected recording, column, flags, gaps or times");
    refused("action: {columns: [u], min: [-1, -1], max: [1]}\n", "min and max differ in length");
    snprintf(text, sizeof text, "%s%sepisodes: {by: flags}\n", observation, action);
    refused(text, "by flags needs terminated or timeout");
    snprintf(text, sizeof text, "%s%sepisodes: {by: column}\n", observation, action);
    refused(text, "episodes: column is missing");
    snprintf(text, sizeof text, "%s%slast_observation: next_observation\n", observation, action);
    refused(text, "every slice of observation must be there");
}

static void the_signature_follows_from_the_columns(void **state)
{
    (void)state;
    struct mapping m = read_text("observation: {q: [a, b], s: [c]}\n"
                                 "action: {columns: [u], min: [-2, -2], max: [2, 4]}\n"
                                 "rewards: {r: r}\n");
    struct recording recording = {0};
    struct signature signature;
    struct err err = {0};
    assert_int_equal(recording_add(&recording, "a", RECORDING_NUMBERS, 3, 9, &err), STATUS_OK);
    assert_int_equal(recording_add(&recording, "b", RECORDING_NUMBERS, 1, 9, &err), STATUS_OK);
    assert_int_equal(mapping_signature(&m, &recording, &signature, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "observation: s: the logs have no column \"c\""));
    assert_int_equal(recording_add(&recording, "c", RECORDING_NUMBERS, 2, 9, &err), STATUS_OK);
    assert_int_equal(recording_add(&recording, "u", RECORDING_NUMBERS, 2, 9, &err), STATUS_OK);
    assert_int_equal(recording_add(&recording, "r", RECORDING_TEXT, 1, 9, &err), STATUS_OK);
    assert_int_equal(mapping_signature(&m, &recording, &signature, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "rewards: column \"r\" does not hold readable numbers"));
    recording.columns[4].kind = RECORDING_NUMBERS;
    assert_int_equal(mapping_signature(&m, &recording, &signature, &err), STATUS_OK);
    assert_int_equal(signature_observation(&signature), 6);
    assert_int_equal(signature.slices[0].size, 4);
    assert_true(signature.A == 2 && signature.action_max[1] == 4.0f);
    recording_fini(&recording);
    mapping_fini(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_is_read),
        cmocka_unit_test(keys_may_come_in_any_order),
        cmocka_unit_test(a_written_mapping_reads_back_the_same),
        cmocka_unit_test(keys_about_time_read_back_the_same),
        cmocka_unit_test(errors_name_line_and_key),
        cmocka_unit_test(the_signature_follows_from_the_columns),
    };
    return cmocka_run_group_tests(tests, scratch_set_up, scratch_tear_down);
}
