/* A fixed sample of a sealed table, by which a run is judged: starts, each with its discounted logged
 * return, and the snippets that begin there. It is drawn by a seed of its own, so that it is the same
 * whenever a run is resumed, and other than the batches that are learned from. */
#ifndef HINDCAST_LEARNER_RUN_VALIDATION_SAMPLE_H
#define HINDCAST_LEARNER_RUN_VALIDATION_SAMPLE_H

#include "common/clients/replay_sampler.h"
#include "learner/run/options.h"
#include "learner/step/settings.h"

/* The return of task k from start i is
 *
 *     sum_(t < n) gamma^t D_t r_t[k] + carry V(end),    D_t the product of the discounts before t
 *
 * over the n transitions that follow until the episode ends, or until gamma^n is below
 * VALIDATION_REST. carry = gamma^n D_n is 0 where the episode terminates; where a log ends without
 * that, V stands for what it does not show. */
#define VALIDATION_REST 0.01

struct validation_sample {
    struct replay_sampler_table table;
    int n;             /* starts */
    int O, A, K, W, N; /* of the settings; W of a row, N transitions of a snippet */
    int B;             /* of the first B starts the whole snippet is there */
    float *rows;       /* (B, N+1, W) */
    uint32_t *n_valid; /* (B) */
    float *starts;     /* (n, O+A) observation and logged action */
    float *ends;       /* (n, O) */
    double *returns;   /* (n, K) the sum, in the units of the logs */
    double *carry;     /* (n) */
};

/* How a sample is drawn; all borrowed for the call. */
struct validation_draw {
    const struct experiment *experiment;
    const struct learner_options *options;
    const struct settings *settings;
    const struct signature *signature;
    const char *table;
    bool (*leaving)(void *arg);
    void (*waiting)(void *arg, const char *what); /* told now and then */
    void *arg;
};

/* Waits for the servers. NOT_FOUND: there is no such table, or it is not sealed. CLOSED: leaving.
 * After an error there is nothing to release. */
status validation_sample_init(struct validation_sample *sample, const struct validation_draw *draw,
                              struct err *err) MUST_CHECK;
void validation_sample_fini(struct validation_sample *sample);

#endif
