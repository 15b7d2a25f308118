/* Sorts the stamps of each recording, looks at the periods between them, and adds up. */
#include "common/logs/columns/clock_report.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"

void clock_report_fini(struct clock_report *report)
{
    mem_free(report->topics);
    *report = (struct clock_report){0};
}

const struct clock_summary *clock_report_find(const struct clock_report *report, const char *name)
{
    for (size_t i = 0; i < report->n; i++) {
        if (strcmp(report->topics[i].name, name) == 0) {
            return &report->topics[i];
        }
    }
    return NULL;
}

/* Finds or adds the summary of a topic; NULL: out of memory. */
static struct clock_summary *summary_of(struct clock_report *report, const char *name)
{
    const struct clock_summary *found = clock_report_find(report, name);
    if (found != NULL) {
        return &report->topics[found - report->topics];
    }
    struct clock_summary *grown = mem_resize(report->topics, report->n + 1, sizeof *grown);
    if (grown == NULL) {
        return NULL;
    }
    report->topics = grown;
    struct clock_summary *made = &report->topics[report->n++];
    *made = (struct clock_summary){0};
    ASSERT(strlen(name) < sizeof made->name);
    memcpy(made->name, name, strlen(name) + 1);
    return made;
}

bool clock_is_ordered(const double *stamps, uint64_t n)
{
    for (uint64_t i = 1; i < n; i++) {
        if (stamps[i] < stamps[i - 1]) {
            return false;
        }
    }
    return true;
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Looks at the periods of sorted stamps (n), which become the sorted periods. */
static void add_periods(struct clock_summary *topic, double *stamps, uint64_t n)
{
    for (uint64_t i = 0; i + 1 < n; i++) {
        const double at = stamps[i], period = stamps[i + 1] - at;
        topic->duplicates += period == 0;
        topic->sum += period;
        topic->sum_squares += period * period;
        if (period > topic->longest) {
            topic->longest = period;
            topic->longest_at = at;
        }
        stamps[i] = period;
    }
    if (n < 2) {
        return;
    }
    const uint64_t periods = n - 1;
    qsort(stamps, periods, sizeof *stamps, compare);
    topic->periods += periods;
    for (uint64_t i = 0; i < periods && stamps[i] <= 3 * stamps[periods / 2]; i++) {
        topic->regular_sum += stamps[i];
        topic->regular++;
    }
    topic->median = fmax(topic->median, stamps[periods / 2]);
    topic->p99 = fmax(topic->p99, stamps[(periods - 1) * 99 / 100]);
}

/* The slope of a least-squares line through (log, stamp), both from their first value. */
static void add_drift(struct clock_summary *topic, const double *stamps, const double *log,
                      uint64_t n)
{
    double x_mean = 0, y_mean = 0, xx = 0, xy = 0;
    for (uint64_t i = 0; i < n; i++) {
        x_mean += (log[i] - log[0]) / (double)n;
        y_mean += (stamps[i] - stamps[0]) / (double)n;
        topic->offset_sum += stamps[i] - log[i];
    }
    topic->offsets += n;
    for (uint64_t i = 0; i < n; i++) {
        const double x = log[i] - log[0] - x_mean;
        xx += x * x;
        xy += x * (stamps[i] - stamps[0] - y_mean);
    }
    const double ppm = xx > 0 ? (xy / xx - 1) * 1e6 : 0;
    topic->drift_ppm = fabs(ppm) > fabs(topic->drift_ppm) ? ppm : topic->drift_ppm;
}

status clock_report_add(struct clock_report *report, const char *name, const double *stamps,
                        const double *log, uint64_t n, struct err *err)
{
    struct clock_summary *topic = summary_of(report, name);
    double *sorted = mem_array(n > 0 ? n : 1, sizeof *sorted);
    if (topic == NULL || sorted == NULL) {
        mem_free(sorted);
        return err_set(err, STATUS_NO_MEMORY, "%s: stamps", name);
    }
    topic->messages += n;
    if (n > 0) {
        memcpy(sorted, stamps, n * sizeof *sorted);
    }
    for (uint64_t i = 1; i < n; i++) {
        topic->unordered += stamps[i] < stamps[i - 1];
    }
    if (!clock_is_ordered(stamps, n)) {
        qsort(sorted, n, sizeof *sorted, compare);
    }
    add_periods(topic, sorted, n);
    if (log != NULL && n > 0) {
        add_drift(topic, stamps, log, n);
    }
    mem_free(sorted);
    return STATUS_OK;
}

void clock_report_print(const struct clock_report *report, struct text *text)
{
    text_format(text, "%-24s %9s %9s %9s %9s %9s %10s %9s %10s %12s %9s\n", "topic", "messages",
                "rate, Hz", "mean, ms", "std, ms", "p99, ms", "pause, ms", "unordered",
                "duplicates", "-log, ms", "drift,ppm");
    for (size_t i = 0; i < report->n; i++) {
        const struct clock_summary *t = &report->topics[i];
        const double periods = (double)t->periods, mean = t->periods > 0 ? t->sum / periods : 0;
        const double variance = t->periods > 0 ? t->sum_squares / periods - mean * mean : 0;
        text_format(text,
                    "%-24s %9" PRIu64 " %9.5g %9.4g %9.3g %9.4g %10.4g %9" PRIu64 " %10" PRIu64,
                    t->name, t->messages, mean > 0 ? 1 / mean : 0, mean * 1e3,
                    sqrt(fmax(variance, 0)) * 1e3, t->p99 * 1e3, t->longest * 1e3, t->unordered,
                    t->duplicates);
        if (t->offsets > 0) {
            text_format(text, " %12.4g %9.3g", t->offset_sum / (double)t->offsets * 1e3,
                        t->drift_ppm);
        }
        text_add(text, "\n");
    }
}
