/* Minari's side of our logs: reading a signature out of its metadata, and exporting a dataset for
 * its library. Format as of Minari 0.5 (data_format "hdf5"): FOLDER/data/main_data.hdf5 and
 * FOLDER/data/metadata.json. */
#ifndef HINDCAST_TRAJECTORY_MINARI_H
#define HINDCAST_TRAJECTORY_MINARI_H

#include <cjson/cJSON.h>

#include "common/trajectory/dataset.h"

#define MINARI_MAIN_FILE "main_data.hdf5"
#define MINARI_VERSION   "0.5.0" /* of the format we write */

/* Is this a metadata.json of Minari's? */
bool minari_is_metadata(const cJSON *metadata);

/* The signature that Minari's spaces tell: a Box observation is the slice "observation", a Dict has
 * one slice a key (nested keys as a/b); the action must be a Box with finite limits; the reward is
 * called "reward"; the control period is not known (0). INVALID says what is in the way, and that a
 * metadata.json of ours beside data/ can give the signature instead. */
status minari_signature(struct signature *signature, const cJSON *metadata,
                        struct err *err) MUST_CHECK;

/* Writes all good episodes of `dataset` as one Minari dataset in FOLDER (made; EXISTS when
 * FOLDER/data is there), called `id` ("cheetah/run-v0"), with reward `reward_k` as Minari's one
 * reward. *n_bad episodes were left out. The whole is made in memory: FULL beyond SHARD_BYTES_MAX.
 */
status minari_export(const struct dataset *dataset, const char *folder, const char *id,
                     uint32_t reward_k, uint64_t *n_bad, struct err *err) MUST_CHECK;

#endif
