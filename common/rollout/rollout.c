/* Observe, act, step, record.
 *
 * Which policy acts is the actor's affair, and what becomes of the episode the caller's. An episode is a function of the environment's start, the actor's stream and
 * its policy: there is no other source of chance. One thread per environment and actor. */
#include "common/rollout/rollout.h"

#include <stdio.h>

#include "common/base/memory.h"

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

/* ---- An episode, step by step ---- */

status rollout_init(struct rollout *rollout, struct environment *environment, struct err *err)
{
    const struct signature *signature = environment_signature(environment);
    const uint32_t O = signature_observation(signature);
    *rollout = (struct rollout){.environment = environment};
    rollout->observation = mem_array(O, sizeof(float));
    rollout->next_observation = mem_array(O, sizeof(float));
    rollout->rewards = mem_array(signature->K, sizeof(float));
    if (rollout->observation == NULL || rollout->next_observation == NULL ||
        (signature->K > 0 && rollout->rewards == NULL)) {
        rollout_fini(rollout);
        return err_set(err, STATUS_NO_MEMORY, "rollout: out of memory");
    }
    return STATUS_OK;
}

void rollout_fini(struct rollout *rollout)
{
    mem_free(rollout->observation);
    mem_free(rollout->next_observation);
    mem_free(rollout->rewards);
    *rollout = (struct rollout){0};
}

status rollout_begin(struct rollout *rollout, const struct environment_start *start,
                     struct episode *episode, struct err *err)
{
    rollout->episode = episode;
    rollout->step = 0;
    rollout->last = false;
    /* What the last episode left in it is dropped first. */
    episode_clear(episode);
    status s = environment_reset(rollout->environment, start, rollout->observation, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "reset");
    }
    return episode_begin(episode, environment_signature(rollout->environment), rollout->observation,
                         err);
}

status rollout_step(struct rollout *rollout, const float *action, struct err *err)
{
    const struct signature *signature = environment_signature(rollout->environment);
    float discount;
    status s = environment_step(rollout->environment, action, rollout->next_observation,
                                rollout->rewards, &discount, &rollout->last, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "step %u", rollout->step);
    }
    s = episode_step(rollout->episode, signature, action, rollout->rewards, discount,
                     rollout->next_observation, err);
    /* The next observation becomes this one without a copy. */
    float *swapped = rollout->observation;
    rollout->observation = rollout->next_observation;
    rollout->next_observation = swapped;
    rollout->step++;
    /* A last look: what comes from a simulator is checked before anybody stores it. */
    return s == STATUS_OK && rollout->last ? episode_check(rollout->episode, signature, err) : s;
}

status rollout_run(struct environment *environment, const struct environment_start *start,
                   struct actor *actor, struct episode *episode, struct err *err)
{
    float action[SIGNATURE_ACTIONS_MAX];
    struct rollout rollout;
    status s = rollout_init(&rollout, environment, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = rollout_begin(&rollout, start, episode, err);
    while (s == STATUS_OK && !rollout.last) {
        actor_act(actor, action, rollout.observation);
        s = rollout_step(&rollout, action, err);
    }
    rollout_fini(&rollout);
    return s;
}
