/* The learner's state: made, digested. Files are in state_file.c. */
#include "learner/step/state.h"

#include <string.h>
#include <xxhash.h>

#include "common/base/memory.h"
#include "learner/step/duals.h"
#include "learner/step/operators.h"

static void fill_dual(struct state *state, const char *name, double multiplier)
{
    size_t at;
    int n;
    if (parameters_dual(&state->layout, name, &at, &n)) {
        for (int i = 0; i < n; i++) {
            state->params[at + (size_t)i] = (float)dual_rho(multiplier);
        }
    }
}

static void init(struct state *state, const struct settings *settings)
{
    for (int g = 0; g < state->layout.n_groups; g++) {
        const struct parameters_group *group = &state->layout.groups[g];
        if (group->is_network) {
            network_init(state->params + group->at, &group->shape, settings->seed,
                         NOISE_INIT + (uint32_t)g);
        }
        if (group->has_target) {
            memcpy(state->targets + group->at, state->params + group->at,
                   group->size * sizeof(float));
        }
    }
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
    const size_t bytes = state->layout.size * sizeof(float);
    state->params = mem_aligned(bytes);
    state->targets = mem_aligned(bytes);
    state->m = mem_aligned(bytes);
    state->v = mem_aligned(bytes);
    if (state->params == NULL || state->targets == NULL || state->m == NULL || state->v == NULL) {
        state_free(state);
        return err_set(err, STATUS_NO_MEMORY, "learner state of %zu bytes", 4 * bytes);
    }
    init(state, settings);
    *out = state;
    return STATUS_OK;
}

void state_free(struct state *state)
{
    if (state == NULL) {
        return;
    }
    mem_free(state->params);
    mem_free(state->targets);
    mem_free(state->m);
    mem_free(state->v);
    mem_free(state);
}

uint64_t state_digest(const struct state *state)
{
    const size_t bytes = state->layout.size * sizeof(float);
    uint64_t digest = XXH3_64bits_withSeed(state->params, bytes, state->step);
    return XXH3_64bits_withSeed(state->targets, bytes, digest);
}
