/* The replay server's store while memory or disk fail at every single point: what was committed
 * stays, what was not is absent as a whole, and the store goes on. LMDB's own calls fail too. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common/base/log.h"
#include "common/base/memory.h"
#include "replay_server/store/scrubber.h"
#include "replay_server/store/store.h"
#include "replay_server/store/store_compact.h"
#include "tests/lib/check.h"
#include "tests/lib/faults.h"
#include "tests/lib/replay.h"
#include "tests/lib/trajectories.h"

#define K        2u /* rewards; W = 10 */
#define T_FIRST  1700u
#define T_SECOND 3500u /* three chunks */

static struct signature signature;
static struct episode first, second;
static uint8_t *chunks[3]; /* room for a header and a chunk's rows each */

static int set_up(void **state)
{
    (void)state;
    trajectories_signature(&signature, K);
    replay_episode(&first, &signature, 1, T_FIRST);
    replay_episode(&second, &signature, 2, T_SECOND);
    for (int i = 0; i < 3; i++) {
        chunks[i] = mem_aligned(65536);
        assert_non_null(chunks[i]);
    }
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    episode_fini(&first);
    episode_fini(&second);
    for (int i = 0; i < 3; i++) {
        mem_free(chunks[i]);
    }
    return 0;
}

static enum store_durability durability; /* STORE_EACH, but for syncs */

static status open_store(struct store **store, struct err *err)
{
    char path[2 * SCRATCH_SIZE];
    bool scan;
    const struct store_settings settings = {.path = scratch_path(path, scratch_folder, "store"),
                                            .map_bytes = 16 << 20,
                                            .durability = durability};
    return store_open(store, &settings, &scan, err);
}

/* ---- The calls under test, each with everything that belongs to one transaction ---- */

static status write_episode(struct store *store, uint64_t id, const struct episode *episode,
                            struct err *err)
{
    const uint32_t chunk_rows = store_chunk_rows(episode->W);
    const uint32_t n_rows = episode->T + 1;
    for (uint32_t begin = 0, i = 0; begin < n_rows; begin += chunk_rows, i++) {
        const uint32_t n = n_rows - begin < chunk_rows ? n_rows - begin : chunk_rows;
        memcpy(chunks[i] + STORE_CHUNK_HEADER, episode->rows + (size_t)begin * episode->W,
               (size_t)n * episode->W * 4);
        status s = store_put_chunk(store, id + i, chunks[i], n, episode->W, err);
        if (s != STATUS_OK) {
            return s;
        }
    }
    const struct store_episode record = {
        .id = id, .n_rows = n_rows, .W = episode->W, .priority = 1, .identity = episode->identity};
    return store_put_episode(store, &record, err);
}

static status put_second(struct store *store, struct err *err)
{
    const struct store_table table = {.name = "default", .signature = signature, .sealed = true};
    const struct store_history history = {.counts = {1, 2, 3}};
    const struct store_writer writer = {.name = "restorer-0",
                                        .generation = 1,
                                        .last_sequence = 8,
                                        .cursor_size = 2,
                                        .cursor = "ab"};
    status s = store_begin(store, err);
    if (s == STATUS_OK && (s = write_episode(store, store_next_chunk(store), &second, err)) == 0 &&
        (s = store_put_table(store, &table, err)) == STATUS_OK &&
        (s = store_put_history(store, &history, err)) == STATUS_OK &&
        (s = store_put_writer(store, &writer, false, err)) == STATUS_OK) {
        return store_commit(store, err);
    }
    store_abort(store);
    return s;
}

static status remove_first(struct store *store, struct err *err)
{
    status s = store_begin(store, err);
    if (s == STATUS_OK && (s = store_put_priority(store, 1, 2.0, err)) == STATUS_OK &&
        (s = store_remove_episode(store, 1, err)) == STATUS_OK) {
        return store_commit(store, err);
    }
    store_abort(store);
    return s;
}

static status compact(struct store *store, struct err *err)
{
    struct compaction *compaction;
    double pause_s;
    const status s = compaction_begin(&compaction, store, err);
    return s == STATUS_OK ? compaction_finish(compaction, &pause_s, err) : s;
}

/* All rows of one episode, compared. */
static status read_rows(struct store_reader *reader, const struct store_episode *found)
{
    const struct episode *expected = found->identity.episode == 1 ? &first : &second;
    const uint32_t chunk_rows = store_chunk_rows(found->W);
    assert_int_equal(found->n_rows, expected->T + 1);
    for (uint32_t begin = 0, i = 0; begin < found->n_rows; begin += chunk_rows, i++) {
        const uint32_t rest = found->n_rows - begin;
        const uint32_t n = rest < chunk_rows ? rest : chunk_rows;
        const uint8_t *rows;
        status s = store_reader_chunk(reader, found->id + i, n, found->W, &rows);
        if (s != STATUS_OK) {
            return s;
        }
        assert_memory_equal(rows, expected->rows + (size_t)begin * found->W,
                            (size_t)n * found->W * 4);
    }
    return STATUS_OK;
}

static status read_all(struct store *store, struct err *err)
{
    struct store_reader *reader;
    status s = store_reader_open(&reader, store, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = store_reader_refresh(reader, err);
    struct store_episode found = {0};
    while (s == STATUS_OK) {
        s = store_reader_next_episode(reader, found.id, &found);
        s = s == STATUS_OK ? read_rows(reader, &found) : s;
    }
    store_reader_close(reader);
    return s == STATUS_NOT_FOUND ? STATUS_OK : s;
}

/* ---- What must hold ---- */

static status see(void *arg, const struct store_episode *episode, struct err *err)
{
    (void)err;
    *(unsigned *)arg |= 1u << episode->identity.episode;
    return STATUS_OK;
}

static void note(void *arg, uint32_t table, uint64_t id)
{
    (void)table;
    (void)id;
    (*(int *)arg)++;
}

static status see_writer(void *arg, const struct store_writer *writer, struct err *err)
{
    (void)err;
    assert_int_equal(writer->last_sequence, 8);
    (*(int *)arg)++;
    return STATUS_OK;
}

static struct store *must_open(void)
{
    struct store *store = NULL;
    struct err err = {0};
    if (open_store(&store, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return store;
}

static void must(status s, const struct err *err)
{
    if (s != STATUS_OK) {
        fail_msg("status %d: %s", (int)s, err->text);
    }
}

/* Bit n: episode n is there. All that is there is whole, and the second came with its writer. */
static unsigned check_whole(struct store *store)
{
    struct err err = {0};
    unsigned there = 0;
    int n_corrupt_seen = 0, writers = 0;
    uint64_t n_corrupt = 0;
    must(store_each_episode(store, see, &there, &err), &err);
    must(store_each_writer(store, see_writer, &writers, &err), &err);
    must(scrub_all(store, note, &n_corrupt_seen, &n_corrupt, &err), &err);
    must(read_all(store, &err), &err);
    assert_int_equal(n_corrupt, 0);
    assert_int_equal(writers, (there & 4u) != 0);
    return there;
}

/* A store that holds the first episode. */
static struct store *fresh(void)
{
    struct err err = {0};
    scratch_make(scratch_folder);
    struct store *store = must_open();
    must(store_begin(store, &err), &err);
    must(write_episode(store, 1, &first, &err), &err);
    must(store_commit(store, &err), &err);
    return store;
}

static status expected_status(enum fault kind, int number)
{
    return kind == FAULT_MEMORY ? STATUS_NO_MEMORY : number == ENOSPC ? STATUS_FULL : STATUS_IO;
}

/* A call in an open store: fails as it should, leaves all or nothing, passes when made again (in
 * the same process, or after reopening where LMDB will not go on). */
static void sweep(const char *name, status (*call)(struct store *, struct err *), enum fault kind,
                  int number, unsigned before, unsigned after)
{
    uint64_t nth = 1, reopened = 0;
    for (;; nth++) {
        struct store *store = fresh();
        struct err err = {0};
        fault_arm(kind, nth, number);
        status s = call(store, &err);
        const bool failed = fault_disarm();
        if (!failed) {
            must(s, &err);
            assert_int_equal(check_whole(store), after);
            store_close(store);
            scratch_remove(scratch_folder);
            break;
        }
        if (s != STATUS_OK && s != expected_status(kind, number)) {
            fail_msg("%s, fault %" PRIu64 ": status %d: %s", name, nth, (int)s, err.text);
        }
        bool done = s == STATUS_OK;
        if (!done) {
            status again = call(store, &err);
            done = again == STATUS_OK;
            /* LMDB refuses to go on after a header page that could not be written: only a new
             * opening tells what the disk has. */
            /* So it is where the file that took the old one's place could not be opened. */
            assert_true(done || ((kind == FAULT_WRITE || call == compact) && again == STATUS_IO));
            assert_int_equal(store_broken(store), !done); /* the server then ends */
            reopened += !done;
        }
        store_close(store);
        store = must_open();
        assert_int_equal(check_whole(store), done ? after : before);
        if (!done) {
            must(call(store, &err), &err);
            assert_int_equal(check_whole(store), after);
        }
        store_close(store);
        scratch_remove(scratch_folder);
    }
    print_message("%s: %" PRIu64 " points of failure, %" PRIu64 " of them needed a new opening\n",
                  name, nth - 1, reopened);
}

static void an_insert_is_whole_or_absent(void **state)
{
    (void)state;
    sweep("insert, memory", put_second, FAULT_MEMORY, 0, 2u, 6u);
    sweep("insert, disk full", put_second, FAULT_WRITE, ENOSPC, 2u, 6u);
    sweep("insert, disk broken", put_second, FAULT_WRITE, EIO, 2u, 6u);
}

static void a_removal_is_whole_or_absent(void **state)
{
    (void)state;
    sweep("remove, memory", remove_first, FAULT_MEMORY, 0, 2u, 0u);
    sweep("remove, disk full", remove_first, FAULT_WRITE, ENOSPC, 2u, 0u);
    sweep("remove, disk broken", remove_first, FAULT_WRITE, EIO, 2u, 0u);
}

/* Of the part that is the writing thread's: the last round and the exchange. */
static void a_compaction_leaves_the_old_file_or_the_new_one(void **state)
{
    (void)state;
    sweep("compact, memory", compact, FAULT_MEMORY, 0, 2u, 2u);
    sweep("compact, disk full", compact, FAULT_WRITE, ENOSPC, 2u, 2u);
    sweep("compact, disk broken", compact, FAULT_WRITE, EIO, 2u, 2u);
}

static void reading_goes_on(void **state)
{
    (void)state;
    sweep("read, memory", read_all, FAULT_MEMORY, 0, 2u, 2u);
}

/* With `interval`, the second episode not synced yet. A sync that failed can be made again; where
 * the data itself may not have reached the disk, the next opening begins from the sync before. */
static void sweep_syncs(const char *name, enum fault kind, int number)
{
    uint64_t nth = 1, given_up = 0;
    for (bool failed = true; failed; nth++) {
        struct store *store = fresh();
        struct err err = {0};
        must(store_sync(store, &err), &err);
        must(put_second(store, &err), &err);
        fault_arm(kind, nth, number);
        status s = store_sync(store, &err);
        failed = fault_disarm();
        if (s != STATUS_OK && (!failed || s != expected_status(kind, number))) {
            fail_msg("%s, fault %" PRIu64 ": status %d: %s", name, nth, (int)s, err.text);
        }
        const bool broken = store_broken(store);
        assert_true(!broken || s != STATUS_OK);
        given_up += broken;
        if (!broken) {
            must(store_sync(store, &err), &err);
        }
        store_close(store);
        store = must_open();
        assert_int_equal(check_whole(store), broken ? 2u : 6u);
        store_close(store);
        scratch_remove(scratch_folder);
    }
    assert_int_equal(given_up, kind == FAULT_WRITE);
    print_message("%s: %" PRIu64 " points of failure\n", name, nth - 2);
}

static void a_sync_can_be_made_again_or_is_given_up(void **state)
{
    (void)state;
    durability = STORE_INTERVAL;
    sweep_syncs("sync, memory", FAULT_MEMORY, 0);
    sweep_syncs("sync, disk full", FAULT_WRITE, ENOSPC);
    sweep_syncs("sync, disk broken", FAULT_WRITE, EIO);
    durability = STORE_EACH;
}

/* Opening, of a new store and of one with an episode: refused, and the next opening finds all. */
static void sweep_openings(void)
{
    const struct {
        const char *name;
        enum fault kind;
        int number;
    } faults[] = {{"memory", FAULT_MEMORY, 0},
                  {"disk full", FAULT_WRITE, ENOSPC},
                  {"disk broken", FAULT_WRITE, EIO}};
    for (int old = 0; old < 2; old++) {
        for (size_t i = 0; i < 3; i++) {
            uint64_t nth = 1;
            for (bool failed = true; failed; nth++) {
                struct err err = {0};
                if (old) {
                    store_close(fresh());
                } else {
                    scratch_make(scratch_folder);
                }
                struct store *store = NULL;
                fault_arm(faults[i].kind, nth, faults[i].number);
                status s = open_store(&store, &err);
                failed = fault_disarm();
                if (s != STATUS_OK) {
                    if (!failed || s != expected_status(faults[i].kind, faults[i].number)) {
                        fail_msg("open, %s %" PRIu64 ": status %d: %s", faults[i].name, nth, (int)s,
                                 err.text);
                    }
                    store = must_open();
                }
                assert_int_equal(check_whole(store), old ? 2u : 0u);
                must(put_second(store, &err), &err);
                assert_int_equal(check_whole(store), old ? 6u : 4u);
                store_close(store);
                scratch_remove(scratch_folder);
            }
            print_message("open %s, %s: %" PRIu64 " points of failure\n", old ? "old" : "new",
                          faults[i].name, nth - 2);
        }
    }
}

static void opening_fails_cleanly(void **state)
{
    (void)state;
    sweep_openings();
    durability = STORE_INTERVAL;
    sweep_openings();
    durability = STORE_EACH;
}

int main(void)
{
    fault_scratch();
    log_open("test", LOG_ERROR + 1);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_insert_is_whole_or_absent),
        cmocka_unit_test(a_removal_is_whole_or_absent),
        cmocka_unit_test(a_compaction_leaves_the_old_file_or_the_new_one),
        cmocka_unit_test(reading_goes_on),
        cmocka_unit_test(opening_fails_cleanly),
        cmocka_unit_test(a_sync_can_be_made_again_or_is_given_up),
    };
    int failed = cmocka_run_group_tests(tests, set_up, tear_down);
    printf("%" PRIu64 " fault points\n", fault_points());
    return failed;
}
