/* The training thread. See trainer.h. The loop is learn(); what comes before finds something to
 * learn and something to learn from; what comes after leaves the run so that it can go on, or ends
 * it for good. */
#include "learner/run/trainer.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "learner/run/announcer.h"
#include "learner/run/reporter.h"
#include "learner/run/run.h"
#include "learner/run/sampling.h"
#include "learner/run/stepper.h"

#define LOG_MODULE "trainer"
#include "common/base/log.h"

#define OPEN_TIMEOUT_MS    1000
#define BATCH_TIMEOUT_MS   250
#define MEET_TIMEOUT_MS    250
#define LAST_CHECKPOINT_MS 30000
#define DELIVERY_MIN_MS    500 /* for what is on its way when the end is delivered */

struct trainer {
    struct trainer_parts parts;
    pthread_t thread;
    atomic_bool stopping;
    atomic_bool finished;         /* the last version is published */
    _Atomic uint64_t finished_ns; /* when */
    atomic_bool found_finished;   /* it was over when this process started */

    /* The training thread alone. */
    struct run run;
    struct signature signature;
    struct replay_sampler *sampler;
    struct stepper *stepper;
    struct reporter *reporter;
    struct announcer announcer;
    struct phases phases; /* of the training thread since they were last told to the reporter */
    uint64_t begin_ns;    /* of learning, in this process; 0: not yet */
    double seconds_before;
};

/* ---- Finding something to learn from ---- */

/* Has somebody asked to stop, or to end the run? */
static bool leaving(void *arg)
{
    struct trainer *trainer = arg;
    return atomic_load(&trainer->stopping) || publisher_ending(trainer->parts.publisher, NULL);
}

/* Waits for server and table, for ever. CLOSED when leaving. */
static status open_sampler(struct trainer *trainer, struct err *err)
{
    const struct replay_sampler_options wanted = sampling_options(
        trainer->parts.options, trainer->parts.experiment->seed, trainer->run.about.next_batch);
    announcer_waiting(&trainer->announcer, "for the replay server");
    while (!leaving(trainer)) {
        status s =
            replay_sampler_open(&trainer->sampler, trainer->parts.experiment, &trainer->signature,
                                &wanted, OPEN_TIMEOUT_MS, leaving, trainer, err);
        if (!sampling_not_yet(s)) {
            return s;
        }
        announcer_waiting(&trainer->announcer, err->text);
        clock_sleep_ms(100);
    }
    return err_set(err, STATUS_CLOSED, "asked to stop while waiting for the replay server");
}

/* The run: resumed, or new for the table's signature; and batches for it. */
static status prepare(struct trainer *trainer, struct err *err)
{
    status s = run_resume(&trainer->run, err);
    bool resumed = s == STATUS_OK;
    if (!resumed && s != STATUS_NOT_FOUND) {
        return s;
    }
    if (resumed) {
        trainer->signature = trainer->run.about.signature;
        if (trainer->run.about.finished) {
            return STATUS_OK;
        }
        s = run_publish(&trainer->run, false, err);
        if (s != STATUS_OK) {
            return s;
        }
    }
    s = open_sampler(trainer, err);
    if (s != STATUS_OK || resumed) {
        return s;
    }
    s = run_begin(&trainer->run, &trainer->signature, err);
    return s == STATUS_OK ? run_publish(&trainer->run, false, err) : s;
}

/* The machinery of a step, and what tells of it. */
static status prepare_steps(struct trainer *trainer, struct err *err)
{
    status s = reporter_open(&trainer->reporter, trainer->parts.experiment->run_dir,
                             state_step(trainer->run.state), err);
    return s == STATUS_OK
               ? stepper_new(&trainer->stepper, &trainer->run, trainer->parts.options, err)
               : s;
}

/* ---- Learning ---- */

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
    if (options->steps > 0 && state_step(trainer->run.state) >= (uint64_t)options->steps) {
        snprintf(reason, sizeof(reason), "%" PRId64 " steps done", options->steps);
        publisher_end(trainer->parts.publisher, reason, CHECKPOINT_BY_LIMITS);
    } else if (options->max_seconds > 0 &&
               trainer->run.about.learning_seconds >= options->max_seconds) {
        snprintf(reason, sizeof(reason), "%g seconds of learning are over", options->max_seconds);
        publisher_end(trainer->parts.publisher, reason, CHECKPOINT_BY_LIMITS);
    }
}

/* ---- With other ranks ---- */

/* Waits until all ranks are together, with our state. CLOSED when leaving. */
static status form_group(struct trainer *trainer, struct err *err)
{
    const struct run *run = &trainer->run;
    struct exchange_start start = {.next_batch = run->about.next_batch,
                                   .learning_seconds = run->about.learning_seconds,
                                   .signature = run->about.signature,
                                   .state = run->state};
    snprintf(start.run_id, sizeof(start.run_id), "%s", run->about.run_id);
    while (!leaving(trainer)) {
        status s = exchange_form(trainer->parts.exchange, &start, MEET_TIMEOUT_MS, err);
        if (s != STATUS_TIMEOUT) {
            return s;
        }
        announcer_waiting(&trainer->announcer, err->text);
        count_time(trainer);
        check_limits(trainer);
    }
    return err_set(err, STATUS_CLOSED, "asked to stop while waiting for the other ranks");
}

/* Between gradients and step. */
static status meet(void *arg, const struct exchange_mark *mark, struct update_sums sums,
                   struct err *err)
{
    struct trainer *trainer = arg;
    while (!leaving(trainer)) {
        status s = exchange_sum(trainer->parts.exchange, mark, sums, MEET_TIMEOUT_MS, err);
        if (s == STATUS_CLOSED) {
            /* Another rank was asked to stop, and none steps without it: as if we had been. */
            log_info("%s: all stop", err->text);
            atomic_store(&trainer->stopping, true);
            process_stop(trainer->parts.process, 0);
        }
        if (s != STATUS_TIMEOUT) {
            return s;
        }
        announcer_waiting(&trainer->announcer, err->text);
        count_time(trainer);
        check_limits(trainer);
    }
    return STATUS_CLOSED;
}

/* A checkpoint of what is learned so far, where the disk lets us. */
static void keep_learned(struct trainer *trainer)
{
    struct err err = {0};
    if (run_checkpoint(&trainer->run, LAST_CHECKPOINT_MS, &err) != STATUS_OK) {
        log_error("checkpoint: %s", err.text);
    }
}

/* A rank is gone: what all have learned is kept, and the group forms anew. */
static status regroup(struct trainer *trainer, struct err *err)
{
    log_warn("step %" PRIu64 " waits for the group to form anew",
             state_step(trainer->run.state) + 1);
    keep_learned(trainer);
    return form_group(trainer, err);
}

/* ---- Steps ---- */

/* The next batch: OK, CLOSED when leaving, or what is final. */
static status next_batch(struct trainer *trainer, struct replay_batch **batch, struct err *err)
{
    while (!leaving(trainer)) {
        err->text[0] = '\0';
        status s = replay_sampler_next(trainer->sampler, batch, BATCH_TIMEOUT_MS, err);
        phases_lap(&trainer->phases, PHASE_WAIT);
        if (s != STATUS_TIMEOUT) {
            return s;
        }
        reporter_spent(trainer->reporter, &trainer->phases);
        memset(trainer->phases.ns, 0, sizeof(trainer->phases.ns));
        announcer_waiting(&trainer->announcer, err->text[0] ? err->text : "for a batch");
        count_time(trainer);
        check_limits(trainer);
    }
    return STATUS_CLOSED;
}

static status take_step(struct trainer *trainer, const struct replay_batch *batch, struct err *err)
{
    status s;
    while ((s = stepper_take(trainer->stepper, batch, err)) == STATUS_GROUP_BROKEN) {
        s = regroup(trainer, err);
        if (s != STATUS_OK) {
            break;
        }
    }
    if (s == STATUS_OK) {
        phases_add(&trainer->phases, stepper_phases(trainer->stepper));
        phases_start(&trainer->phases);
    }
    return s;
}

/* What is due after a step: a version, a checkpoint, a report. */
static status after_step(struct trainer *trainer, struct err *err)
{
    const struct learner_options *options = trainer->parts.options;
    struct run *run = &trainer->run;
    count_time(trainer);
    if (state_step(run->state) % (uint64_t)options->publish_every == 0) {
        status s = run_publish(run, false, err);
        if (s != STATUS_OK) {
            return s;
        }
        phases_lap(&trainer->phases, PHASE_PUBLISH);
    }
    run_checkpoint_if_due(run, clock_now_ns());
    phases_lap(&trainer->phases, PHASE_CHECKPOINT);
    reporter_step(trainer->reporter, state_step(run->state), &trainer->phases);
    memset(trainer->phases.ns, 0, sizeof(trainer->phases.ns));
    const struct report *report = stepper_report(trainer->stepper);
    announcer_learning(&trainer->announcer, report, stepper_shown(trainer->stepper),
                       reporter_rates(trainer->reporter));
    if (stepper_report_due(trainer->stepper)) {
        reporter_line(trainer->reporter, report, run->about.learning_seconds, run->about.version);
    }
    phases_lap(&trainer->phases, PHASE_REPORT);
    return STATUS_OK;
}

/* Step after step, until leaving. */
static status learn(struct trainer *trainer, struct err *err)
{
    status s = STATUS_OK;
    phases_start(&trainer->phases);
    trainer->begin_ns = clock_now_ns();
    trainer->seconds_before = trainer->run.about.learning_seconds;
    if (trainer->parts.exchange != NULL) {
        stepper_set_meeting(trainer->stepper, meet, trainer);
        s = form_group(trainer, err);
    }
    for (check_limits(trainer); s == STATUS_OK && !leaving(trainer); check_limits(trainer)) {
        struct replay_batch *batch = NULL;
        s = next_batch(trainer, &batch, err);
        if (s != STATUS_OK) {
            if (s == STATUS_CLOSED && leaving(trainer)) {
                return STATUS_OK;
            }
            keep_learned(trainer);
            return s;
        }
        s = take_step(trainer, batch, err);
        replay_sampler_return(trainer->sampler, batch);
        if (s == STATUS_OK) {
            s = after_step(trainer, err);
        }
    }
    return s;
}

/* ---- Leaving ---- */

/* The run is over for good, now or since an earlier start: serves the last version. */
static status finish(struct trainer *trainer, struct err *err)
{
    struct run *run = &trainer->run;
    status kept = STATUS_OK;
    if (run->about.finished) {
        atomic_store(&trainer->found_finished, true);
        publisher_end(trainer->parts.publisher, run->about.finish_reason, "an earlier start");
    } else {
        struct publisher_end end = {0};
        (void)publisher_ending(trainer->parts.publisher, &end);
        announcer_say(&trainer->announcer, "ending: %s", end.reason);
        kept = run_end(run, &end, LAST_CHECKPOINT_MS, err);
    }
    struct err publish_err = {0};
    status s = run_publish(run, true, &publish_err);
    if (s != STATUS_OK) {
        return err_set(err, s, "%s", publish_err.text);
    }
    static const struct report none;
    announcer_finished(&trainer->announcer,
                       trainer->stepper != NULL ? stepper_shown(trainer->stepper) : &none);
    log_info("finished step=%" PRIu64 " version=%" PRIu64 " seconds=%.1f: %s",
             state_step(run->state), run->about.version, run->about.learning_seconds,
             run->about.finish_reason);
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
    if (s != STATUS_OK) {
        log_error("%s", err->text);
        announcer_say(&trainer->announcer, "failed: %s", err->text);
        return s == STATUS_CORRUPT ? 2 : 1; /* 2: of no use to start it again so */
    }
    if (run->state == NULL) {
        log_info("%s before there was anything to learn from", ending ? "ended" : "stopped");
        process_stop(trainer->parts.process, 0);
        return 0;
    }
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

static void *train(void *arg)
{
    struct trainer *trainer = arg;
    struct err err = {0};
    status s = prepare(trainer, &err);
    if (s == STATUS_OK && !trainer->run.about.finished) {
        s = prepare_steps(trainer, &err);
        if (s == STATUS_OK) {
            s = learn(trainer, &err);
        }
    }
    int code = leave(trainer, s, &err);
    if (trainer->parts.exchange != NULL) {
        const bool finished = trainer->run.about.finished && code == 0;
        exchange_end(trainer->parts.exchange, finished,
                     finished ? trainer->run.about.finish_reason : "rank 0 stops");
    }
    /* Batches are not needed any more; the server need not wait for us. */
    if (trainer->sampler != NULL) {
        replay_sampler_close(trainer->sampler);
    }
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
    made->announcer = (struct announcer){.process = parts->process,
                                         .publisher = parts->publisher,
                                         .options = parts->options,
                                         .run = &made->run};
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
    double seconds = (double)(clock_now_ns() - atomic_load(&trainer->finished_ns)) / 1e9;
    if (seconds >= trainer->parts.options->linger_seconds) {
        return true;
    }
    /* Found finished, it was started for somebody who is still to come; and a short run may be over
     * before those who are known to follow have begun to. */
    int64_t expected = trainer->parts.options->followers;
    if (expected == 0 && atomic_load(&trainer->found_finished)) {
        expected = 1;
    }
    bool came = publisher_followers(trainer->parts.publisher) >= expected;
    /* The other ranks wait for nothing but our word; later, they are where they should be. */
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
    stepper_free(trainer->stepper);
    reporter_close(trainer->reporter);
    run_fini(&trainer->run);
    mem_free(trainer);
}
