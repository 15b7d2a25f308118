/* RUN_DIR/restorer.json: which logs this run learns from, and what they hold, for who looks at the
 * run afterwards.
 *
 *     {"datasets": ["logs/a", ..], "episodes": .., "returns": {"run": {"mean": .., "p90": .., ..}},
 * ..}
 *
 * Without the numbers (dataset_summary_json) when no one restorer went through all logs in one go.
 */
#ifndef HINDCAST_RESTORER_RUN_MANIFEST_H
#define HINDCAST_RESTORER_RUN_MANIFEST_H

#include "common/trajectory/summary.h"
#include "restorer/sources.h"

/* `summary` may be NULL; then a manifest about the same datasets that is there already stays. */
status run_manifest_write(const char *run_dir, const struct sources *sources,
                          struct dataset_summary *summary, struct err *err) MUST_CHECK;

#endif
