/* A run: its state, identity, versions and checkpoints. Training thread only. */
#ifndef HINDCAST_LEARNER_RUN_RUN_H
#define HINDCAST_LEARNER_RUN_RUN_H

#include "common/base/counter_file.h"
#include "common/base/experiment.h"
#include "learner/run/checkpointer.h"
#include "learner/run/observed.h"
#include "learner/run/options.h"
#include "learner/run/publisher.h"

struct run {
    const struct experiment *experiment; /* borrowed, as the next three */
    const struct learner_options *options;
    const char *config;
    struct publisher *publisher;

    struct settings settings;
    struct state *state;     /* NULL until run_resume or run_begin */
    struct checkpoint about; /* as the next checkpoint will have it */
    char *signature_json;
    struct observed observed; /* of the table; set before run_begin, which takes it */
    char *made_of;            /* made_of.h; of this table version: */
    uint64_t made_of_version;
    struct counter_file record;
    struct checkpointer *checkpointer;
    uint64_t checkpoint_ns; /* when the last one was offered, and at what step */
    uint64_t checkpoint_step;
};

/* Nothing opened yet; run_fini is fine from here on. `config`: the effective learner section, YAML.
 */
void run_init(struct run *run, const struct experiment *experiment,
              const struct learner_options *options, const char *config, uint64_t config_digest,
              struct publisher *publisher);
void run_fini(struct run *run); /* waits for a checkpoint being written */

/* Goes on from the newest checkpoint in RUN_DIR/checkpoints. NOT_FOUND: there is none; run_begin
 * then. MISMATCH, INVALID: there is one, of other sizes or another algorithm. Other options that
 * differ are named in the log. */
status run_resume(struct run *run, struct err *err) MUST_CHECK;
/* A new run for a table with this signature, with its first checkpoint at step 0. `sums`: what its
 * observations are normalized by; NULL unless settings.normalize asks for it. */
status run_begin(struct run *run, const struct signature *signature,
                 const struct normalizer_sums *sums, struct err *err) MUST_CHECK;

/* Publishes the state as the next version. `finished`: as the last one; it keeps the number that
 * run_end gave it, and is also in RUN_DIR/policy_learner.safetensors. */
status run_publish(struct run *run, bool finished, struct err *err) MUST_CHECK;

/* Offers a checkpoint if one is due; otherwise cheap. */
void run_checkpoint_if_due(struct run *run, uint64_t now_ns);
/* Makes a checkpoint of the state as it is durable, within `timeout_ms`. Does nothing where it is
 * already. */
status run_checkpoint(struct run *run, uint64_t timeout_ms, struct err *err) MUST_CHECK;

/* The run is over for good: numbers the last version and writes the last checkpoint. To be followed
 * by run_publish(finished). */
status run_end(struct run *run, const struct publisher_end *end, uint64_t timeout_ms,
               struct err *err) MUST_CHECK;

#endif
