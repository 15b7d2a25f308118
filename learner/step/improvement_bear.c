/* Policy improvement of BEAR, with the KL to the prior where Kumar et al. (2019) have MMD (the
 * paper's choice):  maximises min(Q1, Q2)(s, clip(a)), the online critics, over one reparameterised
 * sample. */
#include <string.h>

#include "learner/step/operators.h"

void improvement_bear(struct worker *w)
{
    const struct step *step = w->step;
    const size_t A = (size_t)step->settings->A;
    policy_draw(w);
    worker_slopes(w, w->q, w->slopes, &step->critic.now, 1);
    worker_slopes(w, w->q2, w->slopes2, &step->critic2.now, 1);
    for (size_t s = 0; s < (size_t)w->S; s++) {
        if (w->q2[s] < w->q[s]) {
            w->q[s] = w->q2[s];
            memcpy(w->slopes + s * A, w->slopes2 + s * A, A * sizeof *w->slopes);
        }
    }
    policy_follow(w, w->q, w->slopes);
}
