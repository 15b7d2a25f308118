/* Policy improvement by SVG, Eq. 6:  maximises Q'(s, clip(a)) over M reparameterised samples of the
 * policy. */
#include "learner/step/operators.h"

void improvement_svg(struct worker *w)
{
    policy_draw(w);
    worker_slopes(w, w->q, w->slopes, &w->step->critic.target, w->step->settings->M);
    policy_follow(w, w->q, w->slopes);
}
