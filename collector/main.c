/* hindcast-collector: acts in an environment and writes what happens, to logs and to the replay
 * server. Reads the options, makes the parts in order, runs the loop, and ends the parts.
 *
 * Threads: main runs the loop, for signals and the admin page; each worker acts in an environment;
 * the episode writer takes what they finish. All parts are closed by main, after the threads that
 * use them have ended. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "collector/episode_writer.h"
#include "common/clients/peer.h"
#include "common/robot/robot_environment.h"
#include "common/rpc/rpc.h"

#define LOG_MODULE "main"
#include "common/base/log.h"
#include "common/base/memory.h"

/* All parts, in the order in which they are made. */
struct collector {
    struct experiment experiment;
    struct collector_options options;
    struct environment_description environment;
    char writer_name[64];
    struct process *process;
    struct parameters_client *client;
    struct policy_cache *policies;
    struct log_store *store;
    struct worker_pool *pool;
    struct episode_writer *writer;
};

/* Opens the logs, which tell how many episodes earlier starts have collected. */
static status open_store(struct collector *collector, struct err *err)
{
    /* The store keeps pointers to these texts: they live as long as the program. */
    struct log_store_settings settings = {
        .folder = collector->options.folder,
        .writer = collector->writer_name,
        .environment = collector->experiment.environment,
        .seed = (uint64_t)collector->experiment.seed,
        .shard_episodes = (size_t)collector->options.shard_episodes,
    };
    snprintf(collector->writer_name, sizeof collector->writer_name, "collector-%" PRId64,
             collector->options.index);
    status s = log_store_open(&collector->store, &settings, &collector->environment.signature, err);
    if (s == STATUS_OK) {
        /* Logged here: once the episode writer runs, the store belongs to its thread. */
        log_info("collecting environment=%s folder=%s episodes_so_far=%" PRIu64,
                 collector->experiment.environment, collector->options.folder,
                 log_store_last(collector->store));
    }
    return s;
}

/* The learner, of which only a collector that acts with its policies, or ends its run, needs to know;
 * and where policies come from. */
static status open_policies(struct collector *collector, struct err *err)
{
    const struct collector_options *options = &collector->options;
    const bool by_policy = strcmp(options->act, "policy") == 0;
    const bool saved = options->policy[0] != '\0';
    if (!by_policy && !options->finish_run) {
        return STATUS_OK;
    }
    status s = STATUS_OK;
    if (!saved || options->finish_run) {
        s = parameters_client_open(&collector->client, &collector->experiment, err);
    }
    s = s != STATUS_OK ? s : policy_cache_new(&collector->policies, collector->client, err);
    return s != STATUS_OK || !saved ? s
                                    : policy_cache_load(collector->policies, options->policy, err);
}

/* Starts the workers. From here on episodes are acted, up to the pool's window. */
static status start_pool(struct collector *collector, struct err *err)
{
    const struct collector_options *options = &collector->options;
    /* Acting at random is a policy that never comes: all episodes are random ones. */
    bool random = strcmp(options->act, "random") == 0;
    struct worker_pool_settings settings = {
        .environment = &collector->environment,
        .seed = (uint64_t)collector->experiment.seed,
        .index = (uint64_t)options->index,
        .n_environments = (uint32_t)options->environments,
        .n_threads = (uint32_t)options->threads,
        .done = log_store_last(collector->store),
        .last = (uint64_t)options->episodes,
        .pursued = options->pursued,
        .random_episodes = random ? UINT64_MAX : (uint64_t)options->random_episodes,
        .refresh_steps = (uint32_t)options->refresh_steps,
        .wait_for_policy = strcmp(options->initial, "wait") == 0,
        .script = strcmp(options->act, "script") == 0,
        .script_noise = options->noise,
        .n_script_noise = (uint32_t)options->script_noise.n,
        .noise_correlation = options->noise_correlation,
        .reset_episodes = (uint32_t)options->reset_episodes,
        .advanced = options->advanced,
        .policies = collector->policies,
    };
    return worker_pool_start(&collector->pool, &settings, err);
}

/* Starts the episode writer, the only one that takes episodes from the pool. */
static status start_writer(struct collector *collector, struct err *err)
{
    struct episode_writer_parts parts = {
        .process = collector->process,
        .experiment = &collector->experiment,
        .options = &collector->options,
        .environment = &collector->environment,
        .store = collector->store,
        .pool = collector->pool,
        .policies = collector->policies,
        .client = collector->client,
    };
    return episode_writer_start(&collector->writer, &parts, err);
}

/* Makes all parts. On an error those made so far remain, and the caller closes them. */
static status open_parts(struct collector *collector, struct err *err)
{
    /* Each step needs those before it; close_parts ends what was made. */
    status (*const steps[])(struct collector *, struct err *) = {open_store, open_policies,
                                                                 start_pool, start_writer};
    status s = STATUS_OK;
    for (size_t i = 0; s == STATUS_OK && i < sizeof steps / sizeof steps[0]; i++) {
        s = steps[i](collector, err);
    }
    return s;
}

/* In the order that lets threads end: workers first, since the episode writer waits for them. */
static void close_parts(struct collector *collector)
{
    if (collector->pool != NULL) {
        worker_pool_stop(collector->pool);
    }
    episode_writer_join(collector->writer);
    worker_pool_free(collector->pool);
    policy_cache_free(collector->policies);
    /* The cache and the episode writer use the client, so it is closed after both. */
    if (collector->client != NULL) {
        parameters_client_close(collector->client);
    }
    log_store_close(collector->store);
}

/* Everything from the open process to its end; returns the exit code. */
static int run(struct collector *collector)
{
    struct err err;
    int count = (int)collector->options.count, index = (int)collector->options.index;
    if (process_open(&collector->process, "collector", index, count, &collector->experiment,
                     &err) != STATUS_OK) {
        fprintf(stderr, "hindcast-collector: %s\n", err.text);
        return 1;
    }
    /* After process_open, which blocks signals for all threads started later. */
    rpc_init();
    status s = open_parts(collector, &err);
    if (s == STATUS_OK) {
        /* Until a signal comes or the episode writer has nothing more to do. */
        process_run(collector->process);
    } else {
        log_error("cannot start: %s", err.text);
        process_stop(collector->process, status_exit_code(s));
    }
    close_parts(collector);
    rpc_fini();
    return process_close(collector->process);
}

int main(int argc, char **argv)
{
    static struct collector collector; /* too large for the stack */
    robot_environment_install(&collector.experiment, "collector", false);
    experiment_offer_environments(environment_names());
    /* Each section of the configuration fills one struct. */
    struct config_section sections[] = {experiment_section(&collector.experiment),
                                        collector_section(&collector.options)};
    struct err err;
    bool done = false;
    status s =
        config_load(sections, 2, "hindcast-collector: acts in an environment and logs the episodes",
                    argc, argv, &done, &err);
    /* Checks that need the whole configuration; nothing is opened or connected yet. */
    if (s == STATUS_OK && !done) {
        experiment_finish(&collector.experiment);
        s = peer_check_replay(&collector.experiment, &err);
    }
    if (s == STATUS_OK && !done) {
        s = peer_check_parameters(&collector.experiment, &err);
    }
    if (s == STATUS_OK && !done) {
        s = process_check(&collector.experiment, &err);
    }
    if (s == STATUS_OK && !done) {
        s = collector_options_finish(&collector.options, &collector.experiment,
                                     &collector.environment, &err);
    }
    if (s != STATUS_OK) {
        fprintf(stderr, "hindcast-collector: %s\n", err.text);
        /* A robot that does not answer may do so when the process is started again. */
        return s == STATUS_UNAVAILABLE || s == STATUS_TIMEOUT ? 1 : 2;
    }
    /* --help or a similar option has printed all there is. */
    if (done) {
        return 0;
    }
    /* With --check the signature is told, and nothing is written or started. */
    if (collector.experiment.check) {
        signature_tell(&collector.environment.signature, stdout);
        return 0;
    }
    config_print(stderr, sections, 2);
    return run(&collector);
}
