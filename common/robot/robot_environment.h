/* Robots as environments: the family `robot:ADDRESS`, such as robot:127.0.0.1:7000 or
 * robot:unix:/run/arm.sock. Evaluator and collector act in it as in any other.
 *
 * environment_open takes the lease (LIMIT: somebody else has it). A step sends the action and waits
 * for the next observation, at most a few control periods. It fails with
 *
 *     TIMEOUT       the action came too late, or no observation in time
 *     CORRUPT       an observation is not finite, or a frame was lost
 *     LIMIT         an action, position, velocity or acceleration beyond its limit
 *     UNAVAILABLE   an emergency stop, the robot or its driver failed, the link is lost
 *
 * and the robot then holds still. environment_reset returns RETRY, after a second or two, as long as
 * the robot is away, stopped, held by somebody else, or waits for its operator: the text says which.
 * Observations and actions are checked against the robot's limits here as well as by its driver. */
#ifndef HINDCAST_ROBOT_ROBOT_ENVIRONMENT_H
#define HINDCAST_ROBOT_ROBOT_ENVIRONMENT_H

#include "common/base/experiment.h"

/* Adds the family to those that environment_open knows. `experiment` has the TLS files and the token
 * for all robots and is read when one is opened; `role` ("evaluator") is told to the robot. Both are
 * borrowed for ever. What is done on a robot is journalled in RUN_DIR/robot-ROLE (robot_journal.h):
 * with `keep` all episodes, without it those that failed, because the process keeps the others itself.
 * Once, before environment_names. */
void robot_environment_install(const struct experiment *experiment, const char *role, bool keep);

#endif
