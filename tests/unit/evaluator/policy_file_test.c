/* Kept policies: the same policy, with notes; and the prior inside a package. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/networks/policy_copy.h"
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

/* A package whose metadata `key` is `text`. */
static void *package_with(const char *key, const char *text, size_t *size)
{
    struct safetensors *file;
    struct safetensors_writer *writer;
    void *made;
    void *package = policies_package(&signature, 1, false, size);
    assert_int_equal(safetensors_parse(&file, package, *size, NULL), STATUS_OK);
    assert_int_equal(safetensors_writer_new(&writer), STATUS_OK);
    for (size_t i = 0; i < safetensors_count(file); i++) {
        const struct safetensors_tensor *tensor = safetensors_at(file, i);
        assert_int_equal(safetensors_add(writer, tensor->name, tensor->type, tensor->n_dims,
                                         tensor->shape, tensor->data, NULL),
                         STATUS_OK);
    }
    for (size_t i = 0; i < safetensors_metadata_count(file); i++) {
        const char *name, *value;
        safetensors_metadata_at(file, i, &name, &value);
        assert_int_equal(
            safetensors_note(writer, name, strcmp(name, key) == 0 ? text : value, NULL), STATUS_OK);
    }
    assert_int_equal(safetensors_encode(writer, &made, size, NULL), STATUS_OK);
    safetensors_writer_free(writer);
    safetensors_free(file);
    mem_free(package);
    return made;
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
    assert_int_equal(policy_read_prior(&prior, path, &err), STATUS_OK);
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
    assert_int_equal(policy_read_prior(&prior, path, &err), STATUS_OK);
    assert_int_equal(policy_candidates(prior), 1);
    assert_string_equal(policy_info(prior)->acting, POLICY_ACT_GAUSSIAN);
    policy_free(prior);
    mem_free(package);
    package = policies_package(&signature, 5, false, &size);
    keep(package, size, 1);
    assert_int_equal(policy_read_prior(&prior, path, &err), STATUS_NOT_FOUND);
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

/* Texts of a package end on terminals and in reports: control characters are refused. */
static void control_characters_in_metadata_are_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {"abm\x1b[2Jpo", "abm\x07mpo", "a\xc2\x9bmpo"};
    struct err err = {0};
    struct policy *policy = NULL;
    struct policy_notes notes = {"run\x1b]0;x", 1, 1, 0, 0};
    size_t size;
    void *package = policies_package(&signature, 1, false, &size);
    assert_int_equal(policy_file_keep(path, package, size, &notes, &err), STATUS_OK);
    assert_int_equal(policy_file_load(path, NULL, &notes, &err), STATUS_CORRUPT);
    assert_null(strchr(err.text, 0x1b));
    mem_free(package);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        package = package_with("algorithm", bad[i], &size);
        assert_int_equal(policy_parse(&policy, package, size, &err), STATUS_CORRUPT);
        assert_non_null(strstr(err.text, "algorithm"));
        assert_null(strchr(err.text, 0x1b));
        mem_free(package);
    }
    assert_null(policy);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_kept_policy_acts_as_it_did, setup, scratch_tear_down),
        cmocka_unit_test_setup_teardown(a_mean_that_is_not_there_stays_so, setup,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(the_prior_is_a_policy_of_its_own, setup, scratch_tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_policy_is_refused, setup, scratch_tear_down),
        cmocka_unit_test_setup_teardown(control_characters_in_metadata_are_refused, setup,
                                        scratch_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
