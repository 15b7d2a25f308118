/* Reads a source shard by shard, one episode in memory at a time, into a summary.
 *
 * What cannot be read becomes a reason in the summary, so that one look tells everything that is
 * wrong with the logs; a lack of memory is the only error. */
#include "common/logs/source/source_summary.h"

#include <inttypes.h>

#include "common/logs/source/source_reader.h"

/* Compares the file with what the metadata lists, which may differ in two ways: fewer episodes, or
 * other contents. */
static void compare_with_list(struct dataset_summary *summary, const struct source *source,
                              size_t shard_i, const struct source_reader *reader)
{
    const struct dataset_shard *shard = source_shard(source, shard_i);
    const uint64_t n = source_reader_episodes(reader);
    struct err err = {0};
    if (n < shard->episodes) {
        err_set(&err, STATUS_CORRUPT, "%s: %" PRIu64 " episodes, metadata.json lists %" PRIu64,
                shard->path, n, shard->episodes);
        dataset_summary_add_bad(summary, shard->episodes - n, err.text);
    }
    if (!source_reader_is_as_listed(reader)) {
        err_set(&err, STATUS_CORRUPT,
                "%s: is not the file that metadata.json lists: its xxh64 is another one",
                shard->path);
        dataset_summary_add_bad(summary, 0, err.text);
    }
}

/* Adds all episodes of one shard. The reader's errors become reasons: NO_MEMORY is the only status
 * but OK. */
static status add_shard(struct dataset_summary *summary, struct source *source, size_t shard_i,
                        struct episode *episode)
{
    struct source_reader *reader;
    struct err err = {0};
    status s = source_reader_open(&reader, source, shard_i, &err);
    if (s == STATUS_NO_MEMORY) {
        return s;
    }
    /* The shard is bad as a whole: as many episodes as are listed, and one where nothing is. */
    if (s != STATUS_OK) {
        const uint64_t listed = source_shard(source, shard_i)->episodes;
        dataset_summary_add_bad(summary, listed > 0 ? listed : 1, err.text);
        return STATUS_OK;
    }
    compare_with_list(summary, source, shard_i, reader);
    /* A bad episode is counted and passed over; a lack of memory ends it. */
    const uint64_t n = source_reader_episodes(reader);
    const uint64_t clipped = source_reader_clipped(reader);
    for (uint64_t i = 0; i < n && s == STATUS_OK; i++) {
        s = source_reader_read(reader, i, episode, &err);
        if (s == STATUS_OK) {
            s = dataset_summary_add(summary, episode);
        } else if (s != STATUS_NO_MEMORY) {
            dataset_summary_add_bad(summary, 1, err.text);
            s = STATUS_OK;
        }
    }
    dataset_summary_add_clipped(summary, source_reader_clipped(reader) - clipped);
    source_reader_close(reader);
    return s;
}

status source_summary_add(struct dataset_summary *summary, struct source *source, struct err *err)
{
    /* The rows must have the same columns, or the sums would mean nothing. */
    const struct signature *signature = source_signature(source);
    status s = signature_same(dataset_summary_signature(summary), signature, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "%s", source_path(source));
    }
    struct episode episode;
    episode_init(&episode, signature_width(signature));
    for (size_t i = 0; i < source_n_shards(source) && s == STATUS_OK; i++) {
        s = add_shard(summary, source, i, &episode);
    }
    episode_fini(&episode);
    return s == STATUS_OK ? s : err_set(err, s, "%s: out of memory", source_path(source));
}

status source_summary_make(struct dataset_summary **summary, const struct sources *sources,
                           const struct episode_holdout *holdout, struct err *err)
{
    struct dataset_summary *made;
    status s = dataset_summary_new(&made, sources_signature(sources), err);
    if (s != STATUS_OK) {
        return s;
    }
    if (holdout != NULL) {
        dataset_summary_set_holdout(made, holdout);
    }
    for (size_t i = 0; i < sources_n(sources) && s == STATUS_OK; i++) {
        s = source_summary_add(made, sources_at(sources, i), err);
    }
    if (s != STATUS_OK) {
        dataset_summary_free(made);
        return s;
    }
    *summary = made;
    return STATUS_OK;
}
