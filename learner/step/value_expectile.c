/* V of IQL (Kostrikov et al. 2021), a network that learns the expectile tau of Q over logged
 * actions:
 *
 *     loss w |tau - 1(u < 0)| u^2,   u = min(Q1', Q2')(s, a) - V(s)
 *
 * w is the importance weight of the state's snippet.
 * With tau above 1/2 it is nearer to the better of the logged actions, and no action is sampled
 * that was not logged. */
#include "learner/step/operators.h"

/* q_logged(S) <- min(Q1', Q2') of the logged actions; `second` is space for S numbers. */
static void judge_logged(struct workspace *work, const struct states *states, float *second)
{
    const struct step *step = work->step;
    const size_t ld_in = (size_t)(step->I + step->settings->A);
    const int S = states->S;
    network_infer(work->q_logged, 1, &step->critic.target, states->xa, ld_in, S, work->scratch);
    network_infer(second, 1, &step->critic2.target, states->xa, ld_in, S, work->scratch);
    for (int s = 0; s < S; s++) {
        work->q_logged[s] = second[s] < work->q_logged[s] ? second[s] : work->q_logged[s];
    }
}

void value_expectile(struct workspace *work, const struct states *states, struct value *value)
{
    ASSERT(work->step->value.now.shape != NULL);
    const struct step *step = work->step;
    const struct network *net = &step->value.now;
    const double tau = step->settings->expectile;
    const size_t ld_out = work->tape.ld_out;
    judge_logged(work, states, value->q);

    /* V at all rows: the critics' targets need it at the states that follow. */
    network_forward(&work->tape, net, states->x, (size_t)step->I, states->R);
    for (int row = 0; row < states->R; row++) {
        value->v[row] = work->tape.out[(size_t)row * ld_out];
        work->sums.value += (double)value->v[row];
    }
    work->sums.values += states->R;

    /* Its loss and gradients at the states alone, the first rows of the tape. */
    for (int s = 0; s < states->S; s++) {
        const double u = (double)work->q_logged[s] - (double)value->v[s];
        const double weight = states->weight[s] * (u < 0.0 ? 1.0 - tau : tau);
        work->sums.value_loss += weight * u * u;
        work->dout[(size_t)s * ld_out] = (float)(-2.0 * weight * u);
    }
    network_backward(work->gradients + step->value.at, NULL, 0, net, &work->tape, work->dout,
                     states->S);
}
