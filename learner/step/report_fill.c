/* From a step's sums to its report: means over states, and the norms of gradients.
 *
 * Every loss of the step must be here: report_check, which refuses a step that is not finite, sees
 * the report alone.
 *
 * Sums are those of the whole batch, over all threads and ranks; what an algorithm does not compute
 * is left out of its report, not reported as 0. */
#include <math.h>

#include "learner/step/operators.h"

static void add_one(struct report *report, const char *name, double value)
{
    report_add(report, name, &value, 1);
}

/* A value of states or actions, in the units of the logged rewards. */
static void add_value(struct report *report, const struct step *step, const char *name,
                      double value)
{
    add_one(report, name, value / step->settings->reward_scale);
}

double sums_weight_max(const struct sums *sums)
{
    double largest = 0.0;
    for (int part = 0; part < BATCH_PARTS_MAX; part++) {
        largest = fmax(largest, sums->weight_max[part]);
    }
    return largest > 0.0 ? largest : 1.0;
}

/* What sums with weights are divided by: states, each with the largest weight. */
static double weighted_states(const struct sums *sums)
{
    return sums->states * sums_weight_max(sums);
}

/* MPO: the E-step, the M-step and its trust region. */
void report_mpo(struct report *report, const struct step *step, const struct sums *sums)
{
    const struct settings *settings = step->settings;
    const int A = settings->A;
    double kl_mean[REPORT_ACTIONS_MAX];
    double kl_std[REPORT_ACTIONS_MAX];
    double trust = 0.0;
    double alpha_loss = 0.0;
    /* Penalties and duals are made of the same mean KLs. */
    for (int i = 0; i < A; i++) {
        kl_mean[i] = sums->kl_mean[i] / sums->states;
        kl_std[i] = sums->kl_std[i] / sums->states;
        trust += step->alpha_mean[i] * kl_mean[i] + step->alpha_std[i] * kl_std[i];
        alpha_loss += step->alpha_mean[i] * (settings->eps_mean - kl_mean[i]) +
                      step->alpha_std[i] * (settings->eps_std - kl_std[i]);
    }
    /* Losses first, then what explains them. */
    add_one(report, "policy_loss", sums->policy_loss / sums->states);
    add_one(report, "trust_loss", trust);
    add_one(report, "dual_loss", sums->dual_loss / sums->states);
    add_one(report, "alpha_loss", alpha_loss);
    add_value(report, step, "q_mean", sums->q / sums->states);
    add_one(report, "kl_improved", sums->kl_improved / sums->states);
    report_add(report, "kl_mean", kl_mean, A);
    report_add(report, "kl_std", kl_std, A);
    report_add(report, "alpha_mean", step->alpha_mean, A);
    report_add(report, "alpha_std", step->alpha_std, A);
}

/* SVG and BEAR: the critic's value that the policy maximises, and its regularizer. */
void report_svg(struct report *report, const struct step *step, const struct sums *sums)
{
    add_one(report, "policy_loss", -sums->q / sums->states);
    add_value(report, step, "q_mean", sums->q / sums->states);
    /* With a prior the regularizer is the KL to it, without one the entropy. */
    if (step->algorithm->prior_fit != NULL) {
        add_one(report, "kl_prior", sums->kl_prior / sums->states);
        add_one(report, "dual_loss", sums->dual_loss / sums->states);
    } else {
        add_one(report, "entropy", sums->entropy / sums->states);
    }
}

/* BCQ: the critic's value that the perturbation network maximises. */
void report_bcq(struct report *report, const struct step *step, const struct sums *sums)
{
    add_one(report, "perturb_loss", -sums->q / sums->states);
    add_value(report, step, "q_mean", sums->q / sums->states);
}

/* CRR and IQL: the weighted likelihood of what was logged, and the weights. */
void report_regression(struct report *report, const struct step *step, const struct sums *sums)
{
    add_one(report, "policy_loss", sums->policy_loss / weighted_states(sums));
    add_value(report, step, "q_mean", sums->q / sums->states);
    add_one(report, "accepted", sums->accepted / sums->states);
    add_value(report, step, "advantage_mean", sums->advantage / sums->states);
}

/* TD3+BC: the critic's weighted value that the policy maximises, and its regularizer. */
void report_td3_bc(struct report *report, const struct step *step, const struct sums *sums)
{
    add_one(report, "policy_loss", step->q_weight * sums->policy_loss / weighted_states(sums));
    add_one(report, "bc_loss", sums->bc_loss / weighted_states(sums));
    add_value(report, step, "q_mean", sums->q / sums->states);
    add_one(report, "q_weight", step->q_weight);
}

void report_fill(struct report *report, const struct step *step, const struct sums *sums,
                 const struct parameters_layout *layout, const double *norms, uint64_t number)
{
    /* The names of norms, by the group of the layout. */
    static const struct {
        const char *group, *name;
    } names[] = {{"policy", "grad_norm_policy"},   {"prior", "grad_norm_prior"},
                 {"critic", "grad_norm_critic"},   {"critic2", "grad_norm_critic2"},
                 {"perturb", "grad_norm_perturb"}, {"value", "grad_norm_value"}};
    const struct algorithm *algorithm = step->algorithm;
    ASSERT(sums->states >= 1.0);
    /* What all algorithms have, then the prior's, the duals, the improvement's, the norms. */
    report->step = number;
    report->n_states = sums->states;
    report->n_values = 0;
    add_one(report, "critic_loss", sums->critic_loss / weighted_states(sums));
    /* Only what the algorithm has. */
    if (algorithm->has_critic2) {
        add_one(report, "critic2_loss", sums->critic2_loss / weighted_states(sums));
    }
    if (algorithm->has_value) {
        add_one(report, "value_loss", sums->value_loss / weighted_states(sums));
    }
    if (sums->weight > 0.0) {
        add_one(report, "importance_weight", sums->weight / weighted_states(sums));
        add_value(report, step, "td_error", sums->td_error / sums->states);
    }
    /* V has its own count: it may be estimated at other rows than the states. */
    add_value(report, step, "value_mean", sums->value / sums->values);
    add_value(report, step, "target_mean", sums->target / sums->states);
    /* The prior, the duals, and what the improvement adds. */
    if (algorithm->prior_fit != NULL) {
        add_one(report, "prior_loss", sums->prior_loss / weighted_states(sums));
        add_one(report, "accepted", sums->accepted / sums->states);
    }
    if (algorithm->prior_kind == PRIOR_ABM) {
        add_value(report, step, "advantage_mean", sums->advantage / sums->states);
    }
    if (algorithm->has_eta) {
        report_add(report, "eta", step->eta, step->settings->K);
    }
    if (algorithm->report != NULL) {
        algorithm->report(report, step, sums);
    }
    /* Norms are in the layout's order; names only for the networks that it has. */
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const struct parameters_group *group = parameters_group(layout, names[i].group);
        if (group != NULL) {
            add_one(report, names[i].name, norms[group - layout->groups]);
        }
    }
}

status report_check(const struct report *report, struct err *err)
{
    for (int i = 0; i < report->n_values; i++) {
        const struct report_value *value = &report->values[i];
        /* The first one that is not finite names the fault. */
        for (int j = 0; j < value->size; j++) {
            const double x = value->values[j];
            if (!isfinite(x)) {
                return err_set(err, STATUS_CORRUPT, "learner step %llu: %s is %g",
                               (unsigned long long)report->step, value->name, x);
            }
        }
    }
    return STATUS_OK;
}
