/* The loop of a training thread. See training_loop.h.
 *
 * Every wait is cut into short pieces. Between two of them the loop tells people and the other
 * ranks what it waits for, and asks whether to leave; so a learner that waits for ever still
 * reacts. */
#include "learner/run/training_loop.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/metrics.h"
#include "learner/run/sampler_options.h"

#define LOG_MODULE "trainer"
#include "common/base/log.h"

#define OPEN_TIMEOUT_MS  1000
#define BATCH_TIMEOUT_MS 250
#define MEET_TIMEOUT_MS  250
#define RETRY_MS         100

#define MEASURE_ROWS_SEALED 262144u
#define MEASURE_ROWS_FEW    16384u

/* Also a callback of the sampler, which asks it while it waits. */
static bool leaving(void *arg)
{
    struct training_loop *loop = arg;
    return loop->hooks->leaving(loop->hooks_arg);
}

/* Something is awaited that is not a word of the exchange. */
static void show_waiting(struct training_loop *loop, const char *what, bool for_batch)
{
    status_reporter_waiting(loop->status, what);
    if (loop->hooks->waited != NULL) {
        loop->hooks->waited(loop->hooks_arg, for_batch);
    }
}

/* The same between two barriers, where the other ranks must be told, too: they wait for this one.
 * OK, or the exchange's news: GROUP_BROKEN, CLOSED, or what is final. */
static status tell_waiting(struct training_loop *loop, const char *what, struct err *err)
{
    /* `what` may be err's own text. */
    char text[EXCHANGE_TEXT_SIZE];
    snprintf(text, sizeof text, "%.*s", EXCHANGE_TEXT_SIZE - 1, what);
    show_waiting(loop, text, true);
    return loop->exchange != NULL ? exchange_waits(loop->exchange, text, err) : STATUS_OK;
}

/* ---- The group ---- */

/* Waits, in short attempts, until the group has formed. CLOSED when leaving. */
static status form(struct training_loop *loop, struct err *err)
{
    while (!leaving(loop)) {
        const status s = loop->hooks->form(loop->hooks_arg, MEET_TIMEOUT_MS, err);
        if (s != STATUS_TIMEOUT) {
            return s;
        }
        show_waiting(loop, err->text, false);
    }
    return err_set(err, STATUS_CLOSED, "asked to stop while waiting for the other ranks");
}

/* A rank is gone. The group forms again, where necessary from another batch. */
static status regroup(struct training_loop *loop, struct err *err)
{
    log_warn("step %" PRIu64 " waits for the group to form again",
             state_step(loop->run->state) + 1);
    /* The group may be apart for long, so what was learned is kept first. */
    if (loop->hooks->keep != NULL) {
        loop->hooks->keep(loop->hooks_arg);
    }
    const status s = form(loop, err);
    /* Does the sampler stand at another batch than the group? Then next_batch opens it anew. */
    loop->moved = s == STATUS_OK && loop->run->about.next_batch != loop->position;
    return s;
}

/* The barrier between gradients and step (stepper_meet). */
static status meet(void *arg, const struct exchange_mark *mark, struct update_sums sums,
                   struct err *err)
{
    struct training_loop *loop = arg;
    while (!leaving(loop)) {
        const status s = exchange_sum(loop->exchange, mark, sums, MEET_TIMEOUT_MS, err);
        /* Another rank has ended the group, and the owner has to know. */
        if (s == STATUS_CLOSED && loop->hooks->closed != NULL) {
            loop->hooks->closed(loop->hooks_arg, err->text);
        }
        /* The group will not form again in this process, so what was learned is kept. */
        if (s == STATUS_UNAVAILABLE && loop->hooks->keep != NULL) {
            loop->hooks->keep(loop->hooks_arg);
        }
        /* TIMEOUT only says that some rank is not there yet. */
        if (s != STATUS_TIMEOUT) {
            return s;
        }
        show_waiting(loop, err->text, false);
    }
    return STATUS_CLOSED;
}

/* ---- Batches ---- */

status training_loop_open_sampler(struct training_loop *loop, struct signature *signature,
                                  struct err *err)
{
    struct replay_sampler_options wanted =
        sampler_options_make(loop->options, loop->experiment->seed, loop->run->about.next_batch);
    /* An empty slice stands for the whole batch. */
    if (loop->whole_batches) {
        wanted.slice_begin = wanted.slice_count = 0;
    }
    status_reporter_waiting(loop->status, "for the replay server");
    while (!leaving(loop)) {
        status s = replay_sampler_open(&loop->sampler, loop->experiment, signature, &wanted,
                                       OPEN_TIMEOUT_MS, leaving, loop, err);
        if (s == STATUS_OK) {
            loop->position = loop->run->about.next_batch;
            loop->moved = false;
            loop->servers_away = metric_gauge("hindcast_learner_replay_servers_away",
                                              "Replay servers that cannot be reached", NULL);
        }
        if (!sampler_options_may_retry(s)) {
            return s;
        }
        s = tell_waiting(loop, err->text, err);
        if (s != STATUS_OK) {
            return s;
        }
        /* A pause, because some failures come at once. */
        clock_sleep_ms(RETRY_MS);
    }
    return err_set(err, STATUS_CLOSED, "asked to stop while waiting for the replay server");
}

void training_loop_close_sampler(struct training_loop *loop)
{
    if (loop->sampler != NULL) {
        replay_sampler_close(loop->sampler);
        loop->sampler = NULL;
    }
}

/* The next batch of the run; opens the sampler where there is none, or where the open one stands
 * elsewhere. CLOSED when leaving. */
static status next_batch(struct training_loop *loop, struct replay_batch **batch, struct err *err)
{
    status s = STATUS_OK;
    /* The sampler cannot go back or skip batches, so it is replaced. */
    if (loop->moved) {
        training_loop_close_sampler(loop);
    }
    if (loop->sampler == NULL) {
        /* A copy, because opening the sampler writes to it. */
        struct signature signature = loop->run->about.signature;
        s = training_loop_open_sampler(loop, &signature, err);
    }
    while (s == STATUS_OK && !leaving(loop)) {
        metric_set(loop->servers_away, replay_sampler_away(loop->sampler));
        /* An old text must not be shown as the reason for this wait. */
        err->text[0] = '\0';
        s = replay_sampler_next(loop->sampler, batch, BATCH_TIMEOUT_MS, err);
        phases_lap(&loop->phases, PHASE_WAIT);
        if (s == STATUS_OK) {
            loop->position = (*batch)->number;
        }
        if (s != STATUS_TIMEOUT) {
            return s;
        }
        s = tell_waiting(loop, err->text[0] ? err->text : "for a batch", err);
    }
    return s == STATUS_OK ? STATUS_CLOSED : s;
}

/* Adds what a batch holds: the observations of rows 0 .. n_valid of each snippet, and the rewards of
 * all rows but the last. Returns the number of rows. */
static uint64_t add_batch(const struct training_measures *measures,
                          const struct replay_batch *batch, const struct signature *signature,
                          size_t N)
{
    const size_t W = signature_width(signature);
    const uint32_t rewards_at = signature_rewards_at(signature);
    uint64_t n = 0;
    for (uint32_t b = 0; b < batch->snippets; b++) {
        const float *rows = batch->rows + b * (N + 1) * W;
        for (uint32_t t = 0; t <= batch->n_valid[b]; t++) {
            if (measures->observations != NULL) {
                normalizer_sums_add(measures->observations, rows + t * W);
            }
            observed_add(measures->observed, rows + t * W);
            if (t < batch->n_valid[b]) {
                reward_sums_add(measures->rewards, rows + t * W + rewards_at, signature->K);
            }
            n++;
        }
    }
    return n;
}

status training_loop_measure(struct training_loop *loop, const struct signature *signature,
                             const struct training_measures *measures, struct err *err)
{
    const size_t N = (size_t)loop->options->snippet_transitions;
    uint64_t n = 0, wanted = MEASURE_ROWS_SEALED;
    status s = STATUS_OK;
    /* The batches of all ranks, from a sampler of its own. */
    training_loop_close_sampler(loop);
    loop->whole_batches = true;
    while (s == STATUS_OK && n < wanted) {
        struct replay_batch *batch = NULL;
        s = next_batch(loop, &batch, err);
        if (s == STATUS_OK) {
            /* A table that still grows may have few rows, so fewer are enough. */
            wanted = batch->table_version != 0 ? MEASURE_ROWS_SEALED : MEASURE_ROWS_FEW;
            n += add_batch(measures, batch, signature, N);
            replay_sampler_return(loop->sampler, batch);
        }
    }
    loop->whole_batches = false;
    training_loop_close_sampler(loop);
    /* What it took is no wait of the first step. */
    phases_start(&loop->phases);
    memset(loop->phases.ns, 0, sizeof loop->phases.ns);
    return s;
}

/* ---- Steps ---- */

/* One batch and its step, or none where the group had to form again. */
static status one_step(struct training_loop *loop, struct err *err)
{
    struct replay_batch *batch = NULL;
    status s = next_batch(loop, &batch, err);
    /* Another rank is gone, and this step has not begun. */
    if (s == STATUS_GROUP_BROKEN) {
        return regroup(loop, err);
    }
    /* A final failure: what was learned is kept. When leaving, the owner does that itself. */
    if (s != STATUS_OK) {
        if (!(s == STATUS_CLOSED && leaving(loop)) && loop->hooks->keep != NULL) {
            loop->hooks->keep(loop->hooks_arg);
        }
        return s;
    }
    /* A group that forms again from this very batch takes the step with it; the sampler could not
     * go back to it. */
    bool taken = false;
    while (s == STATUS_OK && !taken && !loop->moved) {
        s = stepper_take(loop->stepper, batch, err);
        taken = s == STATUS_OK;
        s = s == STATUS_GROUP_BROKEN ? regroup(loop, err) : s;
    }
    /* The batch goes back, whether the step was taken or not. */
    replay_sampler_return(loop->sampler, batch);
    if (taken) {
        /* The step is taken: where its time went, then what is due after it. */
        loop->position++;
        phases_add(&loop->phases, stepper_phases(loop->stepper));
        phases_start(&loop->phases);
        s = loop->hooks->stepped(loop->hooks_arg, err);
    }
    return s;
}

/* Ranks that wait for rank 0's state have none before the group has formed. */
static status make_stepper(struct training_loop *loop, struct err *err)
{
    if (loop->stepper != NULL || loop->run->state == NULL) {
        return STATUS_OK;
    }
    const status s = stepper_new(&loop->stepper, loop->run, loop->options, err);
    if (s == STATUS_OK && loop->exchange != NULL) {
        stepper_set_meeting(loop->stepper, meet, loop);
    }
    return s;
}

status training_loop_run(struct training_loop *loop, struct err *err)
{
    phases_start(&loop->phases);
    /* A learner on its own has its state already, and so has rank 0. */
    status s = make_stepper(loop, err);
    if (s == STATUS_OK && loop->exchange != NULL) {
        s = form(loop, err);
        /* The other ranks have received theirs by now. */
        s = s == STATUS_OK ? make_stepper(loop, err) : s;
    }
    while (s == STATUS_OK && !leaving(loop)) {
        s = one_step(loop, err);
    }
    return s;
}

void training_loop_fini(struct training_loop *loop)
{
    training_loop_close_sampler(loop);
    stepper_free(loop->stepper);
    loop->stepper = NULL;
}
