/* IQL's improvement (Kostrikov et al. 2021): the policy is fitted to logged actions, weighted by
 * their advantage over V:
 *
 *     loss - min(exp(beta A), iql_max_weight) log policy(a | s),   A = min(Q1', Q2')(s, a) - V(s)
 *
 * No gradient goes through A. */
#include "learner/step/likelihood.h"
#include "learner/step/operators.h"

void improvement_iql(struct workspace *work, const struct states *states, struct value *value,
                     const struct gaussians *prior)
{
    (void)prior;
    /* Both terms are those from which V has learned in this step (value_expectile.c). */
    for (int s = 0; s < states->S; s++) {
        work->sums.q += (double)work->q_logged[s];
        work->advantage[s] = (double)work->q_logged[s] - (double)value->v[s];
    }
    policy_regression_forward(work, states);
    policy_regression_follow(work, states, likelihood_weight_iql);
}
