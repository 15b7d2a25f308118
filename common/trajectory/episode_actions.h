/* From the actions of logs, in physical units, to the canonical ones of an episode. */
#ifndef HINDCAST_TRAJECTORY_EPISODE_ACTIONS_H
#define HINDCAST_TRAJECTORY_EPISODE_ACTIONS_H

#include "common/trajectory/episode.h"

struct episode_actions {
    uint64_t first_row; /* of the episode in its file, for messages */
    bool clip;          /* values beyond their limits; otherwise they are an error */
    uint64_t clipped;   /* values so far; added to */
};

/* Converts the actions of all transitions in place. A value beyond its limits by more than
 * EPISODE_ACTION_ROUNDING (canonical) is set to the limit or refused: INVALID names its row,
 * component and limits, in the units of the log. Values that are not finite stay so, for
 * episode_check to find. */
status episode_actions_to_canonical(struct episode_actions *actions, struct episode *episode,
                                    const struct signature *signature, struct err *err) MUST_CHECK;

#endif
