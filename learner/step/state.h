/* All that a learner has learned: parameters, target copies, duals, Adam moments, averages, the
 * number of steps done. Five flat blocks of floats under one layout (common/networks/parameters.h), so that
 * optimiser, checkpoint and publishing are one loop each.
 *
 * The struct is private to state.c. Everyone else reads a block through a view, or replaces one:
 * where the floats live is this module's own business. Each change gives the state a new version,
 * by which an update sees that its packed copies of the weights are out of date.
 *
 * One thread at a time. */
#ifndef HINDCAST_LEARNER_STEP_STATE_H
#define HINDCAST_LEARNER_STEP_STATE_H

#include <stdint.h>

#include "common/base/status.h"
#include "common/networks/normalizer.h"
#include "common/networks/parameters.h"
#include "common/networks/policy.h"
#include "common/networks/safetensors.h"
#include "learner/step/settings.h"

/* A metadata string that goes into a checkpoint or a policy package, or was found there. */
struct state_note {
    const char *name;
    const char *text;
};

/* In the order in which checkpoints and learners that exchange a state have them. */
enum state_block {
    STATE_PARAMS,  /* networks and duals */
    STATE_TARGETS, /* meaningful for groups with a target copy only */
    STATE_M,       /* Adam's first moments */
    STATE_V,       /* Adam's second moments */
    STATE_AVERAGE, /* of the networks' parameters, with `policy_average`; else the initial ones */
    STATE_BLOCKS
};

struct state;

/* Initial weights from settings->seed, zero biases and moments, targets and averages equal to the networks.
 * NO_MEMORY, INVALID. */
status state_new(struct state **state, const struct settings *settings, struct err *err) MUST_CHECK;
void state_free(struct state *state);

/* ---- Views ---- */

const struct parameters_layout *state_layout(const struct state *state);
/* Learner steps done. */
uint64_t state_step(const struct state *state);
/* A block's layout.size floats, 64-byte aligned. The view ends when the state changes or is freed.
 */
const float *state_read(const struct state *state, enum state_block block);
/* What the state normalizes observations with, a view like the others; O is 0 where it does not. */
struct normalizer state_normalizer(const struct state *state);
/* Differs from every earlier version of this state and from all versions of other states. */
uint64_t state_version(const struct state *state);
/* 64-bit digest of parameters, targets and step: several learners of one model compare it. */
uint64_t state_digest(const struct state *state);

/* ---- Changes ---- */

/* The block as a place to write; ends like a view. Counts as one change, at the time of the call.
 */
float *state_write(struct state *state, enum state_block block);
void state_set_step(struct state *state, uint64_t step);
/* A block <- values(layout.size). */
void state_replace(struct state *state, enum state_block block, const float *values);
/* For a state that normalizes: mean(O) and scale(O). A new state has 0 and 1. */
void state_set_normalizer(struct state *state, const float *mean, const float *scale);
/* All of `to` <- `from`, which has the same layout. */
void state_copy(struct state *to, const struct state *from);

/* ---- Files (state_file.c) ---- */

/* Writes everything to one safetensors file, aside and renamed: `policy/..`, `dual/rho_eta`,
 * `target/policy/..`, `m/..`, `v/..`, the settings and `notes` as metadata (format
 * hindcast-checkpoint-1). The same state and notes: the same bytes. Reading it back is bit-exact. A
 * note's name must not be that of a setting. */
status state_save(const struct state *state, const struct settings *settings,
                  const struct state_note *notes, size_t n_notes, const char *path,
                  struct err *err) MUST_CHECK;

/* Reads a checkpoint into `state`, made with the same layout. MISMATCH names the setting or tensor
 * that differs (of the settings only those that shape the networks are compared); CORRUPT,
 * NOT_FOUND, IO. After an error `state` is unchanged. `*file`, where not NULL, keeps the file open
 * for its notes (safetensors_metadata); free it with safetensors_free. */
status state_load(struct state *state, const struct settings *settings, const char *path,
                  struct safetensors **file, struct err *err) MUST_CHECK;

/* The policy package (common/networks/policy.h) of what acts: the policy, or the prior in bm, abm
 * and bcq, with what it takes to act, and the prior beside a policy. `signature_json` may be NULL, and
 * so may the ranges of observations.
 * *bytes is the caller's (mem_free). */
status state_package(const struct state *state, const struct settings *settings,
                     const char *signature_json, const struct policy_ranges *ranges,
                     const struct state_note *notes, size_t n_notes, void **bytes, size_t *size,
                     struct err *err) MUST_CHECK;

#endif
