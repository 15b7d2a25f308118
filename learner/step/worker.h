/* A worker: one thread's share of a step, with all the memory that its operators use. */
#ifndef HINDCAST_LEARNER_STEP_WORKER_H
#define HINDCAST_LEARNER_STEP_WORKER_H

#include "common/base/memory.h"
#include "learner/step/operators.h"
#include "learner/step/phases.h"

struct worker {
    struct workspace work;  /* its sums and gradients are the worker's result */
    struct states states;   /* that it works on */
    struct value value;     /* what the operators of a step pass on */
    struct gaussians prior; /* (S,A) */
    struct phases phases;   /* of the step under way */
    struct arena arena;     /* holds all of it but the gradients */
};

/* Everything for groups of up to R_max rows. NO_MEMORY; call worker_fini all the same. */
status worker_init(struct worker *worker, const struct step *step, size_t n_gradients,
                   int R_max) MUST_CHECK;
void worker_fini(struct worker *worker);

/* Loads snippets(n), with b, tau and n set, as the group to work on; counts its states. */
void worker_load(struct worker *worker, const struct task_snippet *snippets, int n);
/* All operators of a step, in order, over the group: docs/maths.md, section 3. */
void worker_run(struct worker *worker);

#endif
