/* Measuring a policy: a number of episodes per task, on the threads of a pool, each episode from its
 * own random stream.
 *
 * The returns are a function of (policy, environment, seed, stream, index, episodes), whatever the
 * number of threads. */
#ifndef HINDCAST_EVALUATOR_MEASUREMENT_H
#define HINDCAST_EVALUATOR_MEASUREMENT_H

#include <stdbool.h>

#include "common/base/json.h"
#include "common/networks/policy.h"
#include "common/trajectory/episode.h"
#include "evaluator/environment_pool.h"

/* Streams: of the evaluations while a run goes on, always from the same starts, and of what is
 * reported, from starts that no choice was based on. */
#define MEASUREMENT_WINDOW "evaluator-window"
#define MEASUREMENT_FINAL  "evaluator-final"

struct measurement_settings {
    uint64_t seed;
    const char *stream;
    uint64_t index;              /* of the evaluator */
    uint32_t episodes;           /* per task, >= 1 */
    bool sample;                 /* else the mean action */
    bool keep;                   /* the episodes too, not only their returns */
    bool (*stopping)(void *arg); /* called before every step by every thread; may be NULL */
    /* Told what the environment waits for, about once a second as long as it does; may be NULL. */
    void (*waiting)(void *arg, const char *reason);
    void *arg;
};

struct measurement {
    uint32_t n_tasks; /* the policy's */
    char tasks[SIGNATURE_TASKS_MAX][SIGNATURE_NAME_SIZE];
    uint32_t episodes; /* per task, as asked for */
    double *returns;   /* (n_tasks, episodes): of task k in the episodes that pursued it; NaN
                           * where the environment failed */
    double
        *success; /* (n_tasks, episodes): 1 or 0, whether that episode succeeded in task k; NaN as
                           * above; NULL where the environment defines no success */
    struct episode *kept; /* the same, with T = 0 where it failed; NULL: not asked for */
    uint32_t failed;      /* episodes in which the environment failed; not counted anywhere */
    uint64_t steps;       /* control steps of all episodes */
    double seconds;       /* wall time of the measurement */
};

/* Measures on all threads of the pool, each with its environment. CLOSED: it was time to stop. MISMATCH: policy
 * and environment do not fit. CORRUPT: the environment failed in every episode of a task. */
status measurement_take(struct measurement **measurement, const struct policy *policy,
                        struct environment_pool *pool, const struct measurement_settings *settings,
                        struct err *err) MUST_CHECK;
void measurement_free(struct measurement *measurement); /* NULL is fine */

/* Mean over tasks of their mean returns: the number that the stop rule and the best policy use. */
double measurement_mean(const struct measurement *measurement);

/* Adds to `object`: return_mean, failed_episodes, steps, seconds, and "tasks", a list of {task, n,
 * statistics by their names (statistics.h), returns}; where success is defined, each also has success_rate and its
 * 95% interval success_low, success_high. NO_MEMORY. */
status measurement_to_json(const struct measurement *measurement, cJSON *object) MUST_CHECK;
/* A number of what it added, or of the lines and reports made of it; NaN where there is none. */
double measurement_number(const cJSON *object, const char *key);

#endif
