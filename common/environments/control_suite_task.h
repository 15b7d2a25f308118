/* What a domain of the control suite declares, and what its functions may use. Internal to
 * control_suite*.c and control_suite/, and for domains of a program's own (docs/own_task.md).
 *
 * A domain is a model, its observation and its start states; a task is a domain, its rewards and
 * one number (a speed, a radius), and where tasks of a domain differ in more, the task says what
 * holds instead. The named parts are looked up once when a model is opened, so that rewards read
 * `at[TORSO]`.
 *
 * A new domain is a file in control_suite/ that defines `const struct control_suite_domain
 * NAME_domain`, and one line in control_suite.c; its tasks are called NAME-.... A file that lies
 * elsewhere is named to CMake instead (HINDCAST_TASKS). A new task of an existing domain is one entry
 * in the domain's list. */
#ifndef HINDCAST_ENVIRONMENTS_CONTROL_SUITE_TASK_H
#define HINDCAST_ENVIRONMENTS_CONTROL_SUITE_TASK_H

#include <string.h>

#include "common/environments/control_suite.h"
#include "common/environments/random_state.h"
#include "common/environments/simulation.h"
#include "common/trajectory/signature.h"

#define CONTROL_SUITE_PARTS_MAX   40
#define CONTROL_SUITE_REWARDS_MAX 8

struct control_suite_part {
    int type;         /* mjOBJ_BODY, mjOBJ_GEOM, mjOBJ_SITE, mjOBJ_JOINT or mjOBJ_SENSOR */
    const char *name; /* NULL ends the list */
};

/* In the functions below at[i] belongs to parts[i]: a sensor's address in sensordata, or the id of
 * anything else. */

/* Writes the start state over the default one, and into the model where the domain `varies` it;
 * derived quantities are recomputed later. */
typedef status control_suite_start(struct simulation *simulation, const int *at,
                                   struct random_state *random, struct err *err);
/* observation(O), from derived quantities. */
typedef void control_suite_observer(const struct simulation *simulation, const int *at,
                                    double *observation);

struct control_suite_task {
    const char *name;                               /* "hopper-hop"; NULL ends the list */
    const char *rewards[CONTROL_SUITE_REWARDS_MAX]; /* "hop", ..; then NULL */
    double goal; /* the task's number: a speed wanted in m/s, a radius in m; 0: it has none */
    /* rewards(K) of the state. */
    void (*evaluate)(const struct simulation *simulation, const int *at, double goal,
                     double *rewards);
    /* Does the state end the episode with discount 0? NULL: no state does. */
    bool (*terminated)(const struct simulation *simulation, const int *at);
    /* Instead of the domain's, where not NULL. */
    const struct control_suite_part *parts;
    const struct signature_slice *slices;
    control_suite_start *start;
    control_suite_observer *observe;
};

struct control_suite_domain {
    const char *folder; /* below share/hindcast; NULL: the control suite's models */
    const char *file;   /* within the folder, or an absolute path */
    double time_limit_s;
    int n_sub_steps;                        /* physics steps in a control step */
    int nq, nv, na, nu;                     /* what the compiled model must have */
    const struct signature_slice *slices;   /* of the observation, then one of size 0 */
    const struct control_suite_part *parts; /* that `at` refers to, then one without a name */
    const struct control_suite_task *tasks; /* then one without a name */
    shared_model_edit *edit;                /* gets the task; NULL: the file as it is */
    unsigned varies; /* arrays of the model that start states change: VARIES(..) | .. */
    control_suite_start *start;
    control_suite_observer *observe;
};

/* The domains of HINDCAST_TASKS and what their tasks' names begin with, each then NULL. CMake writes
 * own_domains.c, which defines both; a program that defines them itself has its own. */
extern const struct control_suite_domain *const control_suite_own_domains[];
extern const char *const control_suite_own_prefixes[];

/* Opens a task that need not be in the table of control_suite.c. Both arguments are borrowed until
 * control_suite_close. Errors as control_suite_open. */
status control_suite_open_task(struct control_suite **suite,
                               const struct control_suite_domain *domain,
                               const struct control_suite_task *task, struct err *err) MUST_CHECK;

/* ---- Start states ---- */

/* Draws joints in order of id: limited hinges and slides uniform in their range, unlimited hinges
 * uniform in (-pi, pi), limited balls a random axis and a uniform angle up to their limit, unlimited
 * balls and the orientation of free joints at random. Unlimited slides and the position of free
 * joints stay as they are. Cannot fail; a domain's `start`. Source:
 * dm_control.suite.utils.randomizers. */
control_suite_start control_suite_randomize_joints;

/* Calls `draw` until nothing touches: for a `start`. CORRUPT after 10000 draws. */
status control_suite_draw_apart(struct simulation *simulation, const int *at,
                                struct random_state *random, control_suite_start *draw,
                                struct err *err) MUST_CHECK;

/* quaternion(4): four normals, normalised: a uniformly random orientation. */
void control_suite_random_quaternion(double *quaternion, struct random_state *random);
/* direction(n), n < 32: n normals, normalised. */
void control_suite_random_direction(double *direction, int n, struct random_state *random);

/* ---- Edits of a parsed model ---- */

/* The part of this name; INVALID if there is none. */
status control_suite_find(mjsElement **element, mjSpec *spec, mjtObj type, const char *name,
                          struct err *err) MUST_CHECK;
/* Removes the part with all that it holds or that refers to it; INVALID if there is none. */
status control_suite_remove(mjSpec *spec, mjtObj type, const char *name,
                            struct err *err) MUST_CHECK;

/* ---- Observations and rewards ---- */

/* Appends n values to an observation under construction: at = control_suite_put(at, values, n).
 * Inline: n is mostly a small constant. */
static inline double *control_suite_put(double *out, const double *values, int n)
{
    memcpy(out, values, (size_t)n * sizeof *values);
    return out + n;
}

/* between 0.8 and 1: (4 + mean over the controls of max(0, 1 - u^2)) / 5. */
double control_suite_small_control(const struct simulation *simulation);

/* 1 where x is at least `low`, falling linearly to v at low - margin. */
double control_suite_at_least(double x, double low, double margin, double v);

#endif
