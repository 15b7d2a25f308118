/* Exporting a dataset in the layout of D4RL. */
#ifndef HINDCAST_TRAJECTORY_D4RL_EXPORT_H
#define HINDCAST_TRAJECTORY_D4RL_EXPORT_H

#include "common/trajectory/dataset.h"

/* Writes all good episodes, one after another, as one HDF5 file with a row for each transition:
 *
 *     observations, next_observations   (N, O) float
 *     actions                           (N, A) float, in physical units
 *     rewards                           (N) float: reward `reward_k`; 0 if there is none
 *     terminals, timeouts               (N) bool: one of the two is set in the last row of an
 *                                       episode
 *
 * EXISTS if the file is there already. *n_bad is the number of episodes that were left out. The file
 * is made in memory: FULL beyond SHARD_BYTES_MAX bytes of rows. */
status d4rl_export(const struct dataset *dataset, const char *path, uint32_t reward_k,
                   uint64_t *n_bad, struct err *err) MUST_CHECK;

#endif
