/* Loading policies and letting them act at every row: see policies.h. */
#include "offline_evaluator/policies.h"

#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/networks/gaussian.h"
#include "common/networks/kernels.h"
#include "common/networks/policy_copy.h"
#include "offline_evaluator/acting.h"

#define ROWS_AT_ONCE 256

/* ---- Loading ---- */

/* "candidates/step-00001000" of a file of the run, else its path; shortened from the front. */
static void name_policy(struct evaluated_policy *item, const char *run_dir)
{
    const char *text = item->path;
    const size_t n = strlen(run_dir);
    if (strncmp(text, run_dir, n) == 0 && text[n] == '/') {
        text += n + 1;
    }
    const char *suffix = ".safetensors";
    size_t length = strlen(text);
    if (length > strlen(suffix) && strcmp(text + length - strlen(suffix), suffix) == 0) {
        length -= strlen(suffix);
    }
    const size_t most = POLICIES_NAME_MAX - 8;
    const size_t from = length > most ? length - most : 0;
    snprintf(item->name, sizeof item->name, "%.*s%s", (int)(length - from), text + from,
             item->is_prior ? " prior" : "");
}

/* A file, read once for all that is in it. */
struct package {
    const char *run_dir, *path;
    void *bytes;
    size_t size;
};

/* Adds the policy of a file, or its prior. NOT_FOUND: the file has no prior. */
static status add(struct policies *policies, const struct package *package, bool prior,
                  int candidates, struct err *err)
{
    if (policies->n == POLICIES_MAX) {
        return err_set(err, STATUS_TOO_LONG, "%s: one of more than %d policies", package->path,
                       POLICIES_MAX);
    }
    struct evaluated_policy *item = &policies->items[policies->n];
    *item = (struct evaluated_policy){
        .is_prior = prior, .digest = XXH3_64bits_withSeed(package->bytes, package->size, prior)};
    if (snprintf(item->path, sizeof item->path, "%s", package->path) >= (int)sizeof item->path) {
        return err_set(err, STATUS_TOO_LONG, "%.64s..: the path is too long", package->path);
    }
    const status s = prior ? policy_parse_prior(&item->policy, package->bytes, package->size, err)
                           : policy_parse(&item->policy, package->bytes, package->size, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "%s", package->path);
    }
    /* bcq's 100 at every logged state would take longer than all else. */
    policy_limit_candidates(item->policy, candidates);
    name_policy(item, package->run_dir);
    policies->n++;
    return STATUS_OK;
}

/* A policy and, where wanted and there, its prior. */
static status add_both(struct policies *policies, const char *run_dir, const char *path,
                       const struct offline_evaluator_options *options, struct err *err)
{
    struct package package = {.run_dir = run_dir, .path = path};
    status s = file_read(path, POLICY_BYTES_MAX, &package.bytes, &package.size, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = add(policies, &package, false, (int)options->candidates, err);
    if (s == STATUS_OK && options->priors) {
        s = add(policies, &package, true, (int)options->candidates, err);
        s = s == STATUS_NOT_FOUND ? STATUS_OK : s;
    }
    mem_free(package.bytes);
    return s;
}

/* What the learner of a run leaves: its last policy, and the candidates but for one that is the same
 * step. */
static status load_run(struct policies *policies, const char *run_dir,
                       const struct offline_evaluator_options *options, struct err *err)
{
    char path[CONFIG_TEXT_SIZE + 64];
    glob_t found = {0};
    uint64_t last_step = UINT64_MAX;
    status s = STATUS_OK;
    snprintf(path, sizeof path, "%s/policy_learner.safetensors", run_dir);
    if (access(path, F_OK) == 0) {
        s = add_both(policies, run_dir, path, options, err);
    }
    if (s == STATUS_OK && policies->n > 0) {
        policies->items[0].is_last = true;
        last_step = policy_info(policies->items[0].policy)->learner_step;
    }
    snprintf(path, sizeof path, "%s/candidates/step-*.safetensors", run_dir);
    if (glob(path, 0, NULL, &found) == 0) {
        for (size_t i = 0; s == STATUS_OK && i < found.gl_pathc; i++) {
            const char *number = strrchr(found.gl_pathv[i], '-') + 1;
            if (strtoull(number, NULL, 10) != last_step) {
                s = add_both(policies, run_dir, found.gl_pathv[i], options, err);
            }
        }
    }
    globfree(&found);
    return s == STATUS_OK && policies->n == 0
               ? err_set(err, STATUS_NOT_FOUND,
                         "%s: no policy to evaluate: expected candidates/ (learner.keep_policies) "
                         "or policy_learner.safetensors, which a run that has ended leaves",
                         run_dir)
               : s;
}

status policies_load(struct policies *policies, const char *run_dir,
                     const struct offline_evaluator_options *options, struct err *err)
{
    *policies = (struct policies){0};
    if (options->policies.n == 0) {
        return load_run(policies, run_dir, options, err);
    }
    status s = STATUS_OK;
    for (size_t i = 0; s == STATUS_OK && i < options->policies.n; i++) {
        s = add_both(policies, run_dir, options->policies.items[i], options, err);
    }
    return s;
}

void policies_fini(struct policies *policies)
{
    for (size_t i = 0; i < policies->n; i++) {
        policy_free(policies->items[i].policy);
    }
    policies->n = 0;
}

/* ---- What they were made for ---- */

/* Do two policies agree in their sizes, and in their signatures where both have one? */
static status compare(const struct evaluated_policy *one, const struct evaluated_policy *other,
                      struct signature signatures[2], struct err *err)
{
    const struct policy_info *a = policy_info(one->policy);
    const struct policy_info *b = policy_info(other->policy);
    if (a->O != b->O || a->A != b->A || a->K != b->K) {
        return err_set(err, STATUS_MISMATCH,
                       "%s: observation %d, actions %d, tasks %d: expected %d, %d, %d as in %s",
                       other->path, b->O, b->A, b->K, a->O, a->A, a->K, one->path);
    }
    if (a->signature_json == NULL || b->signature_json == NULL) {
        return STATUS_OK;
    }
    status s = policy_info_signature(&signatures[0], a, err);
    s = s != STATUS_OK ? s : policy_info_signature(&signatures[1], b, err);
    s = s != STATUS_OK ? s : signature_same(&signatures[0], &signatures[1], err);
    return s == STATUS_OK
               ? s
               : err_context(err, s, "%s (here) and %s (there): signature", one->path, other->path);
}

status policies_signature(const struct policies *policies, struct signature *signature,
                          struct err *err)
{
    struct signature *pair = mem_array(2, sizeof *pair);
    if (pair == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "signature");
    }
    memset(signature, 0, sizeof *signature);
    status s = STATUS_OK;
    for (size_t i = 0; s == STATUS_OK && i < policies->n; i++) {
        s = compare(&policies->items[0], &policies->items[i], pair, err);
        const struct policy_info *info = policy_info(policies->items[i].policy);
        if (s == STATUS_OK && signature->A == 0 && info->signature_json != NULL) {
            s = policy_info_signature(signature, info, err);
            s = s == STATUS_OK ? s : err_context(err, s, "%s", policies->items[i].path);
        }
    }
    mem_free(pair);
    return s;
}

status policies_gamma(const struct policies *policies, double *gamma, struct err *err)
{
    const struct evaluated_policy *first = NULL;
    for (size_t i = 0; i < policies->n; i++) {
        const struct evaluated_policy *item = &policies->items[i];
        const char *text = policy_note(item->policy, "setting/gamma");
        if (text == NULL) {
            continue;
        }
        const double value = strtod(text, NULL);
        if (!(value > 0 && value <= 1)) {
            return err_set(err, STATUS_CORRUPT,
                           "%s: setting/gamma %.32s: expected above 0 and at most 1", item->path,
                           text);
        }
        if (first != NULL && value != *gamma) {
            return err_set(err, STATUS_MISMATCH,
                           "%s was learned with gamma %g, %s with %g: expected "
                           "offline_evaluator.gamma to say which counts",
                           first->path, *gamma, item->path, value);
        }
        first = item;
        *gamma = value;
    }
    return first != NULL ? STATUS_OK
                         : err_set(err, STATUS_NOT_FOUND,
                                   "no policy says with which gamma it was learned: expected "
                                   "offline_evaluator.gamma");
}

/* ---- Columns ---- */

/* Buffers of a thread. */
struct acting_thread {
    struct acting acting;
    float *actions, *std; /* (ROWS_AT_ONCE,A) */
};

struct acting_job {
    struct columns *columns;
    const struct logged_data *data;
    const struct policy *policy;
    size_t column, task;
    bool by_samples;
    uint64_t seed;
    struct acting_thread *threads;
    int n_threads;
    size_t begin, end; /* rows */
};

/* One policy and task at some rows. */
static void act(const struct acting_job *job, struct acting_thread *mine, size_t row, size_t n)
{
    struct columns *columns = job->columns;
    const size_t A = columns->A;
    const struct acting_states states = {.observations = logged_row(job->data, row),
                                         .stride = job->data->W,
                                         .n = n,
                                         .task = job->task,
                                         .seed = job->seed,
                                         .step = job->column,
                                         .element = row};
    acting_take(&mine->acting, mine->actions, mine->std, job->by_samples, &states);
    for (size_t i = 0; i < n; i++) {
        const size_t at = ((row + i) * columns->C + job->column) * A;
        memcpy(columns->mean + at, mine->actions + i * A, A * sizeof *columns->mean);
        if (columns->std != NULL) {
            memcpy(columns->std + at, mine->std + i * A, A * sizeof *columns->std);
        }
    }
}

static void work(void *arg, int i)
{
    struct acting_job *job = arg;
    const size_t rows = job->end - job->begin;
    const size_t end = job->begin + rows * ((size_t)i + 1) / (size_t)job->n_threads;
    kernels_thread_begin();
    for (size_t row = job->begin + rows * (size_t)i / (size_t)job->n_threads; row < end;
         row += ROWS_AT_ONCE) {
        act(job, &job->threads[i], row, end - row < ROWS_AT_ONCE ? end - row : ROWS_AT_ONCE);
    }
    kernels_thread_end();
}

static void free_threads(struct acting_thread *threads, int n)
{
    for (int i = 0; threads != NULL && i < n; i++) {
        acting_fini(&threads[i].acting);
        mem_free(threads[i].actions);
        mem_free(threads[i].std);
    }
    mem_free(threads);
}

static struct acting_thread *make_threads(const struct policy *policy, int n)
{
    const size_t A = (size_t)policy_info(policy)->A;
    struct acting_thread *threads = mem_array((size_t)n, sizeof *threads);
    bool complete = threads != NULL;
    for (int i = 0; complete && i < n; i++) {
        threads[i].actions = mem_aligned(ROWS_AT_ONCE * A * sizeof(float));
        threads[i].std = mem_aligned(ROWS_AT_ONCE * A * sizeof(float));
        complete = acting_init(&threads[i].acting, policy, ROWS_AT_ONCE) == STATUS_OK &&
                   threads[i].actions != NULL && threads[i].std != NULL;
    }
    if (!complete) {
        free_threads(threads, n);
        return NULL;
    }
    return threads;
}

/* The behaviour's column: what was logged. Rows without an action have 0. */
static void fill_behaviour(struct columns *columns, const struct logged_data *data)
{
    for (size_t row = 0; row < columns->n_rows; row++) {
        const size_t at = (row * columns->C + columns->C - 1) * columns->A;
        gaussian_clip(columns->mean + at, logged_action(data, row), columns->A);
    }
}

/* One policy, all its tasks, in pieces between which the caller is told. */
static status fill_policy(struct acting_job *job, struct thread_pool *pool, size_t K, size_t first,
                          size_t n_columns, bool (*progress)(void *arg, double done), void *arg,
                          struct err *err)
{
    const size_t piece = (size_t)job->n_threads * ROWS_AT_ONCE * 16;
    for (size_t k = 0; k < K; k++) {
        job->column = first + k;
        job->task = k;
        for (job->begin = 0; job->begin < job->columns->n_rows; job->begin = job->end) {
            const size_t left = job->columns->n_rows - job->begin;
            job->end = job->begin + (left < piece ? left : piece);
            thread_pool_run(pool, work, job);
            const double rows = (double)job->end / (double)job->columns->n_rows;
            if (!progress(arg, ((double)job->column + rows) / (double)n_columns)) {
                return err_set(err, STATUS_CLOSED, "stopping");
            }
        }
    }
    return STATUS_OK;
}

status columns_make(struct columns *columns, const struct policies *policies,
                    const struct logged_data *data, bool by_samples, uint64_t seed,
                    struct thread_pool *pool, bool (*progress)(void *arg, double done), void *arg,
                    struct err *err)
{
    *columns =
        (struct columns){.C = policies->n * data->K + 1, .A = data->A, .n_rows = data->n_rows};
    const size_t per_row = columns->C * columns->A * sizeof(float);
    columns->mean = mem_array(data->n_rows, per_row);
    columns->std = by_samples ? mem_array(data->n_rows, per_row) : NULL;
    if (columns->mean == NULL || (by_samples && columns->std == NULL)) {
        columns_fini(columns);
        return err_set(err, STATUS_NO_MEMORY, "the actions of %zu policies at %zu rows",
                       policies->n, data->n_rows);
    }
    fill_behaviour(columns, data);
    status s = STATUS_OK;
    for (size_t p = 0; s == STATUS_OK && p < policies->n; p++) {
        struct acting_job job = {.columns = columns,
                                 .data = data,
                                 .policy = policies->items[p].policy,
                                 .by_samples = by_samples,
                                 .seed = seed,
                                 .n_threads = thread_pool_size(pool)};
        job.threads = make_threads(job.policy, job.n_threads);
        if (job.threads == NULL) {
            s = err_set(err, STATUS_NO_MEMORY, "%s", policies->items[p].path);
        } else {
            s = fill_policy(&job, pool, data->K, p * data->K, columns->C, progress, arg, err);
            free_threads(job.threads, job.n_threads);
        }
    }
    if (s != STATUS_OK) {
        columns_fini(columns);
    }
    return s;
}

void columns_fini(struct columns *columns)
{
    mem_free(columns->mean);
    mem_free(columns->std);
    *columns = (struct columns){0};
}
