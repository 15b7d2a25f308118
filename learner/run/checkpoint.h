/* Checkpoints: all that a run needs to go on, one safetensors file each, whole or absent.
 *
 *     RUN_DIR/checkpoints/step-00001200.safetensors
 *
 * The arithmetic's part is state_save's (learner/step/state.h); beside it stand, as metadata strings,
 * the run's identity, the sampling position and how the run ended. docs/storage.md, "Checkpoints".
 */
#ifndef HINDCAST_LEARNER_RUN_CHECKPOINT_H
#define HINDCAST_LEARNER_RUN_CHECKPOINT_H

#include <stdint.h>

#include "common/base/status.h"
#include "common/trajectory/signature.h"
#include "learner/run/options.h"
#include "learner/step/settings.h"
#include "learner/step/state.h"

#define CHECKPOINT_TEXT_SIZE   256
#define CHECKPOINT_CONFIG_SIZE 16384
#define CHECKPOINT_BY_LIMITS   "learner"
#define CHECKPOINT_MAX_BYTES   (4ull << 30)

/* What is in a checkpoint beside the state; plain data. */
struct checkpoint {
    char run_id[64];
    uint64_t version;       /* of the parameters published last; 0: none */
    uint64_t next_batch;    /* number of the batch that the next step takes */
    uint64_t table_version; /* of the sealed table it learned from; 0: not sealed, or none yet */
    double learning_seconds;
    bool finished;
    char finish_reason[CHECKPOINT_TEXT_SIZE];
    char finish_who[CHECKPOINT_TEXT_SIZE]; /* "evaluator-0"; CHECKPOINT_BY_LIMITS: the learner's own
                                              limits */
    struct signature signature;            /* of the table */
    char config[CHECKPOINT_CONFIG_SIZE];   /* the effective learner section, YAML */
    uint64_t config_digest;
};

/* Writes the state and `about` to folder/step-N and removes all but the `keep` newest. OK once the
 * file is durable, even where an old one could not be removed. FULL, IO: what was there still is.
 */
status checkpoint_write(const char *folder, int64_t keep, const struct state *state,
                        const struct settings *settings, const struct checkpoint *about,
                        struct err *err) MUST_CHECK;

/* Steps of the checkpoints in `folder`, newest first; *steps is the caller's (mem_free). A folder
 * that is not there has none. */
status checkpoint_list(const char *folder, uint64_t **steps, size_t *n, struct err *err) MUST_CHECK;

/* The newest checkpoint that is sound: into a new state (the caller's), with the settings that
 * `options` give for its signature. Newer ones that failed their check are named in the log and set
 * aside as `...corrupt`. NOT_FOUND: none there. CORRUPT, IO: there are some, none of them sound;
 * all stay as they are. MISMATCH, INVALID: of a run with another algorithm, other sizes; the text
 * says which. */
status checkpoint_resume(const char *folder, const struct learner_options *options, uint64_t seed,
                         struct state **state, struct settings *settings, struct checkpoint *about,
                         struct err *err) MUST_CHECK;
/* The same for whoever only looks, beside a learner or without one: nothing is set aside. */
status checkpoint_look(const char *folder, const struct learner_options *options, uint64_t seed,
                       struct state **state, struct settings *settings, struct checkpoint *about,
                       struct err *err) MUST_CHECK;

#endif
