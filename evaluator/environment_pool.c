/* Opens environments, starts their threads, and closes both; who uses which is decided by the
 * measurement.
 *
 * pool->n counts the environments that are open, also while the pool is being filled, so that
 * environment_pool_close works on a pool that is only half open. One thread opens and closes; in
 * between each environment belongs to one measuring thread. */
#include "evaluator/environment_pool.h"

#define LOG_MODULE "environment_pool"
#include "common/base/log.h"
#include "common/base/memory.h"

#define ENVIRONMENTS_PER_THREAD 8u

/* Opens one environment after another into pool->environments; pool->n counts those that are
 * open. */
static status open_all(struct environment_pool *pool, uint32_t n, struct err *err)
{
    pool->environments = mem_array(n, sizeof(struct environment *));
    if (pool->environments == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "environments: out of memory");
    }
    while (pool->n < n) {
        status s = environment_open(&pool->environments[pool->n], pool->description.uri, err);
        if (s != STATUS_OK) {
            return s;
        }
        pool->n++;
    }
    return STATUS_OK;
}

/* How many to open where nobody says: policies are evaluated in batches of so many. Where a step
 * takes real time each environment has a thread of its own. */
static uint32_t default_environments(const struct environment_description *description,
                                     uint32_t n_threads)
{
    return description->real_time ? n_threads : n_threads * ENVIRONMENTS_PER_THREAD;
}

status environment_pool_open(struct environment_pool **pool, const char *uri, uint32_t n_threads,
                             uint32_t n_environments, struct err *err)
{
    ASSERT(n_threads >= 1);
    struct environment_pool *made = mem_new(sizeof *made);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "environments: out of memory");
    }
    /* The description first: it says how many may be open at the same time. */
    status s = environment_describe(&made->description, uri, err);
    if (s == STATUS_OK) {
        uint32_t wanted = n_environments > 0 ? n_environments
                                             : default_environments(&made->description, n_threads);
        /* Fewer environments than asked for are no error: results do not depend on their number. */
        uint32_t most = made->description.open_max;
        if (n_environments > most || n_threads > most) {
            log_info("fewer environments than asked for environment=%s open_max=%u", uri, most);
        }
        s = open_all(made, wanted < most ? wanted : most, err);
    }
    if (s == STATUS_OK) {
        const bool one_each = made->description.real_time || n_threads > made->n;
        made->n_threads = one_each ? made->n : n_threads;
        s = thread_pool_new(&made->threads, (int)made->n_threads, err);
    }
    if (s != STATUS_OK) {
        environment_pool_close(made);
        return s;
    }
    *pool = made;
    return STATUS_OK;
}

uint32_t environment_pool_first(const struct environment_pool *pool, uint32_t i)
{
    return (uint32_t)((uint64_t)i * pool->n / pool->n_threads);
}

void environment_pool_close(struct environment_pool *pool)
{
    if (pool != NULL) {
        thread_pool_free(pool->threads);
        for (uint32_t i = 0; i < pool->n; i++) {
            environment_close(pool->environments[i]);
        }
        mem_free(pool->environments);
        mem_free(pool);
    }
}
