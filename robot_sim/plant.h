/* The plant: what would be motors and sensors. It runs a model in real time and watches itself: it
 * holds still, whatever its driver does, from the moment that an action is overdue.
 *
 *     t_k              frame k is observed and sent
 *     t_k + deadline   without an action for frame k: hold still
 *     t_k + period     the step with this action, from its arrival on, and the action before it until
 *                      then; t_(k+1)
 *
 * An episode's clock begins when its first action arrives: until then the plant stands still.
 * Holding still is what brakes do: no physics, the state stays. After a hold only a reset moves it.
 *
 * What it does is in RUN_DIR/plant.jsonl, a line per event, written by the plant itself:
 *
 *     {"event": "held", "why": "..", "at_ns": .., "episode": .., "step": .., "steps": ..,
 *      "observed_ns": .., "period_ns": ..}
 *
 * events: reset, begin, held, driver, driver_gone. `steps` counts the control steps of the process:
 * it is the same in two lines between which nothing moved. Times are CLOCK_MONOTONIC. */
#ifndef HINDCAST_ROBOT_SIM_PLANT_H
#define HINDCAST_ROBOT_SIM_PLANT_H

#include "common/base/process.h"
#include "robot_sim/options.h"

struct plant;

/* Opens the model and the socket, and starts the thread that is the plant. All arguments are borrowed
 * until plant_stop. */
status plant_start(struct plant **plant, struct process *process,
                   const struct experiment *experiment, const struct robot_sim_options *options,
                   const struct robot_description *robot, struct err *err) MUST_CHECK;
/* Holds still and ends the thread. NULL is fine. */
void plant_stop(struct plant *plant);

#endif
