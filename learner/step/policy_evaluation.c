/* Policy evaluation, TD(0), for each critic with the same target y:
 *
 *     y_t = r_t + gamma d_t V(s_(t+1)),   loss 1/2 (Q(s_t, a_t) - y_t)^2 */
#include "learner/step/operators.h"

/* y of state s. The value of what follows is held fixed: no gradient goes through it. */
static double target(const struct step *step, const struct states *states,
                     const struct value *value, int s)
{
    const double next_v = (double)value->v[states->next[s]];
    return (double)states->r[s] + step->settings->gamma * (double)states->d[s] * next_v;
}

/* Gradients of one critic; its loss is added to *loss. */
static void fit(struct workspace *work, const struct states *states, const struct value *value,
                const struct step_network *critic, double *loss)
{
    const struct step *step = work->step;
    const size_t ld_in = (size_t)(step->I + step->settings->A);
    const size_t ld_out = work->tape.ld_out;

    /* Q at the logged actions, and d loss / d Q = Q - y. */
    network_forward(&work->tape, &critic->now, states->xa, ld_in, states->S);
    for (int s = 0; s < states->S; s++) {
        const double q = (double)work->tape.out[(size_t)s * ld_out];
        const double error = q - target(step, states, value, s);
        work->dout[(size_t)s * ld_out] = (float)error;
        *loss += 0.5 * error * error;
    }
    /* No gradient by the inputs: they are data. */
    network_backward(work->gradients + critic->at, NULL, 0, &critic->now, &work->tape, work->dout,
                     states->S);
}

void policy_evaluation(struct workspace *work, const struct states *states,
                       const struct value *value)
{
    fit(work, states, value, &work->step->critic, &work->sums.critic_loss);
    /* The mean target is reported once, whatever the number of critics. */
    for (int s = 0; s < states->S; s++) {
        work->sums.target += target(work->step, states, value, s);
    }
}

void policy_evaluation_both(struct workspace *work, const struct states *states,
                            const struct value *value)
{
    policy_evaluation(work, states, value);
    /* Both critics have the same targets and differ by their initial weights alone. */
    fit(work, states, value, &work->step->critic2, &work->sums.critic2_loss);
}
