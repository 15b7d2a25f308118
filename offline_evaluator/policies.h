/* The policies that are evaluated, and their actions at every row of the logged data.
 *
 * Policies are fixed, so their actions are computed once. Each policy makes a column for each task
 * of the signature; the last column is the behaviour's: the action that was logged next. */
#ifndef HINDCAST_OFFLINE_EVALUATOR_POLICIES_H
#define HINDCAST_OFFLINE_EVALUATOR_POLICIES_H

#include "common/base/thread_pool.h"
#include "common/networks/policy.h"
#include "offline_evaluator/logged_data.h"
#include "offline_evaluator/options.h"

#define POLICIES_MAX      128
#define POLICIES_NAME_MAX 96

struct evaluated_policy {
    char name[POLICIES_NAME_MAX]; /* "candidates/step-00001000", "policy_learner prior" */
    char path[CONFIG_TEXT_SIZE];
    bool is_prior; /* the prior in that file, instead of its policy */
    bool is_last;  /* of the run */
    struct policy *policy;
    uint64_t digest; /* of the file */
};

struct policies {
    struct evaluated_policy items[POLICIES_MAX];
    size_t n;
};

/* Those that the options name or, where none is named, RUN_DIR/candidates/ and
 * RUN_DIR/policy_learner.safetensors; with the priors in them, where wanted. NOT_FOUND: the run has
 * none; TOO_LONG: more than POLICIES_MAX. Free with policies_fini, also after an error. */
status policies_load(struct policies *policies, const char *run_dir,
                     const struct offline_evaluator_options *options, struct err *err) MUST_CHECK;
void policies_fini(struct policies *policies);

/* The signature of the rows that all of them were made for; A == 0 where none has one. MISMATCH
 * names two files and what differs. */
status policies_signature(const struct policies *policies, struct signature *signature,
                          struct err *err) MUST_CHECK;
/* *gamma <- that with which they were learned. MISMATCH: two of them differ; NOT_FOUND: no file says
 * it. */
status policies_gamma(const struct policies *policies, double *gamma, struct err *err) MUST_CHECK;

/* Actions of the columns at all rows, canonical and clipped for those that act by a mean. */
struct columns {
    size_t C, A, n_rows;
    float *mean; /* (n_rows,C,A) */
    float *std;  /* (n_rows,C,A), 0 where there is one action; NULL: everywhere */
};

/* By samples: mean and std of the policies that have them. `progress` gets the share that is done
 * and returns false to give up (CLOSED). NO_MEMORY. Free with columns_fini. */
status columns_make(struct columns *columns, const struct policies *policies,
                    const struct logged_data *data, bool by_samples, uint64_t seed,
                    struct thread_pool *pool, bool (*progress)(void *arg, double done), void *arg,
                    struct err *err) MUST_CHECK;
void columns_fini(struct columns *columns);

#endif
