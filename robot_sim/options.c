/* The table behind the `robot_sim` section, and the robot that follows from it: the model's own
 * description, with the limits and deadlines that the options give. All defaults are ours. */
#include "robot_sim/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIELD(name)           offsetof(struct robot_sim_options, name)
#define ENDPOINT_FIELD(field) offsetof(struct robot_sim_options, endpoint.field)
#define SOCKET_PATH_MAX       107 /* of a Unix socket */

/* Name, type, place, unit, default, least, most, choices, help. */
static const struct config_option robot_sim_options_table[] = {
    {"part", CONFIG_CHOICE, FIELD(part), "", "both", 0, 0, "both|plant|driver",
     "what to run: the plant, the driver, or both, the plant as a process of its own"},
    {"model", CONFIG_TEXT, FIELD(model), "", "", 0, 0, NULL,
     "the environment that the plant runs in real time, such as sawyer-stack"},
    {"listen", CONFIG_TEXT, FIELD(listen), "", "", 0, 0, NULL,
     "address that the driver serves Robot at; empty: unix:RUN_DIR/robot.sock"},
    {"plant", CONFIG_TEXT, FIELD(plant), "", "", 0, 0, NULL,
     "socket between plant and driver; empty: RUN_DIR/plant.sock"},
    {"deadline", CONFIG_REAL, FIELD(deadline), "periods", "0.7", 0.01, 1, NULL,
     "an action must be there this long after its observation; else the plant holds still"},
    {"slow_motion", CONFIG_REAL, FIELD(slow_motion), "", "1", 0.001, 1000, NULL,
     "seconds that a second of control time takes"},
    {"steps", CONFIG_INT, FIELD(steps), "steps", "0", 0, 1e9, NULL,
     "control steps after which an episode is cut off; 0: where the model does"},
    {"lease_ms", CONFIG_INT, FIELD(lease_ms), "ms", "10000", 100, 3600000, NULL,
     "a session in which nothing comes for this long is over"},
    {"prompt", CONFIG_TEXT, FIELD(prompt), "", "", 0, 0, NULL,
     "what a reset asks of the operator, who answers with `confirm`; empty: nobody is asked"},
    {"action_rate", CONFIG_REAL, FIELD(action_rate), "1/s", "0", 0, 1e6, NULL,
     "fastest change of an action, in ranges a second; 0: no limit"},
    {"joints", CONFIG_TEXTS, FIELD(joints), "", "[]", 0, 0, NULL,
     "limits, \"POSITIONS VELOCITIES MIN MAX VELOCITY ACCELERATION\": two slices of the "
     "observation, and what their elements may be"},
    {"latency_ms", CONFIG_REAL, FIELD(latency_ms), "ms", "0", 0, 60000, NULL,
     "time that an action takes to the plant"},
    {"jitter_ms", CONFIG_REAL, FIELD(jitter_ms), "ms", "0", 0, 60000, NULL,
     "the latency varies uniformly by so much, up and down"},
    {"noise", CONFIG_REAL, FIELD(noise), "", "0", 0, 1e6, NULL,
     "standard deviation of the noise on each element of the observation"},
    {"drop", CONFIG_REAL, FIELD(drop), "", "0", 0, 1, NULL,
     "probability that an observation is lost on its way to the driver"},
    {"faults", CONFIG_TEXTS, FIELD(faults), "", "[]", 0, 0, NULL,
     "faults to inject, KIND@EPISODE.STEP, counted from the start of the process: nan, jump, drop, "
     "burst, late, stop"},
    {"realtime", CONFIG_BOOL, FIELD(realtime), "", "true", 0, 0, NULL,
     "ask the system for real-time scheduling of the plant"},
    ENDPOINT_OPTIONS(ENDPOINT_FIELD, "evaluate, insert, admin", "200"),
};

struct config_section robot_sim_section(struct robot_sim_options *options)
{
    return (struct config_section){.name = "robot_sim",
                                   .options = robot_sim_options_table,
                                   .n_options = sizeof robot_sim_options_table /
                                                sizeof robot_sim_options_table[0],
                                   .values = options};
}

/* ---- Joints ---- */

/* Where slice `name` begins and how long it is. */
static bool find_slice(const struct signature *signature, const char *name, uint32_t *at,
                       uint32_t *size)
{
    *at = 0;
    for (uint32_t i = 0; i < signature->n_slices; i++) {
        *size = signature->slices[i].size;
        if (strcmp(signature->slices[i].name, name) == 0) {
            return true;
        }
        *at += *size;
    }
    return false;
}

/* The joints of one text of `joints`. */
static status parse_joints(struct robot_description *robot, const char *text, struct err *err)
{
    const struct signature *signature = &robot->environment.signature;
    char positions[SIGNATURE_NAME_SIZE], velocities[SIGNATURE_NAME_SIZE], rest[2];
    struct robot_joint joint = {.has_position = true};
    uint32_t n, n_velocities;
    if (sscanf(text, "%63s %63s %lf %lf %lf %lf %1s", positions, velocities, &joint.position_min,
               &joint.position_max, &joint.velocity_max, &joint.acceleration_max, rest) != 6) {
        return err_set(err, STATUS_INVALID,
                       "robot_sim.joints: \"%.80s\": expected two names of slices and four numbers",
                       text);
    }
    if (!find_slice(signature, positions, &joint.position, &n) ||
        !find_slice(signature, velocities, &joint.velocity, &n_velocities) || n != n_velocities) {
        return err_set(
            err, STATUS_INVALID,
            "robot_sim.joints: \"%.80s\": the observation has no slices %s and %s of the "
            "same size",
            text, positions, velocities);
    }
    for (uint32_t i = 0; i < n; i++) {
        if (robot->n_joints == ROBOT_JOINTS_MAX) {
            return err_set(err, STATUS_INVALID, "robot_sim.joints: more than %d joints",
                           ROBOT_JOINTS_MAX);
        }
        signature_name_observation(signature, joint.position, joint.name, sizeof joint.name);
        robot->joints[robot->n_joints++] = joint;
        joint.position++;
        joint.velocity++;
    }
    return STATUS_OK;
}

/* ---- The robot ---- */

static status describe_robot(struct robot_description *robot,
                             const struct robot_sim_options *options, struct err *err)
{
    if (options->model[0] == '\0' || strncmp(options->model, "robot:", 6) == 0) {
        return err_set(err, STATUS_INVALID,
                       "robot_sim.model \"%s\": expected a simulated environment like sawyer-stack",
                       options->model);
    }
    memset(robot, 0, sizeof *robot);
    status s = environment_describe(&robot->environment, options->model, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "robot_sim.model");
    }
    (void)snprintf(robot->name, sizeof robot->name, "%s", robot->environment.uri);
    robot->environment.open_max = 1;
    robot->environment.real_time = true;
    robot->environment.scripted = false;
    if (options->steps > 0) {
        robot->environment.step_limit = (uint32_t)options->steps;
    }
    robot->slow_motion = options->slow_motion;
    robot->deadline_s = options->deadline * robot_period_s(robot);
    robot->lease_ms = (uint32_t)options->lease_ms;
    const struct signature *signature = &robot->environment.signature;
    for (uint32_t a = 0; a < signature->A; a++) {
        robot->action_rate_max[a] =
            options->action_rate * (double)(signature->action_max[a] - signature->action_min[a]);
    }
    for (size_t i = 0; s == STATUS_OK && i < options->joints.n; i++) {
        s = parse_joints(robot, options->joints.items[i], err);
    }
    return s != STATUS_OK ? s : robot_check(robot, err);
}

status robot_sim_options_finish(struct robot_sim_options *options,
                                const struct experiment *experiment,
                                struct robot_description *robot, struct err *err)
{
    if (options->listen[0] == '\0') {
        (void)snprintf(options->listen, sizeof options->listen, "unix:%.480s/robot.sock",
                       experiment->run_dir);
    }
    if (options->plant[0] == '\0') {
        (void)snprintf(options->plant, sizeof options->plant, "%.480s/plant.sock",
                       experiment->run_dir);
    }
    if (strlen(options->plant) > SOCKET_PATH_MAX) {
        return err_set(err, STATUS_INVALID, "robot_sim.plant %.40s..: a path of at most %d bytes",
                       options->plant, SOCKET_PATH_MAX);
    }
    if (options->jitter_ms > options->latency_ms) {
        return err_set(err, STATUS_INVALID,
                       "robot_sim.jitter_ms %g: expected at most latency_ms %g", options->jitter_ms,
                       options->latency_ms);
    }
    status s = faults_parse(&options->injected, &options->faults, err);
    return s != STATUS_OK ? s : describe_robot(robot, options, err);
}
