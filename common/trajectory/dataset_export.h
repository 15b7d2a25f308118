/* Reading the good episodes of a dataset in order, for exports. */
#ifndef HINDCAST_TRAJECTORY_DATASET_EXPORT_H
#define HINDCAST_TRAJECTORY_DATASET_EXPORT_H

#include "common/trajectory/dataset.h"
#include "common/trajectory/episode.h"

/* Writes one episode, which is not kept. `to` is what the caller gave. */
typedef status (*dataset_export_write)(void *to, struct episode *episode, struct err *err);

/* Calls `write` for each good episode of the dataset. Bad ones are logged and counted in *n_bad.
 * An error of `write` ends the export and is returned. */
status dataset_export_episodes(const struct dataset *dataset, dataset_export_write write, void *to,
                               uint64_t *n_bad, struct err *err) MUST_CHECK;

/* Stores the parts of the T transitions of an episode: observations (T + 1, O), actions (T, A) in
 * physical units, and reward k (T), which is 0 if there is no reward. Returns whether the episode
 * terminates. A pointer may be NULL. */
bool dataset_export_parts(const struct signature *signature, const struct episode *episode,
                          uint32_t reward_k, float *observations, float *actions, float *rewards);

#endif
