/* Gathering and showing what logs contain.
 *
 * The returns of all episodes are kept, since percentiles need them, and a digest of each episode,
 * to count copies; everything else is a sum or an extreme. What looks like a mistake is judged in
 * summary_warnings.c.
 *
 * Only good episodes are in the numbers; bad ones are counted, and the first reasons kept. Showing
 * sorts the returns in place, which is why it takes a summary that is not const. One thread. */
#include "common/trajectory/summary.h"
#include "common/trajectory/summary_private.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"

status dataset_summary_new(struct dataset_summary **summary, const struct signature *signature,
                           struct err *err)
{
    struct dataset_summary *made = mem_new(sizeof *made);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "summary");
    }
    made->signature = *signature;
    /* Beyond all values, so that the first action sets both. */
    for (uint32_t i = 0; i < signature->A; i++) {
        made->action_min[i] = 1;
        made->action_max[i] = -1;
    }
    *summary = made;
    return STATUS_OK;
}

void dataset_summary_free(struct dataset_summary *summary)
{
    if (summary == NULL) {
        return;
    }
    for (size_t i = 0; i < summary->n_reasons; i++) {
        mem_free(summary->reasons[i]);
    }
    mem_free(summary->digests);
    mem_free(summary->returns);
    mem_free(summary);
}

const struct signature *dataset_summary_signature(const struct dataset_summary *summary)
{
    return &summary->signature;
}

/* ---- gathering ---- */

/* Room for one more return of each task. */
static status grow(struct dataset_summary *summary)
{
    /* All tasks have as many returns as there are episodes. */
    const uint64_t n = summary->totals.episodes;
    if (n < summary->capacity) {
        return STATUS_OK;
    }
    /* The returns of a task lie together, so all of them move when the room grows. */
    const uint64_t capacity = summary->capacity == 0 ? 1024 : 2 * summary->capacity;
    const uint32_t K = summary->signature.K;
    double *returns = mem_array(capacity, (K > 0 ? K : 1) * sizeof *returns);
    if (returns == NULL) {
        return STATUS_NO_MEMORY;
    }
    for (uint32_t k = 0; k < K && n > 0; k++) {
        memcpy(returns + k * capacity, summary->returns + k * summary->capacity,
               n * sizeof *returns);
    }
    mem_free(summary->returns);
    summary->returns = returns;
    summary->capacity = capacity;
    return STATUS_OK;
}

/* Adds a digest to the set of those seen, open addressing, at most half full. 0 stands for an empty
 * place. NO_MEMORY. */
static status add_digest(struct dataset_summary *summary, uint64_t digest, bool *seen)
{
    /* Grown before it is more than half full, since a search ends at an empty place. */
    if (2 * (summary->totals.episodes + 1) > summary->n_digests) {
        const uint64_t n = summary->n_digests == 0 ? 1024 : 2 * summary->n_digests;
        uint64_t *digests = mem_array(n, sizeof *digests);
        if (digests == NULL) {
            return STATUS_NO_MEMORY;
        }
        /* Every digest is put in its place of the larger table. */
        for (uint64_t i = 0; i < summary->n_digests; i++) {
            uint64_t at = summary->digests[i] & (n - 1);
            while (summary->digests[i] != 0 && digests[at] != 0) {
                at = (at + 1) & (n - 1);
            }
            digests[at] = summary->digests[i] != 0 ? summary->digests[i] : digests[at];
        }
        mem_free(summary->digests);
        summary->digests = digests;
        summary->n_digests = n;
    }
    /* 0 means "empty", so a digest of 0 counts as 1. */
    digest += digest == 0;
    /* The digest is at its own place or behind it, before the first empty one. */
    uint64_t at = digest & (summary->n_digests - 1);
    while (summary->digests[at] != 0 && summary->digests[at] != digest) {
        at = (at + 1) & (summary->n_digests - 1);
    }
    *seen = summary->digests[at] == digest;
    summary->digests[at] = digest;
    return STATUS_OK;
}

/* Extremes and sums of each observation element, over all rows. */
static void add_observations(struct dataset_summary *summary, const struct episode *episode)
{
    const uint32_t O = signature_observation(&summary->signature);
    /* The first row sets both extremes. */
    if (summary->rows == 0) {
        for (uint32_t i = 0; i < O; i++) {
            summary->observation_min[i] = summary->observation_max[i] = episode->rows[i];
        }
    }
    /* The last row has an observation too. */
    for (size_t t = 0; t <= episode->T; t++) {
        const float *row = episode->rows + t * episode->W;
        for (uint32_t i = 0; i < O; i++) {
            /* Sums are in double, which is good enough for the deviation in a warning. */
            const double value = (double)row[i];
            summary->observation_sum[i] += value;
            summary->observation_squares[i] += value * value;
            summary->observation_min[i] =
                row[i] < summary->observation_min[i] ? row[i] : summary->observation_min[i];
            summary->observation_max[i] =
                row[i] > summary->observation_max[i] ? row[i] : summary->observation_max[i];
        }
    }
    summary->rows += (uint64_t)episode->T + 1;
}

/* Extremes of actions, how many are at their limits, and how many rewards are not 0. */
static void add_steps(struct dataset_summary *summary, const struct episode *episode)
{
    const struct signature *signature = &summary->signature;
    const uint32_t action_at = signature_action_at(signature);
    const uint32_t rewards_at = signature_rewards_at(signature);
    for (size_t t = 0; t < episode->T; t++) {
        const float *row = episode->rows + t * episode->W;
        for (uint32_t i = 0; i < signature->A; i++) {
            /* Canonical, so the limits are the same in every dimension. */
            const float a = row[action_at + i];
            summary->at_limit[i] += fabsf(a) >= DATASET_SUMMARY_AT_LIMIT;
            summary->action_min[i] = a < summary->action_min[i] ? a : summary->action_min[i];
            summary->action_max[i] = a > summary->action_max[i] ? a : summary->action_max[i];
        }
        /* A reward that is never anything but 0 gets a warning. */
        for (uint32_t k = 0; k < signature->K; k++) {
            const double r = (double)row[rewards_at + k];
            summary->rewarded[k] += r != 0.0;
            summary->reward_sum[k] += r;
            summary->reward_squares[k] += r * r;
        }
    }
}

status dataset_summary_add(struct dataset_summary *summary, const struct episode *episode)
{
    const struct signature *signature = &summary->signature;
    struct dataset_totals *totals = &summary->totals;
    ASSERT(episode->W == signature_width(signature) && episode->T >= 1);
    bool seen = false;
    /* What can fail comes first: an error leaves the numbers as they were. */
    status s = grow(summary);
    if (s == STATUS_OK) {
        s = add_digest(summary, episode_digest(episode), &seen);
    }
    if (s != STATUS_OK) {
        return s;
    }
    totals->copies += seen;
    summary->open_ends += episode->open_end;
    /* Undiscounted, one per task, at the place of this episode. */
    for (uint32_t k = 0; k < signature->K; k++) {
        summary->returns[k * summary->capacity + totals->episodes] =
            episode_return(episode, signature, k);
    }
    add_observations(summary, episode);
    add_steps(summary, episode);
    /* The discount of the last step tells how the episode ended. */
    const float *last = episode->rows + (size_t)(episode->T - 1) * episode->W;
    totals->terminated += last[signature_discount_at(signature)] == 0.0f;
    totals->T_min =
        totals->episodes == 0 || episode->T < totals->T_min ? episode->T : totals->T_min;
    totals->T_max = episode->T > totals->T_max ? episode->T : totals->T_max;
    if (episode_holdout_has(&summary->holdout, &episode->identity)) {
        totals->held_out++;
        totals->held_out_transitions += episode->T;
    }
    totals->transitions += episode->T;
    totals->episodes++;
    return STATUS_OK;
}

void dataset_summary_set_holdout(struct dataset_summary *summary,
                                 const struct episode_holdout *holdout)
{
    summary->holdout = *holdout;
}

void dataset_summary_add_bad(struct dataset_summary *summary, uint64_t n, const char *reason)
{
    summary->totals.bad += n;
    /* All are counted; only so many reasons are kept. */
    if (summary->n_reasons < DATASET_SUMMARY_REASONS_MAX) {
        char *copy = mem_text(reason);
        if (copy != NULL) {
            summary->reasons[summary->n_reasons++] = copy;
        }
    }
}

/* Told by whoever read the episodes: the rows themselves no longer show it. */
void dataset_summary_add_clipped(struct dataset_summary *summary, uint64_t n)
{
    summary->totals.clipped += n;
}

/* ---- asking ---- */

uint64_t dataset_summary_bad(const struct dataset_summary *summary)
{
    return summary->totals.bad;
}

bool dataset_summary_is_sound(const struct dataset_summary *summary)
{
    /* Reasons without a bad episode count too, as for a file that is not the listed one. */
    return summary->totals.episodes > 0 && summary->totals.bad == 0 && summary->n_reasons == 0;
}

double dataset_summary_at_limit(const struct dataset_summary *summary, uint32_t i)
{
    ASSERT(i < summary->signature.A);
    /* Per action value of this dimension, over all steps. */
    const uint64_t n = summary->totals.transitions;
    return n == 0 ? 0 : (double)summary->at_limit[i] / (double)n;
}

void dataset_summary_totals(const struct dataset_summary *summary, struct dataset_totals *totals)
{
    /* What is kept as a sum is turned into means and shares here. */
    const uint32_t A = summary->signature.A;
    double at_limit = 0;
    for (uint32_t i = 0; i < A; i++) {
        at_limit += dataset_summary_at_limit(summary, i);
    }
    *totals = summary->totals;
    totals->at_limit = at_limit / A;
    totals->T_mean =
        totals->episodes == 0 ? 0 : (double)totals->transitions / (double)totals->episodes;
}

static int compare_doubles(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Of n >= 1 ascending values; q in 0..1. */
static double percentile(const double *values, uint64_t n, double q)
{
    /* Between two values the percentile is interpolated. */
    const double at = q * (double)(n - 1);
    const uint64_t below = (uint64_t)at;
    const uint64_t above = below + 1 < n ? below + 1 : below;
    return values[below] + (at - (double)below) * (values[above] - values[below]);
}

void dataset_summary_returns(struct dataset_summary *summary, uint32_t k,
                             struct dataset_returns *returns)
{
    ASSERT(k < summary->signature.K);
    *returns = (struct dataset_returns){.task = summary->signature.rewards[k]};
    const uint64_t n = summary->totals.episodes;
    if (n == 0) {
        return;
    }
    /* Sorted in place: their order means nothing. */
    double *values = summary->returns + k * summary->capacity;
    qsort(values, n, sizeof *values, compare_doubles);
    /* The mean first, so that the squares do not cancel. */
    double sum = 0;
    for (uint64_t i = 0; i < n; i++) {
        sum += values[i];
    }
    returns->mean = sum / (double)n;
    double squares = 0;
    for (uint64_t i = 0; i < n; i++) {
        squares += (values[i] - returns->mean) * (values[i] - returns->mean);
    }
    returns->std = sqrt(squares / (double)n);
    returns->min = values[0];
    returns->max = values[n - 1];
    returns->median = percentile(values, n, 0.5);
    returns->p90 = percentile(values, n, 0.9);
}

struct dataset_rewards dataset_summary_rewards(const struct dataset_summary *summary, uint32_t k)
{
    ASSERT(k < summary->signature.K);
    const double n = (double)summary->totals.transitions;
    struct dataset_rewards rewards = {0};
    if (n > 0) {
        const double squares = summary->reward_squares[k];
        rewards.mean = summary->reward_sum[k] / n;
        rewards.std = sqrt(fmax(squares / n - rewards.mean * rewards.mean, 0));
        rewards.nonzero = (double)summary->rewarded[k] / n;
        rewards.size = summary->rewarded[k] > 0 ? sqrt(squares / (double)summary->rewarded[k]) : 0;
    }
    return rewards;
}

/* ---- showing ---- */

/* The columns of a row, in words. */
static void print_signature(const struct signature *signature, FILE *out)
{
    fprintf(out, "observation  %u floats:", signature_observation(signature));
    /* Each slice with its size, in the order of the columns. */
    for (uint32_t i = 0; i < signature->n_slices; i++) {
        fprintf(out, " %s(%u)", signature->slices[i].name, signature->slices[i].size);
    }
    fprintf(out, "\naction       %u dimensions", signature->A);
    if (signature->control_period_s > 0) {
        fprintf(out, ", every %g s", signature->control_period_s);
    }
    fputc('\n', out);
}

/* The lines below the figures; an empty line comes before the first. */
struct remarks {
    FILE *out;
    bool any;
};

/* A line below the figures. */
static void print_remark(struct remarks *remarks, const char *kind, const char *text)
{
    fprintf(remarks->out, "%s%s: %s\n", remarks->any ? "" : "\n", kind, text);
    remarks->any = true;
}

/* A dataset_summary_warnings callback. */
static void print_warning(void *remarks, const char *text)
{
    print_remark(remarks, "warning", text);
}

void dataset_summary_print(struct dataset_summary *summary, FILE *out)
{
    struct dataset_totals totals;
    /* The figures of the whole, then one line per task, then what is to be remarked. */
    dataset_summary_totals(summary, &totals);
    /* Line by line; the columns of the figures below are aligned with the head. */
    fprintf(out, "episodes     %" PRIu64 " (%" PRIu64 " end by termination), %" PRIu64 " bad\n",
            totals.episodes, totals.terminated, totals.bad);
    fprintf(out, "transitions  %" PRIu64 "; an episode has %u to %u, mean %.1f\n",
            totals.transitions, totals.T_min, totals.T_max, totals.T_mean);
    if (episode_holdout_any(&summary->holdout)) {
        fprintf(out, "held out     %" PRIu64 " episodes, %" PRIu64 " transitions\n",
                totals.held_out, totals.held_out_transitions);
    }
    print_signature(&summary->signature, out);
    /* The mean over all dimensions, then each dimension. */
    fprintf(out, "at limits    %.2f%% of action values;", 100 * totals.at_limit);
    for (uint32_t i = 0; i < summary->signature.A; i++) {
        fprintf(out, " %.2f%%", 100 * dataset_summary_at_limit(summary, i));
    }
    fprintf(out, "\n\n%-20s %10s %10s %10s %10s %10s %10s\n", "return", "mean", "std", "min",
            "median", "p90", "max");
    for (uint32_t k = 0; k < summary->signature.K; k++) {
        struct dataset_returns r;
        dataset_summary_returns(summary, k, &r);
        fprintf(out, "%-20s %10.3f %10.3f %10.3f %10.3f %10.3f %10.3f\n", r.task, r.mean, r.std,
                r.min, r.median, r.p90, r.max);
    }
    fprintf(out, "\n%-20s %10s %10s %10s %10s\n", "reward of a step", "mean", "std", "not 0",
            "size");
    for (uint32_t k = 0; k < summary->signature.K; k++) {
        const struct dataset_rewards r = dataset_summary_rewards(summary, k);
        fprintf(out, "%-20s %10.4g %10.4g %9.3g%% %10.4g\n", summary->signature.rewards[k], r.mean,
                r.std, 100 * r.nonzero, r.size);
    }
    /* Warnings first, then what was bad and why. */
    struct remarks remarks = {.out = out};
    dataset_summary_warnings(summary, print_warning, &remarks);
    for (size_t i = 0; i < summary->n_reasons; i++) {
        print_remark(&remarks, "bad", summary->reasons[i]);
    }
    if (summary->n_reasons == DATASET_SUMMARY_REASONS_MAX) {
        fprintf(out, "bad: .. (the first %d reasons)\n", DATASET_SUMMARY_REASONS_MAX);
    }
}

/* values[i] under names[i]. False: out of memory, here and in those below. */
static bool add_numbers(cJSON *object, const char *const *names, const double *values, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (cJSON_AddNumberToObject(object, names[i], values[i]) == NULL) {
            return false;
        }
    }
    return true;
}

/* The returns, as an object of tasks. */
static bool add_returns(cJSON *json, struct dataset_summary *summary)
{
    static const char *const names[] = {"mean", "std", "min", "median", "p90", "max"};
    cJSON *all = cJSON_AddObjectToObject(json, "returns");
    for (uint32_t k = 0; all != NULL && k < summary->signature.K; k++) {
        struct dataset_returns r;
        dataset_summary_returns(summary, k, &r);
        const double values[] = {r.mean, r.std, r.min, r.median, r.p90, r.max};
        /* By the task's name, since the order of tasks means nothing to a reader. */
        cJSON *one = cJSON_AddObjectToObject(all, r.task);
        if (one == NULL || !add_numbers(one, names, values, 6)) {
            return false;
        }
    }
    return all != NULL;
}

/* How many episodes are held out, where there is a rule about them. */
static bool add_held_out(cJSON *json, const struct dataset_summary *summary)
{
    static const char *const names[] = {"held_out_episodes", "held_out_transitions"};
    const double values[] = {(double)summary->totals.held_out,
                             (double)summary->totals.held_out_transitions};
    return !episode_holdout_any(&summary->holdout) || add_numbers(json, names, values, 2);
}

/* The reasons why episodes were bad. */
static bool add_reasons(cJSON *json, const struct dataset_summary *summary)
{
    cJSON *reasons = cJSON_AddArrayToObject(json, "reasons");
    for (size_t i = 0; reasons != NULL && i < summary->n_reasons; i++) {
        if (!cJSON_AddItemToArray(reasons, cJSON_CreateString(summary->reasons[i]))) {
            return false;
        }
    }
    return reasons != NULL;
}

/* Where warnings are collected, since the callback cannot return an error. */
struct warning_list {
    cJSON *array;
    bool failed; /* out of memory */
};

static void add_warning(void *arg, const char *text)
{
    struct warning_list *list = arg;
    list->failed = list->failed || !cJSON_AddItemToArray(list->array, cJSON_CreateString(text));
}

/* What looks like a mistake, as a list of sentences. */
static bool add_warnings(cJSON *json, const struct dataset_summary *summary)
{
    struct warning_list list = {.array = cJSON_AddArrayToObject(json, "warnings")};
    if (list.array == NULL) {
        return false;
    }
    dataset_summary_warnings(summary, add_warning, &list);
    return !list.failed;
}

cJSON *dataset_summary_json(struct dataset_summary *summary)
{
    /* The names of `values` below, in the same order. */
    static const char *const names[] = {
        "episodes", "transitions", "terminated",       "bad",    "T_min",
        "T_mean",   "T_max",       "actions_at_limit", "copies", "actions_clipped"};
    struct dataset_totals totals;
    dataset_summary_totals(summary, &totals);
    const double values[] = {(double)totals.episodes,   (double)totals.transitions,
                             (double)totals.terminated, (double)totals.bad,
                             (double)totals.T_min,      totals.T_mean,
                             (double)totals.T_max,      totals.at_limit,
                             (double)totals.copies,     (double)totals.clipped};
    /* On any failure the whole is deleted; its parts belong to it. */
    cJSON *json = cJSON_CreateObject();
    if (json == NULL || !add_numbers(json, names, values, sizeof values / sizeof values[0]) ||
        !add_held_out(json, summary) || !add_returns(json, summary) ||
        !add_reasons(json, summary) || !add_warnings(json, summary)) {
        cJSON_Delete(json);
        return NULL;
    }
    return json;
}
