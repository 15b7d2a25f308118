/* The layout of a LeRobot dataset (codebase_version v2.0, v2.1 and v3.0).
 *
 *     FOLDER/meta/info.json       version, fps, features, data_path, totals
 *     FOLDER/meta/episodes/..     version 3: a row for each episode, with the number of its file
 *     FOLDER/data/..              Parquet files, which are the logs: one episode in each file in
 *                                 version 2, many in version 3
 *     FOLDER/videos/..            not read
 *
 * A row has the observation and the action of one time step; episode_index numbers the episodes.
 * The observation after the last action of an episode is not stored. */
#ifndef HINDCAST_LOGS_LEROBOT_H
#define HINDCAST_LOGS_LEROBOT_H

#include "common/base/status.h"
#include "common/base/text.h"

#define LEROBOT_EPISODE_COLUMN "episode_index"

struct lerobot;

/* Returns whether FOLDER/meta/info.json is that of a LeRobot dataset. */
bool lerobot_is(const char *folder);

/* Reads FOLDER/meta/info.json. Returns INVALID if the version is not supported or a field is missing
 * or has a value that makes no sense; errors name the file and the field. */
status lerobot_open(struct lerobot **lerobot, const char *folder, struct err *err) MUST_CHECK;
/* NULL is allowed. */
void lerobot_close(struct lerobot *lerobot);

/* Returns the path of the folder that all data files are in. */
const char *lerobot_data(const struct lerobot *lerobot);
/* Returns frames per second, which is above 0. */
double lerobot_fps(const struct lerobot *lerobot);
/* Returns whether the feature is images or video. */
bool lerobot_is_image(const struct lerobot *lerobot, const char *feature);
/* Appends the names of these features, separated by commas. */
void lerobot_images(const struct lerobot *lerobot, struct text *names);
/* Appends lines on what info.json says: version, number of episodes, the names of the values of
 * observations and actions, and the images and videos that are left out. */
void lerobot_describe(const struct lerobot *lerobot, struct text *notes);

/* Checks that the n files are the dataset that meta/ describes: every file is there, every episode
 * lies in one piece in one file, and the numbers of episodes and frames are those of info.json.
 * Reads the episode numbers of all files. Errors name the file and both numbers. */
status lerobot_check(const struct lerobot *lerobot, char *const *files, size_t n,
                     struct err *err) MUST_CHECK;

#endif
