/* The ring between the threads that receive batches and the thread that uses them.
 *
 * A slot goes EMPTY -> FILLING (the first part arrives) -> TAKEN (all parts are there and the
 * caller has it) -> EMPTY (returned). Batches are handed out strictly by number; a batch that is
 * returned out of order keeps its slot until all older ones are returned, so the window of numbers
 * that may be filled moves in one piece.
 *
 * There is memory for `depth` batches. The one returned last is filled next, because it is still in
 * the cache: a caller that keeps up uses little of the ring's memory, however deep it is.
 *
 * The mutex guards states and numbers only. Rows and arrays of a slot that is being filled are
 * written without it: each part owns its own range, and the last end_part publishes them all. */
#include <pthread.h>
#include <string.h>
#include <time.h>
#include <xxhash.h>

#include "common/base/memory.h"
#include "common/clients/replay_ring.h"

enum slot_state { SLOT_EMPTY, SLOT_FILLING, SLOT_TAKEN };

/* Memory for one batch. */
struct storage {
    struct storage *next; /* free ones: the one returned last comes first */
    float *rows;
    uint32_t *n_valid;
    struct replay_origins origins;
};

/* A place for one batch at a time. */
struct slot {
    struct replay_batch batch; /* first: a pointer to the batch is a pointer to its slot */
    enum slot_state state;
    uint32_t parts_missing;
    bool unsealed;           /* a part came from a table that is not sealed */
    uint64_t versions;       /* table versions of the parts, combined */
    struct storage *storage; /* NULL: empty */
};

struct replay_ring {
    struct replay_ring_settings settings;
    /* Guards everything below, except rows and arrays of a slot that is being filled. */
    pthread_mutex_t lock;
    pthread_cond_t ready;    /* a batch is complete, or an error came */
    pthread_cond_t returned; /* the window moved, or the end */
    uint64_t next;           /* number of the next batch handed out */
    uint64_t oldest;         /* the oldest one not returned */
    bool closed;
    struct err error; /* the first error, which is final; code OK: none */
    struct slot *slots;
    struct storage *free;
    struct storage *storages; /* all of them, free or not */
};

/* The place of a batch, whichever batch is there now. */
static struct slot *slot_of(struct replay_ring *ring, uint64_t number)
{
    return &ring->slots[number % ring->settings.depth];
}

/* Memory for one batch, put before the free ones. */
static status add_storage(struct replay_ring *ring, struct storage *storage)
{
    const size_t n = ring->settings.snippets;
    storage->rows =
        mem_aligned(n * (ring->settings.N + 1) * ring->settings.W * sizeof *storage->rows);
    storage->n_valid = mem_array(n, sizeof *storage->n_valid);
    storage->next = ring->free;
    ring->free = storage;
    if (storage->rows == NULL || storage->n_valid == NULL) {
        return STATUS_NO_MEMORY;
    }
    if (!ring->settings.origins) {
        return STATUS_OK;
    }
    struct replay_origins *origins = &storage->origins;
    origins->episode_id = mem_array(n, sizeof *origins->episode_id);
    origins->first_row = mem_array(n, sizeof *origins->first_row);
    origins->server = mem_array(n, sizeof *origins->server);
    origins->ratio = mem_array(n, sizeof *origins->ratio);
    return origins->episode_id && origins->first_row && origins->server && origins->ratio
               ? STATUS_OK
               : STATUS_NO_MEMORY;
}

status replay_ring_new(struct replay_ring **out, const struct replay_ring_settings *settings)
{
    /* The slots are zero at first, which is SLOT_EMPTY. */
    struct replay_ring *ring = mem_new(sizeof *ring);
    if (ring == NULL || (ring->slots = mem_array(settings->depth, sizeof *ring->slots)) == NULL ||
        (ring->storages = mem_array(settings->depth, sizeof *ring->storages)) == NULL) {
        if (ring) {
            mem_free(ring->slots);
        }
        mem_free(ring);
        return STATUS_NO_MEMORY;
    }
    ring->settings = *settings;
    ring->next = ring->oldest = settings->first_batch;
    pthread_mutex_init(&ring->lock, NULL);
    /* Waits use the monotonic clock: a step of the wall clock must not shorten or extend them. */
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&ring->ready, &attributes);
    pthread_cond_init(&ring->returned, &attributes);
    pthread_condattr_destroy(&attributes);
    /* All memory is allocated here; filling and returning batches allocates nothing. */
    status s = STATUS_OK;
    for (uint32_t i = 0; s == STATUS_OK && i < settings->depth; i++) {
        s = add_storage(ring, &ring->storages[i]);
    }
    if (s != STATUS_OK) {
        replay_ring_free(ring);
        return s;
    }
    *out = ring;
    return STATUS_OK;
}

/* No thread uses the ring any more. */
void replay_ring_free(struct replay_ring *ring)
{
    if (ring == NULL) {
        return;
    }
    for (uint32_t i = 0; i < ring->settings.depth; i++) {
        mem_free(ring->storages[i].rows);
        mem_free(ring->storages[i].n_valid);
        mem_free(ring->storages[i].origins.episode_id);
        mem_free(ring->storages[i].origins.first_row);
        mem_free(ring->storages[i].origins.server);
        mem_free(ring->storages[i].origins.ratio);
    }
    pthread_cond_destroy(&ring->ready);
    pthread_cond_destroy(&ring->returned);
    pthread_mutex_destroy(&ring->lock);
    mem_free(ring->storages);
    mem_free(ring->slots);
    mem_free(ring);
}

/* *at becomes the monotonic time that is `timeout_ms` from now. */
static void deadline_in(struct timespec *at, uint64_t timeout_ms)
{
    clock_gettime(CLOCK_MONOTONIC, at);
    at->tv_sec += (time_t)(timeout_ms / 1000);
    at->tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (at->tv_nsec >= 1000000000) {
        at->tv_nsec -= 1000000000;
        at->tv_sec++;
    }
}

/* ---- The receiving side ---- */

/* Prepares an empty slot for a batch. There is memory, since there is as much as there are slots.
 * Under the lock. */
static void fill_slot(struct replay_ring *ring, struct slot *slot, uint64_t number)
{
    struct storage *storage = ring->free;
    ASSERT(storage != NULL && slot->storage == NULL);
    ring->free = storage->next;
    *slot = (struct slot){.state = SLOT_FILLING,
                          .parts_missing = ring->settings.n_parts,
                          .storage = storage,
                          .batch = {.number = number,
                                    .snippets = ring->settings.snippets,
                                    .rows = storage->rows,
                                    .n_valid = storage->n_valid,
                                    .origins = ring->settings.origins ? &storage->origins : NULL}};
}

uint64_t replay_ring_window_end(struct replay_ring *ring)
{
    pthread_mutex_lock(&ring->lock);
    const uint64_t end = ring->oldest + ring->settings.depth;
    pthread_mutex_unlock(&ring->lock);
    return end;
}

bool replay_ring_wait_window(struct replay_ring *ring, uint64_t end, uint64_t timeout_ms)
{
    struct timespec until;
    deadline_in(&until, timeout_ms);
    /* The window moves when the caller returns its oldest batch. */
    pthread_mutex_lock(&ring->lock);
    int rc = 0;
    while (rc == 0 && !ring->closed && ring->oldest + ring->settings.depth <= end) {
        rc = pthread_cond_timedwait(&ring->returned, &ring->lock, &until);
    }
    /* Also true when the window moved at the last moment. */
    const bool moved = ring->oldest + ring->settings.depth > end;
    pthread_mutex_unlock(&ring->lock);
    return moved;
}

struct replay_batch *replay_ring_begin_part(struct replay_ring *ring, uint64_t number)
{
    pthread_mutex_lock(&ring->lock);
    /* The receiver asks only for numbers that have a slot, and a batch that is out is not written
     * to. */
    ASSERT(number >= ring->oldest && number < ring->oldest + ring->settings.depth);
    struct slot *slot = slot_of(ring, number);
    ASSERT(slot->state != SLOT_TAKEN);
    /* The part that comes first prepares the slot for its number. */
    if (slot->state == SLOT_EMPTY) {
        fill_slot(ring, slot, number);
    }
    ASSERT(slot->batch.number == number && slot->parts_missing > 0);
    pthread_mutex_unlock(&ring->lock);
    return &slot->batch;
}

void replay_ring_end_part(struct replay_ring *ring, struct replay_batch *batch, uint32_t part,
                          uint64_t version)
{
    struct slot *slot = (struct slot *)batch;
    pthread_mutex_lock(&ring->lock);
    /* One part that is not sealed decides for the whole batch. */
    slot->unsealed = slot->unsealed || version == 0;
    /* One server: its table's version as it is. Several: a sum of hashes, which does not depend on
     * the order in which the parts arrive. */
    const uint64_t words[2] = {part, version};
    slot->versions += ring->settings.n_parts == 1 ? version : XXH3_64bits(words, sizeof words);
    /* The last part publishes the batch: the lock orders its rows before `ready`. */
    if (--slot->parts_missing == 0) {
        /* 0 means "not sealed", so a combined version of 0 becomes 1. */
        batch->table_version = slot->unsealed ? 0 : slot->versions ? slot->versions : 1;
        pthread_cond_broadcast(&ring->ready);
    }
    pthread_mutex_unlock(&ring->lock);
}

void replay_ring_fail(struct replay_ring *ring, const struct err *error)
{
    /* Later errors are consequences of the first, or come too late to matter. */
    pthread_mutex_lock(&ring->lock);
    if (ring->error.code == STATUS_OK) {
        ring->error = *error;
    }
    pthread_cond_broadcast(&ring->ready);
    pthread_mutex_unlock(&ring->lock);
}

void replay_ring_close(struct replay_ring *ring)
{
    pthread_mutex_lock(&ring->lock);
    /* Only the threads that fill wait for `returned`. */
    ring->closed = true;
    pthread_cond_broadcast(&ring->returned);
    pthread_mutex_unlock(&ring->lock);
}

/* ---- The using side ---- */

/* All parts are there and nobody has taken it yet. Under the lock. */
static bool complete(const struct slot *slot)
{
    return slot->state == SLOT_FILLING && slot->parts_missing == 0;
}

status replay_ring_next(struct replay_ring *ring, struct replay_batch **batch, uint64_t timeout_ms,
                        struct err *err)
{
    struct timespec until;
    deadline_in(&until, timeout_ms);
    pthread_mutex_lock(&ring->lock);
    /* The slot of the next number, even while an older batch is still in it. */
    struct slot *slot = slot_of(ring, ring->next);
    int rc = 0;
    while (rc == 0 && !complete(slot) && ring->error.code == STATUS_OK) {
        rc = pthread_cond_timedwait(&ring->ready, &ring->lock, &until);
    }
    status s = STATUS_OK;
    /* A batch that is complete is handed out before an error is told. */
    if (complete(slot)) {
        slot->state = SLOT_TAKEN;
        ring->next++;
        *batch = &slot->batch;
    } else if (ring->error.code != STATUS_OK) {
        s = err_set(err, ring->error.code, "%s", ring->error.text);
    } else if (slot->state == SLOT_TAKEN) {
        /* The caller holds every slot: waiting longer cannot help. */
        s = err_set(err, STATUS_TIMEOUT, "the caller holds all %u batches and has returned none",
                    ring->settings.depth);
    } else {
        s = err_set(err, STATUS_TIMEOUT, "no batch yet");
    }
    pthread_mutex_unlock(&ring->lock);
    return s;
}

void replay_ring_return(struct replay_ring *ring, struct replay_batch *batch)
{
    struct slot *slot = (struct slot *)batch;
    pthread_mutex_lock(&ring->lock);
    /* Returned twice, or never taken: a mistake of the caller. */
    ASSERT(slot->state == SLOT_TAKEN);
    slot->state = SLOT_EMPTY;
    slot->storage->next = ring->free;
    ring->free = slot->storage;
    slot->storage = NULL;
    /* The window moves past every batch that was handed out and is back. */
    while (ring->oldest < ring->next && slot_of(ring, ring->oldest)->state == SLOT_EMPTY) {
        ring->oldest++;
    }
    pthread_cond_broadcast(&ring->returned);
    pthread_mutex_unlock(&ring->lock);
}

uint64_t replay_ring_next_number(struct replay_ring *ring)
{
    pthread_mutex_lock(&ring->lock);
    const uint64_t number = ring->next;
    pthread_mutex_unlock(&ring->lock);
    return number;
}
