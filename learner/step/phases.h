/* Where a learner's time goes: nanoseconds per phase, by the laps of a stopwatch.
 *
 *     phases_start(&p);  .. work ..  phases_lap(&p, PHASE_VALUE);  .. work ..  phases_lap(..)
 *
 * The clock is only read: nothing that is learned depends on it. One thread at a time. */
#ifndef HINDCAST_LEARNER_STEP_PHASES_H
#define HINDCAST_LEARNER_STEP_PHASES_H

#include <stdint.h>

/* X(name, text), in the order of a step. LOAD to IDLE are measured for each thread. */
#define PHASES_MAP(X)                                                                              \
    X(WAIT, "wait")             /* for a batch */                                                  \
    X(LOAD, "load")             /* rows of the batch into groups, packing of weights */            \
    X(VALUE, "value")           /* V by the target critic */                                       \
    X(EVALUATE, "evaluate")     /* the critic towards its targets */                               \
    X(PRIOR, "prior")           /* the prior towards what was logged */                            \
    X(IMPROVE, "improve")       /* the policy, or what perturbs it */                              \
    X(IDLE, "idle")             /* threads waiting for the slowest one */                          \
    X(REDUCE, "reduce")         /* adding up the threads' gradients */                             \
    X(EXCHANGE, "exchange")     /* with the other ranks, waiting for the slowest included */       \
    X(APPLY, "apply")           /* norms, clipping, Adam, copies to the targets */                 \
    X(REPORT, "report")         /* diagnostics, log lines, curves */                               \
    X(PUBLISH, "publish")       /* policy packages */                                              \
    X(CHECKPOINT, "checkpoint") /* the copy; the file is written by another thread */

enum phase {
#define PHASE_NAME(name, text) PHASE_##name,
    PHASES_MAP(PHASE_NAME)
#undef PHASE_NAME
        PHASES
};

struct phases {
    uint64_t ns[PHASES];
    uint64_t lap_ns; /* when the lap under way began */
};

const char *phase_name(enum phase phase);

/* Begins a lap; the times so far stay. */
void phases_start(struct phases *phases);
/* Adds the lap to this phase and begins the next one. */
void phases_lap(struct phases *phases, enum phase phase);
/* phases += more. */
void phases_add(struct phases *phases, const struct phases *more);
uint64_t phases_sum(const struct phases *phases);

#endif
