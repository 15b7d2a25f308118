/* Tasks of the DeepMind control suite on its own models, number for number as dm_control 1.0.50
 * computes them.
 *
 * The system uses them through environment_open("cheetah-run", ..). This header is for code that
 * needs doubles and the physics behind: verification, benchmarks, rendering. Start states come from
 * numpy's RandomState(seed), so a seed gives the episodes that dm_control gives. Every episode is
 * 1000 control steps; no task of the suite terminates early.
 *
 * Models are read from $HINDCAST_CONTROL_SUITE, else from share/hindcast/control_suite beside the program (common/base/installation.h).
 * Source: Tassa et al. 2018, "DeepMind Control Suite"; dm_control.suite. */
#ifndef HINDCAST_ENVIRONMENTS_CONTROL_SUITE_H
#define HINDCAST_ENVIRONMENTS_CONTROL_SUITE_H

#include "common/environments/environment.h"
#include "common/environments/simulation.h"

struct control_suite;

/* Same names and errors as environment_open, which gives the same thing: control_suite_environment
 * is that side of it, and environment_close on it closes the suite. Seeded with 0. */
status control_suite_open(struct control_suite **suite, const char *name,
                          struct err *err) MUST_CHECK;
struct environment *control_suite_environment(struct control_suite *suite);
void control_suite_close(struct control_suite *suite); /* NULL is fine */
/* The suite's part of environment_names(), then NULL. Any thread. */
const char *const *control_suite_names(void);

/* Seeds the generator that start states are drawn from: RandomState(seed). environment_reset does so
 * before each episode; control_suite_reset draws on, as dm_control does. */
void control_suite_seed(struct control_suite *suite, uint64_t seed);

/* environment_reset and environment_step in double: observation(O); action(A) in physical units,
 * passed to MuJoCo as it is (which clamps it where it computes forces); rewards(K). Same errors;
 * after the last step only reset goes on. */
status control_suite_reset(struct control_suite *suite, double *observation,
                           struct err *err) MUST_CHECK;
status control_suite_step(struct control_suite *suite, const double *action, double *observation,
                          double *rewards, double *discount, bool *last,
                          struct err *err) MUST_CHECK;

/* Observation and rewards of the state as it is in the simulation; computes no physics. */
void control_suite_observe(const struct control_suite *suite, double *observation);
void control_suite_rewards(const struct control_suite *suite, double *rewards);

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
