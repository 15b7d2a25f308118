/* Proposals for logs with common column names and shapes. */
#include "tests/lib/check.h"

#include <string.h>

#include "common/logs/propose/propose.h"
#include "tests/lib/scratch.h"

/* Returns the mapping proposed for this CSV file. The caller releases it and `notes`. */
static struct mapping proposed(const char *csv, struct text *notes)
{
    struct logs *logs;
    struct mapping mapping = {0};
    struct err err = {0};
    scratch_write(scratch_at("log.csv"), csv);
    if (logs_open(&logs, scratch_at("log.csv"), &err) != STATUS_OK ||
        propose_mapping(logs, &mapping, notes, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    logs_close(logs);
    return mapping;
}

static void numbered_columns_are_one_slice(void **state)
{
    (void)state;
    struct text notes = {0};
    struct mapping m = proposed("time,q_0,q_1,v,tau_0,tau_1,success\n"
                                "0,1,2,3,-4,8,0\n0.05,1,2,3,5,6,0\n0.1,1,2,3,,,1\n",
                                &notes);
    assert_int_equal(m.n_slices, 2);
    assert_string_equal(m.slices[0], "q");
    assert_int_equal(m.observation[0].n, 2);
    assert_string_equal(m.slices[1], "v");
    assert_int_equal(m.A, 2);
    assert_true(m.action_min[0] == -4 && m.action_max[0] == 5);
    assert_true(m.action_min[1] == 6 && m.action_max[1] == 8);
    assert_true(m.control_period_s == 0.05);
    assert_int_equal(m.last, MAPPING_LAST_ROW);
    assert_int_equal(m.K, 1);
    assert_int_equal(m.reward[0].row, MAPPING_ROW_NEXT);
    assert_string_equal(m.terminated.column, "success");
    assert_non_null(strstr(notes.bytes, "success is used as the reward"));
    mapping_fini(&m);
    text_fini(&notes);
}

static void flags_inside_a_recording_end_episodes(void **state)
{
    (void)state;
    struct text notes = {0};
    struct mapping m =
        proposed("observations,next_observations,actions,rewards,terminals,timeouts\n"
                 "1,2,0,1,0,0\n2,3,1,1,1,0\n5,6,0,1,0,0\n6,7,1,1,0,1\n",
                 &notes);
    assert_int_equal(m.episodes, MAPPING_BY_FLAGS);
    assert_int_equal(m.last, MAPPING_LAST_NEXT);
    assert_string_equal(m.next[0].names[0], "next_observations");
    assert_string_equal(m.terminated.column, "terminals");
    assert_string_equal(m.timeout.column, "timeouts");
    assert_string_equal(m.rewards[0], "reward");
    mapping_fini(&m);
    text_fini(&notes);
}

/* The flag of the last action is in the last row but one, where the last row holds only the
 * observation after it. */
static void a_flag_before_an_empty_last_row_is_at_the_end(void **state)
{
    (void)state;
    struct text notes = {0};
    struct mapping m = proposed("x,action,reward,terminated\n1,0,1,0\n2,1,1,1\n3,,,\n", &notes);
    assert_int_equal(m.episodes, MAPPING_BY_RECORDING);
    assert_int_equal(m.last, MAPPING_LAST_ROW);
    assert_int_equal(m.terminated.row, MAPPING_ROW_SAME);
    mapping_fini(&m);
    text_fini(&notes);
}

static void done_at_every_end_is_not_a_termination(void **state)
{
    (void)state;
    struct text notes = {0};
    struct mapping m = proposed("x,next_x,action,reward,done\n1,2,0,1,0\n2,3,1,1,1\n", &notes);
    assert_string_equal(m.terminated.column, "");
    assert_non_null(strstr(notes.bytes, "it counts as a time limit"));
    mapping_fini(&m);
    text_fini(&notes);
}

static void episodes_by_a_column(void **state)
{
    (void)state;
    struct text notes = {0};
    struct mapping m = proposed("episode_index,frame_index,observation.state,action,next.reward\n"
                                "0,0,1,0,0\n0,1,1,1,1\n1,0,2,0,0\n1,1,2,1,1\n",
                                &notes);
    assert_int_equal(m.episodes, MAPPING_BY_COLUMN);
    assert_string_equal(m.episode_column, "episode_index");
    assert_int_equal(m.last, MAPPING_LAST_NONE);
    assert_int_equal(m.n_slices, 1);
    assert_string_equal(m.slices[0], "state");
    assert_string_equal(m.reward[0].column, "next.reward");
    mapping_fini(&m);
    text_fini(&notes);
}

static void without_an_action_the_columns_are_listed(void **state)
{
    (void)state;
    struct logs *logs;
    struct mapping mapping;
    struct text notes = {0};
    struct err err = {0};
    scratch_write(scratch_at("log.csv"), "alpha,beta\n1,2\n");
    assert_int_equal(logs_open(&logs, scratch_at("log.csv"), &err), STATUS_OK);
    assert_int_equal(propose_mapping(logs, &mapping, &notes, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "no column looks like an action"));
    assert_non_null(strstr(err.text, "alpha, beta"));
    text_fini(&notes);
    logs_close(logs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbered_columns_are_one_slice),
        cmocka_unit_test(flags_inside_a_recording_end_episodes),
        cmocka_unit_test(a_flag_before_an_empty_last_row_is_at_the_end),
        cmocka_unit_test(done_at_every_end_is_not_a_termination),
        cmocka_unit_test(episodes_by_a_column),
        cmocka_unit_test(without_an_action_the_columns_are_listed),
    };
    return cmocka_run_group_tests(tests, scratch_set_up, scratch_tear_down);
}
