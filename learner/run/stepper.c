/* One step of a run. See stepper.h.
 *
 * The order within a step: gradients of this rank's slice, the barrier (where there are other
 * ranks), the update. A failure in the first or the last is a failure of the numbers: batch and
 * state are kept for --rerun_step. A failure in the barrier is one of the group, and keeps
 * nothing. */
#include "learner/run/stepper.h"

#include <inttypes.h>
#include <stdio.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "common/networks/kernels.h"
#include "learner/run/diagnostics.h"
#include "learner/run/prioritizer.h"
#include "learner/step/failed_step.h"

#define LOG_MODULE "stepper"
#include "common/base/log.h"

struct stepper {
    struct run *run;
    const struct learner_options *options;
    struct update *update;
    struct diagnostics *diagnostics;
    int32_t *tasks;                  /* (B, T), where tasks are drawn */
    struct prioritizer *prioritizer; /* NULL: how snippets were drawn does not count */
    /* Large, so they live here and not on the stack. */
    struct report report; /* of the last step */
    struct report shown;  /* of the last step that was looked at closely */
    struct phases phases; /* of the last step */
    bool any_step;
    int64_t begin, B;   /* this rank's snippets of the global batch */
    stepper_meet *meet; /* the barrier; NULL: a learner on its own */
    void *meet_arg;
};

/* The update, the diagnostics, the tasks: all memory that steps use. */
static status make_parts(struct stepper *made, int threads, struct err *err)
{
    const struct settings *settings = &made->run->settings;
    const int B = (int)made->B;
    /* For this rank's slice of the batch alone. */
    status s = update_new(&made->update, settings, B, (int)made->options->snippet_transitions,
                          threads, err);
    if (s == STATUS_OK) {
        s = diagnostics_new(&made->diagnostics, settings, made->run->state, B, err);
    }
    if (s == STATUS_OK) {
        s = prioritizer_new(&made->prioritizer, made->run->experiment, made->options, (size_t)B,
                            err);
    }
    /* Tasks are drawn only where a snippet trains fewer than all of them. */
    if (s == STATUS_OK && settings->T < settings->K) {
        made->tasks = mem_array((size_t)B * (size_t)settings->T, sizeof(*made->tasks));
        if (made->tasks == NULL) {
            s = err_set(err, STATUS_NO_MEMORY, "tasks");
        }
    }
    return s;
}

/* An option that gains nothing on this machine is worth a warning, not a refusal. */
static void warn_of_bf16(const struct settings *settings)
{
    if (settings->evaluation_precision != PRECISION_BF16 || kernels_bf16_pays()) {
        return;
    }
    const char *option =
        settings->precision == PRECISION_BF16 ? "precision" : "evaluation_precision";
    const double ratio = kernels_pairs_over_floats();
    if (kernels_bf16_parts() > 1) {
        log_warn("%s bf16 gains nothing with kernels %s, which have two parts for each number",
                 option, kernels_name());
    } else if (ratio > 1.0) {
        log_warn("%s bf16 gains nothing with kernels %s; kernels avx512bf16 would", option,
                 kernels_name());
    } else if (ratio > 0.0) {
        log_warn("%s bf16 gains nothing: this processor multiplies bf16 at %.2f of the rate of "
                 "floats; f32 is faster",
                 option, ratio);
    } else {
        log_warn(
            "%s bf16 gains nothing: this processor has no instructions for bf16; f32 is faster",
            option);
    }
}

status stepper_new(struct stepper **stepper, struct run *run, const struct learner_options *options,
                   struct err *err)
{
    struct stepper *made = mem_new(sizeof(*made));
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "stepper");
    }
    made->run = run;
    made->options = options;
    /* The slice first: it gives the sizes of all that follows. */
    learner_options_slice(options, options->rank, &made->begin, &made->B);
    const int threads = learner_options_threads(options);
    status s = make_parts(made, threads, err);
    if (s != STATUS_OK) {
        stepper_free(made);
        return s;
    }
    warn_of_bf16(&run->settings);
    log_info("learning threads=%d batch=%" PRId64 "x%" PRId64 " kernels=%s: %s", threads, made->B,
             options->snippet_transitions, kernels_name(), kernels_description());
    *stepper = made;
    return STATUS_OK;
}

void stepper_free(struct stepper *stepper)
{
    if (stepper == NULL) {
        return;
    }
    update_free(stepper->update);
    diagnostics_free(stepper->diagnostics);
    prioritizer_free(stepper->prioritizer);
    mem_free(stepper->tasks);
    mem_free(stepper);
}

/* Warns when the table has changed since the run saw it last: resumed runs then differ. */
static void check_table(struct stepper *stepper, uint64_t table_version)
{
    uint64_t *known = &stepper->run->about.table_version;
    /* 0: the run has not seen a table yet, or has seen one that was not sealed. */
    if (*known == table_version) {
        return;
    }
    /* Priorities that are sent change the version, too: it stays what it was at the start. */
    if (*known != 0 && learner_options_sends_priorities(stepper->options)) {
        return;
    }
    /* Learning goes on, but the run cannot be repeated from its start any more. */
    if (*known != 0) {
        log_warn("the table is not the one this run learned from: version %016" PRIx64
                 ", was %016" PRIx64 "; learning goes on with what is there",
                 table_version, *known);
    }
    *known = table_version;
}

/* Keeps the batch of a failed step and the state that the step began from. */
static void keep_failure(const struct stepper *stepper, const struct batch *batch)
{
    const struct run *run = stepper->run;
    char suffix[32] = "";
    /* Ranks may share RUN_DIR, so each has a name of its own for what it keeps. */
    if (stepper->options->ranks > 1) {
        snprintf(suffix, sizeof(suffix), "-rank-%" PRId64, stepper->options->rank);
    }
    /* All that --rerun_step needs. */
    failed_step_keep(run->experiment->run_dir, suffix, run->state, &run->settings, batch,
                     learner_options_threads(stepper->options));
}

/* Also at the last step, so that a short run has a report at all. */
bool stepper_report_due(const struct stepper *stepper)
{
    const struct learner_options *options = stepper->options;
    const uint64_t step = state_step(stepper->run->state);
    return step % (uint64_t)options->report_every == 0 || step == (uint64_t)options->steps;
}

/* Gradients, barrier, update. *met is false where it was the barrier that failed. */
static status step(struct stepper *stepper, const struct batch *batch, uint64_t number, bool *met,
                   uint64_t *meeting_ns, struct err *err)
{
    struct state *state = stepper->run->state;
    /* NULL: the step draws its noise from the seed and its own number. */
    status s = update_gradients(stepper->update, state, batch, NULL, err);
    /* Numbers that are not finite would spoil the total of all ranks. They stop this rank instead,
     * which has the batch that they come from. */
    if (s == STATUS_OK && stepper->meet != NULL) {
        s = exchange_sums_check(update_sums(stepper->update), err);
    }
    if (s == STATUS_OK && stepper->meet != NULL) {
        /* The barrier. The mark says where the step begins; it must be the same at all ranks. */
        const uint64_t begin_ns = clock_now_ns();
        const struct exchange_mark mark = {state_step(state), number, state_digest(state)};
        s = stepper->meet(stepper->meet_arg, &mark, update_sums(stepper->update), err);
        *met = s == STATUS_OK;
        *meeting_ns = clock_now_ns() - begin_ns;
    }
    /* All ranks apply the same total to the same state, so they stay equal. */
    return s == STATUS_OK ? update_apply(stepper->update, state, &stepper->report, err) : s;
}

void stepper_set_meeting(struct stepper *stepper, stepper_meet *meet, void *arg)
{
    stepper->meet = meet;
    stepper->meet_arg = arg;
}

status stepper_take(struct stepper *stepper, const struct replay_batch *from, struct err *err)
{
    /* The batch in place: rows and lengths stay in the received message. */
    struct run *run = stepper->run;
    struct batch batch = {.rows = from->rows,
                          .n_valid = from->n_valid,
                          .tasks = stepper->tasks,
                          .B = (int)from->snippets,
                          .N = (int)stepper->options->snippet_transitions,
                          .begin = (uint64_t)stepper->begin,
                          .weights = prioritizer_weights(stepper->prioritizer, from),
                          .part = (int)stepper->options->rank};
    check_table(stepper, from->table_version);
    /* Tasks are a function of step and place in the global batch: the same for any number of
     * ranks. */
    if (stepper->tasks != NULL) {
        batch_draw_tasks(stepper->tasks, &run->settings, state_step(run->state), batch.begin,
                         batch.B);
    }
    /* The step itself. After a failure the state is what it was. */
    uint64_t meeting_ns = 0;
    bool met = true;
    status s = step(stepper, &batch, from->number, &met, &meeting_ns, err);
    if (s != STATUS_OK) {
        /* A failure of the numbers is kept. One of the group says nothing about them. */
        if (met) {
            keep_failure(stepper, &batch);
        }
        return s;
    }
    prioritizer_note(stepper->prioritizer, from, stepper->update);
    /* Where the time went, and now and then a closer look at the step. */
    run->about.next_batch = from->number + 1;
    stepper->phases = *update_phases(stepper->update);
    stepper->phases.ns[PHASE_EXCHANGE] += meeting_ns;
    phases_start(&stepper->phases);
    /* Only rank 0 reports. The first step here is looked at, too: status lines show it at once. */
    if (stepper->options->rank == 0 && (!stepper->any_step || stepper_report_due(stepper))) {
        diagnostics_add(stepper->diagnostics, run->state, &batch, &stepper->report);
        stepper->shown = stepper->report;
    }
    stepper->any_step = true;
    phases_lap(&stepper->phases, PHASE_REPORT);
    return STATUS_OK;
}

struct update *stepper_update(struct stepper *stepper)
{
    return stepper->update;
}

const struct phases *stepper_phases(const struct stepper *stepper)
{
    return &stepper->phases;
}

const struct report *stepper_report(const struct stepper *stepper)
{
    return &stepper->report;
}

const struct report *stepper_shown(const struct stepper *stepper)
{
    return &stepper->shown;
}
