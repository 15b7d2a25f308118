/* Whole episodes with history: the window goes through an episode as it does while one is acting. */
#include <string.h>

#include "common/trajectory/episode_history.h"

status episode_history_stack(struct episode_window *window, const struct signature *signature,
                             const struct episode *from, struct episode *to, struct err *err)
{
    const uint32_t O = window->O;
    const uint32_t stacked = episode_window_size(window);
    ASSERT(from->W == signature_width(signature) && to->W == from->W - O + stacked);
    const status s = episode_reserve(to, from->T + (size_t)1, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* What follows the observation in a row stays as it is. */
    episode_window_begin(window);
    for (size_t t = 0; t <= from->T; t++) {
        const float *row = from->rows + t * from->W;
        float *made = to->rows + t * to->W;
        episode_window_add(window, row, t > 0 ? row - from->W + O : NULL);
        memcpy(made, window->values, stacked * sizeof *made);
        memcpy(made + stacked, row + O, (from->W - O) * sizeof *made);
    }
    to->T = from->T;
    to->open_end = from->open_end;
    to->identity = from->identity;
    return STATUS_OK;
}
