/* The thread pool: a round number starts a round of work, a count of the threads still at work
 * ends it.
 *
 * A learner step is a handful of rounds in close succession, and waking a thread takes longer than
 * some of them. Whoever waits therefore spins for SPINS turns before it sleeps. The spinning reads atomics
 * only; every decision is made again under the mutex.
 *
 * The caller of thread_pool_run is member 0 and works, too. One thread at a time may call it;
 * rounds never overlap, since it returns only when all members are done. */
#include "common/base/thread_pool.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "common/base/memory.h"

#define SPINS 1000 /* 10 to 40 us */

/* What a thread of the pool is started with. */
struct member {
    struct thread_pool *pool;
    int i;
    pthread_t thread;
};

/* The caller and n - 1 threads; a pool of one has no thread at all. */
struct thread_pool {
    int n;
    int n_started; /* members with a thread, from 1 on */
    struct member *members;
    pthread_mutex_t mutex; /* guards all below; round and at_work may be read without it */
    pthread_cond_t go, done;
    _Atomic uint64_t round;
    _Atomic int at_work;
    bool stop;
    void (*work)(void *arg, int i);
    void *arg;
};

/* Tells the processor that this is a waiting loop, which leaves more to the other hyperthread. */
static void spin_once(void)
{
    __builtin_ia32_pause();
}

/* A thread of the pool: waits for a round, works, reports that it has finished. */
static void *member_main(void *arg)
{
    struct member *member = arg;
    struct thread_pool *pool = member->pool;
    uint64_t seen = 0;
    for (;;) {
        /* The next round usually follows at once: look for it without sleeping. */
        for (int i = 0; i < SPINS && pool->round == seen; i++) {
            spin_once();
        }
        pthread_mutex_lock(&pool->mutex);
        while (pool->round == seen && !pool->stop) {
            pthread_cond_wait(&pool->go, &pool->mutex);
        }
        if (pool->stop) {
            break;
        }
        /* A new round: its work and argument were set under the mutex. */
        seen = pool->round;
        pthread_mutex_unlock(&pool->mutex);
        pool->work(pool->arg, member->i);
        /* The last one wakes the caller. */
        pthread_mutex_lock(&pool->mutex);
        pool->at_work--;
        if (pool->at_work == 0) {
            pthread_cond_signal(&pool->done);
        }
        pthread_mutex_unlock(&pool->mutex);
    }
    pthread_mutex_unlock(&pool->mutex);
    return NULL;
}

status thread_pool_new(struct thread_pool **out, int n, struct err *err)
{
    ASSERT(n >= 1);
    struct thread_pool *pool = mem_new(sizeof *pool);
    if (pool == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "thread pool");
    }
    /* Member 0 is the caller and counts as started. */
    pool->n = n;
    pool->n_started = 1;
    pthread_mutex_init(&pool->mutex, NULL);
    pthread_cond_init(&pool->go, NULL);
    pthread_cond_init(&pool->done, NULL);
    pool->members = mem_array((size_t)n, sizeof *pool->members);
    if (pool->members == NULL) {
        thread_pool_free(pool);
        return err_set(err, STATUS_NO_MEMORY, "thread pool of %d threads", n);
    }
    /* Started one by one, so that thread_pool_free knows which to join. */
    while (pool->n_started < n) {
        struct member *member = &pool->members[pool->n_started];
        member->pool = pool;
        member->i = pool->n_started;
        if (pthread_create(&member->thread, NULL, member_main, member) != 0) {
            thread_pool_free(pool);
            return err_set(err, STATUS_NO_MEMORY, "thread %d of %d cannot be started", member->i,
                           n);
        }
        pool->n_started++;
    }
    *out = pool;
    return STATUS_OK;
}

void thread_pool_free(struct thread_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    /* Threads that were never started are not joined. */
    pthread_mutex_lock(&pool->mutex);
    pool->stop = true;
    pthread_cond_broadcast(&pool->go);
    pthread_mutex_unlock(&pool->mutex);
    for (int i = 1; i < pool->n_started; i++) {
        pthread_join(pool->members[i].thread, NULL);
    }
    pthread_cond_destroy(&pool->done);
    pthread_cond_destroy(&pool->go);
    pthread_mutex_destroy(&pool->mutex);
    mem_free(pool->members);
    mem_free(pool);
}

/* ---- Running ---- */

int thread_pool_size(const struct thread_pool *pool)
{
    return pool->n;
}

void thread_pool_run(struct thread_pool *pool, void (*work)(void *arg, int i), void *arg)
{
    ASSERT(pool->at_work == 0);
    pthread_mutex_lock(&pool->mutex);
    pool->work = work;
    pool->arg = arg;
    /* The counter first: a thread that starts at once must find it. */
    pool->at_work = pool->n - 1;
    pool->round++;
    pthread_cond_broadcast(&pool->go);
    pthread_mutex_unlock(&pool->mutex);

    /* The caller does its own share, then waits for the others. */
    work(arg, 0);
    for (int i = 0; i < SPINS && pool->at_work > 0; i++) {
        spin_once();
    }
    pthread_mutex_lock(&pool->mutex);
    /* Taking the mutex also makes all that the members wrote visible here. */
    while (pool->at_work > 0) {
        pthread_cond_wait(&pool->done, &pool->mutex);
    }
    pthread_mutex_unlock(&pool->mutex);
}
