/* Weights and priorities against a real replay server: the weighted mean over draws is the mean over
 * the table, whatever the priorities are; priorities that a step makes are those that the server
 * draws by. */
#include "learner/run/prioritizer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tests/lib/check.h"
#include "tests/lib/learning.h"
#include "tests/lib/replay_world.h"

enum { EPISODES = 30, B = 512, N = 2, BATCHES = 400 };

static struct learner_options options_of(const char *priorities, double exponent)
{
    struct learner_options options = {.batch_snippets = B,
                                      .snippet_transitions = N,
                                      .ranks = 1,
                                      .importance_exponent = exponent,
                                      .priority_mix = 0.9,
                                      .priority_offset = 0.1};
    snprintf(options.table, sizeof options.table, "default");
    snprintf(options.priorities, sizeof options.priorities, "%s", priorities);
    return options;
}

static struct prioritizer *open_prioritizer(struct replay_world *world,
                                            const struct learner_options *options)
{
    struct prioritizer *prioritizer;
    struct err err = {0};
    if (prioritizer_new(&prioritizer, &world->experiment, options, B, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return prioritizer;
}

static struct replay_sampler *open_sampler(struct replay_world *world, uint64_t seed)
{
    return replay_world_open_sampler(
        world, (struct replay_sampler_options){
                   .batch_snippets = B, .snippet_transitions = N, .seed = seed, .origins = true});
}

/* What snippet i of the batch begins with. */
static void start_of(const struct replay_batch *batch, uint32_t i, uint32_t *number, uint32_t *t)
{
    uint32_t column;
    replay_number_read(batch->rows[(size_t)i * (N + 1) * 10], number, t, &column);
}

/* A loss of a start that has much to do with the priority of its episode. */
static double loss_of(uint32_t number, uint32_t t)
{
    return number * number + 10 * sin(t);
}

/* Sets the priority of every episode by way of a client of its own. */
static void set_priorities(struct replay_world *world, double (*priority)(uint32_t number))
{
    struct replay_sampler *sampler = open_sampler(world, 99);
    for (int n = 0; n < 4; n++) {
        struct replay_batch *batch = replay_world_must_next(sampler);
        double values[B];
        for (uint32_t i = 0; i < B; i++) {
            uint32_t number, t;
            start_of(batch, i, &number, &t);
            values[i] = priority(number);
        }
        Hindcast__UpdatePrioritiesRequest request = HINDCAST__UPDATE_PRIORITIES_REQUEST__INIT;
        struct rpc_message message;
        request.table = (char *)"default";
        request.n_episode_id = request.n_priority = B;
        request.episode_id = batch->origins->episode_id;
        request.priority = values;
        replay_world_call(world, 0, "UpdatePriorities", &request.base, &message);
        rpc_message_free(&message);
        replay_sampler_return(sampler, batch);
    }
    replay_sampler_close(sampler);
}

static double rising(uint32_t number)
{
    return 0.5 + number;
}

/* Seed 7, 204,800 draws. The bound is 5 standard errors, which are known, since the table is. */
static void weighted_losses_are_unbiased(void **state)
{
    struct replay_world *world = *state;
    replay_world_serve(world, 0, NULL);
    replay_world_fill(world, 0, EPISODES);
    set_priorities(world, rising);
    const struct learner_options options = options_of("table", 1);
    struct prioritizer *prioritizer = open_prioritizer(world, &options);
    struct replay_sampler *sampler = open_sampler(world, 7);
    /* The table: n starts, their masses, and the two moments of what is averaged. */
    double n = 0, mass = 0, mean = 0, square = 0, drawn_mean = 0;
    for (uint32_t k = 0; k < EPISODES; k++) {
        n += 10 + k;
        mass += (10 + k) * rising(k);
    }
    for (uint32_t k = 0; k < EPISODES; k++) {
        for (uint32_t t = 0; t < 10 + k; t++) {
            const double p = rising(k) / mass;
            const double x = loss_of(k, t) / (n * p);
            mean += p * x;
            square += p * x * x;
            drawn_mean += p * loss_of(k, t);
        }
    }
    double sum = 0, sum_plain = 0, sum_weights = 0;
    for (int i = 0; i < BATCHES; i++) {
        struct replay_batch *batch = replay_world_must_next(sampler);
        const double *weights = prioritizer_weights(prioritizer, batch);
        for (uint32_t b = 0; b < B; b++) {
            uint32_t number, t;
            start_of(batch, b, &number, &t);
            sum += weights[b] * loss_of(number, t);
            sum_plain += loss_of(number, t);
            sum_weights += weights[b];
        }
        replay_sampler_return(sampler, batch);
    }
    const double draws = (double)B * BATCHES;
    const double error = sqrt((square - mean * mean) / draws);
    print_message("mean %.3f, weighted draws %.3f, standard error %.3f; draws as they are %.3f\n",
                  mean, sum / draws, error, sum_plain / draws);
    assert_true(fabs(sum / draws - mean) < 5 * error);
    assert_true(fabs(sum_weights / draws - 1) < 0.05);
    /* Without weights the mean is another one, so that the bound says something. */
    assert_true(fabs(sum_plain / draws - mean) > 50 * error);
    assert_true(fabs(sum_plain / draws - drawn_mean) < 0.02 * drawn_mean);
    replay_sampler_close(sampler);
    prioritizer_free(prioritizer);
}

static void the_exponent_tempers_weights(void **state)
{
    struct replay_world *world = *state;
    replay_world_serve(world, 0, NULL);
    replay_world_fill(world, 0, EPISODES);
    const double exponents[] = {0, 0.5, 1};
    for (int turn = 0; turn < 2; turn++) {
        struct replay_sampler *sampler = open_sampler(world, 7);
        struct replay_batch *batch = replay_world_must_next(sampler);
        for (size_t e = 0; e < 3; e++) {
            const struct learner_options options = options_of("table", exponents[e]);
            struct prioritizer *prioritizer = open_prioritizer(world, &options);
            const double *weights = prioritizer_weights(prioritizer, batch);
            for (uint32_t b = 0; b < B; b++) {
                const double want = pow(batch->origins->ratio[b], -exponents[e]);
                assert_true(fabs(weights[b] - want) < 1e-12 * want);
                /* An even draw, also one that says where snippets come from, weighs all alike. */
                assert_true(turn > 0 || fabs(weights[b] - 1) < 1e-12);
            }
            prioritizer_free(prioritizer);
        }
        replay_sampler_return(sampler, batch);
        replay_sampler_close(sampler);
        set_priorities(world, rising);
    }
    /* And none at all where the options say so. */
    const struct learner_options none = options_of("none", 1);
    assert_null(open_prioritizer(world, &none));
    assert_null(prioritizer_weights(NULL, NULL));
}

/* One step on one batch; the episodes that were in it are then drawn by its errors. */
static void a_step_sets_priorities(void **state)
{
    struct replay_world *world = *state;
    replay_world_serve(world, 0, NULL);
    replay_world_fill(world, 0, EPISODES);
    const struct learner_options options = options_of("td_error", 1);
    struct prioritizer *prioritizer = open_prioritizer(world, &options);
    struct settings settings = learning_settings("abm+mpo", 1, 1);
    struct state *learner;
    struct update *update;
    struct err err;
    assert_int_equal(state_new(&learner, &settings, &err), STATUS_OK);
    assert_int_equal(update_new(&update, &settings, B, N, 2, &err), STATUS_OK);
    struct replay_sampler *sampler = open_sampler(world, 3);
    struct replay_batch *batch = replay_world_must_next(sampler);
    /* The numbers of the step do not matter here, only that they are these. */
    struct batch step = learning_batch(&settings, B, N, 1);
    step.weights = prioritizer_weights(prioritizer, batch);
    assert_int_equal(update_step(update, learner, &step, NULL, NULL, &err), STATUS_OK);
    double sum[EPISODES] = {0}, n[EPISODES] = {0}, mass = 0, transitions = 0;
    for (uint32_t b = 0; b < B; b++) {
        uint32_t number, t;
        start_of(batch, b, &number, &t);
        const struct td_error error = update_td_error(update, (int)b);
        sum[number] += 0.9 * error.largest + 0.1 * error.mean + 0.1;
        n[number]++;
    }
    prioritizer_note(prioritizer, batch, update);
    prioritizer_free(prioritizer);
    replay_sampler_return(sampler, batch);
    replay_sampler_close(sampler);
    for (uint32_t k = 0; k < EPISODES; k++) {
        assert_true(n[k] > 0); /* 512 draws of 735 transitions */
        mass += (10 + k) * sum[k] / n[k];
        transitions += 10 + k;
    }
    sampler = open_sampler(world, 4);
    batch = replay_world_must_next(sampler);
    for (uint32_t b = 0; b < B; b++) {
        uint32_t number, t;
        start_of(batch, b, &number, &t);
        const double want = sum[number] / n[number] * transitions / mass;
        assert_true(fabs(batch->origins->ratio[b] - want) < 1e-9 * want);
    }
    replay_sampler_return(sampler, batch);
    replay_sampler_close(sampler);
    learning_free(&step);
    update_free(update);
    state_free(learner);
}

#define TEST(name)                                                                                 \
    cmocka_unit_test_setup_teardown(name, replay_world_set_up, replay_world_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(weighted_losses_are_unbiased),
        TEST(the_exponent_tempers_weights),
        TEST(a_step_sets_priorities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
