/* The one thread that writes to the store. Jobs go in, are written in order, several to a
 * transaction, and come back when they are committed (with durability `each`: on the disk). While
 * one commit waits for the disk the next group gathers. */
#ifndef HINDCAST_REPLAY_SERVER_STORE_INSERTER_H
#define HINDCAST_REPLAY_SERVER_STORE_INSERTER_H

#include "replay_server/store/buffer_pool.h"
#include "replay_server/store/store.h"
#include "replay_server/table/table.h"
#include "replay_server/table/writers.h"

struct inserter;

struct insert_priority {
    uint64_t id;
    double priority;
};

/* Episodes to delete from the store. Deleting one that is not there does nothing. */
struct insert_removal {
    struct insert_removal *next; /* the inserter's */
    uint32_t n;
    uint64_t ids[];
};
/* A copy of the ids; mem_free. NULL: n is 0, or out of memory. */
struct insert_removal *insert_removal_new(const uint64_t *ids, uint32_t n);

/* What to write, all in one transaction; absent parts are not written. The job and what it points
 * to belong to the inserter from submit until the job comes back. */
struct insert_job {
    const struct store_table *table; /* NULL: none */
    bool has_episode;
    struct store_episode episode;
    struct buffer *chunks; /* n_chunks of them, linked in order; rows begin at STORE_CHUNK_HEADER */
    /* Episodes to delete first; NULL: none. Should the job fail, the inserter keeps the removal,
     * sets this to NULL, and deletes them with whatever is written next, or by itself where nothing
     * comes: the caller has taken them out of the index, and they must not outlive an episode that
     * was removed after them. */
    struct insert_removal *removal;
    const struct insert_priority *priorities;
    uint32_t n_priorities;
    const struct table_times *times; /* how often episodes were sampled */
    uint32_t n_times;
    /* A compaction of the store, begun when everything that was submitted before is written. The job
     * comes back when it is over, behind others that were submitted later; one at a time. */
    bool compact;
    bool has_history;
    struct store_history history;
    bool has_writer;
    bool keep_position; /* the writer's sequence and cursor stay as the store has them */
    struct store_writer writer;
    /* Jobs of one writer queue succeed in order: once one has failed, so do all that were submitted
     * with its epoch. NULL: the job belongs to no queue. */
    struct writer *writer_queue;
    uint64_t epoch;
    bool prepared;  /* by insert_job_prepare; zero in a new job, as are the two that follow */
    status refused; /* OK: its rows may be stored; else why not .. */
    struct err why; /* .. in words */

    /* Filled in when it comes back: OK, FULL, INVALID (a row that is not finite), RETRY (an earlier
     * job of its writer queue failed), IO .. */
    status result;
    struct err err;
    double pause_s; /* of a compaction: how long nothing was written */

    void (*done)(struct insert_job *job); /* the submitter's; the inserter does not call it */
    void *owner;
    void *home;              /* the inserter's `arg`, filled in by it */
    struct insert_job *next; /* the list that comes back, in order of submission */
};

struct inserter_settings {
    size_t queue_max;     /* jobs that may wait */
    uint64_t group_bytes; /* of rows in one transaction, about */
    uint64_t sync_ms;     /* STORE_INTERVAL: between syncs; 0: never sync */
    /* Takes a list of jobs back; on the inserter's thread. */
    void (*post)(void *arg, struct insert_job *first);
    void *arg;
};

struct inserter_counts {
    uint64_t commits, jobs, bytes, failures;
    double busy_s; /* spent in transactions */
};

/* Checks the rows of the job's episode and fills in the headers of its chunks. Whoever has the rows
 * in its cache calls it before it submits the job; for a job that is not prepared the inserter does
 * so. Takes about 0.1 ms a MiB. */
void insert_job_prepare(struct insert_job *job);

status inserter_open(struct inserter **inserter, struct store *store,
                     const struct inserter_settings *settings, struct err *err) MUST_CHECK;
/* QUEUE_FULL: the queue is full; the job stays the caller's. */
status inserter_submit(struct inserter *inserter, struct insert_job *job) MUST_CHECK;
size_t inserter_queued(struct inserter *inserter);
void inserter_counts(struct inserter *inserter, struct inserter_counts *counts); /* any thread */
/* Writes what is queued, posts it, tries deferred deletes once more, joins the thread. */
void inserter_close(struct inserter *inserter);

#endif
