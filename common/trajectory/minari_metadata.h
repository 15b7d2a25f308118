/* The metadata of a Minari dataset (format of Minari 0.5, data_format "hdf5"):
 * FOLDER/data/main_data.hdf5 beside FOLDER/data/metadata.json. */
#ifndef HINDCAST_TRAJECTORY_MINARI_METADATA_H
#define HINDCAST_TRAJECTORY_MINARI_METADATA_H

#include <cjson/cJSON.h>

#include "common/trajectory/signature.h"

#define MINARI_MAIN_FILE "main_data.hdf5"
#define MINARI_VERSION   "0.5.0" /* of the format that minari_export writes */

/* Is this the metadata.json of a Minari dataset? */
bool minari_is_metadata(const cJSON *metadata);

/* The signature that Minari's spaces describe. A Box observation is the slice "observation"; a Dict
 * has one slice per key (nested keys as a/b). The action must be a Box with finite limits. The
 * reward is called "reward"; the control period is unknown (0). INVALID says which part cannot be
 * represented, and that a metadata.json of ours beside data/ can give the signature instead. */
status minari_signature(struct signature *signature, const cJSON *metadata,
                        struct err *err) MUST_CHECK;

/* Stores A, action_min and action_max alone. The errors of minari_signature for the action. */
status minari_actions(struct signature *signature, const cJSON *metadata,
                      struct err *err) MUST_CHECK;

#endif
