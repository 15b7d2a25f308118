/* The signature: sizes and offsets, validity, comparison, and the units of actions.
 *
 * A signature is plain data, and nothing here allocates. Its JSON is in signature_json.c. A row is
 * observation, actions, rewards and discount, in this order; each offset is the end of the part
 * before it. In messages "here" is what we have and "there" what somebody wants. Pure functions,
 * for any thread. */
#include "common/trajectory/signature.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Relative tolerance of control periods: 1/30 s is sometimes written with few digits. */
#define PERIOD_TOLERANCE 1e-6

_Static_assert(SIGNATURE_ROW_MAX ==
                   SIGNATURE_OBSERVATION_MAX + SIGNATURE_ACTIONS_MAX + SIGNATURE_TASKS_MAX + 1,
               "SIGNATURE_ROW_MAX is the sum of the three limits and the discount");

uint32_t signature_observation(const struct signature *signature)
{
    /* The slices lie one behind the other. */
    uint32_t O = 0;
    for (uint32_t i = 0; i < signature->n_slices; i++) {
        O += signature->slices[i].size;
    }
    return O;
}

uint32_t signature_width(const struct signature *signature)
{
    return signature_discount_at(signature) + 1;
}

/* Observation first, at column 0, so the actions begin where it ends. */
uint32_t signature_action_at(const struct signature *signature)
{
    return signature_observation(signature);
}

uint32_t signature_rewards_at(const struct signature *signature)
{
    return signature_action_at(signature) + signature->A;
}

/* The discount is the last column: it is 0 where the episode terminates. */
uint32_t signature_discount_at(const struct signature *signature)
{
    return signature_rewards_at(signature) + signature->K;
}

void signature_name_observation(const struct signature *signature, uint32_t i, char *text,
                                size_t size)
{
    /* Goes through the slices until the element lies within one. */
    for (uint32_t s = 0; s < signature->n_slices; s++) {
        if (i < signature->slices[s].size) {
            snprintf(text, size, "%s[%u]", signature->slices[s].name, i);
            return;
        }
        i -= signature->slices[s].size;
    }
    UNREACHABLE("element within the observation");
}

/* ---- checking ---- */

/* [a-zA-Z0-9_./-]+ that fits, with its terminating 0. */
static bool name_valid(const char *name)
{
    /* strnlen, since the array may lack its 0. */
    size_t length = strnlen(name, SIGNATURE_NAME_SIZE);
    if (length == 0 || length == SIGNATURE_NAME_SIZE) {
        return false;
    }
    /* Letters are told from other bytes by their values: isalpha depends on the locale. */
    for (size_t i = 0; i < length; i++) {
        char c = name[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!letter && strchr("_./-", c) == NULL) {
            return false;
        }
    }
    return true;
}

/* Slices: their number, names, sizes, and the size of all together. */
static status check_slices(const struct signature *signature, struct err *err)
{
    if (signature->n_slices < 1 || signature->n_slices > SIGNATURE_SLICES_MAX) {
        return err_set(err, STATUS_INVALID, "signature: %u observation slices, expected 1..%d",
                       signature->n_slices, SIGNATURE_SLICES_MAX);
    }
    /* Names, sizes, and that no name occurs twice. */
    uint64_t O = 0;
    for (uint32_t i = 0; i < signature->n_slices; i++) {
        const struct signature_slice *slice = &signature->slices[i];
        if (!name_valid(slice->name)) {
            return err_set(err, STATUS_INVALID,
                           "signature: observation slice %u has a bad name, expected "
                           "[a-zA-Z0-9_./-]{1,%d}",
                           i, SIGNATURE_NAME_SIZE - 1);
        }
        if (slice->size < 1 || slice->size > SIGNATURE_OBSERVATION_MAX) {
            return err_set(err, STATUS_INVALID,
                           "signature: observation %s has size %u, expected 1..%d", slice->name,
                           slice->size, SIGNATURE_OBSERVATION_MAX);
        }
        /* With few slices comparing each with those before it is fast enough. */
        for (uint32_t j = 0; j < i; j++) {
            if (strcmp(slice->name, signature->slices[j].name) == 0) {
                return err_set(err, STATUS_INVALID, "signature: observation %s is there twice",
                               slice->name);
            }
        }
        O += slice->size;
    }
    /* Summed in 64 bits, so that sizes from a file cannot overflow. */
    if (O > SIGNATURE_OBSERVATION_MAX) {
        return err_set(err, STATUS_INVALID,
                       "signature: observation of %llu floats, expected at most %d",
                       (unsigned long long)O, SIGNATURE_OBSERVATION_MAX);
    }
    return STATUS_OK;
}

/* Actions: their number and their limits. */
static status check_actions(const struct signature *signature, struct err *err)
{
    if (signature->A < 1 || signature->A > SIGNATURE_ACTIONS_MAX) {
        return err_set(err, STATUS_INVALID, "signature: %u action dimensions, expected 1..%d",
                       signature->A, SIGNATURE_ACTIONS_MAX);
    }
    /* Both limits are needed, since canonical actions are relative to the middle and the half
     * width. */
    for (uint32_t i = 0; i < signature->A; i++) {
        float min = signature->action_min[i];
        float max = signature->action_max[i];
        /* max - min may overflow although both are finite. */
        if (!isfinite(min) || !isfinite(max) || !(min < max) || !isfinite(max - min)) {
            return err_set(err, STATUS_INVALID,
                           "signature: action %u has limits %g..%g, expected finite min < max", i,
                           (double)min, (double)max);
        }
    }
    return STATUS_OK;
}

/* Rewards: their number and names. There may be none, as in logs from which rewards are computed
 * later. */
static status check_rewards(const struct signature *signature, struct err *err)
{
    if (signature->K > SIGNATURE_TASKS_MAX) {
        return err_set(err, STATUS_INVALID, "signature: %u rewards, expected 0..%d", signature->K,
                       SIGNATURE_TASKS_MAX);
    }
    for (uint32_t k = 0; k < signature->K; k++) {
        if (!name_valid(signature->rewards[k])) {
            return err_set(err, STATUS_INVALID,
                           "signature: reward %u has a bad name, expected [a-zA-Z0-9_./-]{1,%d}", k,
                           SIGNATURE_NAME_SIZE - 1);
        }
        for (uint32_t j = 0; j < k; j++) {
            if (strcmp(signature->rewards[k], signature->rewards[j]) == 0) {
                return err_set(err, STATUS_INVALID, "signature: reward %s is there twice",
                               signature->rewards[k]);
            }
        }
    }
    return STATUS_OK;
}

/* Checks in the order of the columns; the first error is returned. Whoever reads a signature from
 * outside calls this before anything is allocated by it. */
status signature_check(const struct signature *signature, struct err *err)
{
    status s = check_slices(signature, err);
    if (s == STATUS_OK) {
        s = check_actions(signature, err);
    }
    if (s == STATUS_OK) {
        s = check_rewards(signature, err);
    }
    /* 0 stands for "unknown". */
    if (s == STATUS_OK &&
        (!isfinite(signature->control_period_s) || signature->control_period_s < 0)) {
        s = err_set(err, STATUS_INVALID, "signature: control period %g s, expected finite and >= 0",
                    signature->control_period_s);
    }
    return s;
}

/* ---- comparing ---- */

/* The same slices in the same order. */
static status match_observation(const struct signature *have, const struct signature *want,
                                struct err *err)
{
    /* Both lists as far as the shorter one goes. */
    for (uint32_t i = 0; i < have->n_slices && i < want->n_slices; i++) {
        const struct signature_slice *h = &have->slices[i];
        const struct signature_slice *w = &want->slices[i];
        if (strcmp(h->name, w->name) != 0 || h->size != w->size) {
            return err_set(err, STATUS_MISMATCH, "observation slice %u: %s(%u) here, %s(%u) there",
                           i, h->name, h->size, w->name, w->size);
        }
    }
    /* All common slices are the same; name the first that only one side has. */
    if (have->n_slices != want->n_slices) {
        bool more = have->n_slices > want->n_slices;
        const struct signature *longer = more ? have : want;
        uint32_t i = more ? want->n_slices : have->n_slices;
        return err_set(err, STATUS_MISMATCH,
                       "observation: %u slices here, %u there (%s(%u) is only %s)", have->n_slices,
                       want->n_slices, longer->slices[i].name, longer->slices[i].size,
                       more ? "here" : "there");
    }
    return STATUS_OK;
}

/* The same dimensions with exactly the same limits: canonical actions depend on them. */
static status match_actions(const struct signature *have, const struct signature *want,
                            struct err *err)
{
    /* Compared exactly: limits that differ in the last bit give other canonical actions. */
    if (have->A != want->A) {
        return err_set(err, STATUS_MISMATCH, "action: %u dimensions here, %u there", have->A,
                       want->A);
    }
    for (uint32_t i = 0; i < have->A; i++) {
        if (have->action_min[i] != want->action_min[i] ||
            have->action_max[i] != want->action_max[i]) {
            return err_set(err, STATUS_MISMATCH,
                           "action %u: limits %.9g..%.9g here, %.9g..%.9g there", i,
                           (double)have->action_min[i], (double)have->action_max[i],
                           (double)want->action_min[i], (double)want->action_max[i]);
        }
    }
    return STATUS_OK;
}

/* Index of the reward of this name; false: there is none, and *k is untouched. */
static bool find_reward(const struct signature *signature, const char *name, uint32_t *k)
{
    for (uint32_t i = 0; i < signature->K; i++) {
        if (strcmp(signature->rewards[i], name) == 0) {
            *k = i;
            return true;
        }
    }
    return false;
}

/* "run, walk", cut where it does not fit. */
static void list_rewards(const struct signature *signature, char *text, size_t size)
{
    size_t used = 0;
    text[0] = 0;
    /* Stops where the text is full; snprintf has ended it with a 0. */
    for (uint32_t k = 0; k < signature->K && used < size; k++) {
        int n =
            snprintf(text + used, size - used, "%s%s", k == 0 ? "" : ", ", signature->rewards[k]);
        used += (size_t)n;
    }
}

/* Control periods are compared with a tolerance, unlike limits, since no number is computed from
 * them here. */
static bool same_period(double a, double b)
{
    /* 0: unknown, matches every period. */
    return a == 0 || b == 0 || fabs(a - b) <= PERIOD_TOLERANCE * fmax(a, b);
}

status signature_match(const struct signature *have, const struct signature *want,
                       uint32_t *reward_map, struct err *err)
{
    /* Observation, actions, period, rewards; the first difference is reported. */
    status s = match_observation(have, want, err);
    if (s == STATUS_OK) {
        s = match_actions(have, want, err);
    }
    if (s != STATUS_OK) {
        return s;
    }
    if (!same_period(have->control_period_s, want->control_period_s)) {
        return err_set(err, STATUS_MISMATCH, "control period: %g s here, %g s there",
                       have->control_period_s, want->control_period_s);
    }
    /* Rewards match by name; what we have may be more than what is wanted. */
    uint32_t map[SIGNATURE_TASKS_MAX];
    for (uint32_t k = 0; k < want->K; k++) {
        if (!find_reward(have, want->rewards[k], &map[k])) {
            char names[256];
            list_rewards(have, names, sizeof names);
            return err_set(err, STATUS_MISMATCH, "reward %s: wanted there, here are only: %s",
                           want->rewards[k], names);
        }
    }
    /* Only when all were found. */
    if (reward_map != NULL) {
        memcpy(reward_map, map, want->K * sizeof map[0]);
    }
    return STATUS_OK;
}

/* As signature_match, and also the same rewards in the same order: rows may be mixed. */
status signature_same(const struct signature *have, const struct signature *want, struct err *err)
{
    uint32_t map[SIGNATURE_TASKS_MAX];
    status s = signature_match(have, want, map, err);
    if (s == STATUS_OK && have->K != want->K) {
        s = err_set(err, STATUS_MISMATCH, "rewards: %u here, %u there", have->K, want->K);
    }
    /* The same names, each at the same place. */
    for (uint32_t k = 0; s == STATUS_OK && k < want->K; k++) {
        if (map[k] != k) {
            s = err_set(err, STATUS_MISMATCH, "reward %u: %s here, %s there", k, have->rewards[k],
                        want->rewards[k]);
        }
    }
    return s;
}

/* ---- units of actions ---- */

/* Middle and half width of the range. In double precision a round trip is within one rounding of a
 * float, limits map to limits, and limits of -1..1 change nothing. */
static void range_of(const struct signature *signature, uint32_t i, double *middle, double *half)
{
    const double min = (double)signature->action_min[i];
    const double max = (double)signature->action_max[i];
    *middle = 0.5 * (min + max);
    *half = 0.5 * (max - min);
}

void signature_ranges_of(const struct signature *signature, struct signature_ranges *ranges)
{
    ranges->A = signature->A;
    ranges->canonical = true;
    for (uint32_t i = 0; i < signature->A; i++) {
        range_of(signature, i, &ranges->middle[i], &ranges->half[i]);
        ranges->canonical = ranges->canonical && ranges->middle[i] == 0.0 && ranges->half[i] == 1.0;
    }
}

/* In double, and rounded once at the end. The loop of divisions can be vectorised. */
void signature_ranges_to_canonical(const struct signature_ranges *ranges, float *canonical,
                                   const float *physical)
{
    for (uint32_t i = 0; i < ranges->A; i++) {
        canonical[i] = (float)(((double)physical[i] - ranges->middle[i]) / ranges->half[i]);
    }
}

void signature_to_canonical(const struct signature *signature, float *canonical,
                            const float *physical)
{
    struct signature_ranges ranges;
    signature_ranges_of(signature, &ranges);
    signature_ranges_to_canonical(&ranges, canonical, physical);
}

/* The inverse of the function above, to within one rounding. */
void signature_to_physical(const struct signature *signature, float *physical,
                           const float *canonical)
{
    for (uint32_t i = 0; i < signature->A; i++) {
        double middle;
        double half;
        range_of(signature, i, &middle, &half);
        physical[i] = (float)(middle + (double)canonical[i] * half);
    }
}
