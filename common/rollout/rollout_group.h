/* Several episodes at a time, acted by one thread: their environments step in turn, and between two
 * rounds of steps the policy is evaluated for all of them in one batch.
 *
 * An environment of a group, with what acts in it, is a lane. What comes out of an episode does not
 * depend on the other lanes: it is that of rollout_run, to the last bit. Owners say which episodes are
 * acted, and learn how they ended. A group belongs to one thread. Real robots have a group each: a
 * lane that waits for its hardware keeps the others waiting. */
#ifndef HINDCAST_ROLLOUT_ROLLOUT_GROUP_H
#define HINDCAST_ROLLOUT_ROLLOUT_GROUP_H

#include "common/rollout/rollout.h"

struct rollout_group;

/* What a group calls, on its thread. `arg` is the owner's. */
struct rollout_calls {
    /* The lane is free. Sets *start and *episode (initialised for the row width; borrowed until
     * `end`), and starts the lane's actor. RETRY: there is nothing for this lane at the moment;
     * CLOSED: nothing any more. Any other status but OK ends the group. */
    status (*begin)(void *arg, uint32_t lane, struct environment_start *start,
                    struct episode **episode, struct err *err);
    /* Before each step (step 0: before the first). On OK the episode goes on; any other status ends
     * it. May give the actor another policy of the same tasks. May be NULL. */
    status (*before_step)(void *arg, uint32_t lane, uint32_t step, struct err *err);
    /* The episode that the lane began has ended: OK: it is whole; otherwise what before_step, or
     * rollout_begin or rollout_step said (RETRY: not begun), and it must not be stored. The lane is
     * free again. Any status but OK ends the group. */
    status (*end)(void *arg, uint32_t lane, status outcome, struct err *err);
    /* No lane has anything to do: waits for a short time. May be NULL where `begin` never says
     * RETRY. */
    void (*wait)(void *arg);
};

/* One lane for each of n (>= 1) environments, borrowed, all with the same signature. */
status rollout_group_new(struct rollout_group **group, struct environment *const *environments,
                         uint32_t n, struct err *err) MUST_CHECK;
void rollout_group_free(struct rollout_group *group); /* NULL is fine */
struct actor *rollout_group_actor(struct rollout_group *group, uint32_t lane);

/* Acts in the first n_lanes (>= 1) lanes until each is CLOSED, and returns OK; or until something
 * above ends the group, and returns that. Then every episode still under way is ended with CLOSED. */
status rollout_group_run(struct rollout_group *group, uint32_t n_lanes,
                         const struct rollout_calls *calls, void *arg, struct err *err) MUST_CHECK;

#endif
