/* A rank other than 0. See partner.h. */
#include "learner/run/partner.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "learner/run/announcer.h"
#include "learner/run/sampling.h"
#include "learner/run/stepper.h"

#define LOG_MODULE "partner"
#include "common/base/log.h"

#define OPEN_TIMEOUT_MS  1000
#define WAIT_MS          250 /* how long it is deaf to the end */
#define STATUS_PERIOD_MS 500

struct partner {
    struct partner_parts parts;
    struct exchange *exchange;
    pthread_t thread;
    bool started;
    atomic_bool stopping;

    /* The thread alone. */
    struct run run;              /* settings, state, and where in the run we are: no files */
    struct exchange_start start; /* as rank 0 said last */
    struct replay_sampler *sampler;
    struct stepper *stepper;
    struct announcer announcer;
    uint64_t status_ns, status_step; /* of the last status line */
};

static bool leaving(void *arg)
{
    struct partner *partner = arg;
    return atomic_load(&partner->stopping);
}

/* ---- The group ---- */

status partner_make(void *arg, struct exchange_start *start, struct err *err)
{
    struct partner *partner = arg;
    struct run *run = &partner->run;
    const uint64_t seed = (uint64_t)partner->parts.experiment->seed;
    struct settings settings;
    status s =
        learner_options_settings(partner->parts.options, &start->signature, seed, &settings, err);
    if (s != STATUS_OK || run->state != NULL) {
        return s; /* the run is the same, and so is its signature */
    }
    run->settings = settings;
    s = state_new(&run->state, &settings, err);
    start->state = run->state;
    return s;
}

/* Waits until all are together; then the state is rank 0's. CLOSED when leaving, or at the end. */
static status form(struct partner *partner, struct err *err)
{
    status s = STATUS_TIMEOUT;
    while (s == STATUS_TIMEOUT && !leaving(partner)) {
        s = exchange_form(partner->exchange, &partner->start, WAIT_MS, err);
        if (s == STATUS_TIMEOUT) {
            announcer_waiting(&partner->announcer, err->text);
        }
    }
    struct run *run = &partner->run;
    if (s == STATUS_OK) {
        run->about.signature = partner->start.signature;
        run->about.next_batch = partner->start.next_batch;
        run->about.learning_seconds = partner->start.learning_seconds;
    }
    return s == STATUS_TIMEOUT ? STATUS_CLOSED : s;
}

/* Between gradients and step. */
static status meet(void *arg, const struct exchange_mark *mark, struct update_sums sums,
                   struct err *err)
{
    struct partner *partner = arg;
    status s = STATUS_TIMEOUT;
    while (s == STATUS_TIMEOUT && !leaving(partner)) {
        s = exchange_sum(partner->exchange, mark, sums, WAIT_MS, err);
        if (s == STATUS_TIMEOUT) {
            announcer_waiting(&partner->announcer, err->text);
        }
    }
    return s == STATUS_TIMEOUT ? STATUS_CLOSED : s;
}

/* ---- Batches ---- */

/* Says what keeps us, to people and to rank 0. */
static status waits(struct partner *partner, const char *what, struct err *err)
{
    announcer_waiting(&partner->announcer, what);
    return exchange_waits(partner->exchange, what, err);
}

/* Batches from the one that rank 0 named; our snippets of each. */
static status open_sampler(struct partner *partner, struct err *err)
{
    const struct replay_sampler_options wanted = sampling_options(
        partner->parts.options, partner->parts.experiment->seed, partner->run.about.next_batch);
    struct signature signature = partner->run.about.signature;
    while (!leaving(partner)) {
        status s = replay_sampler_open(&partner->sampler, partner->parts.experiment, &signature,
                                       &wanted, OPEN_TIMEOUT_MS, leaving, partner, err);
        if (!sampling_not_yet(s)) {
            return s;
        }
        char what[EXCHANGE_TEXT_SIZE];
        snprintf(what, sizeof(what), "%.*s", EXCHANGE_TEXT_SIZE - 1, err->text);
        s = waits(partner, what, err);
        if (s != STATUS_OK) {
            return s;
        }
        clock_sleep_ms(100);
    }
    return STATUS_CLOSED;
}

static status next_batch(struct partner *partner, struct replay_batch **batch, struct err *err)
{
    while (!leaving(partner)) {
        err->text[0] = '\0';
        status s = replay_sampler_next(partner->sampler, batch, WAIT_MS, err);
        if (s != STATUS_TIMEOUT) {
            return s;
        }
        char what[EXCHANGE_TEXT_SIZE];
        snprintf(what, sizeof(what), "%.*s", EXCHANGE_TEXT_SIZE - 1,
                 err->text[0] ? err->text : "for a batch");
        s = waits(partner, what, err);
        if (s != STATUS_OK) {
            return s;
        }
    }
    return STATUS_CLOSED;
}

/* ---- Learning ---- */

static void say_step(struct partner *partner)
{
    const uint64_t now_ns = clock_now_ns();
    const uint64_t step = state_step(partner->run.state);
    const double seconds = (double)(now_ns - partner->status_ns) / 1e9;
    if (seconds * 1e3 < STATUS_PERIOD_MS) {
        return;
    }
    const bool rate = partner->status_ns != 0 && step > partner->status_step;
    announcer_say(&partner->announcer,
                  "step %" PRIu64 "  %.1f steps/s  rank %" PRId64 " of %" PRId64, step,
                  rate ? (double)(step - partner->status_step) / seconds : 0.0,
                  partner->parts.options->rank, partner->parts.options->ranks);
    partner->status_ns = now_ns;
    partner->status_step = step;
}

/* Steps with one group, until it breaks (GROUP_BROKEN), ends (CLOSED) or something fails. */
static status learn_together(struct partner *partner, struct err *err)
{
    status s = open_sampler(partner, err);
    if (s == STATUS_OK && partner->stepper == NULL) {
        s = stepper_new(&partner->stepper, &partner->run, partner->parts.options, err);
        if (s == STATUS_OK) {
            stepper_set_meeting(partner->stepper, meet, partner);
        }
    }
    while (s == STATUS_OK) {
        struct replay_batch *batch = NULL;
        s = next_batch(partner, &batch, err);
        if (s == STATUS_OK) {
            s = stepper_take(partner->stepper, batch, err);
            replay_sampler_return(partner->sampler, batch);
        }
        if (s == STATUS_OK) {
            say_step(partner);
        }
    }
    if (partner->sampler != NULL) {
        replay_sampler_close(partner->sampler);
        partner->sampler = NULL;
    }
    return s;
}

static status learn(struct partner *partner, struct err *err)
{
    status s;
    do {
        s = form(partner, err);
        s = s == STATUS_OK ? learn_together(partner, err) : s;
    } while (s == STATUS_GROUP_BROKEN && !leaving(partner));
    return s;
}

static void *train(void *arg)
{
    struct partner *partner = arg;
    struct err err = {0};
    const status s = learn(partner, &err);
    const struct exchange_end end = exchange_end_of(partner->exchange);
    const uint64_t step = partner->run.state != NULL ? state_step(partner->run.state) : 0;
    if (leaving(partner) || end.reason[0]) {
        partner->run.about.finished = end.finished;
        announcer_say(&partner->announcer, "%s at step %" PRIu64 "%s%s",
                      end.finished ? "finished" : "stopped", step, end.reason[0] ? ": " : "",
                      end.reason);
        log_info("%s step=%" PRIu64 " %s", end.finished ? "finished" : "stopped", step, end.reason);
        exchange_end(partner->exchange, false, "asked to stop");
        process_stop(partner->parts.process, 0);
    } else {
        log_error("%s", err.text);
        announcer_say(&partner->announcer, "failed: %s", err.text);
        /* What rank 0 refuses will be refused again, what differs or is not finite comes again. */
        process_stop(partner->parts.process, s == STATUS_MISMATCH || s == STATUS_CORRUPT ? 2 : 1);
    }
    return NULL;
}

/* ---- Life ---- */

status partner_new(struct partner **partner, const struct partner_parts *parts, struct err *err)
{
    struct partner *made = mem_new(sizeof(*made));
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "partner");
    }
    made->parts = *parts;
    run_init(&made->run, parts->experiment, parts->options, "", 0, NULL);
    made->announcer =
        (struct announcer){.process = parts->process, .options = parts->options, .run = &made->run};
    *partner = made;
    return STATUS_OK;
}

status partner_start(struct partner *partner, struct exchange *exchange, struct err *err)
{
    partner->exchange = exchange;
    int error = pthread_create(&partner->thread, NULL, train, partner);
    if (error != 0) {
        return err_errno(err, error, "training thread");
    }
    partner->started = true;
    return STATUS_OK;
}

void partner_close(struct partner *partner)
{
    if (partner == NULL) {
        return;
    }
    atomic_store(&partner->stopping, true);
    if (partner->started) {
        pthread_join(partner->thread, NULL);
    }
    stepper_free(partner->stepper);
    run_fini(&partner->run);
    mem_free(partner);
}
