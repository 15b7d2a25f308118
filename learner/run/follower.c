/* A rank other than 0. See follower.h.
 *
 * Its loop is training_loop's; here are the hooks, and the end. The state comes from rank 0 each
 * time that a group forms, so a follower that dies loses nothing, and one that comes back has
 * nothing to read.
 *
 * The training thread owns everything but `stopping`. The main thread sets that flag in
 * follower_close and joins. */
#include "learner/run/follower.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "learner/run/training_loop.h"

#define LOG_MODULE "follower"
#include "common/base/log.h"

#define STATUS_PERIOD_MS 500

struct follower {
    /* Set before the thread starts. */
    struct follower_parts parts;
    pthread_t thread;
    bool started;
    atomic_bool stopping;

    /* The training thread alone. */
    struct run run;              /* settings, state, and the place in the run; no files */
    struct exchange_start start; /* what rank 0 sent last */
    struct training_loop loop;
    struct status_reporter status;
    uint64_t status_ns, status_step; /* of the last status line */
};

/* ---- Hooks ---- */

/* True once follower_close was called. The loop asks between its short waits. */
static bool leaving(void *arg)
{
    struct follower *follower = arg;
    return atomic_load(&follower->stopping);
}

status follower_make(void *arg, struct exchange_start *start, struct err *err)
{
    struct follower *follower = arg;
    struct run *run = &follower->run;
    /* The sizes of the state follow from the options here and the signature of rank 0. */
    const uint64_t seed = (uint64_t)follower->parts.experiment->seed;
    struct settings settings;
    status s =
        learner_options_settings(follower->parts.options, &start->signature, seed, &settings, err);
    if (s != STATUS_OK || run->state != NULL) {
        return s; /* the run is the same, and so is its signature */
    }
    /* The first group: the exchange fills this state with rank 0's numbers. */
    s = state_new(&run->state, &settings, err);
    /* A run that was begun without normalizing goes on so: rank 0's state is the smaller one. */
    if (s == STATUS_OK && learner_options_normalize_auto(follower->parts.options) &&
        state_layout(run->state)->size != start->n_parameters) {
        state_free(run->state);
        run->state = NULL;
        settings.normalize = NORMALIZE_NONE;
        s = state_new(&run->state, &settings, err);
    }
    run->settings = settings;
    start->state = run->state;
    return s;
}

/* Takes over rank 0's state and its place in the run. */
static status form(void *arg, uint64_t timeout_ms, struct err *err)
{
    struct follower *follower = arg;
    struct run *run = &follower->run;
    /* The exchange writes rank 0's parameters and moments into run->state itself. */
    const status s = exchange_form(follower->loop.exchange, &follower->start, timeout_ms, err);
    if (s == STATUS_OK) {
        run->about.signature = follower->start.signature;
        run->about.next_batch = follower->start.next_batch;
        run->about.learning_seconds = follower->start.learning_seconds;
    }
    return s;
}

/* The status line, now and then. */
static status stepped(void *arg, struct err *err)
{
    (void)err;
    struct follower *follower = arg;
    const uint64_t now_ns = clock_now_ns();
    const uint64_t step = state_step(follower->run.state);
    const double seconds = (double)(now_ns - follower->status_ns) / 1e9;
    if (seconds * 1e3 < STATUS_PERIOD_MS) {
        return STATUS_OK;
    }
    /* The rate is that of the steps since the last line; a new state may have gone back. */
    const bool has_rate = follower->status_ns != 0 && step > follower->status_step;
    status_reporter_say(&follower->status,
                        "step %" PRIu64 "  %.1f steps/s  rank %" PRId64 " of %" PRId64, step,
                        has_rate ? (double)(step - follower->status_step) / seconds : 0.0,
                        follower->parts.options->rank, follower->parts.options->ranks);
    follower->status_ns = now_ns;
    follower->status_step = step;
    return STATUS_OK;
}

static const struct training_hooks HOOKS = {.leaving = leaving, .form = form, .stepped = stepped};

/* ---- The thread ---- */

/* Learning ended as asked: by a signal here, or by rank 0. */
static void end_in_order(struct follower *follower, const struct exchange_end *end)
{
    /* A group that never formed has no state. */
    const uint64_t step = follower->run.state != NULL ? state_step(follower->run.state) : 0;
    const char *how = end->finished ? "finished" : "stopped";
    follower->run.about.finished = end->finished;
    status_reporter_say(&follower->status, "%s at step %" PRIu64 "%s%s", how, step,
                        end->reason[0] ? ": " : "", end->reason);
    log_info("%s step=%" PRIu64 " %s", how, step, end->reason);
    /* Leaves the group at once, so that rank 0 need not wait until this rank counts as silent. */
    exchange_end(follower->loop.exchange, false, "asked to stop");
    process_stop(follower->parts.process, 0);
}

static void *train(void *arg)
{
    struct follower *follower = arg;
    struct err err = {0};
    /* The loop returns when this rank is asked to leave, when rank 0 ends, or on a failure. */
    const status s = training_loop_run(&follower->loop, &err);
    training_loop_close_sampler(&follower->loop);
    /* A reason tells an end that rank 0 ordered from a failure, whatever the status is. */
    const struct exchange_end end = exchange_end_of(follower->loop.exchange);
    if (leaving(follower) || end.reason[0]) {
        end_in_order(follower, &end);
    } else {
        log_error("%s", err.text);
        status_reporter_say(&follower->status, "failed: %s", err.text);
        /* A refusal, parameters that differ and numbers that are not finite come again after a
         * restart: exit code 2 says so. */
        process_stop(follower->parts.process, status_exit_code(s));
    }
    return NULL;
}

/* ---- What main calls ---- */

status follower_new(struct follower **follower, const struct follower_parts *parts, struct err *err)
{
    struct follower *made = mem_new(sizeof(*made));
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "follower");
    }
    /* A follower has no configuration of its own to record and publishes nothing. */
    made->parts = *parts;
    run_init(&made->run, parts->experiment, parts->options, "", 0, NULL);
    made->status = (struct status_reporter){
        .process = parts->process, .options = parts->options, .run = &made->run};
    made->loop = (struct training_loop){.hooks = &HOOKS,
                                        .hooks_arg = made,
                                        .experiment = parts->experiment,
                                        .options = parts->options,
                                        .run = &made->run,
                                        .status = &made->status};
    *follower = made;
    return STATUS_OK;
}

status follower_start(struct follower *follower, struct exchange *exchange, struct err *err)
{
    follower->loop.exchange = exchange;
    /* From here on the training thread uses the exchange; the caller only closes it later. */
    int error = pthread_create(&follower->thread, NULL, train, follower);
    if (error != 0) {
        return err_errno(err, error, "training thread");
    }
    follower->started = true;
    return STATUS_OK;
}

void follower_close(struct follower *follower)
{
    if (follower == NULL) {
        return;
    }
    /* The thread looks at the flag between two short waits, so the join takes no longer than a
     * step. */
    atomic_store(&follower->stopping, true);
    if (follower->started) {
        pthread_join(follower->thread, NULL);
    }
    training_loop_fini(&follower->loop);
    run_fini(&follower->run);
    mem_free(follower);
}
