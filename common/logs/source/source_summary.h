/* A summary of all that is in one place of logs (common/trajectory/summary.h). */
#ifndef HINDCAST_LOGS_SOURCE_SUMMARY_H
#define HINDCAST_LOGS_SOURCE_SUMMARY_H

#include "common/logs/source/sources.h"
#include "common/trajectory/summary.h"

/* Reads all of the source and adds it. Bad episodes are counted, not an error. MISMATCH: the
 * signature is not the summary's. */
status source_summary_add(struct dataset_summary *summary, struct source *source,
                          struct err *err) MUST_CHECK;

/* Makes the summary of all sources, to be released with dataset_summary_free. `holdout` may be NULL;
 * see dataset_summary_set_holdout. */
status source_summary_make(struct dataset_summary **summary, const struct sources *sources,
                           const struct episode_holdout *holdout, struct err *err) MUST_CHECK;

#endif
