/* Snapshots in, parsed policies out. */
#include "collector/policy_source.h"

#include <inttypes.h>
#include <pthread.h>

#define LOG_MODULE "policy_source"
#include "common/base/log.h"
#include "common/base/memory.h"

struct policy_source {
    struct parameters_client *client;
    pthread_mutex_t mutex;        /* guards all below, and every n_users */
    struct shared_policy *newest; /* NULL: none yet */
    uint64_t seen;                /* version of the last snapshot, good or bad */
    bool finished;
};

status policy_source_new(struct policy_source **source, struct parameters_client *client,
                         struct err *err)
{
    struct policy_source *made = mem_new(sizeof *made);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "policy source: out of memory");
    }
    made->client = client;
    pthread_mutex_init(&made->mutex, NULL);
    *source = made;
    return STATUS_OK;
}

static void drop_user(struct shared_policy *policy)
{
    if (policy != NULL && --policy->n_users == 0) {
        policy_free(policy->policy);
        mem_free(policy);
    }
}

void policy_source_free(struct policy_source *source)
{
    if (source != NULL) {
        ASSERT(source->newest == NULL || source->newest->n_users == 1);
        drop_user(source->newest);
        pthread_mutex_destroy(&source->mutex);
        mem_free(source);
    }
}

static struct shared_policy *parse_snapshot(const struct parameters_snapshot *snapshot)
{
    struct err err;
    struct shared_policy *shared = mem_new(sizeof *shared);
    if (shared == NULL) {
        log_error("no memory for a policy version=%" PRIu64, snapshot->version);
        return NULL;
    }
    status s = policy_parse(&shared->policy, snapshot->package, snapshot->package_size, &err);
    if (s != STATUS_OK) {
        log_error("cannot act with these parameters version=%" PRIu64 ": %s", snapshot->version,
                  err.text);
        mem_free(shared);
        return NULL;
    }
    shared->version = snapshot->version;
    shared->learner_step = snapshot->learner_step;
    shared->n_users = 1;
    return shared;
}

/* Looks for news. With the mutex held. */
static void refresh(struct policy_source *source)
{
    const struct parameters_snapshot *snapshot;
    if (parameters_client_take(source->client, source->seen, 0, &snapshot) != STATUS_OK) {
        return;
    }
    source->finished = source->finished || snapshot->finished;
    /* The end of a run is news of its own, with parameters that are known. */
    if (!snapshot->finished || snapshot->version != source->seen) {
        source->seen = snapshot->version;
        struct shared_policy *parsed = parse_snapshot(snapshot);
        if (parsed != NULL) {
            drop_user(source->newest);
            source->newest = parsed;
        }
    }
    parameters_snapshot_release(snapshot);
}

struct shared_policy *policy_source_take(struct policy_source *source)
{
    pthread_mutex_lock(&source->mutex);
    refresh(source);
    struct shared_policy *newest = source->newest;
    if (newest != NULL) {
        newest->n_users++;
    }
    pthread_mutex_unlock(&source->mutex);
    return newest;
}

void policy_source_return(struct policy_source *source, struct shared_policy *policy)
{
    pthread_mutex_lock(&source->mutex);
    drop_user(policy);
    pthread_mutex_unlock(&source->mutex);
}

bool policy_source_finished(struct policy_source *source)
{
    pthread_mutex_lock(&source->mutex);
    refresh(source);
    bool finished = source->finished;
    pthread_mutex_unlock(&source->mutex);
    return finished;
}

uint64_t policy_source_version(struct policy_source *source)
{
    pthread_mutex_lock(&source->mutex);
    uint64_t version = source->newest == NULL ? 0 : source->newest->version;
    pthread_mutex_unlock(&source->mutex);
    return version;
}
