/* A model of which one simulation may change some arrays, while all else stays shared.
 *
 * Some tasks draw not only a state but also a part of the model for each episode: where the target
 * is, which way an actuator pulls. A compiled model is megabytes and belongs to everyone; what such
 * a task changes is a few hundred bytes. So a simulation gets a struct mjModel of its own that
 * points to the shared arrays, but for the few that its domain names.
 *
 * Elements that the compiler has found to need no transformation (mjModel's *_sameframe) stay where
 * they are whatever is written: MuJoCo reads no position for them, here as in dm_control. */
#ifndef HINDCAST_ENVIRONMENTS_VARIED_MODEL_H
#define HINDCAST_ENVIRONMENTS_VARIED_MODEL_H

#include <mujoco/mujoco.h>

#include "common/environments/shared_model.h"

/* X(constant, field of mjModel, field with the number of elements, doubles in an element) */
#define VARIED_ARRAYS(X)                                                                           \
    X(BODY_POS, body_pos, nbody, 3)                                                                \
    X(BODY_QUAT, body_quat, nbody, 4)                                                              \
    X(GEOM_POS, geom_pos, ngeom, 3)                                                                \
    X(SITE_POS, site_pos, nsite, 3)                                                                \
    X(WRAP_PARAMETER, wrap_prm, nwrap, 1)

enum varied_array {
#define CONSTANT(name, field, count, width) VARIED_##name,
    VARIED_ARRAYS(CONSTANT)
#undef CONSTANT
        VARIED_ARRAYS_END
};

/* A set of arrays: VARIES(GEOM_POS) | VARIES(BODY_POS). */
#define VARIES(name) (1u << VARIED_##name)

struct varied_model;

/* `varies` is a set as above, not empty. Borrows `shared` until varied_model_free. NO_MEMORY. */
status varied_model_new(struct varied_model **varied, const struct shared_model *shared,
                        unsigned varies, struct err *err) MUST_CHECK;
void varied_model_free(struct varied_model *varied); /* NULL is fine */

/* What MuJoCo is called with; `passive` with actuation disabled. Both see what `at` changes. */
const mjModel *varied_model_model(const struct varied_model *varied);
const mjModel *varied_model_passive(const struct varied_model *varied);

/* The doubles of element `i` of an array that is in the set, for writing. */
double *varied_model_at(struct varied_model *varied, enum varied_array array, int i);
/* All of them as compiled. */
void varied_model_restore(struct varied_model *varied);

#endif
