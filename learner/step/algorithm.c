/* The table. A new algorithm is one more line, and the operators that it does not share. */
#include "learner/step/algorithm.h"

#include <string.h>

#include "common/networks/policy.h"
#include "learner/step/operators.h"
#include "learner/step/settings.h"

#define DRAWS(kind) (1u << NOISE_##kind)

static const struct algorithm algorithms[] = {
    {
        .name = "mpo",
        .prior_kind = PRIOR_NONE,
        .acting = "policy",
        .act = POLICY_ACT_GAUSSIAN,
        .value_estimate = value_estimate,
        .evaluation = evaluation,
        .improvement = improvement_mpo,
        .report = report_mpo,
        .draws = DRAWS(VALUE),
        .has_policy = true,
        .has_eta = true,
        .has_alphas = true,
        .act_candidates = 1,
        .init_eta = 10.0,
    },
    {
        .name = "bm+mpo",
        .prior_kind = PRIOR_BM,
        .acting = "policy",
        .act = POLICY_ACT_GAUSSIAN,
        .value_estimate = value_estimate,
        .evaluation = evaluation,
        .prior = prior,
        .improvement = improvement_mpo,
        .report = report_mpo,
        .draws = DRAWS(VALUE) | DRAWS(IMPROVE),
        .has_policy = true,
        .has_eta = true,
        .has_alphas = true,
        .act_candidates = 1,
        .init_eta = 10.0,
    },
    {
        .name = "abm+mpo",
        .prior_kind = PRIOR_ABM,
        .acting = "policy",
        .act = POLICY_ACT_GAUSSIAN,
        .value_estimate = value_estimate,
        .evaluation = evaluation,
        .prior = prior,
        .improvement = improvement_mpo,
        .report = report_mpo,
        .draws = DRAWS(VALUE) | DRAWS(IMPROVE),
        .has_policy = true,
        .has_eta = true,
        .has_alphas = true,
        .act_candidates = 1,
        .init_eta = 10.0,
    },
    {
        .name = "bm",
        .prior_kind = PRIOR_BM,
        .acting = "prior",
        .act = POLICY_ACT_GAUSSIAN,
        .value_estimate = value_estimate,
        .evaluation = evaluation,
        .prior = prior,
        .draws = DRAWS(VALUE),
        .value_from_prior = true,
        .act_candidates = 1,
        .init_eta = 10.0,
    },
    {
        .name = "abm",
        .prior_kind = PRIOR_ABM,
        .acting = "prior",
        .act = POLICY_ACT_GAUSSIAN,
        .value_estimate = value_estimate,
        .evaluation = evaluation,
        .prior = prior,
        .draws = DRAWS(VALUE),
        .value_from_prior = true,
        .act_candidates = 1,
        .init_eta = 10.0,
    },
    {
        .name = "svg",
        .prior_kind = PRIOR_NONE,
        .acting = "policy",
        .act = POLICY_ACT_GAUSSIAN,
        .value_estimate = value_estimate,
        .evaluation = evaluation,
        .improvement = improvement_svg,
        .restraint = restraint_entropy,
        .report = report_svg,
        .draws = DRAWS(VALUE) | DRAWS(IMPROVE),
        .has_policy = true,
        .n_slopes = 1,
        .act_candidates = 1,
        .init_eta = 1.0,
    },
    {
        .name = "bm+svg",
        .prior_kind = PRIOR_BM,
        .acting = "policy",
        .act = POLICY_ACT_GAUSSIAN,
        .value_estimate = value_estimate,
        .evaluation = evaluation,
        .prior = prior,
        .improvement = improvement_svg,
        .restraint = restraint_kl,
        .report = report_svg,
        .draws = DRAWS(VALUE) | DRAWS(IMPROVE),
        .has_policy = true,
        .n_slopes = 1,
        .has_eta = true,
        .act_candidates = 1,
        .init_eta = 1.0,
    },
    {
        .name = "abm+svg",
        .prior_kind = PRIOR_ABM,
        .acting = "policy",
        .act = POLICY_ACT_GAUSSIAN,
        .value_estimate = value_estimate,
        .evaluation = evaluation,
        .prior = prior,
        .improvement = improvement_svg,
        .restraint = restraint_kl,
        .report = report_svg,
        .draws = DRAWS(VALUE) | DRAWS(IMPROVE),
        .has_policy = true,
        .n_slopes = 1,
        .has_eta = true,
        .act_candidates = 1,
        .init_eta = 1.0,
    },
    {
        .name = "bcq",
        .prior_kind = PRIOR_BM,
        .acting = "prior",
        .act = POLICY_ACT_PERTURBED,
        .value_estimate = backup_bcq,
        .evaluation = evaluation_twin,
        .prior = prior,
        .improvement = improvement_bcq,
        .report = report_bcq,
        .draws = DRAWS(BACKUP) | DRAWS(IMPROVE),
        .has_critic2 = true,
        .has_perturb = true,
        .improve_one = true,
        .n_slopes = 1,
        .act_candidates = 100,
        .init_eta = 1.0,
    },
    {
        .name = "bear",
        .prior_kind = PRIOR_BM,
        .acting = "policy",
        .act = POLICY_ACT_ARGMAX,
        .value_estimate = backup_bear,
        .evaluation = evaluation_twin,
        .prior = prior,
        .improvement = improvement_bear,
        .restraint = restraint_kl,
        .report = report_svg,
        .draws = DRAWS(BACKUP) | DRAWS(IMPROVE),
        .has_policy = true,
        .has_critic2 = true,
        .improve_one = true,
        .n_slopes = 2,
        .has_eta = true,
        .act_candidates = 10,
        .init_eta = 1.0,
    },
};
#define N_ALGORITHMS (sizeof algorithms / sizeof algorithms[0])

const struct algorithm *algorithm_find(const char *name)
{
    for (size_t i = 0; i < N_ALGORITHMS; i++) {
        if (strcmp(algorithms[i].name, name) == 0) {
            return &algorithms[i];
        }
    }
    return NULL;
}

const char *algorithm_names(void)
{
    return "mpo, bm+mpo, abm+mpo, bm, abm, svg, bm+svg, abm+svg, bcq, bear";
}

size_t algorithm_count(void)
{
    return N_ALGORITHMS;
}

const struct algorithm *algorithm_at(size_t i)
{
    ASSERT(i < N_ALGORITHMS);
    return &algorithms[i];
}

status algorithm_layout(struct parameters_layout *layout, const struct settings *settings,
                        struct err *err)
{
    const struct algorithm *algorithm = algorithm_find(settings->algorithm);
    ASSERT(algorithm != NULL);
    const int I = settings_inputs(settings);
    const int A = settings->A;
    const int *widths = settings->widths;
    const int n = settings->n_widths;
    struct network_shape actor, critic, perturb;
    status s = network_shape_gaussian(&actor, I, widths, n, A, err);
    s = s != STATUS_OK ? s : network_shape_out(&critic, I + A, widths, n, 1, err);
    s = s != STATUS_OK ? s : network_shape_out(&perturb, I + A, widths, n, A, err);
    if (s != STATUS_OK) {
        return s;
    }
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
    };
    memset(layout, 0, sizeof *layout);
    for (size_t i = 0; s == STATUS_OK && i < sizeof networks / sizeof networks[0]; i++) {
        if (networks[i].there) {
            s = parameters_add_network(layout, networks[i].name, networks[i].shape,
                                       networks[i].has_target, err);
        }
    }
    if (s == STATUS_OK && algorithm->has_eta) {
        s = parameters_add_dual(layout, "rho_eta", settings->K, err);
    }
    if (s == STATUS_OK && algorithm->has_alphas) {
        s = parameters_add_dual(layout, "rho_mean", A, err);
        s = s != STATUS_OK ? s : parameters_add_dual(layout, "rho_std", A, err);
    }
    return s;
}
