/* Shard by shard: each becomes a shard of the new dataset, with the same episodes in the same order.
 *
 * The script and the names of rewards are checked before anything is written. A shard's episodes are
 * in memory at once. What an episode's new rewards are is relabel.c's affair. */
#include "deploy/local/dataset_relabel.h"

#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/relabel/relabel.h"
#include "common/trajectory/dataset.h"
#include "common/trajectory/dataset_writer.h"
#include "common/trajectory/shard_reader.h"

#define PATH_SIZE 4096

const char dataset_relabel_usage[] =
    "       hindcast dataset relabel --script=FILE.lua --to=FOLDER [--rewards=A,B,..] FOLDER\n"
    "           a dataset with the rewards that a Lua file computes of each step, beside those\n"
    "           that are logged; --rewards names the ones to keep\n";

struct relabelling {
    const char *from, *to, *script, *rewards;
    struct dataset *dataset;
    struct relabel *relabel;
    struct dataset_writer *writer;
    struct episode *episodes; /* (capacity) of one shard */
    const struct episode **good;
    size_t capacity, n_good;
    uint64_t n_episodes, n_bad;
};

/* rewards <- "a,b"; NULL: none, which stands for all. */
static status parse_rewards(struct config_texts *rewards, const char *list, struct err *err)
{
    rewards->n = 0;
    while (list != NULL && *list != '\0') {
        size_t length = strcspn(list, ",");
        if (length == 0 || length >= CONFIG_TEXT_SIZE || rewards->n == CONFIG_LIST_MAX) {
            return err_set(err, STATUS_INVALID,
                           "--rewards: expected 1..%d names, separated by commas", CONFIG_LIST_MAX);
        }
        memcpy(rewards->items[rewards->n], list, length);
        rewards->items[rewards->n++][length] = '\0';
        list += length + (list[length] == ',');
    }
    return STATUS_OK;
}

/* Opens the dataset, compiles the script and opens the new dataset, which must not be there. */
static status open_parts(struct relabelling *work, struct err *err)
{
    char path[PATH_SIZE];
    int n = snprintf(path, sizeof path, "%s/metadata.json", work->to);
    if (n < 0 || (size_t)n >= sizeof path) {
        return err_set(err, STATUS_INVALID, "--to: a path of less than %d bytes", PATH_SIZE);
    }
    if (access(path, F_OK) == 0) {
        return err_set(err, STATUS_EXISTS, "%s: holds a dataset already", work->to);
    }
    struct config_texts *rewards = mem_new(sizeof *rewards);
    if (rewards == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "out of memory");
    }
    status s = parse_rewards(rewards, work->rewards, err);
    s = s != STATUS_OK ? s : dataset_open(&work->dataset, work->from, err);
    s = s != STATUS_OK ? s
                       : relabel_new(&work->relabel, dataset_signature(work->dataset), rewards,
                                     work->script, err);
    mem_free(rewards);
    if (s != STATUS_OK) {
        return s;
    }
    char made_by[128];
    (void)snprintf(made_by, sizeof made_by,
                   "{\"program\": \"hindcast dataset relabel\", \"relabel\": \"%016" PRIx64 "\"}",
                   relabel_digest(work->relabel));
    return dataset_writer_open(&work->writer, work->to, relabel_signature(work->relabel), made_by,
                               err);
}

/* Makes room for a shard of n episodes. */
static status make_room(struct relabelling *work, size_t n, struct err *err)
{
    if (n <= work->capacity) {
        return STATUS_OK;
    }
    struct episode *episodes = mem_resize(work->episodes, n, sizeof *episodes);
    work->episodes = episodes != NULL ? episodes : work->episodes;
    const struct episode **good = mem_resize(work->good, n, sizeof(struct episode *));
    work->good = good != NULL ? good : work->good;
    if (episodes == NULL || good == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%zu episodes: out of memory", n);
    }
    for (; work->capacity < n; work->capacity++) {
        episode_init(&episodes[work->capacity], signature_width(relabel_signature(work->relabel)));
    }
    return STATUS_OK;
}

/* Reads and relabels the episodes of a shard. Bad ones are told and left out; an error of the script
 * ends all, since it would occur again. */
static status relabel_shard(struct relabelling *work, struct shard_reader *reader,
                            struct episode *read, struct err *err)
{
    status s = make_room(work, shard_reader_episodes(reader), err);
    work->n_good = 0;
    for (uint64_t i = 0; i < shard_reader_episodes(reader) && s == STATUS_OK; i++) {
        struct err why = {0};
        struct episode *made = &work->episodes[work->n_good];
        s = shard_reader_read(reader, i, read, &why);
        if (s == STATUS_INVALID || s == STATUS_CORRUPT) {
            printf("left out: %s\n", why.text);
            work->n_bad++;
            s = STATUS_OK;
        } else if (s != STATUS_OK) {
            s = err_set(err, s, "%s", why.text);
        } else {
            s = relabel_apply(work->relabel, read, made, err);
            s = s == STATUS_OK ? s : err_context(err, s, "episode %" PRIu64, i);
            work->good[work->n_good++] = made;
        }
    }
    if (s == STATUS_OK && work->n_good > 0) {
        s = dataset_writer_shard(work->writer, work->good, work->n_good, err);
        work->n_episodes += work->n_good;
    }
    return s;
}

static status relabel_all(struct relabelling *work, struct err *err)
{
    status s = open_parts(work, err);
    for (size_t i = 0; s == STATUS_OK && i < dataset_n_shards(work->dataset); i++) {
        struct shard_reader *reader;
        struct episode read;
        s = shard_reader_open(&reader, work->dataset, i, err);
        if (s == STATUS_OK) {
            episode_init(&read, signature_width(dataset_signature(work->dataset)));
            s = relabel_shard(work, reader, &read, err);
            s = s == STATUS_OK ? s
                               : err_context(err, s, "%s", dataset_shard(work->dataset, i)->path);
            episode_fini(&read);
            shard_reader_close(reader);
        }
    }
    return s;
}

/* Also what a failed relabel_all has left. */
static void close_parts(struct relabelling *work)
{
    for (size_t i = 0; i < work->capacity; i++) {
        episode_fini(&work->episodes[i]);
    }
    mem_free(work->episodes);
    mem_free(work->good);
    if (work->writer != NULL) {
        dataset_writer_close(work->writer);
    }
    relabel_free(work->relabel);
    if (work->dataset != NULL) {
        dataset_close(work->dataset);
    }
}

/* False where the command line is wrong. */
static bool parse(struct relabelling *work, int argc, char **argv)
{
    for (int i = 0; i < argc; i++) {
        if (strncmp(argv[i], "--script=", 9) == 0) {
            work->script = argv[i] + 9;
        } else if (strncmp(argv[i], "--to=", 5) == 0) {
            work->to = argv[i] + 5;
        } else if (strncmp(argv[i], "--rewards=", 10) == 0) {
            work->rewards = argv[i] + 10;
        } else if (strncmp(argv[i], "--", 2) == 0 || work->from != NULL) {
            fprintf(stderr, "hindcast dataset relabel: unexpected argument \"%s\"\n", argv[i]);
            return false;
        } else {
            work->from = argv[i];
        }
    }
    return work->from != NULL && work->to != NULL && work->to[0] != '\0' && work->script != NULL &&
           work->script[0] != '\0';
}

int dataset_relabel(int argc, char **argv)
{
    struct relabelling work = {0};
    struct err err = {0};
    if (!parse(&work, argc, argv)) {
        fprintf(stderr, "usage:\n%s", dataset_relabel_usage);
        return 2;
    }
    status s = relabel_all(&work, &err);
    if (s == STATUS_OK) {
        printf("%s: %" PRIu64 " episodes, %" PRIu64 " bad ones left out\n", work.to,
               work.n_episodes, work.n_bad);
    } else {
        fprintf(stderr, "hindcast dataset relabel: %s\n", err.text);
    }
    close_parts(&work);
    return s != STATUS_OK || work.n_bad > 0;
}
