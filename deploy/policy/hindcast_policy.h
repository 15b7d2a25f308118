/* libhindcast_policy: acts by a policy that Hindcast learned, in a program of your own.
 *
 *     hindcast_policy *policy;
 *     hindcast_actor *actor;
 *     char error[HINDCAST_POLICY_ERROR_SIZE];
 *     if (hindcast_policy_load(&policy, "policy.safetensors", error) != HINDCAST_POLICY_OK ||
 *         hindcast_actor_new(&actor, policy, NULL, error) != HINDCAST_POLICY_OK) {
 *         fprintf(stderr, "%s\n", error);
 *     }
 *     hindcast_actor_start(actor, seed, episode, task);
 *     for (;;) {
 *         ..                                              fill observation
 *         if (hindcast_actor_act(actor, observation, action) != HINDCAST_POLICY_OK) ..
 *     }
 *
 * Observations and actions are in the units of the logs: the library normalizes the one and scales
 * the other to the limits of the actuators. It needs nothing but libm, starts no thread, prints
 * nothing, and once an actor is made it allocates nothing and takes no lock. The same policy,
 * observation and seed give the bits that Hindcast's evaluator computes on the same kind of
 * processor.
 *
 * A file is not trusted: it is refused, with a reason, unless every field and weight is sound.
 *
 * Errors: functions that can fail return an enum hindcast_policy_status. `error`, where there is
 * one, may be NULL; otherwise it is an array of HINDCAST_POLICY_ERROR_SIZE that receives one line,
 * ended by 0.
 *
 * Threads: a policy never changes, so that any number of threads may use it. An actor belongs to
 * one thread at a time. */
#ifndef HINDCAST_POLICY_H
#define HINDCAST_POLICY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define HINDCAST_POLICY_API __attribute__((visibility("default")))
#else
#define HINDCAST_POLICY_API
#endif

#define HINDCAST_POLICY_ERROR_SIZE 1024

typedef struct hindcast_policy hindcast_policy;
typedef struct hindcast_actor hindcast_actor;

enum hindcast_policy_status {
    HINDCAST_POLICY_OK = 0,
    HINDCAST_POLICY_NO_MEMORY = 1,
    HINDCAST_POLICY_NO_FILE = 2,     /* the file is not there or cannot be read */
    HINDCAST_POLICY_BAD_FILE = 3,    /* it is no policy, or a damaged one, or of a newer format */
    HINDCAST_POLICY_NOT_ALLOWED = 4, /* an argument does not fit this policy */
    HINDCAST_POLICY_NOT_FINITE =
        5, /* the observation, or what the networks make of it, is not finite */
    HINDCAST_POLICY_OUTSIDE = 6 /* the observation is outside of what the policy learned from */
};

/* A text for a status, such as "out of memory". Never NULL. */
HINDCAST_POLICY_API const char *hindcast_policy_status_text(int status);
/* The version of the library, such as "0.1.0". */
HINDCAST_POLICY_API const char *hindcast_policy_version(void);

/* ---- Policies ---- */

/* Reads `path`, a file that `hindcast policy export --safetensors` or a run left. */
HINDCAST_POLICY_API int hindcast_policy_load(hindcast_policy **policy, const char *path,
                                             char *error);
/* The same from memory, of which it keeps a copy. */
HINDCAST_POLICY_API int hindcast_policy_parse(hindcast_policy **policy, const void *bytes,
                                              size_t size, char *error);
/* NULL is allowed. Actors of the policy must be freed first. */
HINDCAST_POLICY_API void hindcast_policy_free(hindcast_policy *policy);

/* Sizes: floats of an observation and of an action, and how many tasks the policy can pursue, at
 * least 1. */
HINDCAST_POLICY_API uint32_t hindcast_policy_observation_size(const hindcast_policy *policy);
HINDCAST_POLICY_API uint32_t hindcast_policy_action_size(const hindcast_policy *policy);
HINDCAST_POLICY_API uint32_t hindcast_policy_tasks(const hindcast_policy *policy);

/* How many steps of the episode the policy looks at, the current one included; 1: no history. An
 * actor keeps those before by itself: what it is given is the observation of one step. */
HINDCAST_POLICY_API uint32_t hindcast_policy_history(const hindcast_policy *policy);

/* An observation consists of named slices, in this order. Slice i < hindcast_policy_slices():
 * its name (the policy's), and where it lies: floats begin .. begin + size - 1. `begin` and `size`
 * may be NULL. Returns NULL for a slice that is not there. */
HINDCAST_POLICY_API uint32_t hindcast_policy_slices(const hindcast_policy *policy);
HINDCAST_POLICY_API const char *hindcast_policy_slice(const hindcast_policy *policy, uint32_t i,
                                                      uint32_t *begin, uint32_t *size);
/* The slice of this name: NOT_ALLOWED if there is none. */
HINDCAST_POLICY_API int hindcast_policy_find_slice(const hindcast_policy *policy, const char *name,
                                                   uint32_t *begin, uint32_t *size);

/* The limits of action dimension i, in the units of the logs. NaN for one that is not there. */
HINDCAST_POLICY_API float hindcast_policy_action_min(const hindcast_policy *policy, uint32_t i);
HINDCAST_POLICY_API float hindcast_policy_action_max(const hindcast_policy *policy, uint32_t i);
/* Seconds from one action to the next; 0 if the logs did not say. */
HINDCAST_POLICY_API double hindcast_policy_control_period_s(const hindcast_policy *policy);
/* The name of task i, or NULL; and the number of a name: NOT_ALLOWED if there is no such task. */
HINDCAST_POLICY_API const char *hindcast_policy_task(const hindcast_policy *policy, uint32_t i);
HINDCAST_POLICY_API int hindcast_policy_find_task(const hindcast_policy *policy, const char *name,
                                                  uint32_t *task);
/* What else the file says about itself, by its metadata key: "algorithm", "learner_step",
 * "setting/gamma", .. NULL for a key that is not there. */
HINDCAST_POLICY_API const char *hindcast_policy_note(const hindcast_policy *policy,
                                                     const char *key);

/* The value of the policy by an offline evaluation, in the units of the logged rewards, and the ends
 * of its interval. NOT_ALLOWED if the file has none. */
HINDCAST_POLICY_API int hindcast_policy_offline_value(const hindcast_policy *policy, double *value,
                                                      double *low, double *high);

/* ---- Observations unlike those that it learned from ---- */

/* The least and the largest value of observation dimension i (0 .. observation size - 1) among the rows
 * that the learner measured. NOT_ALLOWED: the file does not say, or there is no such dimension. */
HINDCAST_POLICY_API int hindcast_policy_observed(const hindcast_policy *policy, uint32_t i,
                                                 float *min, float *max);

/* Which dimensions of an observation are outside. */
typedef struct hindcast_outside {
    uint32_t count;     /* how many; if 0, the rest is 0, too */
    uint32_t dimension; /* the one that is furthest outside */
    const char *slice;  /* the slice that it is in, and which element of it; the policy's */
    uint32_t element;
    float value, min, max; /* what was observed, and the range */
    float
        excess; /* how far beyond the range, in widths (max - min) of it; INFINITY if it has none */
} hindcast_outside;

/* Is every value x of the observation within
 *
 *     min - margin (max - min) - r  ..  max + margin (max - min) + r
 *
 * where r, 1e-5 of the larger of |min| and |max|, allows for rounding? OK, or OUTSIDE. NOT_FINITE: x is
 * NaN or infinite. NOT_ALLOWED: `margin` is negative or NaN, or the file has no ranges. `outside` may
 * be NULL; it is written with OK and OUTSIDE. */
HINDCAST_POLICY_API int hindcast_policy_check(const hindcast_policy *policy,
                                              const float *observation, float margin,
                                              hindcast_outside *outside);

/* ---- Acting ---- */

/* Makes an actor for `policy`, which must outlive it. `rule` is
 *
 *     "mean"     the mean of the distribution
 *     "sample"   a sample of the distribution
 *     "argmax"   of several samples the one with the largest value ("bcq", "bear")
 *     NULL       what Hindcast's evaluator does: argmax where the policy has it, otherwise mean
 *
 * NOT_ALLOWED: the policy has no such rule. Until hindcast_actor_start it is as if that had been
 * called with 0, 0, 0. */
HINDCAST_POLICY_API int hindcast_actor_new(hindcast_actor **actor, const hindcast_policy *policy,
                                           const char *rule, char *error);
/* NULL is allowed. */
HINDCAST_POLICY_API void hindcast_actor_free(hindcast_actor *actor);

/* Begins an episode: from here on what is drawn is a function of (seed, episode) and the number of
 * calls of hindcast_actor_act. NOT_ALLOWED, and nothing changes, if there is no such task. */
HINDCAST_POLICY_API int hindcast_actor_start(hindcast_actor *actor, uint64_t seed, uint64_t episode,
                                             uint32_t task);

/* What an actor does at an observation that hindcast_policy_check finds outside. */
enum hindcast_hold {
    HINDCAST_HOLD_NEVER = 0,  /* it acts as at any other; this is so until another rule is chosen */
    HINDCAST_HOLD_STOP = 1,   /* it writes no action: the caller decides, as after NOT_FINITE */
    HINDCAST_HOLD_LAST = 2,   /* it repeats the last action of the episode; if none, `action` */
    HINDCAST_HOLD_ACTION = 3, /* it writes `action` */
};

/* Chooses the rule, from the next hindcast_actor_act on, with the margin of hindcast_policy_check.
 * `action`(action size) is copied; only LAST and ACTION need it. The actor acts again at the first
 * observation that is not outside. What is drawn does not depend on the rule, and a policy with history
 * is given the actions that were written (after STOP, what it would have done). NOT_ALLOWED, and nothing changes: no such rule, a margin
 * that is negative or NaN, a file without ranges, or an `action` that is missing, not finite or
 * beyond the limits. */
HINDCAST_POLICY_API int hindcast_actor_hold(hindcast_actor *actor, int rule, float margin,
                                            const float *action);
/* What the last hindcast_actor_act that compared has found; count 0 before that. */
HINDCAST_POLICY_API void hindcast_actor_outside(const hindcast_actor *actor,
                                                hindcast_outside *outside);

/* action(action size) for observation(observation size). OUTSIDE: the actor holds, by the rule that was
 * chosen (hindcast_actor_hold). NOT_FINITE: the action is not written,
 * because the observation holds NaN or infinity, and then the actor is as before the call; or
 * because its values are so large that the networks overflow, and then a policy with history has to
 * begin anew (hindcast_actor_start). */
HINDCAST_POLICY_API int hindcast_actor_act(hindcast_actor *actor, const float *observation,
                                           float *action);

#ifdef __cplusplus
}
#endif

#endif
