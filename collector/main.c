/* hindcast-collector: acts in an environment and keeps what happens, as logs and in the replay. */
#include <inttypes.h>
#include <stdio.h>

#include "collector/keeper.h"
#include "common/environments/environment.h"
#include "common/rpc/rpc.h"

#define LOG_MODULE "main"
#include "common/base/log.h"
#include "common/base/memory.h"

/* All parts, in the order in which they are made. */
struct collector {
    struct experiment experiment;
    struct collector_options options;
    struct signature signature;
    char writer_name[64];
    struct process *process;
    struct parameters_client *client;
    struct policy_source *policies;
    struct log_store *store;
    struct crew *crew;
    struct keeper *keeper;
};

static status learn_signature(struct collector *collector, struct err *err)
{
    struct environment *environment;
    status s = environment_open(&environment, collector->experiment.environment, 0, err);
    if (s == STATUS_OK) {
        collector->signature = *environment_signature(environment);
        environment_close(environment);
    } else {
        err_context(err, s, "experiment.environment");
    }
    return s;
}

static status open_store(struct collector *collector, struct err *err)
{
    struct log_store_settings settings = {
        .folder = collector->options.folder,
        .writer = collector->writer_name,
        .environment = collector->experiment.environment,
        .seed = (uint64_t)collector->experiment.seed,
        .shard_episodes = (size_t)collector->options.shard_episodes,
    };
    snprintf(collector->writer_name, sizeof collector->writer_name, "collector-%" PRId64,
             collector->options.index);
    status s = log_store_open(&collector->store, &settings, &collector->signature, err);
    if (s == STATUS_OK) { /* said here: once the keeper runs, the store is its alone */
        log_info("collecting environment=%s folder=%s episodes_so_far=%" PRIu64,
                 collector->experiment.environment, collector->options.folder,
                 log_store_last(collector->store));
    }
    return s;
}

/* A collector that acts at random and ends no run needs no learner. */
static status open_parameters(struct collector *collector, struct err *err)
{
    const struct collector_options *options = &collector->options;
    if (options->act[0] != 'p' && !options->finish_run) {
        return STATUS_OK;
    }
    status s = parameters_client_open(&collector->client, &collector->experiment, err);
    return s == STATUS_OK ? policy_source_new(&collector->policies, collector->client, err) : s;
}

static status start_crew(struct collector *collector, struct err *err)
{
    const struct collector_options *options = &collector->options;
    bool random = options->act[0] == 'r';
    struct crew_settings settings = {
        .environment = collector->experiment.environment,
        .seed = (uint64_t)collector->experiment.seed,
        .index = (uint64_t)options->index,
        .n_workers = (uint32_t)options->environments,
        .done = log_store_last(collector->store),
        .last = (uint64_t)options->episodes,
        .random_episodes = random ? UINT64_MAX : (uint64_t)options->random_episodes,
        .refresh_steps = (uint32_t)options->refresh_steps,
        .wait_for_policy = options->initial[0] == 'w',
        .policies = collector->policies,
    };
    return crew_start(&collector->crew, &settings, &collector->signature, err);
}

static status start_keeper(struct collector *collector, struct err *err)
{
    struct keeper_parts parts = {
        .process = collector->process,
        .experiment = &collector->experiment,
        .options = &collector->options,
        .signature = &collector->signature,
        .store = collector->store,
        .crew = collector->crew,
        .policies = collector->policies,
        .client = collector->client,
    };
    return keeper_start(&collector->keeper, &parts, err);
}

static status open_parts(struct collector *collector, struct err *err)
{
    status (*const steps[])(struct collector *, struct err *) = {open_store, open_parameters,
                                                                 start_crew, start_keeper};
    status s = STATUS_OK;
    for (size_t i = 0; s == STATUS_OK && i < sizeof steps / sizeof steps[0]; i++) {
        s = steps[i](collector, err);
    }
    return s;
}

static void close_parts(struct collector *collector)
{
    if (collector->crew != NULL) {
        crew_stop(collector->crew);
    }
    keeper_join(collector->keeper);
    crew_free(collector->crew);
    policy_source_free(collector->policies);
    if (collector->client != NULL) {
        parameters_client_close(collector->client);
    }
    log_store_close(collector->store);
}

static int run(struct collector *collector)
{
    struct err err;
    int count = (int)collector->options.count, index = (int)collector->options.index;
    if (process_open(&collector->process, "collector", index, count, &collector->experiment,
                     &err) != STATUS_OK) {
        fprintf(stderr, "hindcast-collector: %s\n", err.text);
        return 1;
    }
    rpc_init();
    if (open_parts(collector, &err) == STATUS_OK) {
        process_run(collector->process);
    } else {
        log_error("cannot start: %s", err.text);
        process_stop(collector->process, 1);
    }
    close_parts(collector);
    rpc_fini();
    return process_close(collector->process);
}

int main(int argc, char **argv)
{
    static struct collector collector; /* signatures and option lists are large */
    struct config_section sections[] = {experiment_section(&collector.experiment),
                                        collector_section(&collector.options)};
    struct err err;
    bool done = false;
    status s = config_load(sections, 2, "hindcast-collector: acts, and keeps what happens", argc,
                           argv, &done, &err);
    if (s == STATUS_OK && !done) {
        experiment_finish(&collector.experiment);
        s = collector_options_finish(&collector.options, &collector.experiment, &err);
    }
    if (s == STATUS_OK && !done) {
        s = learn_signature(&collector, &err);
    }
    if (s != STATUS_OK) {
        fprintf(stderr, "hindcast-collector: %s\n", err.text);
        return 2;
    }
    if (done || collector.experiment.check) {
        return 0;
    }
    config_print(stderr, sections, 2);
    return run(&collector);
}
