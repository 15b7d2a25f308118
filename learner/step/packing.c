/* Packed weights. See packing.h. */
#include "learner/step/packing.h"

#include <string.h>

#include "common/base/memory.h"

/* Fills in shape and places of a network that the layout has; takes its share of the blocks.
 * `judges`: its target copy judges sampled actions, where bf16 is good enough. */
static void find_network(struct packing *packing, struct step_network *network,
                         const struct parameters_layout *layout, const char *name, bool judges)
{
    const struct parameters_group *group = parameters_group(layout, name);
    if (group == NULL) {
        return;
    }
    network->at = group->at;
    network->now.shape = &group->shape;
    network->now.packed = packing->floats + packing->n_floats;
    packing->n_floats += group->shape.packed_size;
    if (group->has_target) {
        network->target.shape = &group->shape;
        network->target.packed = packing->floats + packing->n_floats;
        packing->n_floats += group->shape.packed_size;
    }
    if (group->has_target && judges && packing->bf16 != NULL) {
        network->target.packed_bf16 = packing->bf16 + packing->n_bf16;
        packing->n_bf16 += group->shape.packed_bf16_size;
    }
}

status packing_init(struct packing *packing, struct step *step,
                    const struct parameters_layout *layout, bool bf16, struct err *err)
{
    const struct {
        struct step_network *network;
        const char *name;
        bool judges;
    } networks[PACKING_NETWORKS] = {{&step->policy, "policy", false},
                                    {&step->prior, "prior", false},
                                    {&step->critic, "critic", true},
                                    {&step->critic2, "critic2", true},
                                    {&step->perturb, "perturb", true}};
    *packing = (struct packing){0};
    size_t floats = 0;
    size_t halves = 0;
    for (int k = 0; k < layout->n_groups; k++) {
        floats += 2 * layout->groups[k].shape.packed_size;
        halves += layout->groups[k].shape.packed_bf16_size;
    }
    packing->floats = mem_aligned(floats * sizeof(float));
    packing->bf16 = bf16 ? mem_aligned((halves + 1) * sizeof(uint16_t)) : NULL;
    if (packing->floats == NULL || (bf16 && packing->bf16 == NULL)) {
        return err_set(err, STATUS_NO_MEMORY, "learner: packed weights of %zu floats", floats);
    }
    for (size_t n = 0; n < PACKING_NETWORKS; n++) {
        packing->networks[n] = networks[n].network;
        find_network(packing, networks[n].network, layout, networks[n].name, networks[n].judges);
    }
    return STATUS_OK;
}

void packing_fini(struct packing *packing)
{
    mem_free(packing->floats);
    mem_free(packing->bf16);
}

void packing_point(struct packing *packing, const struct state *state)
{
    const float *params = state_read(state, STATE_PARAMS);
    const float *targets = state_read(state, STATE_TARGETS);
    for (size_t n = 0; n < PACKING_NETWORKS; n++) {
        struct step_network *network = packing->networks[n];
        network->now.params = params + network->at;
        network->target.params = targets + network->at;
    }
}

bool packing_is_current(const struct packing *packing, const struct state *state)
{
    return packing->version == state_version(state);
}

void packing_pack(struct packing *packing, int i, int n_threads)
{
    for (size_t n = 0; n < PACKING_NETWORKS; n++) {
        const struct network *network = &packing->networks[n]->now;
        if (network->shape != NULL) {
            /* The packed copy is ours to write; operators only read it. */
            network_pack((float *)(uintptr_t)network->packed, network->shape, network->params, i,
                         n_threads);
        }
    }
}

/* In bf16 targets are always packed: the networks have no such copy. */
static void pack_bf16(const struct network *target)
{
    if (target->packed_bf16 != NULL) {
        network_pack_bf16((uint16_t *)(uintptr_t)target->packed_bf16, target->shape,
                          target->params);
    }
}

void packing_pack_targets(struct packing *packing)
{
    for (size_t n = 0; n < PACKING_NETWORKS; n++) {
        const struct network *target = &packing->networks[n]->target;
        if (target->shape != NULL) {
            pack_bf16(target);
            network_pack((float *)(uintptr_t)target->packed, target->shape, target->params, 0, 1);
        }
    }
}

void packing_copy_targets(struct packing *packing)
{
    for (size_t n = 0; n < PACKING_NETWORKS; n++) {
        const struct step_network *network = packing->networks[n];
        if (network->target.shape != NULL) {
            pack_bf16(&network->target);
            memcpy((float *)(uintptr_t)network->target.packed, network->now.packed,
                   network->now.shape->packed_size * sizeof(float));
        }
    }
}

void packing_done(struct packing *packing, const struct state *state)
{
    packing->version = state_version(state);
}

size_t packing_bytes(const struct packing *packing)
{
    return packing->n_floats * sizeof(float) + packing->n_bf16 * sizeof(uint16_t);
}
