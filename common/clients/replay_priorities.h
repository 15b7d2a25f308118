/* Priorities of episodes on their way back to the replay servers that own them.
 *
 * What is added for one episode is averaged until it is sent: a thread sends twice a second, one
 * call for each server that has something to get. A server that is away gets its priorities when it
 * is back; while it is away, up to 65536 of its episodes wait, and what is added for others is lost
 * and counted. A server that accepts a call and does not answer delays the others by 5 s at a time.
 *
 * Priorities of episodes that are gone are counted as absent. A server that was given another store
 * may hold other episodes under the same ids: these then have a wrong priority until they are drawn.
 */
#ifndef HINDCAST_CLIENTS_REPLAY_PRIORITIES_H
#define HINDCAST_CLIENTS_REPLAY_PRIORITIES_H

#include "common/base/experiment.h"
#include "common/clients/replay_sampler.h"

struct replay_priorities;

/* To the servers of `experiment` and their table of this name. Starts the thread. Registers the
 * metric hindcast_learner_priorities_total with an outcome of updated, absent or lost. */
status replay_priorities_open(struct replay_priorities **priorities,
                              const struct experiment *experiment, const char *table,
                              struct err *err) MUST_CHECK;

/* priority(n) of the episodes that these snippets come from; finite, and taken as the nearest value
 * that the wire allows, 1e-30..1e30. Waits for nothing. One thread. */
void replay_priorities_add(struct replay_priorities *priorities,
                           const struct replay_origins *origins, const double *priority,
                           uint32_t n);

/* Episodes, since it was opened. */
struct replay_priorities_counts {
    uint64_t updated; /* whose priority was set */
    uint64_t absent;  /* that the server did not have */
    uint64_t lost;    /* that could not be sent */
};
struct replay_priorities_counts replay_priorities_counts(struct replay_priorities *priorities);

/* Tries once to send what waits, for 5 s at most to each server that is there. NULL is fine. */
void replay_priorities_close(struct replay_priorities *priorities);

#endif
