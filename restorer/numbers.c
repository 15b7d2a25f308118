/* Counts to metrics and to the one line that says where we are. */
#include "restorer/numbers.h"

#include <inttypes.h>

#include "common/base/clock.h"
#include "common/base/metrics.h"

static const char *const state_texts[] = {
    [CONNECTING] = "waiting for the replay server",
    [INSERTING] = "inserting",
    [FLUSHING] = "waiting for acknowledgements",
    [SEALING] = "sealing the table",
    [DONE] = "done",
};

/* Metrics and the counts that they show. */
static struct metric *episodes, *transitions, *bad, *bytes, *duplicates, *waited, *passes;

void numbers_start(struct numbers *numbers)
{
    episodes = metric_counter("hindcast_restorer_episodes_total", "Episodes inserted", NULL);
    transitions =
        metric_counter("hindcast_restorer_transitions_total", "Transitions inserted", NULL);
    bad = metric_counter("hindcast_restorer_bad_episodes_total", "Episodes refused", NULL);
    bytes = metric_counter("hindcast_restorer_sent_bytes_total", "Bytes of rows sent", NULL);
    duplicates = metric_counter("hindcast_restorer_duplicates_total",
                                "Episodes that were resident already", NULL);
    waited = metric_counter("hindcast_restorer_waited_seconds_total",
                            "Time that the server or the network made us wait", NULL);
    passes = metric_gauge("hindcast_restorer_pass", "Passes over the logs so far", NULL);
    numbers->last_ns = clock_now_ns();
}

/* Counters only grow. */
static void raise_to(struct metric *metric, double value)
{
    const double more = value - metric_value(metric);
    if (more > 0) {
        metric_add(metric, more);
    }
}

static void measure_rate(struct numbers *numbers, uint64_t inserted)
{
    const uint64_t now = clock_now_ns();
    if (now > numbers->last_ns) {
        numbers->rate =
            (double)(inserted - numbers->last_transitions) * 1e9 / (double)(now - numbers->last_ns);
    }
    numbers->last_ns = now;
    numbers->last_transitions = inserted;
}

void numbers_show(struct numbers *numbers, struct process *process)
{
    const uint64_t inserted = atomic_load(&numbers->transitions);
    const uint64_t refused = atomic_load(&numbers->bad);
    const uint64_t pass = atomic_load(&numbers->pass);
    const uint64_t done = atomic_load(&numbers->done);
    raise_to(episodes, (double)atomic_load(&numbers->episodes));
    raise_to(transitions, (double)inserted);
    raise_to(bad, (double)refused);
    raise_to(bytes, (double)atomic_load(&numbers->bytes));
    raise_to(duplicates, (double)atomic_load(&numbers->duplicates));
    raise_to(waited, (double)atomic_load(&numbers->waited_ms) / 1e3);
    metric_set(passes, (double)pass);
    measure_rate(numbers, inserted);

    const int state = atomic_load(&numbers->state);
    double fraction = -1;
    if (!numbers->endless && state != CONNECTING) {
        const bool over = state != INSERTING || numbers->all == 0;
        fraction = over ? 1 : (double)done / (double)numbers->all;
    }
    if (state == INSERTING) {
        process_report(process, fraction,
                       "pass %" PRIu64 "  episode %" PRIu64 "/%" PRIu64
                       "  %.0f transitions/s  %" PRIu64 " bad",
                       pass, done, numbers->all, numbers->rate, refused);
    } else {
        process_report(process, fraction, "%s", state_texts[state]);
    }
}
