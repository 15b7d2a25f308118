/* The value of s_(t+1) by a maximum over C candidate actions (BCQ; BEAR in the same way):
 *
 *     V(s') = max_j mix(Q1', Q2')(s', clip(a_j)),   mix(q1, q2) = 0.75 min + 0.25 max
 *
 * Candidates of BCQ are clip(a) + xi'(s', clip(a)), a from the prior; of BEAR samples of policy'.
 * Rows of this file's buffers are states s, and what lies there belongs to the state that follows.
 */
#include <math.h>
#include <string.h>

#include "common/networks/kernels.h"
#include "learner/step/operators.h"

/* samples(S,C,A) of a Gaussian network at the states that follow. */
static void draw_candidates(struct worker *w, const struct network *actor,
                            const struct gaussian_head *head)
{
    const size_t I = (size_t)w->step->I;
    const size_t ld_raw = 2 * (size_t)w->step->settings->A;
    for (int s = 0; s < w->S; s++) {
        memcpy(w->next_x + (size_t)s * I, w->x + (size_t)w->next[s] * I, I * sizeof *w->x);
    }
    network_infer(w->raw, ld_raw, actor, w->next_x, I, w->S, w->scratch);
    gaussian_forward(w->mean, w->std, head, w->raw, ld_raw, w->S);
    worker_sample(w, NOISE_BACKUP, w->mean, w->std, w->S);
}

/* out(S,C,Q) <- net at the candidates. */
static void judge_candidates(struct worker *w, float *out, const struct network *net)
{
    network_state_part(w->part, w->ld_part, net, w->next_x, (size_t)w->step->I, w->S, w->step->I);
    worker_judge(w, out, net, w->S, w->step->settings->candidates);
}

static double mix(double q1, double q2)
{
    /* Written so that NaN stays. */
    const double min = q1 < q2 ? q1 : q2;
    const double max = q1 < q2 ? q2 : q1;
    return 0.75 * min + 0.25 * max;
}

/* v(next[s]) <- the best candidate's value. */
static void take_best(struct worker *w)
{
    const size_t C = (size_t)w->step->settings->candidates;
    judge_candidates(w, w->q, &w->step->critic.target);
    judge_candidates(w, w->q2, &w->step->critic2.target);
    for (size_t s = 0; s < (size_t)w->S; s++) {
        double best = mix((double)w->q[s * C], (double)w->q2[s * C]);
        for (size_t j = s * C + 1; j < (s + 1) * C; j++) {
            const double value = mix((double)w->q[j], (double)w->q2[j]);
            best = value > best || isnan(value) ? value : best;
        }
        w->v[w->next[s]] = (float)best;
        w->sums.value += best;
    }
    w->sums.values += w->S;
}

void backup_bcq(struct worker *w)
{
    const struct step *step = w->step;
    const size_t n = (size_t)w->S * (size_t)step->settings->candidates * (size_t)step->settings->A;
    const float scale = (float)step->settings->perturb_scale;
    draw_candidates(w, &step->prior.now, &step->prior_head);
    gaussian_clip(w->samples, w->samples, n);
    judge_candidates(w, w->moves, &step->perturb.target);
    kernels_tanh(w->moves, w->moves, n);
    for (size_t i = 0; i < n; i++) {
        w->samples[i] += scale * w->moves[i];
    }
    take_best(w);
}

void backup_bear(struct worker *w)
{
    draw_candidates(w, &w->step->policy.target, &w->step->policy_head);
    take_best(w);
}
