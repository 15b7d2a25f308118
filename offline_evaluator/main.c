/* hindcast-offline-evaluator: what policies are worth, from logs alone.
 *
 * The main thread waits for signals; a thread of its own evaluates. Exit codes: 0 done or stopped, 2
 * where another start cannot help, 1 for other failures. */
#include <limits.h>
#include <pthread.h>
#include <stdio.h>

#include "common/base/process.h"
#include "common/clients/peer.h"
#include "common/networks/kernels.h"
#include "common/rpc/rpc.h"
#include "offline_evaluator/choice.h"
#include "offline_evaluator/report.h"

#define LOG_MODULE "offline_evaluator"
#include "common/base/log.h"

/* What the thread works on. */
struct work {
    struct process *process;
    const struct experiment *experiment;
    const struct offline_evaluator_options *options;
    struct evaluation evaluation;
};

static bool stopping(void *arg)
{
    return process_stopping(((struct work *)arg)->process);
}

static void on_progress(void *arg, double fraction, const char *text)
{
    process_report(((struct work *)arg)->process, fraction, "%s", text);
}

/* Writes the result. */
static status finish(const struct work *work, struct err *err)
{
    char path[PATH_MAX];
    evaluation_report_path(path, sizeof path, work->experiment, work->options);
    status s = report_write(&work->evaluation, path, err);
    if (s == STATUS_OK && work->options->choose) {
        s = choice_make(&work->evaluation, err);
    }
    return s;
}

static void *run(void *arg)
{
    struct work *work = arg;
    struct err err;
    struct evaluation *evaluation = &work->evaluation;
    evaluation->experiment = work->experiment;
    evaluation->options = work->options;
    evaluation->progress = on_progress;
    evaluation->stopping = stopping;
    evaluation->arg = work;
    status s = evaluation_run(evaluation, &err);
    s = s == STATUS_OK ? finish(work, &err) : s;
    if (s != STATUS_OK && !process_stopping(work->process)) {
        log_error("%s", err.text);
        process_stop(work->process, status_exit_code(s));
    }
    evaluation_fini(evaluation);
    process_stop(work->process, 0);
    return NULL;
}

/* From the open process to its end. */
static int run_process(struct work *work)
{
    struct err err;
    pthread_t thread;
    if (process_open(&work->process, "offline_evaluator", 0, 1, work->experiment, &err) !=
        STATUS_OK) {
        fprintf(stderr, "hindcast-offline-evaluator: %s\n", err.text);
        return 1;
    }
    rpc_init();
    if (pthread_create(&thread, NULL, run, work) == 0) {
        process_run(work->process);
        pthread_join(thread, NULL);
    } else {
        log_error("no thread can be started");
        process_stop(work->process, 1);
    }
    rpc_fini();
    return process_close(work->process);
}

int main(int argc, char **argv)
{
    static struct experiment experiment;
    static struct offline_evaluator_options options;
    static struct work work;
    struct config_section sections[] = {experiment_section(&experiment),
                                        offline_evaluator_section(&options)};
    struct err err;
    bool done = false;
    status s = config_load(sections, 2,
                           "hindcast-offline-evaluator: what policies are worth, from logs alone",
                           argc, argv, &done, &err);
    if (s == STATUS_OK && !done) {
        experiment_finish(&experiment);
        s = process_check(&experiment, &err);
        s = s == STATUS_OK ? offline_evaluator_options_check(&options, &err) : s;
        s = s == STATUS_OK ? peer_check_replay(&experiment, &err) : s;
        s = s == STATUS_OK ? kernels_select(options.kernels, &err) : s;
    }
    if (s != STATUS_OK) {
        fprintf(stderr, "hindcast-offline-evaluator: %s\n", err.text);
        return 2;
    }
    if (done || experiment.check) {
        return 0;
    }
    config_print(stderr, sections, 2);
    work.experiment = &experiment;
    work.options = &options;
    return run_process(&work);
}
