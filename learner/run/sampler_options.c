/* From the learner's options to those of its sampler. See sampler_options.h.
 *
 * Learning and profiling ask for batches in the same way; only where they begin, and which slice
 * they want, may differ. */
#include "learner/run/sampler_options.h"

struct replay_sampler_options sampler_options_make(const struct learner_options *options,
                                                   int64_t seed, uint64_t first_batch)
{
    /* Which snippets of each batch are this rank's. */
    int64_t begin, count;
    learner_options_slice(options, options->rank, &begin, &count);
    return (struct replay_sampler_options){
        .table = options->table,
        .batch_snippets = (uint32_t)options->batch_snippets,
        .snippet_transitions = (uint32_t)options->snippet_transitions,
        .seed = (uint64_t)seed,
        .first_batch = first_batch,
        .slice_begin = (uint32_t)begin,
        .slice_count = (uint32_t)count,
        .require_sealed = options->require_sealed,
        .origins = learner_options_prioritized(options),
        .prefetch_batches = (uint32_t)options->prefetch_batches,
    };
}

bool sampler_options_may_retry(status s)
{
    /* A server that is away, a table that does not exist yet, an answer that did not come in
     * time. */
    return s == STATUS_UNAVAILABLE || s == STATUS_NOT_FOUND || s == STATUS_TIMEOUT;
}
