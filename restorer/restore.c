/* The restoring thread: position, episodes, end.
 *
 * A table that is restored once must be exactly what the logs contain, so before the first episode
 * the thread checks that the table was not made of other logs and can hold all of these, and before
 * sealing that it has removed none.
 *
 * The cursor of an item is sent with its episode, so what the server has committed and where a
 * restart goes on never disagree. What the loop thread shows of the progress are atomics; all else
 * belongs to the restoring thread once it runs. */
#include "restorer/restore.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

#include "common/clients/replay_writer.h"
#include "restorer/prefetch.h"
#include "restorer/restore_progress.h"
#include "restorer/run_manifest.h"

#define LOG_MODULE "restore"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"

#define LOOK_MS 200 /* how often `is_stopping` is checked */
/* A slice of waiting for acknowledgements, and how long they are waited for when stopping: what
 * is not acknowledged by then is sent again after a restart. */
#define FLUSH_MS      1000
#define LAST_FLUSH_MS 3000

/* All that the restoring thread has. */
struct restore {
    struct restore_parts parts;
    pthread_t thread;
    struct plan *plan;
    struct replay_writer *writer;
    struct dataset_summary *summary; /* of the first pass; NULL once it is written */
    bool sealed;                     /* when the writer was opened: nothing is inserted */
    bool used;                       /* the table has episodes of an earlier process */
    bool final;                      /* the failure is one that no restart mends: exit code 2 */
    uint64_t removed_before;         /* episodes that the table had removed before we began */
    uint64_t pass_good, pass_bad;    /* in this pass */
    uint64_t pass_clipped;           /* action values, in this pass */
    uint64_t started_ns;
    struct restore_progress progress;
};

/* Asked by the writer too, while it waits for the server. */
static bool is_stopping(void *arg)
{
    const struct restore *restore = arg;
    return process_stopping(restore->parts.process);
}

/* The mode is "loop" or "once". */
static bool is_loop(const struct restore *restore)
{
    return restore->parts.options->mode[0] == 'l';
}

/* ---- position ---- */

/* Moves the plan to the position of the last committed episode. With an unusable cursor it starts
 * over; the identities of episodes prevent duplicates. */
static void find_position(struct restore *restore, const void *cursor, size_t size)
{
    struct err err = {0};
    struct plan_position position = {0};
    /* Both the cursor and the position in it may be refused; the plan stays at its beginning
     * then. */
    if (size > 0 && (plan_from_cursor(restore->plan, cursor, size, &position, &err) != STATUS_OK ||
                     plan_seek(restore->plan, position, &err) != STATUS_OK)) {
        log_warn("starting over from the first episode: %s", err.text);
        position = (struct plan_position){0};
    }
    atomic_store(&restore->progress.pass, position.pass);
    atomic_store(&restore->progress.done, plan_done(restore->plan));
    if (size > 0 && err.code == STATUS_OK) {
        log_info("going on behind the last committed episode pass=%" PRIu64
                 " episodes_done=%" PRIu64 " of=%" PRIu64,
                 position.pass, plan_done(restore->plan), plan_episodes(restore->plan));
    }
}

/* Opens the writer, waiting for the server, and finds the position. */
static status connect_writer(struct restore *restore, struct err *err)
{
    const struct restorer_options *options = restore->parts.options;
    char name[64];
    unsigned char cursor[REPLAY_CURSOR_MAX];
    size_t cursor_size = 0;
    /* The name is the same after a restart, so the server finds this restorer's cursor. */
    snprintf(name, sizeof name, "restorer-%" PRId64, options->index);
    const struct replay_writer_options writer_options = {
        .table = options->table,
        .writer = name,
        .restored = true,
        .max_in_flight_bytes = (size_t)options->in_flight,
        .connect_timeout_ms = (uint64_t)(options->connect_timeout * 1e3),
        .stopping = is_stopping,
        .stopping_arg = restore,
    };
    const status s = replay_writer_open(&restore->writer, restore->parts.experiment,
                                        relabel_signature(restore->parts.relabel), &writer_options,
                                        cursor, &cursor_size, &restore->sealed, err);
    if (s == STATUS_OK) {
        /* Somebody has inserted before: the table may be of other logs. */
        restore->used = cursor_size > 0 || restore->sealed;
        find_position(restore, cursor, cursor_size);
    }
    return s;
}

/* ---- the table and the logs ---- */

/* What the manifest is made from. */
static struct run_manifest_inputs inputs_of(const struct restore *restore)
{
    return (struct run_manifest_inputs){.sources = restore->parts.sources,
                                        .relabel = restore->parts.relabel,
                                        .options = restore->parts.options,
                                        .selection = restore->parts.selection};
}

/* Fails with an error that no restart of this process can mend. */
static status refuse(struct restore *restore, status code)
{
    restore->final = true;
    return code;
}

/* A table that has episodes already must have them of these logs. The first restorer checks
 * that, and says in the manifest what a new table is made of. */
static status check_made_of(struct restore *restore, struct err *err)
{
    const struct run_manifest_inputs inputs = inputs_of(restore);
    const char *run_dir = restore->parts.experiment->run_dir;
    struct err why = {0};
    /* One restorer speaks for all: they share one table and one manifest. */
    if (restore->parts.options->index != 0) {
        return STATUS_OK;
    }
    /* A table that is filled in a loop may be fed with other logs; one that is restored once may
     * not. */
    if (!is_loop(restore) && restore->used &&
        run_manifest_check(run_dir, &inputs, &why) == STATUS_MISMATCH) {
        return refuse(
            restore,
            err_set(err, STATUS_MISMATCH,
                    "the table of this run was made of other logs: %.400s. Give the run a new "
                    "experiment.name, or make its table anew: hindcast up .. --restore-anew",
                    why.text));
    }
    /* Written before the first episode of this restorer. */
    return restore->sealed ? STATUS_OK : run_manifest_write(run_dir, &inputs, NULL, err);
}

/* Can the table hold all of the logs? Bytes are those of rows; what the server keeps beside them is
 * less than a tenth. */
static status check_room(struct restore *restore, struct err *err)
{
    /* A row more than transitions in each episode, the last observation. */
    const struct sources *sources = restore->parts.sources;
    const uint64_t W = signature_width(relabel_signature(restore->parts.relabel));
    const uint64_t transitions = sources_transitions(sources);
    const uint64_t rows = transitions + sources_episodes(sources);
    struct replay_writer_room room;
    status s = replay_writer_room(restore->writer, &room, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* Episodes removed later than this were removed to make room for ours. */
    restore->removed_before = room.episodes_removed;
    /* A limit of 0 means that there is none. */
    if (room.transitions_limit > 0 && transitions > room.transitions_limit) {
        return refuse(restore, err_set(err, STATUS_FULL,
                                       "the logs do not fit the table: they have %" PRIu64
                                       " transitions and replay_server.max_transitions is %" PRIu64
                                       "; give it at least %" PRIu64 ", or 0 for no limit",
                                       transitions, room.transitions_limit, transitions));
    }
    if (room.bytes_limit > 0 && rows * W * sizeof(float) > room.bytes_limit) {
        const uint64_t bytes = rows * W * sizeof(float);
        return refuse(restore,
                      err_set(err, STATUS_FULL,
                              "the logs do not fit the table: they need %" PRIu64
                              " bytes and the table may hold %" PRIu64
                              " (replay_server.max_bytes, or four fifths of map_bytes); give "
                              "replay_server.map_bytes at least %" PRIu64,
                              bytes, room.bytes_limit, bytes / 3 * 4));
    }
    return STATUS_OK;
}

/* Before sealing: has the table kept everything? */
static status check_kept(struct restore *restore, struct err *err)
{
    struct replay_writer_room room;
    const status s = replay_writer_room(restore->writer, &room, err);
    if (s != STATUS_OK || room.episodes_removed <= restore->removed_before) {
        return s;
    }
    return refuse(
        restore, err_set(err, STATUS_FULL,
                         "the logs do not fit the table: it has removed %" PRIu64
                         " episodes to make room and is not sealed; raise "
                         "replay_server.max_transitions, max_bytes or map_bytes and make the table "
                         "anew: hindcast up .. --restore-anew",
                         room.episodes_removed - restore->removed_before));
}

/* ---- one item ---- */

/* Counts a bad episode; fails when there are more than max_bad. */
static status on_bad(struct restore *restore, const struct err *reason, struct err *err)
{
    const int64_t max_bad = restore->parts.options->max_bad;
    /* A bad episode is done with, so that the fraction shown reaches 1. */
    atomic_fetch_add(&restore->progress.bad, 1);
    atomic_fetch_add(&restore->progress.done, 1);
    restore->pass_bad++;
    /* The summary keeps the first reasons. */
    if (restore->summary != NULL) {
        dataset_summary_add_bad(restore->summary, 1, reason->text);
    }
    if (max_bad >= 0 && restore->pass_bad > (uint64_t)max_bad) {
        return err_set(err, STATUS_INVALID,
                       "%" PRIu64 " bad episodes, restorer.max_bad is %" PRId64
                       "; the last one: %.500s",
                       restore->pass_bad, max_bad, reason->text);
    }
    return STATUS_OK;
}

/* What the writer has counted so far, for the loop thread. */
static void copy_counts(struct restore *restore)
{
    struct replay_writer_counts counts;
    replay_writer_counts(restore->writer, &counts);
    atomic_store(&restore->progress.bytes, counts.bytes);
    atomic_store(&restore->progress.duplicates, counts.duplicates);
    atomic_store(&restore->progress.waited_ms, (uint64_t)(counts.waited_s * 1e3));
}

/* Inserts an episode, adds it to the summary and counts it. The cursor is that of the position
 * behind it. */
static status on_episode(struct restore *restore, const struct prefetch_item *item, struct err *err)
{
    unsigned char cursor[PLAN_CURSOR_SIZE];
    plan_cursor(restore->plan, item->after, cursor);
    /* May wait: for acknowledgements of earlier episodes, or for the server. */
    status s = replay_writer_insert(restore->writer, &item->episode, cursor, sizeof cursor, err);
    if (s == STATUS_OK && restore->summary != NULL) {
        s = dataset_summary_add(restore->summary, &item->episode);
        if (s != STATUS_OK) {
            return err_set(err, s, "summary: out of memory");
        }
    }
    /* Counted when it is handed to the writer, not when it is committed. */
    if (s == STATUS_OK) {
        restore->pass_good++;
        restore->pass_clipped += item->clipped;
        atomic_fetch_add(&restore->progress.done, 1);
        atomic_fetch_add(&restore->progress.episodes, 1);
        atomic_fetch_add(&restore->progress.transitions, item->episode.T);
        copy_counts(restore);
    }
    return s;
}

/* ---- the summary ---- */

/* What looks like a mistake in the logs, as a warning in our log. */
static void warn_of_logs(void *arg, const char *text)
{
    (void)arg;
    log_warn("%s", text);
}

/* At the end of the first pass that this process has gone through from its beginning: what the logs
 * contain. Only if this is the only restorer. Without the summary a run does not fail. */
static void write_summary(struct restore *restore)
{
    struct err err = {0};
    const struct run_manifest_inputs inputs = inputs_of(restore);
    /* Every restorer logs the warnings of its share; the file is for the summary of all logs. */
    dataset_summary_warnings(restore->summary, warn_of_logs, NULL);
    if (restore->parts.options->count == 1 &&
        run_manifest_write(restore->parts.experiment->run_dir, &inputs, restore->summary, &err) !=
            STATUS_OK) {
        log_warn("the summary of the logs cannot be written: %s", err.text);
    }
    dataset_summary_free(restore->summary);
    restore->summary = NULL;
}

/* ---- passes ---- */

/* A pass over the share is complete: judges it, writes the summary, and starts the counts anew. */
static status on_pass_end(struct restore *restore, struct err *err)
{
    const uint64_t pass = atomic_fetch_add(&restore->progress.pass, 1);
    log_info("the pass is over pass=%" PRIu64 " good=%" PRIu64 " bad=%" PRIu64, pass,
             restore->pass_good, restore->pass_bad);
    /* Not whole: an earlier process inserted the beginning of this pass. */
    const bool whole = restore->pass_good + restore->pass_bad == plan_episodes(restore->plan);
    if (restore->pass_good == 0 && restore->pass_bad > 0 && whole) {
        return err_set(err, STATUS_INVALID, "none of %" PRIu64 " episodes was good",
                       restore->pass_bad);
    }
    if (restore->summary != NULL) {
        dataset_summary_add_clipped(restore->summary, restore->pass_clipped);
        if (whole) {
            write_summary(restore);
        } else {
            /* An earlier process began this pass; the next one is summarised. */
            dataset_summary_free(restore->summary);
            restore->summary = NULL;
            const status s = dataset_summary_new(&restore->summary,
                                                 relabel_signature(restore->parts.relabel), err);
            if (s != STATUS_OK) {
                return s;
            }
        }
    }
    if (restore->pass_clipped > 0) {
        log_warn("actions beyond their limits were clipped values=%" PRIu64, restore->pass_clipped);
    }
    /* The next pass counts from zero; what the process has done in all stays in `progress`. */
    restore->pass_clipped = 0;
    restore->pass_good = 0;
    restore->pass_bad = 0;
    atomic_store(&restore->progress.done, 0);
    return STATUS_OK;
}

/* What the reader found at one step of the plan. */
static status on_item(struct restore *restore, const struct prefetch_item *item, struct err *err)
{
    switch (item->kind) {
    case PREFETCH_EPISODE:
        return on_episode(restore, item, err);
    case PREFETCH_BAD:
        log_warn("left out: %s", item->reason.text);
        return on_bad(restore, &item->reason, err);
    case PREFETCH_STILL_BAD:
        return on_bad(restore, &item->reason, err);
    case PREFETCH_PASS_END:
        return on_pass_end(restore, err);
    case PREFETCH_FAILED:
        return err_set(err, item->reason.code, "%s", item->reason.text);
    }
    return err_set(err, STATUS_INTERNAL, "an item of kind %d", (int)item->kind);
}

/* Inserts everything from the position on: to the end of the first pass, or until the process
 * stops. CLOSED when stopping. */
static status insert_all(struct restore *restore, struct err *err)
{
    struct prefetch *prefetch;
    const struct prefetch_settings settings = {
        .sources = restore->parts.sources,
        .plan = restore->plan,
        .relabel = restore->parts.relabel,
        .clip = restore->parts.options->actions[0] == 'c',
        .until = is_loop(restore) ? PREFETCH_UNBOUNDED : (struct plan_position){.pass = 1},
        .prefetch_episodes = (size_t)restore->parts.options->prefetch,
    };
    /* The reader runs ahead by at most prefetch_episodes from here on. */
    status s = prefetch_start(&prefetch, &settings, err);
    if (s != STATUS_OK) {
        return s;
    }
    atomic_store(&restore->progress.state, RESTORE_INSERTING);
    while (s == STATUS_OK && !is_stopping(restore)) {
        struct prefetch_item *item;
        const status next = prefetch_next(prefetch, &item, LOOK_MS);
        /* Short waits, so that the loop looks whether the process stops. */
        if (next == STATUS_TIMEOUT) {
            continue;
        }
        /* The reader has reached the end of the plan and all its items were taken. */
        if (next != STATUS_OK) {
            break;
        }
        s = on_item(restore, item, err);
        prefetch_return(prefetch, item);
    }
    /* Before the plan is used again: it belongs to the reader until then. */
    prefetch_stop(prefetch);
    return s == STATUS_OK && is_stopping(restore) ? STATUS_CLOSED : s;
}

/* Waits until everything is acknowledged, or the process is stopping. */
static status flush_all(struct restore *restore, struct err *err)
{
    atomic_store(&restore->progress.state, RESTORE_FLUSHING);
    status s;
    /* One flush may take longer than a status line should stay old, so the wait is cut into
     * slices. */
    do {
        s = replay_writer_flush(restore->writer, FLUSH_MS, err);
        copy_counts(restore);
    } while (s == STATUS_TIMEOUT && !is_stopping(restore));
    return s;
}

/* Seals the table for this restorer; the last of all restorers seals it. */
static status seal(struct restore *restore, struct err *err)
{
    bool sealed = false;
    atomic_store(&restore->progress.state, RESTORE_SEALING);
    const status s =
        replay_writer_seal(restore->writer, (uint32_t)restore->parts.options->count, &sealed, err);
    /* The duplicates were in the table before, and are not counted as inserted. */
    if (s == STATUS_OK) {
        log_info("all is inserted%s episodes=%" PRIu64 " transitions=%" PRIu64 " bad=%" PRIu64
                 " duplicates=%" PRIu64 " seconds=%.1f",
                 sealed ? " and the table sealed" : ", other restorers are not done yet",
                 atomic_load(&restore->progress.episodes) -
                     atomic_load(&restore->progress.duplicates),
                 atomic_load(&restore->progress.transitions), atomic_load(&restore->progress.bad),
                 atomic_load(&restore->progress.duplicates),
                 (double)(clock_now_ns() - restore->started_ns) / 1e9);
    }
    return s;
}

/* ---- the thread ---- */

/* The whole of a restore, in the order that the top of this file gives. OK in mode `once`: this
 * share is complete and sealed. */
static status restore_all(struct restore *restore, struct err *err)
{
    status s = connect_writer(restore, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = check_made_of(restore, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* Nothing to do, as after a restart that came late. */
    if (restore->sealed) {
        log_info("the table is sealed and made of these logs; there is nothing to insert");
        return STATUS_OK;
    }
    /* In a loop the table is meant to remove old episodes, so the logs need not fit. */
    s = is_loop(restore) ? STATUS_OK : check_room(restore, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* With more restorers than episodes some have none; they still take part in the sealing. */
    if (plan_episodes(restore->plan) == 0) {
        log_warn("there are no episodes for this restorer index=%" PRId64 " count=%" PRId64,
                 restore->parts.options->index, restore->parts.options->count);
    }
    if (plan_episodes(restore->plan) > 0 || !is_loop(restore)) {
        s = insert_all(restore, err);
    }
    /* Everything is acknowledged before anything is judged or sealed. */
    if (s == STATUS_OK) {
        s = flush_all(restore, err);
    }
    if (s == STATUS_OK && !is_loop(restore)) {
        s = check_kept(restore, err);
    }
    return s == STATUS_OK && !is_loop(restore) ? seal(restore, err) : s;
}

/* The thread: restores, closes the writer, and ends the process with the right exit code. */
static void *restore_thread(void *arg)
{
    struct restore *restore = arg;
    struct err err = {0};
    int exit_code = 0;
    const status s = restore_all(restore, &err);
    if (s != STATUS_OK && !is_stopping(restore)) {
        log_error("%s", err.text);
        exit_code = restore->final ? 2 : status_exit_code(s);
    }
    if (s != STATUS_OK && restore->writer != NULL) {
        /* Episodes acknowledged now need not be sent again after a restart. */
        (void)!replay_writer_flush(restore->writer, LAST_FLUSH_MS, NULL);
    }
    /* The writer's last counts, then its end; what is not acknowledged is sent again by the next
     * start. */
    if (restore->writer != NULL) {
        copy_counts(restore);
        replay_writer_close(restore->writer);
    }
    atomic_store(&restore->progress.state, RESTORE_DONE);
    process_stop(restore->parts.process, exit_code);
    return NULL;
}

/* ---- starting and ending ---- */

/* The plan of this restorer's share of all shards. */
static status make_plan(struct restore *restore, struct err *err)
{
    const struct restore_parts *parts = &restore->parts;
    const size_t n = sources_n_shards(parts->sources);
    /* A copy of what the plan needs to know of the shards, which plan_new copies again. */
    struct plan_shard *shards = mem_array(n, sizeof *shards);
    if (shards == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "plan of %zu shards", n);
    }
    for (size_t i = 0; i < n; i++) {
        size_t shard_i;
        const struct source *source = sources_shard(parts->sources, i, &shard_i);
        const struct dataset_shard *shard = source_shard(source, shard_i);
        /* A file that cannot be opened counts as one episode, which is bad when it is read. After a
         * selection, a file without episodes has none that are used. */
        const bool as_told = shard->episodes > 0 || parts->selection->active;
        shards[i] =
            (struct plan_shard){.source = shard->source, .episodes = as_told ? shard->episodes : 1};
    }
    const struct plan_settings settings = {
        .seed = (uint64_t)parts->experiment->seed,
        .shuffle = parts->options->shuffle,
        .index = (uint32_t)parts->options->index,
        .count = (uint32_t)parts->options->count,
    };
    const status s = plan_new(&restore->plan, shards, n, &settings, err);
    mem_free(shards);
    return s;
}

/* Runs on the loop thread, and so reads atomics only. */
void restore_tick(void *arg)
{
    struct restore *restore = arg;
    restore_progress_show(&restore->progress, restore->parts.process);
}

/* The thread has ended, or was never started. */
static void free_restore(struct restore *restore)
{
    dataset_summary_free(restore->summary);
    plan_free(restore->plan);
    mem_free(restore);
}

status restore_start(struct restore **restore, const struct restore_parts *parts, struct err *err)
{
    struct restore *made = mem_new(sizeof *made);
    if (made == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "restore");
    }
    /* What the loop thread reads is set before the thread starts. */
    made->parts = *parts;
    made->started_ns = clock_now_ns();
    status s = make_plan(made, err);
    if (s == STATUS_OK) {
        s = dataset_summary_new(&made->summary, relabel_signature(parts->relabel), err);
    }
    if (s == STATUS_OK) {
        made->progress.all = plan_episodes(made->plan);
        made->progress.endless = is_loop(made);
        restore_progress_start(&made->progress);
        const int number = pthread_create(&made->thread, NULL, restore_thread, made);
        s = number == 0 ? STATUS_OK : err_errno(err, number, "start the restoring thread");
    }
    if (s != STATUS_OK) {
        free_restore(made);
        return s;
    }
    *restore = made;
    return STATUS_OK;
}

void restore_join(struct restore *restore)
{
    if (restore == NULL) {
        return;
    }
    /* The thread closes the writer itself. */
    pthread_join(restore->thread, NULL);
    free_restore(restore);
}
