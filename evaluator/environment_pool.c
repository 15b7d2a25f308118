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

status environment_pool_open(struct environment_pool **pool, const char *uri, uint32_t wanted,
                             struct err *err)
{
    ASSERT(wanted >= 1);
    struct environment_pool *made = mem_new(sizeof *made);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "environments: out of memory");
    }
    /* The description first: it says how many may be open at the same time. */
    status s = environment_describe(&made->description, uri, err);
    if (s == STATUS_OK) {
        /* Fewer environments than threads are no error: results do not depend on their number. */
        uint32_t most = made->description.open_max;
        if (wanted > most) {
            log_info("fewer environments than threads environment=%s open_max=%u threads=%u", uri,
                     most, wanted);
        }
        s = open_all(made, wanted < most ? wanted : most, err);
    }
    if (s == STATUS_OK) {
        s = thread_pool_new(&made->threads, (int)made->n, err);
    }
    if (s != STATUS_OK) {
        environment_pool_close(made);
        return s;
    }
    *pool = made;
    return STATUS_OK;
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
