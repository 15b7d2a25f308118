/* Several servers, each pinned to a core, and one client: what one more adds, and what an item costs
 * each side. */
#include <sched.h>
#include <stdio.h>

#include "bench/replay_server_process.h"
#include "bench/replay_work.h"
#include "common/base/clock.h"

/* Core i of those that this program may use, modulo their number. */
static int core_of(int i)
{
    cpu_set_t mine;
    ASSERT(sched_getaffinity(0, sizeof mine, &mine) == 0);
    int left = i % CPU_COUNT(&mine);
    for (int core = 0; core < CPU_SETSIZE; core++) {
        if (CPU_ISSET((size_t)core, &mine) && left-- == 0) {
            return core;
        }
    }
    return 0;
}

/* Starts k servers, each on a core. */
static void start_shards(struct bench *bench, int k)
{
    bench->experiment.replay.n = (size_t)k;
    for (int i = 0; i < k; i++) {
        char name[32];
        snprintf(name, sizeof name, "shard-%d-of-%d", i, k);
        const struct replay_server_process server = {.binary = bench->binary,
                                                     .folder = bench->folder,
                                                     .name = name,
                                                     .durability = bench->durability,
                                                     .core = core_of(i),
                                                     .tls = bench->tls};
        bench->servers[i] = replay_server_process_start(&server, bench->experiment.replay.items[i],
                                                        CONFIG_TEXT_SIZE);
    }
}

/* What one kind of work reached, and what an item of it cost both sides. */
static void show_shards(struct bench *bench, int k, const char *what, const char *item,
                        const double rate[3])
{
    static const char *const names[3] = {"", "_server_cpu", "_client_cpu"};
    for (int i = 0; i < 3; i++) {
        char name[64], unit[32];
        snprintf(name, sizeof name, "shards_%d_%s%s", k, what, names[i]);
        snprintf(unit, sizeof unit, i == 0 ? "%ss/s" : "ns/%s", item);
        replay_work_show(bench, name, rate[i], unit);
    }
}

/* Runs `work`, which returns the number of items. */
static void measure_shards(struct bench *bench, double (*work)(struct bench *bench, void *arg),
                           void *arg, double rate[3])
{
    const double server = replay_work_server_cpu(bench), client = replay_work_client_cpu();
    const uint64_t start_ns = clock_now_ns();
    const double items = work(bench, arg);
    rate[0] = items / replay_work_since(start_ns);
    rate[1] = 1e9 * (replay_work_server_cpu(bench) - server) / items;
    rate[2] = 1e9 * (replay_work_client_cpu() - client) / items;
}

static double work_insert(struct bench *bench, void *arg)
{
    replay_work_insert(bench, arg, TABLE_EPISODES);
    replay_work_flush(arg);
    return (double)TABLE_EPISODES * EPISODE_T;
}

static double work_sample(struct bench *bench, void *arg)
{
    struct sampling *sampling = arg;
    return replay_work_sample(sampling, bench->seconds * bench->rounds, 1);
}

/* The same work with k servers: inserts of 1000 episodes into them, then samples from them. */
static void run_shards(struct bench *bench, int k)
{
    struct err err;
    bool sealed;
    double rate[3];
    struct sampling sampling = {0};
    const struct replay_sampler_options options = {.batch_snippets = bench->batch * (uint32_t)k,
                                                   .snippet_transitions = SNIPPET_N,
                                                   .seed = 1,
                                                   .require_sealed = true,
                                                   .prefetch_batches = 6};
    start_shards(bench, k);
    struct replay_writer *writer = replay_work_open_writer(bench);
    measure_shards(bench, work_insert, writer, rate);
    show_shards(bench, k, "insert_steps", "step", rate);
    replay_work_need(replay_writer_seal(writer, 1, &sealed, &err), &err, "seal");
    replay_writer_close(writer);
    replay_work_need(replay_sampler_open(&sampling.sampler, &bench->experiment, &bench->signature,
                                         &options, 10000, NULL, NULL, &err),
                     &err, "open sampler");
    (void)replay_work_sample(&sampling, 0, WARM_UP_SNIPPETS / bench->batch);
    measure_shards(bench, work_sample, &sampling, rate);
    show_shards(bench, k, "sample_snippets", "snippet", rate);
    replay_sampler_close(sampling.sampler);
    replay_work_stop_servers(bench);
}

void replay_shards_run(struct bench *bench)
{
    for (int k = 1; k <= bench->shards; k *= 2) {
        run_shards(bench, k);
    }
}
