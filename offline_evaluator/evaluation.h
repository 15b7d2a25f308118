/* An evaluation: everything between the configuration and the numbers of a report.
 *
 * Loads policies and logged data, lets the policies act at every row, fits the critics (with
 * checkpoints in between, from which a later call goes on), reads values at start states. */
#ifndef HINDCAST_OFFLINE_EVALUATOR_EVALUATION_H
#define HINDCAST_OFFLINE_EVALUATOR_EVALUATION_H

#include "offline_evaluator/estimates.h"
#include "offline_evaluator/fitted_q.h"
#include "offline_evaluator/policies.h"

/* Where the values are asked for. */
struct starts {
    bool held_out; /* of the table TABLE_holdout; else those of the training episodes */
    char table[CONFIG_TEXT_SIZE + 16];
    struct logged_data held; /* the held-out table; empty where there is none */
    const struct logged_data *data;
};

/* What is known and estimated of the policy that made the logs. */
struct behaviour {
    struct estimate known, estimated; /* mean discounted return, value */
};

struct evaluation {
    const struct experiment *experiment;
    const struct offline_evaluator_options *options;
    void (*progress)(void *arg, double fraction, const char *text);
    bool (*stopping)(void *arg);
    void *arg;

    struct policies policies;
    struct signature signature;
    struct logged_data data;
    struct starts starts;
    float *x; /* (n_rows,O) normalized observations */
    float *mean, *scale;
    struct columns columns,
        start_columns; /* at the rows of the data, at the starts; not by_model */
    double gamma;      /* 1 with models: values are returns of episodes */
    uint64_t steps;    /* of each critic or model */
    bool sparse[SIGNATURE_TASKS_MAX];
    struct fitted_q_head *heads;
    int H;
    bool by_model;                 /* the critics are models: rollout.h */
    struct fitted_q_head *outputs; /* of a model */
    struct thread_pool *pool;
    struct fitted_q *critics[EVALUATION_CRITICS_MAX];
    uint64_t digest; /* of all that the result depends on */
    double loss;     /* of the last steps, mean */
    double seconds;  /* of this start */

    /* The result. */
    struct estimates *tasks;  /* (K): of the policies' values; of several tasks also .. */
    struct estimates values;  /* .. their mean */
    struct estimates success; /* mean over the tasks with a sparse reward; empty: there are none */
    struct behaviour behaviour[SIGNATURE_TASKS_MAX];
    double *support; /* (policies) see support.h */
};

/* Ways to act: one for each policy and task, and the behaviour's. */
static inline size_t evaluation_columns(const struct evaluation *evaluation)
{
    return evaluation->policies.n * evaluation->data.K + 1;
}
/* How many starts values are asked for at: one of each episode, with models at most 256 of them. */
size_t evaluation_starts(const struct evaluation *evaluation);
/* The episode of the i-th of them. */
const struct logged_episode *evaluation_start(const struct evaluation *evaluation, size_t i);
/* The head of policy p (n: the behaviour) for task k; `success`: the second one of a sparse reward. */
size_t evaluation_head(const struct evaluation *evaluation, size_t p, size_t k, bool success);
/* Policies act by samples, and not by their mean. */
bool evaluation_by_samples(const struct evaluation *evaluation);

/* The caller has set the first five fields of a zeroed struct. CLOSED: stopping; a checkpoint is
 * there. Other errors name file, field, value and expectation. Free with evaluation_fini. */
status evaluation_run(struct evaluation *evaluation, struct err *err) MUST_CHECK;
void evaluation_fini(struct evaluation *evaluation);

/* The file of the result, and that of the checkpoint. */
void evaluation_report_path(char *path, size_t size, const struct experiment *experiment,
                            const struct offline_evaluator_options *options);

#endif
