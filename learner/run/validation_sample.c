/* Drawing a sample. Snippets are drawn much longer than those of a step, to see the returns, and what
 * is not needed later is dropped at once: memory does not grow with the horizon. */
#include "learner/run/validation_sample.h"

#include <math.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "learner/run/sampler_options.h"

#define SEED_OFFSET     0x76616c6964617465u /* "validate": another sample than the batches */
#define TRANSITIONS_MAX 1024                /* of a snippet, by the wire */
#define MESSAGE_BYTES   ((size_t)4 << 20)   /* about the most that one batch takes */
#define WAIT_MS         250
#define RETRY_MS        100

/* Transitions after which what follows counts less than VALIDATION_REST, at least N. */
static int horizon(const struct settings *settings, int N)
{
    const double gamma = settings->gamma;
    const double n = gamma <= 0  ? 1
                     : gamma < 1 ? ceil(log(VALIDATION_REST) / log(gamma))
                                 : TRANSITIONS_MAX;
    return n < N ? N : n > TRANSITIONS_MAX ? TRANSITIONS_MAX : (int)n;
}

/* Takes one drawn snippet of n transitions as start i. */
static void take(struct validation_sample *sample, const struct settings *settings, int i,
                 const float *rows, uint32_t n)
{
    const size_t O = (size_t)sample->O, A = (size_t)sample->A, W = (size_t)sample->W;
    const size_t K = (size_t)sample->K, N = (size_t)sample->N;
    double *returns = sample->returns + (size_t)i * K;
    double factor = 1;
    for (uint32_t t = 0; t < n; t++) {
        const float *row = rows + t * W;
        for (size_t k = 0; k < K; k++) {
            returns[k] += factor * (double)row[O + A + k];
        }
        factor *= settings->gamma * (double)row[O + A + K];
    }
    sample->carry[i] = factor;
    memcpy(sample->starts + (size_t)i * (O + A), rows, (O + A) * sizeof *rows);
    memcpy(sample->ends + (size_t)i * O, rows + n * W, O * sizeof *rows);
    /* The snippet as a step would have it; row N is there where the episode goes on. */
    if (i < sample->B) {
        const uint32_t valid = n < N ? n : (uint32_t)N;
        memcpy(sample->rows + (size_t)i * (N + 1) * W, rows, (valid + 1) * W * sizeof *rows);
        sample->n_valid[i] = valid;
    }
}

/* Opens the sampler, waiting for servers that are away. */
static status open_sampler(struct replay_sampler **sampler, const struct validation_draw *draw,
                           const struct replay_sampler_options *options, struct err *err)
{
    struct signature signature = *draw->signature;
    for (;;) {
        const status s = replay_sampler_open(sampler, draw->experiment, &signature, options, 0,
                                             draw->leaving, draw->arg, err);
        if (s == STATUS_NOT_FOUND || !sampler_options_may_retry(s)) {
            return s;
        }
        if (draw->leaving(draw->arg)) {
            return err_set(err, STATUS_CLOSED, "asked to stop while waiting for the replay server");
        }
        draw->waiting(draw->arg, err->text);
        clock_sleep_ms(RETRY_MS);
    }
}

/* Takes starts from batches until there are enough. */
static status take_all(struct validation_sample *sample, const struct validation_draw *draw,
                       struct replay_sampler *sampler, int N, struct err *err)
{
    const size_t stride = (size_t)(N + 1) * (size_t)sample->W;
    for (int i = 0; i < sample->n;) {
        struct replay_batch *batch;
        const status s = replay_sampler_next(sampler, &batch, WAIT_MS, err);
        if (s == STATUS_TIMEOUT && !draw->leaving(draw->arg)) {
            draw->waiting(draw->arg, err->text);
            continue;
        }
        if (s != STATUS_OK) {
            return s == STATUS_TIMEOUT ? err_set(err, STATUS_CLOSED, "asked to stop") : s;
        }
        for (uint32_t b = 0; b < batch->snippets && i < sample->n; b++, i++) {
            take(sample, draw->settings, i, batch->rows + b * stride, batch->n_valid[b]);
        }
        replay_sampler_return(sampler, batch);
    }
    return STATUS_OK;
}

/* All arrays of a sample whose sizes are set. */
static status make(struct validation_sample *sample)
{
    const size_t n = (size_t)sample->n, B = (size_t)sample->B;
    const size_t O = (size_t)sample->O, A = (size_t)sample->A;
    sample->rows = mem_aligned(B * (size_t)(sample->N + 1) * (size_t)sample->W * sizeof(float));
    sample->n_valid = mem_array(B, sizeof *sample->n_valid);
    sample->starts = mem_array(n, (O + A) * sizeof *sample->starts);
    sample->ends = mem_array(n, O * sizeof *sample->ends);
    sample->returns = mem_array(n, (size_t)sample->K * sizeof *sample->returns);
    sample->carry = mem_array(n, sizeof *sample->carry);
    return sample->rows && sample->n_valid && sample->starts && sample->ends && sample->returns &&
                   sample->carry
               ? STATUS_OK
               : STATUS_NO_MEMORY;
}

status validation_sample_init(struct validation_sample *sample, const struct validation_draw *draw,
                              struct err *err)
{
    const struct learner_options *options = draw->options;
    const struct settings *settings = draw->settings;
    const int n = (int)options->validation_snippets;
    *sample = (struct validation_sample){
        .n = n,
        .O = settings->O,
        .A = settings->A,
        .K = settings->K,
        .W = settings_row_width(settings),
        .N = (int)options->snippet_transitions,
        .B = n < options->batch_snippets ? n : (int)options->batch_snippets,
    };
    /* A few long snippets at a time. */
    const int N = horizon(settings, sample->N);
    const size_t fit = MESSAGE_BYTES / ((size_t)(N + 1) * (size_t)sample->W * sizeof(float));
    const struct replay_sampler_options wanted = {
        .table = draw->table,
        .batch_snippets = fit < 1           ? 1
                          : fit < (size_t)n ? (uint32_t)fit
                                            : (uint32_t)n,
        .snippet_transitions = (uint32_t)N,
        .seed = (uint64_t)draw->experiment->seed + SEED_OFFSET,
        .prefetch_batches = 2,
    };
    struct replay_sampler *sampler;
    status s = open_sampler(&sampler, draw, &wanted, err);
    if (s != STATUS_OK) {
        return s;
    }
    sample->table = replay_sampler_table(sampler);
    if (!sample->table.sealed) {
        s = err_set(err, STATUS_NOT_FOUND, "table %s is not sealed", draw->table);
    } else if (make(sample) != STATUS_OK) {
        s = err_set(err, STATUS_NO_MEMORY, "sample of %d snippets", n);
    } else {
        s = take_all(sample, draw, sampler, N, err);
    }
    replay_sampler_close(sampler);
    if (s != STATUS_OK) {
        validation_sample_fini(sample);
    }
    return s;
}

void validation_sample_fini(struct validation_sample *sample)
{
    mem_free(sample->rows);
    mem_free(sample->n_valid);
    mem_free(sample->starts);
    mem_free(sample->ends);
    mem_free(sample->returns);
    mem_free(sample->carry);
    *sample = (struct validation_sample){0};
}
