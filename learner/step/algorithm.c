/* The algorithms, each a row of operators and flags. A new algorithm is a name in settings.c, a row
 * here, and the operators that it does not share with others.
 *
 * Rows stand in families: MPO improves on sampled actions; SVG follows the critic's action
 * gradients; BM and ABM alone act with the prior; BCQ and BEAR evaluate with two critics and choose
 * among candidates. CRR and IQL fit a policy to the better of the logged actions, and TD3+BC keeps
 * one near them; these three are not of the paper, but baselines that users know. docs/maths.md has
 * the equations, section by section.
 *
 * A row also says which noise a step draws and how often the critic is differentiated, by which
 * workers size their memory and benchmarks count the work. The table is constant and any thread may
 * read it. */
#include "learner/step/algorithm.h"

#include <string.h>

#include "common/networks/policy.h"
#include "learner/step/operators.h"
#include "learner/step/settings.h"

#define DRAWS(kind) (1u << NOISE_##kind)

static const struct algorithm algorithms[ALGORITHM_COUNT] = {
    /* Without a prior: the improvement uses the samples of the value estimate again and draws no
     * noise of its own. */
    [ALGORITHM_MPO] =
        {
            .prior_kind = PRIOR_NONE,
            .acting = "policy",
            .act = POLICY_ACT_GAUSSIAN,
            .value_estimate = value_estimate,
            .evaluation = policy_evaluation,
            .improvement = improvement_mpo,
            .report = report_mpo,
            .draws = DRAWS(VALUE),
            .has_policy = true,
            .has_eta = true,
            .has_alphas = true,
        },
    /* With a prior the improvement draws its samples from it. BM's prior learns from all logged
     * actions alike .. */
    [ALGORITHM_BM_MPO] =
        {
            .prior_kind = PRIOR_BM,
            .acting = "policy",
            .act = POLICY_ACT_GAUSSIAN,
            .value_estimate = value_estimate,
            .evaluation = policy_evaluation,
            .prior_fit = prior_fit,
            .improvement = improvement_mpo,
            .report = report_mpo,
            .draws = DRAWS(VALUE) | DRAWS(IMPROVE),
            .has_policy = true,
            .has_eta = true,
            .has_alphas = true,
        },
    /* .. and ABM's from those with an advantage. */
    [ALGORITHM_ABM_MPO] =
        {
            .prior_kind = PRIOR_ABM,
            .acting = "policy",
            .act = POLICY_ACT_GAUSSIAN,
            .value_estimate = value_estimate,
            .evaluation = policy_evaluation,
            .prior_fit = prior_fit,
            .improvement = improvement_mpo,
            .report = report_mpo,
            .draws = DRAWS(VALUE) | DRAWS(IMPROVE),
            .has_policy = true,
            .has_eta = true,
            .has_alphas = true,
        },
    /* The prior acts, and V is made of its samples: there is no policy to improve. */
    [ALGORITHM_BM] =
        {
            .prior_kind = PRIOR_BM,
            .acting = "prior",
            .act = POLICY_ACT_GAUSSIAN,
            .value_estimate = value_estimate,
            .evaluation = policy_evaluation,
            .prior_fit = prior_fit,
            .draws = DRAWS(VALUE),
            .value_from_prior = true,
        },
    [ALGORITHM_ABM] =
        {
            .prior_kind = PRIOR_ABM,
            .acting = "prior",
            .act = POLICY_ACT_GAUSSIAN,
            .value_estimate = value_estimate,
            .evaluation = policy_evaluation,
            .prior_fit = prior_fit,
            .draws = DRAWS(VALUE),
            .value_from_prior = true,
        },
    /* A regularizer stands in for the trust region: the entropy here, the KL to the prior below. */
    [ALGORITHM_SVG] =
        {
            .prior_kind = PRIOR_NONE,
            .acting = "policy",
            .act = POLICY_ACT_GAUSSIAN,
            .value_estimate = value_estimate,
            .evaluation = policy_evaluation,
            .improvement = improvement_svg,
            .regularizer = regularizer_entropy,
            .report = report_svg,
            .draws = DRAWS(VALUE) | DRAWS(IMPROVE),
            .has_policy = true,
            .n_action_gradients = 1,
        },
    /* eta weighs the KL to the prior. */
    [ALGORITHM_BM_SVG] =
        {
            .prior_kind = PRIOR_BM,
            .acting = "policy",
            .act = POLICY_ACT_GAUSSIAN,
            .value_estimate = value_estimate,
            .evaluation = policy_evaluation,
            .prior_fit = prior_fit,
            .improvement = improvement_svg,
            .regularizer = regularizer_kl,
            .report = report_svg,
            .draws = DRAWS(VALUE) | DRAWS(IMPROVE),
            .has_policy = true,
            .n_action_gradients = 1,
            .has_eta = true,
        },
    [ALGORITHM_ABM_SVG] =
        {
            .prior_kind = PRIOR_ABM,
            .acting = "policy",
            .act = POLICY_ACT_GAUSSIAN,
            .value_estimate = value_estimate,
            .evaluation = policy_evaluation,
            .prior_fit = prior_fit,
            .improvement = improvement_svg,
            .regularizer = regularizer_kl,
            .report = report_svg,
            .draws = DRAWS(VALUE) | DRAWS(IMPROVE),
            .has_policy = true,
            .n_action_gradients = 1,
            .has_eta = true,
        },
    /* The prior acts, moved by the perturbation network, and that network is improved in place of a
     * policy. One action a state is differentiated. */
    [ALGORITHM_BCQ] =
        {
            .prior_kind = PRIOR_BM,
            .acting = "prior",
            .act = POLICY_ACT_PERTURBED,
            .value_estimate = backup_bcq,
            .evaluation = policy_evaluation_both,
            .prior_fit = prior_fit,
            .improvement = improvement_bcq,
            .report = report_bcq,
            .draws = DRAWS(BACKUP) | DRAWS(IMPROVE),
            .has_critic2 = true,
            .has_perturb = true,
            .improve_one = true,
            .n_action_gradients = 1,
        },
    /* A policy is improved along the smaller of two critics, so that both are differentiated. */
    [ALGORITHM_BEAR] =
        {
            .prior_kind = PRIOR_BM,
            .acting = "policy",
            .act = POLICY_ACT_ARGMAX,
            .value_estimate = backup_bear,
            .evaluation = policy_evaluation_both,
            .prior_fit = prior_fit,
            .improvement = improvement_bear,
            .regularizer = regularizer_kl,
            .report = report_svg,
            .draws = DRAWS(BACKUP) | DRAWS(IMPROVE),
            .has_policy = true,
            .has_critic2 = true,
            .improve_one = true,
            .n_action_gradients = 2,
            .has_eta = true,
        },
    /* The policy is fitted to logged actions, weighted by their advantage over its own samples. */
    [ALGORITHM_CRR] =
        {
            .prior_kind = PRIOR_NONE,
            .acting = "policy",
            .act = POLICY_ACT_GAUSSIAN,
            .value_estimate = value_estimate,
            .evaluation = policy_evaluation,
            .improvement = improvement_crr,
            .report = report_regression,
            .draws = DRAWS(VALUE) | DRAWS(IMPROVE),
            .has_policy = true,
            .fits_policy = true,
        },
    /* The same with an advantage over V, which is a network: no action is sampled. */
    [ALGORITHM_IQL] =
        {
            .prior_kind = PRIOR_NONE,
            .acting = "policy",
            .act = POLICY_ACT_GAUSSIAN,
            .value_estimate = value_expectile,
            .evaluation = policy_evaluation_both,
            .improvement = improvement_iql,
            .report = report_regression,
            .has_policy = true,
            .has_critic2 = true,
            .has_value = true,
            .fits_policy = true,
        },
    /* A policy without noise of its own follows the critic and stays near the logged actions. */
    [ALGORITHM_TD3_BC] =
        {
            .prior_kind = PRIOR_NONE,
            .acting = "policy",
            .act = POLICY_ACT_GAUSSIAN,
            .value_estimate = backup_td3_bc,
            .evaluation = policy_evaluation_both,
            .improvement = improvement_td3_bc,
            .regularizer = regularizer_bc,
            .report = report_td3_bc,
            .draws = DRAWS(BACKUP),
            .has_policy = true,
            .has_critic2 = true,
            .improve_one = true,
            .backup_one = true,
            .n_action_gradients = 1,
            .has_q_scale = true,
            .fits_policy = true,
        },
};

bool algorithm_weighs(const struct algorithm *algorithm, const char *group)
{
    if (strcmp(group, "policy") == 0) {
        return algorithm->fits_policy;
    }
    return strcmp(group, "prior") == 0 || strcmp(group, "critic") == 0 ||
           strcmp(group, "critic2") == 0 || strcmp(group, "value") == 0;
}

const struct algorithm *algorithm_of(const struct settings *settings)
{
    ASSERT(settings->algorithm < ALGORITHM_COUNT);
    return &algorithms[settings->algorithm];
}

/* Policy and prior share one shape, both critics another; V has no action as input. The order of
 * groups is the order of parameters in memory, in checkpoints and in what several learners
 * exchange. */
status algorithm_layout(struct parameters_layout *layout, const struct settings *settings,
                        struct err *err)
{
    /* Sizes that come from the settings; the algorithm says which networks there are. */
    const struct algorithm *algorithm = algorithm_of(settings);
    const int I = settings_inputs(settings);
    const int A = settings->A;
    const int *widths = settings->widths;
    const int n = settings->n_widths;
    /* Both kinds of network have the same hidden layers; the perturbation network has the critic's
     * inputs. */
    struct network_shape actor, critic, perturb, value;
    status s = network_shape_gaussian(&actor, I, widths, n, A, err);
    s = s != STATUS_OK ? s : network_shape_out(&critic, I + A, widths, n, 1, err);
    s = s != STATUS_OK ? s : network_shape_out(&perturb, I + A, widths, n, A, err);
    s = s != STATUS_OK ? s : network_shape_out(&value, I, widths, n, 1, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* The networks that this algorithm has. */
    const struct {
        bool there;
        const char *name;
        const struct network_shape *shape;
        bool has_target;
    } networks[] = {
        {algorithm->has_policy, "policy", &actor, true},
        {algorithm->prior_kind != PRIOR_NONE, "prior", &actor, false},
        {true, "critic", &critic, true},
        {algorithm->has_critic2, "critic2", &critic, true},
        {algorithm->has_perturb, "perturb", &perturb, true},
        {algorithm->has_value, "value", &value, false},
    };
    /* In this order into the layout; prior and V have no target copy. */
    memset(layout, 0, sizeof *layout);
    for (size_t i = 0; s == STATUS_OK && i < sizeof networks / sizeof networks[0]; i++) {
        if (networks[i].there) {
            s = parameters_add_network(layout, networks[i].name, networks[i].shape,
                                       networks[i].has_target, err);
        }
    }
    /* Its dual variables: one eta for each task, alphas for each action dimension. */
    if (s == STATUS_OK && algorithm->has_eta) {
        s = parameters_add_dual(layout, "rho_eta", settings->K, err);
    }
    if (s == STATUS_OK && algorithm->has_alphas) {
        s = parameters_add_dual(layout, "rho_mean", A, err);
        s = s != STATUS_OK ? s : parameters_add_dual(layout, "rho_std", A, err);
    }
    /* What follows is part of the block, but no gradient changes it: the mean size of Q, and mean
     * and scale of the observations. */
    if (s == STATUS_OK && algorithm->has_q_scale) {
        s = parameters_add_constant(layout, "scale", "q", 1, err);
    }
    if (s == STATUS_OK && settings->normalize == NORMALIZE_STANDARD) {
        s = parameters_add_constant(layout, "normalizer", "mean", settings->O, err);
        s = s != STATUS_OK
                ? s
                : parameters_add_constant(layout, "normalizer", "scale", settings->O, err);
    }
    return s;
}
