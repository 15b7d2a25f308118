/* hindcast-learner: reads the configuration, connects the training thread, the Parameters service
 * and the exchange with other ranks, and runs the loop thread.
 *
 * One program, two shapes. A learner on its own, or rank 0 of several, serves Parameters and runs a
 * trainer; any other rank serves nothing and runs a follower. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/process.h"
#include "common/clients/peer.h"
#include "common/networks/kernels.h"
#include "common/rpc/server.h"
#include "common/service/endpoint.h"
#include "learner/run/follower.h"
#include "learner/run/options.h"
#include "learner/run/publisher.h"
#include "learner/run/ranks.h"
#include "learner/run/trainer.h"
#include "learner/tools/commands.h"

#define LOG_MODULE "learner"
#include "common/base/log.h"

#define TICK_MS 100

struct learner {
    struct experiment experiment;
    struct learner_options options;
    char *config;
    uint64_t config_digest;
    struct process *process;
    struct endpoint *endpoint;
    struct publisher *publisher;
    struct trainer *trainer;
    bool mpi;                  /* started by mpirun or srun, with others */
    bool unreachable;          /* its socket was removed */
    struct exchange *exchange; /* several learners */
    struct follower *follower; /* ranks other than 0, in the trainer's place */
};

/* Reads and checks the configuration. *done: there is nothing more to do (--help, --check). */
static status load(struct learner *learner, int argc, char **argv, bool *done, struct err *err)
{
    const struct config_section sections[] = {experiment_section(&learner->experiment),
                                              learner_options_section(&learner->options)};
    status s = config_load(sections, 2,
                           "hindcast-learner: learns a policy from what the replay servers hold",
                           argc, argv, done, err);
    if (s != STATUS_OK || *done) {
        return s;
    }
    experiment_finish(&learner->experiment);
    ranks_settle(&learner->options, &learner->experiment, &learner->mpi);
    /* Commands open no page. */
    s = commands_asked(&learner->options) ? STATUS_OK : process_check(&learner->experiment, err);
    s = s == STATUS_OK ? learner_options_check(&learner->options, err) : s;
    s = s == STATUS_OK ? peer_check_replay(&learner->experiment, err) : s;
    s = s == STATUS_OK ? kernels_select(learner->options.kernels, err) : s;
    if (s != STATUS_OK) {
        return s;
    }
    *done = learner->experiment.check;
    const struct config_section recorded = learner_options_recorded(&learner->options);
    learner->config_digest = config_digest(&recorded);
    struct text text = {0};
    config_print_text(&text, &recorded, 1);
    /* A resumed run has the same bits only with the same threads and kernels. */
    text_format(&text, "  # %d threads, %s kernels\n", learner_options_threads(&learner->options),
                kernels_name());
    learner->config = text_take(&text, NULL);
    if (learner->config == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "configuration");
    }
    return STATUS_OK;
}

/* Loop thread: is the process no longer needed, or no longer of use? */
static void on_tick(void *arg)
{
    struct learner *learner = arg;
    if (trainer_done(learner->trainer)) {
        process_stop(learner->process, 0);
    }
    /* Evaluators that start from now on would wait for ever. A new process binds the socket
     * again. */
    struct err err = {0};
    if (!learner->unreachable && endpoint_check_sockets(learner->endpoint, &err) != STATUS_OK) {
        learner->unreachable = true;
        log_error("%s", err.text);
        process_stop(learner->process, 1);
    }
}

/* Opens the server with its services: Parameters, and where ranks exchange over gRPC, Exchange. */
static status open_service(struct learner *learner, struct err *err)
{
    const struct experiment *experiment = &learner->experiment;
    const struct learner_options *learning = &learner->options;
    const char *address = learning->listen[0] ? learning->listen : experiment->parameters;
    const bool share = learning->ranks > 1 && !learner->mpi;
    /* An exchange at the address of Parameters is found there, whatever the learner listens on. */
    const bool apart = share && strcmp(learning->exchange, address) != 0 &&
                       strcmp(learning->exchange, experiment->parameters) != 0;
    const char *const addresses[] = {address, learning->exchange};
    const size_t n_addresses = apart ? 2 : 1;
    const struct endpoint_settings settings = {.experiment = experiment,
                                               .options = &learning->endpoint,
                                               .addresses = addresses,
                                               .n_addresses = n_addresses,
                                               .max_message_bytes = PUBLISHER_MESSAGE_MAX_BYTES,
                                               .metrics_prefix = "hindcast_learner_"};
    status s = endpoint_open(&learner->endpoint, &settings, err);
    if (s != STATUS_OK) {
        return s;
    }
    struct rpc_server *server = endpoint_server(learner->endpoint);
    s = publisher_new(&learner->publisher, server, err);
    if (s == STATUS_OK) {
        publisher_set_replay(learner->publisher, &experiment->replay);
    }
    if (s == STATUS_OK && learning->ranks > 1) {
        s = ranks_open(&learner->exchange, learning, experiment, learner->mpi, server, NULL, err);
    }
    return s == STATUS_OK ? endpoint_start(learner->endpoint, err) : s;
}

/* Allows one learner for each run and rank. Taken before any file of the run is touched, and held
 * as long as the process lives. */
static status lock_run(const struct experiment *experiment, int64_t rank, struct err *err)
{
    int fd = -1;
    char path[CONFIG_TEXT_SIZE + 48], suffix[24] = "";
    if (rank > 0) {
        snprintf(suffix, sizeof(suffix), "-%lld", (long long)rank);
    }
    snprintf(path, sizeof(path), "%s/learner%s.lock", experiment->run_dir, suffix);
    status s = file_make_folders(experiment->run_dir, err);
    if (s == STATUS_OK) {
        s = file_lock(path, &fd, err);
    }
    return s == STATUS_EXISTS ? err_set(err, s, "another learner runs in %s", experiment->run_dir)
                              : s;
}

/* A rank other than 0: opens, runs to the end, closes. */
static status run_follower(struct learner *learner, struct err *err)
{
    const struct follower_parts parts = {.process = learner->process,
                                         .experiment = &learner->experiment,
                                         .options = &learner->options};
    status s = follower_new(&learner->follower, &parts, err);
    if (s == STATUS_OK) {
        s = ranks_open(&learner->exchange, &learner->options, &learner->experiment, learner->mpi,
                       NULL, learner->follower, err);
    }
    if (s == STATUS_OK) {
        s = follower_start(learner->follower, learner->exchange, err);
    }
    if (s == STATUS_OK) {
        process_run(learner->process);
    }
    follower_close(learner->follower);
    return s;
}

/* A learner on its own, or rank 0 of several: opens, runs to the end, closes. */
static status run_trainer(struct learner *learner, struct err *err)
{
    status s = open_service(learner, err);
    if (s == STATUS_OK) {
        const struct trainer_parts parts = {.process = learner->process,
                                            .experiment = &learner->experiment,
                                            .options = &learner->options,
                                            .config = learner->config,
                                            .config_digest = learner->config_digest,
                                            .publisher = learner->publisher,
                                            .exchange = learner->exchange};
        s = trainer_open(&learner->trainer, &parts, err);
    }
    if (s == STATUS_OK) {
        process_every(learner->process, TICK_MS, on_tick, learner);
        /* Until a signal, or until on_tick ends it. Then clients are told before calls end. */
        process_run(learner->process);
        endpoint_stop_serving(learner->endpoint);
        trainer_close(learner->trainer);
    }
    endpoint_close(learner->endpoint);
    publisher_free(learner->publisher);
    return s;
}

static status run(struct learner *learner, struct err *err)
{
    rpc_init();
    const status s =
        learner->options.rank == 0 ? run_trainer(learner, err) : run_follower(learner, err);
    exchange_close(learner->exchange);
    rpc_fini();
    return s;
}

int main(int argc, char **argv)
{
    static struct learner learner;
    struct err err = {0};
    bool done = false;
    int code = 2;
    status s = load(&learner, argc, argv, &done, &err);
    if (s == STATUS_OK && done) {
        code = 0;
        goto free_config;
    }
    if (s == STATUS_OK && commands_asked(&learner.options)) {
        code = commands_run(&learner.experiment, &learner.options);
        goto free_config;
    }
    if (s == STATUS_OK) {
        s = lock_run(&learner.experiment, learner.options.rank, &err);
    }
    if (s == STATUS_OK) {
        /* Rank 0 is the learner; the others are learner-1, learner-2, .. */
        const int rank = (int)learner.options.rank;
        s = process_open(&learner.process, "learner", rank, rank + 1, &learner.experiment, &err);
    }
    if (s != STATUS_OK) {
        fprintf(stderr, "hindcast-learner: %s\n", err.text);
        goto free_config;
    }
    log_info("configuration digest=%016llx", (unsigned long long)learner.config_digest);
    const struct config_section shown = learner_options_section(&learner.options);
    config_print(stderr, &shown, 1);
    fprintf(stderr, "  # %d threads, %s kernels\n", learner_options_threads(&learner.options),
            kernels_name());
    /* The run itself. */
    s = run(&learner, &err);
    if (s != STATUS_OK) {
        log_error("%s", err.text);
        process_stop(learner.process, status_exit_code(s));
    }
    code = process_close(learner.process);
free_config:
    /* Over MPI an exit code alone would leave the other ranks waiting. */
    if (learner.mpi) {
        exchange_mpi_finish(code != 0);
    }
    mem_free(learner.config);
    return code;
}
