#include "common/trajectory/dataset_writer.h"
#include "common/trajectory/shard_reader.h"
#include "deploy/local/thin.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "common/trajectory/dataset.h"

#define SHARD_EPISODES_MAX 4096
#define COMPRESSION        6 /* deflate: what is thinned is kept for long and read once a run */

struct thinning {
    const struct thin_options *options;
    FILE *out;
    struct dataset_writer *writer;
    struct signature signature;
    struct text csv;                             /* written whole at the end */
    struct episode *waiting[SHARD_EPISODES_MAX]; /* kept, for the next shard */
    size_t n_waiting;
    uint64_t seen, kept, bad;
};

static status write_shard(struct thinning *thinning, struct err *err)
{
    if (thinning->n_waiting == 0) {
        return STATUS_OK;
    }
    status s =
        dataset_writer_shard(thinning->writer, (const struct episode *const *)thinning->waiting,
                             thinning->n_waiting, err);
    for (size_t i = 0; i < thinning->n_waiting; i++) {
        episode_fini(thinning->waiting[i]);
        mem_free(thinning->waiting[i]);
    }
    thinning->n_waiting = 0;
    return s;
}

/* Takes the episode's rows over when it is kept: `episode` is then empty. */
static status take_episode(struct thinning *thinning, const char *source, uint64_t episode_i,
                           struct episode *episode, struct err *err)
{
    bool keep = thinning->seen % thinning->options->every == 0;
    thinning->seen++;
    text_format(&thinning->csv, "%s,%llu,%d", source, (unsigned long long)episode_i, keep);
    for (uint32_t k = 0; k < thinning->signature.K; k++) {
        text_format(&thinning->csv, ",%.6g", episode_return(episode, &thinning->signature, k));
    }
    text_add(&thinning->csv, "\n");
    if (!keep) {
        return STATUS_OK;
    }
    struct episode *kept = mem_new(sizeof *kept);
    if (!kept) {
        return err_set(err, STATUS_NO_MEMORY, "%s: episode %llu", source,
                       (unsigned long long)episode_i);
    }
    *kept = *episode;
    episode_init(episode, kept->W);
    thinning->waiting[thinning->n_waiting++] = kept;
    thinning->kept++;
    return thinning->n_waiting == thinning->options->shard_episodes ? write_shard(thinning, err)
                                                                    : STATUS_OK;
}

static status take_shard(struct thinning *thinning, const struct dataset *dataset, size_t shard_i,
                         const char *source, uint64_t *episode_i, struct err *err)
{
    struct shard_reader *reader;
    status s = shard_reader_open(&reader, dataset, shard_i, err);
    if (s != STATUS_OK) {
        return s;
    }
    struct episode episode;
    episode_init(&episode, signature_width(&thinning->signature));
    for (uint64_t i = 0; s == STATUS_OK && i < shard_reader_episodes(reader); i++, ++*episode_i) {
        struct err why;
        s = shard_reader_read(reader, i, &episode, &why);
        if (s == STATUS_OK) {
            s = take_episode(thinning, source, *episode_i, &episode, err);
        } else if (s == STATUS_INVALID || s == STATUS_CORRUPT) {
            fprintf(thinning->out, "left out: %s\n", why.text);
            thinning->bad++;
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

static status take_source(struct thinning *thinning, const char *folder, struct err *err)
{
    struct dataset *dataset;
    status s = dataset_open(&dataset, folder, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = signature_same(&thinning->signature, dataset_signature(dataset), err);
    if (s != STATUS_OK) {
        s = err_context(err, s, "%s", folder);
    }
    uint64_t episode_i = 0;
    thinning->seen = 0;
    for (size_t i = 0; s == STATUS_OK && i < dataset_n_shards(dataset); i++) {
        s = take_shard(thinning, dataset, i, short_name(folder), &episode_i, err);
    }
    dataset_close(dataset);
    return s;
}

static status open_writer(struct thinning *thinning, const char *first_source, struct err *err)
{
    char metadata[1200];
    snprintf(metadata, sizeof metadata, "%.1100s/metadata.json", thinning->options->to);
    if (access(metadata, F_OK) == 0) {
        return err_set(err, STATUS_EXISTS, "%s: holds a dataset already", thinning->options->to);
    }
    struct dataset *dataset;
    status s = dataset_open(&dataset, first_source, err);
    if (s != STATUS_OK) {
        return s;
    }
    thinning->signature = *dataset_signature(dataset);
    dataset_close(dataset);
    char made_by[128];
    snprintf(made_by, sizeof made_by, "{\"program\": \"hindcast dataset thin\", \"every\": %llu}",
             (unsigned long long)thinning->options->every);
    return dataset_writer_open(&thinning->writer, thinning->options->to, &thinning->signature,
                               made_by, err);
}

static status write_returns(struct thinning *thinning, struct err *err)
{
    char path[1200];
    size_t size = 0;
    snprintf(path, sizeof path, "%.1100s/returns.csv", thinning->options->to);
    char *csv = text_take(&thinning->csv, &size);
    if (!csv) {
        return err_set(err, STATUS_NO_MEMORY, "%s", path);
    }
    status s = file_replace(path, &(struct file_part){csv, size}, 1, err);
    mem_free(csv);
    return s;
}

status thin_datasets(const struct thin_options *options, const char *const *sources,
                     size_t n_sources, FILE *out, struct err *err)
{
    if (options->shard_episodes < 1 || options->shard_episodes > SHARD_EPISODES_MAX) {
        return err_set(err, STATUS_INVALID, "shard_episodes %llu: expected 1..%d",
                       (unsigned long long)options->shard_episodes, SHARD_EPISODES_MAX);
    }
    struct thinning *thinning = mem_new(sizeof *thinning);
    if (!thinning) {
        return err_set(err, STATUS_NO_MEMORY, "thin");
    }
    thinning->options = options;
    thinning->out = out;
    status s = open_writer(thinning, sources[0], err);
    if (s == STATUS_OK) {
        text_format(&thinning->csv, "source,episode,kept");
        for (uint32_t k = 0; k < thinning->signature.K; k++) {
            text_format(&thinning->csv, ",return_%s", thinning->signature.rewards[k]);
        }
        text_add(&thinning->csv, "\n");
    }
    for (size_t i = 0; s == STATUS_OK && i < n_sources; i++) {
        s = take_source(thinning, sources[i], err);
    }
    if (s == STATUS_OK) {
        s = write_shard(thinning, err);
    }
    if (s == STATUS_OK) {
        s = write_returns(thinning, err);
    }
    if (s == STATUS_OK) {
        fprintf(out, "%s: %llu episodes kept, %llu bad ones left out\n", options->to,
                (unsigned long long)thinning->kept, (unsigned long long)thinning->bad);
    }
    dataset_writer_close(thinning->writer);
    for (size_t i = 0; i < thinning->n_waiting; i++) {
        episode_fini(thinning->waiting[i]);
        mem_free(thinning->waiting[i]);
    }
    text_fini(&thinning->csv);
    mem_free(thinning);
    return s;
}
