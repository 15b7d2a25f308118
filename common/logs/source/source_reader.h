/* Reads the episodes of one shard of a source. Readers of one source are used by one thread at a
 * time. */
#ifndef HINDCAST_LOGS_SOURCE_READER_H
#define HINDCAST_LOGS_SOURCE_READER_H

#include "common/logs/source/source.h"

struct source_reader;

/* Returns errors as shard_reader_open does: nothing of this shard can be read. The whole file is
 * read once for its digest. */
status source_reader_open(struct source_reader **reader, struct source *source, size_t shard_i,
                          struct err *err) MUST_CHECK;
/* NULL is allowed. */
void source_reader_close(struct source_reader *reader);
uint64_t source_reader_episodes(const struct source_reader *reader);
/* Returns false if the file is not the one whose checksum the dataset lists. */
bool source_reader_is_as_listed(const struct source_reader *reader);
/* Reads episode i of the shard; see shard_reader_read. */
status source_reader_read(struct source_reader *reader, uint64_t i, struct episode *episode,
                          struct err *err) MUST_CHECK;
/* Reads an episode of the shard as it was logged, without history; before source_take_units. */
status source_reader_read_logged(struct source_reader *reader, uint64_t i, struct episode *episode,
                                 struct err *err) MUST_CHECK;
/* Actions beyond their limits are clipped and counted, instead of making their episode bad. */
void source_reader_set_clip(struct source_reader *reader, bool clip);
uint64_t source_reader_clipped(const struct source_reader *reader);
/* What is called `name` in the log of episode i: see logs_tag, shard_reader_tag. Before
 * source_take_units. */
status source_reader_tag(struct source_reader *reader, uint64_t i, const char *name, char *value,
                         size_t size) MUST_CHECK;

#endif
