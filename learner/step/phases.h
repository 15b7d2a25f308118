/* Where a learner's time goes: nanoseconds per phase, by laps of a stopwatch that always runs.
 *
 *     phases_start(&p);  .. work ..  phases_lap(&p, PHASE_VALUE);  .. work ..  phases_lap(..)
 *
 * The clock is only read: nothing that is learned depends on it. One thread at a time. */
#ifndef HINDCAST_LEARNER_STEP_PHASES_H
#define HINDCAST_LEARNER_STEP_PHASES_H

#include <stdint.h>

/* X(name, text): in the order of a step. Those from LOAD to IDLE are of each thread. */
#define PHASES_MAP(X)                                                                              \
    X(WAIT, "wait")         /* for a batch */                                                      \
    X(LOAD, "load")         /* rows of the batch into groups, weights into the kernels' order */   \
    X(VALUE, "value")       /* V by the target critic */                                           \
    X(EVALUATE, "evaluate") /* the critic towards its targets */                                   \
    X(PRIOR, "prior")       /* the prior towards what was logged */                                \
    X(IMPROVE, "improve")   /* the policy, or what perturbs it */                                  \
    X(IDLE, "idle")         /* threads that wait for the slowest */                                \
    X(REDUCE, "reduce")     /* the threads' gradients, added up */                                 \
    X(EXCHANGE, "exchange") /* with the other ranks; waits for the slowest, too */                 \
    X(APPLY, "apply")       /* norms, clipping, Adam, copies to the targets */                     \
    X(REPORT, "report")     /* diagnostics, lines, what is shown */                                \
    X(PUBLISH, "publish")   /* policy packages */                                                  \
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

/* A lap begins; times so far stay. */
void phases_start(struct phases *phases);
/* The lap ends as one of this phase, and the next one begins. */
void phases_lap(struct phases *phases, enum phase phase);
/* phases += more. */
void phases_add(struct phases *phases, const struct phases *more);
uint64_t phases_sum(const struct phases *phases);

#endif
