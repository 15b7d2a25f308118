/* Exporting a dataset for the Minari library. */
#ifndef HINDCAST_TRAJECTORY_MINARI_EXPORT_H
#define HINDCAST_TRAJECTORY_MINARI_EXPORT_H

#include "common/trajectory/dataset.h"

/* Writes all good episodes of `dataset` as one Minari dataset in FOLDER, called `id`
 * ("cheetah/run-v0"), with reward `reward_k` as its only reward. FOLDER is created where absent;
 * EXISTS when FOLDER/data is there already. *n_bad is the number of episodes that were left out.
 * The file is made in memory: FULL beyond SHARD_BYTES_MAX bytes of rows. */
status minari_export(const struct dataset *dataset, const char *folder, const char *id,
                     uint32_t reward_k, uint64_t *n_bad, struct err *err) MUST_CHECK;

#endif
