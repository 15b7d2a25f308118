/* Logs in somebody else's format: a file, or a folder of files of one format, read as episodes
 * through a mapping.
 *
 *     logs_open     finds the files and their format
 *     logs_map      finds the episodes, and checks that every recording has what the mapping names
 *     logs_read     makes one episode: rows of the signature, actions canonical
 *
 * Errors name file, recording, row, column and value, in the units of the logs. One thread at a
 * time. */
#ifndef HINDCAST_LOGS_LOGS_H
#define HINDCAST_LOGS_LOGS_H

#include "common/logs/log_file.h"
#include "common/logs/mapping.h"
#include "common/trajectory/episode.h"

#define LOGS_FILES_MAX    1000000u
#define LOGS_EPISODES_MAX 50000000u

struct logs;

/* Opens a file, or every file of a known format in a folder, in order of name (subfolders too, at
 * most eight levels deep; names that begin with a dot are passed over). INVALID: there is none, or
 * they differ in format; the text names what is there. */
status logs_open(struct logs **logs, const char *path, struct err *err) MUST_CHECK;
void logs_close(struct logs *logs); /* NULL is fine */

const struct log_format *logs_format(const struct logs *logs);
size_t logs_n_files(const struct logs *logs);
const char *logs_path(const struct logs *logs, size_t file_i);
/* File i, opened; it stays open until another one is asked for. Not to be closed. */
status logs_file(struct logs *logs, size_t file_i, struct log_file **file,
                 struct err *err) MUST_CHECK;

/* Reads the logs as `mapping` says, which is borrowed until logs_close. INVALID where a recording
 * does not fit it. */
status logs_map(struct logs *logs, const struct mapping *mapping, struct err *err) MUST_CHECK;
const struct signature *logs_signature(const struct logs *logs);
uint64_t logs_n_episodes(const struct logs *logs);

/* Episode i into `episode`, which is of the signature's width. Its identity is left alone.
 * INVALID, CORRUPT: this episode is bad, others may be fine. */
status logs_read(struct logs *logs, uint64_t episode_i, struct episode *episode,
                 struct err *err) MUST_CHECK;

/* `text` <- where episode i stands: "rec_003.csv" or "logs.hdf5, recording 12, rows 40..81". */
void logs_place(const struct logs *logs, uint64_t episode_i, char *text, size_t size);

#endif
