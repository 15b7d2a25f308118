/* Copying snippets out of the store into an outgoing batch. Small batches that are in memory are
 * gathered where they are asked for, others by threads, which ask the disk for many snippets at once
 * where the store is larger than memory. */
#ifndef HINDCAST_REPLAY_SERVER_STORE_GATHERER_H
#define HINDCAST_REPLAY_SERVER_STORE_GATHERER_H

#include "replay_server/store/store.h"

/* From a stored row to the one that is sent: the client's rewards, in its order. */
struct row_map {
    bool same; /* rows are sent as they are stored */
    uint32_t W, W_out;
    uint32_t n_front; /* observation and action: the same in both */
    uint32_t K_out;
    uint32_t rewards[SIGNATURE_TASKS_MAX]; /* column of the stored row */
};
void row_map_init(struct row_map *map, const struct signature *have, const struct signature *want,
                  const uint32_t *reward_map);

struct gather_snippet {
    uint64_t id;
    uint32_t first_row;
    uint32_t n_valid;
    uint32_t n_rows; /* of the episode */
    status result;   /* OK when it has been gathered; PENDING: not yet; NOT_FOUND, CORRUPT */
};

struct gather_job {
    struct gather_snippet *snippets; /* (n) */
    uint32_t n;
    uint32_t N;
    uint32_t n_bad;   /* out: snippets whose result is not OK */
    bool cold;        /* the gatherer's: part of it is on the disk alone, .. */
    uint32_t n_asked; /* .. and so many of its snippets have been asked for */
    const struct row_map *map;
    float *rows;                          /* (n, N + 1, W_out), to be filled */
    void (*done)(struct gather_job *job); /* the submitter's */
    void *owner;
    void *home;              /* the gatherer's `arg`, filled in by it */
    struct gather_job *next; /* the submitter's */
};

/* Gathers every snippet whose result is not OK. Rows after row n_valid become 0. */
void gather_run(struct gather_job *job, struct store_reader *reader);
/* Are the job's rows in memory? A few snippets are looked at, which takes about a microsecond. */
bool gather_is_resident(struct gather_job *job, struct store_reader *reader);

struct gatherer;
/* `post` takes a finished job back, on one of the threads. */
status gatherer_open(struct gatherer **gatherer, struct store *store, uint32_t n_threads,
                     size_t queue_max, void (*post)(void *arg, struct gather_job *job), void *arg,
                     struct err *err) MUST_CHECK;
/* QUEUE_FULL: as many jobs wait as may. */
status gatherer_submit(struct gatherer *gatherer, struct gather_job *job) MUST_CHECK;
size_t gatherer_queued(struct gatherer *gatherer);
/* Finishes and posts what is queued, joins the threads. */
void gatherer_close(struct gatherer *gatherer);

#endif
