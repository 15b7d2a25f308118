/* Measuring a policy: so many episodes per task, on some threads, each episode from its own random
 * stream.
 *
 * The returns are a function of (policy, environment, seed, stream, index, episodes): not of the
 * number of threads. */
#ifndef HINDCAST_EVALUATOR_MEASUREMENT_H
#define HINDCAST_EVALUATOR_MEASUREMENT_H

#include <stdbool.h>

#include "common/base/json.h"
#include "common/networks/policy.h"
#include "common/trajectory/episode.h"

#define MEASUREMENT_WINDOW                                                                         \
    "evaluator-window" /* streams: while a run goes on; always the same starts */
#define MEASUREMENT_FINAL "evaluator-final" /* what is reported: starts that chose nothing */

struct measurement_settings {
    const char *environment;
    uint64_t seed;
    const char *stream;
    uint64_t index;              /* of the evaluator */
    uint32_t episodes;           /* per task, >= 1 */
    uint32_t threads;            /* >= 1 */
    bool sample;                 /* else the mean action */
    bool keep;                   /* the episodes too, not only their returns */
    bool (*stopping)(void *arg); /* asked before every step by every thread; may be NULL */
    void *arg;
};

struct measurement {
    uint32_t n_tasks; /* the policy's */
    char tasks[SIGNATURE_TASKS_MAX][SIGNATURE_NAME_SIZE];
    uint32_t episodes;    /* per task, as asked for */
    double *returns;      /* (n_tasks, episodes): of task k in the episodes that pursued it; NaN
                          where the environment failed */
    struct episode *kept; /* the same, with T = 0 where it failed; NULL: not asked for */
    uint32_t failed;      /* episodes in which it did; they count nowhere */
    uint64_t steps;       /* control steps of all episodes */
    double seconds;       /* it took */
};

/* CLOSED: it was time to stop. MISMATCH: policy and environment do not fit. NOT_FOUND, IO,
 * INVALID: no such environment. CORRUPT: the environment failed in every episode of a task. */
status measurement_take(struct measurement **measurement, const struct policy *policy,
                        const struct measurement_settings *settings, struct err *err) MUST_CHECK;
void measurement_free(struct measurement *measurement); /* NULL is fine */

/* Mean over tasks of their mean returns: what stop rule and best policy go by. */
double measurement_mean(const struct measurement *measurement);

/* Adds to `object`: return_mean, failed_episodes, steps, seconds, and "tasks", a list of {task, n,
 * mean, min, median, max, std, returns}. NO_MEMORY. */
status measurement_to_json(const struct measurement *measurement, cJSON *object) MUST_CHECK;
/* A number of what it added, or of the lines and reports made of it; NaN: there is none. */
double measurement_number(const cJSON *object, const char *key);

#endif
