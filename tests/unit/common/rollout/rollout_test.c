/* Actors and episodes: what they draw depends on their stream alone; what does not fit is refused.
 * */
#include <math.h>
#include <string.h>

#include "common/rollout/rollout_group.h"
#include "tests/lib/check.h"
#include "tests/lib/policies.h"

#define ENVIRONMENT "cheetah-run"

static struct signature signature;

static int setup(void **state)
{
    (void)state;
    struct environment_description description;
    struct err err;
    if (environment_describe(&description, ENVIRONMENT, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    signature = description.signature;
    return 0;
}

static struct actor *make_actor(const struct policy *policy, bool sample)
{
    struct actor *actor;
    struct err err = {0};
    assert_int_equal(actor_new(&actor, &signature, &err), STATUS_OK);
    if (actor_use(actor, policy, sample, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return actor;
}

/* Acts one whole episode from (seed, episode). */
static void act(struct episode *episode, const struct policy *policy, bool sample, uint64_t seed,
                uint64_t number)
{
    struct err err = {0};
    struct environment *environment;
    struct rollout_stream stream;
    struct actor *actor = make_actor(policy, sample);
    rollout_stream(&stream, seed, "test", 3, number);
    assert_int_equal(environment_open(&environment, ENVIRONMENT, &err), STATUS_OK);
    const struct environment_start start = {.seed = stream.start_seed};
    actor_start(actor, &stream.rng, 0);
    episode_init(episode, signature_width(&signature));
    if (rollout_run(environment, &start, actor, episode, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    environment_close(environment);
    actor_free(actor);
}

static bool same(const struct episode *a, const struct episode *b)
{
    return a->T == b->T && memcmp(a->rows, b->rows, (size_t)(a->T + 1) * a->W * sizeof(float)) == 0;
}

static void an_episode_is_a_function_of_its_stream(void **state)
{
    (void)state;
    struct policy *policy = policies_make(&signature, 1);
    struct episode first, again, other_number, other_seed, mean;
    act(&first, policy, true, 7, 1);
    act(&again, policy, true, 7, 1);
    act(&other_number, policy, true, 7, 2);
    act(&other_seed, policy, true, 8, 1);
    act(&mean, policy, false, 7, 1);
    assert_int_equal(first.T, 1000);
    assert_true(same(&first, &again));
    assert_false(same(&first, &other_number));
    assert_false(same(&first, &other_seed));
    assert_false(same(&first, &mean));
    /* The start does not depend on what the actor draws. */
    assert_memory_equal(first.rows, mean.rows, signature_observation(&signature) * sizeof(float));
    struct episode *all[] = {&first, &again, &other_number, &other_seed, &mean};
    for (size_t i = 0; i < 5; i++) {
        episode_fini(all[i]);
    }
    policy_free(policy);
}

static void random_actions_fill_the_range(void **state)
{
    (void)state;
    struct actor *actor = make_actor(NULL, false);
    struct rng rng;
    float observation[SIGNATURE_OBSERVATION_MAX] = {0}, action[SIGNATURE_ACTIONS_MAX];
    double sum = 0, squares = 0;
    const int n = 20000;
    rng_init(&rng, 5, "test", 0);
    actor_start(actor, &rng, 0);
    for (int i = 0; i < n; i++) {
        actor_act(actor, action, observation);
        double a = (double)action[0];
        assert_true(a >= -1.0 && a <= 1.0);
        sum += a;
        squares += a * a;
    }
    /* Uniform on [-1, 1]: mean 0, mean square 1/3; five standard deviations of each. */
    assert_true(fabs(sum / n) < 5 * sqrt(1.0 / 3 / n));
    assert_true(fabs(squares / n - 1.0 / 3) < 5 * sqrt(4.0 / 45 / n));
    actor_free(actor);
}

/* The actor's action is policy_act's on the same inputs and normals. */
static void actor_acts_as_the_policy_does(void **state)
{
    (void)state;
    struct policy *policy = policies_make(&signature, 2);
    struct actor *actor = make_actor(policy, true);
    float observation[SIGNATURE_OBSERVATION_MAX], got[SIGNATURE_ACTIONS_MAX];
    float want[SIGNATURE_ACTIONS_MAX], z[SIGNATURE_ACTIONS_MAX];
    float scratch[1 << 14] __attribute__((aligned(64)));
    struct rng rng, copy;
    assert_true(policy_scratch(policy, 1) <= 1 << 14);
    noise_normal(observation, signature_observation(&signature), 3, 0, 0, 0);
    rng_init(&rng, 9, "test", 0);
    copy = rng;
    actor_start(actor, &rng, 0);
    for (int step = 0; step < 3; step++) {
        for (uint32_t i = 0; i < signature.A; i++) {
            z[i] = (float)rng_normal(&copy);
        }
        policy_act(policy, want, observation, z, 1, scratch);
        actor_act(actor, got, observation);
        assert_memory_equal(got, want, signature.A * sizeof(float));
    }
    actor_free(actor);
    policy_free(policy);
}

/* Each normal is standard, and those of two steps have the correlation that was asked for; also across a
 * newer policy, and not across episodes. */
static void correlated_noise_has_its_moments(void **state)
{
    (void)state;
    enum { STEPS = 20000 };
    const double correlation = 0.9;
    struct policy *policy = policies_make(&signature, 2);
    struct policy *newer = policies_make(&signature, 3);
    struct actor *actor = make_actor(policy, true);
    float observation[SIGNATURE_OBSERVATION_MAX] = {0};
    float input[SIGNATURE_OBSERVATION_MAX], z[SIGNATURE_ACTIONS_MAX];
    struct rng rng;
    struct err err;
    double squares = 0, products = 0, before = 0;
    actor_correlate(actor, correlation);
    rng_init(&rng, 9, "test", 0);
    actor_start(actor, &rng, 0);
    for (int step = 0; step < STEPS; step++) {
        if (step % 2 == 1) {
            assert_int_equal(actor_use(actor, step % 4 == 1 ? newer : policy, true, &err),
                             STATUS_OK);
        }
        actor_prepare(actor, input, z, observation);
        squares += (double)z[0] * (double)z[0];
        products += before * (double)z[0];
        before = (double)z[0];
    }
    /* (1 + c^2) / (1 - c^2) draws count as one; five standard deviations. */
    const double counted =
        STEPS * (1 - correlation * correlation) / (1 + correlation * correlation);
    assert_true(fabs(squares / STEPS - 1) < 5 * sqrt(2 / counted));
    assert_true(fabs(products / squares - correlation) <
                5 * sqrt((1 - correlation * correlation) / STEPS));
    /* The first draw of an episode is that of its stream alone. */
    struct rng copy = rng;
    actor_start(actor, &rng, 0);
    actor_prepare(actor, input, z, observation);
    assert_true(z[0] == (float)rng_normal(&copy));
    actor_free(actor);
    policy_free(policy);
    policy_free(newer);
}

/* An argmax over candidates draws them also where the mean action is asked for. */
static void an_argmax_gets_its_candidates(void **state)
{
    (void)state;
    enum { C = 5 };
    size_t size;
    struct err err;
    struct policy *policy;
    void *package = policies_argmax_package(&signature, 2, &size);
    assert_int_equal(policy_parse(&policy, package, size, &err), STATUS_OK);
    mem_free(package);
    assert_int_equal(policy_candidates(policy), C);
    float observation[SIGNATURE_OBSERVATION_MAX], got[SIGNATURE_ACTIONS_MAX];
    float want[SIGNATURE_ACTIONS_MAX], mean[SIGNATURE_ACTIONS_MAX], z[C * SIGNATURE_ACTIONS_MAX];
    float scratch[1 << 14] __attribute__((aligned(64)));
    assert_true(policy_scratch(policy, 1) <= 1 << 14);
    noise_normal(observation, signature_observation(&signature), 3, 0, 0, 0);
    policy_act(policy, mean, observation, NULL, 1, scratch);
    for (int sample = 0; sample < 2; sample++) {
        struct actor *actor = make_actor(policy, sample == 1);
        struct rng rng, copy;
        rng_init(&rng, 9, "test", 0);
        copy = rng;
        actor_start(actor, &rng, 0);
        for (uint32_t i = 0; i < C * signature.A; i++) {
            z[i] = (float)rng_normal(&copy);
        }
        policy_act(policy, want, observation, z, 1, scratch);
        actor_act(actor, got, observation);
        assert_memory_equal(got, want, signature.A * sizeof(float));
        assert_memory_not_equal(got, mean, signature.A * sizeof(float));
        actor_free(actor);
    }
    policy_free(policy);
}

/* A policy of two of three tasks, in another order, finds them by name; its input has the one-hot.
 * */
static void tasks_are_found_by_name(void **state)
{
    (void)state;
    struct signature three = signature, two = signature;
    struct err err = {0};
    struct actor *actor;
    three.K = 3;
    strcpy(three.rewards[0], "run");
    strcpy(three.rewards[1], "stand");
    strcpy(three.rewards[2], "flip");
    two.K = 2;
    strcpy(two.rewards[0], "flip");
    strcpy(two.rewards[1], "run");
    struct policy *policy = policies_make(&two, 4);
    assert_int_equal(actor_new(&actor, &three, &err), STATUS_OK);
    assert_int_equal(actor_tasks(actor), 3);
    assert_int_equal(actor_use(actor, policy, false, &err), STATUS_OK);
    assert_int_equal(actor_tasks(actor), 2);
    assert_int_equal(actor_reward(actor, 0), 2);
    assert_int_equal(actor_reward(actor, 1), 0);

    float observation[SIGNATURE_OBSERVATION_MAX], actions[2][SIGNATURE_ACTIONS_MAX];
    float input[SIGNATURE_OBSERVATION_MAX + 2], want[SIGNATURE_ACTIONS_MAX];
    float scratch[1 << 14] __attribute__((aligned(64)));
    uint32_t O = signature_observation(&three);
    struct rng rng;
    rng_init(&rng, 1, "test", 0);
    noise_normal(observation, O, 3, 0, 0, 0);
    for (uint32_t task = 0; task < 2; task++) {
        actor_start(actor, &rng, task);
        actor_act(actor, actions[task], observation);
        memcpy(input, observation, O * sizeof(float));
        input[O] = task == 0 ? 1.0f : 0.0f;
        input[O + 1] = task == 1 ? 1.0f : 0.0f;
        policy_act(policy, want, input, NULL, 1, scratch);
        assert_memory_equal(actions[task], want, three.A * sizeof(float));
    }
    assert_memory_not_equal(actions[0], actions[1], three.A * sizeof(float));
    actor_free(actor);
    policy_free(policy);
}

static void a_policy_for_another_environment_is_refused(void **state)
{
    (void)state;
    struct signature other = signature;
    struct err err = {0};
    struct actor *actor = make_actor(NULL, false);
    other.n_slices = 1;
    struct policy *policy = policies_make(&other, 5);
    assert_int_equal(actor_use(actor, policy, true, &err), STATUS_MISMATCH);
    assert_non_null(strstr(err.text, "environment and policy"));
    policy_free(policy);
    other = signature;
    strcpy(other.rewards[0], "dance");
    policy = policies_make(&other, 5);
    assert_int_equal(actor_use(actor, policy, true, &err), STATUS_MISMATCH);
    policy_free(policy);
    actor_free(actor);
}

/* ---- groups ---- */

enum { LANES = 5, EPISODES = 11, ENDED_AT = 17 };

/* An owner: episodes 0 .. EPISODES - 1, of two policies and at random by turns; number 3 is ended by
 * before_step, and no lane gets one in the first round. */
struct owner {
    struct rollout_group *group;
    const struct policy *policies[3]; /* the last is NULL: at random */
    uint32_t next, asked, waits;
    uint32_t number[LANES];
    struct episode episodes[EPISODES];
    status outcomes[EPISODES];
};

/* What episode `number` is acted with. */
static void set_up(struct actor *actor, const struct policy *const *policies, uint32_t number,
                   struct environment_start *start)
{
    struct rollout_stream stream;
    struct err err = {0};
    rollout_stream(&stream, 5, "group", 0, number);
    assert_int_equal(actor_use(actor, policies[number % 3], number % 2 == 0, &err), STATUS_OK);
    actor_start(actor, &stream.rng, 0);
    *start = (struct environment_start){.seed = stream.start_seed};
}

static status begin_one(void *arg, uint32_t lane, struct environment_start *start,
                        struct episode **episode, struct err *err)
{
    struct owner *owner = arg;
    (void)err;
    if (owner->next == EPISODES) {
        return STATUS_CLOSED;
    }
    if (owner->asked++ < LANES || owner->asked % 2 == 0) {
        return STATUS_RETRY;
    }
    owner->number[lane] = owner->next++;
    set_up(rollout_group_actor(owner->group, lane), owner->policies, owner->number[lane], start);
    *episode = &owner->episodes[owner->number[lane]];
    return STATUS_OK;
}

static status end_three(void *arg, uint32_t lane, uint32_t step, struct err *err)
{
    const struct owner *owner = arg;
    return owner->number[lane] == 3 && step == ENDED_AT
               ? err_set(err, STATUS_TIMEOUT, "ended by the owner")
               : STATUS_OK;
}

static status end_one(void *arg, uint32_t lane, status outcome, struct err *err)
{
    struct owner *owner = arg;
    (void)err;
    owner->outcomes[owner->number[lane]] = outcome;
    return STATUS_OK;
}

static void count_wait(void *arg)
{
    ((struct owner *)arg)->waits++;
}

static const struct rollout_calls calls = {
    .begin = begin_one, .before_step = end_three, .end = end_one, .wait = count_wait};

static void open_all(struct environment **environments)
{
    struct err err = {0};
    for (size_t i = 0; i < LANES; i++) {
        assert_int_equal(environment_open(&environments[i], ENVIRONMENT, &err), STATUS_OK);
    }
}

static void close_all(struct environment **environments)
{
    for (size_t i = 0; i < LANES; i++) {
        environment_close(environments[i]);
    }
}

static void fini_all(struct owner *owner)
{
    for (size_t i = 0; i < EPISODES; i++) {
        episode_fini(&owner->episodes[i]);
    }
}

static void init_all(struct owner *owner)
{
    for (size_t i = 0; i < EPISODES; i++) {
        episode_init(&owner->episodes[i], signature_width(&signature));
        owner->outcomes[i] = STATUS_LIMIT; /* none of those below */
    }
}

/* Side by side or alone, an episode has the same bits; the argmax draws several candidates a step. */
static void a_group_acts_as_each_episode_alone(void **state)
{
    (void)state;
    struct err err = {0};
    struct environment *environments[LANES];
    struct owner owner = {.policies = {policies_make(&signature, 1), NULL, NULL}};
    struct policy *argmax;
    size_t size;
    void *package = policies_argmax_package(&signature, 2, &size);
    assert_int_equal(policy_parse(&argmax, package, size, &err), STATUS_OK);
    mem_free(package);
    owner.policies[1] = argmax;
    open_all(environments);
    init_all(&owner);
    assert_int_equal(rollout_group_new(&owner.group, environments, LANES, &err), STATUS_OK);
    assert_int_equal(rollout_group_run(owner.group, LANES, &calls, &owner, &err), STATUS_OK);
    rollout_group_free(owner.group);
    assert_true(owner.waits > 0);

    struct actor *actor = make_actor(NULL, false);
    for (uint32_t i = 0; i < EPISODES; i++) {
        struct environment_start start;
        struct episode alone;
        assert_int_equal(owner.outcomes[i], i == 3 ? STATUS_TIMEOUT : STATUS_OK);
        if (i == 3) {
            assert_int_equal(owner.episodes[i].T, ENDED_AT);
            continue;
        }
        episode_init(&alone, signature_width(&signature));
        set_up(actor, owner.policies, i, &start);
        assert_int_equal(rollout_run(environments[0], &start, actor, &alone, &err), STATUS_OK);
        assert_true(same(&alone, &owner.episodes[i]));
        episode_fini(&alone);
    }
    actor_free(actor);
    fini_all(&owner);
    close_all(environments);
    policy_free(argmax);
    policy_free((struct policy *)owner.policies[0]);
}

static status end_the_group(void *arg, uint32_t lane, status outcome, struct err *err)
{
    struct owner *owner = arg;
    owner->outcomes[owner->number[lane]] = outcome;
    return outcome == STATUS_TIMEOUT ? err_set(err, STATUS_IO, "enough") : STATUS_OK;
}

/* The owner gets every episode back, those that were under way as CLOSED. */
static void an_error_ends_all_lanes(void **state)
{
    (void)state;
    struct err err = {0};
    struct environment *environments[LANES];
    struct owner owner = {.next = 0};
    struct rollout_calls ending = calls;
    ending.end = end_the_group;
    open_all(environments);
    init_all(&owner);
    assert_int_equal(rollout_group_new(&owner.group, environments, LANES, &err), STATUS_OK);
    assert_int_equal(rollout_group_run(owner.group, LANES, &ending, &owner, &err), STATUS_IO);
    assert_string_equal(err.text, "enough");
    assert_int_equal(owner.next, LANES);
    for (uint32_t i = 0; i < LANES; i++) {
        assert_int_equal(owner.outcomes[i], i == 3 ? STATUS_TIMEOUT : STATUS_CLOSED);
    }
    rollout_group_free(owner.group);
    fini_all(&owner);
    close_all(environments);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_episode_is_a_function_of_its_stream),
        cmocka_unit_test(random_actions_fill_the_range),
        cmocka_unit_test(actor_acts_as_the_policy_does),
        cmocka_unit_test(correlated_noise_has_its_moments),
        cmocka_unit_test(an_argmax_gets_its_candidates),
        cmocka_unit_test(tasks_are_found_by_name),
        cmocka_unit_test(a_policy_for_another_environment_is_refused),
        cmocka_unit_test(a_group_acts_as_each_episode_alone),
        cmocka_unit_test(an_error_ends_all_lanes),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
