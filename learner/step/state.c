/* The learner's state in memory: how it begins, and the views through which others see it. Files
 * are in state_file.c, which uses these views like everyone else.
 *
 * Versions come from one counter for the whole process, so that a new state can never be taken for
 * an earlier one that had the same address.
 *
 * Once a state is made its blocks are changed through state_write only, which gives the state a new
 * version. One thread at a time. */
#include "learner/step/state.h"

#include <stdatomic.h>
#include <string.h>
#include <xxhash.h>

#include "common/base/memory.h"
#include "learner/step/algorithm.h"
#include "learner/step/duals.h"
#include "learner/step/operators.h"

struct state {
    struct parameters_layout layout;
    /* The same offset means the same parameter in each. */
    float *blocks[STATE_BLOCKS]; /* (layout.size) each, 64-byte aligned */
    uint64_t step;
    uint64_t version;
};

/* Never 0: in packing.c that version means that nothing is packed yet. */
static uint64_t next_version(void)
{
    static _Atomic uint64_t versions;
    return ++versions;
}

static size_t block_bytes(const struct state *state)
{
    return state->layout.size * sizeof(float);
}

/* ---- Creation ---- */

/* All elements of the dual of that name, where the algorithm has it, begin at `multiplier`. */
static void fill_dual(struct state *state, const char *name, double multiplier)
{
    size_t at;
    int n;
    if (parameters_dual(&state->layout, name, &at, &n)) {
        for (int i = 0; i < n; i++) {
            state->blocks[STATE_PARAMS][at + (size_t)i] = (float)dual_rho(multiplier);
        }
    }
}

/* Where mean and scale stand in the block; NULL where the state does not normalize. */
static const struct parameters_group *normalizer_group(const struct state *state)
{
    return parameters_group(&state->layout, "normalizer");
}

/* The first parameters: a function of the settings. Moments are zero from allocation. */
static void init(struct state *state, const struct settings *settings)
{
    float *params = state->blocks[STATE_PARAMS];
    const struct parameters_group *constants = normalizer_group(state);
    /* A normalizer begins as one that changes nothing: means 0, scales 1. */
    for (size_t i = 0; constants != NULL && i < constants->tensors[1].size; i++) {
        params[constants->at + constants->tensors[1].at + i] = 1.0f;
    }
    /* Each network has its own purpose of noise, so that two of one shape begin differently;
     * targets begin as copies. */
    for (int g = 0; g < state->layout.n_groups; g++) {
        const struct parameters_group *group = &state->layout.groups[g];
        if (group->is_network) {
            network_init(params + group->at, &group->shape, settings->seed,
                         NOISE_INIT + (uint32_t)g);
        }
        if (group->has_target) {
            memcpy(state->blocks[STATE_TARGETS] + group->at, params + group->at,
                   group->size * sizeof *params);
        }
        memcpy(state->blocks[STATE_AVERAGE] + group->at, params + group->at,
               group->size * sizeof *params);
    }
    /* Multipliers are given; their rho is stored. */
    fill_dual(state, "rho_eta", settings->init_eta);
    fill_dual(state, "rho_mean", settings->init_alpha_mean);
    fill_dual(state, "rho_std", settings->init_alpha_std);
}

status state_new(struct state **out, const struct settings *settings, struct err *err)
{
    struct state *state = mem_new(sizeof *state);
    if (state == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "learner state");
    }
    const status s = algorithm_layout(&state->layout, settings, err);
    if (s != STATUS_OK) {
        state_free(state);
        return s;
    }
    /* All blocks have the size of the layout, so that one offset serves all. mem_aligned gives
     * zeros: moments, and everything that init() leaves alone. */
    const size_t bytes = block_bytes(state);
    for (int i = 0; i < STATE_BLOCKS; i++) {
        state->blocks[i] = mem_aligned(bytes);
        if (state->blocks[i] == NULL) {
            state_free(state);
            return err_set(err, STATUS_NO_MEMORY, "learner state of %zu bytes",
                           STATE_BLOCKS * bytes);
        }
    }
    init(state, settings);
    state->version = next_version();
    *out = state;
    return STATUS_OK;
}

void state_free(struct state *state)
{
    if (state == NULL) {
        return;
    }
    for (int i = 0; i < STATE_BLOCKS; i++) {
        mem_free(state->blocks[i]);
    }
    mem_free(state);
}

/* ---- Views ---- */

const struct parameters_layout *state_layout(const struct state *state)
{
    return &state->layout;
}

uint64_t state_step(const struct state *state)
{
    return state->step;
}

const float *state_read(const struct state *state, enum state_block block)
{
    ASSERT(block < STATE_BLOCKS);
    return state->blocks[block];
}

struct normalizer state_normalizer(const struct state *state)
{
    const struct parameters_group *group = normalizer_group(state);
    if (group == NULL) {
        return (struct normalizer){0};
    }
    /* Two vectors of O: the mean, then the scale. */
    const float *params = state->blocks[STATE_PARAMS] + group->at;
    return (struct normalizer){.mean = params + group->tensors[0].at,
                               .scale = params + group->tensors[1].at,
                               .O = group->tensors[0].size};
}

void state_set_normalizer(struct state *state, const float *mean, const float *scale)
{
    /* The group is there where the setting normalize is standard. */
    const struct parameters_group *group = normalizer_group(state);
    ASSERT(group != NULL);
    float *params = state_write(state, STATE_PARAMS) + group->at;
    memcpy(params + group->tensors[0].at, mean, group->tensors[0].size * sizeof *mean);
    memcpy(params + group->tensors[1].at, scale, group->tensors[1].size * sizeof *scale);
}

uint64_t state_version(const struct state *state)
{
    return state->version;
}

uint64_t state_digest(const struct state *state)
{
    const size_t bytes = block_bytes(state);
    /* The step is the seed of the first digest, and that is the seed of the second: one number for
     * all three. */
    const uint64_t params = XXH3_64bits_withSeed(state->blocks[STATE_PARAMS], bytes, state->step);
    return XXH3_64bits_withSeed(state->blocks[STATE_TARGETS], bytes, params);
}

/* ---- Changes ---- */

float *state_write(struct state *state, enum state_block block)
{
    ASSERT(block < STATE_BLOCKS);
    /* Before the caller writes: whoever compares versions later sees the change. */
    state->version = next_version();
    return state->blocks[block];
}

void state_set_step(struct state *state, uint64_t step)
{
    /* Noise is drawn by the step: a state of another step is another state. */
    state->step = step;
    state->version = next_version();
}

void state_replace(struct state *state, enum state_block block, const float *values)
{
    memcpy(state_write(state, block), values, block_bytes(state));
}

void state_copy(struct state *to, const struct state *from)
{
    ASSERT(to->layout.size == from->layout.size);
    /* Offsets agree, since both states have the same layout. */
    for (int i = 0; i < STATE_BLOCKS; i++) {
        state_replace(to, (enum state_block)i, from->blocks[i]);
    }
    state_set_step(to, from->step);
}
