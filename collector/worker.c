/* What a group of rollouts asks for, answered: which episode, acted by what, and where it goes.
 *
 * Each environment of a worker is a lane of its group. Nothing here waits but worker_wait: a lane that
 * has nothing to do says RETRY and is asked again, while the others act. */
#include "collector/worker.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "common/rollout/rollout_group.h"

#define LOG_MODULE "worker"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"

#define ATTEMPTS_MAX 10 /* failures of the environment in a row that are tolerated */
#define IDLE_WAIT_MS 20 /* how often a worker without anything to do looks again */

/* What acts in one environment. */
struct lane {
    struct shared_policy *policy;      /* what its actor uses; NULL: no policy */
    struct finished_episode *finished; /* in the making; NULL: none */
    uint32_t attempt;                  /* at this episode, from 0 */
    uint64_t next, n_left;             /* sequences of its block that are left */
    uint64_t scene; /* the sequence whose end the environment is in; 0: not to be relied on */
    bool waits;     /* for the first parameters */
};

struct worker {
    struct worker_shared *shared;
    uint32_t n; /* lanes whose environments are open */
    struct environment **environments;
    struct lane *lanes;
    struct rollout_group *group;
};

bool worker_shared_wait(struct worker_shared *shared, uint64_t until_ns)
{
    /* In the form that pthread_cond_timedwait takes; the condition uses the same clock. */
    struct timespec until = {(time_t)(until_ns / NS_PER_S), (long)(until_ns % NS_PER_S)};
    return pthread_cond_timedwait(&shared->changed, &shared->mutex, &until) != ETIMEDOUT;
}

/* Relaxed: it only has to be seen soon, and nothing else is read because of it. */
static bool stopping(const struct worker *worker)
{
    return atomic_load_explicit(&worker->shared->stopping, memory_order_relaxed);
}

/* Is the run, or the process, at its end? */
static bool is_over(const struct worker *worker)
{
    struct policy_cache *policies = worker->shared->settings.policies;
    return stopping(worker) || (policies != NULL && policy_cache_finished(policies));
}

static void set_waits_for(struct worker *worker, const char *text)
{
    struct worker_shared *shared = worker->shared;
    pthread_mutex_lock(&shared->mutex);
    (void)snprintf(shared->waits_for, sizeof shared->waits_for, "%.255s", text);
    pthread_mutex_unlock(&shared->mutex);
}

/* ---- Which episode ---- */

/* Makes lane->finished, for the next sequence. RETRY: the window is full; CLOSED: there is nothing
 * more to do. */
static status take_sequence(struct worker *worker, struct lane *lane, struct err *err)
{
    struct worker_shared *shared = worker->shared;
    if (is_over(worker)) {
        return STATUS_CLOSED;
    }
    pthread_mutex_lock(&shared->mutex);
    status s = lane->n_left > 0 ? STATUS_OK
                                : reorder_buffer_start(&shared->buffer, &lane->next, &lane->n_left);
    if (s == STATUS_OK && !reorder_buffer_may_act(&shared->buffer, lane->next)) {
        s = STATUS_QUEUE_FULL;
    }
    pthread_mutex_unlock(&shared->mutex);
    if (s != STATUS_OK) {
        return s == STATUS_QUEUE_FULL ? STATUS_RETRY : s;
    }
    /* Made before acting, so that a lack of memory does not cost an episode. */
    const struct signature *signature = &shared->settings.environment->signature;
    lane->finished = finished_episode_new(lane->next, signature_width(signature));
    if (lane->finished == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "episode %" PRIu64 ": out of memory", lane->next);
    }
    lane->attempt = 0;
    lane->next++;
    lane->n_left--;
    return STATUS_OK;
}

/* ---- What it is acted with ---- */

/* Makes the lane act with `policy` (taken; NULL: at random). On error it keeps the one it has. */
static status use_policy(struct worker *worker, uint32_t i, struct shared_policy *policy,
                         struct err *err)
{
    struct lane *lane = &worker->lanes[i];
    struct actor *actor = rollout_group_actor(worker->group, i);
    /* The actor keeps a pointer to the policy, so the old one may go back only afterwards. */
    status s = actor_use(actor, policy == NULL ? NULL : policy->policy, true, err);
    struct shared_policy *unused = s == STATUS_OK ? lane->policy : policy;
    if (s == STATUS_OK) {
        lane->policy = policy;
    }
    if (unused != NULL) {
        policy_cache_return(worker->shared->settings.policies, unused);
    }
    return s;
}

/* Changes to the newest policy, where the lane does not have it already. */
static status refresh_policy(struct worker *worker, uint32_t i, struct err *err)
{
    struct policy_cache *cache = worker->shared->settings.policies;
    struct shared_policy *newest = policy_cache_take(cache);
    if (newest == NULL) {
        return STATUS_OK;
    }
    /* The same policy, taken once more: one use goes back. */
    if (newest == worker->lanes[i].policy) {
        policy_cache_return(cache, newest);
        return STATUS_OK;
    }
    return use_policy(worker, i, newest, err);
}

/* For the status line. */
static void set_waits_for_policy(struct worker *worker, struct lane *lane, bool waits)
{
    if (waits != lane->waits) {
        lane->waits = waits;
        atomic_fetch_add(&worker->shared->n_waiting, waits ? 1u : UINT32_MAX);
    }
}

/* Chooses what the episode is acted with. RETRY: there is no policy yet. */
static status choose_policy(struct worker *worker, uint32_t i, struct err *err)
{
    const struct worker_pool_settings *settings = &worker->shared->settings;
    struct lane *lane = &worker->lanes[i];
    /* The first episodes of a run are acted at random where the options say so. */
    if (settings->policies == NULL || settings->script ||
        lane->finished->sequence <= settings->random_episodes) {
        return use_policy(worker, i, NULL, err);
    }
    /* Without a policy and without waiting, it is acted at random for now. */
    status s = refresh_policy(worker, i, err);
    const bool waits = s == STATUS_OK && lane->policy == NULL && settings->wait_for_policy;
    set_waits_for_policy(worker, lane, waits);
    return waits ? is_over(worker) ? STATUS_CLOSED : STATUS_RETRY : s;
}

/* Is this sequence acted by the environment's script? */
static bool by_script(const struct worker *worker, uint64_t sequence)
{
    const struct worker_pool_settings *settings = &worker->shared->settings;
    return settings->script && sequence > settings->random_episodes;
}

/* Draws a level of noise and makes the lane act by the script. */
static void use_script(struct worker *worker, uint32_t i, struct rng *rng)
{
    const struct worker_pool_settings *settings = &worker->shared->settings;
    uint64_t level = rng_below(rng, settings->n_script_noise);
    actor_use_script(rollout_group_actor(worker->group, i), rollout_script, worker->environments[i],
                     settings->script_noise[level]);
}

/* *task <- one of the actor's tasks that are pursued, all equally likely. MISMATCH: it has none. */
static status draw_task(const struct worker *worker, const struct actor *actor, struct rng *rng,
                        uint32_t *task, struct err *err)
{
    const bool *pursued = worker->shared->settings.pursued;
    uint32_t candidates[SIGNATURE_TASKS_MAX], n = 0;
    for (uint32_t t = 0; t < actor_tasks(actor); t++) {
        if (pursued == NULL || pursued[actor_reward(actor, t)]) {
            candidates[n++] = t;
        }
    }
    if (n == 0) {
        return err_set(err, STATUS_MISMATCH,
                       "the policy was learned for none of the tasks in collector.tasks");
    }
    *task = candidates[rng_below(rng, n)];
    return STATUS_OK;
}

/* How the episode starts: in the scene that the last one left, or anew, perhaps further along. */
static uint32_t draw_start_flags(const struct worker *worker, const struct lane *lane,
                                 struct rng *rng)
{
    const struct worker_pool_settings *settings = &worker->shared->settings;
    const uint64_t before = lane->finished->sequence - 1;
    if (settings->reset_episodes > 1 && before % settings->reset_episodes != 0 &&
        lane->scene == before) {
        return ENVIRONMENT_START_KEEP;
    }
    /* Nothing is drawn where there is nothing to choose. */
    bool advanced = settings->advanced > 0.0 && rng_uniform(rng) < settings->advanced;
    return advanced ? ENVIRONMENT_START_ADVANCED : 0;
}

/* What it is acted with is recorded with the episode. */
static void record_acting(const struct worker *worker, const struct lane *lane)
{
    struct finished_episode *finished = lane->finished;
    finished->acting = by_script(worker, finished->sequence) ? ACTING_SCRIPT
                       : lane->policy == NULL                ? ACTING_RANDOM
                                                             : ACTING_POLICY;
    finished->version = lane->policy == NULL ? 0 : lane->policy->version;
    finished->learner_step = lane->policy == NULL ? 0 : lane->policy->learner_step;
}

/* ---- What the group calls ---- */

/* Begins an episode, or another attempt at it. Attempt 0 of a sequence always has the same stream;
 * later attempts, after a failure of the environment, have others. */
static status begin_episode(void *arg, uint32_t i, struct environment_start *start,
                            struct episode **episode, struct err *err)
{
    struct worker *worker = arg;
    const struct worker_pool_settings *settings = &worker->shared->settings;
    struct lane *lane = &worker->lanes[i];
    struct actor *actor = rollout_group_actor(worker->group, i);
    status s = lane->finished != NULL ? STATUS_OK : take_sequence(worker, lane, err);
    /* The policy is chosen before anything is drawn: waiting for it must not use the stream. */
    s = s != STATUS_OK ? s : choose_policy(worker, i, err);
    if (s != STATUS_OK) {
        return s;
    }
    struct finished_episode *finished = lane->finished;
    struct rollout_stream stream;
    /* Sequences stay below 2^48, so the attempt has the upper bits for itself. */
    rollout_stream(&stream, settings->seed, "collector", settings->index,
                   finished->sequence | (uint64_t)lane->attempt << 48);
    /* Task, noise, start and actions come from the same stream, one after the other. */
    uint32_t task = 0;
    s = draw_task(worker, actor, &stream.rng, &task, err);
    if (s != STATUS_OK) {
        return s;
    }
    finished->task = actor_reward(actor, task);
    record_acting(worker, lane);
    if (finished->acting == ACTING_SCRIPT) {
        use_script(worker, i, &stream.rng);
    }
    *start = (struct environment_start){.seed = stream.start_seed,
                                        .task = finished->task,
                                        .flags = draw_start_flags(worker, lane, &stream.rng)};
    *episode = finished->episode;
    actor_start(actor, &stream.rng, task);
    return STATUS_OK;
}

/* Counts steps, ends the episode when the pool stops, and refreshes the policy in mid-episode. */
static status before_step(void *arg, uint32_t i, uint32_t step, struct err *err)
{
    struct worker *worker = arg;
    uint32_t refresh_steps = worker->shared->settings.refresh_steps;
    /* For the display; what counts for the run is added when an episode is finished. */
    atomic_fetch_add_explicit(&worker->shared->steps, 1, memory_order_relaxed);
    if (stopping(worker)) {
        return STATUS_CLOSED;
    }
    /* What began at random stays random until its episode ends, as it is recorded. */
    if (refresh_steps > 0 && step > 0 && step % refresh_steps == 0 &&
        worker->lanes[i].policy != NULL) {
        return refresh_policy(worker, i, err);
    }
    return STATUS_OK;
}

/* Puts a finished episode into the buffer and wakes whoever waits for it. */
static void pass_on(struct worker *worker, struct lane *lane)
{
    struct worker_shared *shared = worker->shared;
    metric_add(shared->steps_total, lane->finished->episode->T);
    pthread_mutex_lock(&shared->mutex);
    /* From here on the episode belongs to the thread that takes it out of the buffer. */
    reorder_buffer_finish(&shared->buffer, lane->finished->sequence, lane->finished);
    pthread_cond_broadcast(&shared->changed);
    pthread_mutex_unlock(&shared->mutex);
    lane->finished = NULL;
}

/* Can another attempt succeed? Yes after a bad simulated state, or a robot that stopped. */
static bool worth_another_attempt(status s)
{
    return s == STATUS_CORRUPT || s == STATUS_TIMEOUT || s == STATUS_UNAVAILABLE ||
           s == STATUS_INVALID || s == STATUS_LIMIT;
}

static status end_episode(void *arg, uint32_t i, status outcome, struct err *err)
{
    struct worker *worker = arg;
    struct lane *lane = &worker->lanes[i];
    if (outcome == STATUS_RETRY) {
        /* A robot may be away, or stopped: the same attempt is made once it is ready. */
        set_waits_for(worker, err->text);
        return stopping(worker) ? STATUS_CLOSED : STATUS_OK;
    }
    set_waits_for(worker, "");
    /* After a failure the scene is not to be relied on. */
    lane->scene = outcome == STATUS_OK ? lane->finished->sequence : 0;
    if (outcome == STATUS_OK) {
        pass_on(worker, lane);
        return STATUS_OK;
    }
    if (!worth_another_attempt(outcome)) {
        return outcome;
    }
    /* Its rows are dropped with the next attempt; nothing of them is stored. */
    const uint64_t sequence = lane->finished->sequence;
    lane->attempt++;
    metric_add(worker->shared->failed_total, 1);
    log_warn("episode failed and is acted again episode=%" PRIu64 " attempt=%u: %s", sequence,
             lane->attempt, err->text);
    if (lane->attempt == ATTEMPTS_MAX) {
        return err_context(err, outcome, "episode %" PRIu64 " failed %d times", sequence,
                           ATTEMPTS_MAX);
    }
    return STATUS_OK;
}

/* Polled, since neither the arrival of parameters nor the end of the run wakes anybody here. */
static void wait_a_little(void *arg)
{
    struct worker_shared *shared = ((struct worker *)arg)->shared;
    pthread_mutex_lock(&shared->mutex);
    (void)worker_shared_wait(shared, clock_now_ns() + IDLE_WAIT_MS * NS_PER_MS);
    pthread_mutex_unlock(&shared->mutex);
}

status worker_act(struct worker *worker, struct err *err)
{
    static const struct rollout_calls calls = {.begin = begin_episode,
                                               .before_step = before_step,
                                               .end = end_episode,
                                               .wait = wait_a_little};
    const status s = rollout_group_run(worker->group, worker->n, &calls, worker, err);
    /* What was not finished is lost, and the policies go back. */
    for (uint32_t i = 0; i < worker->n; i++) {
        struct lane *lane = &worker->lanes[i];
        finished_episode_free(lane->finished);
        lane->finished = NULL;
        set_waits_for_policy(worker, lane, false);
        if (lane->policy != NULL) {
            policy_cache_return(worker->shared->settings.policies, lane->policy);
            lane->policy = NULL;
        }
    }
    return s;
}

/* ---- Opening ---- */

status worker_new(struct worker **worker, struct worker_shared *shared, uint32_t n_environments,
                  struct err *err)
{
    ASSERT(n_environments >= 1);
    struct worker *made = mem_new(sizeof *made);
    if (made != NULL) {
        made->shared = shared;
        made->environments = mem_array(n_environments, sizeof(struct environment *));
        made->lanes = mem_array(n_environments, sizeof *made->lanes);
    }
    if (made == NULL || made->environments == NULL || made->lanes == NULL) {
        worker_free(made);
        return err_set(err, STATUS_NO_MEMORY, "worker: out of memory");
    }
    status s = STATUS_OK;
    while (s == STATUS_OK && made->n < n_environments) {
        s = environment_open(&made->environments[made->n], shared->settings.environment->uri, err);
        made->n += s == STATUS_OK;
    }
    s = s != STATUS_OK ? s : rollout_group_new(&made->group, made->environments, made->n, err);
    if (s != STATUS_OK) {
        worker_free(made);
        return s;
    }
    for (uint32_t i = 0; i < made->n; i++) {
        actor_correlate(rollout_group_actor(made->group, i), shared->settings.noise_correlation);
    }
    *worker = made;
    return STATUS_OK;
}

void worker_free(struct worker *worker)
{
    if (worker != NULL) {
        rollout_group_free(worker->group);
        for (uint32_t i = 0; i < worker->n; i++) {
            environment_close(worker->environments[i]);
        }
        mem_free(worker->environments);
        mem_free(worker->lanes);
        mem_free(worker);
    }
}
