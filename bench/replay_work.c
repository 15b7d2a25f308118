/* State, figures, inserting and sampling. See replay_work.h. */
#include "bench/replay_work.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "bench/replay_server_process.h"
#include "common/base/clock.h"

/* Prints one figure as soon as it is known. In JSON the first one opens the object. */
void replay_work_show(struct bench *bench, const char *name, double value, const char *unit)
{
    if (bench->json) {
        printf("%s\"%s\": {\"value\": %.6g, \"unit\": \"%s\"}", bench->n_shown ? ",\n " : "{", name,
               value, unit);
    } else {
        printf("%s %.6g %s\n", name, value, unit);
    }
    bench->n_shown++;
    fflush(stdout);
}

/* Ends the program where a step has failed: a benchmark has nothing to fall back to. clean_up()
 * still runs. */
void replay_work_need(status s, const struct err *err, const char *what)
{
    if (s != STATUS_OK) {
        fprintf(stderr, "bench_replay: %s: %s: %s\n", what, status_text(s), err->text);
        exit(EXIT_FAILURE);
    }
}

double replay_work_since(uint64_t start_ns)
{
    return (double)(clock_now_ns() - start_ns) * 1e-9;
}

/* Processor time of this process, and of all servers, so far [s]. */
double replay_work_client_cpu(void)
{
    struct timespec used;
    ASSERT(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used) == 0);
    return (double)used.tv_sec + 1e-9 * (double)used.tv_nsec;
}

double replay_work_server_cpu(const struct bench *bench)
{
    double sum = 0;
    for (int i = 0; i < SHARDS_MAX && bench->servers[i] > 0; i++) {
        sum += replay_server_process_cpu(bench->servers[i]);
    }
    return sum;
}

double replay_work_cpu(const struct bench *bench)
{
    return replay_work_client_cpu() + replay_work_server_cpu(bench);
}

void replay_work_stop_servers(struct bench *bench)
{
    for (int i = 0; i < SHARDS_MAX; i++) {
        replay_server_process_stop(bench->servers[i]);
        bench->servers[i] = 0;
    }
}

/* A writer with enough in flight to keep the server busy, and not so much that rows leave the
 * processor's third cache between client and server. */
struct replay_writer *replay_work_open_writer(struct bench *bench)
{
    struct err err;
    bool sealed;
    struct replay_writer *writer = NULL;
    const struct replay_writer_options options = {
        .writer = "bench", .restored = true, .max_in_flight_bytes = 16u << 20};
    replay_work_need(replay_writer_open(&writer, &bench->experiment, &bench->signature, &options,
                                        NULL, NULL, &sealed, &err),
                     &err, "open writer");
    return writer;
}

/* Inserts the same rows n times; another identity makes each one a new episode. */
void replay_work_insert(struct bench *bench, struct replay_writer *writer, unsigned n)
{
    struct err err;
    for (unsigned i = 0; i < n; i++) {
        bench->episode.identity.episode++;
        replay_work_need(replay_writer_insert(writer, &bench->episode, NULL, 0, &err), &err,
                         "insert");
    }
}

/* Waits until the server has acknowledged all that was inserted. */
void replay_work_flush(struct replay_writer *writer)
{
    struct err err;
    replay_work_need(replay_writer_flush(writer, 60000, &err), &err, "flush");
}

/* Priorities between 0.5 and 1.5, which differ from episode to episode and from batch to batch. */
static void send_priorities(struct replay_priorities *priorities, const struct replay_batch *batch)
{
    for (uint32_t i = 0; i < batch->snippets; i++) {
        const uint64_t mixed = batch->origins->episode_id[i] * 31 + batch->number;
        const double priority = 0.5 + (double)(mixed % 101) * 0.01;
        const struct replay_origins one = {.episode_id = batch->origins->episode_id + i,
                                           .server = batch->origins->server + i};
        replay_priorities_add(priorities, &one, &priority, 1);
    }
}

/* Takes batches and returns them for `seconds`, and at least `least` of them; the number of
 * snippets. */
double replay_work_sample(struct sampling *sampling, double seconds, uint64_t least)
{
    struct err err;
    double snippets = 0;
    const uint64_t start_ns = clock_now_ns();
    for (uint64_t i = 0; i < least || replay_work_since(start_ns) < seconds; i++) {
        struct replay_batch *batch;
        /* Batches must come in order: with a gap the count of snippets would be wrong. */
        replay_work_need(replay_sampler_next(sampling->sampler, &batch, 10000, &err), &err,
                         "sample");
        if (batch->number != sampling->next) {
            fprintf(stderr, "bench_replay: batch %" PRIu64 " came as number %" PRIu64 "\n",
                    sampling->next, batch->number);
            exit(EXIT_FAILURE);
        }
        if (sampling->priorities) {
            send_priorities(sampling->priorities, batch);
        }
        sampling->next++;
        snippets += batch->snippets;
        replay_sampler_return(sampling->sampler, batch);
    }
    return snippets;
}

/* Makes the signature and the one episode that is inserted over and over. */
void replay_work_make_data(struct bench *bench)
{
    struct err err;
    struct signature *s = &bench->signature;
    *s = (struct signature){.n_slices = 1, .A = 6, .K = 1, .control_period_s = 0.02};
    s->slices[0] = (struct signature_slice){.name = "state", .size = 24};
    strcpy(s->rewards[0], "run");
    for (int i = 0; i < 6; i++) {
        s->action_min[i] = -1;
        s->action_max[i] = 1;
    }
    /* The width that the head of this file promises. */
    ASSERT(signature_width(s) == ROW_W);
    episode_init(&bench->episode, ROW_W);
    replay_work_need(episode_reserve(&bench->episode, EPISODE_T + 1, &err), &err, "episode");
    bench->episode.T = EPISODE_T;
    bench->episode.identity = (struct episode_identity){.source = 4711};
    /* Values that differ, in a period that does not fit the rows: nothing repeats from row to
     * row. */
    for (size_t i = 0; i < (EPISODE_T + 1) * (size_t)ROW_W; i++) {
        bench->episode.rows[i] = (float)(i % 997) * 1e-3f;
    }
}
