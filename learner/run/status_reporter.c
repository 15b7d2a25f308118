/* The state of the training thread, for people. See status_reporter.h.
 *
 * The same text goes to the status line of the process and to Progress. Numbers come from the last
 * report; nothing is computed for them. */
#include "learner/run/status_reporter.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/base/clock.h"

#define LOG_MODULE "trainer"
#include "common/base/log.h"

#define STATUS_PERIOD_MS   500
#define WAIT_LOG_PERIOD_MS 30000

/* The fraction of the run that is done, 0..1; negative where the run has no limit. */
static double fraction_done(const struct status_reporter *reporter)
{
    const struct learner_options *options = reporter->options;
    const struct run *run = reporter->run;
    /* Stays negative where the run has no limit. */
    double fraction = -1;
    if (run->state != NULL && options->steps > 0) {
        fraction = (double)state_step(run->state) / (double)options->steps;
    }
    /* With two limits, the one that is nearer. */
    if (options->max_seconds > 0) {
        fraction = fmax(fraction, run->about.learning_seconds / options->max_seconds);
    }
    return run->about.finished ? 1 : fmin(fraction, 1);
}

void status_reporter_say(struct status_reporter *reporter, const char *format, ...)
{
    char text[CONFIG_TEXT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    /* For whoever looks at the process, and for clients that ask for Progress. */
    process_report(reporter->process, fraction_done(reporter), "%s", text);
    /* A rank other than 0 has no publisher. */
    if (reporter->publisher != NULL) {
        publisher_set_state(reporter->publisher, text);
    }
}

/* The first wait is logged at once, so that a log without it says that nothing was awaited. */
void status_reporter_waiting(struct status_reporter *reporter, const char *what)
{
    uint64_t now_ns = clock_now_ns();
    status_reporter_say(reporter, "waiting: %s", what);
    if (reporter->wait_log_ns == 0 ||
        now_ns - reporter->wait_log_ns > WAIT_LOG_PERIOD_MS * NS_PER_MS) {
        reporter->wait_log_ns = now_ns;
        log_info("waiting: %s", what);
    }
}

/* Appends "  label 1.23" where the report has this quantity. */
static void add_text(char *text, size_t size, const struct report *report, const char *label,
                     const char *name)
{
    double value = reporter_mean(report, name);
    if (!isnan(value)) {
        size_t length = strlen(text);
        snprintf(text + length, size - length, "  %s %.3g", label, value);
    }
}

/* The status line of a step: progress, rate, and the quantities that show at a glance whether
 * learning goes well. */
static void say_step(struct status_reporter *reporter, const struct report *report,
                     const struct report *shown, struct reporter_rates rates)
{
    char text[CONFIG_TEXT_SIZE], of[32] = "";
    if (reporter->options->steps > 0) {
        snprintf(of, sizeof(of), "/%" PRId64, reporter->options->steps);
    }
    snprintf(text, sizeof(text), "step %" PRIu64 "%s  %.1f steps/s", report->step, of,
             rates.steps_per_second);
    /* Quantities that this algorithm does not have are left out. */
    add_text(text, sizeof(text), report, "accepted", "accepted");
    add_text(text, sizeof(text), shown, "std", "policy_std");
    add_text(text, sizeof(text), report, "eta", "eta");
    add_text(text, sizeof(text), report, "critic", "critic_loss");
    add_text(text, sizeof(text), report, "value", "value_mean");
    add_text(text, sizeof(text), report, "q", "q_mean");
    size_t length = strlen(text);
    /* A large share says that steps wait for batches. */
    snprintf(text + length, sizeof(text) - length, "  wait %.0f%%%s", 100 * rates.wait_share,
             reporter->held_out);
    status_reporter_say(reporter, "%s", text);
}

/* What Progress answers. */
static void set_progress(struct status_reporter *reporter, const struct report *shown,
                         uint64_t step, double steps_per_second)
{
    struct publisher_progress progress = {.learner_step = step,
                                          .learner_steps = (uint64_t)reporter->options->steps,
                                          .steps_per_second = steps_per_second,
                                          .learning_seconds =
                                              reporter->run->about.learning_seconds};
    reporter_progress(shown, &progress);
    publisher_set_progress(reporter->publisher, &progress);
}

void status_reporter_learning(struct status_reporter *reporter, const struct report *report,
                              const struct report *shown, struct reporter_rates rates)
{
    /* More often than this nobody can read. */
    uint64_t now_ns = clock_now_ns();
    if (now_ns - reporter->status_ns < STATUS_PERIOD_MS * NS_PER_MS) {
        return;
    }
    reporter->status_ns = now_ns;
    /* The same numbers for people and for Progress. */
    say_step(reporter, report, shown, rates);
    set_progress(reporter, shown, report->step, rates.steps_per_second);
}

void status_reporter_validated(struct status_reporter *reporter, const struct report *train,
                               const struct report *holdout)
{
    snprintf(reporter->held_out, sizeof(reporter->held_out),
             "  held out: critic %.3g (train %.3g)  q-return corr %.2f (train %.2f)",
             reporter_mean(holdout, "critic_loss"), reporter_mean(train, "critic_loss"),
             reporter_mean(holdout, "q_correlation"), reporter_mean(train, "q_correlation"));
}

void status_reporter_finished(struct status_reporter *reporter, const struct report *shown)
{
    const struct run *run = reporter->run;
    /* The rate is 0: no more steps are taken. */
    set_progress(reporter, shown, state_step(run->state), 0);
    status_reporter_say(reporter, "finished at step %" PRIu64 ": %s", state_step(run->state),
                        run->about.finish_reason);
}
