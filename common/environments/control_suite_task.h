/* What a domain of the control suite declares, and what its functions may use. Internal to
 * control_suite*.c and control_suite/.
 *
 * A domain is a model, its observation and its start states; a task is a domain, its rewards and
 * one number (a speed). The named parts are looked up once when a model is opened, so that rewards
 * read `at[TORSO]`.
 *
 * A new domain is a file in control_suite/ that defines `const struct control_suite_domain
 * NAME_domain`, and one line in control_suite.c; its tasks are called NAME-.... A new task of an
 * existing domain is one entry in the domain's list. */
#ifndef HINDCAST_ENVIRONMENTS_CONTROL_SUITE_TASK_H
#define HINDCAST_ENVIRONMENTS_CONTROL_SUITE_TASK_H

#include "common/environments/control_suite.h"
#include "common/environments/random_state.h"
#include "common/environments/simulation.h"
#include "common/trajectory/signature.h"

#define CONTROL_SUITE_PARTS_MAX   40
#define CONTROL_SUITE_REWARDS_MAX 8

struct control_suite_part {
    int type;         /* mjOBJ_BODY or mjOBJ_SENSOR */
    const char *name; /* NULL ends the list */
};

struct control_suite_task {
    const char *name;                               /* "hopper-hop"; NULL ends the list */
    const char *rewards[CONTROL_SUITE_REWARDS_MAX]; /* "hop", ..; then NULL */
    double speed;                                   /* m/s wanted; 0 where there is none */
    /* rewards(K) of the state. at[i]: for parts[i], a sensor's address in sensordata, or a body's
     * id. */
    void (*evaluate)(const struct simulation *simulation, const int *at, double speed,
                     double *rewards);
    /* Does the state end the episode with discount 0? NULL: no state does. */
    bool (*terminated)(const struct simulation *simulation, const int *at);
};

struct control_suite_domain {
    const char *file; /* within the models' folder, or an absolute path */
    double time_limit_s;
    int n_sub_steps;                        /* physics steps in a control step */
    int nq, nv, na, nu;                     /* what the compiled model must have */
    const struct signature_slice *slices;   /* of the observation, then one of size 0 */
    const struct control_suite_part *parts; /* that `at` of the functions below refers to */
    const struct control_suite_task *tasks; /* then one without a name */
    shared_model_edit *edit;                /* gets the task; NULL: the file as it is */
    /* Writes the start state over the default one; derived quantities are recomputed later. */
    status (*start)(struct simulation *simulation, struct random_state *random, struct err *err);
    /* observation(O), from derived quantities. */
    void (*observe)(const struct simulation *simulation, const int *at, double *observation);
};

/* Opens a task that need not be in the table of control_suite.c. Both arguments are borrowed until
 * control_suite_close. Errors as control_suite_open. */
status control_suite_open_task(struct control_suite **suite,
                               const struct control_suite_domain *domain,
                               const struct control_suite_task *task, struct err *err) MUST_CHECK;

/* Draws joints in order of id: limited hinges and slides uniform in their range, unlimited hinges
 * uniform in (-pi, pi), limited balls a random axis and a uniform angle up to their limit, unlimited
 * balls and the orientation of free joints at random. Unlimited slides and the position of free
 * joints stay as they are. Cannot fail; returns a status so that it can be a domain's `start`.
 * Source: dm_control.suite.utils.randomizers. */
status control_suite_randomize_joints(struct simulation *simulation, struct random_state *random,
                                      struct err *err);

/* quaternion(4): four normals, normalised: a uniformly random orientation. */
void control_suite_random_quaternion(double *quaternion, struct random_state *random);

/* Appends n values to an observation under construction: at = control_suite_put(at, values, n). */
double *control_suite_put(double *out, const double *values, int n);

#endif
