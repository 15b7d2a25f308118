/* What the parts of bench_replay have in common: its state, showing figures, inserting and sampling.
 * Whatever fails ends the program. */
#ifndef HINDCAST_BENCH_REPLAY_WORK_H
#define HINDCAST_BENCH_REPLAY_WORK_H

#include <stdint.h>
#include <sys/types.h>

#include "common/clients/replay_priorities.h"
#include "common/clients/replay_sampler.h"
#include "common/clients/replay_writer.h"

/* The shape of the data; the head of this file explains it. */
#define EPISODE_T        1000u
#define ROW_W            32u
#define SNIPPET_N        10u
#define TABLE_EPISODES   1000u
#define STEP_BYTES       (ROW_W * 4.0)
#define SNIPPET_BYTES    ((SNIPPET_N + 1) * ROW_W * 4.0)
#define WARM_UP_SNIPPETS 200000u
#define SHARDS_MAX       32
#define ROUNDS_MAX       99

/* All state of the program; there is one, which at_exit_bench points to. */
struct bench {
    bool json;
    double seconds;
    int rounds;
    const char *durability;
    uint32_t batch;
    const char *only;
    char folder[512];
    char binary[1024];
    const char *tls; /* the folder, where client and server have certificates; NULL: none */
    pid_t servers[SHARDS_MAX];  /* 0: none */
    unsigned memory_mb;         /* of the server, with --only=large */
    const char *gather_threads; /* a flag of that server, too */
    int shards;                 /* with --shards: so many at most; 0: that part is left out */
    struct experiment experiment;
    struct signature signature;
    struct episode episode;
    double insert_steps, sample_one_us; /* what came out; 0: not measured */
    unsigned n_shown;
};

/* Prints one figure as soon as it is known. In JSON the first one opens the object. */
void replay_work_show(struct bench *bench, const char *name, double value, const char *unit);
/* Ends the program where a step has failed: a benchmark has nothing to fall back to. */
void replay_work_need(status s, const struct err *err, const char *what);
double replay_work_since(uint64_t start_ns); /* [s] */

/* Processor time so far of this process, of all servers, and of both [s]. */
double replay_work_client_cpu(void);
double replay_work_server_cpu(const struct bench *bench);
double replay_work_cpu(const struct bench *bench);
/* Waits for the end, so that what follows has the machine alone. */
void replay_work_stop_servers(struct bench *bench);

/* Makes the signature and the one episode that is inserted over and over. */
void replay_work_make_data(struct bench *bench);
/* A writer with enough in flight to keep servers busy. */
struct replay_writer *replay_work_open_writer(struct bench *bench);
/* Inserts the same rows n times; another identity makes each one a new episode. */
void replay_work_insert(struct bench *bench, struct replay_writer *writer, unsigned n);
/* Waits until the servers have acknowledged all that was inserted. */
void replay_work_flush(struct replay_writer *writer);
/* Batches that are taken one after another. */
struct sampling {
    struct replay_sampler *sampler;
    struct replay_priorities *priorities; /* NULL: none are sent */
    uint64_t next;                        /* number of the next batch */
};

/* Takes batches and returns them for `seconds`, and at least `least` of them; the number of
 * snippets. Gives the episode of every snippet another priority, where they are sent. */
double replay_work_sample(struct sampling *sampling, double seconds, uint64_t least);

/* A table larger than the memory of its server (replay_large.c). */
void replay_large_run(struct bench *bench);

/* Of several servers (replay_shards.c): shows what 1, 2, 4, .. bench->shards of them do. */
void replay_shards_run(struct bench *bench);

#endif
