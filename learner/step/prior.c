/* The behaviour prior, Eq. 3 and 4:
 *
 *     loss - w f(A_t) log prior(a_t | s_t)
 *
 * w is the importance weight of the snippet: draws that favour surprising outcomes would favour the
 * actions that led there, and the prior is of all actions logged.
 * BM: f = 1. ABM: f of the advantage A_t = R_t - V(s_t) of what was logged over the rest of its
 * snippet, with f(x) = 1 for x >= 0 else 0 ("step"), or min(exp(x / temperature), max_weight)
 * ("exp", ours). likelihood.c has f and the likelihood. */
#include "learner/step/likelihood.h"
#include "learner/step/operators.h"

void prior_advantages(double *advantage, const float *r, const float *d, const float *v,
                      double next_v, double gamma, int n)
{
    double ret = next_v; /* R_n */
    for (int t = n - 1; t >= 0; t--) {
        ret = (double)r[t] + gamma * (double)d[t] * ret;
        advantage[t] = ret - (double)v[t];
    }
}

/* f(A_t) for the states of task snippet u, and their losses. */
static void fit_snippet(struct workspace *work, const struct states *states,
                        const struct value *value, const struct gaussians *prior, int u)
{
    const struct step *step = work->step;
    const struct settings *settings = step->settings;
    const struct task_snippet *snippet = &states->snippets[u];
    const bool advantage_weighted = step->algorithm->prior_kind == PRIOR_ABM;
    const int s0 = snippet->first;
    double *advantage = work->advantage;
    /* The snippet's returns are bootstrapped with V at the row after its last state. */
    if (advantage_weighted) {
        const double next_v = (double)value->v[states->S + u];
        prior_advantages(advantage, states->r + s0, states->d + s0, value->v + s0, next_v,
                         settings->gamma, snippet->n);
    }
    /* Each state with the weight of its own advantage; BM weighs all alike. */
    for (int t = 0; t < snippet->n; t++) {
        double f = 1.0;
        if (advantage_weighted) {
            f = likelihood_weight(settings, advantage[t]);
            work->sums.advantage += advantage[t];
        }
        const double weight = states->weight[s0 + t] * f;
        work->sums.prior_loss -=
            weight * likelihood_fit(&work->gradient, settings, states, prior, s0 + t, weight);
        work->sums.accepted += f;
    }
}

void prior_fit(struct workspace *work, const struct states *states, const struct value *value,
               struct gaussians *prior)
{
    ASSERT(work->step->prior.now.shape != NULL);
    const struct step *step = work->step;
    const struct network *net = &step->prior.now;
    const struct gaussian_head *head = &step->prior_head;
    const size_t ld_out = work->tape.ld_out;
    const int S = states->S;

    /* The prior at the states is kept: the improvement samples from it or stays near it. */
    network_forward(&work->tape, net, states->x, (size_t)step->I, S);
    gaussian_forward(prior->mean, prior->std, head, work->tape.out, ld_out, S);
    for (int u = 0; u < states->n; u++) {
        fit_snippet(work, states, value, prior, u);
    }
    /* Back through the head and the network, from the gradients by mean and std. */
    gaussian_backward(work->dout, ld_out, head, work->gradient.mean, work->gradient.std,
                      prior->mean, work->tape.out, ld_out, S);
    network_backward(work->gradients + step->prior.at, NULL, 0, net, &work->tape, work->dout, S);
}
