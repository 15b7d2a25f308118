/* Drawing episodes with replacement: see resample.h. */
#include "offline_evaluator/resample.h"

#include "common/base/memory.h"
#include "common/base/rng.h"

status resample_init(struct resample *resample, const struct logged_data *data, bool whole,
                     uint64_t seed, uint64_t index)
{
    const size_t n = data->n_episodes;
    *resample = (struct resample){
        .episodes = mem_array(n, sizeof(uint32_t)), .ends = mem_array(n, sizeof(uint64_t)), .n = n};
    if (resample->episodes == NULL || resample->ends == NULL) {
        resample_fini(resample);
        return STATUS_NO_MEMORY;
    }
    struct rng rng;
    rng_init(&rng, seed, "resample", index);
    uint64_t end = 0;
    for (size_t k = 0; k < n; k++) {
        resample->episodes[k] = (uint32_t)(whole ? k : rng_below(&rng, n));
        end += data->episodes[resample->episodes[k]].T;
        resample->ends[k] = end;
    }
    return STATUS_OK;
}

void resample_fini(struct resample *resample)
{
    mem_free(resample->episodes);
    mem_free(resample->ends);
    *resample = (struct resample){0};
}

uint64_t resample_size(const struct resample *resample)
{
    return resample->ends[resample->n - 1];
}

size_t resample_transition(const struct resample *resample, const struct logged_data *data,
                           uint64_t i)
{
    /* The first k whose end is above i. */
    size_t low = 0, high = resample->n - 1;
    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (resample->ends[middle] > i) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    const uint32_t e = resample->episodes[low];
    const uint64_t before = low > 0 ? resample->ends[low - 1] : 0;
    /* Each episode before this one has a row more than transitions. */
    return data->episodes[e].first - e + (size_t)(i - before);
}
