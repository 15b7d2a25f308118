/* A summary of all that a source holds (common/trajectory/summary.h). */
#ifndef HINDCAST_LOGS_SOURCE_SUMMARY_H
#define HINDCAST_LOGS_SOURCE_SUMMARY_H

#include "common/logs/source.h"
#include "common/trajectory/summary.h"

/* Reads all of the source and adds it. Bad episodes are counted, not an error. MISMATCH: the
 * signature is not the summary's. */
status source_summary_add(struct dataset_summary *summary, struct source *source,
                          struct err *err) MUST_CHECK;

/* Makes the summary of one source, to be released with dataset_summary_free. */
status source_summary_make(struct dataset_summary **summary, struct source *source,
                           struct err *err) MUST_CHECK;

#endif
