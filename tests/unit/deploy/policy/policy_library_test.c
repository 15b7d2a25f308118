/* libhindcast_policy: the actions of the evaluator, in physical units; and nothing that a control
 * loop must not meet: no system call, no memory taken, no bad number passed on. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/seccomp.h>

#include "common/base/memory.h"
#include "common/rollout/actor.h"
#include "common/trajectory/episode_history.h"
#include "deploy/policy/hindcast_policy.h"
#include "tests/lib/check.h"
#include "tests/lib/policies.h"
#include "tests/lib/scratch.h"

#define STEPS 50

/* Three slices, limits that differ, K tasks. */
static struct signature an_arm(uint32_t K)
{
    struct signature signature = {
        .n_slices = 3,
        .slices = {{"position", 3}, {"velocity", 3}, {"arm/strain", 2}},
        .A = 3,
        .action_min = {-12, 0, -1},
        .action_max = {8, 1, 2.5f},
        .K = K,
        .rewards = {"reach", "lift", "stack"},
        .control_period_s = 0.02,
    };
    return signature;
}

static void fill(struct rng *rng, float *observation, size_t O)
{
    for (size_t i = 0; i < O; i++) {
        observation[i] = (float)rng_normal(rng);
    }
}

/* The library and the evaluator's actor side by side. `rule` NULL: the evaluator's choice. */
static void compare(const void *package, size_t size, const struct signature *signature,
                    const char *rule, bool sample, uint32_t task)
{
    struct err err = {0};
    char error[HINDCAST_POLICY_ERROR_SIZE];
    struct policy *policy;
    struct actor *reference;
    hindcast_policy *loaded;
    hindcast_actor *actor;
    assert_int_equal(policy_parse(&policy, package, size, &err), STATUS_OK);
    assert_int_equal(actor_new(&reference, signature, &err), STATUS_OK);
    assert_int_equal(actor_use(reference, policy, sample, &err), STATUS_OK);
    assert_int_equal(hindcast_policy_parse(&loaded, package, size, error), HINDCAST_POLICY_OK);
    assert_int_equal(hindcast_actor_new(&actor, loaded, rule, error), HINDCAST_POLICY_OK);
    /* Two episodes, so that starting anew is seen. */
    struct rng rng;
    rng_init(&rng, 7, "observations", 0);
    for (uint64_t episode = 3; episode < 5; episode++) {
        struct rng draws;
        rng_init(&draws, 11, "policy", episode);
        actor_start(reference, &draws, task);
        assert_int_equal(hindcast_actor_start(actor, 11, episode, task), HINDCAST_POLICY_OK);
        for (int t = 0; t < STEPS; t++) {
            float observation[8], canonical[3], expected[3], action[3];
            fill(&rng, observation, 8);
            actor_act(reference, canonical, observation);
            signature_to_physical(signature, expected, canonical);
            assert_int_equal(hindcast_actor_act(actor, observation, action), HINDCAST_POLICY_OK);
            assert_memory_equal(action, expected, sizeof action);
        }
    }
    hindcast_actor_free(actor);
    hindcast_policy_free(loaded);
    actor_free(reference);
    policy_free(policy);
}

static void it_acts_as_the_evaluator_does_bit_for_bit(void **state)
{
    (void)state;
    size_t size;
    const struct signature one = an_arm(1), three = an_arm(3);
    void *package = policies_package(&one, 1, true, &size);
    compare(package, size, &one, NULL, false, 0);
    compare(package, size, &one, "mean", false, 0);
    compare(package, size, &one, "sample", true, 0);
    mem_free(package);
    package = policies_package(&three, 2, false, &size);
    for (uint32_t task = 0; task < 3; task++) {
        compare(package, size, &three, "sample", true, task);
    }
    mem_free(package);
    package = policies_argmax_package(&one, 3, &size);
    compare(package, size, &one, NULL, false, 0);
    compare(package, size, &one, "argmax", true, 0);
    mem_free(package);
}

/* A policy that was made for stacked observations is given those of one step. */
static void it_keeps_the_history_by_itself(void **state)
{
    (void)state;
    size_t size;
    struct err err = {0};
    struct signature stacked;
    const struct signature signature = an_arm(2);
    for (int actions = 0; actions < 2; actions++) {
        const struct episode_history history = {3, actions == 1};
        assert_int_equal(episode_history_signature(&history, &signature, &stacked, &err),
                         STATUS_OK);
        void *package = policies_package(&stacked, 4, false, &size);
        compare(package, size, &signature, "sample", true, 1);
        hindcast_policy *policy;
        assert_int_equal(hindcast_policy_parse(&policy, package, size, NULL), HINDCAST_POLICY_OK);
        assert_int_equal(hindcast_policy_history(policy), 3);
        assert_int_equal(hindcast_policy_observation_size(policy), 8);
        assert_int_equal(hindcast_policy_slices(policy), 3);
        hindcast_policy_free(policy);
        mem_free(package);
    }
}

static hindcast_policy *load(uint32_t K)
{
    size_t size;
    const struct signature signature = an_arm(K);
    void *package = policies_package(&signature, 1, false, &size);
    hindcast_policy *policy;
    assert_int_equal(hindcast_policy_parse(&policy, package, size, NULL), HINDCAST_POLICY_OK);
    mem_free(package);
    return policy;
}

static void it_says_what_it_is(void **state)
{
    (void)state;
    hindcast_policy *policy = load(3);
    uint32_t begin, size, task;
    assert_int_equal(hindcast_policy_observation_size(policy), 8);
    assert_int_equal(hindcast_policy_action_size(policy), 3);
    assert_int_equal(hindcast_policy_history(policy), 1);
    assert_int_equal(hindcast_policy_slices(policy), 3);
    assert_string_equal(hindcast_policy_slice(policy, 1, &begin, &size), "velocity");
    assert_int_equal(begin, 3);
    assert_int_equal(size, 3);
    assert_null(hindcast_policy_slice(policy, 3, &begin, &size));
    assert_int_equal(hindcast_policy_find_slice(policy, "arm/strain", &begin, NULL),
                     HINDCAST_POLICY_OK);
    assert_int_equal(begin, 6);
    assert_int_equal(hindcast_policy_find_slice(policy, "strain", &begin, &size),
                     HINDCAST_POLICY_NOT_ALLOWED);
    assert_true(hindcast_policy_action_min(policy, 0) == -12);
    assert_true(hindcast_policy_action_max(policy, 2) == 2.5f);
    assert_true(isnan(hindcast_policy_action_min(policy, 3)));
    assert_true(hindcast_policy_control_period_s(policy) == 0.02);
    assert_int_equal(hindcast_policy_tasks(policy), 3);
    assert_string_equal(hindcast_policy_task(policy, 2), "stack");
    assert_null(hindcast_policy_task(policy, 3));
    assert_int_equal(hindcast_policy_find_task(policy, "lift", &task), HINDCAST_POLICY_OK);
    assert_int_equal(task, 1);
    assert_int_equal(hindcast_policy_find_task(policy, "fold", &task), HINDCAST_POLICY_NOT_ALLOWED);
    assert_string_equal(hindcast_policy_note(policy, "algorithm"), "abm+mpo");
    assert_null(hindcast_policy_note(policy, "colour"));
    assert_string_equal(hindcast_policy_version(), HINDCAST_VERSION);
    assert_string_equal(hindcast_policy_status_text(99), "unknown status");
    hindcast_policy_free(policy);
}

static void bad_numbers_are_errors(void **state)
{
    (void)state;
    hindcast_policy *policy = load(1);
    hindcast_actor *actor;
    assert_int_equal(hindcast_actor_new(&actor, policy, "mean", NULL), HINDCAST_POLICY_OK);
    static const float bad[] = {NAN, INFINITY, -INFINITY, 3e38f};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        /* 3e38 is a float, but no network can add several of them. */
        float observation[8] = {bad[i], bad[i], -bad[i], bad[i]}, action[3] = {5, 5, 5};
        const int code = hindcast_actor_act(actor, observation, action);
        if (i < 3 || code != HINDCAST_POLICY_OK) {
            assert_int_equal(code, HINDCAST_POLICY_NOT_FINITE);
            assert_true(action[0] == 5 && action[1] == 5 && action[2] == 5);
        } else {
            assert_true(action[0] >= -12 && action[0] <= 8);
        }
    }
    /* And the actor goes on. */
    float observation[8] = {0}, action[3];
    assert_int_equal(hindcast_actor_act(actor, observation, action), HINDCAST_POLICY_OK);
    hindcast_actor_free(actor);
    hindcast_policy_free(policy);
}

static void bad_arguments_are_errors(void **state)
{
    (void)state;
    char error[HINDCAST_POLICY_ERROR_SIZE];
    hindcast_policy *policy = load(2);
    hindcast_actor *actor = NULL;
    assert_int_equal(hindcast_actor_new(&actor, policy, "argmax", error),
                     HINDCAST_POLICY_NOT_ALLOWED);
    assert_non_null(strstr(error, "expected mean or sample"));
    assert_null(actor);
    assert_int_equal(hindcast_actor_new(&actor, policy, NULL, error), HINDCAST_POLICY_OK);
    assert_int_equal(hindcast_actor_start(actor, 0, 0, 2), HINDCAST_POLICY_NOT_ALLOWED);
    hindcast_actor_free(actor);
    hindcast_policy_free(policy);
    hindcast_actor_free(NULL);
    hindcast_policy_free(NULL);
}

static void bad_files_are_refused(void **state)
{
    (void)state;
    char folder[SCRATCH_SIZE], path[2 * SCRATCH_SIZE], error[HINDCAST_POLICY_ERROR_SIZE];
    scratch_make(folder);
    snprintf(path, sizeof path, "%s/absent.safetensors", folder);
    hindcast_policy *policy = NULL;
    assert_int_equal(hindcast_policy_load(&policy, path, error), HINDCAST_POLICY_NO_FILE);
    assert_non_null(strstr(error, "absent.safetensors"));
    /* Every length of a good file but the whole is refused. */
    size_t size;
    const struct signature signature = an_arm(1);
    unsigned char *package = policies_package(&signature, 1, false, &size);
    for (size_t cut = 0; cut < size; cut += 1 + size / 500) {
        assert_int_equal(hindcast_policy_parse(&policy, package, cut, error),
                         HINDCAST_POLICY_BAD_FILE);
        assert_null(policy);
        assert_true(strlen(error) > 0);
    }
    mem_free(package);
    scratch_remove(folder);
}

/* ThreadSanitizer waits for its own thread, which a forked process does not have. */
#ifndef __SANITIZE_THREAD__
/* A process that may only read, write and exit. */
static int act_without_system_calls(hindcast_actor *actor)
{
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        float observation[8] = {0}, action[3] = {0};
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT) != 0) {
            _exit(2);
        }
        for (int t = 0; t < 1000; t++) {
            observation[t % 8] += 0.01f;
            const int code = hindcast_actor_act(actor, observation, action);
            if (code != (t < 8 * 50 ? HINDCAST_POLICY_OK : HINDCAST_POLICY_OUTSIDE)) {
                syscall(SYS_exit, 3);
            }
        }
        syscall(SYS_exit, 0);
    }
    int ended = 0;
    assert_true(waitpid(pid, &ended, 0) == pid);
    return ended;
}

static void acting_makes_no_system_call(void **state)
{
    (void)state;
    size_t size;
    const struct signature signature = an_arm(1);
    void *package = policies_argmax_package(&signature, 1, &size);
    /* Within the ranges at first, and beyond them later. */
    static const float min[8] = {-1, -1, -1, -1, -1, -1, -1, -1};
    static const float max[8] = {0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f, 0.5f};
    static const float home[3] = {0, 0, 0};
    size_t ranged_size;
    void *ranged =
        policies_with(package, size, &(struct policy_ranges){min, max, 8}, NULL, &ranged_size);
    hindcast_policy *policy;
    hindcast_actor *actor;
    assert_int_equal(hindcast_policy_parse(&policy, ranged, ranged_size, NULL), HINDCAST_POLICY_OK);
    mem_free(ranged);
    assert_int_equal(hindcast_actor_new(&actor, policy, NULL, NULL), HINDCAST_POLICY_OK);
    assert_int_equal(hindcast_actor_hold(actor, HINDCAST_HOLD_LAST, 0, home), HINDCAST_POLICY_OK);
    assert_int_equal(act_without_system_calls(actor), 0);
    hindcast_actor_free(actor);
    hindcast_policy_free(policy);
    mem_free(package);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_acts_as_the_evaluator_does_bit_for_bit),
        cmocka_unit_test(it_keeps_the_history_by_itself),
        cmocka_unit_test(it_says_what_it_is),
        cmocka_unit_test(bad_numbers_are_errors),
        cmocka_unit_test(bad_arguments_are_errors),
        cmocka_unit_test(bad_files_are_refused),
#ifndef __SANITIZE_THREAD__
        cmocka_unit_test(acting_makes_no_system_call),
#endif
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
