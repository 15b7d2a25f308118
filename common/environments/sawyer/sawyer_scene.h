/* The scene of the Sawyer stacking domain: arm, gripper, basket and blocks as one compiled model.
 *
 * Arm and gripper are DeepMind's models of the pinned package dm-robotics-moma 0.10.0, read from the
 * folder of models; basket, blocks, contact geometry and servos are set here. Speeds, workspace and
 * basket follow DeepMind's public stacking code (dm_robotics, rgb_stacking); the rest is ours. World
 * z = 0 is the basket's floor; x points away from the arm. Units are m, kg, s, rad.
 *
 * Names in the model: arm/right_j0 .. arm/right_j6, gripper/left_driver_joint, gripper/pinch_site
 * (the tool), the geoms right_tip and left_tip (the finger pads), and for each block a body, a free
 * joint and a geom of its colour. */
#ifndef HINDCAST_ENVIRONMENTS_SAWYER_SCENE_H
#define HINDCAST_ENVIRONMENTS_SAWYER_SCENE_H

#include "common/environments/shared_model.h"

#define SAWYER_BLOCKS_MAX 3
#define SAWYER_ARM_JOINTS 7
#define SAWYER_EDGE_M     0.05 /* of a block */

/* "green", "yellow", "blue". */
extern const char *const sawyer_block_names[SAWYER_BLOCKS_MAX];

/* Assembles the scene from the models in `folder` (share/hindcast/sawyer); `arg` points to the number
 * of blocks, an int, 2 or 3. NOT_FOUND: a model is absent; INVALID: MuJoCo refuses it. */
shared_model_assemble sawyer_scene_assemble;

#endif
