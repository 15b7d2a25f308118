/* A robot's description as a message of robot.proto, and back. */
#ifndef HINDCAST_ROBOT_ROBOT_WIRE_H
#define HINDCAST_ROBOT_ROBOT_WIRE_H

#include "common/clients/signature_wire.h"
#include "common/robot/robot.h"
#include "proto/robot.pb-c.h"

/* A message whose pointers point into this struct and into the description; keep it off stacks. */
struct robot_wire {
    Hindcast__RobotDescription message;
    struct signature_wire signature;
    Hindcast__JointLimits joints[ROBOT_JOINTS_MAX];
    Hindcast__JointLimits *joint_pointers[ROBOT_JOINTS_MAX];
};

/* `wire` borrows from `robot`, and must not be moved or copied afterwards. The state is left out. */
void robot_wire_fill(struct robot_wire *wire, const struct robot_description *robot);
/* Copies and checks what a driver sent; the environment's uri becomes `uri`. INVALID. */
status robot_wire_read(struct robot_description *robot, const Hindcast__RobotDescription *message,
                       const char *uri, struct err *err) MUST_CHECK;

#endif
