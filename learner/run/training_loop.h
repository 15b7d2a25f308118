/* The loop that every rank runs: take the next batch, make a step, do what is due after it. With
 * other ranks, each step contains a barrier, and a group that breaks up is formed again.
 *
 *     [form group] -> { open sampler -> batch -> step (barrier) -> stepped }
 *                          ^                        | GROUP_BROKEN
 *                          '------- form group <----'
 *
 * What differs between rank 0 (trainer.h) and the others (follower.h) is in the hooks.
 * Training thread only. */
#ifndef HINDCAST_LEARNER_RUN_TRAINING_LOOP_H
#define HINDCAST_LEARNER_RUN_TRAINING_LOOP_H

#include "learner/exchange/exchange.h"
#include "learner/run/reward_sums.h"
#include "learner/run/run.h"
#include "learner/run/status_reporter.h"
#include "learner/run/stepper.h"

struct training_hooks {
    /* Is it time to stop? Cheap; asked before and during every wait. */
    bool (*leaving)(void *arg);
    /* One attempt of at most `timeout_ms` to form the group: exchange_form. After OK the run's
     * state and about.next_batch are those that the group begins from. */
    status (*form)(void *arg, uint64_t timeout_ms, struct err *err);
    /* Time has passed without a step. `for_batch`: while waiting for a batch, not for other ranks.
     * NULL: nothing to do. */
    void (*waited)(void *arg, bool for_batch);
    /* Steps may not go on soon; what was learned should be durable. NULL: nothing to do. */
    void (*keep)(void *arg);
    /* The exchange was closed by another rank. NULL: nothing to do. */
    void (*closed)(void *arg, const char *why);
    /* A step was taken. */
    status (*stepped)(void *arg, struct err *err);
};

struct training_loop {
    /* The owner sets these; all are borrowed. */
    const struct training_hooks *hooks;
    void *hooks_arg;
    const struct experiment *experiment;
    const struct learner_options *options;
    struct exchange *exchange; /* NULL: a learner on its own */
    struct run *run;
    struct status_reporter *status;

    /* The loop's own; zero at first. */
    struct replay_sampler *sampler;
    struct metric *servers_away; /* set with the sampler */
    struct stepper *stepper;
    uint64_t position;    /* number of the sampler's next batch, or of the one in hand */
    bool whole_batches;   /* of all ranks, not this rank's slices: to measure what ranks share */
    bool moved;           /* the group goes on from another batch than `position` */
    struct phases phases; /* since the owner cleared them */
};

/* Waits for the replay servers and the table, and opens loop->sampler at the run's next batch.
 * `signature`: as replay_sampler_open has it. CLOSED when leaving; GROUP_BROKEN from the exchange;
 * other statuses are final. */
status training_loop_open_sampler(struct training_loop *loop, struct signature *signature,
                                  struct err *err) MUST_CHECK;

/* What is measured before a run begins. */
struct training_measures {
    struct normalizer_sums *observations; /* of the table's O; NULL: not asked for */
    struct observed *observed;            /* of the table's O */
    struct reward_sums *rewards;          /* all zero */
};

/* measures <- the first batches of the run, all their valid rows: at least 262144 rows of a sealed
 * table, whose batches are the same whenever they are asked for, or 16384 rows of one that still
 * grows. The batches are those of all ranks together, so the sums do not
 * depend on how many there are. Closes the sampler, so that steps begin with the first batch.
 * CLOSED when leaving. */
status training_loop_measure(struct training_loop *loop, const struct signature *signature,
                             const struct training_measures *measures, struct err *err) MUST_CHECK;

/* Runs until hooks->leaving (OK or CLOSED), until another rank ends the group (CLOSED), or until
 * something fails for good. */
status training_loop_run(struct training_loop *loop, struct err *err) MUST_CHECK;

/* Batches are not needed any more. May be called twice. */
void training_loop_close_sampler(struct training_loop *loop);
void training_loop_fini(struct training_loop *loop);

#endif
