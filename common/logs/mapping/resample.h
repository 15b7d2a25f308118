/* Brings columns that have clocks of their own to the control period.
 *
 * A resampled file is a log file (log_file.h) on top of another one. Its columns are those that the
 * mapping names, all with a row for each control step, and its recordings are the stretches of time
 * in which all topics have messages:
 *
 *     start    the latest first message of the topics
 *     end      the earliest last message, plus 3/4 of the topic's median period, for which a value
 *              is still taken to be valid; the last action is valid for a whole period, and the
 *              observation after it may come half a control period later
 *     t_k      start + phase + k * control_period_s
 *
 * `phase` puts the steps where the actions are, in the middle of their jitter: it is the circular
 * mean of (stamp of an action) mod control_period_s, or 0 if these are spread too widely to have a
 * mean. The values of row k are
 *
 *     hold     of the newest message with stamp + delay <= t_k
 *     linear   between that and the next message; with slerp, unit quaternions along the arc
 *     sum      of all messages in (t_k - control_period_s, t_k]; 0 without any. The last row also
 *              has what comes in the control period after it
 *     actions  of the newest message with stamp <= t_k + control_period_s / 2: the command that is
 *              valid for most of the step, whatever the jitter
 *
 * Stamps may be a microsecond too late, since doubles round them. Messages that are out of order are
 * sorted, and of several with one stamp the last one counts. These rules are specific to
 * Hindcast. */
#ifndef HINDCAST_LOGS_RESAMPLE_H
#define HINDCAST_LOGS_RESAMPLE_H

#include "common/logs/columns/clock_report.h"
#include "common/logs/files/log_file.h"
#include "common/logs/mapping/mapping.h"

/* What is found on the way, over all files. Initialise with {0}. */
struct resample_findings {
    struct clock_report clocks; /* of the groups that the mapping uses */
    struct text notes;          /* lines, each ending in a newline */
    unsigned char *times_seen;  /* (n_times of the mapping) is there an episode for it? May be
                                   NULL; the caller's */
};

/* Opens `file` resampled. *Takes* `file`, which it closes on an error, too. `mapping` must outlive
 * the file. `findings` may be NULL. Returns INVALID if a column has no clock or no values. */
status resample_open(struct log_file **resampled, struct log_file *file,
                     const struct mapping *mapping, struct resample_findings *findings,
                     struct err *err) MUST_CHECK;
/* Returns whether a file was opened by resample_open. */
bool resample_is(const struct log_file *file);
/* Returns t_0 of a recording of a resampled file, in seconds. */
double resample_start(const struct log_file *resampled, uint64_t recording_i);

#endif
