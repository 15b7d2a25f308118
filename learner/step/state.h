/* All that a learner has learned: parameters, target copies, duals, Adam moments, the number of
 * steps done. One flat block each, under one layout (common/networks/parameters.h), so that
 * optimiser, checkpoint and publishing are one loop each. */
#ifndef HINDCAST_LEARNER_STEP_STATE_H
#define HINDCAST_LEARNER_STEP_STATE_H

#include <stdint.h>

#include "common/base/status.h"
#include "common/networks/parameters.h"
#include "common/networks/safetensors.h"
#include "learner/step/settings.h"

/* A metadata string that goes into a checkpoint or a policy package, or was found there. */
struct state_note {
    const char *name;
    const char *text;
};

struct state {
    struct parameters_layout layout;
    float *params;  /* (layout.size) networks and duals; 64-byte aligned, as all four */
    float *targets; /* (layout.size) the same offsets; only the groups with a target copy mean
                       anything */
    float *m, *v;   /* (layout.size) Adam moments */
    uint64_t step;  /* learner steps done */
};

/* Initial weights from settings->seed, zero biases and moments, targets equal to the networks.
 * NO_MEMORY, INVALID. */
status state_new(struct state **state, const struct settings *settings, struct err *err) MUST_CHECK;
void state_free(struct state *state);

/* Writes everything to one safetensors file, aside and renamed: `policy/..`, `dual/rho_eta`,
 * `target/policy/..`, `m/..`, `v/..`, the settings and `notes` as metadata (format
 * hindcast-checkpoint-1). The same state and notes: the same bytes. Reading it back is bit-exact. A
 * note's name must not be that of a setting. */
status state_save(const struct state *state, const struct settings *settings,
                  const struct state_note *notes, size_t n_notes, const char *path,
                  struct err *err) MUST_CHECK;

/* Reads a checkpoint into `state`, made with the same layout: MISMATCH names the setting or tensor
 * that differs (of the settings only those that shape the networks are compared), CORRUPT,
 * NOT_FOUND, IO. After an error `state` is what it was. `*file`, where not NULL, keeps the file
 * open for its notes (safetensors_metadata); safetensors_free it. */
status state_load(struct state *state, const struct settings *settings, const char *path,
                  struct safetensors **file, struct err *err) MUST_CHECK;

/* 64-bit digest of parameters, targets and step: several learners of one model compare it. */
uint64_t state_digest(const struct state *state);

/* The policy package (common/networks/policy.h) of what acts: the policy, or the prior in bm, abm
 * and bcq, with what it takes to act, and the prior beside a policy. `signature_json` may be NULL.
 * *bytes is the caller's (mem_free). */
status state_package(const struct state *state, const struct settings *settings,
                     const char *signature_json, const struct state_note *notes, size_t n_notes,
                     void **bytes, size_t *size, struct err *err) MUST_CHECK;

#endif
