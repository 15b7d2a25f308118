/* Writes groups of jobs, a transaction each. A group that fails is taken apart and written job by
 * job, so that one bad job harms no other.
 *
 * Deferred deletes are the removals of jobs that failed. The service has taken these episodes out
 * of its index and may go on to remove others, so every later transaction deletes them first: the
 * store never holds an episode that was removed before one that is gone, and a table that is sealed
 * holds on disk what it holds in memory. Where no job comes, they are tried alone every PAUSE_MS.
 *
 * Threads: the service submits jobs, the inserter's own thread does everything else and posts them
 * back in order of submission. Only the counts are read by other threads. */
#define LOG_MODULE "inserter"
#include "replay_server/store/inserter.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/metrics.h"
#include "common/base/queue.h"
#include "replay_server/store/store_compact.h"

#define GROUP_JOBS_MAX 512
/* How long the thread waits for a job before it looks at deferred deletes and syncs. */
#define PAUSE_MS 100
/* Pages that one transaction frees can be used from the second one after it. */
#define FULL_TRIES 3

struct inserter {
    struct store *store;
    struct inserter_settings settings;
    struct queue *queue;
    pthread_t thread;
    /* When the last sync ended. `unsynced`: something was committed since. */
    uint64_t synced_ns;
    bool unsynced;
    struct insert_removal *deferred; /* deletes of jobs that failed; any order */
    struct compaction *compaction;   /* under way, for this job; NULL: none */
    struct insert_job *compact_job;
    /* Since the inserter was opened; written by its thread, read by any. */
    _Atomic uint64_t commits, jobs, bytes, failures, busy_ns;
    struct metric *commit_seconds;
};

/* ---- One job ---- */

/* What the job adds to its group, in bytes of rows. Records are small and do not count. */
static uint64_t job_bytes(const struct insert_job *job)
{
    return job->has_episode ? (uint64_t)job->episode.n_rows * job->episode.W * 4 : 0;
}

/* Eight numbers at a time; the compiler takes the processor's vectors, or does without. */
typedef uint32_t lanes __attribute__((vector_size(32)));

/* NaN and infinities have all exponent bits set. One pass without branches; what does not fill a
 * vector is padded with 0, which is finite. */
static bool all_finite(const uint8_t *bytes, size_t n)
{
    const lanes exponent = {0x7f800000u, 0x7f800000u, 0x7f800000u, 0x7f800000u,
                            0x7f800000u, 0x7f800000u, 0x7f800000u, 0x7f800000u};
    lanes bits, bad = {0};
    for (; n >= 8; n -= 8, bytes += sizeof bits) {
        memcpy(&bits, bytes, sizeof bits);
        bad |= (lanes)((bits & exponent) == exponent);
    }
    bits = (lanes){0};
    memcpy(&bits, bytes, 4 * n);
    bad |= (lanes)((bits & exponent) == exponent);
    return (bad[0] | bad[1] | bad[2] | bad[3] | bad[4] | bad[5] | bad[6] | bad[7]) == 0;
}

/* How many rows chunk chunk_i of the episode holds. */
static uint32_t rows_in_chunk(const struct store_episode *episode, uint32_t chunk_i)
{
    const uint32_t chunk_rows = store_chunk_rows(episode->W);
    const uint32_t rest = episode->n_rows - chunk_i * chunk_rows;
    return rest < chunk_rows ? rest : chunk_rows;
}

/* INVALID, with row and column, where a number of the chunk is not finite: it would spoil every
 * learner that draws it. */
static status check_rows(const struct store_episode *episode, const struct buffer *chunk,
                         uint32_t chunk_i, struct err *err)
{
    const uint8_t *rows = chunk->bytes + STORE_CHUNK_HEADER;
    const size_t n = (size_t)rows_in_chunk(episode, chunk_i) * episode->W;
    if (all_finite(rows, n)) {
        return STATUS_OK;
    }
    /* Only now is it worth looking for the place. */
    size_t bad = 0;
    while (all_finite(rows + 4 * bad, 1)) {
        bad++;
    }
    return err_set(err, STATUS_INVALID, "row %zu, column %zu is not finite",
                   (size_t)chunk_i * store_chunk_rows(episode->W) + bad / episode->W,
                   bad % episode->W);
}

/* Chunk by chunk, so that the checksum finds in the cache what the check has read. Keys of an
 * episode's chunks are its id and the numbers that follow it. */
void insert_job_prepare(struct insert_job *job)
{
    const struct store_episode *episode = &job->episode;
    ASSERT(job->has_episode && !job->prepared && job->refused == STATUS_OK);
    job->prepared = true;
    uint32_t chunk_i = 0;
    /* Buffers are linked in the order of their rows, one for each chunk. */
    for (struct buffer *chunk = job->chunks; chunk; chunk = chunk->next, chunk_i++) {
        job->refused = check_rows(episode, chunk, chunk_i, &job->why);
        if (job->refused != STATUS_OK) {
            return;
        }
        store_seal_chunk(chunk->bytes, episode->id + chunk_i, rows_in_chunk(episode, chunk_i),
                         episode->W);
    }
    ASSERT(chunk_i == store_n_chunks(episode->n_rows, episode->W));
}

/* Deletes the episodes of a list of removals; those that are not there have been deleted before.
 *
 * An episode that is damaged in such a way that it cannot be deleted stays until the next start,
 * which checks it again: trying for ever would hold up all other deletes, and Seal. */
static status delete_all(struct inserter *inserter, const struct insert_removal *first,
                         struct err *err)
{
    for (const struct insert_removal *removal = first; removal; removal = removal->next) {
        for (uint32_t i = 0; i < removal->n; i++) {
            status s = store_remove_episode(inserter->store, removal->ids[i], err);
            if (s == STATUS_CORRUPT) {
                log_error("an episode stays in the store: %s", err->text);
            } else if (s != STATUS_OK && s != STATUS_NOT_FOUND) {
                return s;
            }
        }
    }
    return STATUS_OK;
}

/* Its chunks, then its record: an episode that is listed has all of its rows. */
static status write_episode(struct inserter *inserter, struct insert_job *job)
{
    const struct store_episode *episode = &job->episode;
    uint32_t chunk_i = 0;
    for (struct buffer *chunk = job->chunks; chunk; chunk = chunk->next, chunk_i++) {
        status s = store_put_sealed_chunk(inserter->store, episode->id + chunk_i, chunk->bytes,
                                          rows_in_chunk(episode, chunk_i), episode->W, &job->err);
        if (s != STATUS_OK) {
            return s;
        }
    }
    return store_put_episode(inserter->store, episode, &job->err);
}

/* Everything that the job asks for, into the open transaction. Deletes come before the episode that
 * needs their room. On an error job->err says why, and the transaction is dead. */
static status write_job(struct inserter *inserter, struct insert_job *job)
{
    status s = STATUS_OK;
    /* A new table, or its seal. */
    if (job->table) {
        s = store_put_table(inserter->store, job->table, &job->err);
    }
    if (s == STATUS_OK) {
        s = delete_all(inserter, job->removal, &job->err);
    }
    if (s == STATUS_OK && job->has_episode) {
        s = write_episode(inserter, job);
    }
    /* The episode may have been removed since the priority was set, which is no error. */
    for (uint32_t i = 0; s == STATUS_OK && i < job->n_priorities; i++) {
        s = store_put_priority(inserter->store, job->priorities[i].id, job->priorities[i].priority,
                               &job->err);
        s = s == STATUS_NOT_FOUND ? STATUS_OK : s;
    }
    for (uint32_t i = 0; s == STATUS_OK && i < job->n_times; i++) {
        s = store_put_times_sampled(inserter->store, job->times[i].id, job->times[i].times,
                                    &job->err);
        s = s == STATUS_NOT_FOUND ? STATUS_OK : s;
    }
    /* Counters and the writer's position last; all of it is committed together or not at all. */
    if (s == STATUS_OK && job->has_history) {
        s = store_put_history(inserter->store, &job->history, &job->err);
    }
    if (s == STATUS_OK && job->has_writer) {
        s = store_put_writer(inserter->store, &job->writer, job->keep_position, &job->err);
    }
    return s;
}

/* ---- Groups ---- */

/* May the job be written? Not where rows are bad or an earlier job of its writer queue failed:
 * INVALID, RETRY, and job->err says why. */
static status check_job(struct insert_job *job)
{
    /* Its episode has a later sequence than the one that failed. Were it stored, the client could
     * not send the earlier one again. */
    const struct writer *queue = job->writer_queue;
    if (queue && job->epoch <= queue->failed_epoch) {
        return err_set(&job->err, STATUS_RETRY, "an earlier episode of writer %s was not stored",
                       queue->name);
    }
    if (job->has_episode && !job->prepared) {
        insert_job_prepare(job);
    }
    if (job->refused != STATUS_OK) {
        job->err = job->why;
    }
    return job->refused;
}

/* The job is not written: neither is what follows it in its writer queue, and its deletes are
 * deferred. */
static void fail_job(struct inserter *inserter, struct insert_job *job, status reason)
{
    ASSERT(reason != STATUS_OK && job->result == STATUS_PENDING);
    job->result = reason;
    /* Later jobs of the same epoch find this in check_job. */
    atomic_fetch_add(&inserter->failures, 1);
    if (job->writer_queue && job->epoch > job->writer_queue->failed_epoch) {
        job->writer_queue->failed_epoch = job->epoch;
    }
    /* The removal now belongs to the inserter; the job comes back without it. */
    if (job->removal) {
        job->removal->next = inserter->deferred;
        inserter->deferred = job->removal;
        job->removal = NULL;
    }
}

/* Called after a commit that has deleted them, and at the end. */
static void free_deferred(struct inserter *inserter)
{
    while (inserter->deferred) {
        struct insert_removal *removal = inserter->deferred;
        inserter->deferred = removal->next;
        mem_free(removal);
    }
}

/* Commits the open transaction, which has deleted all that was deferred. */
static status commit(struct inserter *inserter, struct err *err)
{
    status s = store_commit(inserter->store, err);
    if (s == STATUS_OK) {
        free_deferred(inserter);
    }
    return s;
}

/* The job into the open transaction, unless it has failed before. One that may not be written fails
 * here and spoils nothing: its deletes are made at its place among those of the other jobs. */
static status write_or_fail(struct inserter *inserter, struct insert_job *job, struct err *err)
{
    if (job->result != STATUS_PENDING) {
        return STATUS_OK;
    }
    status s = check_job(job);
    if (s != STATUS_OK) {
        fail_job(inserter, job, s);
        return delete_all(inserter, inserter->deferred, err);
    }
    s = write_job(inserter, job);
    if (s != STATUS_OK) {
        *err = job->err;
    }
    return s;
}

/* Writes all jobs that may be written in one transaction, or none; `err`: why none. Deferred
 * deletes go first, whatever the group contains. A job that is not prepared yet is so just before
 * it is written, so that its rows are in the cache when they are copied. */
static status write_group(struct inserter *inserter, struct insert_job **jobs, size_t n,
                          struct err *err)
{
    status s = store_begin(inserter->store, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = delete_all(inserter, inserter->deferred, err);
    for (size_t i = 0; s == STATUS_OK && i < n; i++) {
        s = write_or_fail(inserter, jobs[i], err);
    }
    /* The abort takes back the deletes too, so the lists stay as they are. */
    if (s != STATUS_OK) {
        store_abort(inserter->store);
        return s;
    }
    s = commit(inserter, err);
    for (size_t i = 0; s == STATUS_OK && i < n; i++) {
        jobs[i]->result = jobs[i]->result == STATUS_PENDING ? STATUS_OK : jobs[i]->result;
    }
    return s;
}

/* Deletes what is deferred, and what `removal` names, in a transaction of its own. The removal
 * stays the caller's: deleting it once more with its job does nothing. */
static status delete_alone(struct inserter *inserter, const struct insert_removal *removal,
                           struct err *err)
{
    status s = store_begin(inserter->store, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = delete_all(inserter, inserter->deferred, err);
    if (s == STATUS_OK) {
        s = delete_all(inserter, removal, err);
    }
    /* Deletes of episodes that are not there would leave it empty, and an empty transaction does
     * not make the pages of earlier ones usable. */
    if (s == STATUS_OK) {
        s = store_touch(inserter->store, err);
    }
    if (s != STATUS_OK) {
        store_abort(inserter->store);
        return s;
    }
    return commit(inserter, err);
}

/* Writes one job and sets its result. Where the map is full, its deletes go first, in a transaction
 * of their own, so that their pages can be used; that takes a few tries. */
static void write_alone(struct inserter *inserter, struct insert_job *job)
{
    struct err err = {0};
    status s = STATUS_FULL;
    for (int try = 0; try < FULL_TRIES; try++) {
        s = write_group(inserter, &job, 1, &err);
        if (s != STATUS_FULL) {
            break;
        }
        /* The snapshot of the last sync may hold the pages that are missing. */
        const bool released = store_release(inserter->store);
        /* Nothing to delete: only the sync can have made room. */
        if (job->removal == NULL && inserter->deferred == NULL) {
            if (released) {
                continue;
            }
            break;
        }
        /* This transaction frees the pages; the next try may use them. */
        struct err why;
        if (delete_alone(inserter, job->removal, &why) != STATUS_OK) {
            log_warn("deleting to make room failed: %s", why.text);
        }
        (void)store_release(inserter->store);
    }
    if (s != STATUS_OK && job->result == STATUS_PENDING) {
        log_warn("write failed: %s", err.text);
        job->err = err;
        fail_job(inserter, job, s);
    }
}

/* Writes a list of jobs, at most GROUP_JOBS_MAX: together where that succeeds, else one by one.
 * Afterwards each has its result. */
static void write_jobs(struct inserter *inserter, struct insert_job *first)
{
    struct insert_job *jobs[GROUP_JOBS_MAX];
    size_t n = 0, n_written = 0;
    uint64_t bytes = 0;
    const uint64_t start_ns = clock_now_ns();
    for (struct insert_job *job = first; job; job = job->next) {
        job->result = STATUS_PENDING;
        jobs[n++] = job;
    }
    /* All in one transaction, which is what makes inserting fast: a sync costs the same for one job
     * as for hundreds. A full map may only need the sync that lets its pages go. */
    struct err err;
    status s = write_group(inserter, jobs, n, &err);
    if (s == STATUS_FULL && store_release(inserter->store)) {
        s = write_group(inserter, jobs, n, &err);
    }
    for (size_t i = 0; i < n; i++) {
        /* One by one; a job that fails takes the later ones of its writer queue along. */
        if (s != STATUS_OK && jobs[i]->result == STATUS_PENDING) {
            write_alone(inserter, jobs[i]);
        }
        ASSERT(jobs[i]->result != STATUS_PENDING);
        if (jobs[i]->result == STATUS_OK) {
            n_written++;
            bytes += job_bytes(jobs[i]);
        }
    }
    /* What Info and the metrics say about commits. */
    const uint64_t spent_ns = clock_now_ns() - start_ns;
    metric_observe(inserter->commit_seconds, (double)spent_ns * 1e-9);
    atomic_fetch_add(&inserter->busy_ns, spent_ns);
    atomic_fetch_add(&inserter->commits, 1);
    atomic_fetch_add(&inserter->jobs, n_written);
    atomic_fetch_add(&inserter->bytes, bytes);
    inserter->unsynced = true;
}

/* ---- Compaction ---- */

/* After the transaction: the job that asks for a compaction leaves the list until it is over. One that
 * cannot have it now comes back with the others. */
static void begin_compaction(struct inserter *inserter, struct insert_job **first)
{
    for (struct insert_job **at = first; *at != NULL;) {
        struct insert_job *job = *at;
        if (job->compact && job->result == STATUS_OK) {
            job->result =
                inserter->compaction
                    ? err_set(&job->err, STATUS_RETRY, "the store is being compacted already")
                    : compaction_begin(&inserter->compaction, inserter->store, &job->err);
            if (job->result == STATUS_OK) {
                *at = job->next;
                job->next = NULL;
                inserter->compact_job = job;
                continue;
            }
        }
        at = &job->next;
    }
}

/* Where the copy is made: it takes the store's place, and the job comes back. */
static void finish_compaction(struct inserter *inserter)
{
    struct insert_job *job = inserter->compact_job;
    job->result = compaction_finish(inserter->compaction, &job->pause_s, &job->err);
    inserter->compaction = NULL;
    inserter->compact_job = NULL;
    inserter->settings.post(inserter->settings.arg, job);
}

/* The next jobs, as a list in order: at least one, then what is there, up to the limits. NULL: none
 * came for PAUSE_MS, or the queue is closed and empty; *s says which. */
static struct insert_job *take_group(struct inserter *inserter, status *s)
{
    void *item;
    /* Waits, so that a pause ends here. */
    *s = queue_pop(inserter->queue, &item, PAUSE_MS);
    if (*s != STATUS_OK) {
        return NULL;
    }
    /* Whatever else waits joins the group, up to its limits: the more waits, the larger the group,
     * the fewer syncs. */
    struct insert_job *first = item;
    struct insert_job *last = first;
    first->next = NULL;
    first->home = inserter->settings.arg;
    uint64_t bytes = job_bytes(first);
    for (size_t n = 1; n < GROUP_JOBS_MAX && bytes < inserter->settings.group_bytes; n++) {
        struct insert_job *job = queue_try_pop(inserter->queue);
        if (job == NULL) {
            break;
        }
        job->next = NULL;
        job->home = inserter->settings.arg;
        last->next = job;
        last = job;
        bytes += job_bytes(job);
    }
    return first;
}

/* Durability `interval`: syncs every sync_ms, or earlier where much room waits for it. */
static void sync_when_due(struct inserter *inserter)
{
    const uint64_t now_ns = clock_now_ns();
    if (inserter->settings.sync_ms == 0 || !inserter->unsynced ||
        (now_ns - inserter->synced_ns < inserter->settings.sync_ms * NS_PER_MS &&
         !store_wants_sync(inserter->store))) {
        return;
    }
    struct err err;
    if (store_sync(inserter->store, &err) != STATUS_OK) {
        log_error("%s", err.text);
    } else {
        inserter->unsynced = false;
    }
    /* Counted from the end of the sync and after a failed one as well: a disk that fails is not
     * asked again at once. */
    inserter->synced_ns = clock_now_ns();
}

/* Nothing has come to be written for a while: tries the deletes of failed jobs by themselves. */
static void delete_deferred(struct inserter *inserter)
{
    struct err err;
    if (inserter->deferred == NULL) {
        return;
    }
    if (delete_alone(inserter, NULL, &err) != STATUS_OK) {
        log_warn("removed episodes are not deleted from the store yet: %s", err.text);
    }
    inserter->unsynced = true;
}

/* The inserter's thread, until the queue is closed and empty. */
static void *run(void *arg)
{
    struct inserter *inserter = arg;
    pthread_setname_np(pthread_self(), "replay-insert");
    status s = STATUS_OK;
    while (s != STATUS_CLOSED) {
        struct insert_job *first = take_group(inserter, &s);
        /* Jobs, or a pause in which deferred deletes and syncs may be due. */
        if (first) {
            write_jobs(inserter, first);
            begin_compaction(inserter, &first);
            if (first) {
                inserter->settings.post(inserter->settings.arg, first);
            }
        } else {
            delete_deferred(inserter);
        }
        if (inserter->compaction && compaction_is_ready(inserter->compaction)) {
            finish_compaction(inserter);
        }
        sync_when_due(inserter);
    }
    if (inserter->compaction) {
        compaction_stop(inserter->compaction);
        finish_compaction(inserter);
    }
    return NULL;
}

/* ---- Life ---- */

status inserter_open(struct inserter **out, struct store *store,
                     const struct inserter_settings *settings, struct err *err)
{
    static const double bounds[] = {1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.3, 1, 3};
    struct inserter *inserter = mem_new(sizeof *inserter);
    if (inserter == NULL || queue_new(&inserter->queue, settings->queue_max) != STATUS_OK) {
        mem_free(inserter);
        return err_set(err, STATUS_NO_MEMORY, "inserter");
    }
    inserter->store = store;
    inserter->settings = *settings;
    inserter->synced_ns = clock_now_ns();
    inserter->commit_seconds =
        metric_histogram("hindcast_replay_commit_seconds", "Time of one transaction of the store.",
                         NULL, bounds, sizeof bounds / sizeof bounds[0]);
    int rc = pthread_create(&inserter->thread, NULL, run, inserter);
    if (rc != 0) {
        queue_free(inserter->queue, NULL);
        mem_free(inserter);
        return err_errno(err, rc, "inserter: thread");
    }
    *out = inserter;
    return STATUS_OK;
}

struct insert_removal *insert_removal_new(const uint64_t *ids, uint32_t n)
{
    struct insert_removal *removal = n > 0 ? mem_new(sizeof *removal + n * sizeof *ids) : NULL;
    if (removal) {
        /* The ids are copied: the caller frees its plan of eviction. */
        removal->n = n;
        memcpy(removal->ids, ids, n * sizeof *ids);
    }
    return removal;
}

status inserter_submit(struct inserter *inserter, struct insert_job *job)
{
    /* A removal that is in a list already would take the rest of that list along. */
    ASSERT(job->removal == NULL || job->removal->next == NULL);
    return queue_try_push(inserter->queue, job);
}

size_t inserter_queued(struct inserter *inserter)
{
    return queue_length(inserter->queue);
}

void inserter_counts(struct inserter *inserter, struct inserter_counts *counts)
{
    *counts = (struct inserter_counts){
        .commits = atomic_load(&inserter->commits),
        .jobs = atomic_load(&inserter->jobs),
        .bytes = atomic_load(&inserter->bytes),
        .failures = atomic_load(&inserter->failures),
        .busy_s = (double)atomic_load(&inserter->busy_ns) * 1e-9,
    };
}

void inserter_close(struct inserter *inserter)
{
    if (inserter) {
        /* The thread writes and posts what is queued, then ends. */
        queue_close(inserter->queue);
        pthread_join(inserter->thread, NULL);
        queue_free(inserter->queue, NULL);
        /* What could not be deleted is still listed in the store. The next start finds it there. */
        free_deferred(inserter);
        mem_free(inserter);
    }
}
