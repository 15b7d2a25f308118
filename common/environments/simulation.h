/* A MuJoCo simulation that is stepped the control suite's way and never hides a bad state.
 *
 * One control step is n_sub_steps physics steps in dm_control's "legacy" order: mj_step2, (n - 1) x
 * mj_step, mj_step1. After it positions, velocities and their sensors belong to the new state;
 * acceleration sensors (touch, force, torque, accelerometer) are those of the last integration, one
 * physics step older. Rewards and observations depend on that. Source:
 * dm_control.mujoco.engine.Physics (legacy_step); RK4 models take n x mj_step, mj_step1.
 *
 * What nobody reads is not computed. Cameras and lights, which take a small model 2 to 6% of a step,
 * are not placed: who renders calls mj_camlight(model, data) first. A model with a sensor that refers
 * to a camera keeps them. Sensors are evaluated in a control step's last physics step alone, but for
 * models with sensors that keep a history. Nothing is looked for that a model has not: friction loss,
 * springs, sensors, more than one constraint island. */
#ifndef HINDCAST_ENVIRONMENTS_SIMULATION_H
#define HINDCAST_ENVIRONMENTS_SIMULATION_H

#include <mujoco/mujoco.h>

#include "common/environments/shared_model.h"
#include "common/environments/varied_model.h"

struct simulation {
    const mjModel *model;   /* the shared one, or that of `varied` */
    const mjModel *passive; /* the same, actuation disabled: for start states */
    mjModel stepped;        /* the same arrays, for steps: without what is said above */
    mjModel between;        /* and without sensors, for all steps of a control step but the last */
    struct varied_model *varied; /* where start states change parts of the model; else NULL */
    mjData *data;
    uint64_t n_steps; /* physics steps since simulation_init, those of start states included */
};

/* Borrows `shared` until simulation_fini. `varies`: the arrays of the model that this simulation may
 * change (VARIES(..) | ..), or 0. */
status simulation_init(struct simulation *simulation, const struct shared_model *shared,
                       unsigned varies, struct err *err) MUST_CHECK;
void simulation_fini(struct simulation *simulation);

/* The model as it was compiled; what derives from it is recomputed by those below. */
void simulation_restore_model(struct simulation *simulation);

/* Those below return CORRUPT when MuJoCo counted a warning (bad position, velocity,
 * acceleration or control; contact or constraint buffer full), INTERNAL when it raised an error.
 * The state is then bad until simulation_reset. */

/* Default state, derived quantities computed without actuation. */
status simulation_reset(struct simulation *simulation, struct err *err) MUST_CHECK;
/* Derived quantities of the state in `data`, without actuation. */
status simulation_forward(struct simulation *simulation, struct err *err) MUST_CHECK;
/* Contacts at the positions in `data`; of the derived quantities only those of positions are computed.
 * Forgets earlier warnings; a new one counts as a contact and is not an error: deep inside the floor
 * the contact buffer may overflow. */
status simulation_count_contacts(struct simulation *simulation, int *n_contacts,
                                 struct err *err) MUST_CHECK;
/* Runs work(arg), which calls MuJoCo on this simulation, under the conditions of mujoco_guard_run. */
status simulation_run(struct simulation *simulation, void (*work)(void *arg), void *arg,
                      struct err *err) MUST_CHECK;
/* What simulation_step does, for use within simulation_run. */
void simulation_sub_steps(struct simulation *simulation, int n_sub_steps);
/* n >= 1 physics steps under data->ctrl. */
status simulation_step(struct simulation *simulation, int n_sub_steps, struct err *err) MUST_CHECK;

#endif
