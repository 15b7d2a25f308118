/* Episodes in memory: growing them row by row while acting, and checking those that come from
 * outside.
 *
 * Rows are one block that only grows, so an episode that is reused allocates nothing once the
 * longest one was seen. The last row always holds an observation only: begin and step keep that
 * true after every call.
 *
 * Checking is the gate for everything that comes from files, the network or a simulator: what has
 * passed episode_check is within all limits. One thread per episode. */
#include "common/trajectory/episode.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <xxhash.h>

#include "common/base/elements.h"
#include "common/base/memory.h"

/* The capacity that the first row allocates. */
#define ROWS_FIRST 64u

int episode_identity_compare(const struct episode_identity *a, const struct episode_identity *b)
{
    /* All four parts, in the order of their weight. */
    const uint64_t x[4] = {a->source, a->shard, a->episode, a->relabel};
    const uint64_t y[4] = {b->source, b->shard, b->episode, b->relabel};
    for (int i = 0; i < 4; i++) {
        if (x[i] != y[i]) {
            return x[i] < y[i] ? -1 : 1;
        }
    }
    return 0;
}

void episode_init(struct episode *episode, uint32_t W)
{
    ASSERT(W > 0);
    *episode = (struct episode){.W = W};
}

/* The struct may be used again after another episode_init, or closed a second time. */
void episode_fini(struct episode *episode)
{
    mem_free(episode->rows);
    episode->rows = NULL;
    episode->capacity = 0;
    episode->T = 0;
}

/* The memory stays for the next episode. */
void episode_clear(struct episode *episode)
{
    episode->T = 0;
    episode->open_end = false;
    episode->identity = (struct episode_identity){0};
}

/* Exactly n rows, for a reader that knows the length. TOO_LONG and NO_MEMORY leave the episode as
 * it was. */
status episode_reserve(struct episode *episode, size_t n_rows, struct err *err)
{
    if (n_rows <= episode->capacity) {
        return STATUS_OK;
    }
    /* Both limits, written so that nothing can overflow. */
    size_t row_bytes = (size_t)episode->W * sizeof(float);
    if (n_rows > (size_t)EPISODE_TRANSITIONS_MAX + 1 || n_rows > EPISODE_BYTES_MAX / row_bytes) {
        return err_set(err, STATUS_TOO_LONG,
                       "an episode of %zu rows of %zu bytes: at most %u rows, %u bytes", n_rows,
                       row_bytes, EPISODE_TRANSITIONS_MAX + 1, EPISODE_BYTES_MAX);
    }
    float *rows = mem_resize(episode->rows, n_rows, row_bytes);
    if (rows == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "an episode of %zu rows of %zu bytes", n_rows,
                       row_bytes);
    }
    episode->rows = rows;
    episode->capacity = n_rows;
    return STATUS_OK;
}

/* ---- while acting ---- */

/* Makes room for n rows, with doubling so that a growing episode is copied rarely. */
static status make_room(struct episode *episode, size_t n_rows, struct err *err)
{
    if (n_rows <= episode->capacity) {
        return STATUS_OK;
    }
    /* Doubling, within the most that an episode may hold. */
    size_t most = EPISODE_BYTES_MAX / ((size_t)episode->W * sizeof(float));
    if (most > (size_t)EPISODE_TRANSITIONS_MAX + 1) {
        most = (size_t)EPISODE_TRANSITIONS_MAX + 1;
    }
    size_t room = episode->capacity == 0 ? ROWS_FIRST : 2 * episode->capacity;
    room = room > most ? most : room;
    return episode_reserve(episode, room > n_rows ? room : n_rows, err);
}

/* Row t; it must have been allocated. */
static float *row_of(const struct episode *episode, size_t t)
{
    return episode->rows + t * episode->W;
}

/* Row t becomes a last row: the observation, and 0 for everything else, so that equal episodes have
 * equal bytes. */
static void set_last_row(struct episode *episode, const struct signature *signature, size_t t,
                         const float *observation)
{
    float *row = row_of(episode, t);
    uint32_t O = signature_observation(signature);
    memcpy(row, observation, O * sizeof(float));
    memset(row + O, 0, (episode->W - O) * sizeof(float));
}

status episode_begin(struct episode *episode, const struct signature *signature,
                     const float *observation, struct err *err)
{
    ASSERT(episode->W == signature_width(signature));
    status s = make_room(episode, 1, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* Only now, so that an error leaves the episode as it was. */
    episode_clear(episode);
    set_last_row(episode, signature, 0, observation);
    return STATUS_OK;
}

status episode_step(struct episode *episode, const struct signature *signature, const float *action,
                    const float *rewards, float discount, const float *next_observation,
                    struct err *err)
{
    ASSERT(episode->W == signature_width(signature));
    ASSERT(episode->capacity > episode->T); /* episode_begin came first */
    /* The step, and the last row behind it. */
    status s = make_room(episode, (size_t)episode->T + 2, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* The last row becomes a step; the next observation becomes the last row. */
    float *row = row_of(episode, episode->T);
    /* Each part goes to its columns; the observation is there already. */
    memcpy(row + signature_action_at(signature), action, signature->A * sizeof(float));
    if (signature->K > 0) {
        memcpy(row + signature_rewards_at(signature), rewards, signature->K * sizeof(float));
    }
    row[signature_discount_at(signature)] = discount;
    episode->T++;
    set_last_row(episode, signature, episode->T, next_observation);
    return STATUS_OK;
}

/* ---- checking ---- */

/* Are the first n numbers of row t finite? INVALID names the part of the row and the element. */
static status check_finite(const float *row, const struct signature *signature, uint32_t n,
                           size_t t, struct err *err)
{
    for (uint32_t i = 0; i < n; i++) {
        if (isfinite(row[i])) {
            continue;
        }
        /* The place in the row tells which part the number belongs to. */
        uint32_t action_at = signature_action_at(signature);
        uint32_t rewards_at = signature_rewards_at(signature);
        char part[SIGNATURE_NAME_SIZE + 40];
        if (i < action_at) {
            snprintf(part, sizeof part, "observation ");
            signature_name_observation(signature, i, part + 12, sizeof part - 12);
        } else if (i < rewards_at) {
            snprintf(part, sizeof part, "action %u", i - action_at);
        } else if (i < rewards_at + signature->K) {
            snprintf(part, sizeof part, "reward %s", signature->rewards[i - rewards_at]);
        } else {
            snprintf(part, sizeof part, "discount");
        }
        return err_set(err, STATUS_INVALID, "row %zu, %s: %g is not finite", t, part,
                       (double)row[i]);
    }
    return STATUS_OK;
}

/* Are the actions within -1..1? Those beyond by a rounding only are set to the limit. */
static status check_actions(float *actions, uint32_t A, size_t t, struct err *err)
{
    for (uint32_t i = 0; i < A; i++) {
        /* NaN does not get here: check_finite comes first. */
        float a = actions[i];
        if (fabsf(a) > 1.0f + EPISODE_ACTION_ROUNDING) {
            return err_set(
                err, STATUS_INVALID,
                "row %zu, action %u: %.9g is outside the limits (canonical, expected -1..1)", t, i,
                (double)a);
        }
        actions[i] = a > 1.0f ? 1.0f : a < -1.0f ? -1.0f : a;
    }
    return STATUS_OK;
}

/* Has a step the usual values, for which nothing is to be changed? False for NaN. */
static bool is_usual(const float *actions, uint32_t A, float discount)
{
    int usual = discount == 1.0f;
    for (uint32_t i = 0; i < A; i++) {
        usual &= fabsf(actions[i]) <= 1.0f;
    }
    return usual;
}

/* A discount is 0 only at the end: an episode cannot go on after it has terminated. */
static status check_discount(float discount, size_t t, uint32_t T, struct err *err)
{
    if (discount < 0 || discount > 1) {
        return err_set(err, STATUS_INVALID, "row %zu, discount: %g, expected 0..1", t,
                       (double)discount);
    }
    if (discount == 0 && t + 1 != T) {
        return err_set(err, STATUS_INVALID,
                       "row %zu, discount: the episode terminates here, but goes on to row %u", t,
                       T);
    }
    return STATUS_OK;
}

status episode_check(struct episode *episode, const struct signature *signature, struct err *err)
{
    /* Sizes first, since they say where the numbers are. */
    uint32_t W = signature_width(signature);
    if (episode->W != W) {
        return err_set(err, STATUS_INVALID, "rows of %u floats, the signature has %u", episode->W,
                       W);
    }
    if (episode->T < 1 || episode->T > EPISODE_TRANSITIONS_MAX) {
        return err_set(err, STATUS_INVALID, "%u transitions, expected 1..%u", episode->T,
                       EPISODE_TRANSITIONS_MAX);
    }
    ASSERT(episode->capacity > episode->T);
    uint32_t action_at = signature_action_at(signature);
    uint32_t discount_at = signature_discount_at(signature);
    /* All of each step, and of the last row the observation. The rows are one block, so one loop
     * tells whether there is anything to search for. */
    const bool finite = elements_finite(episode->rows, (size_t)episode->T * W);
    for (uint32_t t = 0; t < episode->T; t++) {
        float *row = row_of(episode, t);
        if (finite && is_usual(row + action_at, signature->A, row[discount_at])) {
            continue;
        }
        status s = finite ? STATUS_OK : check_finite(row, signature, W, t, err);
        if (s == STATUS_OK) {
            s = check_actions(row + action_at, signature->A, t, err);
        }
        if (s == STATUS_OK) {
            s = check_discount(row[discount_at], t, episode->T, err);
        }
        if (s != STATUS_OK) {
            return s;
        }
    }
    return check_finite(row_of(episode, episode->T), signature, action_at, episode->T, err);
}

/* Of the rows alone, the last one included: two logs of one episode have one digest. */
uint64_t episode_digest(const struct episode *episode)
{
    ASSERT(episode->T >= 1);
    return XXH64(episode->rows, ((size_t)episode->T + 1) * episode->W * sizeof(float), 0);
}

double episode_return(const struct episode *episode, const struct signature *signature, uint32_t k)
{
    ASSERT(k < signature->K);
    uint32_t at = signature_rewards_at(signature) + k;
    /* In double: thousands of floats lose digits when they are added up as floats. */
    double sum = 0;
    for (uint32_t t = 0; t < episode->T; t++) {
        sum += (double)row_of(episode, t)[at];
    }
    return sum;
}
