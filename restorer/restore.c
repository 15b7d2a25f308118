/* The restoring thread: position, episodes, end.
 *
 * A table that is restored once must be exactly what the logs contain, so before the first episode
 * the thread checks that the table was not made of other logs and can hold all of these, and before
 * sealing that it has removed none.
 *
 * Episodes that are held out go to a table of their own, by a writer of its own; everything here that
 * is said of the table is done for both. That table is sealed first: where the table to learn from is
 * sealed, the other one is.
 *
 * The cursor of an item is sent with its episode, so what the server has committed and where a
 * restart goes on never disagree. With two tables it goes on from the one that is further behind,
 * and passes over what the other one has. What the loop thread shows of the progress are atomics; all else
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

/* A table that is filled. */
struct filling {
    char table[2 * CONFIG_TEXT_SIZE];
    struct replay_writer *writer;
    struct plan_position from; /* episodes up to here are in the table */
    bool sealed;               /* when the writer was opened: nothing is inserted */
    uint64_t removed_before;   /* episodes that the table had removed before we began */
};
enum { TO_LEARN_FROM, HELD_OUT, TABLES };

/* All that the restoring thread has. */
struct restore {
    struct restore_parts parts;
    pthread_t thread;
    struct plan *plan;
    struct episode_holdout holdout;
    size_t n_tables; /* 2 where episodes are held out */
    struct filling tables[TABLES];
    struct dataset_summary *summary; /* of the first pass; NULL once it is written */
    bool sealed;                     /* all tables are: there is nothing to do */
    bool used;                       /* a table has episodes of an earlier process */
    bool final;                      /* the failure is one that no restart mends: exit code 2 */
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

/* The position of the last committed episode of a table. With an unusable cursor it is that of the
 * first one; the identities of episodes prevent duplicates. */
static struct plan_position position_of(const struct restore *restore, const void *cursor,
                                        size_t size)
{
    struct err err = {0};
    struct plan_position position = {0};
    if (size > 0 && plan_from_cursor(restore->plan, cursor, size, &position, &err) != STATUS_OK) {
        log_warn("starting over from the first episode: %s", err.text);
        position = (struct plan_position){0};
    }
    return position;
}

/* Moves the plan to where the table that is furthest behind goes on. A sealed one needs nothing. */
static void find_position(struct restore *restore)
{
    struct err err = {0};
    struct plan_position position = PREFETCH_UNBOUNDED;
    for (size_t i = 0; i < restore->n_tables; i++) {
        const struct filling *filling = &restore->tables[i];
        if (!filling->sealed && plan_compare(filling->from, position) < 0) {
            position = filling->from;
        }
    }
    /* A position that does not exist is refused; the plan stays at its beginning then. */
    if (restore->sealed || plan_seek(restore->plan, position, &err) != STATUS_OK) {
        position = (struct plan_position){0};
    }
    if (err.code != STATUS_OK) {
        log_warn("starting over from the first episode: %s", err.text);
        for (size_t i = 0; i < restore->n_tables; i++) {
            restore->tables[i].from = position;
        }
    }
    atomic_store(&restore->progress.pass, position.pass);
    atomic_store(&restore->progress.done, plan_done(restore->plan));
    if (restore->used && err.code == STATUS_OK) {
        log_info("going on behind the last committed episode pass=%" PRIu64
                 " episodes_done=%" PRIu64 " of=%" PRIu64,
                 position.pass, plan_done(restore->plan), plan_episodes(restore->plan));
    }
}

/* Opens the writer of one table, waiting for the server, and finds out what the table has. */
static status connect_writer(struct restore *restore, struct filling *filling, struct err *err)
{
    const struct restorer_options *options = restore->parts.options;
    char name[64];
    unsigned char cursor[REPLAY_CURSOR_MAX];
    size_t cursor_size = 0;
    /* The name is the same after a restart, so the server finds this restorer's cursor. */
    snprintf(name, sizeof name, "restorer-%" PRId64, options->index);
    const struct replay_writer_options writer_options = {
        .table = filling->table,
        .writer = name,
        .restored = true,
        .max_in_flight_bytes = (size_t)options->in_flight,
        .connect_timeout_ms = (uint64_t)(options->connect_timeout * 1e3),
        .stopping = is_stopping,
        .stopping_arg = restore,
    };
    const status s = replay_writer_open(&filling->writer, restore->parts.experiment,
                                        relabel_signature(restore->parts.relabel), &writer_options,
                                        cursor, &cursor_size, &filling->sealed, err);
    if (s == STATUS_OK) {
        /* Somebody has inserted before: the table may be of other logs. */
        restore->used = restore->used || cursor_size > 0 || filling->sealed;
        filling->from = position_of(restore, cursor, cursor_size);
    }
    return s;
}

/* Opens the writers of all tables, and finds the position. */
static status connect_writers(struct restore *restore, struct err *err)
{
    status s = STATUS_OK;
    restore->sealed = true;
    for (size_t i = 0; i < restore->n_tables && s == STATUS_OK; i++) {
        s = connect_writer(restore, &restore->tables[i], err);
        restore->sealed = restore->sealed && restore->tables[i].sealed;
    }
    if (s == STATUS_OK) {
        find_position(restore);
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

/* Can the table hold its share of the logs? Bytes are those of rows; what the server keeps beside
 * them is less than a tenth. */
static status check_room(struct restore *restore, struct filling *filling, double share,
                         struct err *err)
{
    /* A row more than transitions in each episode, the last observation. */
    const struct sources *sources = restore->parts.sources;
    const uint64_t W = signature_width(relabel_signature(restore->parts.relabel));
    const uint64_t transitions = (uint64_t)(share * (double)sources_transitions(sources));
    const uint64_t rows = transitions + (uint64_t)(share * (double)sources_episodes(sources));
    struct replay_writer_room room;
    status s = replay_writer_room(filling->writer, &room, err);
    if (s != STATUS_OK) {
        return s;
    }
    /* Episodes removed later than this were removed to make room for ours. */
    filling->removed_before = room.episodes_removed;
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

/* The room of all tables. */
static status check_rooms(struct restore *restore, struct err *err)
{
    const double held_out = episode_holdout_share(&restore->holdout);
    status s = STATUS_OK;
    for (size_t i = 0; i < restore->n_tables && s == STATUS_OK; i++) {
        s = check_room(restore, &restore->tables[i], i == HELD_OUT ? held_out : 1 - held_out, err);
    }
    return s;
}

/* Before sealing: has the table kept everything? */
static status check_kept(struct restore *restore, const struct filling *filling, struct err *err)
{
    struct replay_writer_room room;
    const status s = replay_writer_room(filling->writer, &room, err);
    if (s != STATUS_OK || room.episodes_removed <= filling->removed_before) {
        return s;
    }
    return refuse(
        restore, err_set(err, STATUS_FULL,
                         "the logs do not fit the table: it has removed %" PRIu64
                         " episodes to make room and is not sealed; raise "
                         "replay_server.max_transitions, max_bytes or map_bytes and make the table "
                         "anew: hindcast up .. --restore-anew",
                         room.episodes_removed - filling->removed_before));
}

/* Once all restorers have inserted all they have: is there an episode on each side? */
static status check_sides(struct restore *restore, struct err *err)
{
    struct replay_writer_room learn, held_out;
    status s = replay_writer_room(restore->tables[TO_LEARN_FROM].writer, &learn, err);
    s = s != STATUS_OK ? s : replay_writer_room(restore->tables[HELD_OUT].writer, &held_out, err);
    if (s != STATUS_OK || (learn.episodes > 0 && held_out.episodes > 0)) {
        return s;
    }
    struct text rule = {0};
    episode_holdout_write(&restore->holdout, &rule);
    s = refuse(restore,
               err_set(err, STATUS_INVALID,
                       "restorer.%s is \"%s\": %s of %" PRIu64 " episodes %s held out, expected at "
                       "least one to be held out and one to learn from; choose another share "
                       "(restorer.holdout) or number of folds (restorer.folds) and make the table "
                       "anew: hindcast up .. --restore-anew",
                       restore->holdout.folds > 0 ? "fold" : "holdout",
                       rule.bytes != NULL ? rule.bytes : "", learn.episodes > 0 ? "none" : "all",
                       learn.episodes + held_out.episodes, learn.episodes > 0 ? "is" : "are"));
    text_fini(&rule);
    return s;
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
    struct replay_writer_counts sum = {0};
    for (size_t i = 0; i < restore->n_tables && restore->tables[i].writer != NULL; i++) {
        struct replay_writer_counts counts;
        replay_writer_counts(restore->tables[i].writer, &counts);
        sum.bytes += counts.bytes;
        sum.duplicates += counts.duplicates;
        sum.waited_s += counts.waited_s;
    }
    atomic_store(&restore->progress.bytes, sum.bytes);
    atomic_store(&restore->progress.duplicates, sum.duplicates);
    atomic_store(&restore->progress.waited_ms, (uint64_t)(sum.waited_s * 1e3));
}

/* Inserts an episode into its table. The cursor is that of the position behind it. */
static status insert(struct restore *restore, const struct prefetch_item *item, struct err *err)
{
    unsigned char cursor[PLAN_CURSOR_SIZE];
    const bool held_out = episode_holdout_has(&restore->holdout, &item->episode.identity);
    const struct filling *to = &restore->tables[held_out ? HELD_OUT : TO_LEARN_FROM];
    /* It is there since an earlier start; the other table is the one that is behind. */
    if (to->sealed || plan_compare(item->after, to->from) <= 0) {
        return STATUS_OK;
    }
    plan_cursor(restore->plan, item->after, cursor);
    /* May wait: for acknowledgements of earlier episodes, or for the server. */
    status s = replay_writer_insert(to->writer, &item->episode, cursor, sizeof cursor, err);
    /* Episodes of the other table that are on their way are not left lying meanwhile. */
    for (size_t i = 0; i < restore->n_tables && s == STATUS_OK; i++) {
        s = to == &restore->tables[i] ? s : replay_writer_poll(restore->tables[i].writer, err);
    }
    /* Counted when it is handed to the writer, not when it is committed. */
    if (s == STATUS_OK) {
        atomic_fetch_add(&restore->progress.episodes, 1);
        atomic_fetch_add(&restore->progress.held_out, held_out);
        atomic_fetch_add(&restore->progress.transitions, item->episode.T);
    }
    return s;
}

/* Inserts an episode, adds it to the summary and counts it. */
static status on_episode(struct restore *restore, const struct prefetch_item *item, struct err *err)
{
    status s = insert(restore, item, err);
    if (s == STATUS_OK && restore->summary != NULL) {
        s = dataset_summary_add(restore->summary, &item->episode);
        if (s != STATUS_OK) {
            return err_set(err, s, "summary: out of memory");
        }
    }
    if (s == STATUS_OK) {
        restore->pass_good++;
        restore->pass_clipped += item->clipped;
        atomic_fetch_add(&restore->progress.done, 1);
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

/* An empty summary of the logs. */
static status make_summary(struct restore *restore, struct err *err)
{
    const status s =
        dataset_summary_new(&restore->summary, relabel_signature(restore->parts.relabel), err);
    if (s == STATUS_OK) {
        dataset_summary_set_holdout(restore->summary, &restore->holdout);
    }
    return s;
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
            const status s = make_summary(restore, err);
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
    status s = STATUS_OK;
    for (size_t i = 0; i < restore->n_tables && s == STATUS_OK; i++) {
        /* One flush may take longer than a status line should stay old, so the wait is cut into
         * slices. */
        do {
            s = replay_writer_flush(restore->tables[i].writer, FLUSH_MS, err);
            copy_counts(restore);
        } while (s == STATUS_TIMEOUT && !is_stopping(restore));
    }
    return s;
}

/* Seals the tables for this restorer, the one to learn from last; the last of all restorers seals
 * them. */
static status seal(struct restore *restore, struct err *err)
{
    const uint32_t count = (uint32_t)restore->parts.options->count;
    bool sealed = false;
    status s = STATUS_OK;
    atomic_store(&restore->progress.state, RESTORE_SEALING);
    /* Where the first one is sealed all restorers have inserted all they have into both. */
    if (restore->n_tables == TABLES) {
        s = replay_writer_seal(restore->tables[HELD_OUT].writer, count, &sealed, err);
        s = s == STATUS_OK && sealed ? check_sides(restore, err) : s;
    }
    if (s == STATUS_OK) {
        s = replay_writer_seal(restore->tables[TO_LEARN_FROM].writer, count, &sealed, err);
    }
    /* The duplicates were in the table before, and are not counted as inserted. */
    if (s == STATUS_OK) {
        log_info(
            "all is inserted%s episodes=%" PRIu64 " held_out=%" PRIu64 " transitions=%" PRIu64
            " bad=%" PRIu64 " duplicates=%" PRIu64 " seconds=%.1f",
            sealed ? " and the table sealed" : ", other restorers are not done yet",
            atomic_load(&restore->progress.episodes) - atomic_load(&restore->progress.duplicates),
            atomic_load(&restore->progress.held_out), atomic_load(&restore->progress.transitions),
            atomic_load(&restore->progress.bad), atomic_load(&restore->progress.duplicates),
            (double)(clock_now_ns() - restore->started_ns) / 1e9);
    }
    return s;
}

/* ---- the thread ---- */

/* The whole of a restore, in the order that the top of this file gives. OK in mode `once`: this
 * share is complete and sealed. */
static status restore_all(struct restore *restore, struct err *err)
{
    status s = connect_writers(restore, err);
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
    s = is_loop(restore) ? STATUS_OK : check_rooms(restore, err);
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
    for (size_t i = 0; i < restore->n_tables && s == STATUS_OK && !is_loop(restore); i++) {
        s = check_kept(restore, &restore->tables[i], err);
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
    for (size_t i = 0; i < restore->n_tables && s != STATUS_OK; i++) {
        /* Episodes acknowledged now need not be sent again after a restart. */
        if (restore->tables[i].writer != NULL) {
            (void)!replay_writer_flush(restore->tables[i].writer, LAST_FLUSH_MS, NULL);
        }
    }
    /* The writers' last counts, then their end; what is not acknowledged is sent again by the next
     * start. */
    copy_counts(restore);
    for (size_t i = 0; i < restore->n_tables; i++) {
        replay_writer_close(restore->tables[i].writer);
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
    made->holdout = restorer_options_holdout(parts->options);
    made->n_tables = episode_holdout_any(&made->holdout) ? TABLES : 1;
    for (size_t i = 0; i < made->n_tables; i++) {
        snprintf(made->tables[i].table, sizeof made->tables[i].table, "%s%s", parts->options->table,
                 i == HELD_OUT ? EPISODE_HOLDOUT_TABLE_SUFFIX : "");
    }
    status s = make_plan(made, err);
    if (s == STATUS_OK) {
        s = make_summary(made, err);
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
