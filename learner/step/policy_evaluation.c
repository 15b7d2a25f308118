/* Policy evaluation, TD(0), for each critic with the same target y:
 *
 *     y_t = r_t + gamma d_t V(s_(t+1)),   loss w 1/2 (Q(s_t, a_t) - y_t)^2
 *
 * w is the importance weight of the state's snippet. */
#include <math.h>

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

    /* Q at the logged actions, and d loss / d Q = w (Q - y). */
    network_forward(&work->tape, &critic->now, states->xa, ld_in, states->S);
    for (int s = 0; s < states->S; s++) {
        const double q = (double)work->tape.out[(size_t)s * ld_out];
        const double error = q - target(step, states, value, s);
        work->dout[(size_t)s * ld_out] = (float)(states->weight[s] * error);
        *loss += states->weight[s] * (0.5 * error * error);
        work->td_error[s] = fabs(error);
    }
    /* No gradient by the inputs: they are data. */
    network_backward(work->gradients + critic->at, NULL, 0, &critic->now, &work->tape, work->dout,
                     states->S);
}

/* The TD errors of each task snippet of the group. */
static void note_errors(struct workspace *work, const struct states *states)
{
    const struct step *step = work->step;
    for (int u = 0; u < states->n; u++) {
        const struct task_snippet *snippet = &states->snippets[u];
        double largest = 0.0;
        double sum = 0.0;
        for (int s = snippet->first; s < snippet->first + snippet->n; s++) {
            largest = fmax(largest, work->td_error[s]);
            sum += work->td_error[s];
        }
        work->sums.td_error += sum;
        step->errors[snippet->b * step->settings->T + snippet->tau] =
            (struct td_error){.largest = largest, .mean = sum / snippet->n};
    }
}

void policy_evaluation(struct workspace *work, const struct states *states,
                       const struct value *value)
{
    fit(work, states, value, &work->step->critic, &work->sums.critic_loss);
    note_errors(work, states);
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
