/* The training thread of a rank other than 0. It takes its slice of each batch, meets the other
 * ranks in each step, and ends when rank 0 says so. Checkpoints, published versions and reports are
 * rank 0's; a follower writes no files. docs/several_learners.md. */
#ifndef HINDCAST_LEARNER_RUN_FOLLOWER_H
#define HINDCAST_LEARNER_RUN_FOLLOWER_H

#include "common/base/process.h"
#include "learner/exchange/exchange.h"
#include "learner/run/options.h"

struct follower;

/* All borrowed; they outlive the follower. */
struct follower_parts {
    struct process *process; /* shows the state, and is stopped at the end */
    const struct experiment *experiment;
    const struct learner_options *options;
};

/* Makes a state for the signature that rank 0 sends: exchange_options.make, with the follower as
 * its argument. */
exchange_make follower_make;

/* Nothing runs yet. */
status follower_new(struct follower **follower, const struct follower_parts *parts,
                    struct err *err) MUST_CHECK;
/* Starts the thread, which uses `exchange`. */
status follower_start(struct follower *follower, struct exchange *exchange,
                      struct err *err) MUST_CHECK;
/* Ends the thread, after the step under way. NULL is fine. */
void follower_close(struct follower *follower);

#endif
