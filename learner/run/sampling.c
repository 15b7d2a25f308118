/* What the learner asks of the replay servers. See sampling.h. */
#include "learner/run/sampling.h"

struct replay_sampler_options sampling_options(const struct learner_options *options, int64_t seed,
                                               uint64_t first_batch)
{
    int64_t begin, count;
    learner_options_slice(options, options->rank, &begin, &count);
    return (struct replay_sampler_options){.table = options->table,
                                           .batch_snippets = (uint32_t)options->batch_snippets,
                                           .snippet_transitions =
                                               (uint32_t)options->snippet_transitions,
                                           .seed = (uint64_t)seed,
                                           .first_batch = first_batch,
                                           .slice_begin = (uint32_t)begin,
                                           .slice_count = (uint32_t)count,
                                           .require_sealed = options->require_sealed,
                                           .prefetch_batches = (uint32_t)options->prefetch_batches};
}

bool sampling_not_yet(status s)
{
    return s == STATUS_UNAVAILABLE || s == STATUS_NOT_FOUND || s == STATUS_TIMEOUT;
}
