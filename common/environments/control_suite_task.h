/* What a domain of the control suite declares, and what its functions may use. Internal to
 * control_suite*.c.
 *
 * A domain is a model, its observation and its start states; a task is a domain, a reward and one
 * number (a speed). The named parts are looked up once when a model is opened, so that rewards read
 * `at[TORSO]`. */
#ifndef HINDCAST_ENVIRONMENTS_CONTROL_SUITE_TASK_H
#define HINDCAST_ENVIRONMENTS_CONTROL_SUITE_TASK_H

#include "common/environments/random_state.h"
#include "common/environments/simulation.h"
#include "common/trajectory/signature.h"

#define CONTROL_SUITE_PARTS_MAX 40

struct control_suite_part {
    int type;         /* mjOBJ_BODY or mjOBJ_SENSOR */
    const char *name; /* NULL ends the list */
};

struct control_suite_task;

struct control_suite_domain {
    const char *file; /* within the models' folder */
    double time_limit_s;
    int n_sub_steps;                      /* physics steps in a control step */
    int nq, nv, na, nu;                   /* what the compiled model must have */
    const struct signature_slice *slices; /* of the observation, then one of size 0 */
    const struct control_suite_part *parts;
    shared_model_edit *edit; /* gets the task; NULL: the file as it is */
    /* Writes the start state over the default one; derived quantities are recomputed later. */
    status (*start)(struct simulation *simulation, struct random_state *random, struct err *err);
    /* observation(O), from derived quantities. */
    void (*observe)(const struct simulation *simulation, const int *at, double *observation);
};

struct control_suite_task {
    const char *name;   /* "hopper-hop" */
    const char *reward; /* "hop" */
    const struct control_suite_domain *domain;
    double speed; /* m/s wanted; 0 where there is none */
    /* at[i]: for parts[i], a sensor's address in sensordata, or a body's id. */
    double (*evaluate)(const struct simulation *simulation, const int *at, double speed);
};

extern const struct control_suite_task cheetah_run;
extern const struct control_suite_task hopper_hop, hopper_stand;
extern const struct control_suite_task walker_stand, walker_walk, walker_run;
extern const struct control_suite_task quadruped_walk, quadruped_run;

/* Joints in order of id: limited hinges and slides uniform in their range, unlimited hinges uniform
 * in (-pi, pi), unlimited slides left alone. INVALID for ball and free joints, which no domain here
 * gives it. Source: dm_control.suite.utils.randomizers. */
status control_suite_randomize_joints(struct simulation *simulation, struct random_state *random,
                                      struct err *err);

/* Appends n values to an observation under way: at = control_suite_put(at, values, n). */
double *control_suite_put(double *out, const double *values, int n);

#endif
