/* The table behind the section `offline_evaluator`. All defaults are ours: docs/offline_evaluation.md
 * says how they were found. */
#include "offline_evaluator/options.h"

#include <stddef.h>

#include "common/networks/network.h"

#define AT(name) offsetof(struct offline_evaluator_options, name)

static const struct config_option table[] = {
    {"policies", CONFIG_TEXTS, AT(policies), "", "", 0, 0, NULL,
     "policy files to evaluate; empty: the candidates that the run's learner kept, and its last "
     "policy"},
    {"priors", CONFIG_BOOL, AT(priors), "", "true", 0, 0, NULL,
     "also evaluate the priors in those files as policies"},
    {"table", CONFIG_TEXT, AT(table), "", "default", 0, 0, NULL,
     "the table that critics are fitted on; starts are those of TABLE_holdout where there is one"},
    {"max_transitions", CONFIG_INT, AT(max_transitions), "transitions", "5000000", 1, 1e9, NULL,
     "a larger table is refused: all of it is held in memory"},
    {"method", CONFIG_CHOICE, AT(method), "", "auto", 0, 0, "auto|fitted_q|model",
     "how values are found: by fitted Q evaluation, or by rollouts in learned models of the "
     "environment; auto: by models where no episode terminates"},
    {"gamma", CONFIG_REAL, AT(gamma), "", "0", 0, 1, NULL,
     "discount of the values; 0: none with models, whose values are then returns of whole "
     "episodes; "
     "with fitted_q that with which the policies were learned"},
    {"acting", CONFIG_CHOICE, AT(acting), "", "mean", 0, 0, "mean|sample",
     "policies act by their mean action, as evaluators do, or by samples"},
    {"samples", CONFIG_INT, AT(samples), "", "4", 1, 100, NULL,
     "actions of a policy that acts by samples, of which a value is the mean"},
    {"candidates", CONFIG_INT, AT(candidates), "", "10", 2, 1000, NULL,
     "a policy that acts by the best of more candidate actions is evaluated with so many"},
    {"steps", CONFIG_INT, AT(steps), "steps", "0", 0, 1e9, NULL,
     "of each critic or model; 0: 20000 with models, 5000 with fitted_q"},
    {"batch_transitions", CONFIG_INT, AT(batch_transitions), "transitions", "256", 1, 65536, NULL,
     "transitions of a step"},
    {"critics", CONFIG_INT, AT(critics), "", "5", 1, EVALUATION_CRITICS_MAX, NULL,
     "critics or models, each fitted to a resample of the episodes; values are their mean, and "
     "intervals cover what they differ by; 1 has all episodes"},
    {"warm_up", CONFIG_REAL, AT(warm_up), "", "0.1", 0, 0.9, NULL,
     "fitted_q: share of the steps in which critics learn the logged returns, from where they go "
     "on"},
    {"widths", CONFIG_INTS, AT(widths), "", "256,256", 1, NETWORK_WIDTH_MAX, NULL,
     "hidden layers of critics and models"},
    {"lr", CONFIG_REAL, AT(lr), "", "1e-3", 1e-9, 1, NULL,
     "learning rate of Adam; it falls to a tenth towards the end"},
    {"target_rate", CONFIG_REAL, AT(target_rate), "", "0.05", 1e-6, 1, NULL,
     "share of the critic that its target takes over at each step"},
    {"precision", CONFIG_CHOICE, AT(precision), "", "f32", 0, 0, "f32|bf16",
     "of the hidden layers of critics and models"},
    {"resamples", CONFIG_INT, AT(resamples), "", "2000", 100, 1e6, NULL,
     "bootstrap resamples of an interval"},
    {"level", CONFIG_REAL, AT(level), "", "0.9", 0.5, 0.999, NULL, "what an interval is to cover"},
    {"threads", CONFIG_INT, AT(threads), "", "0", 0, 1024, NULL, "0: one for each core"},
    {"kernels", CONFIG_TEXT, AT(kernels), "", "best", 0, 0, NULL,
     "implementation of the networks, as learner.kernels"},
    {"checkpoint_every_seconds", CONFIG_REAL, AT(checkpoint_every_seconds), "s", "20", 0, 1e9, NULL,
     "time between checkpoints, from which a process that is started again goes on"},
    {"choose", CONFIG_BOOL, AT(choose), "", "false", 0, 0, NULL,
     "the best policy becomes RUN_DIR/policy.safetensors, the last policy_last.safetensors"},
    {"report", CONFIG_TEXT, AT(report), "", "", 0, 0, NULL,
     "the file of the result; empty: RUN_DIR/offline_evaluation.json"},
};

struct config_section offline_evaluator_section(struct offline_evaluator_options *options)
{
    return (struct config_section){.name = "offline_evaluator",
                                   .options = table,
                                   .n_options = sizeof table / sizeof table[0],
                                   .values = options};
}

status offline_evaluator_options_check(const struct offline_evaluator_options *options,
                                       struct err *err)
{
    if (options->widths.n < 1 || options->widths.n > NETWORK_LAYERS_MAX) {
        return err_set(err, STATUS_INVALID, "offline_evaluator.widths: %zu layers: expected 1..%d",
                       options->widths.n, NETWORK_LAYERS_MAX);
    }
    if (options->table[0] == '\0') {
        return err_set(err, STATUS_INVALID, "offline_evaluator.table is empty: expected a name");
    }
    if (options->choose && options->policies.n > 0) {
        return err_set(err, STATUS_INVALID,
                       "offline_evaluator.choose: expected no offline_evaluator.policies, since "
                       "the choice is among the run's own");
    }
    return STATUS_OK;
}
