/* What a learner asks of the replay servers: its slice of each batch of the run. */
#ifndef HINDCAST_LEARNER_RUN_SAMPLER_OPTIONS_H
#define HINDCAST_LEARNER_RUN_SAMPLER_OPTIONS_H

#include "common/clients/replay_sampler.h"
#include "learner/run/options.h"

/* For replay_sampler_open; points into `options`. */
struct replay_sampler_options sampler_options_make(const struct learner_options *options,
                                                   int64_t seed, uint64_t first_batch);

/* replay_sampler_open returned `s`: is it because a server or the table is not there yet? */
bool sampler_options_may_retry(status s);

#endif
