/* History stacking: an observation that also holds those of the steps before, for tasks whose state
 * one observation does not show (a velocity, a delay). Specific to Hindcast.
 *
 * With n steps of history a signature gets further slices, after its own, in this order (O numbers
 * each, then A numbers each):
 *
 *     q, ..  q/t-1, ..  q/t-2, ..  ..  action/t-1  action/t-2  ..
 *
 * NAME/t-k is what NAME was k steps earlier, k = 1 .. n - 1. In the first steps of an episode, where
 * there is no such step, it is the first observation. Actions (only if wanted) are canonical, in
 * [-1, 1], and 0 before the first. The names alone tell whoever uses a policy how to build its
 * observation; docs/policies.md has an example. */
#ifndef HINDCAST_TRAJECTORY_EPISODE_HISTORY_H
#define HINDCAST_TRAJECTORY_EPISODE_HISTORY_H

#include "common/trajectory/episode.h"

#define EPISODE_HISTORY_MAX 32

struct episode_history {
    uint32_t steps; /* observations, the current one included; 1: no history */
    bool actions;   /* the actions between them, too */
};

/* Stores the signature with history. INVALID: more slices or observations than a signature may have.
 */
status episode_history_signature(const struct episode_history *history,
                                 const struct signature *signature, struct signature *stacked,
                                 struct err *err) MUST_CHECK;
/* Finds out with which history `stacked` has the names of slices that `signature` would get; rewards
 * and limits are not compared. {1, false} where there is none, or the names are others. */
struct episode_history episode_history_of(const struct signature *stacked,
                                          const struct signature *signature);

/* Divides a signature into the one without history, and the history. */
struct episode_history episode_history_split(const struct signature *stacked,
                                             struct signature *signature);

/* The observation in the making while an episode goes on. */
struct episode_window {
    struct episode_history history;
    uint32_t O, A;
    bool begun;
    float *values; /* (episode_window_size): the stacked observation */
};
/* O steps + A (steps - 1) if actions. */
uint32_t episode_window_size(const struct episode_window *window);

/* NO_MEMORY. */
status episode_window_init(struct episode_window *window, const struct episode_history *history,
                           const struct signature *signature, struct err *err) MUST_CHECK;
void episode_window_fini(struct episode_window *window);
/* The next observation is the first of an episode. */
void episode_window_begin(struct episode_window *window);
/* Adds observation(O); action(A), canonical, is the one that led to it, and is not read for the
 * first. window->values is then the stacked observation. */
void episode_window_add(struct episode_window *window, const float *observation,
                        const float *action);

/* Makes `to`, whose width is that of the stacked signature, from `from`. NO_MEMORY, TOO_LONG. */
status episode_history_stack(struct episode_window *window, const struct signature *signature,
                             const struct episode *from, struct episode *to,
                             struct err *err) MUST_CHECK;

#endif
