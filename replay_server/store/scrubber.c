/* Checks every chunk of the store once after opening.
 *
 * A walk over the episodes in order of id that reads each chunk as a sampler would: reading is what
 * checks it. It works in slices of about a megabyte, each within one short snapshot so that pages
 * of removed episodes can be used again, and naps in between to stay within its rate.
 *
 * The walk has a thread and a reader of its own. Episodes that are inserted while it runs are
 * checked as well, as far as it reaches them; chunks that a sampler has read are not checked
 * again. */
#define LOG_MODULE "scrubber"
#include "replay_server/store/scrubber.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"

#define SLICE_BYTES (1u << 20) /* read within one snapshot */
#define NAP_MS      50u

/* All but `stop` is set before the thread starts and does not change. */
struct scrubber {
    struct store *store;
    struct store_reader *reader;
    uint64_t bytes_per_s;
    void (*corrupt)(void *arg, uint32_t table, uint64_t id);
    void *arg;
    pthread_t thread;
    _Atomic bool stop;
};

/* How far a walk has come. It survives the end of a snapshot: the next slice goes on at the same
 * chunk. */
struct walk {
    uint64_t after; /* id of the last episode begun */
    struct store_episode episode;
    uint32_t chunk_i; /* next of `episode`; at n_chunks: the next episode */
    uint32_t n_chunks;
    uint64_t n_episodes, n_corrupt, bytes;
};

/* Checks the next chunk, and reports its episode to `corrupt` where it is damaged; the rest of that
 * episode is then passed over. NOT_FOUND: that was all. */
static status step(struct walk *walk, struct store_reader *reader,
                   void (*corrupt)(void *arg, uint32_t table, uint64_t id), void *arg)
{
    /* The episode before is through: the next one. */
    if (walk->chunk_i == walk->n_chunks) {
        status s = store_reader_next_episode(reader, walk->after, &walk->episode);
        if (s != STATUS_OK) {
            return s;
        }
        walk->after = walk->episode.id;
        walk->chunk_i = 0;
        walk->n_chunks = store_n_chunks(walk->episode.n_rows, walk->episode.W);
        walk->n_episodes++;
    }
    /* Chunks of an episode are full, except for the last one. */
    const struct store_episode *episode = &walk->episode;
    const uint32_t chunk_rows = store_chunk_rows(episode->W);
    const uint32_t rest = episode->n_rows - walk->chunk_i * chunk_rows;
    const uint32_t n = rest < chunk_rows ? rest : chunk_rows;
    const uint8_t *rows;
    /* All pages of the chunk at once, and not one after the other. */
    store_reader_ask(reader, episode->id + walk->chunk_i, 0, n, episode->W);
    status s = store_reader_chunk(reader, episode->id + walk->chunk_i, n, episode->W, &rows);
    if (s == STATUS_OK) {
        walk->bytes += (uint64_t)n * episode->W * 4;
        walk->chunk_i++;
        return STATUS_OK;
    }
    /* Removed between two snapshots, or damaged. A chunk that is missing beside its episode's
     * record is damage too. */
    struct store_episode again;
    if (s == STATUS_CORRUPT ||
        (store_reader_next_episode(reader, episode->id - 1, &again) == STATUS_OK &&
         again.id == episode->id)) {
        log_error("a chunk fails its check episode=%" PRIu64 " chunk=%u", episode->id,
                  walk->chunk_i);
        walk->n_corrupt++;
        corrupt(arg, episode->table, episode->id);
    }
    /* Nothing more of this episode: it is gone, or reported. */
    walk->chunk_i = walk->n_chunks;
    return STATUS_OK;
}

/* All of it at once, within one snapshot. */
status scrub_all(struct store *store, void (*corrupt)(void *arg, uint32_t table, uint64_t id),
                 void *arg, uint64_t *n_corrupt, struct err *err)
{
    struct store_reader *reader;
    status s = store_reader_open(&reader, store, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* No rate and no naps: nobody is served before this is done. */
    struct walk walk = {0};
    s = store_reader_refresh(reader, err);
    while (s == STATUS_OK) {
        s = step(&walk, reader, corrupt, arg);
    }
    store_reader_close(reader);
    /* NOT_FOUND is how the walk ends. */
    *n_corrupt = walk.n_corrupt;
    return s == STATUS_NOT_FOUND ? STATUS_OK : s;
}

/* A slice of work within one snapshot; false when the walk is at its end, or cannot go on. */
static bool slice(struct scrubber *scrubber, struct walk *walk)
{
    struct err err;
    /* Where no snapshot can be had, the next slice tries again. */
    if (store_reader_refresh(scrubber->reader, &err) != STATUS_OK) {
        log_warn("%s", err.text);
        return true;
    }
    /* As much as fits a slice; the snapshot is let go of afterwards. */
    const uint64_t until = walk->bytes + SLICE_BYTES;
    status s = STATUS_OK;
    while (s == STATUS_OK && walk->bytes < until && !atomic_load(&scrubber->stop)) {
        s = step(walk, scrubber->reader, scrubber->corrupt, scrubber->arg);
    }
    store_reader_rest(scrubber->reader);
    return s == STATUS_OK;
}

/* The body of the scrubber's thread. */
static void *run(void *arg)
{
    struct scrubber *scrubber = arg;
    pthread_setname_np(pthread_self(), "replay-scrub");
    struct walk walk = {0};
    const uint64_t start_ns = clock_now_ns();
    bool more = true;
    while (more && !atomic_load(&scrubber->stop)) {
        /* Ahead of its rate, it sleeps; the nap is short, so that closing need not wait long for
         * it. */
        const double elapsed_s = (double)(clock_now_ns() - start_ns) * 1e-9;
        if ((double)walk.bytes > elapsed_s * (double)scrubber->bytes_per_s) {
            clock_sleep_ms(NAP_MS);
        } else {
            more = slice(scrubber, &walk);
        }
    }
    /* A walk that was stopped early has not checked everything and says nothing. */
    if (!more && walk.n_episodes > 0) {
        log_info("the store has been checked episodes=%" PRIu64 " bytes=%" PRIu64
                 " corrupt=%" PRIu64,
                 walk.n_episodes, walk.bytes, walk.n_corrupt);
    }
    return NULL;
}

status scrubber_open(struct scrubber **out, struct store *store, uint64_t bytes_per_s,
                     void (*corrupt)(void *arg, uint32_t table, uint64_t id), void *arg,
                     struct err *err)
{
    struct scrubber *scrubber = mem_new(sizeof *scrubber);
    if (scrubber == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "scrubber");
    }
    *scrubber = (struct scrubber){
        .store = store, .bytes_per_s = bytes_per_s, .corrupt = corrupt, .arg = arg};
    /* The reader belongs to the thread, and is opened here so that its errors reach the caller. */
    status s = store_reader_open(&scrubber->reader, store, err);
    if (s == STATUS_OK) {
        int rc = pthread_create(&scrubber->thread, NULL, run, scrubber);
        if (rc != 0) {
            store_reader_close(scrubber->reader);
            s = err_errno(err, rc, "scrubber: thread");
        }
    }
    if (s != STATUS_OK) {
        mem_free(scrubber);
        return s;
    }
    *out = scrubber;
    return STATUS_OK;
}

void scrubber_close(struct scrubber *scrubber)
{
    if (scrubber) {
        /* The thread looks at `stop` after every chunk. */
        atomic_store(&scrubber->stop, true);
        pthread_join(scrubber->thread, NULL);
        store_reader_close(scrubber->reader);
        mem_free(scrubber);
    }
}
