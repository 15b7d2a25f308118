/* The store: what was committed is there after reopening, after kill -9, beside damage, and when
 * the map is full. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/memory.h"
#include "common/base/rng.h"
#include "replay_server/store/scrubber.h"
#include "replay_server/store/store.h"
#include "tests/lib/check.h"
#include "tests/lib/replay.h"
#include "tests/lib/trajectories.h"

#define K      2u    /* rewards; W = 10 */
#define LONG_T 3500u /* 3501 rows of 40 bytes: three chunks of at most 1637 rows */

static struct store *open_store(uint64_t map_bytes, enum store_durability durability, bool *scan)
{
    struct store *store = NULL;
    struct err err = {0};
    char path[2 * SCRATCH_SIZE];
    bool ignored;
    const struct store_settings settings = {.path = scratch_path(path, scratch_folder, "store"),
                                            .map_bytes = map_bytes,
                                            .durability = durability};
    if (store_open(&store, &settings, scan ? scan : &ignored, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return store;
}

static void commit(struct store *store)
{
    struct err err = {0};
    if (store_commit(store, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
}

static void put(struct store *store, uint64_t id, uint32_t number, uint32_t T)
{
    struct signature signature;
    struct episode episode;
    trajectories_signature(&signature, K);
    replay_episode(&episode, &signature, number, T);
    struct err err;
    assert_int_equal(store_begin(store, &err), STATUS_OK);
    replay_store_episode(store, id, &episode);
    commit(store);
    episode_fini(&episode);
}

/* Reads every row of the episode back. */
static status check_rows(struct store *store, uint64_t id, uint32_t number, uint32_t T)
{
    struct err err;
    struct store_reader *reader;
    const uint32_t W = 10, chunk_rows = store_chunk_rows(W);
    assert_int_equal(store_reader_open(&reader, store, &err), STATUS_OK);
    assert_int_equal(store_reader_refresh(reader, &err), STATUS_OK);
    status s = STATUS_OK;
    for (uint32_t t = 0; s == STATUS_OK && t <= T; t++) {
        const uint32_t chunk_i = t / chunk_rows;
        const uint32_t rest = T + 1 - chunk_i * chunk_rows;
        const uint8_t *rows;
        s = store_reader_chunk(reader, id + chunk_i, rest < chunk_rows ? rest : chunk_rows, W,
                               &rows);
        for (uint32_t column = 0; s == STATUS_OK && column < W; column++) {
            float value;
            memcpy(&value, rows + (t % chunk_rows * W + column) * 4, 4);
            assert_true(value == replay_number(number, t, column));
        }
    }
    store_reader_close(reader);
    return s;
}

struct seen {
    uint64_t n;
    struct store_episode last;
};

static status see(void *arg, const struct store_episode *episode, struct err *err)
{
    (void)err;
    struct seen *seen = arg;
    assert_true(seen->n == 0 || episode->id > seen->last.id);
    seen->n++;
    seen->last = *episode;
    return STATUS_OK;
}

static uint64_t count_episodes(struct store *store)
{
    struct err err;
    struct seen seen = {0};
    assert_int_equal(store_each_episode(store, see, &seen, &err), STATUS_OK);
    return seen.n;
}

static void what_was_put_is_there_after_reopening(void **state)
{
    (void)state;
    struct store *store = open_store(64 << 20, STORE_EACH, NULL);
    assert_int_equal(store_next_chunk(store), 1);
    put(store, 1, 1, LONG_T);
    put(store, 4, 2, 1);
    assert_int_equal(store_next_chunk(store), 5);
    for (int open = 0; open < 2; open++) {
        assert_int_equal(count_episodes(store), 2);
        assert_int_equal(check_rows(store, 1, 1, LONG_T), STATUS_OK);
        assert_int_equal(check_rows(store, 4, 2, 1), STATUS_OK);
        assert_int_equal(check_rows(store, 5, 2, 1), STATUS_NOT_FOUND);
        store_close(store);
        store = open_store(64 << 20, STORE_EACH, NULL);
        assert_int_equal(store_next_chunk(store), 5);
    }
    struct err err;
    assert_int_equal(store_begin(store, &err), STATUS_OK);
    assert_int_equal(store_remove_episode(store, 1, &err), STATUS_OK);
    assert_int_equal(store_remove_episode(store, 2, &err), STATUS_NOT_FOUND);
    commit(store);
    assert_int_equal(count_episodes(store), 1);
    assert_int_equal(check_rows(store, 1, 1, LONG_T), STATUS_NOT_FOUND);
    /* Keys are not used again, even after the newest episode is gone. */
    assert_int_equal(store_begin(store, &err), STATUS_OK);
    assert_int_equal(store_remove_episode(store, 4, &err), STATUS_OK);
    commit(store);
    store_close(store);
    store = open_store(64 << 20, STORE_EACH, NULL);
    assert_int_equal(store_next_chunk(store), 5);
    store_close(store);
}

static void an_aborted_transaction_leaves_nothing(void **state)
{
    (void)state;
    struct store *store = open_store(64 << 20, STORE_NONE, NULL);
    put(store, 1, 1, 5);
    struct signature signature;
    struct episode episode;
    struct err err;
    trajectories_signature(&signature, K);
    replay_episode(&episode, &signature, 2, 9);
    assert_int_equal(store_begin(store, &err), STATUS_OK);
    replay_store_episode(store, 2, &episode);
    store_abort(store);
    assert_int_equal(store_next_chunk(store), 2);
    assert_int_equal(count_episodes(store), 1);
    put(store, 2, 3, 7);
    assert_int_equal(check_rows(store, 2, 3, 7), STATUS_OK);
    episode_fini(&episode);
    store_close(store);
}

static status take_writer(void *arg, const struct store_writer *writer, struct err *err)
{
    (void)err;
    *(struct store_writer *)arg = *writer;
    return STATUS_OK;
}

static void a_writers_position_can_be_kept(void **state)
{
    (void)state;
    struct store *store = open_store(64 << 20, STORE_NONE, NULL);
    struct store_writer writer = {.table = 3,
                                  .name = "restorer-0",
                                  .generation = 1,
                                  .last_sequence = 8,
                                  .cursor_size = 2,
                                  .cursor = "ab"};
    struct err err;
    assert_int_equal(store_begin(store, &err), STATUS_OK);
    assert_int_equal(store_put_writer(store, &writer, true, &err),
                     STATUS_OK); /* nothing to keep yet */
    assert_int_equal(store_put_writer(store, &writer, false, &err), STATUS_OK);
    writer.generation = 2;
    writer.done = true;
    writer.last_sequence = 1;
    writer.cursor_size = 0;
    assert_int_equal(store_put_writer(store, &writer, true, &err), STATUS_OK);
    commit(store);
    struct store_writer back = {0};
    assert_int_equal(store_each_writer(store, take_writer, &back, &err), STATUS_OK);
    assert_int_equal(back.table, 3);
    assert_string_equal(back.name, "restorer-0");
    assert_int_equal(back.generation, 2);
    assert_true(back.done);
    assert_int_equal(back.last_sequence, 8);
    assert_int_equal(back.cursor_size, 2);
    assert_memory_equal(back.cursor, "ab", 2);
    store_close(store);
}

static void it_is_one_processs_alone(void **state)
{
    (void)state;
    struct store *store = open_store(64 << 20, STORE_NONE, NULL);
    char path[2 * SCRATCH_SIZE];
    scratch_path(path, scratch_folder, "store");
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct store *second = NULL;
        bool scan;
        const struct store_settings settings = {.path = path, .map_bytes = 64 << 20};
        _exit(store_open(&second, &settings, &scan, NULL) == STATUS_EXISTS ? 0 : 1);
    }
    int result = -1;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(result, 0);
    store_close(store);
}

/* Flips a bit within the rows of an episode on disk, where `value` stands. */
static void damage(float value)
{
    char path[2 * SCRATCH_SIZE];
    snprintf(path, sizeof path, "%s/store/data.mdb", scratch_folder);
    int fd = open(path, O_RDWR);
    struct stat info;
    assert_int_equal(fstat(fd, &info), 0);
    uint8_t *bytes = malloc((size_t)info.st_size);
    assert_int_equal(pread(fd, bytes, (size_t)info.st_size, 0), info.st_size);
    const uint8_t *at = memmem(bytes, (size_t)info.st_size, &value, 4);
    assert_non_null(at);
    const uint8_t flipped = *at ^ 8;
    assert_int_equal(pwrite(fd, &flipped, 1, at - bytes), 1);
    close(fd);
    free(bytes);
}

static uint64_t corrupt_id;

static void note_corrupt(void *arg, uint32_t table, uint64_t id)
{
    assert_int_equal(table, 0);
    corrupt_id = id;
    (*(int *)arg)++;
}

static void damage_is_seen_when_read_and_by_the_scrub(void **state)
{
    (void)state;
    struct store *store = open_store(64 << 20, STORE_EACH, NULL);
    put(store, 1, 1, LONG_T);
    put(store, 4, 2, LONG_T);
    put(store, 7, 3, 2);
    store_close(store);
    damage(replay_number(2, 1700, 3)); /* in the second chunk of the second episode */
    store = open_store(64 << 20, STORE_EACH, NULL);
    assert_int_equal(check_rows(store, 1, 1, LONG_T), STATUS_OK);
    assert_int_equal(check_rows(store, 4, 2, LONG_T), STATUS_CORRUPT);
    assert_int_equal(check_rows(store, 4, 2, LONG_T),
                     STATUS_CORRUPT); /* remembered as bad, not as checked */
    assert_int_equal(check_rows(store, 7, 3, 2), STATUS_OK);
    int n = 0;
    uint64_t n_corrupt = 0;
    struct err err;
    assert_int_equal(scrub_all(store, note_corrupt, &n, &n_corrupt, &err), STATUS_OK);
    assert_int_equal(n, 1);
    assert_int_equal(n_corrupt, 1);
    assert_int_equal(corrupt_id, 4);
    store_close(store);
}

/* Removing and inserting for ever takes no more room than what is held. */
static void pages_are_used_again(void **state)
{
    (void)state;
    struct store *store = open_store(64 << 20, STORE_NONE, NULL);
    struct rng rng;
    struct err err;
    rng_init(&rng, 1, "store", 0);
    uint64_t ids[40] = {0}, id = 1;
    struct signature signature;
    trajectories_signature(&signature, K);
    uint64_t used, file, map, after_first = 0;
    for (uint32_t k = 0; k < 1000; k++) {
        struct episode episode;
        replay_episode(&episode, &signature, k % 64, 1 + (uint32_t)rng_below(&rng, 4000));
        assert_int_equal(store_begin(store, &err), STATUS_OK);
        if (ids[k % 40]) {
            assert_int_equal(store_remove_episode(store, ids[k % 40], &err), STATUS_OK);
        }
        replay_store_episode(store, id, &episode);
        commit(store);
        ids[k % 40] = id;
        id += store_n_chunks(episode.T + 1, episode.W);
        episode_fini(&episode);
        if (k == 100) {
            store_sizes(store, &used, &after_first, &map);
        }
    }
    store_sizes(store, &used, &file, &map);
    printf(
        "40 episodes of up to 160 KB: %.1f MB in use, file %.1f MB after 100, %.1f MB after 1000\n",
        (double)used * 1e-6, (double)after_first * 1e-6, (double)file * 1e-6);
    assert_true(file < 2 * after_first);
    assert_int_equal(count_episodes(store), 40);
    store_close(store);
}

static void a_full_map_says_so_and_goes_on(void **state)
{
    (void)state;
    struct store *store = open_store(16 << 20, STORE_NONE, NULL);
    struct signature signature;
    struct episode episode;
    struct err err;
    trajectories_signature(&signature, K);
    replay_episode(&episode, &signature, 5, LONG_T);
    uint64_t id = 1;
    uint8_t chunk[65536];
    status s = STATUS_OK;
    while (s == STATUS_OK && id < 10000) {
        assert_int_equal(store_begin(store, &err), STATUS_OK);
        memset(chunk, 0, sizeof chunk);
        s = store_put_chunk(store, id, chunk, 1600, 10, &err);
        if (s == STATUS_OK) {
            s = store_commit(store, &err);
        } else {
            store_abort(store);
        }
        id += s == STATUS_OK;
    }
    assert_int_equal(s, STATUS_FULL);
    assert_true(id > 100);
    /* What is there can still be read. */
    struct store_reader *reader;
    const uint8_t *rows;
    assert_int_equal(store_reader_open(&reader, store, &err), STATUS_OK);
    assert_int_equal(store_reader_refresh(reader, &err), STATUS_OK);
    assert_int_equal(store_reader_chunk(reader, id - 1, 1600, 10, &rows), STATUS_OK);
    store_reader_close(reader);
    store_close(store);
    /* And a larger map takes more. */
    store = open_store(64 << 20, STORE_NONE, NULL);
    assert_int_equal(store_begin(store, &err), STATUS_OK);
    replay_store_episode(store, id, &episode);
    commit(store);
    episode_fini(&episode);
    store_close(store);
}

/* A child commits for ever and says each time which one; killed at a random moment, all it said is
 * there. */
static void kill_9_loses_nothing_that_was_committed(void **state)
{
    (void)state;
    struct rng rng;
    rng_init(&rng, 5, "store", 1);
    for (int round = 0; round < 6; round++) {
        const enum store_durability durability = (enum store_durability)(round % 3);
        int ends[2];
        assert_int_equal(pipe(ends), 0);
        fflush(NULL);
        pid_t child = fork();
        if (child == 0) {
            struct store *store = open_store(64 << 20, durability, NULL);
            for (;;) {
                const uint64_t id = store_next_chunk(store);
                put(store, id, (uint32_t)(id % 50), LONG_T - (uint32_t)(id % 1000));
                if (write(ends[1], &id, sizeof id) != sizeof id) {
                    _exit(1);
                }
                if (id > 150) { /* start over, with room */
                    struct err err;
                    if (store_begin(store, &err) != STATUS_OK ||
                        store_remove_episode(store, id - 150 + (id - 1) % 3, &err) == STATUS_FULL) {
                        _exit(1);
                    }
                    commit(store);
                }
            }
        }
        close(ends[1]);
        uint64_t last = 0, id;
        const int stop_after = 1 + (int)rng_below(&rng, 30);
        for (int n = 0; n < stop_after && read(ends[0], &id, sizeof id) == sizeof id; n++) {
            last = id;
        }
        kill(child, SIGKILL);
        while (read(ends[0], &id, sizeof id) == sizeof id) {
            last = id;
        }
        waitpid(child, NULL, 0);
        close(ends[0]);
        bool scan = true;
        struct store *store = open_store(64 << 20, durability, &scan);
        assert_false(scan); /* the machine did not stop, only the process */
        assert_true(store_next_chunk(store) > last);
        assert_int_equal(
            check_rows(store, last, (uint32_t)(last % 50), LONG_T - (uint32_t)(last % 1000)),
            STATUS_OK);
        int n = 0;
        uint64_t n_corrupt;
        struct err err;
        assert_int_equal(scrub_all(store, note_corrupt, &n, &n_corrupt, &err), STATUS_OK);
        assert_int_equal(n, 0);
        store_close(store);
    }
}

#define AT_ONCE 40u /* episodes: each takes the place of the one so many before */

/* One after another up to `last`, as a table that is full would have it. */
static void churn(struct store *store, uint64_t first, uint64_t last)
{
    struct err err;
    for (uint64_t id = first; id <= last; id++) {
        put(store, id, (uint32_t)(id % 50), 1500);
        if (id > AT_ONCE) {
            assert_int_equal(store_begin(store, &err), STATUS_OK);
            assert_int_equal(store_remove_episode(store, id - AT_ONCE, &err), STATUS_OK);
            commit(store);
        }
    }
}

static void check_churned(struct store *store, uint64_t last)
{
    assert_int_equal(store_next_chunk(store), last + 1);
    assert_int_equal(count_episodes(store), AT_ONCE);
    for (uint64_t id = last - AT_ONCE + 1; id <= last; id++) {
        assert_int_equal(check_rows(store, id, (uint32_t)(id % 50), 1500), STATUS_OK);
    }
}

/* Writes into `unclean` that another boot of the machine had it. */
static void reboot(void)
{
    char path[2 * SCRATCH_SIZE];
    scratch_path(path, scratch_folder, "store/unclean");
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, "11111111-2222", 13, 0), 13);
    close(fd);
}

static void clear_headers(void)
{
    static const uint8_t zeros[8192];
    char path[2 * SCRATCH_SIZE];
    scratch_path(path, scratch_folder, "store/data.mdb");
    int fd = open(path, O_WRONLY);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, zeros, sizeof zeros, 0), sizeof zeros);
    close(fd);
}

/* With `interval`: syncs at 60, goes on to 160, and is gone. */
static void die_unsynced(void)
{
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        struct err err;
        struct store *store = open_store(64 << 20, STORE_INTERVAL, NULL);
        churn(store, 1, 60);
        if (store_sync(store, &err) != STATUS_OK || store_release(store)) {
            _exit(1); /* nothing to release right after a sync */
        }
        churn(store, 61, 160);
        _exit(0);
    }
    int result = -1;
    assert_int_equal(waitpid(child, &result, 0), child);
    assert_int_equal(result, 0);
}

static void a_stop_of_the_machine_leaves_what_was_synced_last(void **state)
{
    (void)state;
    bool scan;
    die_unsynced();
    reboot();
    clear_headers();
    for (int stop = 0; stop < 2; stop++) {
        struct store *store = open_store(64 << 20, stop == 0 ? STORE_INTERVAL : STORE_EACH, &scan);
        assert_false(scan);
        check_churned(store, stop == 0 ? 60 : 200);
        churn(store, stop == 0 ? 61 : 201, stop == 0 ? 200 : 300);
        check_churned(store, stop == 0 ? 200 : 300);
        store_close(store);
    }
}

static void a_process_that_died_takes_nothing_along(void **state)
{
    (void)state;
    const enum store_durability next[] = {STORE_INTERVAL, STORE_EACH, STORE_NONE};
    for (int i = 0; i < 3; i++) {
        bool scan;
        die_unsynced();
        struct store *store = open_store(64 << 20, next[i], &scan);
        assert_false(scan);
        check_churned(store, 160);
        store_close(store);
        /* No old snapshot comes back once pages were used without it. */
        char marker[2 * SCRATCH_SIZE];
        char *text = scratch_read(scratch_path(marker, scratch_folder, "store/unclean"));
        assert_true((text != NULL) == (next[i] == STORE_NONE));
        assert_true(text == NULL || strlen(text) == strlen("11111111-2222-3333-4444-555555555555"));
        free(text);
        scratch_remove(scratch_folder);
        scratch_make(scratch_folder);
    }
}

static void an_unclean_stop_of_the_machine_asks_for_a_scan(void **state)
{
    (void)state;
    char marker[2 * SCRATCH_SIZE];
    snprintf(marker, sizeof marker, "%s/store/unclean", scratch_folder);
    bool scan;
    struct err err;
    store_close(open_store(64 << 20, STORE_INTERVAL, &scan));
    assert_false(scan);
    assert_null(scratch_read(marker)); /* closed in order */
    /* As another boot of the machine would have left it. */
    scratch_write(marker, "11111111-2222-3333-4444-555555555555");
    struct store *store = open_store(64 << 20, STORE_INTERVAL, &scan);
    assert_true(scan);
    store_close(store); /* before the scan was through: asked for again */
    store = open_store(64 << 20, STORE_EACH, &scan);
    assert_true(scan);
    assert_int_equal(store_mark(store, &err), STATUS_OK);
    store_close(store);
    store_close(open_store(64 << 20, STORE_EACH, &scan));
    assert_false(scan);
}

/* ---- Its files, removed or replaced ---- */

/* After this has happened to the files of an open store it takes nothing more. */
static void a_store_notices(const char *file, bool replaced)
{
    char path[2 * SCRATCH_SIZE], aside[2 * SCRATCH_SIZE];
    struct err err = {0};
    struct store *store = open_store(64 << 20, STORE_EACH, NULL);
    put(store, store_next_chunk(store), 1, 5);
    assert_int_equal(store_check_present(store, &err), STATUS_OK);
    assert_false(store_broken(store));
    scratch_path(path, scratch_folder, file);
    scratch_path(aside, scratch_folder, "aside");
    assert_int_equal(rename(path, aside), 0);
    if (replaced) {
        const int fd = open(path, O_CREAT | O_WRONLY, 0640);
        assert_true(fd >= 0);
        close(fd);
    }
    struct signature signature;
    struct episode episode;
    trajectories_signature(&signature, K);
    replay_episode(&episode, &signature, 2, 5);
    assert_int_equal(store_begin(store, &err), STATUS_OK);
    replay_store_episode(store, store_next_chunk(store), &episode);
    assert_int_equal(store_commit(store, &err), STATUS_IO);
    assert_non_null(strstr(err.text, "was removed or replaced under the server"));
    assert_true(store_broken(store));
    episode_fini(&episode);
    store_close(store);
    unlink(aside);
    unlink(path);
}

static void a_store_whose_files_go_takes_nothing_more(void **state)
{
    (void)state;
    for (int replaced = 0; replaced < 2; replaced++) {
        a_store_notices("store/data.mdb", replaced);
        a_store_notices("store/lock", replaced);
    }
}

/* With the lock file gone, data.mdb itself is still locked. */
static void two_servers_never_open_one_store(void **state)
{
    (void)state;
    char path[2 * SCRATCH_SIZE], folder[2 * SCRATCH_SIZE];
    struct err err = {0};
    bool scan;
    struct store *store = open_store(64 << 20, STORE_EACH, NULL), *second = NULL;
    const struct store_settings settings = {.path = scratch_path(folder, scratch_folder, "store"),
                                            .map_bytes = 64 << 20};
    assert_int_equal(store_open(&second, &settings, &scan, &err), STATUS_EXISTS);
    assert_int_equal(unlink(scratch_path(path, scratch_folder, "store/lock")), 0);
    assert_int_equal(store_open(&second, &settings, &scan, &err), STATUS_EXISTS);
    assert_non_null(strstr(err.text, "another process has it"));
    store_close(store);
    assert_int_equal(store_open(&second, &settings, &scan, &err), STATUS_OK);
    store_close(second);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, scratch_set_up, scratch_tear_down)
    const struct CMUnitTest tests[] = {
        TEST(what_was_put_is_there_after_reopening),
        TEST(an_aborted_transaction_leaves_nothing),
        TEST(a_writers_position_can_be_kept),
        TEST(it_is_one_processs_alone),
        TEST(damage_is_seen_when_read_and_by_the_scrub),
        TEST(pages_are_used_again),
        TEST(a_full_map_says_so_and_goes_on),
        TEST(kill_9_loses_nothing_that_was_committed),
        TEST(a_stop_of_the_machine_leaves_what_was_synced_last),
        TEST(a_process_that_died_takes_nothing_along),
        TEST(a_store_whose_files_go_takes_nothing_more),
        TEST(two_servers_never_open_one_store),
        TEST(an_unclean_stop_of_the_machine_asks_for_a_scan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
