/* Policy evaluation, TD(0):  y_t = r_t + gamma d_t V(s_(t+1)),  loss 1/2 (Q(s_t, a_t) - y_t)^2, for
 * each critic with the same y. */
#include "learner/step/operators.h"

static double target(const struct worker *w, int s)
{
    return (double)w->r[s] + w->step->settings->gamma * (double)w->d[s] * (double)w->v[w->next[s]];
}

static void fit(struct worker *w, const struct step_network *critic, double *loss)
{
    const struct step *step = w->step;
    const size_t ld_in = (size_t)(step->I + step->settings->A);
    const size_t ld_out = w->tape.ld_out;

    network_forward(&w->tape, &critic->now, w->xa, ld_in, w->S);
    for (int s = 0; s < w->S; s++) {
        const double error = (double)w->tape.out[(size_t)s * ld_out] - target(w, s);
        w->dout[(size_t)s * ld_out] = (float)error;
        *loss += 0.5 * error * error;
    }
    network_backward(w->gradients + critic->at, NULL, 0, &critic->now, &w->tape, w->dout, w->S);
}

void evaluation(struct worker *w)
{
    fit(w, &w->step->critic, &w->sums.critic_loss);
    for (int s = 0; s < w->S; s++) {
        w->sums.target += target(w, s);
    }
}

void evaluation_twin(struct worker *w)
{
    evaluation(w);
    fit(w, &w->step->critic2, &w->sums.critic2_loss);
}
