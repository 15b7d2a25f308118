/* Turns snapshots from the parameters client into parsed policies.
 *
 * Whoever asks first after a snapshot has arrived parses it, under the mutex; the others wait the
 * millisecond that it takes. The policy replaced is freed when its last user returns it.
 *
 * Every policy_cache_take has one policy_cache_return. A policy never changes after it was parsed,
 * so its users read it without a lock. */
#include "collector/policy_cache.h"

#include <inttypes.h>
#include <pthread.h>

#define LOG_MODULE "policy_cache"
#include "common/base/log.h"
#include "common/base/memory.h"

/* The newest policy and the count that the cache itself holds on it. */
struct policy_cache {
    struct parameters_client *client; /* NULL: none */
    bool loaded;                      /* `newest` is from a file and stays */
    pthread_mutex_t mutex;            /* guards all below, and every n_users */
    struct shared_policy *newest;     /* NULL: none yet */
    uint64_t seen;                    /* version of the last snapshot, usable or not */
    bool finished;
};

status policy_cache_new(struct policy_cache **cache, struct parameters_client *client,
                        struct err *err)
{
    struct policy_cache *made = mem_new(sizeof *made);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "policy cache: out of memory");
    }
    made->client = client;
    pthread_mutex_init(&made->mutex, NULL);
    *cache = made;
    return STATUS_OK;
}

status policy_cache_load(struct policy_cache *cache, const char *path, struct err *err)
{
    ASSERT(cache->newest == NULL);
    struct shared_policy *shared = mem_new(sizeof *shared);
    if (shared == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: out of memory", path);
    }
    status s = policy_read(&shared->policy, path, err);
    if (s != STATUS_OK) {
        mem_free(shared);
        return s;
    }
    shared->learner_step = policy_info(shared->policy)->learner_step;
    /* The cache's own use. */
    shared->n_users = 1;
    cache->newest = shared;
    cache->loaded = true;
    return STATUS_OK;
}

/* One user less; the last one frees the policy. With the mutex held. */
static void drop_user(struct shared_policy *policy)
{
    if (policy != NULL && --policy->n_users == 0) {
        policy_free(policy->policy);
        mem_free(policy);
    }
}

void policy_cache_free(struct policy_cache *cache)
{
    if (cache != NULL) {
        /* Every worker has returned what it took. */
        ASSERT(cache->newest == NULL || cache->newest->n_users == 1);
        drop_user(cache->newest);
        pthread_mutex_destroy(&cache->mutex);
        mem_free(cache);
    }
}

/* NULL: it cannot be used, which is logged. The snapshot stays the caller's. */
static struct shared_policy *parse_snapshot(const struct parameters_snapshot *snapshot)
{
    struct err err;
    struct shared_policy *shared = mem_new(sizeof *shared);
    if (shared == NULL) {
        log_error("no memory for a policy version=%" PRIu64, snapshot->version);
        return NULL;
    }
    /* The parser checks the whole package: it came over the network. */
    status s = policy_parse(&shared->policy, snapshot->package, snapshot->package_size, &err);
    if (s != STATUS_OK) {
        log_error("these parameters cannot be used version=%" PRIu64 ": %s", snapshot->version,
                  err.text);
        mem_free(shared);
        return NULL;
    }
    shared->version = snapshot->version;
    shared->learner_step = snapshot->learner_step;
    /* The cache's own use. */
    shared->n_users = 1;
    return shared;
}

/* Takes a new snapshot, if one has arrived. With the mutex held. */
static void refresh(struct policy_cache *cache)
{
    /* A timeout of 0: this only looks, since the mutex is held and workers act meanwhile. */
    const struct parameters_snapshot *snapshot;
    if (cache->client == NULL ||
        parameters_client_take(cache->client, cache->seen, 0, &snapshot) != STATUS_OK) {
        return;
    }
    /* An ended run stays ended for this cache. */
    cache->finished = cache->finished || snapshot->finished;
    /* The end of a run may come with parameters that are known already. */
    if (!snapshot->finished || snapshot->version != cache->seen) {
        cache->seen = snapshot->version;
        struct shared_policy *parsed = cache->loaded ? NULL : parse_snapshot(snapshot);
        /* Where the new one is unusable, the workers go on with the one before. */
        if (parsed != NULL) {
            drop_user(cache->newest);
            cache->newest = parsed;
        }
    }
    parameters_snapshot_release(snapshot);
}

struct shared_policy *policy_cache_take(struct policy_cache *cache)
{
    pthread_mutex_lock(&cache->mutex);
    refresh(cache);
    struct shared_policy *newest = cache->newest;
    /* The caller's own use, which keeps the policy alive when a newer one replaces it. */
    if (newest != NULL) {
        newest->n_users++;
    }
    pthread_mutex_unlock(&cache->mutex);
    return newest;
}

void policy_cache_return(struct policy_cache *cache, struct shared_policy *policy)
{
    pthread_mutex_lock(&cache->mutex);
    drop_user(policy);
    pthread_mutex_unlock(&cache->mutex);
}

bool policy_cache_finished(struct policy_cache *cache)
{
    pthread_mutex_lock(&cache->mutex);
    refresh(cache);
    bool finished = cache->finished;
    pthread_mutex_unlock(&cache->mutex);
    return finished;
}
