/* Logs in foreign formats: a file, or a folder of files of one format, read as episodes through a
 * mapping.
 *
 *     logs_open     finds the files and their format
 *     logs_map      finds the episodes, and checks that every recording fits the mapping
 *     logs_read     reads one episode, as rows of the signature with canonical actions
 *
 * Errors name file, recording, row, column and value, in the units of the logs. Logs must be used
 * by one thread at a time. */
#ifndef HINDCAST_LOGS_LOGS_H
#define HINDCAST_LOGS_LOGS_H

#include "common/logs/episodes/lerobot.h"
#include "common/logs/episodes/logs_gaps.h"
#include "common/logs/episodes/minari_logs.h"
#include "common/logs/files/log_file.h"
#include "common/logs/mapping/mapping.h"
#include "common/trajectory/episode.h"

struct logs;

/* Finds the logs: the file `path`, or the files of the folder `path` as logs_list.h has them. Of a
 * LeRobot dataset only the data files are logs, and they are compared with what its meta folder
 * says; likewise for Minari's Arrow form. Returns INVALID if there are no logs or if their formats
 * differ. */
status logs_open(struct logs **logs, const char *path, struct err *err) MUST_CHECK;
/* NULL is allowed. */
void logs_close(struct logs *logs);

const struct log_format *logs_format(const struct logs *logs);
/* Return the dataset that the logs are, or NULL. */
const struct lerobot *logs_lerobot(const struct logs *logs);
const struct minari_logs *logs_minari(const struct logs *logs);
size_t logs_n_files(const struct logs *logs);
const char *logs_path(const struct logs *logs, size_t file_i);
/* Opens file i. It belongs to `logs` and stays open until another file is needed. */
status logs_file(struct logs *logs, size_t file_i, struct log_file **file,
                 struct err *err) MUST_CHECK;

/* Finds the episodes according to `mapping`, which must stay valid until logs_close. Returns
 * INVALID if a recording does not fit it. */
status logs_map(struct logs *logs, const struct mapping *mapping, struct err *err) MUST_CHECK;
/* Appends what logs_map has found besides episodes: a table of the clocks where the mapping
 * resamples, and lines about data that is missing. Each ends in a newline. */
void logs_findings(const struct logs *logs, struct text *text);
const struct signature *logs_signature(const struct logs *logs);
uint64_t logs_n_episodes(const struct logs *logs);
/* Stores which episodes are in file i, first .. first + n, and how many transitions they have; that
 * number may be too large by one for each episode whose last observation is not logged. */
void logs_file_episodes(const struct logs *logs, size_t file_i, uint64_t *first, uint64_t *n,
                        uint64_t *transitions);

/* Reads episode i into `episode`, which has the signature's width. Its identity is not changed.
 * Returns INVALID or CORRUPT if this episode is bad; others can still be read. */
status logs_read(struct logs *logs, uint64_t episode_i, struct episode *episode,
                 struct err *err) MUST_CHECK;

/* Stores the text of what is called `name` in the log of episode i: a column with one value for each
 * row, by its value in the first row of the episode, or an attribute of the recording (HDF5).
 * NOT_FOUND where there is no such thing. */
status logs_tag(struct logs *logs, uint64_t episode_i, const char *name, char *value,
                size_t size) MUST_CHECK;
/* Gaps in all episodes read so far. */
const struct logs_gaps *logs_gaps(const struct logs *logs);
/* Values that are missing or infinite stay in the rows as such, instead of making their episode bad,
 * and the rows are not checked: the caller cuts the episode around them (episode_pieces.h). Off at
 * first. With `time_gaps: split` in the mapping, the first action of a step before a gap becomes NaN
 * and rows are not checked either. */
void logs_set_keep_bad(struct logs *logs, bool keep);
/* Actions beyond their limits are clipped and counted, instead of making their episode bad. Off at
 * first. */
void logs_set_clip(struct logs *logs, bool clip);
/* Returns the number of action values that were clipped so far. */
uint64_t logs_clipped(const struct logs *logs);

/* Stores the location of episode i in `text`: "rec_003.csv" or "logs.hdf5, recording 12, rows
 * 40..81". */
void logs_place(const struct logs *logs, uint64_t episode_i, char *text, size_t size);

#endif
