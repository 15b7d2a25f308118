/* The same start gives the same episode, bit for bit, whatever the environment did before.
 *
 * Every task is taken through random histories (whole and broken-off episodes, refused actions,
 * states made bad, errors raised within MuJoCo) and then compared, over an episode, with an
 * environment that was opened afresh. */
#include <math.h>
#include <string.h>

#include "common/base/rng.h"
#include "common/environments/control_suite.h"
#include "common/environments/mujoco_guard.h"
#include "tests/lib/check.h"

#define HISTORIES 3
#define COMPARED  150 /* steps of the episode that is compared */

struct buffers {
    float action[SIGNATURE_ACTIONS_MAX];
    float observation[SIGNATURE_OBSERVATION_MAX];
    float rewards[SIGNATURE_TASKS_MAX];
    float discount;
    bool last;
};

static struct control_suite *open_or_fail(const char *name)
{
    struct err err = {0};
    struct control_suite *suite = NULL;
    if (control_suite_open(&suite, name, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return suite;
}

static status reset(struct control_suite *suite, uint64_t seed, struct buffers *buffers)
{
    const struct environment_start start = {.seed = seed};
    return environment_reset(control_suite_environment(suite), &start, buffers->observation, NULL);
}

static status step(struct control_suite *suite, struct rng *rng, struct buffers *buffers)
{
    struct environment *environment = control_suite_environment(suite);
    for (uint32_t a = 0; a < environment_signature(environment)->A; a++) {
        buffers->action[a] = (float)(2.0 * rng_uniform(rng) - 1.0);
    }
    return environment_step(environment, buffers->action, buffers->observation, buffers->rewards,
                            &buffers->discount, &buffers->last, NULL);
}

static void raise_error(void *arg)
{
    (void)arg;
    mju_error("made to fail");
}

/* Puts the simulation into a state that no episode may go on from. */
static void spoil(struct control_suite *suite, struct rng *rng, struct buffers *buffers)
{
    static const double bad[] = {(double)NAN, (double)INFINITY, 1e30, -1e12};
    struct simulation *simulation = control_suite_simulation(suite);
    mjData *data = simulation->data;
    double value = bad[rng_below(rng, 4)];
    uint64_t kind = rng_below(rng, 5);
    switch (kind) {
    case 0:
        data->qvel[rng_below(rng, (uint64_t)simulation->model->nv)] = value;
        break;
    case 1:
        data->qpos[rng_below(rng, (uint64_t)simulation->model->nq)] = value;
        break;
    case 2:
        data->qacc_warmstart[rng_below(rng, (uint64_t)simulation->model->nv)] = value;
        break;
    case 3:
        data->xfrc_applied[6] = value;
        data->qfrc_applied[0] = value;
        break;
    default:
        assert_int_equal(mujoco_guard_run(raise_error, NULL, NULL), STATUS_INTERNAL);
        break;
    }
    /* A bad position or velocity ends the episode at once, in every task. (A large component of a
     * quaternion does not: it is normalized to a sound orientation.) */
    status s = step(suite, rng, buffers);
    if (kind == 0 || (kind == 1 && !isfinite(value))) {
        assert_int_equal(s, STATUS_CORRUPT);
        assert_int_equal(step(suite, rng, buffers), STATUS_CLOSED);
    }
    for (int i = 0; i < 4 && s == STATUS_OK; i++) {
        s = step(suite, rng, buffers);
    }
}

/* Some episodes, ended, broken off or spoiled. */
static void live_through(struct control_suite *suite, struct rng *rng, bool unstable)
{
    struct buffers buffers = {0};
    for (uint64_t n = 1 + rng_below(rng, 4); n > 0; n--) {
        assert_int_equal(reset(suite, rng_u64(rng) >> 40, &buffers), STATUS_OK);
        uint64_t steps = rng_below(rng, 10) == 0 ? 1000 : rng_below(rng, 120);
        for (uint64_t k = 0; k < steps; k++) {
            assert_int_equal(step(suite, rng, &buffers), STATUS_OK);
        }
        if (unstable) {
            if (steps == 1000) { /* the episode has ended */
                assert_int_equal(reset(suite, 1, &buffers), STATUS_OK);
            }
            spoil(suite, rng, &buffers);
        }
    }
}

/* Both environments from this start: are all numbers equal to the last bit? */
static void compare_episode(struct control_suite *used, struct control_suite *fresh, uint64_t seed)
{
    struct buffers a = {0}, b = {0};
    struct rng rng_a, rng_b;
    const struct simulation *simulation = control_suite_simulation(used);
    const struct simulation *expected = control_suite_simulation(fresh);
    rng_init(&rng_a, seed, "reset_state_test", 0);
    rng_b = rng_a;
    assert_int_equal(reset(used, seed, &a), STATUS_OK);
    assert_int_equal(reset(fresh, seed, &b), STATUS_OK);
    assert_memory_equal(a.observation, b.observation, sizeof a.observation);
    for (int k = 0; k < COMPARED; k++) {
        assert_int_equal(step(used, &rng_a, &a), STATUS_OK);
        assert_int_equal(step(fresh, &rng_b, &b), STATUS_OK);
        assert_memory_equal(&a, &b, sizeof a);
    }
    /* What no observation shows is equal as well. */
    size_t nq = (size_t)simulation->model->nq, nv = (size_t)simulation->model->nv;
    assert_memory_equal(simulation->data->qpos, expected->data->qpos, nq * sizeof(double));
    assert_memory_equal(simulation->data->qvel, expected->data->qvel, nv * sizeof(double));
    assert_memory_equal(simulation->data->qacc_warmstart, expected->data->qacc_warmstart,
                        nv * sizeof(double));
    assert_true(simulation->data->time == expected->data->time);
}

static void compare_after_histories(bool unstable)
{
    for (const char *const *name = control_suite_names(); *name != NULL; name++) {
        struct control_suite *used = open_or_fail(*name);
        struct rng rng;
        rng_init(&rng, 17, *name, unstable);
        for (int i = 0; i < HISTORIES; i++) {
            live_through(used, &rng, unstable);
            uint64_t seed = rng_u64(&rng) >> 32;
            struct control_suite *fresh = open_or_fail(*name);
            compare_episode(used, fresh, seed);
            control_suite_close(fresh);
        }
        control_suite_close(used);
    }
}

static void episodes_leave_no_trace(void **state)
{
    (void)state;
    compare_after_histories(false);
}

static void unstable_simulations_leave_no_trace(void **state)
{
    (void)state;
    compare_after_histories(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(episodes_leave_no_trace),
        cmocka_unit_test(unstable_simulations_leave_no_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
