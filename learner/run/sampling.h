/* What the learner asks of the replay servers: our slice of each batch of the run. */
#ifndef HINDCAST_LEARNER_RUN_SAMPLING_H
#define HINDCAST_LEARNER_RUN_SAMPLING_H

#include "common/clients/replay_sampler.h"
#include "learner/run/options.h"

/* For replay_sampler_open; points into `options`. */
struct replay_sampler_options sampling_options(const struct learner_options *options, int64_t seed,
                                               uint64_t first_batch);

/* replay_sampler_open said `s`: are server or table not there yet, and worth another try? */
bool sampling_not_yet(status s);

#endif
