/* The acting loop: observe, act, step, record.
 *
 * It owns the buffers of one step; which policy acts is the actor's affair, and what becomes of the
 * episode the caller's. An episode is a function of the environment's start, the actor's stream and
 * its policy: there is no other source of chance. One thread per environment and actor. */
#include "common/rollout/rollout.h"

#include <stdio.h>

#include "common/base/memory.h"

/* The buffers of one step: on the heap, since they take 32 KB. */
struct step_buffers {
    float observation[SIGNATURE_OBSERVATION_MAX];
    float next_observation[SIGNATURE_OBSERVATION_MAX];
    float action[SIGNATURE_ACTIONS_MAX];
    float rewards[SIGNATURE_TASKS_MAX];
};

/* Two names give two independent streams for the same episode. */
void rollout_stream(struct rollout_stream *stream, uint64_t seed, const char *role, uint64_t index,
                    uint64_t episode)
{
    /* The names keep roles, and several processes of one role, apart. */
    char name[96];
    struct rng start;
    snprintf(name, sizeof name, "%s/%llu/start", role, (unsigned long long)index);
    rng_init(&start, seed, name, episode);
    stream->start_seed = rng_u64(&start) >> 32;
    snprintf(name, sizeof name, "%s/%llu/act", role, (unsigned long long)index);
    rng_init(&stream->rng, seed, name, episode);
}

bool rollout_success(const struct environment_description *environment,
                     const struct episode *episode, uint32_t reward)
{
    const struct signature *signature = &environment->signature;
    uint32_t n = environment->success_steps < episode->T ? environment->success_steps : episode->T;
    double sum = 0.0;
    for (uint32_t t = episode->T - n; t < episode->T; t++) {
        const float *row = episode->rows + (size_t)t * episode->W;
        sum += (double)row[signature_rewards_at(signature) + reward];
    }
    return n > 0 && sum / n >= environment->success[reward];
}

void rollout_script(const void *arg, uint32_t task, const float *observation, float *action)
{
    environment_script(arg, task, observation, action);
}

/* Acts one episode and appends its rows to `episode`, which is empty. */
static status act_until_last(struct environment *environment, const struct environment_start *start,
                             struct actor *actor, struct episode *episode, struct step_buffers *now,
                             rollout_before_step *before_step, void *arg, struct err *err)
{
    const struct signature *signature = environment_signature(environment);
    /* The two observations change places after each step. */
    float *observation = now->observation;
    float *next_observation = now->next_observation;
    status s = environment_reset(environment, start, observation, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "reset");
    }
    s = episode_begin(episode, signature, observation, err);
    bool last = false;
    /* One control step each time. */
    for (uint32_t step = 0; s == STATUS_OK && !last; step++) {
        float discount;
        /* The caller may end the episode here, or change the policy. */
        s = before_step == NULL ? STATUS_OK : before_step(arg, step, err);
        if (s != STATUS_OK) {
            return s;
        }
        actor_act(actor, now->action, observation);
        s = environment_step(environment, now->action, next_observation, now->rewards, &discount,
                             &last, err);
        if (s != STATUS_OK) {
            return err_context(err, s, "step %u", step);
        }
        s = episode_step(episode, signature, now->action, now->rewards, discount, next_observation,
                         err);
        /* The next observation becomes this one without a copy. */
        float *swapped = observation;
        observation = next_observation;
        next_observation = swapped;
    }
    return s;
}

status rollout_run(struct environment *environment, const struct environment_start *start,
                   struct actor *actor, struct episode *episode, rollout_before_step *before_step,
                   void *arg, struct err *err)
{
    struct step_buffers *now = mem_new(sizeof *now);
    if (now == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "rollout: out of memory");
    }
    /* What the last episode left in it is dropped first. */
    episode_clear(episode);
    status s = act_until_last(environment, start, actor, episode, now, before_step, arg, err);
    /* A last look: what comes from a simulator is checked before anybody stores it. */
    if (s == STATUS_OK) {
        s = episode_check(episode, environment_signature(environment), err);
    }
    mem_free(now);
    return s;
}
