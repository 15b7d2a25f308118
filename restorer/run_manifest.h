/* RUN_DIR/restorer.json: which logs this run learns from, what its table was made of, and what the
 * logs contain.
 *
 *     {"datasets": ["logs/a", ..], "mapping": "mine.yaml",
 *      "made_of": {"logs": [{"metadata": "<xxh64>", "files": [
 *                      {"file": "a.hdf5", "bytes": .., "modified": "<ns>", "xxh64": ".."}, ..]}],
 *                  "relabel": "<xxh64 of the script>", "rewards": ["run", ..],
 *                  "actions": "refuse", "rules": "filter: success", "holdout": "0.1"},
 *      "rules": {"filter": [..], "bad_rows": .., "min_piece": .., "actions": ..},
 *      "selection": {"rules": .., "episodes": .., "kept": .., "left_out": {..}, ..},
 *      "episodes": .., "returns": {"run": {"mean": .., "p90": .., ..}}, ..}
 *
 * "selection" is there where rules about episodes change something (selection.h). "mapping" is there where restorer.mapping names a file; for logs of other formats "metadata" is
 * the digest of the mapping. The summary (dataset_summary_json) is missing where no single restorer has read all logs in
 * one pass, and a file's "xxh64" where it has not been computed yet. */
#ifndef HINDCAST_RESTORER_RUN_MANIFEST_H
#define HINDCAST_RESTORER_RUN_MANIFEST_H

#include "common/logs/source/sources.h"
#include "common/relabel/relabel.h"
#include "common/trajectory/summary.h"
#include "restorer/options.h"

/* What a table is made of, borrowed. */
struct run_manifest_inputs {
    const struct sources *sources;
    const struct relabel *relabel;
    const struct restorer_options *options;
    const struct selection *selection;
};

/* Writes the manifest. `summary` may be NULL; then one about the same inputs that is there
 * already stays. With a summary the digests of all files are computed, which reads those that
 * were not yet. */
status run_manifest_write(const char *run_dir, const struct run_manifest_inputs *inputs,
                          struct dataset_summary *summary, struct err *err) MUST_CHECK;

/* Is the table of this run made of these inputs? NOT_FOUND: nothing says what it is made of.
 * MISMATCH names what has changed. Where only the time of a file differs, its contents are
 * compared. Folders may have moved. */
status run_manifest_check(const char *run_dir, const struct run_manifest_inputs *inputs,
                          struct err *err) MUST_CHECK;

#endif
