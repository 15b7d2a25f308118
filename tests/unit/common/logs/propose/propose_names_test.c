/* What the names of columns say: roles, and which columns are one slice. */
#include "tests/lib/check.h"

#include "common/logs/propose/propose_names.h"

static struct recording_column column(const char *name, enum recording_kind kind, uint32_t width)
{
    struct recording_column made = {.kind = kind, .width = width, .rows = 3};
    snprintf(made.name, sizeof made.name, "%s", name);
    return made;
}

static enum propose_role role(const char *name)
{
    const struct recording_column made = column(name, RECORDING_NUMBERS, 1);
    return propose_names_role(&made);
}

static void the_last_part_of_a_name_gives_the_role(void **state)
{
    (void)state;
    assert_int_equal(role("robot/TAU_12"), PROPOSE_ROLE_ACTION);
    assert_int_equal(role("u[3]"), PROPOSE_ROLE_ACTION);
    assert_int_equal(role("log.is_terminal"), PROPOSE_ROLE_TERMINATED);
    assert_int_equal(role("voltage"), PROPOSE_ROLE_OBSERVATION);
    assert_int_equal(role("12"), PROPOSE_ROLE_OBSERVATION);
    /* A prefix of the whole name counts first. */
    assert_int_equal(role("next_obs/action"), PROPOSE_ROLE_NEXT_OBSERVATION);
    assert_int_equal(role("infos/reward"), PROPOSE_ROLE_IGNORED);
    const struct recording_column text = column("action", RECORDING_TEXT, 1);
    assert_int_equal(propose_names_role(&text), PROPOSE_ROLE_IGNORED);
}

static void observations_are_named_by_their_first_part(void **state)
{
    (void)state;
    assert_true(propose_names_observation("obs/x"));
    assert_true(propose_names_observation("Observation.state"));
    assert_true(propose_names_observation("observations"));
    assert_false(propose_names_observation("observer"));
    assert_false(propose_names_observation("q/obs"));
}

static void numbered_columns_are_one_slice(void **state)
{
    (void)state;
    const struct recording_column q0 = column("q_0", RECORDING_NUMBERS, 1);
    const struct recording_column q1 = column("q_1", RECORDING_NUMBERS, 1);
    const struct recording_column dq1 = column("dq_1", RECORDING_NUMBERS, 1);
    const struct recording_column wide = column("q_1", RECORDING_NUMBERS, 2);
    const struct recording_column plain = column("q", RECORDING_NUMBERS, 1);
    assert_true(propose_names_same_slice(&q0, &q1));
    assert_false(propose_names_same_slice(&q0, &dq1));
    assert_false(propose_names_same_slice(&q0, &wide));
    assert_false(propose_names_same_slice(&plain, &plain));
    char name[SIGNATURE_NAME_SIZE];
    propose_names_slice("obs/joint q_0", false, name);
    assert_string_equal(name, "joint_q_0");
    propose_names_slice("obs/joint q_0", true, name);
    assert_string_equal(name, "joint_q");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_last_part_of_a_name_gives_the_role),
        cmocka_unit_test(observations_are_named_by_their_first_part),
        cmocka_unit_test(numbered_columns_are_one_slice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
