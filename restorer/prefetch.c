/* The reader thread.
 *
 * A fixed number of items circulates between two queues, `full` and `empty`. Each queue has room
 * for all of them, so a push fails only when the queue was closed. Items live in one array; the
 * queues hold pointers into it, and closing a queue loses nothing.
 *
 * An item belongs to the reader thread between the pop from `empty` and the push to `full`, and to
 * the restoring thread between prefetch_next and prefetch_return. Everything else in the struct is
 * the reader's alone, except `stop`. */
#include "restorer/prefetch.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>

#include "common/base/memory.h"
#include "common/base/queue.h"
#include "common/logs/source/source_reader.h"

#define KNOWN_MAX 65536 /* the most damaged episodes that are remembered */
#define WAIT_MS   1000  /* how often `stop` is checked; closing a queue wakes at once */

/* The reader thread's state, and the queues that connect it with the restoring thread. */
struct prefetch {
    struct prefetch_settings settings;
    pthread_t thread;
    /* Set by the restoring thread; also ends a script that is running. */
    atomic_bool stop;
    /* Filled items, in the plan's order; and those to be filled. */
    struct queue *full, *empty;
    size_t n;
    struct prefetch_item *items; /* (n) */
    struct episode logged;       /* as read, before relabelling */
    struct source_reader *reader;
    uint64_t reader_shard; /* the shard that `reader` has open */
    bool shard_bad;        /* .. or that could not be opened, for this reason: */
    struct err shard_reason;
    size_t n_known, known_capacity;
    /* (n_known) damaged episodes. They are not read again, since HDF5 leaks memory over each bad
     * checksum. */
    struct known {
        uint64_t shard_i, episode_i;
    } * known;
};

/* ---- reading ---- */

/* After this no shard is open, and none is known to be bad. */
static void close_reader(struct prefetch *prefetch)
{
    source_reader_close(prefetch->reader);
    prefetch->reader = NULL;
    prefetch->shard_bad = false;
}

/* Makes `reader` the reader of `shard`. A shard that cannot be opened is not tried again for
 * each of its episodes. */
static status open_reader(struct prefetch *prefetch, uint64_t shard, struct err *err)
{
    /* A new shard, or none open after the end of a pass: the one before is closed first. */
    if (prefetch->reader_shard != shard || (prefetch->reader == NULL && !prefetch->shard_bad)) {
        close_reader(prefetch);
        size_t shard_i;
        struct source *source = sources_shard(prefetch->settings.sources, shard, &shard_i);
        prefetch->reader_shard = shard;
        prefetch->shard_reason = (struct err){0};
        const status s =
            source_reader_open(&prefetch->reader, source, shard_i, &prefetch->shard_reason);
        /* A lack of memory is no property of the shard, so it is not remembered as one. */
        if (s == STATUS_NO_MEMORY) {
            return err_set(err, s, "%s", prefetch->shard_reason.text);
        }
        prefetch->shard_bad = s != STATUS_OK;
        if (s == STATUS_OK) {
            source_reader_set_clip(prefetch->reader, prefetch->settings.clip);
        }
    }
    return prefetch->shard_bad
               ? err_set(err, prefetch->shard_reason.code, "%s", prefetch->shard_reason.text)
               : STATUS_OK;
}

/* The shard that a step reads from. */
static const struct dataset_shard *shard_of(const struct prefetch *prefetch,
                                            const struct plan_step *step)
{
    size_t shard_i;
    const struct source *source =
        sources_shard(prefetch->settings.sources, step->shard_i, &shard_i);
    return source_shard(source, shard_i);
}

/* Reads and relabels one episode. Any error but NO_MEMORY makes it a bad episode. */
static status read_episode(struct prefetch *prefetch, const struct plan_step *step,
                           struct prefetch_item *item)
{
    /* A shard that cannot be opened makes each of its episodes bad, with the same reason. */
    status s = open_reader(prefetch, step->shard_i, &item->reason);
    if (s != STATUS_OK) {
        return s;
    }
    /* metadata.json may list more episodes than the file has. */
    if (step->episode_i >= source_reader_episodes(prefetch->reader)) {
        const struct dataset_shard *shard = shard_of(prefetch, step);
        return err_set(&item->reason, STATUS_CORRUPT,
                       "%s: %" PRIu64 " episodes, metadata.json lists %" PRIu64, shard->path,
                       source_reader_episodes(prefetch->reader), shard->episodes);
    }
    /* Rows that keep their rewards are read where they are handed over: no copy. */
    const uint64_t clipped = source_reader_clipped(prefetch->reader);
    const bool keep = relabel_is_identity(prefetch->settings.relabel);
    s = source_reader_read(prefetch->reader, step->episode_i,
                           keep ? &item->episode : &prefetch->logged, &item->reason);
    item->clipped = source_reader_clipped(prefetch->reader) - clipped;
    if (s != STATUS_OK || keep) {
        return s;
    }
    /* The rewards are chosen or computed on the way from `logged` to the item. */
    s = relabel_apply(prefetch->settings.relabel, &prefetch->logged, &item->episode, &item->reason);
    if (s != STATUS_OK) {
        /* The script's error names the row; this adds the file and the episode. */
        return err_context(&item->reason, s, "%s: episode_%" PRIu64, shard_of(prefetch, step)->path,
                           prefetch->logged.identity.episode);
    }
    return s;
}

/* Was this episode found damaged in an earlier pass? */
static bool is_known(const struct prefetch *prefetch, const struct plan_step *step)
{
    for (size_t i = 0; i < prefetch->n_known; i++) {
        if (prefetch->known[i].shard_i == step->shard_i &&
            prefetch->known[i].episode_i == step->episode_i) {
            return true;
        }
    }
    return false;
}

/* Remembers a damaged episode, within limits: what is forgotten is read again in each pass and
 * leaks a little memory, no more. */
static void remember(struct prefetch *prefetch, const struct plan_step *step)
{
    /* The list doubles up to its limit. */
    if (prefetch->n_known == prefetch->known_capacity) {
        const size_t capacity = prefetch->known_capacity == 0 ? 64 : 2 * prefetch->known_capacity;
        struct known *known =
            capacity <= KNOWN_MAX ? mem_resize(prefetch->known, capacity, sizeof *known) : NULL;
        if (known == NULL) {
            return;
        }
        prefetch->known = known;
        prefetch->known_capacity = capacity;
    }
    prefetch->known[prefetch->n_known++] = (struct known){step->shard_i, step->episode_i};
}

/* Takes the next step of the plan and fills the item with its result. */
static void fill(struct prefetch *prefetch, struct prefetch_item *item)
{
    struct plan_step step;
    /* The position behind the step is what a restart would continue from, once this item is
     * committed. */
    plan_next(prefetch->settings.plan, &step);
    item->after = plan_position(prefetch->settings.plan);
    item->reason = (struct err){0};
    /* The next pass opens its first shard anew. */
    if (step.pass_end) {
        item->kind = PREFETCH_PASS_END;
        close_reader(prefetch);
        return;
    }
    if (is_known(prefetch, &step)) {
        item->kind = PREFETCH_STILL_BAD;
        err_set(&item->reason, STATUS_CORRUPT, "shard %" PRIu64 ", episode %" PRIu64 " is damaged",
                step.shard_i, step.episode_i);
        return;
    }
    /* Only damage is remembered. A shard that is bad as a whole is not opened again anyway. */
    const status s = read_episode(prefetch, &step, item);
    if (s == STATUS_CORRUPT && !prefetch->shard_bad) {
        remember(prefetch, &step);
    }
    item->kind = s == STATUS_OK          ? PREFETCH_EPISODE
                 : s == STATUS_NO_MEMORY ? PREFETCH_FAILED
                                         : PREFETCH_BAD;
}

/* The thread's loop: fills empty items until the plan's end, the stop, or a failure. */
static void *read_all(void *arg)
{
    struct prefetch *prefetch = arg;
    bool failed = false;
    /* `stop` is looked at before each item, so prefetch_stop waits for one episode at most. */
    while (!failed && !atomic_load(&prefetch->stop) &&
           plan_compare(plan_position(prefetch->settings.plan), prefetch->settings.until) < 0) {
        void *item;
        const status s = queue_pop(prefetch->empty, &item, WAIT_MS);
        if (s == STATUS_TIMEOUT) {
            continue;
        }
        if (s != STATUS_OK) {
            break;
        }
        fill(prefetch, item);
        failed = ((struct prefetch_item *)item)->kind == PREFETCH_FAILED;
        /* There is room for all items, so this fails only when the queue is closed. */
        if (queue_try_push(prefetch->full, item) != STATUS_OK) {
            break;
        }
    }
    close_reader(prefetch);
    /* A closed `full` still gives what is in it; after that prefetch_next returns CLOSED. */
    queue_close(prefetch->full);
    return NULL;
}

/* ---- handing over ---- */

status prefetch_next(struct prefetch *prefetch, struct prefetch_item **item, uint64_t timeout_ms)
{
    void *popped;
    const status s = queue_pop(prefetch->full, &popped, timeout_ms);
    if (s == STATUS_OK) {
        *item = popped;
    }
    return s;
}

void prefetch_return(struct prefetch *prefetch, struct prefetch_item *item)
{
    /* Fails only when the queue is closed. */
    (void)!queue_try_push(prefetch->empty, item);
}

/* For queue_free, which hands over what is left in a queue. */
static void forget(void *item)
{
    (void)item; /* items belong to the array */
}

/* Frees what there is; the thread has ended or was never started. */
static void free_prefetch(struct prefetch *prefetch)
{
    if (prefetch->full != NULL) {
        queue_free(prefetch->full, forget);
    }
    if (prefetch->empty != NULL) {
        queue_free(prefetch->empty, forget);
    }
    for (size_t i = 0; prefetch->items != NULL && i < prefetch->n; i++) {
        episode_fini(&prefetch->items[i].episode);
    }
    mem_free(prefetch->items);
    mem_free(prefetch->known);
    episode_fini(&prefetch->logged);
    mem_free(prefetch);
}

/* Makes the items and the queues, all items empty. On an error free_prefetch takes what was
 * made. */
static status make_items(struct prefetch *prefetch, struct err *err)
{
    const size_t n = prefetch->settings.prefetch_episodes;
    prefetch->items = mem_array(n, sizeof *prefetch->items);
    if (prefetch->items == NULL || queue_new(&prefetch->full, n) != STATUS_OK ||
        queue_new(&prefetch->empty, n) != STATUS_OK) {
        return err_set(err, STATUS_NO_MEMORY, "prefetch of %zu episodes", n);
    }
    prefetch->n = n;
    const uint32_t W = signature_width(relabel_signature(prefetch->settings.relabel));
    /* All items start out empty. */
    for (size_t i = 0; i < n; i++) {
        episode_init(&prefetch->items[i].episode, W);
        const status pushed = queue_try_push(prefetch->empty, &prefetch->items[i]);
        ASSERT(pushed == STATUS_OK);
    }
    return STATUS_OK;
}

status prefetch_start(struct prefetch **prefetch, const struct prefetch_settings *settings,
                      struct err *err)
{
    ASSERT(settings->prefetch_episodes >= 1);
    struct prefetch *made = mem_new(sizeof *made);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "prefetch");
    }
    /* The script looks at `stop` too, so that a long computation does not delay the end. */
    made->settings = *settings;
    relabel_set_stop(settings->relabel, &made->stop);
    episode_init(&made->logged, signature_width(sources_signature(settings->sources)));
    status s = make_items(made, err);
    if (s == STATUS_OK) {
        const int number = pthread_create(&made->thread, NULL, read_all, made);
        s = number == 0 ? STATUS_OK : err_errno(err, number, "start the reader thread");
    }
    if (s != STATUS_OK) {
        free_prefetch(made);
        return s;
    }
    *prefetch = made;
    return STATUS_OK;
}

void prefetch_stop(struct prefetch *prefetch)
{
    if (prefetch == NULL) {
        return;
    }
    /* The closed queue wakes the thread where it waits for an item to fill. */
    atomic_store(&prefetch->stop, true);
    queue_close(prefetch->empty);
    pthread_join(prefetch->thread, NULL);
    /* The flag is freed with this struct, and the script outlives it. */
    relabel_set_stop(prefetch->settings.relabel, NULL);
    free_prefetch(prefetch);
}
