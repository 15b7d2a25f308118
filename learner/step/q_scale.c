/* The mean size of Q: see q_scale.h. One float of the block, in the group `scale`. */
#include "learner/step/q_scale.h"

double q_scale_weight(const struct settings *settings, const struct parameters_layout *layout,
                      const float *params)
{
    const struct parameters_group *group = parameters_group(layout, "scale");
    const double size = group != NULL ? (double)params[group->at] : 0.0;
    return size == 0.0 ? 0.0 : settings->bc_alpha / size;
}

void q_scale_note(float *params, const struct parameters_layout *layout, const struct sums *sums)
{
    const struct parameters_group *group = parameters_group(layout, "scale");
    if (group != NULL) {
        params[group->at] = (float)(sums->q_size / sums->states);
    }
}
