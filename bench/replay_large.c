/* A table larger than memory. A control group gives the server M MiB, page cache included, and it gets
 * a table of four times as much. It is inserted, opened again, and sampled when every chunk has been
 * checked once; beside it the disk reads pages at random places of the same file. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/memory_group.h"
#include "bench/quantile.h"
#include "bench/replay_limits.h"
#include "bench/replay_server_process.h"
#include "bench/replay_work.h"
#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/clients/peer.h"
#include "proto/replay.pb-c.h"

#define TIMES_MEMORY 4u
#define READ_DEPTH   32u /* pages read at once, by the limit */
#define CHECK_MS     600000u

static struct memory_group group;
static struct bench *limited;

/* However the program ends: a group with a process in it cannot be removed. */
static void remove_group(void)
{
    replay_work_stop_servers(limited);
    memory_group_remove(&group);
}

/* A server that is in the group before it touches its store. */
static void start_limited(struct bench *bench, unsigned episodes, const char *more)
{
    struct err err;
    const struct replay_server_process server = {.binary = bench->binary,
                                                 .folder = bench->folder,
                                                 .name = "large",
                                                 .durability = bench->durability,
                                                 .max_episodes = episodes,
                                                 .core = -1,
                                                 .tls = bench->tls,
                                                 .more = {bench->gather_threads, more}};
    bench->experiment.replay.n = 1;
    bench->servers[0] =
        replay_server_process_start(&server, bench->experiment.replay.items[0], CONFIG_TEXT_SIZE);
    replay_work_need(memory_group_add(&group, bench->servers[0], &err), &err, "memory group");
}

/* The whole answer of Info; waits for the server. */
static void ask(struct bench *bench, struct rpc_message *message)
{
    struct err err;
    struct rpc_channel *channel;
    const struct rpc_call_options options = {.timeout_ms = CHECK_MS, .wait_for_ready = true};
    Hindcast__InfoRequest request = HINDCAST__INFO_REQUEST__INIT;
    replay_work_need(
        peer_channel_open(&channel, bench->experiment.replay.items[0], &bench->experiment, 0, &err),
        &err, "channel");
    replay_work_need(rpc_unary(channel, &hindcast__replay__descriptor, "Info", &request.base, NULL,
                               &options, message, &err),
                     &err, "info");
    rpc_channel_close(channel);
}

/* Waits until the log of the server has a line with these words; the number behind them, or 0. */
static double await_log(const struct bench *bench, const char *words)
{
    char path[700], line[2000];
    snprintf(path, sizeof path, "%s/large.log", bench->folder);
    const uint64_t start_ns = clock_now_ns();
    for (;;) {
        FILE *file = fopen(path, "r");
        while (file && fgets(line, sizeof line, file)) {
            const char *at = strstr(line, words);
            if (at) {
                fclose(file);
                return strtod(at + strlen(words), NULL);
            }
        }
        if (file) {
            fclose(file);
        }
        if (clock_now_ns() - start_ns > CHECK_MS * NS_PER_MS) {
            fprintf(stderr, "bench_replay: the server did not say \"%s\"\n", words);
            exit(EXIT_FAILURE);
        }
        clock_sleep_ms(20);
    }
}

/* Memory of the server that is its own, in bytes: not the page cache. */
static double own_memory(const struct bench *bench)
{
    char path[64], line[256];
    double kib = 0;
    snprintf(path, sizeof path, "/proc/%d/status", (int)bench->servers[0]);
    FILE *file = fopen(path, "r");
    while (file && fgets(line, sizeof line, file)) {
        if (strncmp(line, "RssAnon:", 8) == 0) {
            kib = strtod(line + 8, NULL);
        }
    }
    if (file) {
        fclose(file);
    }
    return kib * 1024;
}

/* Inserts until the table is full and then half as much again; the rate of the last part, in which
 * every insert evicts and the memory has long been full. */
static void insert_all(struct bench *bench, unsigned episodes)
{
    struct replay_writer *writer = replay_work_open_writer(bench);
    replay_work_insert(bench, writer, episodes);
    replay_work_flush(writer);
    const unsigned more = episodes / 2;
    const uint64_t start_ns = clock_now_ns();
    replay_work_insert(bench, writer, more);
    replay_work_flush(writer);
    replay_work_show(bench, "large_insert_steps",
                     (double)more * EPISODE_T / replay_work_since(start_ns), "steps/s");
    replay_writer_close(writer);
}

/* Samples in turns with reads of the disk. */
static void sample_all(struct bench *bench)
{
    struct err err;
    char file[700];
    double rate[ROUNDS_MAX], reads[ROUNDS_MAX];
    struct sampling sampling = {0};
    const struct replay_sampler_options options = {.batch_snippets = bench->batch,
                                                   .snippet_transitions = SNIPPET_N,
                                                   .seed = 1,
                                                   .prefetch_batches = 6};
    replay_work_need(replay_sampler_open(&sampling.sampler, &bench->experiment, &bench->signature,
                                         &options, 10000, NULL, NULL, &err),
                     &err, "open sampler");
    snprintf(file, sizeof file, "%s/large/store/data.mdb", bench->folder);
    (void)replay_work_sample(&sampling, 1, 1);
    for (int r = 0; r < bench->rounds; r++) {
        const uint64_t start_ns = clock_now_ns();
        const double snippets = replay_work_sample(&sampling, bench->seconds, 1);
        rate[r] = snippets / replay_work_since(start_ns);
        reads[r] = replay_limits_random_reads(file, READ_DEPTH, bench->seconds);
    }
    replay_sampler_close(sampling.sampler);
    const double snippets = quantile(rate, (size_t)bench->rounds, 0.5);
    const double pages = quantile(reads, (size_t)bench->rounds, 0.5);
    replay_work_show(bench, "large_sample_snippets", snippets, "snippets/s");
    replay_work_show(bench, "limit_disk_reads", pages, "pages/s");
    replay_work_show(bench, "ratio_large_sample_to_disk_reads", snippets / pages, "ratio");
}

void replay_large_run(struct bench *bench)
{
    struct err err;
    const uint64_t memory = (uint64_t)bench->memory_mb << 20;
    if (memory_group_make(&group, memory, &err) != STATUS_OK) {
        fprintf(stderr, "bench_replay: large: left out: %s\n", err.text);
        return;
    }
    limited = bench;
    atexit(remove_group);
    const unsigned episodes =
        (unsigned)((double)(TIMES_MEMORY * memory) / (STEP_BYTES * EPISODE_T));
    start_limited(bench, episodes, NULL);
    insert_all(bench, episodes);
    replay_work_stop_servers(bench);
    /* Opened again, with a file of its own for the log. */
    start_limited(bench, episodes, "--scrub_bytes_per_s=1000000000000");
    struct rpc_message message;
    ask(bench, &message);
    const double open_s = await_log(bench, "store seconds=");
    const Hindcast__TableInfo *table = ((const Hindcast__InfoResponse *)message.body)->tables[0];
    replay_work_show(bench, "large_table", (double)table->bytes * 1e-6, "MB");
    replay_work_show(bench, "large_memory", (double)memory * 1e-6, "MB");
    replay_work_show(bench, "large_open", open_s * 1e5 / (double)table->episodes,
                     "s/100k episodes");
    replay_work_show(bench, "large_index", own_memory(bench) / (double)table->episodes,
                     "bytes/episode");
    rpc_message_free(&message);
    (void)await_log(bench, "the store has been checked");
    sample_all(bench);
    replay_work_stop_servers(bench);
}
