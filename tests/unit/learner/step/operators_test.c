/* The operators' formulas, one step each, against values computed by hand or by central
 * differences. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/noise.h"
#include "learner/step/duals.h"
#include "learner/step/operators.h"
#include "learner/step/update.h"
#include "tests/lib/check.h"
#include "tests/lib/learning.h"

/* R_2 = V(s_3) = 8; gamma 1/2:  R_2 = 3 + 4 = 7;  R_1 = 2 + 0 (terminated);  R_0 = 1 + 1 = 2. */
static void advantages_by_hand(void **state)
{
    (void)state;
    const float r[] = {1.0f, 2.0f, 3.0f};
    const float d[] = {1.0f, 0.0f, 1.0f};
    const float v[] = {0.5f, 4.0f, 7.0f};
    double advantage[3];
    prior_advantages(advantage, r, d, v, 8.0, 0.5, 3);
    assert_true(advantage[0] == 1.5 && advantage[1] == -2.0 && advantage[2] == 0.0);
}

static void multipliers_and_their_derivatives(void **state)
{
    (void)state;
    assert_true(fabs(dual_multiplier(0.0) - 0.693147190559945) < 1e-14);
    assert_true(dual_multiplier(-800.0) == 1e-8 && fabs(dual_multiplier(800.0) - 800.0) < 1e-7);
    for (double rho = -18.0; rho < 200.0; rho += 3.7) {
        const double h = 1e-6;
        const double difference = (dual_multiplier(rho + h) - dual_multiplier(rho - h)) / (2.0 * h);
        assert_true(fabs(dual_derivative(rho) - difference) < 1e-7);
        assert_true(fabs(dual_rho(dual_multiplier(rho)) - rho) < 1e-6);
    }
}

/* ---- The losses' own gradients, through the whole step, by central differences ----
 *
 * Each loss is a report; moving one group of parameters along a random direction must change it by
 * gradient . direction. What the loss holds fixed must not move with it, so groups are moved one at
 * a time and only losses that hold all else fixed are taken. Float32 steps limit this to about
 * 1e-2; the reference cases hold the step to 1e-6. */

struct probe {
    struct settings settings;
    struct state *state;
    struct update *update;
    struct batch batch;
    struct report report;
};

struct check;
static double loss_of(const struct probe *probe, const struct check *check);

static double loss_at(struct probe *probe, const char *group_name, const float *direction, double h,
                      const struct check *check)
{
    struct state *moved;
    struct err err;
    assert_int_equal(state_new(&moved, &probe->settings, &err), STATUS_OK);
    state_replace(moved, STATE_TARGETS, state_read(probe->state, STATE_TARGETS));
    state_replace(moved, STATE_PARAMS, state_read(probe->state, STATE_PARAMS));
    float *params = state_write(moved, STATE_PARAMS);
    const struct parameters_group *group = parameters_group(state_layout(moved), group_name);
    for (size_t i = group->at; i < group->at + group->size; i++) {
        params[i] = (float)((double)params[i] + h * (double)direction[i]);
    }
    if (update_step(probe->update, moved, &probe->batch, NULL, &probe->report, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    state_free(moved);
    return loss_of(probe, check);
}

/* The losses of one group of parameters, each holding all else fixed. */
static const struct check {
    const char *algorithm, *group;
    const char *losses[2];
    double weights[2]; /* 0: the algorithm's eta */
} checks[] = {
    {"mpo", "critic", {"critic_loss"}, {1.0}},
    {"mpo", "policy", {"policy_loss", "trust_loss"}, {1.0, 1.0}},
    {"mpo", "dual", {"dual_loss", "alpha_loss"}, {1.0, 1.0}},
    {"abm+mpo", "critic", {"critic_loss"}, {1.0}},
    {"abm+mpo", "policy", {"policy_loss", "trust_loss"}, {1.0, 1.0}},
    {"abm+mpo", "dual", {"dual_loss", "alpha_loss"}, {1.0, 1.0}},
    {"bm", "critic", {"critic_loss"}, {1.0}},
    {"bm", "prior", {"prior_loss"}, {1.0}},
    {"bm+mpo", "prior", {"prior_loss"}, {1.0}},
    {"svg", "critic", {"critic_loss"}, {1.0}},
    {"svg", "policy", {"policy_loss", "entropy"}, {1.0, -0.05}},
    {"abm+svg", "policy", {"policy_loss", "kl_prior"}, {1.0, 0.0}},
    {"abm+svg", "dual", {"dual_loss"}, {1.0}},
    {"bcq", "critic", {"critic_loss"}, {1.0}},
    {"bcq", "critic2", {"critic2_loss"}, {1.0}},
    {"bcq", "perturb", {"perturb_loss"}, {1.0}},
    {"bear", "critic2", {"critic2_loss"}, {1.0}},
    {"bear", "policy", {"policy_loss", "kl_prior"}, {1.0, 0.0}},
    {"bear", "dual", {"dual_loss"}, {1.0}},
    {"crr", "critic", {"critic_loss"}, {1.0}},
    {"crr", "policy", {"policy_loss"}, {1.0}},
    {"iql", "critic2", {"critic2_loss"}, {1.0}},
    {"iql", "value", {"value_loss"}, {1.0}},
    {"iql", "policy", {"policy_loss"}, {1.0}},
    {"td3+bc", "critic2", {"critic2_loss"}, {1.0}},
    {"td3+bc", "policy", {"policy_loss", "bc_loss"}, {1.0, 1.0}},
};

static double loss_of(const struct probe *probe, const struct check *check)
{
    double sum = 0.0;
    for (int i = 0; i < 2 && check->losses[i] != NULL; i++) {
        double weight = check->weights[i];
        if (weight == 0.0) {
            /* All tasks have the same eta at the start. */
            weight = report_find(&probe->report, "eta")->values[0];
        }
        sum += weight * report_find(&probe->report, check->losses[i])->values[0];
    }
    return sum;
}

static void check_group(struct probe *probe, const struct check *check)
{
    float *direction = mem_array(state_layout(probe->state)->size, sizeof *direction);
    assert_non_null(direction);
    noise_normal(direction, state_layout(probe->state)->size, 3, 0, 0, 0);
    const struct parameters_group *group =
        parameters_group(state_layout(probe->state), check->group);

    loss_at(probe, check->group, direction, 0.0, check);
    const float *gradients = update_last_gradients(probe->update);
    double analytic = 0.0;
    for (size_t i = group->at; i < group->at + group->size; i++) {
        analytic += (double)gradients[i] * (double)direction[i];
    }
    const double h = 1e-3;
    const double above = loss_at(probe, check->group, direction, h, check);
    const double below = loss_at(probe, check->group, direction, -h, check);
    const double numeric = (above - below) / (2.0 * h);
    print_message("%s %s: gradient %.6f, central difference %.6f\n", check->algorithm, check->group,
                  analytic, numeric);
    assert_true(fabs(numeric - analytic) < 1e-4 + 2e-3 * fabs(analytic));
    mem_free(direction);
}

static void gradients_are_central_differences(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof checks / sizeof checks[0]; i++) {
        struct probe probe = {.settings = learning_settings(checks[i].algorithm, 2, 2)};
        struct err err;
        if (strcmp(checks[i].algorithm, "bm+mpo") == 0) {
            probe.settings.prior_likelihood = LIKELIHOOD_CENSORED;
        }
        if (strcmp(checks[i].algorithm, "crr") == 0) {
            /* The advantage moves with the policy; at its cap the weight does not. */
            probe.settings.prior_f = PRIOR_F_EXP;
            probe.settings.max_weight = 0.2;
        }
        probe.settings.clip_norm = 1e9;
        probe.settings.entropy_cost = 0.05;
        assert_int_equal(state_new(&probe.state, &probe.settings, &err), STATUS_OK);
        assert_int_equal(update_new(&probe.update, &probe.settings, 9, 4, 2, &err), STATUS_OK);
        probe.batch = learning_batch(&probe.settings, 9, 4, 77);
        /* Away from the initial point, where heads are nearly 0 and policy equals policy'. */
        struct state *s = probe.state;
        const struct parameters_group *dual = parameters_group(state_layout(s), "dual");
        for (size_t j = 0; j < state_layout(s)->size; j++) {
            float noise;
            noise_normal(&noise, 1, 9, 0, 0, j);
            state_write(s, STATE_PARAMS)[j] += dual != NULL && j >= dual->at ? 0.0f : 0.1f * noise;
        }
        check_group(&probe, &checks[i]);
        learning_free(&probe.batch);
        update_free(probe.update);
        state_free(probe.state);
    }
}

/* Wider than the range of an action a policy gets no more entropy, nor a reason to become wider. */
static void entropy_counts_up_to_the_range_of_an_action(void **state)
{
    (void)state;
    const struct settings settings = {.A = 2, .entropy_cost = 0.1};
    const struct step step = {.settings = &settings};
    const struct states states = {.S = 1};
    float mean[2] = {0}, std[2] = {0.5F, 3.0F}, by_mean[2] = {0}, by_std[2] = {0};
    const struct gaussians policy = {.mean = mean, .std = std};
    struct gaussians gradient = {.mean = by_mean, .std = by_std};
    struct sums sums = {0};
    regularizer_entropy(&step, &sums, &states, &policy, NULL, &gradient);
    const double of_one = 1.41893853320467274; /* nats, of std 1 */
    assert_true(fabs(sums.entropy - (2 * of_one + log(0.5))) < 1e-12);
    assert_true(fabs((double)by_std[0] + 0.1 / 0.5) < 1e-7);
    assert_true(by_std[1] == 0.0F && by_mean[0] == 0.0F);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(advantages_by_hand),
        cmocka_unit_test(multipliers_and_their_derivatives),
        cmocka_unit_test(gradients_are_central_differences),
        cmocka_unit_test(entropy_counts_up_to_the_range_of_an_action),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
