/* A sealed table in memory: all its episodes, row by row, in order of identity.
 *
 * An episode of T transitions has T + 1 rows; of the last one only the observation counts. Immutable
 * once loaded: any thread may read. */
#ifndef HINDCAST_OFFLINE_EVALUATOR_LOGGED_DATA_H
#define HINDCAST_OFFLINE_EVALUATOR_LOGGED_DATA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/base/experiment.h"
#include "common/trajectory/signature.h"

struct logged_episode {
    size_t first; /* its first row */
    uint32_t T;   /* transitions */
    bool terminated;
};

struct logged_data {
    size_t O, A, K, W;
    float *rows; /* (n_rows, W): observation | action | rewards | discount */
    size_t n_rows;
    struct logged_episode *episodes;
    size_t n_episodes;
    size_t *transitions; /* (n_transitions): the row at which each starts */
    size_t n_transitions;
    uint64_t version; /* of the table, or of those of several servers */
};

/* Reads the table from all replay servers. Where `signature` has A == 0 it is filled in, else it
 * says which rewards are wanted. NOT_FOUND: a server has no such table, after `timeout_ms`;
 * TOO_LONG: it has more than max_transitions; MISMATCH: other slices, actions or rewards; CLOSED:
 * `stopping` said so. Free it with logged_data_fini. */
status logged_data_load(struct logged_data *data, const struct experiment *experiment,
                        const char *table, struct signature *signature, size_t max_transitions,
                        uint64_t timeout_ms, bool (*stopping)(void *arg), void *stopping_arg,
                        struct err *err) MUST_CHECK;
void logged_data_fini(struct logged_data *data);

/* The same from rows that are in memory, for tests: episodes one after another, each of T + 1 rows,
 * its last transition's discount saying whether it terminated. Copies. */
status logged_data_of_rows(struct logged_data *data, size_t O, size_t A, size_t K,
                           const float *rows, const uint32_t *T, size_t n_episodes) MUST_CHECK;

/* Some states of `from`, each as an episode of one transition: state i is row 2 i. NO_MEMORY. */
status logged_data_of_states(struct logged_data *data, const struct logged_data *from,
                             const size_t *rows, size_t n) MUST_CHECK;

/* Parts of a row. */
static inline const float *logged_row(const struct logged_data *data, size_t row)
{
    return data->rows + row * data->W;
}
static inline const float *logged_action(const struct logged_data *data, size_t row)
{
    return logged_row(data, row) + data->O;
}
static inline double logged_reward(const struct logged_data *data, size_t row, size_t k)
{
    return (double)logged_row(data, row)[data->O + data->A + k];
}
static inline double logged_discount(const struct logged_data *data, size_t row)
{
    return (double)logged_row(data, row)[data->W - 1];
}

/* returns(n_transitions) <- sum_i gamma^i r_k of what followed each transition in its episode. What
 * comes after a time limit is not known and counts as 0. */
void logged_data_returns(const struct logged_data *data, size_t k, double gamma, double *returns);

/* The reward is above 0 at the ends of episodes alone, and has one value there: a success. */
bool logged_data_is_sparse(const struct logged_data *data, size_t k);

#endif
