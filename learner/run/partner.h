/* The training thread of a rank other than 0: takes its slice of each batch, meets the others at
 * each step, and ends when rank 0 says so. What is kept and published is rank 0's; nothing is
 * written here. docs/several_learners.md. */
#ifndef HINDCAST_LEARNER_RUN_PARTNER_H
#define HINDCAST_LEARNER_RUN_PARTNER_H

#include "common/base/process.h"
#include "learner/exchange/exchange.h"
#include "learner/run/options.h"

struct partner;

/* All borrowed; they outlive the partner. */
struct partner_parts {
    struct process *process; /* told of the state, and stopped at the end */
    const struct experiment *experiment;
    const struct learner_options *options;
};

/* A state for the signature that rank 0 sends: exchange_options.make, with the partner as its
 * argument. */
exchange_make partner_make;

/* Nothing runs yet. */
status partner_new(struct partner **partner, const struct partner_parts *parts,
                   struct err *err) MUST_CHECK;
/* Starts the thread, which uses `exchange`. */
status partner_start(struct partner *partner, struct exchange *exchange,
                     struct err *err) MUST_CHECK;
/* Ends the thread, after the step under way. NULL is fine. */
void partner_close(struct partner *partner);

#endif
