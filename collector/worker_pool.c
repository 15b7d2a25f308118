/* Threads, one for each worker, and the way of their episodes to the episode writer. What a worker
 * does is worker.c's affair, what is kept of an episode episode_writer.c's.
 *
 * Everything in struct worker_pool below `shared` is guarded by its mutex; what is above is constant
 * once the threads run. */
#include "collector/worker_pool.h"

#include <stdio.h>

#include "collector/worker.h"
#include "common/base/clock.h"
#include "common/base/memory.h"

/* A worker and its thread. */
struct member {
    struct worker_pool *pool;
    struct worker *worker;
    pthread_t thread;
};

struct worker_pool {
    struct member *members; /* (n_threads) */
    uint32_t n_started;     /* threads to join */
    struct worker_shared shared;
    uint32_t n_working; /* workers that have not left */
    struct err failure; /* of the first worker that failed; code OK: none */
};

void worker_pool_stop(struct worker_pool *pool)
{
    struct worker_shared *shared = &pool->shared;
    /* Set first, so that a thread that the broadcast wakes finds it. */
    atomic_store(&shared->stopping, true);
    pthread_mutex_lock(&shared->mutex);
    pthread_cond_broadcast(&shared->changed);
    pthread_mutex_unlock(&shared->mutex);
}

uint64_t worker_pool_steps(const struct worker_pool *pool)
{
    return atomic_load_explicit(&pool->shared.steps, memory_order_relaxed);
}

bool worker_pool_waits_for_policy(const struct worker_pool *pool)
{
    return atomic_load_explicit(&pool->shared.n_waiting, memory_order_relaxed) > 0;
}

void worker_pool_waits_for(struct worker_pool *pool, char *text, size_t size)
{
    pthread_mutex_lock(&pool->shared.mutex);
    (void)snprintf(text, size, "%s", pool->shared.waits_for);
    pthread_mutex_unlock(&pool->shared.mutex);
}

static void *member_main(void *arg)
{
    const struct member *member = arg;
    struct worker_pool *pool = member->pool;
    struct err err = {0};
    status s = worker_act(member->worker, &err);
    /* The first failure stops all workers: without this sequence no later one can be passed on. */
    pthread_mutex_lock(&pool->shared.mutex);
    pool->n_working--;
    if (s != STATUS_OK && s != STATUS_CLOSED && pool->failure.code == STATUS_OK) {
        pool->failure = err;
        pool->failure.code = s;
        atomic_store(&pool->shared.stopping, true);
    }
    pthread_cond_broadcast(&pool->shared.changed);
    pthread_mutex_unlock(&pool->shared.mutex);
    return NULL;
}

status worker_pool_next(struct worker_pool *pool, uint64_t timeout_ms,
                        struct finished_episode **finished, struct err *err)
{
    status s = STATUS_OK;
    struct worker_shared *shared = &pool->shared;
    uint64_t until_ns = clock_now_ns() + timeout_ms * NS_PER_MS;
    pthread_mutex_lock(&shared->mutex);
    /* Finished episodes come before a failure: they are whole. */
    struct finished_episode *item = reorder_buffer_next(&shared->buffer);
    /* Until there is an episode, no worker is left, or the time is up. */
    bool in_time = true;
    /* As long as a worker is left, an episode may still come. */
    while (item == NULL && pool->n_working > 0 && in_time) {
        in_time = worker_shared_wait(shared, until_ns);
        item = reorder_buffer_next(&shared->buffer);
    }
    if (item != NULL) {
        *finished = item;
        pthread_cond_broadcast(&shared->changed); /* the window has moved */
    } else if (pool->n_working > 0) {
        s = STATUS_TIMEOUT;
    } else if (pool->failure.code != STATUS_OK) {
        s = err_set(err, pool->failure.code, "%s", pool->failure.text);
    } else {
        s = STATUS_CLOSED;
    }
    pthread_mutex_unlock(&shared->mutex);
    return s;
}

/* Opens all environments before the first worker acts: where one cannot be opened nothing has
 * happened yet. */
static status open_workers(struct worker_pool *pool, struct err *err)
{
    const uint64_t n = pool->shared.settings.n_environments;
    const uint64_t n_threads = pool->shared.settings.n_threads;
    /* Its size is that of the pool from the start; worker_pool_free closes what is open of it. */
    pool->members = mem_array(n_threads, sizeof *pool->members);
    if (pool->members == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "worker pool: out of memory");
    }
    status s = STATUS_OK;
    for (uint64_t i = 0; s == STATUS_OK && i < n_threads; i++) {
        /* The same number for each, or one more. */
        const uint64_t share = (i + 1) * n / n_threads - i * n / n_threads;
        pool->members[i].pool = pool;
        s = worker_new(&pool->members[i].worker, &pool->shared, (uint32_t)share, err);
    }
    return s;
}

/* Counts all workers as working first: one that ends at once must not look like the last. */
static status start_threads(struct worker_pool *pool, struct err *err)
{
    pool->n_working = pool->shared.settings.n_threads;
    for (uint32_t i = 0; i < pool->shared.settings.n_threads; i++) {
        /* A worker may run as soon as it is created, so all that it reads is set before. */
        struct member *member = &pool->members[i];
        int number = pthread_create(&member->thread, NULL, member_main, member);
        if (number != 0) {
            return err_errno(err, number, "start worker %u", i);
        }
        pool->n_started++;
    }
    return STATUS_OK;
}

/* The metrics first: workers add to them at once. */
static void init_shared(struct worker_shared *shared, const struct worker_pool_settings *settings)
{
    shared->settings = *settings;
    shared->steps_total = metric_counter("hindcast_collector_steps_total",
                                         "Control steps of finished episodes", NULL);
    shared->failed_total =
        metric_counter("hindcast_collector_failed_episodes_total",
                       "Episodes in which the environment failed; acted again", NULL);
    /* The condition's clock has to be set before the condition is made. */
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    /* Waits are bounded by clock_now_ns, which a change of the wall clock does not move. */
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&shared->mutex, NULL);
    pthread_cond_init(&shared->changed, &attributes);
    pthread_condattr_destroy(&attributes);

    /* Episodes that share a scene are a block of one environment; with only one, each is a block,
     * since they follow one another anyway. The window holds a block of each environment, and one
     * episode that is finished: while the episode writer waits for the replay server, acting must not
     * run ahead with parameters that grow stale. */
    const uint32_t block =
        settings->n_environments > 1 && settings->reset_episodes > 1 ? settings->reset_episodes : 1;
    reorder_buffer_init(&shared->buffer, settings->n_environments * block + 1, block,
                        settings->done, settings->last);
}

status worker_pool_start(struct worker_pool **pool, const struct worker_pool_settings *settings,
                         struct err *err)
{
    ASSERT(settings->n_threads >= 1 && settings->n_threads <= settings->n_environments);
    ASSERT(settings->n_environments <= settings->environment->open_max);
    ASSERT(!settings->script || (settings->environment->scripted && settings->n_script_noise > 0));
    struct worker_pool *made = mem_new(sizeof *made);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "worker pool: out of memory");
    }
    init_shared(&made->shared, settings);
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
        pthread_join(pool->members[i].thread, NULL);
    }
    /* No thread is left that could use these. */
    for (uint32_t i = 0; pool->members != NULL && i < pool->shared.settings.n_threads; i++) {
        worker_free(pool->members[i].worker);
    }
    /* Episodes that were finished and never asked for. */
    struct finished_episode *left;
    while ((left = reorder_buffer_drain(&pool->shared.buffer)) != NULL) {
        finished_episode_free(left);
    }
    pthread_cond_destroy(&pool->shared.changed);
    pthread_mutex_destroy(&pool->shared.mutex);
    mem_free(pool->members);
    mem_free(pool);
}
