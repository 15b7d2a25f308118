/* One loop: take the next episode, write it to disk, insert it into the replay server, report.
 *
 * The order of writes is what makes a crash harmless (see write_episode). The replay server keeps a
 * cursor for this writer, the sequence of the last episode inserted; comparing it with the logs at
 * start tells what is missing there.
 *
 * The logs are complete whatever happens to the replay server: where inserting has to end, writing
 * goes on. Everything here runs on the writer's thread but the start and the join. */
#include "collector/episode_writer.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "collector/returns_file.h"
#include "collector/tally.h"
#include "common/clients/replay_writer.h"

#define LOG_MODULE "episode_writer"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "common/base/metrics.h"

/* How long one look at the last acknowledgements takes, while the thread waits for them. */
#define FLUSH_MS 5000
/* How long the learner may take to answer the request to end the run. */
#define FINISH_MS 10000
/* The pause before an insert is tried again. */
#define INSERT_RETRY_MS 500
/* The longest wait for an episode, after which a wait for parameters is reported. */
#define NEXT_MS     500
#define CONNECT_MS  5000  /* a server may be away so long before a call returns and says so */
#define WAIT_LOG_MS 60000 /* a wait that goes on is logged this often */

/* The replay writer accepts no more episodes while this many bytes are not acknowledged: an episode
 * or two. With more in flight the server's samples_per_insert would delay the inserts, and acting
 * would run ahead of learning. */
#define IN_FLIGHT_BYTES (128u << 10)

/* What the thread owns: after episode_writer_start nobody else touches it. */
struct episode_writer {
    struct episode_writer_parts parts;
    pthread_t thread;
    char name[64]; /* of this writer on the replay server: "collector-0" */
    struct returns_file *returns;
    struct replay_writer *replay; /* NULL: not inserting, or no longer */
    struct tally tally;           /* of the episodes written by this process */
    uint64_t started_ns;
    uint64_t wait_logged_ns; /* when a wait was last logged; 0: nothing is waited for */
    struct metric *written_total, *inserted_total, *version;
};

/* The cursor on the replay server is a sequence, 8 bytes little-endian. An empty one, of a writer
 * that the server does not know, is 0: nothing has been inserted. */
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

/* ---- Waiting ---- */

/* Says what is waited for: on the status line each time, in the log at first and then once a
 * minute. No wait of this thread is bounded in time, since the peer may return; each is visible. */
static void report_wait(struct episode_writer *writer, const char *what, const char *reason)
{
    uint64_t now_ns = clock_now_ns();
    process_report(writer->parts.process, -1, "waiting for %s: %s", what, reason);
    if (writer->wait_logged_ns == 0 || now_ns - writer->wait_logged_ns > WAIT_LOG_MS * NS_PER_MS) {
        writer->wait_logged_ns = now_ns;
        log_warn("waiting for %s: %s", what, reason);
    }
}

/* Progress was made: the next wait is logged at once. */
static void end_wait(struct episode_writer *writer)
{
    writer->wait_logged_ns = 0;
}

/* ---- Inserting ---- */

/* Inserting ends when the process does, and when the run does: then nobody samples any more. */
static bool insert_should_stop(void *arg)
{
    struct episode_writer *writer = arg;
    struct policy_cache *policies = writer->parts.policies;
    return process_stopping(writer->parts.process) ||
           (policies != NULL && policy_cache_finished(policies));
}

/* Inserts, and retries for as long as the server is away. CLOSED: it was time to stop. */
static status insert_episode(struct episode_writer *writer, const struct episode *episode,
                             struct err *err)
{
    /* The cursor travels with the episode, so that the server never has one without the other. */
    unsigned char cursor[8];
    cursor_of_sequence(cursor, episode->identity.episode);
    for (;;) {
        status s = replay_writer_insert(writer->replay, episode, cursor, sizeof cursor, err);
        if (s == STATUS_OK) {
            metric_add(writer->inserted_total, 1);
            end_wait(writer);
        }
        /* Only these three go away by themselves. */
        if (s != STATUS_UNAVAILABLE && s != STATUS_TIMEOUT && s != STATUS_FULL) {
            return s;
        }
        report_wait(writer, "the replay server", err->text);
        if (insert_should_stop(writer)) {
            return STATUS_CLOSED;
        }
        clock_sleep_ms(INSERT_RETRY_MS);
    }
}

/* insert_episode in the form that log_store_each calls. */
static status insert_visited(void *arg, const struct episode *episode, struct err *err)
{
    return insert_episode(arg, episode, err);
}

/* Ends inserting; episodes are still written to the logs. */
static void close_replay(struct episode_writer *writer)
{
    if (writer->replay != NULL) {
        struct err err;
        if (replay_writer_flush(writer->replay, FLUSH_MS, &err) != STATUS_OK) {
            log_info("not all episodes were acknowledged; the next start sends them again: %s",
                     err.text);
        }
        replay_writer_close(writer->replay);
        writer->replay = NULL;
    }
}

/* Inserts the episodes after `there`, the last that the server has, up to the logs' last. */
static status insert_missing(struct episode_writer *writer, uint64_t there, struct err *err)
{
    /* Where the logs are behind there is nothing to insert, and the warning says so. */
    uint64_t here = log_store_last(writer->parts.store);
    if (there > here) {
        log_warn("the replay server has episodes that the logs lack; were logs removed? "
                 "replay=%" PRIu64 " logs=%" PRIu64,
                 there, here);
        return STATUS_OK;
    }
    if (there == here) {
        return STATUS_OK;
    }
    log_info("inserting episodes that the replay server lacks from=%" PRIu64 " to=%" PRIu64,
             there + 1, here);
    return log_store_each(writer->parts.store, there, insert_visited, writer, err);
}

/* Opens the replay writer and brings the server up to date with the logs. Waits for a server that
 * is away as long as the process and the run go on. */
static status open_replay(struct episode_writer *writer, struct err *err)
{
    /* The name is the same after a restart, so the server finds the cursor of this writer. */
    const struct collector_options *options = writer->parts.options;
    /* Fresh data, not restored logs: the server weighs them differently. */
    struct replay_writer_options writing = {.table = options->table,
                                            .writer = writer->name,
                                            .restored = false,
                                            .max_in_flight_bytes = IN_FLIGHT_BYTES,
                                            .connect_timeout_ms = CONNECT_MS,
                                            .stopping = insert_should_stop,
                                            .stopping_arg = writer};
    /* What the server knows of this writer comes back from the open. */
    unsigned char cursor[REPLAY_CURSOR_MAX];
    size_t cursor_size = 0;
    bool sealed = false;
    status s = STATUS_UNAVAILABLE;
    while (s == STATUS_UNAVAILABLE || s == STATUS_TIMEOUT) {
        s = replay_writer_open(&writer->replay, writer->parts.experiment,
                               &writer->parts.environment->signature, &writing, cursor,
                               &cursor_size, &sealed, err);
        /* The end of the run ends the wait; a writer that is open by then is closed later like any
         * other. */
        if (insert_should_stop(writer)) {
            return s == STATUS_OK ? s : STATUS_CLOSED;
        }
        if (s == STATUS_UNAVAILABLE || s == STATUS_TIMEOUT) {
            report_wait(writer, "the replay server", err->text);
        }
    }
    end_wait(writer);
    if (s != STATUS_OK) {
        return err_context(err, s, "open replay");
    }
    /* Waiting would not help: a sealed table stays sealed. */
    if (sealed) {
        return err_set(err, STATUS_MISMATCH,
                       "replay table %s is sealed: nothing can be inserted; set "
                       "collector.insert: false, or use another table",
                       options->table);
    }
    return insert_missing(writer, sequence_of_cursor(cursor, cursor_size), err);
}

/* ---- One episode ---- */

/* The status line. */
static void report(struct episode_writer *writer, uint64_t sequence, const char *acting)
{
    uint64_t last = (uint64_t)writer->parts.options->episodes;
    double seconds = (double)(clock_now_ns() - writer->started_ns) / 1e9;
    char total[32] = "", recent[128];
    if (last > 0) {
        snprintf(total, sizeof total, "/%" PRIu64, last);
    }
    tally_recent(&writer->tally, recent, sizeof recent);
    process_report(writer->parts.process, last > 0 ? (double)sequence / (double)last : -1,
                   "episode %" PRIu64 "%s  %s  %.0f steps/s  acting %s", sequence, total, recent,
                   (double)worker_pool_steps(writer->parts.pool) / seconds, acting);
}

/* Metrics and the status line of one written episode. */
static void count(struct episode_writer *writer, const struct finished_episode *finished)
{
    char acting[48];
    tally_add(&writer->tally, finished);
    metric_add(writer->written_total, 1);
    metric_set(writer->version, (double)finished->version);
    /* With the version that the episode began with; a saved policy has none. */
    int n = snprintf(acting, sizeof acting, "%s", acting_text(finished->acting));
    if (finished->version > 0) {
        snprintf(acting + n, sizeof acting - (size_t)n, " v%" PRIu64, finished->version);
    }
    report(writer, finished->sequence, acting);
}

/* Writes one episode. The order matters: a line in returns.csv without its episode is removed at
 * the next start; an episode that is inserted is in the journal already, so the replay server never
 * knows more than the logs. */
static status write_episode(struct episode_writer *writer, struct finished_episode *finished,
                            struct err *err)
{
    const struct episode_writer_parts *parts = &writer->parts;
    /* Time since the first start, so that the column continues over restarts. */
    double wall_s = (double)(clock_wall_ns() - log_store_started_ns(parts->store)) / 1e9;
    status s = returns_file_append(writer->returns, finished, wall_s, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "returns.csv");
    }
    /* Synced when this returns: the episode is safe from here on. */
    s = log_store_append(parts->store, finished->episode, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* Counted once it is safe, whether or not the server takes it. */
    count(writer, finished);
    return writer->replay == NULL ? STATUS_OK : insert_episode(writer, finished->episode, err);
}

/* ---- The thread ---- */

/* Writes episodes until the pool has no more; CLOSED is the normal end. */
static status write_all(struct episode_writer *writer, struct err *err)
{
    for (;;) {
        struct finished_episode *finished;
        char waits_for[256];
        status s = worker_pool_next(writer->parts.pool, NEXT_MS, &finished, err);
        /* Nothing came. If workers wait for parameters, that is the reason, and is said. */
        if (s == STATUS_TIMEOUT) {
            if (worker_pool_waits_for_policy(writer->parts.pool)) {
                report_wait(writer, "the first parameters",
                            parameters_client_connected(writer->parts.client)
                                ? "the learner has published none yet"
                                : "the learner is not reachable");
            }
            worker_pool_waits_for(writer->parts.pool, waits_for, sizeof waits_for);
            if (waits_for[0] != '\0') {
                report_wait(writer, "the environment", waits_for);
            }
            continue;
        }
        if (s != STATUS_OK) {
            return s;
        }
        /* The episode is written and freed before the next one is taken. */
        end_wait(writer);
        s = write_episode(writer, finished, err);
        finished_episode_free(finished);
        if (s == STATUS_CLOSED) {
            /* Time to stop: what comes after this goes to the logs only. */
            close_replay(writer);
        } else if (s != STATUS_OK) {
            return s;
        }
    }
}

/* All episodes are collected: where the options ask for it, ends the run for all processes. */
static status finish_run(struct episode_writer *writer, struct err *err)
{
    const struct episode_writer_parts *parts = &writer->parts;
    char reason[64];
    /* A run that has ended already is not ended twice. */
    if (!parts->options->finish_run || policy_cache_finished(parts->policies)) {
        return STATUS_OK;
    }
    snprintf(reason, sizeof reason, "%lld episodes collected", (long long)parts->options->episodes);
    /* The learner may be away at this moment; the request is repeated until it is heard. */
    status s = STATUS_UNAVAILABLE;
    while ((s == STATUS_UNAVAILABLE || s == STATUS_TIMEOUT) && !process_stopping(parts->process)) {
        s = parameters_client_finish(parts->client, 0, reason, writer->name, FINISH_MS, err);
        if (s == STATUS_UNAVAILABLE || s == STATUS_TIMEOUT) {
            report_wait(writer, "the learner, to end the run", err->text);
        }
    }
    if (s != STATUS_OK && process_stopping(parts->process)) {
        return STATUS_OK; /* the next start asks again */
    }
    return s == STATUS_OK ? s : err_context(err, s, "finish the run");
}

/* Waits until the server has acknowledged the last episodes, as it does for all others. */
static void wait_for_replay(struct episode_writer *writer)
{
    struct err err;
    while (writer->replay != NULL && !insert_should_stop(writer)) {
        status s = replay_writer_flush(writer->replay, FLUSH_MS, &err);
        if (s == STATUS_OK) {
            return;
        }
        if (s != STATUS_TIMEOUT && s != STATUS_UNAVAILABLE) {
            log_warn("the last episodes are in the logs, but perhaps not on the replay server: %s",
                     err.text);
            return;
        }
        report_wait(writer, "the replay server to acknowledge the last episodes", err.text);
    }
}

/* All that the thread does. OK: the logs are closed as they should be; anything else ends the
 * collector with an error. */
static status write_and_finish(struct episode_writer *writer, struct err *err)
{
    const struct episode_writer_parts *parts = &writer->parts;
    /* The three parts of a start: catch up, write, wait for the server. */
    uint64_t last = (uint64_t)parts->options->episodes;
    status s = parts->options->insert ? open_replay(writer, err) : STATUS_OK;
    if (s == STATUS_OK || s == STATUS_CLOSED) {
        s = write_all(writer, err);
    }
    if (s == STATUS_CLOSED) {
        wait_for_replay(writer);
    }
    close_replay(writer);
    if (s != STATUS_CLOSED) {
        return s;
    }

    /* The normal end: the journal becomes a last shard. */
    tally_log(&writer->tally);
    s = log_store_compact(parts->store, err);
    if (s == STATUS_OK && last > 0 && log_store_last(parts->store) >= last) {
        log_info("all episodes are collected episodes=%" PRIu64, last);
        s = finish_run(writer, err);
    }
    return s;
}

static void *writer_main(void *arg)
{
    struct episode_writer *writer = arg;
    struct err err = {0};
    status s = write_and_finish(writer, &err);
    if (s != STATUS_OK) {
        log_error("the collector stops: %s", err.text);
    }
    /* Nobody would take the episodes of workers that went on. */
    worker_pool_stop(writer->parts.pool);
    process_stop(writer->parts.process, status_exit_code(s));
    return NULL;
}

/* All are registered before the first episode, so that a scrape finds them. */
static void make_metrics(struct episode_writer *writer)
{
    writer->written_total =
        metric_counter("hindcast_collector_episodes_total", "Episodes kept", NULL);
    writer->inserted_total = metric_counter("hindcast_collector_inserted_episodes_total",
                                            "Episodes handed to the replay server", NULL);
    writer->version =
        metric_gauge("hindcast_collector_policy_version",
                     "Version that the last episode was acted with; 0: at random", NULL);
    tally_init(&writer->tally, writer->parts.environment);
}

status episode_writer_start(struct episode_writer **writer,
                            const struct episode_writer_parts *parts, struct err *err)
{
    /* Without a client there is nobody who could end the run. */
    ASSERT(!parts->options->finish_run || parts->client != NULL);
    struct episode_writer *made = mem_new(sizeof *made);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "episode writer: out of memory");
    }
    made->parts = *parts;
    made->started_ns = clock_now_ns();
    snprintf(made->name, sizeof made->name, "collector-%lld", (long long)parts->options->index);
    make_metrics(made);
    /* The file is brought in line with the logs before the thread appends to it. */
    char path[CONFIG_TEXT_SIZE + 32];
    snprintf(path, sizeof path, "%s/returns.csv", parts->options->folder);
    status s = returns_file_open(&made->returns, path, parts->environment,
                                 log_store_last(parts->store), err);
    if (s == STATUS_OK) {
        int number = pthread_create(&made->thread, NULL, writer_main, made);
        s = number == 0 ? STATUS_OK : err_errno(err, number, "start the episode writer");
    }
    if (s != STATUS_OK) {
        returns_file_close(made->returns);
        mem_free(made);
        return s;
    }
    *writer = made;
    return STATUS_OK;
}

void episode_writer_join(struct episode_writer *writer)
{
    if (writer != NULL) {
        pthread_join(writer->thread, NULL);
        replay_writer_close(writer->replay);
        returns_file_close(writer->returns);
        mem_free(writer);
    }
}
