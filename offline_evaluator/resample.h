/* A bootstrap of the logged episodes: as many as there are, drawn with replacement, and transitions
 * drawn from those. What critics of different resamples differ by tells how much a value depends on
 * which episodes were logged. */
#ifndef HINDCAST_OFFLINE_EVALUATOR_RESAMPLE_H
#define HINDCAST_OFFLINE_EVALUATOR_RESAMPLE_H

#include "offline_evaluator/logged_data.h"

struct resample {
    uint32_t *episodes; /* (n) which were drawn */
    uint64_t *ends;     /* (n) transitions up to and with each of them */
    size_t n;
};

/* Draws by (seed, index). `whole`: all episodes instead, each once. NO_MEMORY. Free with
 * resample_fini. */
status resample_init(struct resample *resample, const struct logged_data *data, bool whole,
                     uint64_t seed, uint64_t index) MUST_CHECK;
void resample_fini(struct resample *resample);

/* All transitions of the drawn episodes, those of one drawn twice counted twice. */
uint64_t resample_size(const struct resample *resample);
/* Index in data->transitions of the resample's i-th one, 0 <= i < resample_size. */
size_t resample_transition(const struct resample *resample, const struct logged_data *data,
                           uint64_t i);

#endif
