/* The `robot_sim` section of an experiment file. */
#ifndef HINDCAST_ROBOT_SIM_OPTIONS_H
#define HINDCAST_ROBOT_SIM_OPTIONS_H

#include "common/base/experiment.h"
#include "common/robot/robot.h"
#include "common/service/endpoint.h"
#include "robot_sim/faults.h"

struct robot_sim_options {
    char part[CONFIG_TEXT_SIZE];   /* "both", "plant" or "driver" */
    char model[CONFIG_TEXT_SIZE];  /* "sawyer-stack": any environment but a robot */
    char listen[CONFIG_TEXT_SIZE]; /* of the driver; empty: unix:RUN_DIR/robot.sock */
    char plant[CONFIG_TEXT_SIZE];  /* socket between the two; empty: RUN_DIR/plant.sock */
    double deadline;               /* share of the control period */
    double slow_motion;
    int64_t steps; /* of an episode; 0: the model's own */
    int64_t lease_ms;
    char prompt[CONFIG_TEXT_SIZE];
    double action_rate;           /* ranges of the action a second; 0: no limit */
    struct config_texts joints;   /* "POSITIONS VELOCITIES MIN MAX VELOCITY ACCELERATION" */
    double latency_ms, jitter_ms; /* of actions on their way to the plant */
    double noise;                 /* standard deviation, in units of the observation */
    double drop;                  /* probability that a frame is lost */
    struct config_texts faults;   /* "KIND@EPISODE.STEP" */
    bool realtime;
    struct endpoint_options endpoint;

    /* robot_sim_options_finish fills these in. */
    struct faults injected;
};

struct config_section robot_sim_section(struct robot_sim_options *options);

/* Fills in what depends on other values, and *robot. INVALID names the option. */
status robot_sim_options_finish(struct robot_sim_options *options,
                                const struct experiment *experiment,
                                struct robot_description *robot, struct err *err) MUST_CHECK;

#endif
