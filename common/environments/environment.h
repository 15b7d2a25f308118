/* An environment: describe, open, reset, step, close. A simulated task and a robot look the same to
 * the code that acts in them.
 *
 *     environment_describe(&description, "cheetah-run", &err)      what it is; opens nothing
 *     environment_open(&environment, "cheetah-run", &err)          once per worker
 *     per episode: environment_reset(start) -> o0, then environment_step(a) -> o, rewards until last
 *
 * A URI names an environment; its prefix selects the family that implements it (families.c). Actions
 * are canonical, in [-1, 1], shape (A); the environment maps them to physical limits. Observations
 * are float32, shape (O), slices in signature order. Every step yields the rewards of all K tasks.
 *
 * An environment belongs to one thread at a time. Environments of the same task share one read-only
 * model within the process, so that fifty of them cost little. */
#ifndef HINDCAST_ENVIRONMENTS_ENVIRONMENT_H
#define HINDCAST_ENVIRONMENTS_ENVIRONMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "common/trajectory/signature.h"

#define ENVIRONMENT_URI_SIZE       256 /* bytes, with the terminating 0 */
#define ENVIRONMENT_OPEN_UNLIMITED UINT32_MAX

/* How an episode may start. An environment supports the flags of its description's start_flags. */
enum environment_start_flags {
    /* The scene and the robot stay as the last episode left them: no reset motion. Such an episode
     * also depends on what came before. */
    ENVIRONMENT_START_KEEP = 1u << 0,
    /* A state further along the task, such as an object already in the gripper. */
    ENVIRONMENT_START_ADVANCED = 1u << 1,
};

/* Plain data, copied by assignment. */
struct environment_description {
    char uri[ENVIRONMENT_URI_SIZE];
    struct signature signature; /* observation, action limits, tasks (rewards), control period */
    uint32_t step_limit;        /* control steps after which an episode is cut off; 0: no limit */
    uint32_t open_max;          /* how many may be open at once, in all processes; or UNLIMITED */
    bool real_time;             /* a step takes the control period: a robot, not a simulation */
    uint32_t start_flags;       /* enum environment_start_flags that reset accepts */
    bool scripted;              /* environment_script has a behaviour for each task */
    /* An episode succeeds in task k where the mean of its last success_steps rewards (of all, where
     * it is shorter) is at least success[k]. success_steps 0: success is not defined. */
    uint32_t success_steps;
    double success[SIGNATURE_TASKS_MAX];
};

/* Where an episode begins. The same start gives the same episode for the same actions, bit for bit
 * on one machine, whatever the environment did before (but for ENVIRONMENT_START_KEEP). */
struct environment_start {
    uint64_t seed;  /* of everything random in the episode */
    uint32_t task;  /* whose start states are wanted: index of its reward, < K (0 where K is 0) */
    uint32_t flags; /* enum environment_start_flags, or 0 */
};

struct environment;

/* What the environment of this URI is, without opening it: no lease is taken and no hardware moves;
 * a model file may be read. NOT_FOUND: no family implements the URI (the text lists the known
 * names), or a model file is absent. INVALID: a bad model or URI. */
status environment_describe(struct environment_description *description, const char *uri,
                            struct err *err) MUST_CHECK;

/* Errors as environment_describe; LIMIT: open_max of them are open already. */
status environment_open(struct environment **environment, const char *uri,
                        struct err *err) MUST_CHECK;
void environment_close(struct environment *environment); /* NULL is fine */

/* Valid until environment_close. */
const struct environment_description *
environment_description(const struct environment *environment);
const struct signature *environment_signature(const struct environment *environment);

/* Starts an episode, whatever state the last one is in. observation(O) <- the first one. INVALID: no
 * such task, or a flag that the description does not list. RETRY, of a robot only: not now, since it
 * is away, stopped, in use, or waits for its operator; the text says which, and the same call goes on
 * with it. Takes a few seconds at most. After an error there is no episode under way; reset may be
 * tried again. */
status environment_reset(struct environment *environment, const struct environment_start *start,
                         float *observation, struct err *err) MUST_CHECK;

/* One control step. action(A): finite, |a| <= 1 + 1e-5 (clipped to 1), else INVALID and nothing
 * moved. On OK observation(O), rewards(K), discount (0: terminated; 1 otherwise, also at the time
 * limit) and *last are written. CORRUPT: the simulated state went bad (not finite, or a buffer
 * overflowed); TIMEOUT, LIMIT, UNAVAILABLE: a robot's reasons (common/robot/robot_environment.h);
 * CLOSED: no episode under way. After any error but INVALID the episode is over, must
 * not be stored, and only environment_reset goes on. */
status environment_step(struct environment *environment, const float *action, float *observation,
                        float *rewards, float *discount, bool *last, struct err *err) MUST_CHECK;

/* The next step's action comes late: for this share (0..1) of the step, rounded to physics steps, the
 * last step's action still acts (none in the first step of an episode). For what simulates a robot's
 * latency; environments that do not simulate ignore it. */
void environment_delay(struct environment *environment, double share);

/* A scripted behaviour: action(A), canonical, towards task (< K), a function of observation(O) alone.
 * The description says `scripted`. */
void environment_script(const struct environment *environment, uint32_t task,
                        const float *observation, float *action);

/* What can be opened, or the pattern of it ("robot:HOST:PORT"); then NULL. Valid until
 * environment_add_family; any thread. */
const char *const *environment_names(void);

#endif
