/* The replay server's options. See options.h; every one is "ours": the paper gives none. */
#include "replay_server/service/options.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define AT(field)          offsetof(struct options, field)
#define ENDPOINT_AT(field) offsetof(struct options, endpoint.field)
#define COUNT_MAX          9e15 /* below 2^53 */

static const struct config_option table[] = {
    {"listen", CONFIG_TEXTS, AT(listen), "", "[]", 0, 0, NULL,
     "addresses to serve on; empty: the one of experiment.replay that `index` names"},
    {"index", CONFIG_INT, AT(index), "", "0", 0, CONFIG_LIST_MAX - 1, NULL,
     "which one of several replay servers this is"},
    {"path", CONFIG_TEXT, AT(path), "", "", 0, 0, NULL,
     "folder of the store, on a local disk; empty: RUN_DIR/replay, with -INDEX for several "
     "servers"},
    {"map_bytes", CONFIG_INT, AT(map_bytes), "bytes", "64G", 16 << 20, 1e15, NULL,
     "how large the store may become; the file is sparse and takes only what it holds"},
    {"durability", CONFIG_CHOICE, AT(durability), "", "each", 0, 0, "each|interval|none",
     "each: acknowledged when on the disk; interval: a stop of the machine may lose the last "
     "sync_ms; none: scratch"},
    {"sync_ms", CONFIG_INT, AT(sync_ms), "ms", "1000", 1, 3600000, NULL,
     "durability interval: time between syncs"},
    {"max_transitions", CONFIG_INT, AT(max_transitions), "transitions", "0", 0, COUNT_MAX, NULL,
     "a table holds at most these; 0: no limit"},
    {"max_bytes", CONFIG_INT, AT(max_bytes), "bytes", "0", 0, COUNT_MAX, NULL,
     "a table holds at most these; 0: four fifths of map_bytes"},
    {"max_episodes", CONFIG_INT, AT(max_episodes), "episodes", "0", 0, 4e9, NULL,
     "a table holds at most these; 0: no limit"},
    {"remover", CONFIG_CHOICE, AT(remover), "", "fifo", 0, 0, "fifo|lifo|none",
     "what makes room in a full table: the oldest goes, the newest goes, or inserts are refused"},
    {"min_transitions", CONFIG_INT, AT(min_transitions), "transitions", "1", 1, COUNT_MAX, NULL,
     "sampling waits until an unsealed table holds these"},
    {"samples_per_insert", CONFIG_REAL, AT(samples_per_insert), "", "0", 0, 1e9, NULL,
     "transitions sampled per transition inserted by acting: both sides wait for each other; 0: no "
     "limit"},
    {"samples_per_insert_tolerance", CONFIG_REAL, AT(samples_per_insert_tolerance), "transitions",
     "10000", 0, COUNT_MAX, NULL,
     "transitions sampled by which one side may be ahead of the other"},
    {"samples_per_eviction", CONFIG_REAL, AT(samples_per_eviction), "", "0", 0, 1e9, NULL,
     "an insert from logs that evicts waits until so many transitions were sampled per one "
     "evicted; 0: no limit"},
    {"gather_threads", CONFIG_INT, AT(gather_threads), "threads", "1", 1, 64, NULL,
     "threads that copy large batches together"},
    {"insert_buffer_bytes", CONFIG_INT, AT(insert_buffer_bytes), "bytes", "128M", 1 << 20, 1e12,
     NULL, "episodes on their way to the store"},
    {"sample_buffer_bytes", CONFIG_INT, AT(sample_buffer_bytes), "bytes", "256M", 1 << 20, 1e12,
     NULL, "batches on their way out"},
    {"max_message_bytes", CONFIG_INT, AT(max_message_bytes), "bytes", "64M", 1 << 20, 1 << 30, NULL,
     "largest message in or out; bounds a batch"},
    ENDPOINT_OPTIONS(ENDPOINT_AT, "insert, sample, admin", "500"),
    {"idle_seconds", CONFIG_INT, AT(idle_seconds), "s", "60", 1, 86400, NULL,
     "a writer that stops in the middle of an episode is cut off after this"},
    {"scrub_bytes_per_s", CONFIG_INT, AT(scrub_bytes_per_s), "bytes", "64M", 0, 1e12, NULL,
     "how fast the store is checked in the background after opening; 0: only what is read is "
     "checked"},
};

struct config_section options_section(struct options *options)
{
    return (struct config_section){.name = "replay_server",
                                   .options = table,
                                   .n_options = sizeof table / sizeof table[0],
                                   .values = options};
}

status options_finish(struct options *options, const struct experiment *experiment, struct err *err)
{
    if (options->listen.n == 0) {
        if (options->index >= (int64_t)experiment->replay.n) {
            return err_set(err, STATUS_INVALID,
                           "replay_server.index %" PRId64 ": experiment.replay names %zu servers",
                           options->index, experiment->replay.n);
        }
        options->listen.n = 1;
        strcpy(options->listen.items[0], experiment->replay.items[options->index]);
    }
    if (options->path[0] == '\0') {
        char suffix[24] = "";
        if (experiment->replay.n > 1) {
            snprintf(suffix, sizeof suffix, "-%" PRId64, options->index);
        }
        const int length = snprintf(options->path, sizeof options->path, "%s/replay%s",
                                    experiment->run_dir, suffix);
        if (length < 0 || (size_t)length >= sizeof options->path) {
            return err_set(err, STATUS_INVALID, "experiment.run_dir: too long for a path within");
        }
    }
    if (options->max_bytes == 0) {
        options->max_bytes = options->map_bytes / 5 * 4;
    }
    struct limiter_settings limiter = options_limiter(options);
    return limiter_check(&limiter, err);
}

struct limiter_settings options_limiter(const struct options *options)
{
    return (struct limiter_settings){
        .min_transitions = (uint64_t)options->min_transitions,
        .samples_per_insert = options->samples_per_insert,
        .tolerance = options->samples_per_insert_tolerance,
        .samples_per_eviction = options->samples_per_eviction,
    };
}

enum store_durability options_durability(const struct options *options)
{
    return strcmp(options->durability, "each") == 0       ? STORE_EACH
           : strcmp(options->durability, "interval") == 0 ? STORE_INTERVAL
                                                          : STORE_NONE;
}
