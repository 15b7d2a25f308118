/* Status line, Progress, log. See announcer.h. */
#include "learner/run/announcer.h"

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

static double fraction_done(const struct announcer *announcer)
{
    const struct learner_options *options = announcer->options;
    const struct run *run = announcer->run;
    double fraction = -1;
    if (run->state != NULL && options->steps > 0) {
        fraction = (double)state_step(run->state) / (double)options->steps;
    }
    if (options->max_seconds > 0) {
        fraction = fmax(fraction, run->about.learning_seconds / options->max_seconds);
    }
    return run->about.finished ? 1 : fmin(fraction, 1);
}

void announcer_say(struct announcer *announcer, const char *format, ...)
{
    char text[CONFIG_TEXT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    process_report(announcer->process, fraction_done(announcer), "%s", text);
    if (announcer->publisher != NULL) {
        publisher_set_state(announcer->publisher, text);
    }
}

void announcer_waiting(struct announcer *announcer, const char *what)
{
    uint64_t now_ns = clock_now_ns();
    announcer_say(announcer, "waiting: %s", what);
    if (announcer->wait_log_ns == 0 ||
        now_ns - announcer->wait_log_ns > WAIT_LOG_PERIOD_MS * NS_PER_MS) {
        announcer->wait_log_ns = now_ns;
        log_info("waiting: %s", what);
    }
}

static void add_text(char *text, size_t size, const struct report *report, const char *label,
                     const char *name)
{
    double value = reporter_mean(report, name);
    if (!isnan(value)) {
        size_t length = strlen(text);
        snprintf(text + length, size - length, "  %s %.3g", label, value);
    }
}

static void say_step(struct announcer *announcer, const struct report *report,
                     const struct report *shown, struct reporter_rates rates)
{
    char text[CONFIG_TEXT_SIZE], of[32] = "";
    if (announcer->options->steps > 0) {
        snprintf(of, sizeof(of), "/%" PRId64, announcer->options->steps);
    }
    snprintf(text, sizeof(text), "step %" PRIu64 "%s  %.1f steps/s", report->step, of,
             rates.steps_per_second);
    add_text(text, sizeof(text), report, "accepted", "accepted");
    add_text(text, sizeof(text), shown, "std", "policy_std");
    add_text(text, sizeof(text), report, "eta", "eta");
    add_text(text, sizeof(text), report, "critic", "critic_loss");
    add_text(text, sizeof(text), report, "value", "value_mean");
    add_text(text, sizeof(text), report, "q", "q_mean");
    size_t length = strlen(text);
    snprintf(text + length, sizeof(text) - length, "  wait %.0f%%", 100 * rates.wait_share);
    announcer_say(announcer, "%s", text);
}

static void set_progress(struct announcer *announcer, const struct report *shown, uint64_t step,
                         double steps_per_second)
{
    struct publisher_progress progress = {.learner_step = step,
                                          .learner_steps = (uint64_t)announcer->options->steps,
                                          .steps_per_second = steps_per_second,
                                          .learning_seconds =
                                              announcer->run->about.learning_seconds};
    reporter_progress(shown, &progress);
    publisher_set_progress(announcer->publisher, &progress);
}

void announcer_learning(struct announcer *announcer, const struct report *report,
                        const struct report *shown, struct reporter_rates rates)
{
    uint64_t now_ns = clock_now_ns();
    if (now_ns - announcer->status_ns < STATUS_PERIOD_MS * NS_PER_MS) {
        return;
    }
    announcer->status_ns = now_ns;
    say_step(announcer, report, shown, rates);
    set_progress(announcer, shown, report->step, rates.steps_per_second);
}

void announcer_finished(struct announcer *announcer, const struct report *shown)
{
    const struct run *run = announcer->run;
    set_progress(announcer, shown, state_step(run->state), 0);
    announcer_say(announcer, "finished at step %" PRIu64 ": %s", state_step(run->state),
                  run->about.finish_reason);
}
