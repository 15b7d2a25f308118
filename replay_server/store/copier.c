#include "replay_server/store/copier.h"

#include <pthread.h>
#include <stdio.h>

#include "common/base/clock.h"
#include "common/base/memory.h"

struct copier {
    struct store *store;
    char *to;
    void (*done)(void *arg, const struct copier_result *result);
    void *arg;
    atomic_bool stop;
    pthread_t thread;
};

static void *run(void *arg)
{
    struct copier *copier = arg;
    struct copier_result result = {0};
    const uint64_t start_ns = clock_now_ns();
    result.result =
        store_copy(copier->store, copier->to, &copier->stop, &result.bytes, &result.err);
    result.seconds = (double)(clock_now_ns() - start_ns) * 1e-9;
    copier->done(copier->arg, &result);
    return NULL;
}

static void free_copier(struct copier *copier)
{
    if (copier) {
        mem_free(copier->to);
        mem_free(copier);
    }
}

status copier_open(struct copier **out, struct store *store, const char *to,
                   void (*done)(void *arg, const struct copier_result *result), void *arg,
                   struct err *err)
{
    struct copier *copier = mem_new(sizeof *copier);
    if (copier == NULL || (copier->to = mem_text(to)) == NULL) {
        free_copier(copier);
        return err_set(err, STATUS_NO_MEMORY, "copier");
    }
    copier->store = store;
    copier->done = done;
    copier->arg = arg;
    const int rc = pthread_create(&copier->thread, NULL, run, copier);
    if (rc != 0) {
        free_copier(copier);
        return err_errno(err, rc, "copier: thread");
    }
    *out = copier;
    return STATUS_OK;
}

void copier_close(struct copier *copier)
{
    if (copier) {
        atomic_store(&copier->stop, true);
        pthread_join(copier->thread, NULL);
        free_copier(copier);
    }
}
