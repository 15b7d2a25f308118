/* Nearest logged pairs by brute force, among a sample of them: see support.h. */
#include "offline_evaluator/support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/rng.h"

#define QUERIES   400
#define REFERENCE 10000

struct support_job {
    const struct logged_data *data;
    const float *x;
    struct columns columns; /* at the queries: row 2 q */
    float action_scale[SIGNATURE_ACTIONS_MAX];
    size_t n_queries, n_reference;
    size_t *queries, *reference; /* rows */
    uint32_t *query_episode, *reference_episode;
    double *distance; /* (queries,C) */
    int n_threads;
};

/* Which episode each transition is of, for those that were drawn. */
static uint32_t episode_of(const struct logged_data *data, size_t row)
{
    size_t low = 0, high = data->n_episodes;
    while (high - low > 1) {
        const size_t middle = (low + high) / 2;
        *(data->episodes[middle].first <= row ? &low : &high) = middle;
    }
    return (uint32_t)low;
}

/* Actions are divided by their std in the logs. */
static void scale_actions(struct support_job *job)
{
    const struct logged_data *data = job->data;
    for (size_t i = 0; i < data->A; i++) {
        double sum = 0, squares = 0;
        for (size_t t = 0; t < data->n_transitions; t++) {
            const double a = (double)logged_action(data, data->transitions[t])[i];
            sum += a;
            squares += a * a;
        }
        const double n = (double)data->n_transitions;
        const double variance = squares / n - sum / n * (sum / n);
        job->action_scale[i] = variance > 1e-12 ? (float)(1 / sqrt(variance)) : 0;
    }
}

/* Squared distances of a query's pairs, one for each column, to the nearest reference. */
static void nearest(const struct support_job *job, size_t q, double *nearest_of)
{
    const struct logged_data *data = job->data;
    const size_t C = job->columns.C;
    const size_t row = job->queries[q];
    for (size_t c = 0; c < C; c++) {
        nearest_of[c] = INFINITY;
    }
    for (size_t r = 0; r < job->n_reference; r++) {
        const size_t other = job->reference[r];
        if (job->reference_episode[r] == job->query_episode[q]) {
            continue;
        }
        float state = 0;
        for (size_t i = 0; i < data->O; i++) {
            const float difference = job->x[row * data->O + i] - job->x[other * data->O + i];
            state += difference * difference;
        }
        const float *logged = logged_action(data, other);
        for (size_t c = 0; c < C; c++) {
            const float *a = job->columns.mean + (2 * q * C + c) * data->A;
            float sum = state;
            for (size_t i = 0; i < data->A; i++) {
                const float difference = (a[i] - logged[i]) * job->action_scale[i];
                sum += difference * difference;
            }
            nearest_of[c] = (double)sum < nearest_of[c] ? (double)sum : nearest_of[c];
        }
    }
}

static void work(void *arg, int i)
{
    struct support_job *job = arg;
    const size_t end = job->n_queries * ((size_t)i + 1) / (size_t)job->n_threads;
    for (size_t q = job->n_queries * (size_t)i / (size_t)job->n_threads; q < end; q++) {
        nearest(job, q, job->distance + q * job->columns.C);
    }
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The median over the queries of a column's distance over that of the logged pair. */
static double median_ratio(const struct support_job *job, size_t c, double *ratios)
{
    const size_t C = job->columns.C;
    size_t n = 0;
    for (size_t q = 0; q < job->n_queries; q++) {
        const double logged = job->distance[q * C + C - 1];
        const double own = job->distance[q * C + c];
        /* Infinite where there is one episode: nothing to compare with. */
        if (isfinite(logged) && isfinite(own) && logged > 0) {
            ratios[n++] = sqrt(own / logged);
        }
    }
    qsort(ratios, n, sizeof *ratios, compare);
    return n > 0 ? ratios[n / 2] : 1;
}

/* Which states and which logged pairs. */
static void draw(struct support_job *job, uint64_t seed)
{
    const struct logged_data *data = job->data;
    struct rng rng;
    rng_init(&rng, seed, "support", 0);
    for (size_t i = 0; i < job->n_queries; i++) {
        job->queries[i] = data->transitions[rng_below(&rng, data->n_transitions)];
        job->query_episode[i] = episode_of(data, job->queries[i]);
    }
    for (size_t i = 0; i < job->n_reference; i++) {
        job->reference[i] = data->transitions[rng_below(&rng, data->n_transitions)];
        job->reference_episode[i] = episode_of(data, job->reference[i]);
    }
}

static bool go_on(void *arg, double done)
{
    (void)arg;
    (void)done;
    return true;
}

/* What the policies do at the queries. */
static status act(struct support_job *job, const struct policies *policies, uint64_t seed,
                  struct thread_pool *pool, struct err *err)
{
    struct logged_data states = {0};
    status s = logged_data_of_states(&states, job->data, job->queries, job->n_queries);
    s = s != STATUS_OK
            ? err_set(err, s, "support at %zu states", job->n_queries)
            : columns_make(&job->columns, policies, &states, false, seed, pool, go_on, NULL, err);
    logged_data_fini(&states);
    return s;
}

status support_measure(double *support, const struct logged_data *data, const float *x,
                       const struct policies *policies, uint64_t seed, struct thread_pool *pool,
                       struct err *err)
{
    const size_t all = data->n_transitions, C = policies->n * data->K + 1;
    struct support_job job = {.data = data,
                              .x = x,
                              .n_queries = all < QUERIES ? all : QUERIES,
                              .n_reference = all < REFERENCE ? all : REFERENCE,
                              .n_threads = thread_pool_size(pool)};
    job.queries = mem_array(job.n_queries, sizeof *job.queries);
    job.reference = mem_array(job.n_reference, sizeof *job.reference);
    job.query_episode = mem_array(job.n_queries, sizeof *job.query_episode);
    job.reference_episode = mem_array(job.n_reference, sizeof *job.reference_episode);
    job.distance = mem_array(job.n_queries * C, sizeof *job.distance);
    double *ratios = mem_array(job.n_queries, sizeof *ratios);
    status s = STATUS_OK;
    if (job.queries == NULL || job.reference == NULL || job.query_episode == NULL ||
        job.reference_episode == NULL || job.distance == NULL || ratios == NULL) {
        s = err_set(err, STATUS_NO_MEMORY, "support of %zu columns", C);
    } else {
        scale_actions(&job);
        draw(&job, seed);
        s = act(&job, policies, seed, pool, err);
    }
    if (s == STATUS_OK) {
        thread_pool_run(pool, work, &job);
        for (size_t c = 0; c < C; c++) {
            support[c] = median_ratio(&job, c, ratios);
        }
    }
    columns_fini(&job.columns);
    mem_free(job.queries);
    mem_free(job.reference);
    mem_free(job.query_episode);
    mem_free(job.reference_episode);
    mem_free(job.distance);
    mem_free(ratios);
    return s;
}
