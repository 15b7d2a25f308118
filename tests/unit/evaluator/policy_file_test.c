/* Kept policies: the same policy, with notes; and the prior inside a package. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "evaluator/policy_file.h"
#include "tests/lib/check.h"
#include "tests/lib/policies.h"
#include "tests/lib/scratch.h"
#include "tests/lib/trajectories.h"

#define ACTIONS 2

static char path[2 * SCRATCH_SIZE];
static struct signature signature;

static int setup(void **state)
{
    (void)state;
    scratch_make(scratch_folder);
    scratch_path(path, scratch_folder, "policy.safetensors");
    trajectories_signature(&signature, 1);
    return signature.A == ACTIONS ? 0 : -1;
}

static void act(const struct policy *policy, float actions[ACTIONS])
{
    float scratch[1 << 14] __attribute__((aligned(64)));
    const float input[] = {0.1f, -2.0f, 0.7f, 1.5f, -0.3f};
    assert_int_equal(policy_inputs(policy_info(policy)), 5);
    policy_act(policy, actions, input, NULL, 1, scratch);
}

static void keep(const void *package, size_t size, double mean)
{
    struct err err = {0};
    struct policy_notes notes = {"run-a", 12, 600, mean, 3.5};
    if (policy_file_keep(path, package, size, &notes, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
}

static void a_kept_policy_acts_as_it_did(void **state)
{
    (void)state;
    struct err err = {0};
    struct policy *before = policies_make(&signature, 1), *after;
    struct policy_notes notes;
    size_t size;
    float want[ACTIONS], got[ACTIONS];
    void *package = policies_package(&signature, 1, true, &size);
    keep(package, size, 77.25);
    keep(package, size, 78.5); /* replaced, notes too */
    assert_int_equal(policy_file_load(path, &after, &notes, &err), STATUS_OK);
    assert_string_equal(notes.run_id, "run-a");
    assert_int_equal(notes.version, 12);
    assert_int_equal(notes.learner_step, 600);
    assert_true(notes.return_mean == 78.5 && notes.wall_s == 3.5);
    act(before, want);
    act(after, got);
    assert_memory_equal(got, want, sizeof want);
    assert_int_equal(policy_info(after)->learner_step, 1001);
    assert_string_equal(policy_note(after, "setting/prior_min_std"), "0.05");
    policy_free(before);
    policy_free(after);
    mem_free(package);
}

static void a_mean_that_is_not_there_stays_so(void **state)
{
    (void)state;
    struct err err = {0};
    struct policy_notes notes;
    size_t size;
    void *package = policies_package(&signature, 1, false, &size);
    keep(package, size, (double)NAN);
    assert_int_equal(policy_file_load(path, NULL, &notes, &err), STATUS_OK);
    assert_true(isnan(notes.return_mean));
    mem_free(package);
}

/* The prior is another network (seed + 1000 in the test's packages) with its own least std. */
static void the_prior_is_a_policy_of_its_own(void **state)
{
    (void)state;
    struct err err = {0};
    struct policy *prior, *expected = policies_make(&signature, 1005);
    size_t size;
    float want[ACTIONS], got[ACTIONS];
    void *package = policies_package(&signature, 5, true, &size);
    keep(package, size, 1);
    assert_int_equal(policy_file_load_prior(path, &prior, &err), STATUS_OK);
    act(expected, want);
    act(prior, got);
    assert_memory_equal(got, want, sizeof want);
    assert_true(policy_info(prior)->min_std == 0.05);
    policy_free(prior);
    policy_free(expected);
    mem_free(package);
    /* It does not choose among candidates, where the policy does. */
    package = policies_argmax_package(&signature, 5, &size);
    keep(package, size, 1);
    assert_int_equal(policy_file_load_prior(path, &prior, &err), STATUS_OK);
    assert_int_equal(policy_candidates(prior), 1);
    assert_string_equal(policy_info(prior)->acting, POLICY_ACT_GAUSSIAN);
    policy_free(prior);
    mem_free(package);
    package = policies_package(&signature, 5, false, &size);
    keep(package, size, 1);
    assert_int_equal(policy_file_load_prior(path, &prior, &err), STATUS_NOT_FOUND);
    mem_free(package);
}

static void what_is_no_policy_is_refused(void **state)
{
    (void)state;
    struct err err = {0};
    struct policy *policy;
    struct policy_notes notes = {"run", 1, 1, 0, 0};
    assert_int_equal(policy_file_load(path, &policy, &notes, &err), STATUS_NOT_FOUND);
    scratch_write(path, "not a package");
    assert_int_equal(policy_file_load(path, &policy, &notes, &err), STATUS_CORRUPT);
    assert_int_equal(policy_file_keep(path, "junk", 4, &notes, &err), STATUS_CORRUPT);
    /* A package that nobody evaluated loads as a policy, but has no notes. */
    size_t size;
    void *package = policies_package(&signature, 5, false, &size);
    FILE *file = fopen(path, "wb");
    assert_int_equal(fwrite(package, 1, size, file), size);
    fclose(file);
    mem_free(package);
    assert_int_equal(policy_file_load(path, NULL, &notes, &err), STATUS_CORRUPT);
    assert_non_null(strstr(err.text, "evaluated/run_id"));
    assert_int_equal(policy_file_load(path, &policy, NULL, &err), STATUS_OK);
    policy_free(policy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_kept_policy_acts_as_it_did, setup, scratch_tear_down),
        cmocka_unit_test_setup_teardown(a_mean_that_is_not_there_stays_so, setup,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(the_prior_is_a_policy_of_its_own, setup, scratch_tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_policy_is_refused, setup, scratch_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
