/* Checkpoints and packages: bit for bit, the same bytes for the same state, and nothing half read.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/networks/policy.h"
#include "learner/step/state.h"
#include "learner/step/update.h"
#include "tests/lib/check.h"
#include "tests/lib/learning.h"
#include "tests/lib/scratch.h"

static char path[2 * SCRATCH_SIZE];

static int make_folder(void **state)
{
    (void)state;
    scratch_make(scratch_folder);
    scratch_path(path, scratch_folder, "checkpoint.safetensors");
    return 0;
}

/* `n` steps, each on its own batch. */
static void run(struct update *update, struct state *learner, const struct settings *settings,
                int n)
{
    for (int i = 0; i < n; i++) {
        struct batch batch = learning_batch(settings, 6, 4, 100 + state_step(learner));
        struct err err;
        if (update_step(update, learner, &batch, NULL, NULL, &err) != STATUS_OK) {
            fail_msg("%s", err.text);
        }
        learning_free(&batch);
    }
}

static void assert_same(const struct state *a, const struct state *b)
{
    const size_t bytes = state_layout(a)->size * sizeof(float);
    assert_int_equal(state_step(a), state_step(b));
    assert_memory_equal(state_read(a, STATE_PARAMS), state_read(b, STATE_PARAMS), bytes);
    assert_memory_equal(state_read(a, STATE_TARGETS), state_read(b, STATE_TARGETS), bytes);
    assert_memory_equal(state_read(a, STATE_M), state_read(b, STATE_M), bytes);
    assert_memory_equal(state_read(a, STATE_V), state_read(b, STATE_V), bytes);
    assert_memory_equal(state_read(a, STATE_AVERAGE), state_read(b, STATE_AVERAGE), bytes);
    assert_int_equal(state_digest(a), state_digest(b));
}

/* One learner runs through; the other resumes from its checkpoint with fresh objects. */
static void check_resumed(const struct settings *settings)
{
    struct state *whole, *resumed;
    struct update *update, *other;
    struct err err;
    assert_int_equal(state_new(&whole, settings, &err), STATUS_OK);
    assert_int_equal(update_new(&update, settings, 6, 4, 2, &err), STATUS_OK);
    run(update, whole, settings, 4); /* targets were copied once, and are now different */
    const struct state_note notes[] = {{"position", "17"}};
    assert_int_equal(state_save(whole, settings, notes, 1, path, &err), STATUS_OK);

    /* Other initial weights, another update. */
    struct settings seeded = *settings;
    seeded.seed++;
    assert_int_equal(state_new(&resumed, &seeded, &err), STATUS_OK);
    assert_int_equal(update_new(&other, settings, 6, 4, 2, &err), STATUS_OK);
    run(other, resumed, settings, 1); /* its packed weights are those of another state */
    assert_int_not_equal(state_digest(resumed), state_digest(whole));
    struct safetensors *file;
    assert_int_equal(state_load(resumed, settings, path, &file, &err), STATUS_OK);
    assert_string_equal(safetensors_metadata(file, "position"), "17");
    safetensors_free(file);
    assert_same(resumed, whole);

    run(update, whole, settings, 5);
    run(other, resumed, settings, 5);
    assert_same(resumed, whole);
    update_free(update);
    update_free(other);
    state_free(whole);
    state_free(resumed);
}

static void a_resumed_learner_goes_on_bit_for_bit(void **state)
{
    (void)state;
    static const char *const precisions[] = {"f32", "bf16 evaluations", "bf16"};
    for (size_t i = 0; i < 3 * learning_variants(); i++) {
        char name[64];
        struct settings settings = learning_variant(i / 3, name);
        settings.evaluation_precision = i % 3 == 0 ? PRECISION_F32 : PRECISION_BF16;
        settings.precision = i % 3 == 2 ? PRECISION_BF16 : PRECISION_F32;
        settings.policy_average = 0.9;
        print_message("%s, %s\n", name, precisions[i % 3]);
        check_resumed(&settings);
    }
}

/* A file of a run without averages, taken up with them: they begin at its parameters. And packages
 * hold the average, where there is one. */
static void averages_begin_at_the_parameters(void **unused)
{
    (void)unused;
    struct settings settings = learning_settings("abm+mpo", 1, 1);
    struct state *state, *later;
    struct update *update;
    struct err err;
    assert_int_equal(state_new(&state, &settings, &err), STATUS_OK);
    assert_int_equal(update_new(&update, &settings, 6, 4, 2, &err), STATUS_OK);
    run(update, state, &settings, 3);
    update_free(update);
    assert_int_equal(state_save(state, &settings, NULL, 0, path, &err), STATUS_OK);
    settings.policy_average = 0.9;
    assert_int_equal(state_new(&later, &settings, &err), STATUS_OK);
    assert_int_equal(state_load(later, &settings, path, NULL, &err), STATUS_OK);
    const size_t n = state_layout(later)->size;
    assert_memory_equal(state_read(later, STATE_AVERAGE), state_read(state, STATE_PARAMS),
                        n * sizeof(float));

    /* Another average than the parameters. */
    const struct parameters_group *policy = parameters_group(state_layout(later), "policy");
    float *average = state_write(later, STATE_AVERAGE) + policy->at;
    for (size_t i = 0; i < policy->size; i++) {
        average[i] += (float)i;
    }
    void *package;
    size_t size;
    struct safetensors *file;
    float weight[16 * 5];
    assert_int_equal(state_package(later, &settings, "{}", NULL, NULL, 0, &package, &size, &err),
                     STATUS_OK);
    assert_int_equal(safetensors_parse(&file, package, size, &err), STATUS_OK);
    assert_int_equal(safetensors_copy(file, "policy/layers/0/weight", SAFETENSORS_F32, 2,
                                      (const size_t[]){16, 5}, weight, &err),
                     STATUS_OK);
    assert_memory_equal(weight, average, sizeof weight);
    safetensors_free(file);
    mem_free(package);
    state_free(later);
    state_free(state);
}

static void the_same_state_gives_the_same_bytes(void **state)
{
    (void)state;
    const struct settings settings = learning_settings("abm+mpo", 1, 1);
    struct state *learner;
    struct err err;
    assert_int_equal(state_new(&learner, &settings, &err), STATUS_OK);
    void *bytes[2];
    size_t size[2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(state_save(learner, &settings, NULL, 0, path, &err), STATUS_OK);
        assert_int_equal(file_read(path, 1 << 24, &bytes[i], &size[i], &err), STATUS_OK);
    }
    assert_int_equal(size[0], size[1]);
    assert_memory_equal(bytes[0], bytes[1], size[0]);
    mem_free(bytes[0]);
    mem_free(bytes[1]);
    const struct state_note clash = {"gamma", "2"};
    assert_int_equal(state_save(learner, &settings, &clash, 1, path, &err), STATUS_EXISTS);
    state_free(learner);
}

static void files_of_other_learners_are_refused(void **state)
{
    (void)state;
    const struct settings settings = learning_settings("abm+mpo", 1, 1);
    struct state *learner;
    struct err err;
    assert_int_equal(state_new(&learner, &settings, &err), STATUS_OK);
    assert_int_equal(state_save(learner, &settings, NULL, 0, path, &err), STATUS_OK);
    const uint64_t digest = state_digest(learner);

    /* What shapes the networks must agree; the rest may change between runs. */
    struct settings other = settings;
    other.widths[1] = 13;
    assert_int_equal(state_load(learner, &other, path, NULL, &err), STATUS_MISMATCH);
    assert_non_null(strstr(err.text, "widths 16,12, expected 16,13"));
    other = settings;
    other.algorithm = ALGORITHM_BM_MPO;
    assert_int_equal(state_load(learner, &other, path, NULL, &err), STATUS_MISMATCH);
    other = settings;
    other.gamma = 0.5;
    assert_int_equal(state_load(learner, &other, path, NULL, &err), STATUS_OK);

    char absent[2 * SCRATCH_SIZE];
    scratch_path(absent, scratch_folder, "absent");
    assert_int_equal(state_load(learner, &settings, absent, NULL, &err), STATUS_NOT_FOUND);

    /* Neither a package nor a truncated file is a checkpoint. */
    void *bytes;
    size_t size;
    assert_int_equal(state_package(learner, &settings, NULL, NULL, NULL, 0, &bytes, &size, &err),
                     STATUS_OK);
    struct file_part part = {bytes, size};
    assert_int_equal(file_replace(absent, &part, 1, &err), STATUS_OK);
    assert_int_equal(state_load(learner, &settings, absent, NULL, &err), STATUS_CORRUPT);
    mem_free(bytes);
    assert_int_equal(file_read(path, 1 << 24, &bytes, &size, &err), STATUS_OK);
    part = (struct file_part){bytes, size - 4};
    assert_int_equal(file_replace(absent, &part, 1, &err), STATUS_OK);
    assert_int_equal(state_load(learner, &settings, absent, NULL, &err), STATUS_CORRUPT);
    mem_free(bytes);
    assert_int_equal(state_digest(learner), digest);
    state_free(learner);
}

static void the_package_is_what_acts(void **state)
{
    (void)state;
    static const struct {
        const char *algorithm, *acting;
        double min_std;
        const char *act;
        int candidates;
        const char *others;  /* networks beside `policy/` */
        const char *chooses; /* act_candidates, where it is set */
    } cases[] = {{"mpo", "policy", 0.01, "gaussian", 1, "", NULL},
                 {"abm+mpo", "policy", 0.01, "gaussian", 1, "prior", NULL},
                 {"bm", "prior", 0.05, "gaussian", 1, "", NULL},
                 {"abm", "prior", 0.05, "gaussian", 1, "", NULL},
                 {"svg", "policy", 0.01, "gaussian", 1, "", NULL},
                 {"abm+svg", "policy", 0.01, "gaussian", 1, "prior", NULL},
                 {"bcq", "prior", 0.05, "perturbed_argmax", 100, "critic perturb", NULL},
                 {"bear", "policy", 0.01, "argmax", 10, "critic prior", NULL},
                 {"crr", "policy", 0.01, "gaussian", 1, "", NULL},
                 {"iql", "policy", 0.01, "gaussian", 1, "", NULL},
                 {"td3+bc", "policy", 0.01, "gaussian", 1, "", NULL},
                 {"abm+mpo", "policy", 0.01, "argmax", 20, "critic prior", "20"},
                 {"abm", "prior", 0.05, "argmax", 20, "critic", "20"},
                 {"iql", "policy", 0.01, "argmax", 20, "critic", "20"},
                 {"bear", "policy", 0.01, "argmax", 1, "critic prior", "1"},
                 {"bcq", "prior", 0.05, "perturbed_argmax", 7, "critic perturb", "7"}};
    static const char *const networks[] = {"prior", "critic", "critic2", "perturb", "value"};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct settings settings = learning_settings(cases[i].algorithm, 1, 1);
        struct state *learner;
        struct err err;
        void *bytes;
        size_t size;
        struct policy *policy;
        if (cases[i].chooses != NULL) {
            assert_int_equal(settings_set(&settings, "act_candidates", cases[i].chooses, &err),
                             STATUS_OK);
        }
        assert_int_equal(state_new(&learner, &settings, &err), STATUS_OK);
        const struct state_note note = {"run", "cheetah-run"};
        assert_int_equal(
            state_package(learner, &settings, "{}", NULL, &note, 1, &bytes, &size, &err),
            STATUS_OK);
        assert_int_equal(policy_parse(&policy, bytes, size, &err), STATUS_OK);
        assert_string_equal(policy_info(policy)->algorithm, cases[i].algorithm);
        assert_true(policy_info(policy)->min_std == cases[i].min_std);
        assert_string_equal(policy_note(policy, "setting/gamma"), "0.98999999999999999");
        assert_string_equal(policy_note(policy, "run"), "cheetah-run");
        struct safetensors *file;
        float weight[16 * 5];
        assert_int_equal(safetensors_parse(&file, bytes, size, &err), STATUS_OK);
        assert_int_equal(safetensors_copy(file, "policy/layers/0/weight", SAFETENSORS_F32, 2,
                                          (const size_t[]){16, 5}, weight, &err),
                         STATUS_OK);
        const struct parameters_group *group =
            parameters_group(state_layout(learner), cases[i].acting);
        assert_memory_equal(weight, state_read(learner, STATE_PARAMS) + group->at, sizeof weight);
        assert_string_equal(policy_info(policy)->acting, cases[i].act);
        assert_int_equal(policy_candidates(policy), cases[i].candidates);
        for (size_t n = 0; n < sizeof networks / sizeof networks[0]; n++) {
            char name[64];
            snprintf(name, sizeof name, "%s/layers/0/weight", networks[n]);
            const bool is_there = safetensors_find(file, name) != NULL;
            assert_true(is_there == (strcmp(networks[n], "critic2") != 0 &&
                                     strstr(cases[i].others, networks[n]) != NULL));
        }
        safetensors_free(file);
        policy_free(policy);
        mem_free(bytes);
        state_free(learner);
    }
}

static void duals_start_where_they_should(void **state)
{
    (void)state;
    const struct settings settings = learning_settings("abm+mpo", 3, 3);
    struct state *learner;
    struct err err;
    assert_int_equal(state_new(&learner, &settings, &err), STATUS_OK);
    static const struct {
        const char *name;
        int n;
        double multiplier;
    } duals[] = {{"rho_eta", 3, 10.0}, {"rho_mean", 2, 10.0}, {"rho_std", 2, 100.0}};
    for (size_t i = 0; i < 3; i++) {
        size_t at;
        int n;
        assert_true(parameters_dual(state_layout(learner), duals[i].name, &at, &n));
        assert_int_equal(n, duals[i].n);
        for (int j = 0; j < n; j++) {
            const double rho = (double)state_read(learner, STATE_PARAMS)[at + (size_t)j];
            assert_true(fabs(log1p(exp(rho)) / duals[i].multiplier - 1.0) < 1e-6);
        }
    }
    assert_memory_equal(state_read(learner, STATE_PARAMS), state_read(learner, STATE_TARGETS),
                        parameters_group(state_layout(learner), "policy")->size * 4);
    state_free(learner);
}

static void no_memory_leaves_nothing_behind(void **state)
{
    (void)state;
    const struct settings settings = learning_settings("abm+mpo", 1, 1);
    for (uint64_t nth = 1;; nth++) {
        struct state *learner;
        memory_fail_at(nth);
        const status s = state_new(&learner, &settings, NULL);
        memory_fail_at(0);
        if (s == STATUS_OK) {
            state_free(learner);
            assert_int_equal(nth, 7);
            break;
        }
        assert_int_equal(s, STATUS_NO_MEMORY);
    }
}

/* Every change gives a version that no state had before; reading gives none. */
static void changes_give_new_versions(void **unused)
{
    (void)unused;
    const struct settings settings = learning_settings("abm+mpo", 1, 1);
    struct state *a, *b;
    struct err err;
    assert_int_equal(state_new(&a, &settings, &err), STATUS_OK);
    assert_int_equal(state_new(&b, &settings, &err), STATUS_OK);
    uint64_t newest = state_version(b);
    assert_true(state_version(a) != 0 && newest > state_version(a));

    assert_true(state_read(a, STATE_M) != state_read(a, STATE_V));
    assert_true(state_digest(a) == state_digest(b));
    assert_true(state_version(b) == newest);

    state_write(b, STATE_PARAMS)[0] += 1.0f;
    assert_true(state_version(b) > newest);
    newest = state_version(b);
    assert_true(state_digest(a) != state_digest(b));
    state_replace(a, STATE_PARAMS, state_read(b, STATE_PARAMS));
    assert_true(state_version(a) > newest);
    newest = state_version(a);
    assert_true(state_digest(a) == state_digest(b));
    state_set_step(a, 7);
    assert_true(state_version(a) > newest && state_step(a) == 7);
    newest = state_version(a);

    /* A copy is the same state, and yet a change of the one that receives it. */
    state_write(a, STATE_V)[3] = 2.0f;
    state_copy(b, a);
    assert_true(state_version(b) > newest && state_step(b) == 7);
    for (int block = 0; block < STATE_BLOCKS; block++) {
        assert_memory_equal(state_read(a, (enum state_block)block),
                            state_read(b, (enum state_block)block),
                            state_layout(a)->size * sizeof(float));
    }
    state_free(a);
    state_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changes_give_new_versions),
        cmocka_unit_test(a_resumed_learner_goes_on_bit_for_bit),
        cmocka_unit_test(averages_begin_at_the_parameters),
        cmocka_unit_test(the_same_state_gives_the_same_bytes),
        cmocka_unit_test(files_of_other_learners_are_refused),
        cmocka_unit_test(the_package_is_what_acts),
        cmocka_unit_test(duals_start_where_they_should),
        cmocka_unit_test(no_memory_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, make_folder, scratch_tear_down);
}
