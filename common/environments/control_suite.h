/* Tasks of the DeepMind control suite on its own models, number for number as dm_control 1.0.50
 * computes them.
 *
 * environment_open("cheetah-run", ..) is how the system uses them. This header is for who needs
 * doubles and the physics behind: verification, benchmarks, rendering. Start states come from
 * numpy's RandomState(seed), so a seed gives the episodes that dm_control gives. Every episode is
 * 1000 control steps; no task terminates early.
 *
 * Models are read from $HINDCAST_CONTROL_SUITE, else from where the build found them.
 * Source: Tassa et al. 2018, "DeepMind Control Suite"; dm_control.suite. */
#ifndef HINDCAST_ENVIRONMENTS_CONTROL_SUITE_H
#define HINDCAST_ENVIRONMENTS_CONTROL_SUITE_H

#include "common/environments/environment.h"
#include "common/environments/simulation.h"

struct control_suite;

/* Same names and errors as environment_open, which gives the same thing: look at it through
 * control_suite_environment(); environment_close() on that closes it. */
status control_suite_open(struct control_suite **suite, const char *name, uint64_t seed,
                          struct err *err) MUST_CHECK;
struct environment *control_suite_environment(struct control_suite *suite);
void control_suite_close(struct control_suite *suite);
/* The suite's part of environment_names(), then NULL. */
const char *const *control_suite_names(void);

/* environment_reset and environment_step in double: observation(O); action(A) in physical units,
 * passed to MuJoCo as it is (which clamps it where it computes forces). Same errors; after the last
 * step only reset goes on. */
status control_suite_reset(struct control_suite *suite, double *observation,
                           struct err *err) MUST_CHECK;
status control_suite_step(struct control_suite *suite, const double *action, double *observation,
                          double *reward, bool *last, struct err *err) MUST_CHECK;

/* Observation and reward of the state as it is in the simulation; computes no physics. */
void control_suite_observe(const struct control_suite *suite, double *observation);
double control_suite_reward(const struct control_suite *suite);

/* The physics. Whoever changes the state calls simulation_forward before observing. */
struct simulation *control_suite_simulation(struct control_suite *suite);
/* Physics steps in a control step. */
int control_suite_sub_steps(const struct control_suite *suite);

/* Starts an episode in a given state instead of a drawn one: mj_resetData; qpos(nq), qvel(nv),
 * act(na; NULL if na is 0) and, where not NULL, qacc_warmstart(nv); forward without actuation. */
status control_suite_place(struct control_suite *suite, const double *qpos, const double *qvel,
                           const double *act, const double *qacc_warmstart,
                           struct err *err) MUST_CHECK;

#endif
