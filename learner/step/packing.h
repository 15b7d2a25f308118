/* Copies of all networks' weights in the order that the kernels want (common/networks/network.h).
 *
 * Packed once a step, not once a product: the networks of a step, now and target, point into these
 * copies and into the state that they were made from. A state's version says whether the copies are
 * still those of its weights. */
#ifndef HINDCAST_LEARNER_STEP_PACKING_H
#define HINDCAST_LEARNER_STEP_PACKING_H

#include "learner/step/operators.h"
#include "learner/step/state.h"

#define PACKING_NETWORKS 6

/* One network of the step and its packed copies. */
struct packing_entry {
    struct step_network *network; /* the step's; shape NULL where the algorithm does not have it */
    struct network_packed now, target;
};

struct packing {
    struct packing_entry entries[PACKING_NETWORKS];
    uint64_t version; /* of the state whose weights the copies are; 0: none yet */
};

/* Whether all passes go through the kernels' functions of bf16: where `precision` asks for it, and
 * for float, too, with kernels that have several parts of bf16 for each number. */
bool packing_all_bf16(const struct settings *settings);

/* Fills in the step's networks: their shapes, and packed copies that belong to `packing`, in the
 * precision that the step's settings ask for. NO_MEMORY; call packing_fini all the same. */
status packing_init(struct packing *packing, struct step *step,
                    const struct parameters_layout *layout, struct err *err) MUST_CHECK;
void packing_fini(struct packing *packing);

/* Makes the networks point to the weights of `state` as they are now. */
void packing_point(struct packing *packing, const struct state *state);
/* Whether the copies are those of `state` as it is now. */
bool packing_is_current(const struct packing *packing, const struct state *state);
/* Thread i of n packs its share of the networks' weights. */
void packing_pack(struct packing *packing, int i, int n);
/* The target copies: packed from the state's targets or, right after a copy to the targets, copied
 * from the packed networks, which are the same. On one thread, when all threads have packed. */
void packing_pack_targets(struct packing *packing);
void packing_copy_targets(struct packing *packing);
/* Notes that the copies are those of `state` as it is now. */
void packing_done(struct packing *packing, const struct state *state);

size_t packing_bytes(const struct packing *packing);

#endif
