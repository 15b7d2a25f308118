/* The signature: what the numbers of a row mean.
 *
 *     row = [ observation (O) | action (A) | rewards (K) | discount (1) ]     float32
 *     W   = O + A + K + 1
 *
 * A signature names the observation's slices, the action's size and physical limits, the task
 * rewards and the control period. A table has one, and every client brings its own. Observation and
 * action must match exactly, rewards by name: a table may hold more than a client asks for. Actions
 * in rows are canonical, in [-1, 1]. Physical units exist only in the environment and in log files:
 *
 *     physical = min + (canonical + 1) / 2 * (max - min) */
#ifndef HINDCAST_TRAJECTORY_SIGNATURE_H
#define HINDCAST_TRAJECTORY_SIGNATURE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "common/base/status.h"

#define SIGNATURE_NAME_SIZE       64 /* bytes, with the terminating 0; names are [a-zA-Z0-9_./-]+ */
#define SIGNATURE_SLICES_MAX      64
#define SIGNATURE_ACTIONS_MAX     64
#define SIGNATURE_TASKS_MAX       32
#define SIGNATURE_OBSERVATION_MAX 4096
#define SIGNATURE_ROW_MAX         4193 /* of the three together, and the discount */

struct signature_slice {
    char name[SIGNATURE_NAME_SIZE];
    uint32_t size; /* floats */
};

/* Plain data, copied by assignment. */
struct signature {
    uint32_t n_slices;
    struct signature_slice slices[SIGNATURE_SLICES_MAX]; /* in row order */
    uint32_t A;                                          /* action dimensions */
    float action_min[SIGNATURE_ACTIONS_MAX];             /* physical, finite, min < max */
    float action_max[SIGNATURE_ACTIONS_MAX];
    uint32_t K; /* task rewards; may be 0 */
    char rewards[SIGNATURE_TASKS_MAX][SIGNATURE_NAME_SIZE];
    double control_period_s; /* 0: unknown, matches any */
};

uint32_t signature_observation(const struct signature *signature); /* O: the sum of the slices */
uint32_t signature_width(const struct signature *signature);       /* W */
/* Offsets within a row. */
uint32_t signature_action_at(const struct signature *signature);
uint32_t signature_rewards_at(const struct signature *signature);
uint32_t signature_discount_at(const struct signature *signature);

/* Are all names, sizes and limits within bounds, and names unique? Every signature from outside is
 * checked here. */
status signature_check(const struct signature *signature, struct err *err) MUST_CHECK;

/* May a client with signature `want` use a table with `have`? MISMATCH with a readable difference
 * ("action 2: limits -1..1 here, 0..1 there"). Where it may, reward_map(want->K) gets, for each of
 * its rewards, the index in `have`; NULL if not wanted. */
status signature_match(const struct signature *have, const struct signature *want,
                       uint32_t *reward_map, struct err *err) MUST_CHECK;

/* Are the rows of both exactly the same, the rewards and their order too? MISMATCH says what
 * differs. */
status signature_same(const struct signature *have, const struct signature *want,
                      struct err *err) MUST_CHECK;

/* JSON, as in metadata.json and the policy package. The text is the caller's (mem_free); NULL when
 * out of memory. */
char *signature_to_json(const struct signature *signature);
/* Prints one line, SIGNATURE_TOLD and the JSON: what processes print with --check, and `hindcast
 * up` reads. */
#define SIGNATURE_TOLD "signature "
void signature_tell(const struct signature *signature, FILE *out);
status signature_from_json(struct signature *signature, const char *json,
                           struct err *err) MUST_CHECK;

/* "slice[i]", the name of element i < O of an observation; cut where it does not fit. */
void signature_name_observation(const struct signature *signature, uint32_t i, char *text,
                                size_t size);

/* Canonical from physical actions and back, A values. Not clipped: checking the range is the
 * caller's. */
void signature_to_canonical(const struct signature *signature, float *canonical,
                            const float *physical);
void signature_to_physical(const struct signature *signature, float *physical,
                           const float *canonical);

/* What signature_to_canonical derives from the limits, for callers with many rows. */
struct signature_ranges {
    uint32_t A;
    bool canonical; /* all limits are -1..1: physical actions are canonical ones, bit for bit */
    double middle[SIGNATURE_ACTIONS_MAX];
    double half[SIGNATURE_ACTIONS_MAX];
};
void signature_ranges_of(const struct signature *signature, struct signature_ranges *ranges);
void signature_ranges_to_canonical(const struct signature_ranges *ranges, float *canonical,
                                   const float *physical);

#endif
