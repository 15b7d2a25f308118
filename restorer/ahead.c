/* The reader thread. Items circulate between two queues, full and empty; each queue holds all of
 * them. */
#include "restorer/ahead.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>

#include "common/base/memory.h"
#include "common/base/queue.h"

#define KNOWN_MAX 65536 /* damaged episodes that are remembered */
#define WAIT_MS   1000  /* between looks whether to stop; closing a queue wakes at once */

struct ahead {
    struct ahead_settings settings;
    pthread_t thread;
    atomic_bool stop;
    struct queue *full, *empty;
    size_t n;
    struct ahead_item *items; /* (n) */
    struct episode logged;    /* as read, before relabelling */
    struct shard_reader *reader;
    uint64_t reader_shard; /* the shard that `reader` has open */
    bool shard_bad;        /* .. or could not be opened, for this reason: */
    struct err shard_reason;
    size_t n_known, known_capacity;
    struct known { /* damaged episodes: not read again, since HDF5 loses memory over each bad
                      checksum */
        uint64_t shard_i, episode_i;
    } * known; /* (n_known) */
};

/* ---- reading ---- */

static void close_reader(struct ahead *ahead)
{
    shard_reader_close(ahead->reader);
    ahead->reader = NULL;
    ahead->shard_bad = false;
}

/* Makes `reader` that of the shard. One that cannot be opened is not tried again for each of its
 * episodes. */
static status open_reader(struct ahead *ahead, uint64_t shard, struct err *err)
{
    if (ahead->reader_shard != shard || (ahead->reader == NULL && !ahead->shard_bad)) {
        close_reader(ahead);
        size_t shard_i;
        const struct dataset *dataset = sources_shard(ahead->settings.sources, shard, &shard_i);
        ahead->reader_shard = shard;
        ahead->shard_reason = (struct err){0};
        const status s = shard_reader_open(&ahead->reader, dataset, shard_i, &ahead->shard_reason);
        if (s == STATUS_NO_MEMORY) {
            return err_set(err, s, "%s", ahead->shard_reason.text);
        }
        ahead->shard_bad = s != STATUS_OK;
    }
    return ahead->shard_bad ? err_set(err, ahead->shard_reason.code, "%s", ahead->shard_reason.text)
                            : STATUS_OK;
}

static status read_episode(struct ahead *ahead, const struct plan_step *step,
                           struct ahead_item *item)
{
    status s = open_reader(ahead, step->shard_i, &item->reason);
    if (s != STATUS_OK) {
        return s;
    }
    if (step->episode_i >= shard_reader_episodes(ahead->reader)) {
        size_t shard_i;
        const struct dataset *dataset =
            sources_shard(ahead->settings.sources, step->shard_i, &shard_i);
        return err_set(&item->reason, STATUS_CORRUPT,
                       "%s: has %" PRIu64 " episodes, listed are %" PRIu64,
                       dataset_shard(dataset, shard_i)->path, shard_reader_episodes(ahead->reader),
                       dataset_shard(dataset, shard_i)->episodes);
    }
    s = shard_reader_read(ahead->reader, step->episode_i, &ahead->logged, &item->reason);
    if (s != STATUS_OK) {
        return s;
    }
    s = relabel_apply(ahead->settings.relabel, &ahead->logged, &item->episode, &item->reason);
    if (s != STATUS_OK) {
        size_t shard_i;
        const struct dataset *dataset =
            sources_shard(ahead->settings.sources, step->shard_i, &shard_i);
        return err_context(&item->reason, s, "%s: episode_%" PRIu64,
                           dataset_shard(dataset, shard_i)->path, ahead->logged.identity.episode);
    }
    return s;
}

static bool is_known(const struct ahead *ahead, const struct plan_step *step)
{
    for (size_t i = 0; i < ahead->n_known; i++) {
        if (ahead->known[i].shard_i == step->shard_i &&
            ahead->known[i].episode_i == step->episode_i) {
            return true;
        }
    }
    return false;
}

/* As far as memory allows: forgetting costs a little of it in each pass, no more. */
static void remember(struct ahead *ahead, const struct plan_step *step)
{
    if (ahead->n_known == ahead->known_capacity) {
        const size_t capacity = ahead->known_capacity == 0 ? 64 : 2 * ahead->known_capacity;
        struct known *known =
            capacity <= KNOWN_MAX ? mem_resize(ahead->known, capacity, sizeof *known) : NULL;
        if (known == NULL) {
            return;
        }
        ahead->known = known;
        ahead->known_capacity = capacity;
    }
    ahead->known[ahead->n_known++] = (struct known){step->shard_i, step->episode_i};
}

/* Fills the item with the next step. */
static void fill(struct ahead *ahead, struct ahead_item *item)
{
    struct plan_step step;
    plan_next(ahead->settings.plan, &step);
    item->after = plan_position(ahead->settings.plan);
    item->reason = (struct err){0};
    if (step.pass_end) {
        item->kind = AHEAD_PASS_END;
        close_reader(ahead);
        return;
    }
    if (is_known(ahead, &step)) {
        item->kind = AHEAD_STILL_BAD;
        err_set(&item->reason, STATUS_CORRUPT, "shard %" PRIu64 ", episode %" PRIu64 ": is damaged",
                step.shard_i, step.episode_i);
        return;
    }
    const status s = read_episode(ahead, &step, item);
    if (s == STATUS_CORRUPT && !ahead->shard_bad) {
        remember(ahead, &step);
    }
    item->kind = s == STATUS_OK ? AHEAD_EPISODE : s == STATUS_NO_MEMORY ? AHEAD_FAILED : AHEAD_BAD;
}

static void *read_all(void *arg)
{
    struct ahead *ahead = arg;
    bool failed = false;
    while (!failed && !atomic_load(&ahead->stop) &&
           plan_compare(plan_position(ahead->settings.plan), ahead->settings.until) < 0) {
        void *item;
        const status s = queue_pop(ahead->empty, &item, WAIT_MS);
        if (s == STATUS_TIMEOUT) {
            continue;
        }
        if (s != STATUS_OK) {
            break;
        }
        fill(ahead, item);
        failed = ((struct ahead_item *)item)->kind == AHEAD_FAILED;
        /* There is room for all items; only closing makes this fail, and then the item stays in its
         * array. */
        if (queue_try_push(ahead->full, item) != STATUS_OK) {
            break;
        }
    }
    close_reader(ahead);
    queue_close(ahead->full);
    return NULL;
}

/* ---- handing over ---- */

status ahead_next(struct ahead *ahead, struct ahead_item **item, uint64_t timeout_ms)
{
    void *popped;
    const status s = queue_pop(ahead->full, &popped, timeout_ms);
    if (s == STATUS_OK) {
        *item = popped;
    }
    return s;
}

void ahead_return(struct ahead *ahead, struct ahead_item *item)
{
    /* Fails only when closed: the item belongs to the array all the same. */
    (void)!queue_try_push(ahead->empty, item);
}

static void forget(void *item)
{
    (void)item; /* lies in the array */
}

static void free_ahead(struct ahead *ahead)
{
    if (ahead->full != NULL) {
        queue_free(ahead->full, forget);
    }
    if (ahead->empty != NULL) {
        queue_free(ahead->empty, forget);
    }
    for (size_t i = 0; ahead->items != NULL && i < ahead->n; i++) {
        episode_fini(&ahead->items[i].episode);
    }
    mem_free(ahead->items);
    mem_free(ahead->known);
    episode_fini(&ahead->logged);
    mem_free(ahead);
}

static status make_items(struct ahead *ahead, struct err *err)
{
    const size_t n = ahead->settings.read_ahead;
    ahead->items = mem_array(n, sizeof *ahead->items);
    if (ahead->items == NULL || queue_new(&ahead->full, n) != STATUS_OK ||
        queue_new(&ahead->empty, n) != STATUS_OK) {
        return err_set(err, STATUS_NO_MEMORY, "read %zu episodes ahead", n);
    }
    ahead->n = n;
    const uint32_t W = signature_width(relabel_signature(ahead->settings.relabel));
    for (size_t i = 0; i < n; i++) {
        episode_init(&ahead->items[i].episode, W);
        ASSERT(queue_try_push(ahead->empty, &ahead->items[i]) == STATUS_OK);
    }
    return STATUS_OK;
}

status ahead_start(struct ahead **ahead, const struct ahead_settings *settings, struct err *err)
{
    ASSERT(settings->read_ahead >= 1);
    struct ahead *made = mem_new(sizeof *made);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "read ahead");
    }
    made->settings = *settings;
    episode_init(&made->logged, signature_width(sources_signature(settings->sources)));
    status s = make_items(made, err);
    if (s == STATUS_OK) {
        const int number = pthread_create(&made->thread, NULL, read_all, made);
        s = number == 0 ? STATUS_OK : err_errno(err, number, "start the reader thread");
    }
    if (s != STATUS_OK) {
        free_ahead(made);
        return s;
    }
    *ahead = made;
    return STATUS_OK;
}

void ahead_stop(struct ahead *ahead)
{
    if (ahead == NULL) {
        return;
    }
    atomic_store(&ahead->stop, true);
    queue_close(ahead->empty);
    pthread_join(ahead->thread, NULL);
    free_ahead(ahead);
}
