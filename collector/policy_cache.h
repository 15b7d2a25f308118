/* The newest policy of a learner, or one saved policy, parsed once and shared by all workers. At most one policy per worker and the
 * newest are in memory: a worker takes the newest before it acts, and returns the one it had.
 *
 * Any thread may call; a mutex guards what is newest, and counts keep a policy alive while a worker
 * acts with it. */
#ifndef HINDCAST_COLLECTOR_POLICY_CACHE_H
#define HINDCAST_COLLECTOR_POLICY_CACHE_H

#include "common/clients/parameters_client.h"
#include "common/networks/policy.h"

struct policy_cache;

struct shared_policy {
    struct policy *policy;
    uint64_t version;
    uint64_t learner_step;
    uint32_t n_users; /* guarded by the cache's mutex; the cache itself is one of them */
};

/* `client` is borrowed; NULL: nothing will ever come. */
status policy_cache_new(struct policy_cache **cache, struct parameters_client *client,
                        struct err *err) MUST_CHECK;
/* The policy in a file, which stays the newest for ever; its version is 0. Not where a policy has been
 * taken. Errors as policy_read. */
status policy_cache_load(struct policy_cache *cache, const char *path, struct err *err) MUST_CHECK;
void policy_cache_free(struct policy_cache *cache); /* after all policies were returned */

/* The newest policy, or NULL while there is none; policy_cache_return it. Does not wait. A package
 * that cannot be parsed is logged and skipped. */
struct shared_policy *policy_cache_take(struct policy_cache *cache);
void policy_cache_return(struct policy_cache *cache, struct shared_policy *policy);

/* Has the run been finished? Does not wait. */
bool policy_cache_finished(struct policy_cache *cache);

#endif
