/* The Sawyer stacking domain: a Sawyer arm with a parallel gripper over a basket of blocks.
 *
 *     sawyer-stack        green and yellow, 58 observations
 *     sawyer-stack_blue   and blue, which is in the way, 74 observations
 *
 * 5 actions at 20 Hz, episodes of 200 steps, nine rewards on every step (sawyer_rewards.h), success
 * for each of them, a scripted behaviour for each (sawyer_script.h). An episode may continue in the
 * scene that the last one left (ENVIRONMENT_START_KEEP), or start with green held or stacked
 * (ENVIRONMENT_START_ADVANCED: each with probability 0.5).
 *
 * The system uses it through environment_open("sawyer-stack", ..). This header is for code that
 * needs doubles and the physics behind: verification, benchmarks.
 *
 * Models are read from $HINDCAST_SAWYER, else from share/hindcast/sawyer beside the program.
 * The domain is that of Siegel et al. 2020, of which observations and rewards are not published:
 * sawyer_scene.h, sawyer_plant.h and sawyer_rewards.h say what is DeepMind's and what is ours. */
#ifndef HINDCAST_ENVIRONMENTS_SAWYER_H
#define HINDCAST_ENVIRONMENTS_SAWYER_H

#include "common/environments/environment.h"
#include "common/environments/sawyer/sawyer_start.h"

struct sawyer;

/* Same names and errors as environment_open, which gives the same thing: sawyer_environment is that
 * side of it, and environment_close on it closes the domain. */
status sawyer_open(struct sawyer **sawyer, const char *name, struct err *err) MUST_CHECK;
struct environment *sawyer_environment(struct sawyer *sawyer);
void sawyer_close(struct sawyer *sawyer); /* NULL is fine */
struct simulation *sawyer_simulation(struct sawyer *sawyer);

/* environment_reset and environment_step in double; rewards are those of the observation in double.
 * observation(26 + 16 blocks), rewards(9). Same errors. */
status sawyer_reset(struct sawyer *sawyer, uint64_t seed, const struct sawyer_start *start,
                    double *observation, struct err *err) MUST_CHECK;
status sawyer_step(struct sawyer *sawyer, const double *action, double *observation,
                   double *rewards, bool *last, struct err *err) MUST_CHECK;

/* Starts an episode in a given state: mj_resetData; qpos(nq), qvel(nv), act(na),
 * qacc_warmstart(nv); mj_step1. */
status sawyer_place(struct sawyer *sawyer, const double *qpos, const double *qvel,
                    const double *act, const double *qacc_warmstart, struct err *err) MUST_CHECK;

#endif
