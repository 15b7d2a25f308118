/* bench_restorer [OPTION ..]
 *     runs bench/peers/run restorer OPTION ..: logs of every format through the real restorer into a
 *     warm server, and their reading beside that of the Python packages, in turns
 * bench_restorer --read=LOGS [--mapping=FILE]
 *     one turn of ours: reads every episode of LOGS as rows, and prints one line of JSON:
 *     {"seconds": .., "episodes": .., "rows": .., "bytes": .., "bad": ..}
 *
 * LOGS is a dataset (it has a metadata.json, or data/metadata.json) or logs of another format.
 * `rows` counts T + 1 for an episode of T transitions, and `bytes` their size in memory, 4 W each.
 * `seconds` covers everything from opening the logs to the last checked row: finding the episodes,
 * and, for other formats, reading the mapping. A mapping that is not given is proposed before the
 * time starts, since a user does that once. */
#include <inttypes.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/version.h"
#include "common/base/clock.h"
#include "common/base/text.h"
#include "common/logs/episodes/logs.h"
#include "common/logs/propose/propose.h"
#include "common/trajectory/dataset.h"
#include "common/trajectory/shard_reader.h"

#define PATH_SIZE 4096

/* What one turn has read. */
struct totals {
    uint64_t episodes, rows, bytes, bad;
};

/* A benchmark has nothing to fall back to. */
static void need(status s, const struct err *err)
{
    if (s != STATUS_OK) {
        fprintf(stderr, "bench_restorer: %s\n", err->text);
        exit(EXIT_FAILURE);
    }
}

/* Counts an episode that was read, or a bad one. */
static void count(struct totals *totals, status s, const struct episode *episode)
{
    if (s != STATUS_OK) {
        totals->bad++;
        return;
    }
    totals->episodes++;
    totals->rows += episode->T + 1ull;
    totals->bytes += (episode->T + 1ull) * episode->W * sizeof(float);
}

/* All shards of a dataset, as the restorer reads them. */
static void read_dataset(const char *path, struct totals *totals)
{
    struct err err = {0};
    struct dataset *dataset;
    struct episode episode;
    need(dataset_open(&dataset, path, &err), &err);
    episode_init(&episode, signature_width(dataset_signature(dataset)));
    for (size_t i = 0; i < dataset_n_shards(dataset); i++) {
        struct shard_reader *reader;
        need(shard_reader_open(&reader, dataset, i, &err), &err);
        for (uint64_t e = 0; e < shard_reader_episodes(reader); e++) {
            count(totals, shard_reader_read(reader, e, &episode, &err), &episode);
        }
        shard_reader_close(reader);
    }
    episode_fini(&episode);
    dataset_close(dataset);
}

/* All logs of another format, through a mapping. */
static void read_logs(const char *path, const struct mapping *mapping, struct totals *totals)
{
    struct err err = {0};
    struct logs *logs;
    struct episode episode;
    need(logs_open(&logs, path, &err), &err);
    need(logs_map(logs, mapping, &err), &err);
    episode_init(&episode, signature_width(logs_signature(logs)));
    for (uint64_t i = 0; i < logs_n_episodes(logs); i++) {
        count(totals, logs_read(logs, i, &episode, &err), &episode);
    }
    episode_fini(&episode);
    logs_close(logs);
}

/* The mapping of a file, or a proposal. */
static void find_mapping(const char *path, const char *file, struct mapping *mapping)
{
    struct err err = {0};
    struct logs *logs;
    struct text notes = {0};
    if (file != NULL) {
        need(mapping_read(mapping, file, &err), &err);
        return;
    }
    need(logs_open(&logs, path, &err), &err);
    need(propose_mapping(logs, mapping, &notes, &err), &err);
    text_fini(&notes);
    logs_close(logs);
}

/* Is there metadata, ours or Minari's? */
static bool is_dataset(const char *path)
{
    char file[PATH_SIZE];
    snprintf(file, sizeof file, "%.3900s/metadata.json", path);
    if (access(file, F_OK) == 0) {
        return true;
    }
    snprintf(file, sizeof file, "%.3900s/data/metadata.json", path);
    return access(file, F_OK) == 0;
}

/* One turn of ours. */
static void read_all(const char *path, const char *mapping_file)
{
    struct totals totals = {0};
    struct mapping mapping;
    mapping_init(&mapping);
    const bool dataset = is_dataset(path);
    if (!dataset) {
        find_mapping(path, mapping_file, &mapping);
    }
    const uint64_t start_ns = clock_now_ns();
    if (dataset) {
        read_dataset(path, &totals);
    } else {
        read_logs(path, &mapping, &totals);
    }
    const double seconds = (double)(clock_now_ns() - start_ns) * 1e-9;
    printf("{\"seconds\": %.6f, \"episodes\": %" PRIu64 ", \"rows\": %" PRIu64
           ", \"bytes\": %" PRIu64 ", \"bad\": %" PRIu64 "}\n",
           seconds, totals.episodes, totals.rows, totals.bytes, totals.bad);
    mapping_fini(&mapping);
}

/* Becomes bench/peers/run of the source tree, which starts this program again for each turn. */
static int run_peers(int argc, char **argv)
{
    char self[PATH_SIZE] = {0};
    char script[PATH_SIZE], build[PATH_SIZE];
    if (readlink("/proc/self/exe", self, sizeof self - 1) < 0) {
        perror("bench_restorer: /proc/self/exe");
        return EXIT_FAILURE;
    }
    /* BUILD/bench/bench_restorer */
    const char *folder = dirname(dirname(self));
    snprintf(script, sizeof script, "%s/bench/peers/run", HINDCAST_SOURCE_DIR);
    snprintf(build, sizeof build, "--build=%.4000s", folder);
    char *arguments[64] = {script, (char *)"restorer", build};
    int n = 3;
    for (int i = 1; i < argc && n < 63; i++) {
        arguments[n++] = argv[i];
    }
    execv(script, arguments);
    perror(script);
    return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
    if (bench_version(argc, argv)) {
        return EXIT_SUCCESS;
    }
    const char *path = NULL, *mapping = NULL;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--read=", 7) == 0) {
            path = argv[i] + 7;
        } else if (strncmp(argv[i], "--mapping=", 10) == 0) {
            mapping = argv[i] + 10;
        }
    }
    if (path == NULL) {
        return run_peers(argc, argv);
    }
    read_all(path, mapping);
    return EXIT_SUCCESS;
}
