/* Copies snippets out of the store into an outgoing batch.
 *
 * Snippets are copied in blocks: first the chunks of a block are looked up and the first lines of
 * each snippet are prefetched, then all are copied. So the latency of memory is paid once a block
 * and not once a snippet, which is most of the time when the store is larger than the cache.
 *
 * Where the store is larger than memory, a page that is not there stalls whoever reads it for as long
 * as the disk takes. So a few snippets of each job are looked at first. If one of them is missing, the
 * thread asks the disk for the next ASK_AHEAD snippets while it copies: the disk then has many reads
 * to work on, and the copying waits for the first of them only. The next job is asked for before the
 * one under way is copied. While all is in memory nothing is asked, for asking costs as much as
 * copying.
 *
 * The threads take jobs from one queue. A reader holds a snapshot of the store only while it works:
 * LMDB cannot use the pages of removed episodes again as long as a snapshot sees them. */
#define LOG_MODULE "gatherer"
#include "replay_server/store/gatherer.h"

#include <pthread.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/queue.h"

/* As many snippets as are on their way from memory at once. */
#define BLOCK 16u
/* Lines of 64 bytes. The hardware goes on by itself once a copy runs through the lines that
 * follow. */
#define PREFETCH_LINES 6u
#define REST_MS        100  /* without work a reader lets go of its snapshot */
#define PROBES         8u   /* snippets of a job that are looked at */
#define ASK_AHEAD      256u /* snippets */

/* ---- Rows ---- */

void row_map_init(struct row_map *map, const struct signature *have, const struct signature *want,
                  const uint32_t *reward_map)
{
    *map = (struct row_map){
        .W = signature_width(have),
        .W_out = signature_width(want),
        .n_front = signature_rewards_at(have),
        .K_out = want->K,
        .same = have->K == want->K,
    };
    /* Rewards in the client's order; with the same order and number nothing need be picked. */
    for (uint32_t k = 0; k < want->K; k++) {
        map->rewards[k] = signature_rewards_at(have) + reward_map[k];
        map->same = map->same && reward_map[k] == k;
    }
}

/* n rows, with the rewards picked. Observation and action come first in a row and are the same in
 * both; then the rewards; the last column is moved from the end of the one to the end of the
 * other. */
static void copy_mapped(float *to, const uint8_t *from, size_t n, const struct row_map *map)
{
    for (size_t i = 0; i < n; i++, to += map->W_out, from += (size_t)map->W * 4) {
        /* Bytes and not floats: rows in the map are not aligned for float. */
        memcpy(to, from, (size_t)map->n_front * 4);
        for (uint32_t k = 0; k < map->K_out; k++) {
            memcpy(to + map->n_front + k, from + (size_t)map->rewards[k] * 4, 4);
        }
        memcpy(to + map->W_out - 1, from + ((size_t)map->W - 1) * 4, 4);
    }
}

/* ---- One snippet ---- */

/* How many rows chunk chunk_i of an episode holds. */
static uint32_t rows_of_chunk(uint32_t n_rows, uint32_t chunk_rows, uint32_t chunk_i)
{
    const uint32_t rest = n_rows - chunk_i * chunk_rows;
    return rest < chunk_rows ? rest : chunk_rows;
}

/* The rows of a chunk of the snippet's episode, in the map. */
static status locate(const struct gather_snippet *snippet, uint32_t chunk_i, uint32_t chunk_rows,
                     uint32_t W, struct store_reader *reader, const uint8_t **rows)
{
    return store_reader_chunk(reader, snippet->id + chunk_i,
                              rows_of_chunk(snippet->n_rows, chunk_rows, chunk_i), W, rows);
}

/* Copies the snippet's n_valid + 1 rows to `to`, which has room for N + 1. `rows` is the chunk in
 * which the snippet starts; the chunks that follow are looked up here. On an error `to` is left
 * half filled, and the caller draws again. */
static status copy_snippet(const struct gather_snippet *snippet, const uint8_t *rows,
                           uint32_t chunk_rows, float *to, uint32_t N, const struct row_map *map,
                           struct store_reader *reader)
{
    uint32_t chunk_i = snippet->first_row / chunk_rows;
    uint32_t at = snippet->first_row % chunk_rows;
    uint32_t left = snippet->n_valid + 1;
    /* From the chunk in which it starts into the next ones, as far as it reaches. */
    for (;;) {
        const uint32_t n = left < chunk_rows - at ? left : chunk_rows - at;
        const uint8_t *from = rows + (size_t)at * map->W * 4;
        if (map->same) {
            memcpy(to, from, (size_t)n * map->W * 4);
        } else {
            copy_mapped(to, from, n, map);
        }
        to += (size_t)n * map->W_out;
        left -= n;
        if (left == 0) {
            break;
        }
        /* The next chunk goes on where this one ended, from its first row. */
        at = 0;
        status s = locate(snippet, ++chunk_i, chunk_rows, map->W, reader, &rows);
        if (s != STATUS_OK) {
            return s;
        }
    }
    /* What follows the last valid row is defined: zero. */
    memset(to, 0, (size_t)(N - snippet->n_valid) * map->W_out * 4);
    return STATUS_OK;
}

/* Asks for the first lines of a snippet without waiting for them. */
static void prefetch(const uint8_t *at)
{
    for (unsigned i = 0; i < PREFETCH_LINES; i++) {
        __builtin_prefetch(at + (size_t)i * 64);
    }
}

/* Snippets first .. end - 1, at most BLOCK of them. Those that have been gathered before stay. */
static void gather_block(struct gather_job *job, uint32_t first, uint32_t end, uint32_t chunk_rows,
                         struct store_reader *reader)
{
    const uint8_t *rows[BLOCK];
    const uint32_t W = job->map->W;
    /* Look up the chunk in which each snippet starts, and ask for its first lines. */
    for (uint32_t i = first; i < end; i++) {
        struct gather_snippet *snippet = &job->snippets[i];
        /* The draw has checked these; a mistake here would read another episode's rows. */
        if (snippet->result != STATUS_OK) {
            ASSERT(snippet->n_valid >= 1 && snippet->n_valid <= job->N);
            ASSERT(snippet->first_row + snippet->n_valid < snippet->n_rows);
            const uint32_t chunk_i = snippet->first_row / chunk_rows;
            const status s = locate(snippet, chunk_i, chunk_rows, W, reader, &rows[i - first]);
            snippet->result = s == STATUS_OK ? STATUS_PENDING : s;
            if (s == STATUS_OK) {
                prefetch(rows[i - first] + (size_t)(snippet->first_row % chunk_rows) * W * 4);
            }
        }
    }
    /* Now that their first lines are on the way, copy. */
    const size_t stride = (size_t)(job->N + 1) * job->map->W_out;
    for (uint32_t i = first; i < end; i++) {
        /* PENDING marks those that the first loop has found; others are done or have failed. */
        struct gather_snippet *snippet = &job->snippets[i];
        if (snippet->result == STATUS_PENDING) {
            snippet->result = copy_snippet(snippet, rows[i - first], chunk_rows,
                                           job->rows + i * stride, job->N, job->map, reader);
        }
        job->n_bad += snippet->result != STATUS_OK;
    }
}

/* ---- What is on the disk alone ---- */

bool gather_is_resident(struct gather_job *job, struct store_reader *reader)
{
    struct err err;
    if (store_reader_refresh(reader, &err) != STATUS_OK) {
        return true;
    }
    const uint32_t chunk_rows = store_chunk_rows(job->map->W);
    const uint32_t step = job->n > PROBES ? job->n / PROBES : 1;
    bool resident = true;
    for (uint32_t i = 0; resident && i < job->n; i += step) {
        const struct gather_snippet *snippet = &job->snippets[i];
        const uint32_t at = snippet->first_row % chunk_rows;
        const uint32_t n = snippet->n_valid + 1;
        resident = store_reader_resident(reader, snippet->id + snippet->first_row / chunk_rows, at,
                                         n < chunk_rows - at ? n : chunk_rows - at, job->map->W);
    }
    return resident;
}

/* Asks the disk for all rows of a snippet. */
static void ask_for_snippet(const struct gather_snippet *snippet, uint32_t chunk_rows, uint32_t W,
                            struct store_reader *reader)
{
    const uint32_t end = snippet->first_row + snippet->n_valid + 1;
    for (uint32_t row = snippet->first_row; row < end;) {
        const uint32_t at = row % chunk_rows;
        const uint32_t n = end - row < chunk_rows - at ? end - row : chunk_rows - at;
        store_reader_ask(reader, snippet->id + row / chunk_rows, at, n, W);
        row += n;
    }
}

/* Asks for the snippets before `end` that have not been asked for. */
static void ask_ahead(struct gather_job *job, uint32_t end, struct store_reader *reader)
{
    const uint32_t chunk_rows = store_chunk_rows(job->map->W);
    for (; job->n_asked < job->n && job->n_asked < end; job->n_asked++) {
        ask_for_snippet(&job->snippets[job->n_asked], chunk_rows, job->map->W, reader);
    }
}

/* ---- A whole job ---- */

void gather_run(struct gather_job *job, struct store_reader *reader)
{
    struct err err;
    job->n_bad = 0;
    /* A snapshot that has seen the commit of everything in the index. Without one nothing is
     * gathered, and the caller draws again. */
    status s = store_reader_refresh(reader, &err);
    if (s != STATUS_OK) {
        log_warn("%s", err.text);
        for (uint32_t i = 0; i < job->n; i++) {
            job->n_bad += job->snippets[i].result != STATUS_OK;
        }
        return;
    }
    const uint32_t chunk_rows = store_chunk_rows(job->map->W);
    for (uint32_t first = 0; first < job->n; first += BLOCK) {
        if (job->cold) {
            ask_ahead(job, first + BLOCK + ASK_AHEAD, reader);
        }
        gather_block(job, first, first + BLOCK < job->n ? first + BLOCK : job->n, chunk_rows,
                     reader);
    }
}

/* ---- Threads ---- */

/* `queue` and `threads` are the only things that threads share; a reader belongs to its thread. */
struct gatherer {
    struct store *store;
    struct queue *queue;
    uint32_t n_threads;
    void (*post)(void *arg, struct gather_job *job);
    void *arg;
    struct gather_thread {
        struct gatherer *gatherer;
        struct store_reader *reader;
        pthread_t thread;
    } * threads;
};

/* The thread has taken the job: looks where it is, and asks for the first of what is not in memory. */
static void begin(struct gather_job *job, struct gather_thread *self)
{
    job->home = self->gatherer->arg;
    job->n_asked = 0;
    job->cold = !gather_is_resident(job, self->reader);
    if (job->cold) {
        ask_ahead(job, ASK_AHEAD, self->reader);
    }
}

/* The next job of the queue, waiting for it; what is on the disk is asked for. */
static status take(struct gather_thread *self, struct gather_job **job, uint64_t wait_ms)
{
    void *item;
    status s = queue_pop(self->gatherer->queue, &item, wait_ms);
    if (s == STATUS_OK) {
        *job = item;
        begin(*job, self);
    }
    return s;
}

/* The body of a gather thread. */
static void *run(void *arg)
{
    /* The loop ends when the queue is closed and empty, so that every job that was taken is
     * posted. */
    struct gather_thread *self = arg;
    struct gatherer *gatherer = self->gatherer;
    pthread_setname_np(pthread_self(), "replay-gather");
    struct gather_job *job = NULL;
    for (;;) {
        status s = STATUS_OK;
        if (job == NULL) {
            s = take(self, &job, REST_MS);
        }
        /* Work, or a pause, in which the snapshot is let go of. */
        if (s == STATUS_OK) {
            /* Whatever the queue says of a next one: this one is gathered. */
            struct gather_job *next = NULL;
            if (job->cold) {
                next = queue_try_pop(gatherer->queue);
            }
            if (next) {
                begin(next, self);
            }
            gather_run(job, self->reader);
            gatherer->post(gatherer->arg, job);
            job = next;
        } else {
            store_reader_rest(self->reader);
            if (s == STATUS_CLOSED) {
                return NULL;
            }
        }
    }
}

status gatherer_open(struct gatherer **out, struct store *store, uint32_t n_threads,
                     size_t queue_max, void (*post)(void *arg, struct gather_job *job), void *arg,
                     struct err *err)
{
    struct gatherer *gatherer = mem_new(sizeof *gatherer);
    /* Nothing else exists yet, so an error here frees by hand. */
    if (gatherer == NULL ||
        (gatherer->threads = mem_array(n_threads, sizeof *gatherer->threads)) == NULL ||
        queue_new(&gatherer->queue, queue_max) != STATUS_OK) {
        if (gatherer) {
            mem_free(gatherer->threads);
        }
        mem_free(gatherer);
        return err_set(err, STATUS_NO_MEMORY, "gatherer");
    }
    gatherer->store = store;
    gatherer->post = post;
    gatherer->arg = arg;
    /* `n_threads` counts those that run: after an error gatherer_close joins these and no more. */
    for (uint32_t i = 0; i < n_threads; i++) {
        struct gather_thread *self = &gatherer->threads[i];
        self->gatherer = gatherer;
        status s = store_reader_open(&self->reader, store, err);
        if (s == STATUS_OK) {
            int rc = pthread_create(&self->thread, NULL, run, self);
            if (rc != 0) {
                store_reader_close(self->reader);
                s = err_errno(err, rc, "gatherer: thread");
            }
        }
        if (s != STATUS_OK) {
            gatherer_close(gatherer);
            return s;
        }
        gatherer->n_threads++;
    }
    *out = gatherer;
    return STATUS_OK;
}

status gatherer_submit(struct gatherer *gatherer, struct gather_job *job)
{
    return queue_try_push(gatherer->queue, job);
}

size_t gatherer_queued(struct gatherer *gatherer)
{
    return queue_length(gatherer->queue);
}

void gatherer_close(struct gatherer *gatherer)
{
    if (gatherer) {
        /* Closing the queue wakes all threads. They finish what is queued before they end. */
        queue_close(gatherer->queue);
        for (uint32_t i = 0; i < gatherer->n_threads; i++) {
            pthread_join(gatherer->threads[i].thread, NULL);
            store_reader_close(gatherer->threads[i].reader);
        }
        queue_free(gatherer->queue, NULL);
        mem_free(gatherer->threads);
        mem_free(gatherer);
    }
}
