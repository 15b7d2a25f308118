/* The networks of a state, run forward on a few rows: for quantities that people read and no step
 * needs. Weights are packed anew for each call, since every step changes them. All memory is made at
 * the start. One thread.
 *
 * Rows b = 0 .. B-1 are filled one by one; all networks then read the same inputs. */
#ifndef HINDCAST_LEARNER_RUN_INFERENCE_H
#define HINDCAST_LEARNER_RUN_INFERENCE_H

#include "common/networks/network.h"
#include "learner/step/settings.h"
#include "learner/step/state.h"

#define INFERENCE_NETWORKS 3

struct inference {
    struct settings settings;
    int B;             /* the most rows */
    float *inputs;     /* (B,I) */
    float *judged;     /* (B,I+A) the critic's inputs */
    float *raw;        /* (B,2A) */
    float *mean, *std; /* (B,A) of the network that ran last */
    float *q;          /* (B) of the critic */
    struct network_packed packed[INFERENCE_NETWORKS];
    float *scratch;
};

/* For up to B rows. NO_MEMORY; call inference_fini all the same. */
status inference_init(struct inference *inference, const struct settings *settings,
                      const struct state *state, int B) MUST_CHECK;
void inference_fini(struct inference *inference);

/* inputs(b) <- [observation as the networks get it | one-hot task]. */
void inference_input(struct inference *inference, const struct state *state, int b,
                     const float *observation, int task);
/* mean(B,A), std(B,A) of the network "policy" or "prior" at the inputs; false where the algorithm has
 * none. */
bool inference_gaussian(struct inference *inference, const struct state *state, const char *name,
                        int B);
/* The action of row b that the critic is to judge, clipped as in a step. */
void inference_action(struct inference *inference, int b, const float *action);
/* q(B) <- the critic at the inputs and the actions that were given for them. */
void inference_critic(struct inference *inference, const struct state *state, int B);

#endif
