/* Where episodes come from: a dataset of ours or of Minari's, or logs of another format, which are
 * read through a mapping. Both are lists of shards (files) that hold episodes of one signature, so
 * whoever reads episodes need not know which of the two a source is.
 *
 *                     dataset                         logs of another format
 *     shard           an HDF5 file in Minari's layout a file
 *     rules           metadata.json                   the mapping
 *     identity of     shard_reader.h                  (XXH64 of file and mapping, 0,
 *       an episode                                     number of the episode in the file)
 *
 * What says how a source is read (its rules) has a digest, and so has each file: another mapping,
 * or another byte in a file, gives other episodes. Files may be renamed and copied.
 *
 * Thread-safety: what does not read files may be called by any thread once the source is open.
 * source_shard_digest may be called by any thread. */
#ifndef HINDCAST_LOGS_SOURCE_H
#define HINDCAST_LOGS_SOURCE_H

#include "common/base/text.h"
#include "common/logs/mapping/mapping.h"
#include "common/trajectory/dataset.h"

struct source;

/* Opens the dataset or the logs (a file or a folder) at `path`.
 *
 * `mapping` is the path of a mapping file. If it is NULL or empty, logs are read through
 * PATH/mapping.yaml if that exists, and otherwise through the proposed mapping (propose.h), which is
 * appended to `notes` together with the reasons for it. A proposal that the user has to confirm is
 * not used: the error (INVALID) says what is to be confirmed, and by which command.
 *
 * Errors name the file and the field. Logs are read once in order to find their episodes. */
status source_open(struct source **source, const char *path, const char *mapping,
                   struct text *notes, struct err *err) MUST_CHECK;
/* Makes a source of logs and their mapping, which need no confirmation. Takes both, also on an error.
 * `path` names the logs in messages. */
struct logs;
status source_of_logs(struct source **source, const char *path, struct logs *logs,
                      struct mapping *mapping, struct err *err) MUST_CHECK;
/* After its readers. NULL is allowed. */
void source_close(struct source *source);

/* Appends what is found besides episodes, for people: see logs_findings. Nothing for a dataset. */
void source_findings(const struct source *source, struct text *text);
const char *source_path(const struct source *source);
/* Returns the path of the mapping file that was given, or "". */
const char *source_mapping(const struct source *source);
/* Returns "metadata.json" or "mapping", for messages. */
const char *source_rules(const struct source *source);
/* Returns the digest of the rules. */
uint64_t source_digest(const struct source *source);
const struct signature *source_signature(const struct source *source);
/* Returns the signature without the history that is stacked. */
const struct signature *source_logged_signature(const struct source *source);

size_t source_n_shards(const struct source *source);
/* The fields as dataset.h has them. For logs, `source` depends on the file's name, its size and the
 * mapping, `transitions` may be too large by one for each episode, and `listed` is false. */
const struct dataset_shard *source_shard(const struct source *source, size_t shard_i);
/* Stores the XXH64 of the shard's whole file; see dataset_shard_digest. */
status source_shard_digest(const struct source *source, size_t shard_i, uint64_t *digest,
                           struct err *err) MUST_CHECK;
/* Readers that are opened from now on clip actions, as after source_reader_set_clip. */
void source_set_clip(struct source *source, bool clip);

/* Stacks the history into the observations of every episode, and into the signature (see
 * episode_history.h). Without steps in `history`, that of the mapping counts, if there is one. Before
 * the source is read. INVALID: the signature has no room for it. */
status source_set_history(struct source *source, const struct episode_history *history,
                          struct err *err) MUST_CHECK;

/* ---- Rules and selection; used by selection.c, before the source is shared ---- */

/* A part of an episode as it was logged. */
struct source_unit {
    uint64_t episode_i; /* in the shard */
    uint32_t first, T;  /* rows first .. first + T; T = 0: an episode that could not be read */
};

/* Adds the rules that the mapping of the source contains, if any. */
void source_add_rules(const struct source *source, struct episode_rules *rules);
/* From now on readers leave values that are not finite in the rows if the rules cut episodes, and do
 * not check such rows (logs_set_keep_bad). */
void source_set_rules(struct source *source, const struct episode_rules *rules);
/* From now on the source has these units only, as its episodes; shard i has units[firsts[i]] ..
 * units[firsts[i + 1] - 1]. Reading one cuts it out and checks it. Takes both arrays, also on
 * error. `source_shard` tells the new numbers, and another `source`. */
status source_take_units(struct source *source, struct source_unit *units, uint64_t *firsts,
                         struct err *err) MUST_CHECK;
/* Gaps in the times of all episodes read so far, or NULL for a dataset, which has no times. */
const struct logs_gaps *source_gaps(const struct source *source);

/* Of all shards together. */
uint64_t source_episodes(const struct source *source);
uint64_t source_transitions(const struct source *source);

#endif
