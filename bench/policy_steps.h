/* How fast a policy acts: control steps a second as a collector or an evaluator takes them, inference
 * and resets included, in one environment at a time and in several side by side. */
#ifndef HINDCAST_BENCH_POLICY_STEPS_H
#define HINDCAST_BENCH_POLICY_STEPS_H

#include <stdint.h>

#include "common/base/status.h"

#define POLICY_STEPS_BATCH 8u

/* Control steps and the nanoseconds that they took. */
struct policy_steps {
    uint64_t alone, alone_ns;     /* one environment, a batch of one */
    uint64_t batched, batched_ns; /* POLICY_STEPS_BATCH environments, one batch */
};

/* Acts by the mean of a policy of three hidden layers of 256 units with random weights, in turns of a
 * quarter of a second, for `seconds` in all. Errors of environment and policy. */
status policy_steps_measure(struct policy_steps *steps, const char *uri, double seconds,
                            uint64_t seed, struct err *err) MUST_CHECK;

#endif
