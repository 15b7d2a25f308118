/* `hindcast policy bench`: how long libhindcast_policy takes for an action. */
#ifndef HINDCAST_LOCAL_POLICY_BENCH_H
#define HINDCAST_LOCAL_POLICY_BENCH_H

#include <stdio.h>

#include "common/base/status.h"

struct policy_bench {
    const char *path;   /* the policy file */
    const char *acting; /* a rule; NULL: the evaluator's */
    double rate_hz;     /* of a control loop that sleeps between actions; 0: one after another */
    double seconds;     /* in all */
};

/* Acts at random observations, and prints quantiles of the time that one action took. */
status policy_bench(const struct policy_bench *bench, FILE *out, struct err *err) MUST_CHECK;

#endif
