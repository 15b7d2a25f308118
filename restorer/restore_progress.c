/* Turns the counts of the restoring thread into metrics and one line of text.
 *
 * Counters of this process are metrics; what concerns the current pass is in the text only. The
 * restoring thread writes the atomics, the loop thread reads them, each for itself: the numbers of
 * one line may be a moment apart. */
#include "restorer/restore_progress.h"

#include <inttypes.h>

#include "common/base/clock.h"
#include "common/base/metrics.h"

/* The text for each state but inserting, which has numbers. */
static const char *const state_texts[] = {
    [RESTORE_CONNECTING] = "waiting for the replay server",
    [RESTORE_INSERTING] = "inserting",
    [RESTORE_FLUSHING] = "waiting for acknowledgements",
    [RESTORE_SEALING] = "sealing the table",
    [RESTORE_DONE] = "done",
};

/* One restorer per process, so the metrics are static. */
static struct metric *episodes, *held_out, *transitions, *bad, *bytes, *duplicates, *waited,
    *passes;

void restore_progress_start(struct restore_progress *progress)
{
    episodes = metric_counter("hindcast_restorer_episodes_total", "Episodes inserted", NULL);
    held_out = metric_counter("hindcast_restorer_held_out_episodes_total",
                              "Episodes inserted into the table of those held out", NULL);
    transitions =
        metric_counter("hindcast_restorer_transitions_total", "Transitions inserted", NULL);
    bad = metric_counter("hindcast_restorer_bad_episodes_total", "Episodes refused", NULL);
    bytes = metric_counter("hindcast_restorer_sent_bytes_total", "Bytes of rows sent", NULL);
    duplicates = metric_counter("hindcast_restorer_duplicates_total",
                                "Episodes that the table already had", NULL);
    waited = metric_counter("hindcast_restorer_waited_seconds_total",
                            "Time spent waiting for the server or the network", NULL);
    passes = metric_gauge("hindcast_restorer_pass", "Completed passes over the logs", NULL);
    /* The rate of the first line counts from here. */
    progress->last_ns = clock_now_ns();
}

/* Raises a counter to `value`; counters never decrease. */
static void raise_to(struct metric *metric, double value)
{
    const double more = value - metric_value(metric);
    if (more > 0) {
        metric_add(metric, more);
    }
}

/* Transitions per second between two calls. */
static void measure_rate(struct restore_progress *progress, uint64_t inserted)
{
    /* Without time between two calls the last rate stays. */
    const uint64_t now = clock_now_ns();
    if (now > progress->last_ns) {
        progress->rate = (double)(inserted - progress->last_transitions) * 1e9 /
                         (double)(now - progress->last_ns);
    }
    progress->last_ns = now;
    progress->last_transitions = inserted;
}

void restore_progress_show(struct restore_progress *progress, struct process *process)
{
    /* Each is read once, so that text and metrics show the same. */
    const uint64_t inserted = atomic_load(&progress->transitions);
    const uint64_t refused = atomic_load(&progress->bad);
    const uint64_t pass = atomic_load(&progress->pass);
    const uint64_t done = atomic_load(&progress->done);
    raise_to(episodes, (double)atomic_load(&progress->episodes));
    raise_to(held_out, (double)atomic_load(&progress->held_out));
    raise_to(transitions, (double)inserted);
    raise_to(bad, (double)refused);
    raise_to(bytes, (double)atomic_load(&progress->bytes));
    raise_to(duplicates, (double)atomic_load(&progress->duplicates));
    raise_to(waited, (double)atomic_load(&progress->waited_ms) / 1e3);
    metric_set(passes, (double)pass);
    measure_rate(progress, inserted);

    /* The text and the fraction that is done. */
    const int state = atomic_load(&progress->state);
    double fraction = -1;
    if (!progress->endless && state != RESTORE_CONNECTING) {
        const bool over = state != RESTORE_INSERTING || progress->all == 0;
        fraction = over ? 1 : (double)done / (double)progress->all;
    }
    if (state == RESTORE_INSERTING) {
        process_report(process, fraction,
                       "pass %" PRIu64 "  episode %" PRIu64 "/%" PRIu64
                       "  %.0f transitions/s  %" PRIu64 " bad",
                       pass, done, progress->all, progress->rate, refused);
    } else {
        process_report(process, fraction, "%s", state_texts[state]);
    }
}
