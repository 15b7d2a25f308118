/* One thread: take a snapshot, measure it, write a line, and again until the run has ended.
 *
 * It waits for three things: a newer snapshot, the run's end, and a learner that is away; all waits
 * are bounded (TAKE_MS) so that it notices when the process stops. What is known of the run, and
 * what of it is on disk, is in standing.c; what is measured in the end in report.c. */
#include "evaluator/follow.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "evaluator/report.h"
#include "evaluator/standing.h"
#include "evaluator/video.h"

#define LOG_MODULE "follow"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"

/* The longest wait for a snapshot, after which the thread looks whether the process stops. */
#define TAKE_MS 500
/* How long the learner may take to answer the request to end the run. */
#define FINISH_MS 5000
/* An absence is shown on the status line after this many seconds. */
#define ABSENT_SHOWN_S 5
#define ABSENT_LOG_NS  (60 * NS_PER_S) /* an absence that goes on is logged this often */
#define RESUME_MS      5000 /* how long to look for a learner that continues an ended run */

/* The thread, what it follows, and what it holds open as long as the process runs. */
struct follow {
    struct process *process;
    const struct experiment *experiment;
    const struct evaluator_options *options;
    pthread_t thread;
    char who[32]; /* "evaluator-0" */
    struct run_files files;
    struct standing standing;
    struct parameters_client *client;
    struct environment_pool *pool;
    uint64_t next_film_ns, n_films;
    uint64_t absence_logged_ns;                /* when the learner was last logged as absent */
    const struct parameters_snapshot *pending; /* taken, not yet handled; NULL: none */
};

/* Asked by every measuring thread before each step, so it may only read. */
static bool follow_stopping(void *arg)
{
    const struct follow *follow = arg;
    return process_stopping(follow->process);
}

/* A robot is away, stopped or in use. */
static void follow_waiting(void *arg, const char *reason)
{
    const struct follow *follow = arg;
    process_report(follow->process, -1, "waiting: %s", reason);
}

/* ---- Films ---- */

/* Films an episode of the policy where it is time for that. A film that cannot be made costs nothing but
 * the film. */
static void make_film(struct follow *follow, const struct policy *policy)
{
    const struct evaluator_options *options = follow->options;
    const uint64_t now_ns = clock_now_ns();
    if (options->films_s == 0.0 || options->index != 0 || now_ns < follow->next_film_ns) {
        return;
    }
    struct err err;
    const struct video_settings settings = {.seed = (uint64_t)follow->experiment->seed,
                                            .index = (uint64_t)options->index,
                                            .sample = strcmp(options->act, "sample") == 0,
                                            .stopping = follow_stopping,
                                            .arg = follow};
    status s = video_make_one(policy, follow->pool->environments[0], follow->files.films,
                              follow->n_films++, &settings, &err);
    follow->next_film_ns = now_ns + (uint64_t)(options->films_s * (double)NS_PER_S);
    if (s != STATUS_OK && s != STATUS_CLOSED) {
        log_warn("no film: %s", err.text);
        /* What this program or machine lacks will not come. */
        if (s == STATUS_UNIMPLEMENTED || s == STATUS_UNAVAILABLE || s == STATUS_INVALID) {
            follow->next_film_ns = UINT64_MAX;
        }
    }
}

/* ---- One evaluation ---- */

/* Measures the policy of one snapshot and keeps the result. CORRUPT: it cannot be parsed, or its
 * episodes failed. */
static status evaluate(struct follow *follow, const struct parameters_snapshot *snapshot,
                       struct err *err)
{
    const struct evaluator_options *options = follow->options;
    /* The window's stream: every evaluation of a run uses the same starts, so that two returns
     * differ by the policy and not by luck. */
    struct measurement_settings settings = {
        .seed = (uint64_t)follow->experiment->seed,
        .stream = MEASUREMENT_WINDOW,
        .index = (uint64_t)options->index,
        .episodes = (uint32_t)options->window_episodes,
        .sample = strcmp(options->act, "sample") == 0,
        .stopping = follow_stopping,
        .waiting = follow_waiting,
        .arg = follow,
    };
    struct policy *policy;
    struct measurement *measurement;
    /* The time of the snapshot, not of the measurement: the curve's x axis is learning time. */
    double at_s = standing_wall_s(&follow->standing); /* when the snapshot was taken */
    status s = policy_parse(&policy, snapshot->package, snapshot->package_size, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "version %" PRIu64, snapshot->version);
    }
    policy_limit_candidates(policy, (int)options->candidates);
    /* Until the measurement ends the thread does not look at newer snapshots. */
    s = measurement_take(&measurement, policy, follow->pool, &settings, err);
    /* What the measurement found goes to disk before the status line tells of it. */
    if (s == STATUS_OK) {
        s = standing_keep(&follow->standing, snapshot, measurement, at_s, err);
        if (s == STATUS_OK) {
            process_report(follow->process, -1,
                           "evaluation %u  learner step %" PRIu64 "  return %.1f  best %.1f",
                           follow->standing.rule.n, snapshot->learner_step,
                           measurement_mean(measurement), follow->standing.best);
        }
        measurement_free(measurement);
        make_film(follow, policy);
    }
    policy_free(policy);
    return s;
}

/* ---- The run's end ---- */

/* Ends the run, as the stop rule asks. Where the learner cannot be reached, the next call tries
 * again. */
static void ask_to_finish(struct follow *follow)
{
    /* The learner keeps the reason that comes with the request and reports why the run ended. */
    char reason[128];
    struct err err;
    snprintf(reason, sizeof reason, "no improvement in %u evaluations (best mean return %.3f)",
             follow->standing.rule.without, follow->standing.best);
    status s = parameters_client_finish(follow->client, follow->standing.seen, reason, follow->who,
                                        FINISH_MS, &err);
    if (s == STATUS_OK) {
        log_info("the run ends: %s", reason);
        follow->standing.stop_wanted = false;
    } else if (!process_stopping(follow->process)) {
        log_warn("cannot end the run yet: %s", err.text);
    }
}

/* Measures and writes the final report. */
static status report_end(struct follow *follow, struct err *err)
{
    struct report_settings settings = {.experiment = follow->experiment,
                                       .options = follow->options,
                                       .pool = follow->pool,
                                       .stopping = follow_stopping,
                                       .arg = follow};
    cJSON *report;
    /* Best and last policy, and their priors, from starts that no choice was based on. */
    process_report(follow->process, -1, "the run has ended; measuring the best policy");
    status s = report_run(&report, &follow->files, &settings, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* The file is complete by now; these lines only repeat its main numbers. */
    process_report(
        follow->process, 1, "done: return %.1f (last policy %.1f)",
        measurement_number(report, "return_mean"),
        measurement_number(cJSON_GetObjectItemCaseSensitive(report, "last"), "return_mean"));
    log_info("reported return_mean=%.3f last=%.3f file=%s",
             measurement_number(report, "return_mean"),
             measurement_number(cJSON_GetObjectItemCaseSensitive(report, "last"), "return_mean"),
             follow->files.report);
    cJSON_Delete(report);
    return STATUS_OK;
}

/* ---- The thread ---- */

/* Evaluates a snapshot, unless it is known already. *ended: it was the run's last. */
static status handle_snapshot(struct follow *follow, const struct parameters_snapshot *snapshot,
                              bool *ended, struct err *err)
{
    status s = STATUS_OK;
    /* Another run than before: its evaluations are counted from zero. */
    if (strcmp(follow->standing.run_id, snapshot->run_id) != 0) {
        standing_begin(&follow->standing, snapshot->run_id);
    }
    if (snapshot->finished && (double)snapshot->learner_step == follow->standing.seen_step) {
        /* The run ended with the step of the version before: one policy under two versions. */
        follow->standing.seen = snapshot->version;
    } else if (snapshot->version > follow->standing.seen) {
        s = evaluate(follow, snapshot, err);
    }
    /* One unusable version does not end a run that goes on. */
    if (s == STATUS_CORRUPT && !snapshot->finished) {
        log_error("this version is skipped: %s", err->text);
        follow->standing.seen = snapshot->version;
        s = STATUS_OK;
    }
    if (s == STATUS_OK && snapshot->finished) {
        s = standing_keep_last(&follow->standing, snapshot, err);
        *ended = true;
    }
    return s;
}

/* The next snapshot; TIMEOUT: none yet. Before `not_before_ns`, only the run's end and another run
 * are delivered: any version in between is replaced by a newer one anyway. */
static status next_snapshot(struct follow *follow, uint64_t not_before_ns,
                            const struct parameters_snapshot **snapshot)
{
    /* Taken while looking whether an ended run continues. */
    if (follow->pending != NULL) {
        *snapshot = follow->pending;
        follow->pending = NULL;
        return STATUS_OK;
    }
    /* Too early for an evaluation. A version that no run has makes the client wait for the end of
     * the run or for another run. */
    uint64_t now_ns = clock_now_ns();
    if (now_ns >= not_before_ns) {
        return parameters_client_take(follow->client, follow->standing.seen, TAKE_MS, snapshot);
    }
    uint64_t wait_ms = (not_before_ns - now_ns) / NS_PER_MS + 1;
    return parameters_client_take(follow->client, UINT64_MAX, wait_ms < TAKE_MS ? wait_ms : TAKE_MS,
                                  snapshot);
}

/* No snapshot came: is the learner connected? UNAVAILABLE: it has been away for too long. */
static status check_learner(struct follow *follow, uint64_t *absent_since_ns, struct err *err)
{
    /* A connection that is back ends the absence; a new one starts counting from zero. */
    const uint64_t now_ns = clock_now_ns();
    if (parameters_client_connected(follow->client)) {
        *absent_since_ns = 0;
        return STATUS_OK;
    }
    if (*absent_since_ns == 0) {
        *absent_since_ns = now_ns;
    }
    const double absent_s = (double)(now_ns - *absent_since_ns) * 1e-9;
    const double most_s = follow->options->learner_timeout_s;
    /* The option bounds the wait for a learner that never comes back. */
    if (most_s > 0 && absent_s > most_s) {
        return err_set(err, STATUS_UNAVAILABLE,
                       "no learner at %s for %.0f s (evaluator.learner_timeout_s)",
                       follow->experiment->parameters, absent_s);
    }
    /* A restart of the learner takes a few seconds and is not reported. */
    if (absent_s >= ABSENT_SHOWN_S) {
        const uint64_t logged_ns = follow->absence_logged_ns;
        if (logged_ns < *absent_since_ns || now_ns - logged_ns > ABSENT_LOG_NS) {
            follow->absence_logged_ns = now_ns;
            log_warn("waiting for the learner: it is not reachable address=%s seconds=%.0f",
                     follow->experiment->parameters, absent_s);
        }
        process_report(follow->process, -1, "no learner at %s for %.0f s%s",
                       follow->experiment->parameters, absent_s,
                       follow->standing.seen > 0 ? "; its run may have ended unnoticed" : "");
    }
    return STATUS_OK;
}

/* Handles snapshots until the run has ended. CLOSED: the process stops before. */
static status follow_run(struct follow *follow, struct err *err)
{
    bool ended = false;
    uint64_t absent_since_ns = 0; /* 0: the learner was connected at the last look */
    uint64_t not_before_ns = 0;   /* of the next evaluation */
    while (!ended) {
        const struct parameters_snapshot *snapshot;
        if (process_stopping(follow->process)) {
            return STATUS_CLOSED;
        }
        if (follow->standing.stop_wanted) {
            ask_to_finish(follow);
        }
        /* Each wait is short, so that the two checks above are made again soon. */
        status s = next_snapshot(follow, not_before_ns, &snapshot);
        if (s == STATUS_TIMEOUT) {
            s = check_learner(follow, &absent_since_ns, err);
            if (s == STATUS_OK) {
                continue;
            }
        }
        if (s != STATUS_OK) {
            return s;
        }
        absent_since_ns = 0;
        /* Counted from the start of an evaluation, so that a long one is followed at once. */
        not_before_ns = clock_now_ns() + (uint64_t)(follow->options->min_interval_s * 1e9);
        s = handle_snapshot(follow, snapshot, &ended, err);
        parameters_snapshot_release(snapshot);
        if (s != STATUS_OK) {
            return s;
        }
    }
    return STATUS_OK;
}

/* Had the run in this folder ended before this start, and does no learner continue it? A learner
 * may be gone for good, so it is looked for during RESUME_MS only. */
static bool ended_before(struct follow *follow)
{
    /* The last policy is written when a run ends and removed when one begins, so it tells which of
     * the two happened last. */
    struct policy_notes last;
    struct err err;
    if (policy_file_load(follow->files.policy_last, NULL, &last, &err) != STATUS_OK) {
        return false;
    }
    /* A learner that answers decides: has it ended with the very version that is on disk? */
    uint64_t until_ns = clock_now_ns() + RESUME_MS * NS_PER_MS;
    while (clock_now_ns() < until_ns && !process_stopping(follow->process)) {
        if (parameters_client_take(follow->client, 0, TAKE_MS, &follow->pending) == STATUS_OK) {
            return follow->pending->finished && follow->pending->version == last.version &&
                   strcmp(follow->pending->run_id, last.run_id) == 0;
        }
    }
    /* No learner answered. The run has ended as far as anybody can tell. */
    return true;
}

/* All that the thread does, from the first snapshot to the report. */
static status work(struct follow *follow, struct err *err)
{
    if (ended_before(follow)) {
        log_info("the run had ended before this start");
    } else {
        /* This file marks an ended run; the run goes on. */
        unlink(follow->files.policy_last);
        status s = follow_run(follow, err);
        if (s != STATUS_OK) {
            return s;
        }
    }
    return report_end(follow, err);
}

static void *follow_main(void *arg)
{
    /* CLOSED is an ordered stop and not an error: the next start continues where this one was. */
    struct follow *follow = arg;
    struct err err = {0};
    status s = work(follow, &err);
    if (s != STATUS_OK && s != STATUS_CLOSED) {
        log_error("the evaluator stops: %s", err.text);
    }
    process_stop(follow->process, s == STATUS_CLOSED ? 0 : status_exit_code(s));
    return NULL;
}

status follow_start(struct follow **follow, struct process *process,
                    const struct experiment *experiment, const struct evaluator_options *options,
                    struct err *err)
{
    struct follow *made = mem_new(sizeof *made);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "follow: out of memory");
    }
    /* In the order in which they are needed; on failure closed in reverse. */
    made->process = process;
    made->experiment = experiment;
    made->options = options;
    snprintf(made->who, sizeof made->who, "evaluator-%" PRId64, options->index);
    run_files_init(&made->files, experiment->run_dir, (int)options->index);
    status s = standing_open(&made->standing, &made->files, options, err);
    s = s != STATUS_OK ? s
                       : environment_pool_open(&made->pool, experiment->environment,
                                               (uint32_t)options->threads,
                                               (uint32_t)options->environments, err);
    s = s != STATUS_OK ? s : parameters_client_open(&made->client, experiment, err);
    if (s == STATUS_OK) {
        int number = pthread_create(&made->thread, NULL, follow_main, made);
        s = number == 0 ? STATUS_OK : err_errno(err, number, "start the evaluating thread");
    }
    if (s != STATUS_OK) {
        if (made->client != NULL) {
            parameters_client_close(made->client);
        }
        environment_pool_close(made->pool);
        standing_close(&made->standing);
        mem_free(made);
        return s;
    }
    *follow = made;
    return STATUS_OK;
}

void follow_join(struct follow *follow)
{
    if (follow != NULL) {
        /* After the thread has ended nobody else takes snapshots, and the rest may be closed.
         * `standing` stays open, since the admin page prints its history until the process is
         * closed. */
        pthread_join(follow->thread, NULL);
        if (follow->pending != NULL) {
            parameters_snapshot_release(follow->pending);
        }
        parameters_client_close(follow->client);
        environment_pool_close(follow->pool);
    }
}

void follow_free(struct follow *follow)
{
    if (follow != NULL) {
        standing_close(&follow->standing);
        mem_free(follow);
    }
}

char *follow_page(void *follow)
{
    return history_page(((struct follow *)follow)->standing.history);
}
