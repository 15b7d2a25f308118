/* Worker threads and what they share.
 *
 * A worker takes the next sequence from the reorder buffer, chooses what to act with (the newest
 * policy, or chance), resets its environment and acts an episode, and puts it back into the buffer,
 * from which worker_pool_next passes episodes on in order. What is kept of an episode is
 * episode_writer.c's affair.
 *
 * Everything in struct worker_pool below `mutex` is guarded by it; what is above is atomic, or
 * constant once the threads run. A struct worker belongs to its thread. The mutex is held for
 * bookkeeping only, never while an environment steps. */
#include "collector/worker_pool.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "collector/reorder_buffer.h"
#include "common/rollout/rollout.h"

#define LOG_MODULE "worker_pool"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/metrics.h"

#define ATTEMPTS_MAX 10 /* failures of the environment in a row that are tolerated */
/* How often a worker that waits for the first parameters looks for them. */
#define POLICY_POLL_MS 50
#define WINDOW_POLL_MS 200 /* how often a worker that waits for the window looks at the run's end */

/* One thread and what it acts with. */
struct worker {
    struct worker_pool *pool;
    pthread_t thread;
    struct environment *environment; /* open as long as the pool is */
    struct actor *actor;
    struct shared_policy *policy; /* what the actor uses; NULL: no policy */
    uint32_t kept;                /* episodes in this scene; 0: the next one has a new start */
};

/* What the workers and the episode writer share. */
struct worker_pool {
    struct worker_pool_settings settings;
    struct worker *workers;
    uint32_t n_started; /* threads to join */
    _Atomic bool stopping;
    _Atomic uint64_t steps;
    _Atomic uint32_t n_waiting; /* workers that wait for the first parameters */
    struct metric *steps_total;
    struct metric *failed_total;

    pthread_mutex_t mutex;
    pthread_cond_t changed; /* anything below */
    struct reorder_buffer buffer;
    uint32_t n_working;  /* workers that have not left */
    char waits_for[256]; /* of the worker whose environment was not ready last; "": ready */
    struct err failure;  /* of the first worker that failed; code OK: none */
};

/* Relaxed: it only has to be seen soon, and nothing else is read because of it. */
static bool pool_stopping(const struct worker_pool *pool)
{
    return atomic_load_explicit(&pool->stopping, memory_order_relaxed);
}

void worker_pool_stop(struct worker_pool *pool)
{
    /* Set first, so that a thread that the broadcast wakes finds it. */
    atomic_store(&pool->stopping, true);
    pthread_mutex_lock(&pool->mutex);
    pthread_cond_broadcast(&pool->changed);
    pthread_mutex_unlock(&pool->mutex);
}

uint64_t worker_pool_steps(const struct worker_pool *pool)
{
    return atomic_load_explicit(&pool->steps, memory_order_relaxed);
}

bool worker_pool_waits_for_policy(const struct worker_pool *pool)
{
    return atomic_load_explicit(&pool->n_waiting, memory_order_relaxed) > 0;
}

void worker_pool_waits_for(struct worker_pool *pool, char *text, size_t size)
{
    pthread_mutex_lock(&pool->mutex);
    (void)snprintf(text, size, "%s", pool->waits_for);
    pthread_mutex_unlock(&pool->mutex);
}

static void set_waits_for(struct worker_pool *pool, const char *text)
{
    pthread_mutex_lock(&pool->mutex);
    (void)snprintf(pool->waits_for, sizeof pool->waits_for, "%.255s", text);
    pthread_mutex_unlock(&pool->mutex);
}

/* Waits until something changed or the time is `until_ns` (clock_now_ns); returns false in the
 * latter case. With the mutex held. */
static bool wait_changed(struct worker_pool *pool, uint64_t until_ns)
{
    /* In the form that pthread_cond_timedwait takes; the condition uses the same clock. */
    struct timespec until = {(time_t)(until_ns / NS_PER_S), (long)(until_ns % NS_PER_S)};
    return pthread_cond_timedwait(&pool->changed, &pool->mutex, &until) != ETIMEDOUT;
}

/* ---- What a worker acts with ---- */

/* Makes the worker act with `policy` (taken; NULL: at random). On error it keeps the one it has. */
static status use_policy(struct worker *worker, struct shared_policy *policy, struct err *err)
{
    struct policy_cache *cache = worker->pool->settings.policies;
    /* The actor keeps a pointer to the policy, so the old one may go back only afterwards. */
    status s = actor_use(worker->actor, policy == NULL ? NULL : policy->policy, true, err);
    struct shared_policy *unused = s == STATUS_OK ? worker->policy : policy;
    if (s == STATUS_OK) {
        worker->policy = policy;
    }
    if (unused != NULL) {
        policy_cache_return(cache, unused);
    }
    return s;
}

/* Changes to the newest policy, where the worker does not have it already. */
static status refresh_policy(struct worker *worker, struct err *err)
{
    struct policy_cache *cache = worker->pool->settings.policies;
    struct shared_policy *newest = policy_cache_take(cache);
    if (newest == NULL) {
        return STATUS_OK;
    }
    /* The same policy, taken once more: one use goes back. */
    if (newest == worker->policy) {
        policy_cache_return(cache, newest);
        return STATUS_OK;
    }
    return use_policy(worker, newest, err);
}

/* Chooses what the episode is acted with. CLOSED: the end came while waiting for a policy. */
static status choose_policy(struct worker *worker, uint64_t sequence, struct err *err)
{
    struct worker_pool *pool = worker->pool;
    const struct worker_pool_settings *settings = &pool->settings;
    /* The first episodes of a run are acted at random where the options say so. */
    if (settings->policies == NULL || settings->script || sequence <= settings->random_episodes) {
        return use_policy(worker, NULL, err);
    }
    /* Without a policy and without waiting, the worker acts at random for now. */
    status s = refresh_policy(worker, err);
    if (s != STATUS_OK || worker->policy != NULL || !settings->wait_for_policy) {
        return s;
    }
    /* Polled, since the arrival of parameters wakes nobody here. The count is for the status
     * line. */
    atomic_fetch_add(&pool->n_waiting, 1);
    while (s == STATUS_OK && worker->policy == NULL) {
        if (pool_stopping(pool) || policy_cache_finished(settings->policies)) {
            s = STATUS_CLOSED;
        } else {
            clock_sleep_ms(POLICY_POLL_MS);
            s = refresh_policy(worker, err);
        }
    }
    atomic_fetch_sub(&pool->n_waiting, 1);
    return s;
}

/* ---- One episode ---- */

/* Counts steps, ends the episode when the pool stops, and refreshes the policy in mid-episode. */
static status before_step(void *arg, uint32_t step, struct err *err)
{
    struct worker *worker = arg;
    struct worker_pool *pool = worker->pool;
    uint32_t refresh_steps = pool->settings.refresh_steps;
    /* For the display; what counts for the run is added when an episode is finished. */
    atomic_fetch_add_explicit(&pool->steps, 1, memory_order_relaxed);
    if (pool_stopping(pool)) {
        return STATUS_CLOSED;
    }
    /* A worker that began at random stays random until its episode ends, as it is recorded. */
    if (refresh_steps > 0 && step > 0 && step % refresh_steps == 0 && worker->policy != NULL) {
        return refresh_policy(worker, err);
    }
    return STATUS_OK;
}

/* Is this sequence acted by the environment's script? */
static bool by_script(const struct worker *worker, uint64_t sequence)
{
    const struct worker_pool_settings *settings = &worker->pool->settings;
    return settings->script && sequence > settings->random_episodes;
}

/* Draws a level of noise and makes the worker act by the script. */
static void use_script(struct worker *worker, struct rng *rng)
{
    const struct worker_pool_settings *settings = &worker->pool->settings;
    uint64_t level = rng_below(rng, settings->n_script_noise);
    actor_use_script(worker->actor, rollout_script, worker->environment,
                     settings->script_noise[level]);
}

/* How the episode starts: in the scene that the last one left, or anew, perhaps further along. */
static uint32_t draw_start_flags(const struct worker *worker, struct rng *rng)
{
    const struct worker_pool_settings *settings = &worker->pool->settings;
    if (worker->kept > 0) {
        return ENVIRONMENT_START_KEEP;
    }
    /* Nothing is drawn where there is nothing to choose. */
    bool advanced = settings->advanced > 0.0 && rng_uniform(rng) < settings->advanced;
    return advanced ? ENVIRONMENT_START_ADVANCED : 0;
}

/* *task <- one of the actor's tasks that are pursued, all equally likely. MISMATCH: it has none. */
static status draw_task(const struct worker *worker, struct rng *rng, uint32_t *task,
                        struct err *err)
{
    const bool *pursued = worker->pool->settings.pursued;
    uint32_t candidates[SIGNATURE_TASKS_MAX], n = 0;
    for (uint32_t t = 0; t < actor_tasks(worker->actor); t++) {
        if (pursued == NULL || pursued[actor_reward(worker->actor, t)]) {
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

/* Acts one episode. Attempt 0 of a sequence always has the same stream; later attempts, after a
 * failure of the environment, have others. */
static status act_episode(struct worker *worker, struct finished_episode *finished,
                          uint32_t attempt, struct err *err)
{
    const struct worker_pool_settings *settings = &worker->pool->settings;
    struct rollout_stream stream;
    /* The policy is chosen before anything is drawn: waiting for it must not use the stream. */
    status s = choose_policy(worker, finished->sequence, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* Sequences stay below 2^48, so the attempt has the upper bits for itself. */
    rollout_stream(&stream, settings->seed, "collector", settings->index,
                   finished->sequence | (uint64_t)attempt << 48);

    /* Which task, and what it is acted with, is recorded with the episode. */
    uint32_t task;
    s = draw_task(worker, &stream.rng, &task, err);
    if (s != STATUS_OK) {
        return s;
    }
    finished->task = actor_reward(worker->actor, task);
    finished->acting = by_script(worker, finished->sequence) ? ACTING_SCRIPT
                       : worker->policy == NULL              ? ACTING_RANDOM
                                                             : ACTING_POLICY;
    finished->version = worker->policy == NULL ? 0 : worker->policy->version;
    finished->learner_step = worker->policy == NULL ? 0 : worker->policy->learner_step;
    if (finished->acting == ACTING_SCRIPT) {
        use_script(worker, &stream.rng);
    }
    const struct environment_start start = {.seed = stream.start_seed,
                                            .task = finished->task,
                                            .flags = draw_start_flags(worker, &stream.rng)};
    /* Task and actions come from the same stream, one after the other. */
    actor_start(worker->actor, &stream.rng, task);
    s = rollout_run(worker->environment, &start, worker->actor, finished->episode, before_step,
                    worker, err);
    /* After a failure the scene is not to be relied on. */
    worker->kept =
        s == STATUS_OK && worker->kept + 1 < settings->reset_episodes ? worker->kept + 1 : 0;
    return s;
}

/* Can another attempt succeed? Yes after a bad simulated state, or a robot that stopped. */
static bool worth_another_attempt(status s)
{
    return s == STATUS_CORRUPT || s == STATUS_TIMEOUT || s == STATUS_UNAVAILABLE ||
           s == STATUS_INVALID || s == STATUS_LIMIT;
}

/* The same attempt, once the environment is ready for it: a robot may be away, or stopped. CLOSED: it
 * was time to stop. */
static status act_when_ready(struct worker *worker, struct finished_episode *finished,
                             uint32_t attempt, struct err *err)
{
    for (;;) {
        status s = act_episode(worker, finished, attempt, err);
        if (s != STATUS_RETRY) {
            set_waits_for(worker->pool, "");
            return s;
        }
        set_waits_for(worker->pool, err->text);
        if (pool_stopping(worker->pool)) {
            return STATUS_CLOSED;
        }
    }
}

/* Acts until an episode succeeds, each attempt from another stream. */
static status act_until_good(struct worker *worker, struct finished_episode *finished,
                             struct err *err)
{
    for (uint32_t attempt = 0;; attempt++) {
        status s = act_when_ready(worker, finished, attempt, err);
        if (s == STATUS_OK || !worth_another_attempt(s)) {
            return s;
        }
        /* Its rows are dropped with the next attempt; nothing of them is stored. */
        metric_add(worker->pool->failed_total, 1);
        log_warn("episode failed and is acted again episode=%" PRIu64 " attempt=%u: %s",
                 finished->sequence, attempt + 1, err == NULL ? "" : err->text);
        if (attempt + 1 == ATTEMPTS_MAX) {
            return err_context(err, s, "episode %" PRIu64 " failed %d times", finished->sequence,
                               ATTEMPTS_MAX);
        }
    }
}

/* ---- Workers ---- */

/* The next sequence to act; waits while the window is full. CLOSED: there is nothing more to do. */
static status next_sequence(struct worker_pool *pool, uint64_t *sequence)
{
    struct policy_cache *policies = pool->settings.policies;
    status s = STATUS_QUEUE_FULL;
    while (s == STATUS_QUEUE_FULL) {
        if (pool_stopping(pool) || (policies != NULL && policy_cache_finished(policies))) {
            return STATUS_CLOSED;
        }
        pthread_mutex_lock(&pool->mutex);
        s = reorder_buffer_start(&pool->buffer, sequence);
        if (s == STATUS_QUEUE_FULL) {
            /* The end of the run wakes nobody here, hence the bound. */
            (void)wait_changed(pool, clock_now_ns() + WINDOW_POLL_MS * NS_PER_MS);
        }
        pthread_mutex_unlock(&pool->mutex);
    }
    return s;
}

/* Puts a finished episode into the buffer and wakes whoever waits for it. */
static void pass_on(struct worker_pool *pool, struct finished_episode *finished)
{
    metric_add(pool->steps_total, finished->episode->T);
    pthread_mutex_lock(&pool->mutex);
    /* From here on the episode belongs to the thread that takes it out of the buffer. */
    reorder_buffer_finish(&pool->buffer, finished->sequence, finished);
    pthread_cond_broadcast(&pool->changed);
    pthread_mutex_unlock(&pool->mutex);
}

/* Episode after episode; CLOSED is the normal end. */
static status work(struct worker *worker, struct err *err)
{
    struct worker_pool *pool = worker->pool;
    const uint32_t W = signature_width(&pool->settings.environment->signature);
    uint64_t sequence;
    status s;
    while ((s = next_sequence(pool, &sequence)) == STATUS_OK) {
        /* Made before acting, so that a lack of memory does not cost an episode. */
        struct finished_episode *finished = finished_episode_new(sequence, W);
        if (finished == NULL) {
            return err_set(err, STATUS_NO_MEMORY, "episode %" PRIu64 ": out of memory", sequence);
        }
        s = act_until_good(worker, finished, err);
        if (s != STATUS_OK) {
            finished_episode_free(finished);
            return s;
        }
        pass_on(pool, finished);
    }
    return s;
}

/* All of a worker: episodes until the end, then its policy goes back. */
static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    struct worker_pool *pool = worker->pool;
    struct err err = {0};
    status s = work(worker, &err);
    if (worker->policy != NULL) {
        policy_cache_return(pool->settings.policies, worker->policy);
        worker->policy = NULL;
    }
    /* The first failure stops all workers: without this sequence no later one can be passed on. */
    pthread_mutex_lock(&pool->mutex);
    pool->n_working--;
    if (s != STATUS_CLOSED && pool->failure.code == STATUS_OK) {
        pool->failure = err;
        pool->failure.code = s;
        atomic_store(&pool->stopping, true);
    }
    pthread_cond_broadcast(&pool->changed);
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

/* ---- The pool ---- */

status worker_pool_next(struct worker_pool *pool, uint64_t timeout_ms,
                        struct finished_episode **finished, struct err *err)
{
    status s = STATUS_OK;
    uint64_t until_ns = clock_now_ns() + timeout_ms * NS_PER_MS;
    pthread_mutex_lock(&pool->mutex);
    /* Finished episodes come before a failure: they are whole. */
    struct finished_episode *item = reorder_buffer_next(&pool->buffer);
    /* Until there is an episode, no worker is left, or the time is up. */
    bool in_time = true;
    /* As long as a worker is left, an episode may still come. */
    while (item == NULL && pool->n_working > 0 && in_time) {
        in_time = wait_changed(pool, until_ns);
        item = reorder_buffer_next(&pool->buffer);
    }
    if (item != NULL) {
        *finished = item;
        pthread_cond_broadcast(&pool->changed); /* the window has moved */
    } else if (pool->n_working > 0) {
        s = STATUS_TIMEOUT;
    } else if (pool->failure.code != STATUS_OK) {
        s = err_set(err, pool->failure.code, "%s", pool->failure.text);
    } else {
        s = STATUS_CLOSED;
    }
    pthread_mutex_unlock(&pool->mutex);
    return s;
}

/* Opens all environments before the first worker acts: where one cannot be opened nothing has
 * happened yet. */
static status open_workers(struct worker_pool *pool, struct err *err)
{
    const struct environment_description *environment = pool->settings.environment;
    uint32_t n = pool->settings.n_workers;
    /* Its size is that of the pool from the start; worker_pool_free closes what is open of it. */
    pool->workers = mem_array(n, sizeof *pool->workers);
    if (pool->workers == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "worker pool: out of memory");
    }
    for (uint32_t i = 0; i < n; i++) {
        struct worker *worker = &pool->workers[i];
        worker->pool = pool;
        status s = environment_open(&worker->environment, environment->uri, err);
        s = s != STATUS_OK ? s : actor_new(&worker->actor, &environment->signature, err);
        if (s != STATUS_OK) {
            return s;
        }
    }
    return STATUS_OK;
}

/* Counts all workers as working first: one that ends at once must not look like the last. */
static status start_threads(struct worker_pool *pool, struct err *err)
{
    pool->n_working = pool->settings.n_workers;
    for (uint32_t i = 0; i < pool->settings.n_workers; i++) {
        /* A worker may run as soon as it is created, so all that it reads is set before. */
        struct worker *worker = &pool->workers[i];
        int number = pthread_create(&worker->thread, NULL, worker_main, worker);
        if (number != 0) {
            return err_errno(err, number, "start worker %u", i);
        }
        pool->n_started++;
    }
    return STATUS_OK;
}

status worker_pool_start(struct worker_pool **pool, const struct worker_pool_settings *settings,
                         struct err *err)
{
    ASSERT(settings->n_workers >= 1 && settings->n_workers < REORDER_WINDOW_MAX);
    ASSERT(settings->n_workers <= settings->environment->open_max);
    ASSERT(!settings->script || (settings->environment->scripted && settings->n_script_noise > 0));
    struct worker_pool *made = mem_new(sizeof *made);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "worker pool: out of memory");
    }
    made->settings = *settings;
    /* The metrics first: workers add to them at once. */
    made->steps_total = metric_counter("hindcast_collector_steps_total",
                                       "Control steps of finished episodes", NULL);
    made->failed_total =
        metric_counter("hindcast_collector_failed_episodes_total",
                       "Episodes in which the environment failed; acted again", NULL);
    /* The condition's clock has to be set before the condition is made. */
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    /* Waits are bounded by clock_now_ns, which a change of the wall clock does not move. */
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&made->mutex, NULL);
    pthread_cond_init(&made->changed, &attributes);
    pthread_condattr_destroy(&attributes);

    /* One episode being acted by each worker, and one that is finished: while the episode writer
     * waits for the replay server, acting must not run ahead with parameters that grow stale. */
    reorder_buffer_init(&made->buffer, settings->n_workers + 1, settings->done, settings->last);
    status s = open_workers(made, err);
    s = s != STATUS_OK ? s : start_threads(made, err);
    if (s != STATUS_OK) {
        worker_pool_free(made);
        return s;
    }
    *pool = made;
    return STATUS_OK;
}

void worker_pool_free(struct worker_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    /* Threads that never started are not joined; the others leave at their next step. */
    worker_pool_stop(pool);
    for (uint32_t i = 0; i < pool->n_started; i++) {
        pthread_join(pool->workers[i].thread, NULL);
    }
    /* No thread is left that could use these. */
    for (uint32_t i = 0; pool->workers != NULL && i < pool->settings.n_workers; i++) {
        actor_free(pool->workers[i].actor);
        environment_close(pool->workers[i].environment);
    }
    /* Episodes that were finished and never asked for. */
    struct finished_episode *left;
    while ((left = reorder_buffer_drain(&pool->buffer)) != NULL) {
        finished_episode_free(left);
    }
    pthread_cond_destroy(&pool->changed);
    pthread_mutex_destroy(&pool->mutex);
    mem_free(pool->workers);
    mem_free(pool);
}
