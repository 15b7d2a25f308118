/* All logs in one place, as a restorer reads them: one source, or several datasets with one
 * signature, as a single list of shards. */
#ifndef HINDCAST_LOGS_SOURCES_H
#define HINDCAST_LOGS_SOURCES_H

#include "common/logs/source/selection.h"
#include "common/logs/source/source.h"

#define SOURCES_MAX 1024

struct sources;

/* FOLDER is a dataset, contains datasets as subfolders (taken in order of name), or holds logs of
 * another format (it may be a file then), for which `mapping` and `notes` are as source_open has
 * them. Without a mapping, a single dataset further down is found (source_location.h). MISMATCH names two datasets whose signatures differ; INVALID two shards that are listed
 * with one checksum and number but have other contents, so that their episodes would have the same
 * identities. */
status sources_open(struct sources **sources, const char *folder, const char *mapping,
                    struct text *notes, struct err *err) MUST_CHECK;
/* Stacks history into the observations of all sources; see source_set_history. */
status sources_set_history(struct sources *sources, const struct episode_history *history,
                           struct err *err) MUST_CHECK;
/* Applies the rules to all sources together; see selection.h. */
status sources_select(struct sources *sources, struct selection *selection,
                      const struct episode_rules *rules, bool clip, selection_progress progress,
                      struct err *err) MUST_CHECK;
void sources_close(struct sources *sources);
size_t sources_n(const struct sources *sources);
struct source *sources_at(const struct sources *sources, size_t i);
const struct signature *sources_signature(const struct sources *sources);
size_t sources_n_shards(const struct sources *sources);
uint64_t sources_episodes(const struct sources *sources);    /* as listed */
uint64_t sources_transitions(const struct sources *sources); /* as listed */
/* Shard i of all: its source, and its index there. */
struct source *sources_shard(const struct sources *sources, size_t i, size_t *shard_i);

#endif
