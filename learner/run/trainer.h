/* The training thread: takes batches from the replay servers, steps, publishes, checkpoints,
 * reports, and ends the run.
 *
 * It waits for whatever is missing, says what that is, and leaves within a step and a checkpoint
 * when asked to. */
#ifndef HINDCAST_LEARNER_RUN_TRAINER_H
#define HINDCAST_LEARNER_RUN_TRAINER_H

#include "common/base/process.h"
#include "learner/exchange/exchange.h"
#include "learner/run/options.h"
#include "learner/run/publisher.h"

struct trainer;

/* All borrowed; they outlive the trainer. */
struct trainer_parts {
    struct process *process; /* told of the state, and stopped (exit code 1, 2 where its checkpoints
                                are damaged) when learning cannot go on */
    const struct experiment *experiment;
    const struct learner_options *options;
    const char *config; /* the effective learner section, YAML */
    uint64_t config_digest;
    struct publisher *publisher;
    struct exchange
        *exchange; /* with the other ranks, this one being rank 0; NULL: there are none */
};

/* Starts the thread. */
status trainer_open(struct trainer **trainer, const struct trainer_parts *parts,
                    struct err *err) MUST_CHECK;

/* Is there nothing left to do: the run has ended, and its last version was delivered, or
 * linger_seconds are over? Any thread. */
bool trainer_done(struct trainer *trainer);

/* Ends the thread: after the step under way, with a checkpoint. */
void trainer_close(struct trainer *trainer);

#endif
