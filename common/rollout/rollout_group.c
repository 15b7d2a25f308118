/* One round: lanes without an episode begin one, the actors act together, the environments step.
 *
 * A lane is idle, or acting, or closed. Whatever ends an episode goes to the owner through `end`, once
 * for each `begin` that said OK. */
#include "common/rollout/rollout_group.h"

#include "common/base/memory.h"
#include "common/rollout/actor_batch.h"

enum lane_state { LANE_IDLE, LANE_ACTING, LANE_CLOSED };

struct lane {
    enum lane_state state;
    struct rollout rollout;
    struct actor *actor;
    float action[SIGNATURE_ACTIONS_MAX];
};

struct rollout_group {
    uint32_t n;
    struct lane *lanes; /* (n) */
    struct actor_batch *batch;
    struct actor_turn *turns; /* (n) */
    /* Of the run that is under way. */
    const struct rollout_calls *calls;
    void *arg;
};

status rollout_group_new(struct rollout_group **group, struct environment *const *environments,
                         uint32_t n, struct err *err)
{
    ASSERT(n >= 1);
    const struct signature *signature = environment_signature(environments[0]);
    struct rollout_group *made = mem_new(sizeof *made);
    if (made != NULL) {
        made->lanes = mem_array(n, sizeof *made->lanes);
        made->turns = mem_array(n, sizeof *made->turns);
    }
    if (made == NULL || made->lanes == NULL || made->turns == NULL) {
        rollout_group_free(made);
        return err_set(err, STATUS_NO_MEMORY, "rollouts: out of memory");
    }
    status s = actor_batch_new(&made->batch, n, signature->A, err);
    while (s == STATUS_OK && made->n < n) {
        struct lane *lane = &made->lanes[made->n];
        s = rollout_init(&lane->rollout, environments[made->n], err);
        /* From here on rollout_group_free ends the lane. */
        made->n += s == STATUS_OK;
        s = s != STATUS_OK ? s : actor_new(&lane->actor, signature, err);
    }
    if (s != STATUS_OK) {
        rollout_group_free(made);
        return s;
    }
    *group = made;
    return STATUS_OK;
}

void rollout_group_free(struct rollout_group *group)
{
    if (group != NULL) {
        for (uint32_t i = 0; i < group->n; i++) {
            rollout_fini(&group->lanes[i].rollout);
            actor_free(group->lanes[i].actor);
        }
        actor_batch_free(group->batch);
        mem_free(group->lanes);
        mem_free(group->turns);
        mem_free(group);
    }
}

struct actor *rollout_group_actor(struct rollout_group *group, uint32_t lane)
{
    ASSERT(lane < group->n);
    return group->lanes[lane].actor;
}

/* The lane's episode is over. */
static status end_episode(struct rollout_group *group, uint32_t i, status outcome, struct err *err)
{
    group->lanes[i].state = LANE_IDLE;
    return group->calls->end(group->arg, i, outcome, err);
}

/* Asks the owner for an episode and begins it. */
static status begin_episode(struct rollout_group *group, uint32_t i, struct err *err)
{
    struct lane *lane = &group->lanes[i];
    struct environment_start start;
    struct episode *episode;
    status s = group->calls->begin(group->arg, i, &start, &episode, err);
    if (s == STATUS_RETRY) {
        return STATUS_OK;
    }
    if (s == STATUS_CLOSED) {
        lane->state = LANE_CLOSED;
        return STATUS_OK;
    }
    if (s != STATUS_OK) {
        return s;
    }
    lane->state = LANE_ACTING;
    s = rollout_begin(&lane->rollout, &start, episode, err);
    return s == STATUS_OK ? s : end_episode(group, i, s, err);
}

/* The lane's turn to act, unless its episode ends here. */
static status take_turn(struct rollout_group *group, uint32_t i, uint32_t *n_turns, struct err *err)
{
    struct lane *lane = &group->lanes[i];
    status s = group->calls->before_step == NULL
                   ? STATUS_OK
                   : group->calls->before_step(group->arg, i, lane->rollout.step, err);
    if (s != STATUS_OK) {
        return end_episode(group, i, s, err);
    }
    group->turns[(*n_turns)++] =
        (struct actor_turn){lane->actor, lane->rollout.observation, lane->action};
    return STATUS_OK;
}

static status step_lane(struct rollout_group *group, uint32_t i, struct err *err)
{
    struct lane *lane = &group->lanes[i];
    status s = rollout_step(&lane->rollout, lane->action, err);
    return s == STATUS_OK && !lane->rollout.last ? s : end_episode(group, i, s, err);
}

/* Does every lane that has an episode one step. *n_turns <- how many have. */
static status do_round(struct rollout_group *group, uint32_t n_lanes, uint32_t *n_turns,
                       struct err *err)
{
    status s = STATUS_OK;
    *n_turns = 0;
    for (uint32_t i = 0; s == STATUS_OK && i < n_lanes; i++) {
        if (group->lanes[i].state == LANE_IDLE) {
            s = begin_episode(group, i, err);
        }
        if (s == STATUS_OK && group->lanes[i].state == LANE_ACTING) {
            s = take_turn(group, i, n_turns, err);
        }
    }
    s = s != STATUS_OK ? s : actor_batch_act(group->batch, group->turns, *n_turns, err);
    for (uint32_t i = 0; s == STATUS_OK && i < n_lanes; i++) {
        if (group->lanes[i].state == LANE_ACTING) {
            s = step_lane(group, i, err);
        }
    }
    return s;
}

static bool all_closed(const struct rollout_group *group, uint32_t n_lanes)
{
    for (uint32_t i = 0; i < n_lanes; i++) {
        if (group->lanes[i].state != LANE_CLOSED) {
            return false;
        }
    }
    return true;
}

status rollout_group_run(struct rollout_group *group, uint32_t n_lanes,
                         const struct rollout_calls *calls, void *arg, struct err *err)
{
    ASSERT(n_lanes >= 1 && n_lanes <= group->n);
    status s = STATUS_OK;
    group->calls = calls;
    group->arg = arg;
    for (uint32_t i = 0; i < n_lanes; i++) {
        group->lanes[i].state = LANE_IDLE;
    }
    while (s == STATUS_OK && !all_closed(group, n_lanes)) {
        uint32_t n_turns;
        s = do_round(group, n_lanes, &n_turns, err);
        if (s == STATUS_OK && n_turns == 0 && calls->wait != NULL && !all_closed(group, n_lanes)) {
            calls->wait(arg);
        }
    }
    /* The owner gets back what it lent; the error is the one that ended the group. */
    for (uint32_t i = 0; i < n_lanes; i++) {
        if (group->lanes[i].state == LANE_ACTING) {
            struct err ignored;
            (void)end_episode(group, i, STATUS_CLOSED, &ignored);
        }
    }
    return s;
}
