/* The training thread of rank 0, or of a learner on its own. See trainer.h.
 *
 * Its loop is training_loop's. What comes before finds something to learn and something to learn
 * from; the hooks publish, write checkpoints and report; what comes after leaves the run so that it
 * can go on, or ends it for good. */
#include "learner/run/trainer.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "learner/run/reporter.h"
#include "learner/run/training_loop.h"
#include "learner/run/validation.h"

#define LOG_MODULE "trainer"
#include "common/base/log.h"

#define LAST_CHECKPOINT_MS 30000
#define DELIVERY_MIN_MS    500 /* after the end, for messages that are still being sent */

struct trainer {
    struct trainer_parts parts;
    pthread_t thread;
    atomic_bool stopping;
    atomic_bool finished;         /* the last version is published */
    _Atomic uint64_t finished_ns; /* when */
    atomic_bool found_finished;   /* the run was over when this process started */

    /* The training thread alone. */
    struct run run;
    /* Of the table; a resumed run has it from its checkpoint. */
    struct signature signature;
    struct training_loop loop;
    struct reporter *reporter;
    struct validation *validation; /* NULL: no episodes are held out */
    struct status_reporter status;
    uint64_t begin_ns; /* of learning, in this process; 0: not yet */
    /* Of earlier starts. */
    double seconds_before;
};

/* ---- Hooks ---- */

/* Has anyone asked to stop, or to end the run? */
static bool leaving(void *arg)
{
    struct trainer *trainer = arg;
    return atomic_load(&trainer->stopping) || publisher_ending(trainer->parts.publisher, NULL);
}

/* The run's seconds of learning: those of earlier starts, and those since begin_ns. */
static void count_time(struct trainer *trainer)
{
    trainer->run.about.learning_seconds =
        trainer->seconds_before + (double)(clock_now_ns() - trainer->begin_ns) / 1e9;
}

/* Ends the run where its own limits say so. */
static void check_limits(struct trainer *trainer)
{
    const struct learner_options *options = trainer->parts.options;
    char reason[PUBLISHER_TEXT_SIZE];
    /* Where somebody has asked for the end before, publisher_end keeps that reason. */
    if (options->steps > 0 && state_step(trainer->run.state) >= (uint64_t)options->steps) {
        snprintf(reason, sizeof(reason), "%" PRId64 " steps done", options->steps);
        publisher_end(trainer->parts.publisher, reason, CHECKPOINT_BY_LIMITS);
    } else if (options->max_seconds > 0 &&
               trainer->run.about.learning_seconds >= options->max_seconds) {
        snprintf(reason, sizeof(reason), "%g seconds of learning are over", options->max_seconds);
        publisher_end(trainer->parts.publisher, reason, CHECKPOINT_BY_LIMITS);
    }
}

/* Rank 0 brings its state and its place in the run. */
static status form(void *arg, uint64_t timeout_ms, struct err *err)
{
    struct trainer *trainer = arg;
    const struct run *run = &trainer->run;
    /* All that the other ranks need to become equal to this one. */
    struct exchange_start start = {.next_batch = run->about.next_batch,
                                   .learning_seconds = run->about.learning_seconds,
                                   .signature = run->about.signature,
                                   .state = run->state};
    snprintf(start.run_id, sizeof(start.run_id), "%s", run->about.run_id);
    return exchange_form(trainer->parts.exchange, &start, timeout_ms, err);
}

/* Limits in seconds hold while the run waits, too; and a wait for batches is time of the run. */
static void waited(void *arg, bool for_batch)
{
    struct trainer *trainer = arg;
    if (trainer->begin_ns == 0) {
        return; /* there is no run yet, or it has not begun to learn */
    }
    /* No step will account for this time, so it is handed over now. */
    if (for_batch) {
        reporter_spent(trainer->reporter, &trainer->loop.phases);
        memset(trainer->loop.phases.ns, 0, sizeof(trainer->loop.phases.ns));
    }
    count_time(trainer);
    check_limits(trainer);
}

/* Writes a checkpoint of what is learned so far, if the disk permits. */
static void keep(void *arg)
{
    struct trainer *trainer = arg;
    struct err err = {0};
    if (trainer->run.state != NULL &&
        run_checkpoint(&trainer->run, LAST_CHECKPOINT_MS, &err) != STATUS_OK) {
        log_error("checkpoint: %s", err.text);
    }
}

/* Another rank was asked to stop, and none steps without it: as if this one had been asked. */
static void closed(void *arg, const char *why)
{
    struct trainer *trainer = arg;
    log_info("all ranks stop: %s", why);
    atomic_store(&trainer->stopping, true);
    process_stop(trainer->parts.process, 0);
}

/* Judges the state on both sides, where episodes are held out. */
static status validate(struct trainer *trainer, struct err *err)
{
    struct stepper *stepper = trainer->loop.stepper;
    const struct learner_options *options = trainer->parts.options;
    if (trainer->validation == NULL || stepper == NULL) {
        return STATUS_OK;
    }
    int64_t begin, count;
    learner_options_slice(options, options->rank, &begin, &count);
    const status s = validation_judge(trainer->validation, stepper_update(stepper), (int)count,
                                      trainer->run.state, err);
    /* The version is that of the publication that follows. */
    if (s == STATUS_OK) {
        reporter_validation(trainer->reporter, trainer->validation,
                            trainer->run.about.learning_seconds,
                            trainer->run.about.version + !trainer->run.about.finished);
        status_reporter_validated(&trainer->status,
                                  validation_report(trainer->validation, VALIDATION_TRAIN),
                                  validation_report(trainer->validation, VALIDATION_HOLDOUT));
    }
    return s;
}

/* What is due after a step: a version, a checkpoint, a report. */
static status stepped(void *arg, struct err *err)
{
    struct trainer *trainer = arg;
    const struct learner_options *options = trainer->parts.options;
    struct run *run = &trainer->run;
    struct phases *phases = &trainer->loop.phases;
    const struct stepper *stepper = trainer->loop.stepper;
    /* A new version. */
    count_time(trainer);
    if (state_step(run->state) % (uint64_t)options->publish_every == 0) {
        status s = validate(trainer, err);
        phases_lap(phases, PHASE_REPORT);
        s = s != STATUS_OK ? s : run_publish(run, false, err);
        if (s != STATUS_OK) {
            return s;
        }
        phases_lap(phases, PHASE_PUBLISH);
    }
    /* A copy for the checkpointer, which writes it beside the next steps. */
    run_checkpoint_if_due(run, clock_now_ns());
    phases_lap(phases, PHASE_CHECKPOINT);
    /* Metrics and status line; the time of this report counts to the next step. */
    reporter_step(trainer->reporter, state_step(run->state), phases);
    memset(phases->ns, 0, sizeof(phases->ns));
    const struct report *report = stepper_report(stepper);
    status_reporter_learning(&trainer->status, report, stepper_shown(stepper),
                             reporter_rates(trainer->reporter));
    if (stepper_report_due(stepper)) {
        reporter_line(trainer->reporter, report, run->about.learning_seconds, run->about.version);
    }
    phases_lap(phases, PHASE_REPORT);
    check_limits(trainer);
    return STATUS_OK;
}

static const struct training_hooks HOOKS = {.leaving = leaving,
                                            .form = form,
                                            .waited = waited,
                                            .keep = keep,
                                            .closed = closed,
                                            .stepped = stepped};

/* ---- Before the first step ---- */

/* A new run, after its rewards were measured, and its observations where they are to be
 * normalized. */
static status begin(struct trainer *trainer, struct err *err)
{
    /* The settings say whether observations are normalized. */
    struct settings settings;
    status s = learner_options_settings(trainer->parts.options, &trainer->signature,
                                        (uint64_t)trainer->parts.experiment->seed, &settings, err);
    const bool normalize = s == STATUS_OK && settings.normalize == NORMALIZE_STANDARD;
    /* Measuring reads the first batches; the steps read the same ones again, if the table is
     * sealed. From one that still grows nothing is drawn without need: draws count there. */
    struct normalizer_sums sums = {0};
    struct reward_sums rewards = {0};
    struct observed *observed = &trainer->run.observed;
    const struct training_measures measures = {normalize ? &sums : NULL, observed, &rewards};
    if (s == STATUS_OK && observed_init(observed, (size_t)settings.O) != STATUS_OK) {
        s = err_set(err, STATUS_NO_MEMORY, "ranges of observations");
    }
    if (normalize && normalizer_sums_init(&sums, (size_t)settings.O) != STATUS_OK) {
        s = err_set(err, STATUS_NO_MEMORY, "normalizer");
    }
    if (s == STATUS_OK && (normalize || trainer->parts.options->require_sealed)) {
        s = training_loop_measure(&trainer->loop, &trainer->signature, &measures, err);
    }
    if (s == STATUS_OK) {
        reward_sums_log(&rewards, &trainer->signature, &settings);
        s = run_begin(&trainer->run, &trainer->signature, measures.observations, err);
    }
    normalizer_sums_fini(&sums);
    return s;
}

/* The run: resumed, or new for the table's signature; and batches for it. */
static status prepare(struct trainer *trainer, struct err *err)
{
    /* A resumed run publishes at once: evaluators need not wait for the replay server. */
    status s = run_resume(&trainer->run, err);
    /* Without a checkpoint the run is new; every other failure is final. */
    const bool resumed = s == STATUS_OK;
    if (!resumed && s != STATUS_NOT_FOUND) {
        return s;
    }
    if (resumed) {
        trainer->signature = trainer->run.about.signature;
        /* A run that is over needs no batches. */
        if (trainer->run.about.finished) {
            return STATUS_OK;
        }
        s = run_publish(&trainer->run, false, err);
        if (s != STATUS_OK) {
            return s;
        }
    }
    /* A new run takes the signature from the table, a resumed one requires that it is the same. */
    s = training_loop_open_sampler(&trainer->loop, &trainer->signature, err);
    if (s != STATUS_OK || resumed) {
        return s;
    }
    s = begin(trainer, err);
    return s == STATUS_OK ? run_publish(&trainer->run, false, err) : s;
}

/* A validation_draw's: shows what is waited for. */
static void tell_waiting(void *arg, const char *what)
{
    struct trainer *trainer = arg;
    status_reporter_waiting(&trainer->status, what);
}

/* The samples of both sides, where episodes are held out from a table that does not change. */
static status open_validation(struct trainer *trainer, struct err *err)
{
    const struct learner_options *options = trainer->parts.options;
    const struct validation_draw draw = {.experiment = trainer->parts.experiment,
                                         .options = options,
                                         .settings = &trainer->run.settings,
                                         .signature = &trainer->signature,
                                         .table = options->table,
                                         .leaving = leaving,
                                         .waiting = tell_waiting,
                                         .arg = trainer};
    if (options->validation_snippets == 0 || !options->require_sealed) {
        return STATUS_OK;
    }
    struct err why = {0};
    const status s = validation_new(&trainer->validation, &draw, trainer->run.state, &why);
    if (s == STATUS_NOT_FOUND) {
        log_info("no held-out episodes: %s", why.text);
        return STATUS_OK;
    }
    if (s != STATUS_OK) {
        return err_set(err, s, "held-out episodes: %s", why.text);
    }
    log_info("versions are judged on held-out episodes episodes=%" PRIu64 " of=%" PRIu64,
             validation_table(trainer->validation, VALIDATION_HOLDOUT).episodes,
             validation_table(trainer->validation, VALIDATION_HOLDOUT).episodes +
                 validation_table(trainer->validation, VALIDATION_TRAIN).episodes);
    return STATUS_OK;
}

/* Takes steps until leaving, and accounts for the time. */
static status learn(struct trainer *trainer, struct err *err)
{
    status s = reporter_open(&trainer->reporter, trainer->parts.experiment->run_dir,
                             state_step(trainer->run.state), err);
    s = s != STATUS_OK ? s : open_validation(trainer, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* The clock of the run starts. A resumed run may have reached a limit already. */
    trainer->begin_ns = clock_now_ns();
    trainer->seconds_before = trainer->run.about.learning_seconds;
    check_limits(trainer);
    return training_loop_run(&trainer->loop, err);
}

/* ---- Leaving ---- */

/* The run is over for good, now or since an earlier start: serves the last version. */
static status finish(struct trainer *trainer, struct err *err)
{
    /* The end is durable before anyone hears of it: a crash must not revive the run. */
    struct run *run = &trainer->run;
    status kept = STATUS_OK;
    if (run->about.finished) {
        atomic_store(&trainer->found_finished, true);
        publisher_end(trainer->parts.publisher, run->about.finish_reason, "an earlier start");
    } else {
        struct publisher_end end = {0};
        (void)publisher_ending(trainer->parts.publisher, &end);
        status_reporter_say(&trainer->status, "ending: %s", end.reason);
        kept = run_end(run, &end, LAST_CHECKPOINT_MS, err);
        /* The last version is judged like the others. */
        struct err why = {0};
        if (state_step(run->state) % (uint64_t)trainer->parts.options->publish_every != 0 &&
            validate(trainer, &why) != STATUS_OK) {
            log_warn("the last version is not judged: %s", why.text);
        }
    }
    /* The last version is published even where the checkpoint could not be written. */
    struct err publish_err = {0};
    status s = run_publish(run, true, &publish_err);
    if (s != STATUS_OK) {
        return err_set(err, s, "%s", publish_err.text);
    }
    static const struct report none;
    status_reporter_finished(&trainer->status, trainer->loop.stepper != NULL
                                                   ? stepper_shown(trainer->loop.stepper)
                                                   : &none);
    log_info("finished step=%" PRIu64 " version=%" PRIu64 " seconds=%.1f: %s",
             state_step(run->state), run->about.version, run->about.learning_seconds,
             run->about.finish_reason);
    /* From here on trainer_done decides when the process may go. */
    atomic_store(&trainer->finished_ns, clock_now_ns());
    atomic_store(&trainer->finished, true);
    return kept;
}

/* Leaves the run as it should be found: `s` is how learning ended. Returns the exit code. */
static int leave(struct trainer *trainer, status s, struct err *err)
{
    struct run *run = &trainer->run;
    bool ending = publisher_ending(trainer->parts.publisher, NULL);
    if (s == STATUS_CLOSED && leaving(trainer)) {
        s = STATUS_OK; /* asked to leave while waiting */
    }
    /* Learning failed: the state is not written, its last checkpoint stands. */
    if (s != STATUS_OK) {
        log_error("%s", err->text);
        status_reporter_say(&trainer->status, "failed: %s", err->text);
        return status_exit_code(s);
    }
    /* Asked to leave before there was a run: there is nothing to write. */
    if (run->state == NULL) {
        log_info("%s before there was anything to learn from", ending ? "ended" : "stopped");
        process_stop(trainer->parts.process, 0);
        return 0;
    }
    /* Either the run is over, or it stops here and goes on later. */
    if (ending || run->about.finished) {
        s = finish(trainer, err);
    } else {
        s = run_checkpoint(run, LAST_CHECKPOINT_MS, err);
        log_info("stopped step=%" PRIu64, state_step(run->state));
    }
    if (s != STATUS_OK) {
        log_error("last checkpoint: %s", err->text);
        return 1;
    }
    return 0;
}

/* The training thread, from beginning to end. */
static void *train(void *arg)
{
    struct trainer *trainer = arg;
    struct err err = {0};
    /* A run that is found finished goes straight to its end. */
    status s = prepare(trainer, &err);
    if (s == STATUS_OK && !trainer->run.about.finished) {
        s = learn(trainer, &err);
    }
    /* The other ranks hear of the end when it is on disk. */
    int code = leave(trainer, s, &err);
    if (trainer->parts.exchange != NULL) {
        const bool finished = trainer->run.about.finished && code == 0;
        exchange_end(trainer->parts.exchange, finished,
                     finished ? trainer->run.about.finish_reason : "rank 0 stops");
    }
    /* The run may linger; the replay server need not hold batches for it. */
    training_loop_close_sampler(&trainer->loop);
    if (code != 0) {
        process_stop(trainer->parts.process, code);
    }
    return NULL;
}

/* ---- What main calls ---- */

status trainer_open(struct trainer **trainer, const struct trainer_parts *parts, struct err *err)
{
    struct trainer *made = mem_new(sizeof(*made));
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "trainer");
    }
    made->parts = *parts;
    run_init(&made->run, parts->experiment, parts->options, parts->config, parts->config_digest,
             parts->publisher);
    made->status = (struct status_reporter){.process = parts->process,
                                            .publisher = parts->publisher,
                                            .options = parts->options,
                                            .run = &made->run};
    made->loop = (struct training_loop){.hooks = &HOOKS,
                                        .hooks_arg = made,
                                        .experiment = parts->experiment,
                                        .options = parts->options,
                                        .exchange = parts->exchange,
                                        .run = &made->run,
                                        .status = &made->status};
    /* Everything is set before the thread starts; from here on it owns the run. */
    int error = pthread_create(&made->thread, NULL, train, made);
    if (error != 0) {
        status s = err_errno(err, error, "training thread");
        mem_free(made);
        return s;
    }
    *trainer = made;
    return STATUS_OK;
}

bool trainer_done(struct trainer *trainer)
{
    if (!atomic_load(&trainer->finished)) {
        return false;
    }
    /* After linger_seconds the process may go, whoever is missing. */
    double seconds = (double)(clock_now_ns() - atomic_load(&trainer->finished_ns)) / 1e9;
    if (seconds >= trainer->parts.options->linger_seconds) {
        return true;
    }
    /* A learner that found its run finished was started for a client that is still to come. And a
     * short run may be over before its clients have started. */
    int64_t expected = trainer->parts.options->followers;
    if (expected == 0 && atomic_load(&trainer->found_finished)) {
        expected = 1;
    }
    /* Have all come that were announced? */
    bool came = publisher_followers(trainer->parts.publisher) >= expected;
    /* The other ranks wait only to be told. Those of a run that was found finished have ended. */
    bool told = trainer->parts.exchange == NULL || atomic_load(&trainer->found_finished) ||
                exchange_told(trainer->parts.exchange);
    return came && told && publisher_delivered(trainer->parts.publisher) &&
           seconds * 1e3 >= DELIVERY_MIN_MS;
}

void trainer_close(struct trainer *trainer)
{
    if (trainer == NULL) {
        return;
    }
    atomic_store(&trainer->stopping, true);
    pthread_join(trainer->thread, NULL);
    /* The thread has ended, so its parts are this thread's now. */
    training_loop_fini(&trainer->loop);
    reporter_close(trainer->reporter);
    validation_free(trainer->validation);
    run_fini(&trainer->run);
    mem_free(trainer);
}
