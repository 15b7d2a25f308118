/* One loop: next episode, keep, insert, report. */
#include "collector/keeper.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "collector/returns_file.h"
#include "common/clients/replay_writer.h"

#define LOG_MODULE "keeper"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/metrics.h"

#define RECENT          10 /* episodes in the mean return that is shown */
#define FLUSH_MS        5000
#define FINISH_MS       10000
#define INSERT_RETRY_MS 500

/* Acting waits when so much is not acknowledged: an episode or two. With more under way the
 * server's samples_per_insert would hold up the inserts, and acting would run away from learning.
 * */
#define IN_FLIGHT_BYTES (128u << 10)

struct keeper {
    struct keeper_parts parts;
    pthread_t thread;
    char writer_name[64];
    struct returns_file *returns;
    struct replay_writer *writer; /* NULL: not inserting, or not any more */
    uint64_t kept;                /* by this process */
    double recent[RECENT];        /* mean return over tasks of the last episodes */
    uint64_t started_ns;
    struct metric *kept_total, *inserted_total, *version, *episode_return[SIGNATURE_TASKS_MAX];
};

static uint64_t sequence_of_cursor(const unsigned char *cursor, size_t size)
{
    uint64_t sequence = 0;
    for (size_t i = 0; i < size && i < 8; i++) {
        sequence |= (uint64_t)cursor[i] << (8 * i);
    }
    return sequence;
}

static void cursor_of_sequence(unsigned char cursor[8], uint64_t sequence)
{
    for (size_t i = 0; i < 8; i++) {
        cursor[i] = (unsigned char)(sequence >> (8 * i));
    }
}

/* ---- Replay ---- */

/* Inserting ends when the process does, and when the run does: nobody samples any more. */
static bool insert_should_stop(void *arg)
{
    struct keeper *keeper = arg;
    struct policy_source *policies = keeper->parts.policies;
    return process_stopping(keeper->parts.process) ||
           (policies != NULL && policy_source_finished(policies));
}

/* Inserts, waiting for a server that is away for as long as it takes. CLOSED: it was time to stop.
 * */
static status insert_episode(struct keeper *keeper, const struct episode *episode, struct err *err)
{
    unsigned char cursor[8];
    cursor_of_sequence(cursor, episode->identity.episode);
    for (;;) {
        status s = replay_writer_insert(keeper->writer, episode, cursor, sizeof cursor, err);
        if (s == STATUS_OK) {
            metric_add(keeper->inserted_total, 1);
        }
        if (s != STATUS_UNAVAILABLE && s != STATUS_TIMEOUT && s != STATUS_FULL) {
            return s;
        }
        log_warn("replay does not take episodes, trying on: %s", err->text);
        if (insert_should_stop(keeper)) {
            return STATUS_CLOSED;
        }
        clock_sleep_ms(INSERT_RETRY_MS);
    }
}

static status insert_visited(void *arg, const struct episode *episode, struct err *err)
{
    return insert_episode(arg, episode, err);
}

/* No more inserting; the logs are kept all the same. */
static void close_writer(struct keeper *keeper)
{
    if (keeper->writer != NULL) {
        struct err err;
        if (replay_writer_flush(keeper->writer, FLUSH_MS, &err) != STATUS_OK) {
            log_info("not all episodes were acknowledged; the next start sends them again: %s",
                     err.text);
        }
        replay_writer_close(keeper->writer);
        keeper->writer = NULL;
    }
}

/* Opens the writer, and brings the server up to where the logs are. */
static status open_replay(struct keeper *keeper, struct err *err)
{
    const struct collector_options *options = keeper->parts.options;
    struct replay_writer_options writing = {.table = options->table,
                                            .writer = keeper->writer_name,
                                            .restored = false,
                                            .max_in_flight_bytes = IN_FLIGHT_BYTES,
                                            .stopping = insert_should_stop,
                                            .stopping_arg = keeper};
    unsigned char cursor[REPLAY_CURSOR_MAX];
    size_t cursor_size = 0;
    bool sealed = false;
    status s = STATUS_UNAVAILABLE;
    while (s == STATUS_UNAVAILABLE || s == STATUS_TIMEOUT) {
        s = replay_writer_open(&keeper->writer, keeper->parts.experiment, keeper->parts.signature,
                               &writing, cursor, &cursor_size, &sealed, err);
        if (insert_should_stop(keeper)) {
            return s == STATUS_OK ? s : STATUS_CLOSED;
        }
    }
    if (s != STATUS_OK) {
        return err_context(err, s, "open replay");
    }
    if (sealed) {
        return err_set(err, STATUS_MISMATCH,
                       "replay table %s is sealed: nothing can be inserted; set "
                       "collector.insert: false, or use another table",
                       options->table);
    }
    uint64_t there = sequence_of_cursor(cursor, cursor_size);
    uint64_t here = log_store_last(keeper->parts.store);
    if (there > here) {
        log_warn("the replay has episodes that the logs do not; were logs removed? "
                 "replay=%" PRIu64 " logs=%" PRIu64,
                 there, here);
    } else if (there < here) {
        log_info("inserting what the replay lacks from=%" PRIu64 " to=%" PRIu64, there + 1, here);
        s = log_store_each(keeper->parts.store, there, insert_visited, keeper, err);
    }
    return s;
}

/* ---- One episode ---- */

static double mean_return(const struct episode *episode, const struct signature *signature)
{
    double sum = 0;
    for (uint32_t k = 0; k < signature->K; k++) {
        sum += episode_return(episode, signature, k);
    }
    return signature->K == 0 ? 0 : sum / signature->K;
}

static void report(struct keeper *keeper, uint64_t sequence, const char *acting)
{
    uint64_t n = keeper->kept < RECENT ? keeper->kept : RECENT;
    uint64_t last = (uint64_t)keeper->parts.options->episodes;
    double mean = 0, seconds = (double)(clock_now_ns() - keeper->started_ns) / 1e9;
    char total[32] = "";
    for (uint64_t i = 0; i < n; i++) {
        mean += keeper->recent[i] / (double)n;
    }
    if (last > 0) {
        snprintf(total, sizeof total, "/%" PRIu64, last);
    }
    process_report(
        keeper->parts.process, last > 0 ? (double)sequence / (double)last : -1,
        "episode %" PRIu64 "%s  return %.1f (mean of %" PRIu64 ")  %.0f steps/s  acting %s",
        sequence, total, mean, n, (double)crew_steps(keeper->parts.crew) / seconds, acting);
}

static void count(struct keeper *keeper, const struct finished_episode *finished)
{
    const struct signature *signature = keeper->parts.signature;
    char acting[48] = "random";
    keeper->recent[keeper->kept % RECENT] = mean_return(finished->episode, signature);
    keeper->kept++;
    metric_add(keeper->kept_total, 1);
    metric_set(keeper->version, (double)finished->version);
    for (uint32_t k = 0; k < signature->K; k++) {
        metric_set(keeper->episode_return[k], episode_return(finished->episode, signature, k));
    }
    if (!finished->random) {
        snprintf(acting, sizeof acting, "policy v%" PRIu64, finished->version);
    }
    report(keeper, finished->sequence, acting);
}

/* Order matters: a line in returns.csv without its episode is taken away at the next start; an
 * episode that is inserted is in the journal already, so the replay never knows more than the
 * logs. */
static status keep(struct keeper *keeper, struct finished_episode *finished, struct err *err)
{
    const struct keeper_parts *parts = &keeper->parts;
    double wall_s = (double)(clock_wall_ns() - log_store_started_ns(parts->store)) / 1e9;
    status s = returns_file_append(keeper->returns, finished, wall_s, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "returns.csv");
    }
    s = log_store_append(parts->store, finished->episode, err);
    if (s != STATUS_OK) {
        return s;
    }
    count(keeper, finished);
    return keeper->writer == NULL ? STATUS_OK : insert_episode(keeper, finished->episode, err);
}

/* ---- The thread ---- */

/* Until the crew has no more; STATUS_CLOSED is the good end. */
static status keep_all(struct keeper *keeper, struct err *err)
{
    for (;;) {
        struct finished_episode *finished;
        status s = crew_next(keeper->parts.crew, 500, &finished, err);
        if (s == STATUS_TIMEOUT) {
            continue;
        }
        if (s != STATUS_OK) {
            return s;
        }
        s = keep(keeper, finished, err);
        finished_episode_free(finished);
        if (s == STATUS_CLOSED) {
            /* Time to stop: what comes after this is kept, but not inserted. */
            close_writer(keeper);
        } else if (s != STATUS_OK) {
            return s;
        }
    }
}

/* All episodes are there: where asked to, end the run for everybody. */
static status finish_run(struct keeper *keeper, struct err *err)
{
    const struct keeper_parts *parts = &keeper->parts;
    char reason[64];
    if (!parts->options->finish_run || policy_source_finished(parts->policies)) {
        return STATUS_OK;
    }
    snprintf(reason, sizeof reason, "%lld episodes collected", (long long)parts->options->episodes);
    status s = STATUS_UNAVAILABLE;
    while ((s == STATUS_UNAVAILABLE || s == STATUS_TIMEOUT) && !process_stopping(parts->process)) {
        s = parameters_client_finish(parts->client, 0, reason, keeper->writer_name, FINISH_MS, err);
    }
    if (s != STATUS_OK && process_stopping(parts->process)) {
        return STATUS_OK; /* the next start asks again */
    }
    return s == STATUS_OK ? s : err_context(err, s, "finish the run");
}

/* The last episodes wait for the replay as all others do. */
static void wait_for_replay(struct keeper *keeper)
{
    struct err err;
    while (keeper->writer != NULL && !insert_should_stop(keeper)) {
        status s = replay_writer_flush(keeper->writer, FLUSH_MS, &err);
        if (s == STATUS_OK) {
            return;
        }
        if (s != STATUS_TIMEOUT && s != STATUS_UNAVAILABLE) {
            log_warn("the last episodes are in the logs, but perhaps not in the replay: %s",
                     err.text);
            return;
        }
    }
}

static status keeper_work(struct keeper *keeper, struct err *err)
{
    const struct keeper_parts *parts = &keeper->parts;
    uint64_t last = (uint64_t)parts->options->episodes;
    status s = parts->options->insert ? open_replay(keeper, err) : STATUS_OK;
    if (s == STATUS_OK || s == STATUS_CLOSED) {
        s = keep_all(keeper, err);
    }
    if (s == STATUS_CLOSED) {
        wait_for_replay(keeper);
    }
    close_writer(keeper);
    if (s != STATUS_CLOSED) {
        return s;
    }
    s = log_store_compact(parts->store, err);
    if (s == STATUS_OK && last > 0 && log_store_last(parts->store) >= last) {
        log_info("all episodes are there episodes=%" PRIu64, last);
        s = finish_run(keeper, err);
    }
    return s;
}

static void *keeper_main(void *arg)
{
    struct keeper *keeper = arg;
    struct err err = {0};
    status s = keeper_work(keeper, &err);
    if (s != STATUS_OK) {
        log_error("cannot go on: %s", err.text);
    }
    crew_stop(keeper->parts.crew);
    process_stop(keeper->parts.process, s == STATUS_OK ? 0 : 1);
    return NULL;
}

static void make_metrics(struct keeper *keeper)
{
    keeper->kept_total = metric_counter("hindcast_collector_episodes_total", "Episodes kept", NULL);
    keeper->inserted_total = metric_counter("hindcast_collector_inserted_episodes_total",
                                            "Episodes handed to the replay", NULL);
    keeper->version =
        metric_gauge("hindcast_collector_policy_version",
                     "Version that the last episode was acted with; 0: at random", NULL);
    for (uint32_t k = 0; k < keeper->parts.signature->K; k++) {
        char labels[SIGNATURE_NAME_SIZE + 16];
        snprintf(labels, sizeof labels, "task=\"%s\"", keeper->parts.signature->rewards[k]);
        keeper->episode_return[k] =
            metric_gauge("hindcast_collector_episode_return", "Return of the last episode", labels);
    }
}

status keeper_start(struct keeper **keeper, const struct keeper_parts *parts, struct err *err)
{
    struct keeper *made = mem_new(sizeof *made);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "keeper: out of memory");
    }
    made->parts = *parts;
    made->started_ns = clock_now_ns();
    snprintf(made->writer_name, sizeof made->writer_name, "collector-%lld",
             (long long)parts->options->index);
    make_metrics(made);
    char path[CONFIG_TEXT_SIZE + 32];
    snprintf(path, sizeof path, "%s/returns.csv", parts->options->folder);
    status s = returns_file_open(&made->returns, path, parts->signature,
                                 log_store_last(parts->store), err);
    if (s == STATUS_OK) {
        int number = pthread_create(&made->thread, NULL, keeper_main, made);
        s = number == 0 ? STATUS_OK : err_errno(err, number, "start the keeper");
    }
    if (s != STATUS_OK) {
        returns_file_close(made->returns);
        mem_free(made);
        return s;
    }
    *keeper = made;
    return STATUS_OK;
}

void keeper_join(struct keeper *keeper)
{
    if (keeper != NULL) {
        pthread_join(keeper->thread, NULL);
        replay_writer_close(keeper->writer);
        returns_file_close(keeper->returns);
        mem_free(keeper);
    }
}
