/* Scripted behaviours of the Sawyer stacking domain: one for each of its tasks, a function of the
 * observation alone, without memory.
 *
 * The gripper hovers 75 mm above green, turns its fingers to the faces that are clear of other blocks,
 * goes down and closes; with green in the hand it is the block that is steered: up, over, down. From
 * any state it goes on with what is to be done next, so that a behaviour recovers from noise, and may
 * take over where another one stopped. Ours. */
#ifndef HINDCAST_ENVIRONMENTS_SAWYER_SCRIPT_H
#define HINDCAST_ENVIRONMENTS_SAWYER_SCRIPT_H

#include "common/environments/sawyer/sawyer_rewards.h"

/* action(5) in [-1, 1] towards `task`, from observation(26 + 16 n_blocks). */
void sawyer_script(double *action, enum sawyer_task task, const double *observation, int n_blocks);

#endif
