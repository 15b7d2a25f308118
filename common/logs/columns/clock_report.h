/* What the stamps of topics are worth: rates, jitter, gaps, order, and drift against the time at
 * which messages were recorded. One line for each topic, over all recordings. */
#ifndef HINDCAST_LOGS_CLOCK_REPORT_H
#define HINDCAST_LOGS_CLOCK_REPORT_H

#include <stddef.h>
#include <stdint.h>

#include "common/base/text.h"
#include "common/logs/columns/recording.h"

/* Of one topic or group of columns. Times are in seconds. */
struct clock_summary {
    char name[RECORDING_NAME_SIZE];
    uint64_t messages, periods; /* periods: between two neighbours in time, in one recording */
    double sum, sum_squares;    /* of the periods */
    double median, p99;         /* of the periods; the largest of all recordings */
    double regular_sum;         /* of the periods of at most three times the median, .. */
    uint64_t regular;           /* .. and their number: what is left without pauses */
    double longest, longest_at; /* the longest period and the stamp at its beginning */
    uint64_t unordered;         /* stamps before that of the message before */
    uint64_t duplicates;        /* stamps equal to another */
    double offset_sum;          /* of stamp - log time */
    uint64_t offsets;
    double drift_ppm; /* slope of stamp against log time, less 1; the largest of all recordings */
};

/* Initialise with {0}. */
struct clock_report {
    size_t n;
    struct clock_summary *topics;
};

void clock_report_fini(struct clock_report *report);
/* Adds the stamps (n) of a topic in one recording, in the order of the file. `log` (n, may be
 * NULL): when they were recorded, for the drift. Returns NO_MEMORY. */
status clock_report_add(struct clock_report *report, const char *name, const double *stamps,
                        const double *log, uint64_t n, struct err *err) MUST_CHECK;
/* Returns the summary of a topic, or NULL. */
const struct clock_summary *clock_report_find(const struct clock_report *report, const char *name);
/* Appends a table, a line for each topic: messages, rate, mean, std and p99 of the period, the longest
 * pause, stamps out of order and equal to another; and, where the stamps are not those of the recorder,
 * their mean difference from its, and the drift between the two. */
void clock_report_print(const struct clock_report *report, struct text *text);

/* Returns whether no stamp (n) is smaller than the one before. */
bool clock_is_ordered(const double *stamps, uint64_t n);

#endif
