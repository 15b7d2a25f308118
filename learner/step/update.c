/* The learner step: docs/maths.md, section 3, over the operators of a table, on a pool of
 * threads.
 *
 * Each thread takes a contiguous share of the batch and sums gradients over its own states; then
 * the sums are added in the order of threads, each thread adding a slice of all. Applying goes
 * the same way: norms by fixed chunks, Adam and packing by slices. Every sum has a fixed order,
 * so that a step is the same bits whenever it is repeated. What happens to one group of states is
 * in worker.c.
 *
 * The caller's thread is worker 0 and runs everything that is not a work_ function. Between
 * update_gradients and update_apply the gradients and sums can be changed: several learners add up
 * theirs there (update_sums). */
#include "learner/step/update.h"

#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/thread_pool.h"
#include "common/networks/adam.h"
#include "common/networks/kernels.h"
#include "learner/step/duals.h"
#include "learner/step/operators.h"
#include "learner/step/packing.h"
#include "learner/step/q_scale.h"
#include "learner/step/worker.h"

/* Rows that a worker takes at a time: about what the second cache holds the activations of. */
#define GROUP_ROWS 144
/* Floats whose squares make one partial sum. Fixed, so that norms do not depend on threads. */
#define CHUNK 4096

/* What Adam works on, and the number of its step, from 1. */
struct adam_blocks {
    float *params, *m, *v;
    float *average; /* NULL: no average is kept */
    uint64_t step;
};

struct update {
    /* What a step is made of; constant after update_new but for batch, noise, number and duals. */
    struct settings settings;
    struct parameters_layout layout;
    struct step step;
    int B, N;

    /* One worker for each thread; the gradients of worker 0 become the total. */
    struct thread_pool *pool;
    int n_workers;
    struct worker *workers;
    struct sums total;

    struct task_snippet *snippets; /* (B T) of the batch */
    struct td_error *errors;       /* (B T) of its task snippets */
    int *share;                    /* (n_workers + 1) worker i has share[i] .. share[i+1] - 1 */

    struct packing packing; /* weights as the kernels want them */

    /* Norms of the gradients, group by group of the layout, and what Adam multiplies them by. */
    double *squares;                            /* (chunks) */
    size_t chunk_of[PARAMETERS_GROUPS_MAX + 1]; /* the first chunk of each group */
    double norms[PARAMETERS_GROUPS_MAX];
    float scales[PARAMETERS_GROUPS_MAX];
    struct adam_blocks adam;            /* of the state being stepped */
    bool weighs[PARAMETERS_GROUPS_MAX]; /* is the group's loss weighted? */
    bool scaled; /* the gradients have been divided by the number of states */
    struct report report;
    struct phases phases; /* of the last step */
};

/* ---- Gradients: what each thread does ---- */

/* Thread i: gradients and sums over its share of the batch, group by group. */
static void work_gradients(void *arg, int i)
{
    struct update *update = arg;
    struct worker *worker = &update->workers[i];
    kernels_thread_begin();
    /* Sums begin at 0 in every step: nothing is left from a step that was refused. */
    memset(&worker->phases, 0, sizeof worker->phases);
    phases_start(&worker->phases);
    memset(worker->work.gradients, 0, update->layout.size * sizeof(float));
    memset(&worker->work.sums, 0, sizeof worker->work.sums);
    /* A group is loaded, then goes through all operators while it is in the cache. */
    const int end = update->share[i + 1];
    for (int first = update->share[i]; first < end;) {
        const int n = task_snippets_group(update->snippets, first, end, worker->work.R_max);
        worker_load(worker, update->snippets + first, n);
        phases_lap(&worker->phases, PHASE_LOAD);
        worker_run(worker);
        first += n;
    }
    kernels_thread_end();
}

/* Worker 0's gradients become the sum over workers, in their order; thread i adds its slice. */
static void work_reduce(void *arg, int i)
{
    struct update *update = arg;
    /* Slices are whole cache lines, so that no two threads write to the same one. */
    const size_t lines = update->layout.size / 16;
    const size_t n = (size_t)update->n_workers;
    const size_t begin = lines * (size_t)i / n * 16;
    const size_t end = lines * ((size_t)i + 1) / n * 16;
    /* The order of workers is fixed, so that the sum has the same bits in every run. */
    float *restrict sum = update->workers[0].work.gradients;
    for (size_t w = 1; w < n; w++) {
        const float *restrict part = update->workers[w].work.gradients;
        for (size_t j = begin; j < end; j++) {
            sum[j] += part[j];
        }
    }
}

/* Thread i packs its share of all weights. */
static void work_pack(void *arg, int i)
{
    struct update *update = arg;
    packing_pack(&update->packing, i, update->n_workers);
}

/* ---- Gradients ---- */

/* Makes the networks point to this state's weights, and packs them unless the copies are current.
 */
static void use_state(struct update *update, const struct state *state)
{
    ASSERT(state_layout(state)->size == update->layout.size);
    packing_point(&update->packing, state);
    if (!packing_is_current(&update->packing, state)) {
        thread_pool_run(update->pool, work_pack, update);
        packing_pack_targets(&update->packing);
        packing_done(&update->packing, state);
    }
    /* Multipliers and the normalizer are part of the state, and are read anew for each step. */
    duals_read(&update->step, &update->layout, state_read(state, STATE_PARAMS));
    update->step.q_weight =
        q_scale_weight(&update->settings, &update->layout, state_read(state, STATE_PARAMS));
    update->step.normalizer = state_normalizer(state);
}

/* The name of an array that the algorithm needs and `noise` does not have, or NULL. */
static const char *absent_noise(const struct algorithm *algorithm, const struct noise *noise)
{
    const struct {
        enum noise_kind kind;
        const float *array;
        const char *name;
    } arrays[] = {{NOISE_VALUE, noise->value, "value"},
                  {NOISE_IMPROVE, noise->improve, "improve"},
                  {NOISE_BACKUP, noise->backup, "backup"}};
    /* Arrays that the algorithm does not draw may be absent. */
    for (size_t i = 0; i < sizeof arrays / sizeof arrays[0]; i++) {
        if ((algorithm->draws >> arrays[i].kind & 1u) != 0 && arrays[i].array == NULL) {
            return arrays[i].name;
        }
    }
    return NULL;
}

/* Divides the time of the gradients, which is in phases.ns[PHASE_IDLE], into what the threads did
 * with it on average and what they were idle. */
static void share_phases(struct update *update)
{
    uint64_t *ns = update->phases.ns;
    uint64_t busy_ns = 0;
    /* The mean over threads is what they did; the rest of the time they were waiting. */
    for (int phase = PHASE_LOAD; phase < PHASE_IDLE; phase++) {
        uint64_t sum = 0;
        for (int i = 0; i < update->n_workers; i++) {
            sum += update->workers[i].phases.ns[phase];
        }
        ns[phase] += sum / (uint64_t)update->n_workers;
        busy_ns += sum / (uint64_t)update->n_workers;
    }
    /* Clocks of several threads need not add up exactly: the difference stays at 0 or above. */
    ns[PHASE_IDLE] -= busy_ns < ns[PHASE_IDLE] ? busy_ns : ns[PHASE_IDLE];
}

/* Weights are summed over states, as the snippets' tasks have them, and the largest is noted. */
static void sum_weights(struct update *update)
{
    const struct batch *batch = update->step.batch;
    struct sums *total = &update->total;
    for (int b = 0; batch->weights != NULL && b < batch->B; b++) {
        const double weight = batch->weights[b];
        total->weight += weight * batch->n_valid[b] * update->settings.T;
        total->weight_max[batch->part] = fmax(total->weight_max[batch->part], weight);
    }
}

status update_gradients(struct update *update, const struct state *state, const struct batch *batch,
                        const struct noise *noise, struct err *err)
{
    /* Everything that can be refused is refused before the workers start. */
    memset(&update->phases, 0, sizeof update->phases);
    phases_start(&update->phases);
    const status s = batch_check(batch, &update->settings, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* Memory was made for batches of a given size. */
    if (batch->B > update->B || batch->N > update->N) {
        return err_set(err, STATUS_INVALID, "batch of %d snippets of %d: expected at most %d of %d",
                       batch->B, batch->N, update->B, update->N);
    }
    const char *absent = noise != NULL ? absent_noise(update->step.algorithm, noise) : NULL;
    if (absent != NULL) {
        return err_set(err, STATUS_INVALID, "noise: %s is missing", absent);
    }
    ASSERT(batch->part >= 0 && batch->part < BATCH_PARTS_MAX);
    /* What the workers see of this step. */
    update->step.batch = batch;
    update->step.noise = noise;
    update->step.number = state_step(state);
    use_state(update, state);
    /* Who does what depends on the batch and the number of threads alone. */
    task_snippets_share(update->snippets, update->share, batch->n_valid, batch->B,
                        update->settings.T, update->n_workers);
    phases_lap(&update->phases, PHASE_LOAD);
    /* The long part. Its time counts as idle until share_phases divides it. */
    thread_pool_run(update->pool, work_gradients, update);
    phases_lap(&update->phases, PHASE_IDLE);
    share_phases(update);
    thread_pool_run(update->pool, work_reduce, update);

    /* The scalars, in the order of threads as well. */
    memset(&update->total, 0, sizeof update->total);
    double *total = (double *)&update->total;
    for (int w = 0; w < update->n_workers; w++) {
        const double *part = (const double *)&update->workers[w].work.sums;
        for (size_t i = 0; i < SUMS_COUNT; i++) {
            total[i] += part[i];
        }
    }
    sum_weights(update);
    update->scaled = false;
    phases_lap(&update->phases, PHASE_REDUCE);
    return STATUS_OK;
}

struct update_sums update_sums(struct update *update)
{
    return (struct update_sums){update->workers[0].work.gradients, update->layout.size,
                                (double *)&update->total, SUMS_COUNT};
}

/* ---- Apply ---- */

/* Sum of squares of g(n), n a multiple of 8: eight sums side by side, so there is no chain of
 * additions, and the order is the same on every machine. */
static double sum_squares(const float *g, size_t n)
{
    double part[8] = {0};
    /* In double, so that squares of small gradients are not lost. */
    for (size_t j = 0; j < n; j += 8) {
        for (size_t k = 0; k < 8; k++) {
            part[k] += (double)g[j + k] * (double)g[j + k];
        }
    }
    return ((part[0] + part[4]) + (part[1] + part[5])) +
           ((part[2] + part[6]) + (part[3] + part[7]));
}

/* Thread i sums every n-th chunk of each group. */
static void work_squares(void *arg, int i)
{
    struct update *update = arg;
    const size_t n = (size_t)update->n_workers;
    for (int k = 0; k < update->layout.n_groups; k++) {
        const struct parameters_group *group = &update->layout.groups[k];
        const float *g = update->workers[0].work.gradients + group->at;
        const size_t n_chunks = update->chunk_of[k + 1] - update->chunk_of[k];
        /* The last chunk of a group may be short. */
        for (size_t c = (size_t)i; c < n_chunks; c += n) {
            const size_t left = group->size - c * CHUNK;
            update->squares[update->chunk_of[k] + c] =
                sum_squares(g + c * CHUNK, left < CHUNK ? left : CHUNK);
        }
    }
}

/* average <- the moving average of the parameters p(n) after a step of this number (from 1). While
 * there are few steps the decay is less, (1 + step) / (10 + step), so that initial weights fade. */
static void move_average(float *average, const float *p, size_t n, double decay, uint64_t step)
{
    const double early = (1.0 + (double)step) / (10.0 + (double)step);
    const float rate = (float)(1.0 - (decay < early ? decay : early));
    for (size_t i = 0; i < n; i++) {
        average[i] += rate * (p[i] - average[i]);
    }
}

/* Thread i: one Adam step of its slice of the block, which may lie across several groups. */
static void work_adam(void *arg, int i)
{
    struct update *update = arg;
    const struct adam_blocks *to = &update->adam;
    const struct settings *settings = &update->settings;
    /* Slices of whole cache lines, as in work_reduce. */
    const size_t lines = update->layout.size / 16;
    const size_t n = (size_t)update->n_workers;
    const size_t begin = lines * (size_t)i / n * 16;
    const size_t end = lines * ((size_t)i + 1) / n * 16;
    const float *g = update->workers[0].work.gradients;
    for (int k = 0; k < update->layout.n_groups; k++) {
        const struct parameters_group *group = &update->layout.groups[k];
        /* The part of the slice that lies in this group, with the group's own rate and scale. */
        const size_t from = group->at > begin ? group->at : begin;
        const size_t until = group->at + group->size < end ? group->at + group->size : end;
        if (from >= until) {
            continue;
        }
        /* Constants have no gradients: their moments stay 0, and Adam does not move them. */
        const struct adam adam = {group->is_network ? settings->lr : settings->dual_lr,
                                  settings->beta1, settings->beta2, settings->adam_eps};
        adam_step(to->params + from, to->m + from, to->v + from, g + from, until - from, &adam,
                  to->step, update->scales[k]);
        if (to->average != NULL && group->is_network) {
            move_average(to->average + from, to->params + from, until - from,
                         settings->policy_average, to->step);
        }
    }
}

/* What the sums of a group's gradients are divided by: states, and the largest weight where the
 * group's loss is weighted. */
static double divisor(const struct update *update, int group)
{
    const double largest = update->weighs[group] ? sums_weight_max(&update->total) : 1.0;
    return update->total.states * largest;
}

/* Computes the norms of the mean gradients, and the factors by which Adam multiplies the sums:
 * 1 / states, less where a norm is clipped. */
static void clip(struct update *update)
{
    for (int k = 0; k < update->layout.n_groups; k++) {
        const struct parameters_group *group = &update->layout.groups[k];
        if (!group->is_network) {
            update->scales[k] = 1.0f; /* their gradients are means already */
            continue;
        }
        /* Partial sums in their order, whoever has computed them. */
        double sum = 0.0;
        for (size_t c = update->chunk_of[k]; c < update->chunk_of[k + 1]; c++) {
            sum += update->squares[c];
        }
        /* The gradients are sums over states; their mean is what is clipped. */
        const double states = divisor(update, k);
        const double norm = sqrt(sum) / states;
        const double limit = update->settings.clip_norm;
        update->norms[k] = norm;
        update->scales[k] = (float)((norm > limit ? limit / norm : 1.0) / states);
    }
}

/* policy' <- policy, critic' <- critic, in the state and in the packed copies. */
static void copy_targets(struct update *update, struct state *state)
{
    float *targets = state_write(state, STATE_TARGETS);
    const float *params = state_read(state, STATE_PARAMS);
    /* In the state: parameters and targets have the same offsets. */
    for (int k = 0; k < update->layout.n_groups; k++) {
        const struct parameters_group *group = &update->layout.groups[k];
        if (group->has_target) {
            memcpy(targets + group->at, params + group->at, group->size * sizeof *targets);
        }
    }
    /* And in the packed copies, which were made from these parameters a moment ago. */
    packing_copy_targets(&update->packing);
}

status update_apply(struct update *update, struct state *state, struct report *report,
                    struct err *err)
{
    ASSERT(packing_is_current(&update->packing, state) && !update->scaled);
    const uint64_t step = state_step(state) + 1;
    /* Also where the sums came back from an exchange with other learners. */
    if (!(update->total.states >= 1.0)) {
        return err_set(err, STATUS_CORRUPT, "learner step %llu: sums over %g states",
                       (unsigned long long)step, update->total.states);
    }
    phases_start(&update->phases);
    /* Norms and the report come first: a step that is not finite leaves the state as it was. */
    thread_pool_run(update->pool, work_squares, update);
    clip(update);
    report_fill(&update->report, &update->step, &update->total, &update->layout, update->norms,
                step);
    /* The caller gets the report of a refused step, too. */
    if (report != NULL) {
        *report = update->report;
    }
    /* A loss or norm that is not finite ends the step here. */
    const status s = report_check(&update->report, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* 5. The duals' gradients are means over all states. Then Adam, for all groups at once. */
    duals_gradients(update->workers[0].work.gradients, &update->step, &update->layout,
                    state_read(state, STATE_PARAMS), &update->total);
    /* From here on nothing can fail. */
    update->adam = (struct adam_blocks){.params = state_write(state, STATE_PARAMS),
                                        .m = state_write(state, STATE_M),
                                        .v = state_write(state, STATE_V),
                                        .step = step};
    if (update->settings.policy_average > 0.0) {
        update->adam.average = state_write(state, STATE_AVERAGE);
    }
    /* All threads, each its slice of the block. */
    thread_pool_run(update->pool, work_adam, update);
    duals_floor(update->adam.params, &update->layout, update->settings.rho_floor);
    q_scale_note(update->adam.params, &update->layout, &update->total);
    state_set_step(state, step);
    /* The weights changed: pack them for the next step. 6. Targets, where due. */
    packing_point(&update->packing, state);
    thread_pool_run(update->pool, work_pack, update);
    if (step % (uint64_t)update->settings.target_period == 0) {
        copy_targets(update, state);
    }
    packing_done(&update->packing, state);
    phases_lap(&update->phases, PHASE_APPLY);
    return STATUS_OK;
}

status update_step(struct update *update, struct state *state, const struct batch *batch,
                   const struct noise *noise, struct report *report, struct err *err)
{
    const status s = update_gradients(update, state, batch, noise, err);
    return s != STATUS_OK ? s : update_apply(update, state, report, err);
}

status update_judge(struct update *update, const struct state *state, const struct batch *batch,
                    struct report *report, struct err *err)
{
    static const double no_norms[PARAMETERS_GROUPS_MAX];
    const status s = update_gradients(update, state, batch, NULL, err);
    if (s == STATUS_OK) {
        report_fill(report, &update->step, &update->total, &update->layout, no_norms,
                    state_step(state));
    }
    return s;
}

struct td_error update_td_error(const struct update *update, int b)
{
    const int T = update->settings.T;
    struct td_error all = {0};
    for (int tau = 0; tau < T; tau++) {
        const struct td_error *one = &update->errors[b * T + tau];
        all.largest = fmax(all.largest, one->largest);
        all.mean += one->mean / T;
    }
    return all;
}

const struct phases *update_phases(const struct update *update)
{
    return &update->phases;
}

uint64_t update_busy_ns(const struct update *update, int i)
{
    ASSERT(i < update->n_workers);
    return phases_sum(&update->workers[i].phases);
}

const float *update_last_gradients(struct update *update)
{
    float *g = update->workers[0].work.gradients;
    /* Sums become means once; the duals' are means already. */
    for (int k = 0; k < update->layout.n_groups && !update->scaled; k++) {
        const struct parameters_group *group = &update->layout.groups[k];
        for (size_t i = group->at; group->is_network && i < group->at + group->size; i++) {
            g[i] = (float)((double)g[i] / divisor(update, k));
        }
    }
    update->scaled = true;
    return g;
}

size_t update_bytes(const struct update *update)
{
    /* Packed weights, and each worker's gradients and arena. */
    size_t bytes = packing_bytes(&update->packing);
    for (int i = 0; i < update->n_workers; i++) {
        bytes += update->layout.size * sizeof(float) + update->workers[i].arena.peak_bytes;
    }
    return bytes;
}

/* ---- Creation ---- */

/* What a step does not change: settings, heads, shapes; memory for packed weights. */
static status make_networks(struct update *update, struct err *err)
{
    struct step *step = &update->step;
    const struct settings *settings = &update->settings;
    step->settings = &update->settings;
    step->algorithm = algorithm_of(settings);
    step->I = settings_inputs(settings);
    /* Both heads begin with the same std above their own floors. */
    step->policy_head = (struct gaussian_head){settings->A, (float)settings->policy_min_std,
                                               (float)settings->init_std};
    step->prior_head = (struct gaussian_head){settings->A, (float)settings->prior_min_std,
                                              (float)settings->init_std};
    return packing_init(&update->packing, step, &update->layout, err);
}

/* One worker for each thread; groups are as large as the longest snippet needs. */
static status make_workers(struct update *update, struct err *err)
{
    /* A group holds at least one whole task snippet. */
    const int R_max = update->N + 1 > GROUP_ROWS ? update->N + 1 : GROUP_ROWS;
    update->workers = mem_array((size_t)update->n_workers, sizeof *update->workers);
    for (int i = 0; update->workers != NULL && i < update->n_workers; i++) {
        if (worker_init(&update->workers[i], &update->step, update->layout.size, R_max) !=
            STATUS_OK) {
            return err_set(err, STATUS_NO_MEMORY, "learner: worker %d", i);
        }
    }
    return update->workers == NULL ? err_set(err, STATUS_NO_MEMORY, "learner: workers") : STATUS_OK;
}

status update_new(struct update **out, const struct settings *settings, int B, int N, int threads,
                  struct err *err)
{
    ASSERT(B >= 1 && N >= 1 && threads >= 1);
    struct update *update = mem_new(sizeof *update);
    if (update == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "learner update");
    }
    /* A copy: the caller's may change or go. */
    update->settings = *settings;
    update->B = B;
    update->N = N;
    update->n_workers = threads;
    /* Each part needs the one before it. */
    status s = algorithm_layout(&update->layout, settings, err);
    s = s != STATUS_OK ? s : make_networks(update, err);
    s = s != STATUS_OK ? s : make_workers(update, err);
    s = s != STATUS_OK ? s : thread_pool_new(&update->pool, threads, err);
    if (s == STATUS_OK) {
        /* Chunks are counted group by group, so that each belongs to one norm. */
        for (int k = 0; k < update->layout.n_groups; k++) {
            update->weighs[k] =
                algorithm_weighs(update->step.algorithm, update->layout.groups[k].name);
            update->chunk_of[k + 1] =
                update->chunk_of[k] + (update->layout.groups[k].size + CHUNK - 1) / CHUNK;
        }
        const size_t n_chunks = update->chunk_of[update->layout.n_groups];
        update->squares = mem_array(n_chunks, sizeof *update->squares);
        update->snippets = mem_array((size_t)B * (size_t)settings->T, sizeof *update->snippets);
        update->errors = mem_array((size_t)B * (size_t)settings->T, sizeof *update->errors);
        update->share = mem_array((size_t)threads + 1, sizeof *update->share);
        if (update->squares == NULL || update->snippets == NULL || update->errors == NULL ||
            update->share == NULL) {
            s = err_set(err, STATUS_NO_MEMORY, "learner update");
        }
        update->step.errors = update->errors;
    }
    if (s != STATUS_OK) {
        update_free(update);
        return s;
    }
    *out = update;
    return STATUS_OK;
}

void update_free(struct update *update)
{
    if (update == NULL) {
        return;
    }
    /* Threads first: they use everything else. */
    thread_pool_free(update->pool);
    for (int i = 0; update->workers != NULL && i < update->n_workers; i++) {
        worker_fini(&update->workers[i]);
    }
    mem_free(update->workers);
    mem_free(update->snippets);
    mem_free(update->errors);
    mem_free(update->share);
    packing_fini(&update->packing);
    mem_free(update->squares);
    mem_free(update);
}
