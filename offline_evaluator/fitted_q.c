/* The step of fitted Q evaluation: see fitted_q.h.
 *
 * A thread takes a range of the batch and works on it in parts of PART transitions, whose next
 * actions and activations stay in the caches. Its gradients and loss are its own; they are added up
 * in order of the threads. The state's share of the first layer is computed once for all columns. */
#include "offline_evaluator/fitted_q.h"

#include <math.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/networks/adam.h"
#include "common/networks/gaussian.h"
#include "common/networks/kernels.h"

#define PART         128 /* transitions */
#define INIT_PURPOSE 48  /* of the noise; the learner's networks have 16 .. */

struct fitted_q_worker {
    struct arena arena;
    struct network_tape tape;
    float *gradients; /* (size) */
    float *xa;        /* (PART,O+A) */
    float *dout;      /* (PART,ld_out) */
    float *part;      /* (PART,ld_part) */
    float *q;         /* (PART,C,M,H) */
    double *values;   /* (PART,H) */
    float *scratch;
    double loss;
};

struct fitted_q {
    struct fitted_q_settings settings;
    struct network_shape shape;
    struct network_packed packed, packed_target;
    struct thread_pool *pool;
    struct fitted_q_worker *workers;
    int n_workers;
    size_t ld_part;
    float *blocks[FITTED_Q_BLOCKS];
    uint64_t steps;
    /* What the threads are working on. */
    const struct fitted_q_batch *batch;
    double lr;
    double *out; /* values: (n,H) */
    const float *x, *a;
    int n;
};

/* ---- Making ---- */

static status make_worker(struct fitted_q *critic, struct fitted_q_worker *worker)
{
    const struct fitted_q_settings *set = &critic->settings;
    const size_t I = (size_t)(set->O + set->A);
    const size_t H = (size_t)set->H;
    const size_t ld_out = H + 32; /* at least the tape's */
    const size_t samples = (size_t)set->C * (size_t)set->M;
    struct piece {
        void **to;
        size_t count, size;
    } const pieces[] = {
        {(void **)&worker->gradients, critic->shape.size, sizeof(float)},
        {(void **)&worker->xa, PART * I, sizeof(float)},
        {(void **)&worker->dout, PART * ld_out, sizeof(float)},
        {(void **)&worker->part, PART * critic->ld_part, sizeof(float)},
        {(void **)&worker->q, PART * samples * H, sizeof(float)},
        {(void **)&worker->values, PART * H, sizeof(double)},
        {(void **)&worker->scratch, network_scratch(&critic->shape), sizeof(float)},
    };
    const size_t n = sizeof pieces / sizeof pieces[0];
    size_t bytes = network_tape_bytes(&critic->shape, PART, set->bf16);
    for (size_t i = 0; i < n; i++) {
        bytes += pieces[i].count * pieces[i].size + CACHE_LINE;
    }
    if (arena_init(&worker->arena, bytes) != STATUS_OK) {
        return STATUS_NO_MEMORY;
    }
    for (size_t i = 0; i < n; i++) {
        *pieces[i].to = arena_take(&worker->arena, pieces[i].count, pieces[i].size);
    }
    network_tape_init(&worker->tape, &critic->shape, PART, set->bf16, &worker->arena);
    return STATUS_OK;
}

/* Thread i packs its share of both copies. */
static void pack(void *arg, int i)
{
    struct fitted_q *critic = arg;
    network_pack(&critic->packed, &critic->shape, critic->blocks[FITTED_Q_PARAMS], i,
                 critic->n_workers);
    network_pack(&critic->packed_target, &critic->shape, critic->blocks[FITTED_Q_TARGET], i,
                 critic->n_workers);
}

static status make(struct fitted_q *critic, struct err *err)
{
    const struct fitted_q_settings *set = &critic->settings;
    status s =
        network_shape_out(&critic->shape, set->O + set->A, set->widths, set->n_widths, set->H, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "offline_evaluator.widths");
    }
    critic->ld_part = ((size_t)set->widths[0] + 15) / 16 * 16 + 16;
    const enum network_bf16 kind = set->bf16 ? NETWORK_BF16_ALL : NETWORK_BF16_NONE;
    s = network_packed_init(&critic->packed, &critic->shape, kind);
    s = s != STATUS_OK ? s : network_packed_init(&critic->packed_target, &critic->shape, kind);
    for (int b = 0; s == STATUS_OK && b < FITTED_Q_BLOCKS; b++) {
        critic->blocks[b] = mem_aligned(critic->shape.size * sizeof(float));
        s = critic->blocks[b] != NULL ? STATUS_OK : STATUS_NO_MEMORY;
    }
    critic->workers = mem_array((size_t)critic->n_workers, sizeof *critic->workers);
    s = s == STATUS_OK && critic->workers == NULL ? STATUS_NO_MEMORY : s;
    for (int i = 0; s == STATUS_OK && i < critic->n_workers; i++) {
        s = make_worker(critic, &critic->workers[i]);
    }
    return s == STATUS_OK ? s : err_set(err, s, "critic of %d heads", set->H);
}

status fitted_q_new(struct fitted_q **out, const struct fitted_q_settings *settings,
                    struct thread_pool *pool, struct err *err)
{
    struct fitted_q *critic = mem_new(sizeof *critic);
    if (critic == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "critic");
    }
    critic->settings = *settings;
    /* Kernels of several parts of bf16 take their way for floats, too. */
    critic->settings.bf16 = settings->bf16 || kernels_bf16_parts() > 1;
    critic->pool = pool;
    critic->n_workers = thread_pool_size(pool);
    const status s = make(critic, err);
    if (s != STATUS_OK) {
        fitted_q_free(critic);
        return s;
    }
    network_init(critic->blocks[FITTED_Q_PARAMS], &critic->shape, settings->seed, INIT_PURPOSE);
    memcpy(critic->blocks[FITTED_Q_TARGET], critic->blocks[FITTED_Q_PARAMS],
           critic->shape.size * sizeof(float));
    thread_pool_run(pool, pack, critic);
    *out = critic;
    return STATUS_OK;
}

void fitted_q_free(struct fitted_q *critic)
{
    if (critic == NULL) {
        return;
    }
    for (int i = 0; critic->workers != NULL && i < critic->n_workers; i++) {
        arena_fini(&critic->workers[i].arena);
    }
    for (int b = 0; b < FITTED_Q_BLOCKS; b++) {
        mem_free(critic->blocks[b]);
    }
    network_packed_fini(&critic->packed);
    network_packed_fini(&critic->packed_target);
    mem_free(critic->workers);
    mem_free(critic);
}

/* ---- Values ---- */

/* values(n,H) <- the target critic at x(n,O) and actions a(n,C,M,A), n <= PART. */
static void part_values(const struct fitted_q *critic, struct fitted_q_worker *worker,
                        double *values, const float *x, const float *a, int n)
{
    const struct fitted_q_settings *set = &critic->settings;
    const size_t H = (size_t)set->H;
    const size_t M = (size_t)set->M;
    const int samples = set->C * set->M;
    const struct network target = {.shape = &critic->shape,
                                   .params = critic->blocks[FITTED_Q_TARGET],
                                   .packed = &critic->packed_target};
    network_state_part(worker->part, critic->ld_part, &target, x, (size_t)set->O, n, set->O);
    network_infer_actions(worker->q, &target, worker->part, critic->ld_part, a, (size_t)set->A, 0,
                          n * samples, samples, set->A, worker->scratch);
    /* Each head reads its own column's actions alone. */
    for (size_t i = 0; i < (size_t)n; i++) {
        for (size_t h = 0; h < H; h++) {
            const struct fitted_q_head *head = &set->heads[h];
            const float *q = worker->q + (i * (size_t)samples + (size_t)head->column * M) * H + h;
            double sum = 0;
            for (size_t j = 0; j < M; j++) {
                sum += (double)q[j * H];
            }
            values[i * H + h] = head->offset + head->scale * sum / (double)M;
        }
    }
}

/* Thread i of a call of fitted_q_values. */
static void work_values(void *arg, int i)
{
    struct fitted_q *critic = arg;
    const struct fitted_q_settings *set = &critic->settings;
    const size_t per_state = (size_t)set->C * (size_t)set->M * (size_t)set->A;
    const int end = (int)((int64_t)critic->n * (i + 1) / critic->n_workers);
    kernels_thread_begin();
    for (int at = (int)((int64_t)critic->n * i / critic->n_workers); at < end; at += PART) {
        const int n = end - at < PART ? end - at : PART;
        part_values(critic, &critic->workers[i], critic->out + (size_t)at * (size_t)set->H,
                    critic->x + (size_t)at * (size_t)set->O, critic->a + (size_t)at * per_state, n);
    }
    kernels_thread_end();
}

void fitted_q_values(struct fitted_q *critic, double *q, const float *x, const float *a, int n)
{
    critic->out = q;
    critic->x = x;
    critic->a = a;
    critic->n = n;
    thread_pool_run(critic->pool, work_values, critic);
}

/* ---- Gradients ---- */

/* The target of head h for transition b, where what follows is worth `value`. */
static double target(const struct fitted_q_head *head, const struct fitted_q_batch *batch, int K,
                     size_t b, double value)
{
    const double r = (double)batch->r[b * (size_t)K + (size_t)head->reward];
    const double y = r + head->gamma * (double)batch->d[b] * value;
    return y < head->low ? head->low : y > head->high ? head->high : y;
}

/* Transitions b0 .. b0 + n - 1, n <= PART: adds to the worker's gradients and loss. */
static void part_gradients(const struct fitted_q *critic, struct fitted_q_worker *worker, size_t b0,
                           int n)
{
    const struct fitted_q_settings *set = &critic->settings;
    const struct fitted_q_batch *batch = critic->batch;
    const size_t O = (size_t)set->O, A = (size_t)set->A, H = (size_t)set->H;
    const size_t ld_out = worker->tape.ld_out;
    if (batch->y == NULL) {
        const size_t per_state = (size_t)set->C * (size_t)set->M * A;
        part_values(critic, worker, worker->values, batch->next_x + b0 * O,
                    batch->next_a + b0 * per_state, n);
    }
    for (size_t i = 0; i < (size_t)n; i++) {
        float *xa = worker->xa + i * (O + A);
        memcpy(xa, batch->x + (b0 + i) * O, O * sizeof *xa);
        gaussian_clip(xa + O, batch->a + (b0 + i) * A, A);
    }
    const struct network now = {.shape = &critic->shape,
                                .params = critic->blocks[FITTED_Q_PARAMS],
                                .packed = &critic->packed};
    network_forward(&worker->tape, &now, worker->xa, O + A, n);
    for (size_t i = 0; i < (size_t)n; i++) {
        const size_t b = b0 + i;
        for (size_t h = 0; h < H; h++) {
            const struct fitted_q_head *head = &set->heads[h];
            const double y = batch->y != NULL
                                 ? batch->y[b * H + h]
                                 : target(head, batch, set->K, b, worker->values[i * H + h]);
            const double w = batch->weights != NULL ? (double)batch->weights[b * H + h] : 1;
            const double error =
                (double)worker->tape.out[i * ld_out + h] - (y - head->offset) / head->scale;
            worker->loss += w * 0.5 * error * error;
            worker->dout[i * ld_out + h] = (float)(w * error);
        }
    }
    network_backward(worker->gradients, NULL, 0, &now, &worker->tape, worker->dout, n);
}

/* Thread i of a step: its range of the batch. */
static void work_gradients(void *arg, int i)
{
    struct fitted_q *critic = arg;
    struct fitted_q_worker *worker = &critic->workers[i];
    const int end = (int)((int64_t)critic->batch->B * (i + 1) / critic->n_workers);
    memset(worker->gradients, 0, critic->shape.size * sizeof *worker->gradients);
    worker->loss = 0;
    kernels_thread_begin();
    for (int at = (int)((int64_t)critic->batch->B * i / critic->n_workers); at < end; at += PART) {
        part_gradients(critic, worker, (size_t)at, end - at < PART ? end - at : PART);
    }
    kernels_thread_end();
}

/* Thread i of n: its share of the parameters. Shares are whole cache lines. */
static void work_sum(void *arg, int i)
{
    struct fitted_q *critic = arg;
    const size_t lines = critic->shape.size / 16;
    const size_t from = lines * (size_t)i / (size_t)critic->n_workers * 16;
    const size_t to = lines * (size_t)(i + 1) / (size_t)critic->n_workers * 16;
    float *sum = critic->workers[0].gradients;
    for (int k = 1; k < critic->n_workers; k++) {
        const float *add = critic->workers[k].gradients;
        for (size_t j = from; j < to; j++) {
            sum[j] += add[j];
        }
    }
}

/* Thread i of n: its share of Adam and of the target. */
static void work_apply(void *arg, int i)
{
    struct fitted_q *critic = arg;
    const size_t lines = critic->shape.size / 16;
    const size_t from = lines * (size_t)i / (size_t)critic->n_workers * 16;
    const size_t to = lines * (size_t)(i + 1) / (size_t)critic->n_workers * 16;
    const struct adam adam = {.rate = critic->lr, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8};
    /* The sums become means over transitions and heads. */
    const double share = 1.0 / ((double)critic->batch->B * (double)critic->settings.H);
    float *now = critic->blocks[FITTED_Q_PARAMS];
    float *goal = critic->blocks[FITTED_Q_TARGET];
    adam_step(now + from, critic->blocks[FITTED_Q_M] + from, critic->blocks[FITTED_Q_V] + from,
              critic->workers[0].gradients + from, to - from, &adam, critic->steps, (float)share);
    const float rate = (float)critic->settings.target_rate;
    for (size_t j = from; j < to; j++) {
        goal[j] += rate * (now[j] - goal[j]);
    }
}

double fitted_q_gradients(struct fitted_q *critic, const struct fitted_q_batch *batch,
                          const float **gradients)
{
    ASSERT(batch->B >= 1 && batch->B <= critic->settings.B);
    critic->batch = batch;
    thread_pool_run(critic->pool, work_gradients, critic);
    thread_pool_run(critic->pool, work_sum, critic);
    double loss = 0;
    for (int i = 0; i < critic->n_workers; i++) {
        loss += critic->workers[i].loss;
    }
    if (gradients != NULL) {
        *gradients = critic->workers[0].gradients;
    }
    return loss / ((double)batch->B * (double)critic->settings.H);
}

double fitted_q_step(struct fitted_q *critic, const struct fitted_q_batch *batch, double lr_factor)
{
    const double loss = fitted_q_gradients(critic, batch, NULL);
    critic->steps++;
    critic->lr = critic->settings.lr * lr_factor;
    thread_pool_run(critic->pool, work_apply, critic);
    thread_pool_run(critic->pool, pack, critic);
    return loss;
}

/* ---- The state ---- */

uint64_t fitted_q_steps(const struct fitted_q *critic)
{
    return critic->steps;
}

size_t fitted_q_size(const struct fitted_q *critic)
{
    return critic->shape.size;
}

const struct network_shape *fitted_q_shape(const struct fitted_q *critic)
{
    return &critic->shape;
}

const float *fitted_q_read(const struct fitted_q *critic, enum fitted_q_block block)
{
    return critic->blocks[block];
}

void fitted_q_restore(struct fitted_q *critic, const float *const blocks[FITTED_Q_BLOCKS],
                      uint64_t steps)
{
    for (int b = 0; b < FITTED_Q_BLOCKS; b++) {
        memcpy(critic->blocks[b], blocks[b], critic->shape.size * sizeof(float));
    }
    critic->steps = steps;
    thread_pool_run(critic->pool, pack, critic);
}
