/* Packed weights: see packing.h.
 *
 * The copies belong to this module, which writes them; networks see them through const pointers.
 *
 * Copies are current for one version of a state (state_version). Packing the networks is shared by
 * threads; the targets are packed by one thread, and only when they change. */
#include "learner/step/packing.h"

#include <string.h>

#include "common/networks/kernels.h"

/* Which network of the step has which name in the layout, and whether its target copy evaluates
 * sampled actions, where bf16 is precise enough. */
static const struct {
    size_t at; /* in struct step */
    const char *name;
    bool evaluates;
} known[PACKING_NETWORKS] = {{offsetof(struct step, policy), "policy", false},
                             {offsetof(struct step, prior), "prior", false},
                             {offsetof(struct step, critic), "critic", true},
                             {offsetof(struct step, critic2), "critic2", true},
                             {offsetof(struct step, perturb), "perturb", true},
                             {offsetof(struct step, value), "value", false}};

bool packing_all_bf16(const struct settings *settings)
{
    return settings->precision == PRECISION_BF16 || kernels_bf16_parts() > 1;
}

/* What the settings ask of a network's own copy, and of its target's where it `evaluates`. */
static enum network_bf16 kind_of(const struct settings *settings, bool is_target, bool evaluates)
{
    if (packing_all_bf16(settings)) {
        return NETWORK_BF16_ALL;
    }
    return is_target && evaluates && settings->evaluation_precision == PRECISION_BF16
               ? NETWORK_BF16_ACTIONS
               : NETWORK_BF16_NONE;
}

/* Shape, place in the gradients and packed copies of a network that the layout has. */
static status init_entry(struct packing_entry *entry, const struct parameters_group *group,
                         enum network_bf16 now, enum network_bf16 target)
{
    /* The networks point to their packed copies for good; their parameters are set for each
     * state. */
    struct step_network *network = entry->network;
    network->at = group->at;
    network->now = (struct network){.shape = &group->shape, .packed = &entry->now};
    status s = network_packed_init(&entry->now, &group->shape, now);
    if (s == STATUS_OK && group->has_target) {
        network->target = (struct network){.shape = &group->shape, .packed = &entry->target};
        s = network_packed_init(&entry->target, &group->shape, target);
    }
    return s;
}

status packing_init(struct packing *packing, struct step *step,
                    const struct parameters_layout *layout, struct err *err)
{
    *packing = (struct packing){0};
    /* After a failure packing_fini frees what is there: entries that were not reached are zero. */
    for (size_t n = 0; n < PACKING_NETWORKS; n++) {
        struct packing_entry *entry = &packing->entries[n];
        /* Networks that the layout lacks keep a NULL shape and are skipped everywhere. */
        entry->network = (struct step_network *)(void *)((unsigned char *)step + known[n].at);
        const struct parameters_group *group = parameters_group(layout, known[n].name);
        const enum network_bf16 now = kind_of(step->settings, false, known[n].evaluates);
        const enum network_bf16 target = kind_of(step->settings, true, known[n].evaluates);
        if (group != NULL && init_entry(entry, group, now, target) != STATUS_OK) {
            return err_set(err, STATUS_NO_MEMORY, "learner: packed weights of %s", group->name);
        }
    }
    return STATUS_OK;
}

void packing_fini(struct packing *packing)
{
    /* Also entries that were never filled in: packed copies of size 0. */
    for (size_t n = 0; n < PACKING_NETWORKS; n++) {
        network_packed_fini(&packing->entries[n].now);
        network_packed_fini(&packing->entries[n].target);
    }
}

void packing_point(struct packing *packing, const struct state *state)
{
    const float *params = state_read(state, STATE_PARAMS);
    const float *targets = state_read(state, STATE_TARGETS);
    /* Offsets in the blocks are the same for networks and targets. Entries without a network
     * point to the begin of the blocks and are never used. */
    for (size_t n = 0; n < PACKING_NETWORKS; n++) {
        struct step_network *network = packing->entries[n].network;
        network->now.params = params + network->at;
        network->target.params = targets + network->at;
    }
}

bool packing_is_current(const struct packing *packing, const struct state *state)
{
    return packing->version == state_version(state);
}

/* ---- Packing ---- */

void packing_pack(struct packing *packing, int i, int n_threads)
{
    /* Every thread packs its share of every network, so that all have as much to do. */
    for (size_t n = 0; n < PACKING_NETWORKS; n++) {
        struct packing_entry *entry = &packing->entries[n];
        const struct network *network = &entry->network->now;
        if (network->shape != NULL) {
            network_pack(&entry->now, network->shape, network->params, i, n_threads);
        }
    }
}

void packing_pack_targets(struct packing *packing)
{
    /* All targets, from their own parameters. */
    for (size_t n = 0; n < PACKING_NETWORKS; n++) {
        struct packing_entry *entry = &packing->entries[n];
        const struct network *target = &entry->network->target;
        if (target->shape != NULL) {
            network_pack(&entry->target, target->shape, target->params, 0, 1);
        }
    }
}

void packing_copy_targets(struct packing *packing)
{
    /* Targets that have just become copies of the networks: their panels are the same bytes, and
     * copying is cheaper than packing. Where only the target has panels of bf16 it is packed. */
    for (size_t n = 0; n < PACKING_NETWORKS; n++) {
        struct packing_entry *entry = &packing->entries[n];
        const struct network *target = &entry->network->target;
        if (target->shape != NULL &&
            !network_packed_copy(&entry->target, &entry->now, target->shape)) {
            network_pack(&entry->target, target->shape, target->params, 0, 1);
        }
    }
}

void packing_done(struct packing *packing, const struct state *state)
{
    ASSERT(state_version(state) != 0);
    packing->version = state_version(state);
}

size_t packing_bytes(const struct packing *packing)
{
    /* Empty entries have size 0. */
    size_t bytes = 0;
    for (size_t n = 0; n < PACKING_NETWORKS; n++) {
        bytes += packing->entries[n].now.size_bytes + packing->entries[n].target.size_bytes;
    }
    return bytes;
}
