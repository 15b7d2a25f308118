/* Exporting a dataset in the layout of LeRobot v3.0. */
#ifndef HINDCAST_LOGS_LEROBOT_EXPORT_H
#define HINDCAST_LOGS_LEROBOT_EXPORT_H

#include "common/trajectory/dataset.h"

struct lerobot_export_options {
    const char *to;    /* a folder that is not there */
    const char *task;  /* what the robot does, in words */
    uint32_t reward_k; /* the reward that is exported */
    double fps;        /* 0: from the control period of the dataset */
};

/* Writes all good episodes. A frame is a transition:
 *
 *     observation.state        (O) float
 *     action                   (A) float, in physical units
 *     next.reward              float; absent if the dataset has no reward
 *     next.done                bool: the last frame of an episode
 *     next.terminated          bool: the episode terminates there
 *     next.observation.state   (O) float: specific to Hindcast, so that the observation after the
 *                              last action is kept
 *
 * and LeRobot's own columns timestamp, frame_index, episode_index, index and task_index. mapping.yaml
 * in the folder says how Hindcast reads them again. Returns EXISTS if the folder is there, INVALID if
 * the control period is unknown and no fps is given. *n_bad is the number of episodes that were left
 * out. */
status lerobot_export(const struct dataset *dataset, const struct lerobot_export_options *options,
                      uint64_t *n_bad, struct err *err) MUST_CHECK;

#endif
