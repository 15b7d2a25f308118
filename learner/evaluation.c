/* Policy evaluation, TD(0):  y_t = r_t + gamma d_t V(s_(t+1)),  loss 1/2 (Q(s_t, a_t) - y_t)^2. */
#include "learner/operators.h"

void evaluation(struct worker *w)
{
    const struct step *step = w->step;
    const double gamma = step->settings->gamma;
    const size_t ld_in = (size_t)(step->I + step->settings->A);
    const size_t ld_out = w->tape.ld_out;

    network_forward(&w->tape, &step->critic.now, w->xa, ld_in, w->S);
    for (int s = 0; s < w->S; s++) {
        const double y = (double)w->r[s] + gamma * (double)w->d[s] * (double)w->v[w->next[s]];
        const double error = (double)w->tape.out[(size_t)s * ld_out] - y;
        w->dout[(size_t)s * ld_out] = (float)error;
        w->sums.critic_loss += 0.5 * error * error;
        w->sums.target += y;
    }
    network_backward(w->gradients + step->critic.at, NULL, 0, &step->critic.now, &w->tape, w->dout,
                     w->S);
}
