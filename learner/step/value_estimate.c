/* Eq. 1:  V(s) = 1/M sum_j Q'(s, clip(mean' + std' z_j)), at every row 0..n; mean', std' of policy'
 * or, in the prior-only variants, of the prior. */
#include "learner/step/operators.h"

void value_estimate(struct worker *w)
{
    const struct step *step = w->step;
    const bool from_prior = step->algorithm->value_from_prior;
    const struct network *actor = from_prior ? &step->prior.now : &step->policy.target;
    const struct gaussian_head *head = from_prior ? &step->prior_head : &step->policy_head;
    const size_t I = (size_t)step->I;
    const size_t M = (size_t)step->settings->M;
    const size_t ld_raw = 2 * (size_t)step->settings->A;

    network_infer(w->raw, ld_raw, actor, w->x, I, w->R, w->scratch);
    gaussian_forward(w->mean, w->std, head, w->raw, ld_raw, w->R);
    network_state_part(w->part, w->ld_part, &step->critic.target, w->x, I, w->R, step->I);
    worker_sample(w, NOISE_VALUE, w->mean, w->std, w->R);
    worker_judge(w, w->q, &step->critic.target, w->R, step->settings->M);
    w->sums.values += w->R;

    for (int row = 0; row < w->R; row++) {
        double sum = 0.0;
        for (size_t j = 0; j < M; j++) {
            sum += (double)w->q[(size_t)row * M + j];
        }
        w->v[row] = (float)(sum / (double)M);
        w->sums.value += sum / (double)M;
    }
}
