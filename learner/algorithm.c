/* The table. A new algorithm is one more line, and the operators that it does not share. */
#include "learner/algorithm.h"

#include <string.h>

#include "learner/operators.h"
#include "learner/settings.h"

static const struct algorithm algorithms[] = {
    {
        .name = "mpo",
        .prior_kind = PRIOR_NONE,
        .acting = "policy",
        .value_estimate = value_estimate,
        .evaluation = evaluation,
        .improvement = improvement_mpo,
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
        .value_estimate = value_estimate,
        .evaluation = evaluation,
        .prior = prior,
        .improvement = improvement_mpo,
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
        .value_estimate = value_estimate,
        .evaluation = evaluation,
        .prior = prior,
        .improvement = improvement_mpo,
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
        .value_estimate = value_estimate,
        .evaluation = evaluation,
        .prior = prior,
        .value_from_prior = true,
        .act_candidates = 1,
        .init_eta = 10.0,
    },
    {
        .name = "abm",
        .prior_kind = PRIOR_ABM,
        .acting = "prior",
        .value_estimate = value_estimate,
        .evaluation = evaluation,
        .prior = prior,
        .value_from_prior = true,
        .act_candidates = 1,
        .init_eta = 10.0,
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
    return "mpo, bm+mpo, abm+mpo, bm, abm";
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
    struct network_shape actor;
    struct network_shape critic;
    status s = network_shape_gaussian(&actor, I, settings->widths, settings->n_widths, A, err);
    s = s != STATUS_OK
            ? s
            : network_shape_out(&critic, I + A, settings->widths, settings->n_widths, 1, err);
    if (s != STATUS_OK) {
        return s;
    }
    memset(layout, 0, sizeof *layout);
    if (algorithm->has_policy) {
        s = parameters_add_network(layout, "policy", &actor, true, err);
    }
    if (s == STATUS_OK && algorithm->prior_kind != PRIOR_NONE) {
        s = parameters_add_network(layout, "prior", &actor, false, err);
    }
    s = s != STATUS_OK ? s : parameters_add_network(layout, "critic", &critic, true, err);
    if (s == STATUS_OK && algorithm->has_eta) {
        s = parameters_add_dual(layout, "rho_eta", settings->K, err);
    }
    if (s == STATUS_OK && algorithm->has_alphas) {
        s = parameters_add_dual(layout, "rho_mean", A, err);
        s = s != STATUS_OK ? s : parameters_add_dual(layout, "rho_std", A, err);
    }
    return s;
}
