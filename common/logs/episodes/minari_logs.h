/* Minari datasets with data_format "arrow" or "parquet" (Minari 0.5).
 *
 *     FOLDER/data/metadata.json   spaces, total_episodes
 *     FOLDER/data/N/part-0.arrow  episode N: T + 1 rows, of which the last has no action; its
 *                                 actions, rewards and flags are filled with 0
 *
 * Each file is one recording. Columns are called "observations" and "actions", or, in Dict and Tuple
 * spaces, by their path: "observations/arm/position", "observations/0". */
#ifndef HINDCAST_LOGS_MINARI_LOGS_H
#define HINDCAST_LOGS_MINARI_LOGS_H

#include "common/base/status.h"
#include "common/trajectory/signature.h"

struct minari_logs;

/* Returns whether the folder, or its subfolder data, is such a dataset. */
bool minari_logs_is(const char *folder);

/* Reads metadata.json. Errors name the file and the field. */
status minari_logs_open(struct minari_logs **minari, const char *folder,
                        struct err *err) MUST_CHECK;
/* NULL is allowed. */
void minari_logs_close(struct minari_logs *minari);

/* Returns the path of the folder that all episodes are in. */
const char *minari_logs_data(const struct minari_logs *minari);
/* Returns the limits of the actions: A, action_min and action_max of the signature. NULL: the space
 * of the actions has none. */
const struct signature *minari_logs_limits(const struct minari_logs *minari);

/* Checks that there is one file for each episode, n in all. */
status minari_logs_check(const struct minari_logs *minari, size_t n, struct err *err) MUST_CHECK;

#endif
