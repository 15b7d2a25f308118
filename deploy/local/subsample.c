/* Some episodes of several datasets, as one new dataset with returns.csv.
 *
 * Episodes are read one at a time, in the order of the sources. Those that are kept wait, with
 * their rows, until they fill a shard; so memory is bounded by one shard. returns.csv has a line
 * for every good episode, kept or not, and is written last: a folder with it is complete. */
#include "deploy/local/subsample.h"
#include "common/trajectory/dataset_writer.h"
#include "common/trajectory/shard_reader.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/trajectory/dataset.h"
#include "common/trajectory/dataset_writer.h"
#include "common/trajectory/shard_reader.h"

#define SHARD_EPISODES_MAX 4096
#define COMPRESSION        6 /* deflate: a dataset is kept for long and read once a run */

/* All state of one call. `seen` counts the good episodes of the current source, the other two
 * counters those of all sources. */
struct subsampling {
    const struct subsample_options *options;
    FILE *out;
    struct dataset_writer *writer;
    struct signature signature;
    struct text csv;                             /* written whole at the end */
    struct episode *waiting[SHARD_EPISODES_MAX]; /* kept, for the next shard */
    size_t n_waiting;
    uint64_t seen, kept, bad;
};

/* Writes the episodes that wait and forgets them. */
static status write_shard(struct subsampling *subsampling, struct err *err)
{
    if (subsampling->n_waiting == 0) {
        return STATUS_OK;
    }
    status s = dataset_writer_shard(subsampling->writer,
                                    (const struct episode *const *)subsampling->waiting,
                                    subsampling->n_waiting, err);
    for (size_t i = 0; i < subsampling->n_waiting; i++) {
        episode_fini(subsampling->waiting[i]);
        mem_free(subsampling->waiting[i]);
    }
    /* Also after an error, since the episodes are freed by now. */
    subsampling->n_waiting = 0;
    return s;
}

/* Takes the episode's rows over when it is kept: `episode` is then empty. */
static status take_episode(struct subsampling *subsampling, const char *source, uint64_t episode_i,
                           struct episode *episode, struct err *err)
{
    /* The first of each run of `every` episodes of this source. */
    bool keep = subsampling->seen % subsampling->options->every == 0;
    subsampling->seen++;
    /* Every good episode has its line, so that the subset can be compared with the whole. */
    text_format(&subsampling->csv, "%s,%llu,%d", source, (unsigned long long)episode_i, keep);
    for (uint32_t k = 0; k < subsampling->signature.K; k++) {
        text_format(&subsampling->csv, ",%.6g",
                    episode_return(episode, &subsampling->signature, k));
    }
    text_add(&subsampling->csv, "\n");
    if (!keep) {
        return STATUS_OK;
    }
    /* Its rows move: copying them would double the memory of a shard. */
    struct episode *kept = mem_new(sizeof *kept);
    if (!kept) {
        return err_set(err, STATUS_NO_MEMORY, "%s: episode %llu", source,
                       (unsigned long long)episode_i);
    }
    *kept = *episode;
    episode_init(episode, kept->W);
    subsampling->waiting[subsampling->n_waiting++] = kept;
    subsampling->kept++;
    return subsampling->n_waiting == subsampling->options->shard_episodes
               ? write_shard(subsampling, err)
               : STATUS_OK;
}

/* Every episode of one shard. A bad one is reported and counted; other errors end all. */
static status take_shard(struct subsampling *subsampling, const struct dataset *dataset,
                         size_t shard_i, const char *source, uint64_t *episode_i, struct err *err)
{
    /* A shard that cannot be opened is an error of the whole dataset, not one bad episode. */
    struct shard_reader *reader;
    status s = shard_reader_open(&reader, dataset, shard_i, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* One episode's memory serves all reads; take_episode() leaves it empty where it keeps the
     * rows. */
    struct episode episode;
    episode_init(&episode, signature_width(&subsampling->signature));
    for (uint64_t i = 0; s == STATUS_OK && i < shard_reader_episodes(reader); i++, ++*episode_i) {
        struct err why;
        s = shard_reader_read(reader, i, &episode, &why);
        if (s == STATUS_OK) {
            s = take_episode(subsampling, source, *episode_i, &episode, err);
        } else if (s == STATUS_INVALID || s == STATUS_CORRUPT) {
            fprintf(subsampling->out, "left out: %s\n", why.text);
            subsampling->bad++;
            s = STATUS_OK;
        } else if (err) {
            *err = why;
        }
    }
    episode_fini(&episode);
    shard_reader_close(reader);
    return s;
}

/* The name by which returns.csv knows a source: its path without what all would share. */
static const char *short_name(const char *path)
{
    /* The last two parts: a run's folder and the name of its logs tell sources apart, and the rest
     * would make the file depend on where they lie. */
    size_t n = strlen(path);
    while (n > 0 && path[n - 1] == '/') {
        n--;
    }
    const char *name = path;
    int slashes = 0;
    for (size_t i = n; i > 0; i--) {
        if (path[i - 1] == '/' && ++slashes == 2) {
            name = path + i;
            break;
        }
    }
    return name;
}

/* All shards of one dataset, whose rows must be exactly like those of the first. */
static status take_source(struct subsampling *subsampling, const char *folder, struct err *err)
{
    struct dataset *dataset;
    status s = dataset_open(&dataset, folder, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* Rows of another layout would be read as wrong numbers. */
    s = signature_same(&subsampling->signature, dataset_signature(dataset), err);
    if (s != STATUS_OK) {
        s = err_context(err, s, "%s", folder);
    }
    /* Every source starts its count anew, so that adding one does not change what is taken of
     * others. */
    uint64_t episode_i = 0;
    subsampling->seen = 0;
    for (size_t i = 0; s == STATUS_OK && i < dataset_n_shards(dataset); i++) {
        s = take_shard(subsampling, dataset, i, short_name(folder), &episode_i, err);
    }
    dataset_close(dataset);
    return s;
}

/* Takes the signature from the first source. EXISTS: never writes into a dataset. */
static status open_writer(struct subsampling *subsampling, const char *first_source,
                          struct err *err)
{
    char metadata[1200];
    snprintf(metadata, sizeof metadata, "%.1100s/metadata.json", subsampling->options->to);
    if (access(metadata, F_OK) == 0) {
        return err_set(err, STATUS_EXISTS, "%s: holds a dataset already", subsampling->options->to);
    }
    /* The new dataset has the signature of the first source; the others are held against it. */
    struct dataset *dataset;
    status s = dataset_open(&dataset, first_source, err);
    if (s != STATUS_OK) {
        return s;
    }
    subsampling->signature = *dataset_signature(dataset);
    dataset_close(dataset);
    /* The metadata tell how the dataset came about. */
    char made_by[128];
    snprintf(made_by, sizeof made_by,
             "{\"program\": \"hindcast dataset subsample\", \"every\": %llu}",
             (unsigned long long)subsampling->options->every);
    return dataset_writer_open(&subsampling->writer, subsampling->options->to,
                               &subsampling->signature, made_by, err);
}

/* returns.csv, at the end and whole: half of it would look like all. */
static status write_returns(struct subsampling *subsampling, struct err *err)
{
    char path[1200];
    size_t size = 0;
    snprintf(path, sizeof path, "%.1100s/returns.csv", subsampling->options->to);
    /* Also tells whether memory ran out while the lines were added. */
    char *csv = text_take(&subsampling->csv, &size);
    if (!csv) {
        return err_set(err, STATUS_NO_MEMORY, "%s", path);
    }
    status s = file_replace(path, &(struct file_part){csv, size}, 1, err);
    mem_free(csv);
    return s;
}

status subsample_datasets(const struct subsample_options *options, const char *const *sources,
                          size_t n_sources, FILE *out, struct err *err)
{
    /* The limit is the size of `waiting`. */
    if (options->shard_episodes < 1 || options->shard_episodes > SHARD_EPISODES_MAX) {
        return err_set(err, STATUS_INVALID, "shard_episodes %llu: expected 1..%d",
                       (unsigned long long)options->shard_episodes, SHARD_EPISODES_MAX);
    }
    struct subsampling *subsampling = mem_new(sizeof *subsampling);
    if (!subsampling) {
        return err_set(err, STATUS_NO_MEMORY, "subsample");
    }
    subsampling->options = options;
    subsampling->out = out;
    status s = open_writer(subsampling, sources[0], err);
    if (s == STATUS_OK) {
        /* The header names a column for each reward of the signature. */
        text_format(&subsampling->csv, "source,episode,kept");
        for (uint32_t k = 0; k < subsampling->signature.K; k++) {
            text_format(&subsampling->csv, ",return_%s", subsampling->signature.rewards[k]);
        }
        text_add(&subsampling->csv, "\n");
    }
    /* One source after another, in the order given; the last shard may be shorter. */
    for (size_t i = 0; s == STATUS_OK && i < n_sources; i++) {
        s = take_source(subsampling, sources[i], err);
    }
    if (s == STATUS_OK) {
        /* What is left after the last source, then the file that marks the dataset as complete. */
        s = write_shard(subsampling, err);
    }
    if (s == STATUS_OK) {
        s = write_returns(subsampling, err);
    }
    if (s == STATUS_OK) {
        fprintf(out, "%s: %llu episodes kept, %llu bad ones left out\n", options->to,
                (unsigned long long)subsampling->kept, (unsigned long long)subsampling->bad);
    }
    /* After an error, episodes may still wait; they are not written. */
    dataset_writer_close(subsampling->writer);
    for (size_t i = 0; i < subsampling->n_waiting; i++) {
        episode_fini(subsampling->waiting[i]);
        mem_free(subsampling->waiting[i]);
    }
    text_fini(&subsampling->csv);
    mem_free(subsampling);
    return s;
}
