/* The value of s_(t+1) by a maximum over C candidate actions (BCQ; BEAR in the same way):
 *
 *     V(s') = max_j mix(Q1', Q2')(s', clip(a_j)),   mix(q1, q2) = w min + (1 - w) max
 *
 * Candidates of BCQ are clip(a) + xi'(s', clip(a)), a from the prior; of BEAR samples of policy',
 * both with w = 0.75. TD3+BC has one, policy's mean under clipped noise, and w = 1.
 * Rows of this file's buffers are states s, and what lies there belongs to the state that follows.
 */
#include <math.h>
#include <string.h>

#include "common/networks/kernels.h"
#include "learner/step/actions.h"
#include "learner/step/critic_evaluation.h"
#include "learner/step/operators.h"

#define BCQ_MIN_WEIGHT 0.75 /* of the lower critic, in BCQ and BEAR */

/* value->actor(S,A) <- a Gaussian network at the states that follow. */
static void act_next(struct workspace *work, const struct states *states, struct value *value,
                     const struct network *actor, const struct gaussian_head *head)
{
    const size_t I = (size_t)work->step->I;
    const size_t ld_raw = 2 * (size_t)work->step->settings->A;
    const int S = states->S;
    /* The inputs of the states that follow, gathered into rows. */
    for (int s = 0; s < S; s++) {
        memcpy(work->next_x + (size_t)s * I, states->x + (size_t)states->next[s] * I,
               I * sizeof *states->x);
    }
    network_infer(work->raw, ld_raw, actor, work->next_x, I, S, work->scratch);
    gaussian_forward(value->actor.mean, value->actor.std, head, work->raw, ld_raw, S);
}

/* value->samples(S,C,A) of a Gaussian network at the states that follow. */
static void draw_candidates(struct workspace *work, const struct states *states,
                            struct value *value, const struct network *actor,
                            const struct gaussian_head *head)
{
    act_next(work, states, value, actor, head);
    actions_sample(value->samples, work->step, states, NOISE_BACKUP, &value->actor, states->S);
}

/* out(S,C,Q) <- net at the candidates. */
static void evaluate_candidates(struct workspace *work, float *out, const struct network *net,
                                struct value *value, int S)
{
    critic_evaluation_part(work, value->part, net, work->next_x, S);
    critic_evaluation(work, out, net, value->part, value->samples, S,
                      actions_per_row(work->step, NOISE_BACKUP));
}

/* Written so that NaN stays NaN. */
static double mix(double q1, double q2, double w)
{
    /* If either is NaN, so is the sum, whichever is called min. */
    const double min = q1 < q2 ? q1 : q2;
    const double max = q1 < q2 ? q2 : q1;
    return w * min + (1.0 - w) * max;
}

/* v(next[s]) <- the best candidate's value, with weight w of the lower critic. */
static void take_best(struct workspace *work, const struct states *states, struct value *value,
                      double w)
{
    ASSERT(work->q2 != NULL);
    const size_t C = (size_t)actions_per_row(work->step, NOISE_BACKUP);
    const float *q = value->q;
    /* Both critics at all candidates. */
    evaluate_candidates(work, value->q, &work->step->critic.target, value, states->S);
    evaluate_candidates(work, work->q2, &work->step->critic2.target, value, states->S);
    for (size_t s = 0; s < (size_t)states->S; s++) {
        /* A NaN among the candidates becomes the value, and the step is refused. */
        double best = mix((double)q[s * C], (double)work->q2[s * C], w);
        for (size_t j = s * C + 1; j < (s + 1) * C; j++) {
            const double candidate = mix((double)q[j], (double)work->q2[j], w);
            best = candidate > best || isnan(candidate) ? candidate : best;
        }
        value->v[states->next[s]] = (float)best;
        work->sums.value += best;
    }
    work->sums.values += states->S;
}

void backup_bcq(struct workspace *work, const struct states *states, struct value *value)
{
    const struct step *step = work->step;
    const size_t n =
        (size_t)states->S * (size_t)step->settings->candidates * (size_t)step->settings->A;
    const float scale = (float)step->settings->perturb_scale;
    /* The candidates come from the prior itself, which has no target copy. */
    draw_candidates(work, states, value, &step->prior.now, &step->prior_head);

    /* The samples are clipped first, so that xi' can move an action off the edge. */
    gaussian_clip(value->samples, value->samples, n);
    evaluate_candidates(work, work->moves, &step->perturb.target, value, states->S);
    kernels_tanh(work->moves, work->moves, n);
    /* The sum may leave the range again: the critics clip what they evaluate. */
    for (size_t i = 0; i < n; i++) {
        value->samples[i] += scale * work->moves[i];
    }
    take_best(work, states, value, BCQ_MIN_WEIGHT);
}

void backup_bear(struct workspace *work, const struct states *states, struct value *value)
{
    draw_candidates(work, states, value, &work->step->policy.target, &work->step->policy_head);
    take_best(work, states, value, BCQ_MIN_WEIGHT);
}

void backup_td3_bc(struct workspace *work, const struct states *states, struct value *value)
{
    const struct settings *settings = work->step->settings;
    const float std = (float)settings->smoothing_std;
    const float limit = (float)settings->smoothing_clip;
    const size_t n = (size_t)states->S * (size_t)settings->A;
    float *samples = value->samples;
    /* Target policy smoothing: the noise is clipped, and the critics clip the sum. */
    act_next(work, states, value, &work->step->policy.target, &work->step->policy_head);
    actions_noise(samples, work->step, states, NOISE_BACKUP, states->S);
    for (size_t i = 0; i < n; i++) {
        const float noise = std * samples[i];
        samples[i] = value->actor.mean[i] + (noise > limit    ? limit
                                             : noise < -limit ? -limit
                                                              : noise);
    }
    take_best(work, states, value, 1.0);
}
