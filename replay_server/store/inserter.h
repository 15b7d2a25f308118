/* The one thread that writes to the store. Jobs go in, are written in order, several to a
 * transaction, and come back when they are committed (with durability `each`: on the disk). While
 * one commit waits for the disk the next group gathers. */
#ifndef HINDCAST_REPLAY_SERVER_STORE_INSERTER_H
#define HINDCAST_REPLAY_SERVER_STORE_INSERTER_H

#include "replay_server/store/buffer_pool.h"
#include "replay_server/store/store.h"
#include "replay_server/table/writers.h"

struct inserter;

struct insert_priority {
    uint64_t id;
    double priority;
};

/* What to write, all in one transaction; parts that are absent are not. The job and what it points
 * to belong to the inserter from submit until it comes back. */
struct insert_job {
    const struct store_table *table; /* NULL: none */
    bool has_episode;
    struct store_episode episode;
    struct buffer *chunks; /* n_chunks of them, linked in order; rows begin at STORE_CHUNK_HEADER */
    /* Episodes to take out first; they are in the store. Should a job of a lane fail, they go with
     * whatever is written next: what was removed first is gone when something later is. */
    const uint64_t *removed;
    uint32_t n_removed;
    const struct insert_priority *priorities;
    uint32_t n_priorities;
    bool has_history;
    struct store_history history;
    bool has_writer;
    bool keep_position; /* the writer's sequence and cursor stay as the store has them */
    struct store_writer writer;
    /* Jobs of one lane (a writer) succeed in order: once one has failed, so do all that were
     * submitted with its epoch. NULL: no lane. */
    struct writer *lane;
    uint64_t epoch;

    /* Filled in when it comes back: OK, FULL, INVALID (a row that is not finite), RETRY (an earlier
     * one of its lane failed), IO .. */
    status result;
    struct err err;

    void (*done)(struct insert_job *job); /* the submitter's; the inserter does not call it */
    void *owner;
    void *home;              /* the inserter's `arg`, filled in by it */
    struct insert_job *next; /* the list that comes back, in order of submission */
};

struct inserter_settings {
    size_t queue_max;     /* jobs that may wait */
    uint64_t group_bytes; /* of rows in one transaction, about */
    uint64_t sync_ms;     /* STORE_INTERVAL: between syncs; 0: never sync */
    void (*post)(
        void *arg,
        struct insert_job *first); /* takes a list of jobs back; on the inserter's thread */
    void *arg;
};

struct inserter_counts {
    uint64_t commits, jobs, bytes, failures;
    double busy_s; /* spent in transactions */
};

status inserter_open(struct inserter **inserter, struct store *store,
                     const struct inserter_settings *settings, struct err *err) MUST_CHECK;
/* QUEUE_FULL: the queue is full; the job stays the caller's. */
status inserter_submit(struct inserter *inserter, struct insert_job *job) MUST_CHECK;
size_t inserter_queued(struct inserter *inserter);
void inserter_counts(struct inserter *inserter, struct inserter_counts *counts); /* any thread */
/* Writes what is queued, posts it, joins the thread. */
void inserter_close(struct inserter *inserter);

#endif
