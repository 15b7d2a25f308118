/* Copies of all networks' weights in the order that the kernels want (common/networks/network.h).
 *
 * Packed once a step, not once a product: the networks of a step, now and target, point into these
 * copies and into the state that they were made from. */
#ifndef HINDCAST_LEARNER_STEP_PACKING_H
#define HINDCAST_LEARNER_STEP_PACKING_H

#include "learner/step/operators.h"
#include "learner/step/state.h"

#define PACKING_NETWORKS 5

struct packing {
    struct step_network *networks[PACKING_NETWORKS]; /* the step's; shape NULL: it has none */
    float *floats;                                   /* now and target copies, one after another */
    size_t n_floats;
    uint16_t *bf16; /* of the target copies that judge actions; NULL: they do it in float */
    size_t n_bf16;
    uint64_t version; /* of the state whose weights they are; 0: none yet */
};

/* Fills in the step's networks: shapes, and places in copies of its own. `bf16`: target copies that
 * judge sampled actions have one in bf16, too. NO_MEMORY; packing_fini all the same. */
status packing_init(struct packing *packing, struct step *step,
                    const struct parameters_layout *layout, bool bf16, struct err *err) MUST_CHECK;
void packing_fini(struct packing *packing);

/* Makes the networks point to the weights of `state` as they are now. */
void packing_point(struct packing *packing, const struct state *state);
/* Whether the copies are those of `state` as it is now. */
bool packing_is_current(const struct packing *packing, const struct state *state);
/* Thread i of n packs its part of the networks' weights as they are now. */
void packing_pack(struct packing *packing, int i, int n);
/* The target copies, from the state's targets; packing_copy_targets: from the packed networks,
 * which are the same after a copy. One thread, when all have packed. */
void packing_pack_targets(struct packing *packing);
void packing_copy_targets(struct packing *packing);
/* Notes that the copies are those of `state` as it is now. */
void packing_done(struct packing *packing, const struct state *state);

size_t packing_bytes(const struct packing *packing);

#endif
