/* What a policy package says about its table, as JSON in the note made_of:
 *
 *     {"table_version": "<16 hex digits>", "datasets": [{"folder": "a", "files": 3, "digest": "<16>"}],
 *      "relabel": "..", "rewards": ["run"], "actions": "refuse", "rules": "..", "holdout": "0.1"}
 *
 * table_version is the digest of the sealed table that Replay's Info shows; it is absent while the
 * table grows. The rest is there where the run's folder has the restorer's manifest (docs/storage.md,
 * "restorer.json"): the digest of a dataset is the XXH64 of the digests of its metadata or mapping and of
 * its files, in order, as the manifest writes them; absent where the manifest does not have all. */
#ifndef HINDCAST_LEARNER_RUN_MADE_OF_H
#define HINDCAST_LEARNER_RUN_MADE_OF_H

#include <stdint.h>

/* The caller frees it (mem_free). NULL: out of memory. */
char *made_of_json(const char *run_dir, uint64_t table_version);

#endif
