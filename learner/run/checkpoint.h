/* Checkpoints: everything that a run needs to go on. Each is one safetensors file, whole or absent.
 *
 *     RUN_DIR/checkpoints/step-00001200.safetensors
 *
 * state_save (learner/step/state.h) writes parameters and moments; the run's identity, its position
 * in the batches and how it ended are notes in the file's metadata. docs/storage.md,
 * "Checkpoints". */
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

/* What a checkpoint holds besides the state; plain data. */
struct checkpoint {
    char run_id[64];
    uint64_t version;       /* of the parameters published last; 0: none */
    uint64_t next_batch;    /* number of the batch that the next step takes */
    uint64_t table_version; /* of the sealed table; 0: it was not sealed, or there was none yet */
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
 * file is durable, even where an old one could not be removed. FULL, IO: the folder is
 * unchanged. */
status checkpoint_write(const char *folder, int64_t keep, const struct state *state,
                        const struct settings *settings, const struct checkpoint *about,
                        struct err *err) MUST_CHECK;

/* The steps of the checkpoints in `folder`, newest first; the caller frees *steps (mem_free). A
 * folder that does not exist has none. */
status checkpoint_list(const char *folder, uint64_t **steps, size_t *n, struct err *err) MUST_CHECK;

/* Reads the newest sound checkpoint into a new state, which the caller frees, with the settings
 * that `options` give for its signature. Newer files that fail their check are named in the log and
 * renamed to `...corrupt`. NOT_FOUND: there is no checkpoint. CORRUPT, IO: there are some, but none
 * is sound; all stay as they are. MISMATCH, INVALID: the run has another algorithm or other sizes;
 * the text says which. */
status checkpoint_resume(const char *folder, const struct learner_options *options, uint64_t seed,
                         struct state **state, struct settings *settings, struct checkpoint *about,
                         struct err *err) MUST_CHECK;
/* The same without renaming anything: for use beside a running learner. */
status checkpoint_look(const char *folder, const struct learner_options *options, uint64_t seed,
                       struct state **state, struct settings *settings, struct checkpoint *about,
                       struct err *err) MUST_CHECK;

#endif
