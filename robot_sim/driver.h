/* The driver: serves the plant as a robot (common/robot/robot_service.h), and makes the way between
 * them as bad as the options say. */
#ifndef HINDCAST_ROBOT_SIM_DRIVER_H
#define HINDCAST_ROBOT_SIM_DRIVER_H

#include "common/base/process.h"
#include "robot_sim/options.h"

struct driver;

/* Serves, and starts the thread that keeps the link to the plant. All arguments are borrowed until
 * driver_stop. rpc_init first. */
status driver_start(struct driver **driver, struct process *process,
                    const struct experiment *experiment, const struct robot_sim_options *options,
                    const struct robot_description *robot, struct err *err) MUST_CHECK;
/* Sessions end, the plant holds still. NULL is fine. */
void driver_stop(struct driver *driver);

#endif
