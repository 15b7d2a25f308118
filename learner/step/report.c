/* The report: a list of named values, and a description of each name.
 *
 * Which quantities a step has depends on its algorithm, so that consumers look them up by name.
 * report_fill.c makes them from a step's sums.
 *
 * Names are constants that live as long as the program, so that a report is plain data and can be
 * copied by assignment. */
#include "learner/step/report.h"

#include <string.h>

const struct report_value *report_find(const struct report *report, const char *name)
{
    /* A report has a few dozen values at most. */
    for (int i = 0; i < report->n_values; i++) {
        if (strcmp(report->values[i].name, name) == 0) {
            return &report->values[i];
        }
    }
    return NULL;
}

void report_add(struct report *report, const char *name, const double *values, int size)
{
    /* Both limits hold for every algorithm: exceeding them is a mistake in report_fill.c. */
    ASSERT(report->n_values < REPORT_VALUES_MAX);
    ASSERT(size <= REPORT_VECTOR_MAX);
    struct report_value *value = &report->values[report->n_values++];
    value->name = name;
    value->size = size;
    memcpy(value->values, values, (size_t)size * sizeof *values);
}

const char *report_meaning(const char *name)
{
    static const struct {
        const char *name, *meaning;
    } meanings[] = {
        {"critic_loss", "Half the squared error of the critic to its targets"},
        {"critic2_loss", "The same of the second critic"},
        {"value_loss", "What V minimises: the asymmetric squared error to Q of the logged actions"},
        {"importance_weight", "Importance weights, whose largest is 1: the mean over states"},
        {"td_error", "Size of the critic's errors to its targets, mean over states"},
        {"value_mean", "V, mean over all rows"},
        {"target_mean", "The critic's targets, mean over states"},
        {"prior_loss", "Negative log likelihood of the accepted actions under the prior"},
        {"accepted",
         "Share of logged actions that prior or policy learn from; with prior_f exp their weight"},
        {"advantage_mean", "Advantage of the logged actions"},
        {"eta", "Temperature, by task"},
        /* The improvement. */
        {"policy_loss", "What the policy minimises, without its regularizer"},
        {"bc_loss", "Squared distance of the policy's mean to the logged action, by dimension"},
        {"q_weight", "Weight of Q against the distance to the logged action"},
        {"perturb_loss", "What the perturbation network minimises"},
        {"trust_loss", "Penalty for leaving the trust region"},
        {"dual_loss", "What eta minimises"},
        {"alpha_loss", "What the alphas minimise"},
        {"q_mean", "Q of the sampled actions; in iql of the logged ones"},
        /* Diagnostics, from the networks and from a sample of logged states. */
        {"q_min", "Smallest Q of the logged actions that were inspected"},
        {"q_max", "Largest Q of the logged actions that were inspected"},
        {"kl_improved", "KL of the improved weights to the samples' own"},
        {"kl_prior", "KL of the policy to the prior"},
        {"kl_mean", "KL to the policy's target copy by its mean, by action"},
        {"kl_std", "KL to the policy's target copy by its std, by action"},
        {"alpha_mean", "Multiplier of the mean's trust region, by action"},
        {"alpha_std", "Multiplier of the std's trust region, by action"},
        {"entropy", "Entropy of the policy"},
        {"policy_std", "Std of the policy, by action"},
        {"prior_std", "Std of the prior, by action"},
        {"prior_floor", "Share of the prior's stds at their floor"},
        {"actions_at_end", "Share of logged actions at an end of their range"},
        /* Of a sample of logged snippets (learner/run/validation.h). */
        {"prior_log_likelihood", "Log likelihood of logged actions under the prior"},
        {"policy_log_likelihood", "Log likelihood of logged actions under the policy"},
        {"q_bias", "Q of logged actions less their discounted logged return, by task"},
        {"q_correlation", "Correlation of Q with the discounted logged return, by task"},
        /* Norms. */
        {"grad_norm_policy", "Norm of the policy's gradient, before clipping"},
        {"grad_norm_prior", "Norm of the prior's gradient, before clipping"},
        {"grad_norm_critic", "Norm of the critic's gradient, before clipping"},
        {"grad_norm_critic2", "Norm of the second critic's gradient, before clipping"},
        {"grad_norm_perturb", "Norm of the perturbation network's gradient, before clipping"},
        {"grad_norm_value", "Norm of the value network's gradient, before clipping"},
    };
    for (size_t i = 0; i < sizeof meanings / sizeof meanings[0]; i++) {
        if (strcmp(meanings[i].name, name) == 0) {
            return meanings[i].meaning;
        }
    }
    return "Of the last reported step"; /* no description: a new quantity */
}
