/* The policy to act with: the newest parameters, parsed once and shared by all workers.
 *
 * Any thread may call; a mutex guards what is newest, and counts keep a policy alive while
 * somebody acts with it. */
#ifndef HINDCAST_COLLECTOR_POLICY_SOURCE_H
#define HINDCAST_COLLECTOR_POLICY_SOURCE_H

#include "common/clients/parameters_client.h"
#include "common/networks/policy.h"

struct policy_source;

struct shared_policy {
    struct policy *policy;
    uint64_t version;
    uint64_t learner_step;
    uint32_t n_users; /* guarded by the source's mutex; the source itself is one */
};

/* `client` is borrowed. */
status policy_source_new(struct policy_source **source, struct parameters_client *client,
                         struct err *err) MUST_CHECK;
void policy_source_free(struct policy_source *source); /* after all policies were given back */

/* The newest policy, or NULL while there is none; give it back. Does not wait. A package that
 * cannot be parsed is logged and passed over. */
struct shared_policy *policy_source_take(struct policy_source *source);
void policy_source_return(struct policy_source *source, struct shared_policy *policy);

/* Has the run been finished? Does not wait. */
bool policy_source_finished(struct policy_source *source);
/* Version of the newest; 0: none. */
uint64_t policy_source_version(struct policy_source *source);

#endif
