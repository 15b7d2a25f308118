/* Compaction beside a model: whatever is written while the copy is made is in the new file, as it was in
 * the old one; readers see one or the other; the file is sound when it is opened again. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/rng.h"
#include "replay_server/store/store_compact.h"
#include "tests/lib/check.h"
#include "tests/lib/replay.h"
#include "tests/lib/trajectories.h"

#define K            2u /* rewards; W = 10 */
#define W            10u
#define EPISODES_MAX 4000u
#define WRITERS      5u

/* What the store should hold. */
struct model {
    struct rng rng;
    uint32_t n; /* episodes put so far */
    struct {
        uint64_t id;
        uint32_t T, times;
        double priority;
        bool there;
    } at[EPISODES_MAX];
    uint64_t next_id;
    uint64_t sequences[WRITERS];
    uint64_t history;
};

static struct store *open_store(enum store_durability durability)
{
    struct store *store = NULL;
    struct err err = {0};
    char path[2 * SCRATCH_SIZE];
    bool scan;
    const struct store_settings settings = {.path = scratch_path(path, scratch_folder, "store"),
                                            .map_bytes = 256 << 20,
                                            .durability = durability};
    if (store_open(&store, &settings, &scan, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    assert_false(scan);
    return store;
}

static void put_episode(struct store *store, struct model *model)
{
    struct signature signature;
    struct episode episode;
    const uint32_t T =
        rng_below(&model->rng, 40) == 0 ? 3500 : 1 + (uint32_t)rng_below(&model->rng, 90);
    const uint32_t i = model->n++;
    ASSERT(i < EPISODES_MAX);
    trajectories_signature(&signature, K);
    replay_episode(&episode, &signature, i % 64, T);
    model->at[i].id = model->next_id;
    model->at[i].T = T;
    model->at[i].priority = 1;
    model->at[i].there = true;
    replay_store_episode(store, model->next_id, &episode);
    model->next_id += store_n_chunks(T + 1, W);
    episode_fini(&episode);
}

/* One transaction of a few random changes. */
static void change(struct store *store, struct model *model)
{
    struct err err = {0};
    const uint32_t committed = model->n;
    assert_int_equal(store_begin(store, &err), STATUS_OK);
    for (uint64_t n = 1 + rng_below(&model->rng, 8); n > 0; n--) {
        const uint64_t what = rng_below(&model->rng, 10);
        /* The server removes and changes what is committed. */
        const uint32_t i = committed > 0 ? (uint32_t)rng_below(&model->rng, committed) : 0;
        status s = STATUS_OK;
        if (committed == 0 || what < 4) {
            put_episode(store, model);
        } else if (what < 6) {
            s = store_remove_episode(store, model->at[i].id, &err);
            assert_int_equal(s, model->at[i].there ? STATUS_OK : STATUS_NOT_FOUND);
            model->at[i].there = false;
        } else if (what == 6) {
            const double priority = 0.5 + rng_uniform(&model->rng);
            s = store_put_priority(store, model->at[i].id, priority, &err);
            model->at[i].priority = priority;
        } else if (what == 7) {
            s = store_put_times_sampled(store, model->at[i].id, ++model->at[i].times, &err);
        } else if (what == 8) {
            struct store_writer writer = {.generation = 1};
            const uint32_t who = (uint32_t)rng_below(&model->rng, WRITERS);
            snprintf(writer.name, sizeof writer.name, "writer-%u", who);
            writer.last_sequence = ++model->sequences[who];
            writer.cursor_size = who;
            s = store_put_writer(store, &writer, false, &err);
        } else {
            struct store_history history = {.counts = {++model->history}};
            s = store_put_history(store, &history, &err);
        }
        assert_true(s == STATUS_OK || s == STATUS_NOT_FOUND);
    }
    assert_int_equal(store_commit(store, &err), STATUS_OK);
}

/* ---- What is there ---- */

static void check_rows(struct store_reader *reader, uint64_t id, uint32_t number, uint32_t T)
{
    const uint32_t chunk_rows = store_chunk_rows(W);
    for (uint32_t t = 0; t <= T; t++) {
        const uint32_t chunk_i = t / chunk_rows, rest = T + 1 - chunk_i * chunk_rows;
        const uint8_t *rows;
        assert_int_equal(store_reader_chunk(reader, id + chunk_i,
                                            rest < chunk_rows ? rest : chunk_rows, W, &rows),
                         STATUS_OK);
        for (uint32_t column = 0; column < W; column++) {
            float value;
            memcpy(&value, rows + (t % chunk_rows * W + column) * 4, 4);
            assert_true(value == replay_number(number, t, column));
        }
    }
}

static void check_episodes(struct store *store, const struct model *model)
{
    struct store_reader *reader;
    struct err err;
    struct store_episode episode;
    uint64_t after = 0;
    assert_int_equal(store_reader_open(&reader, store, &err), STATUS_OK);
    assert_int_equal(store_reader_refresh(reader, &err), STATUS_OK);
    for (uint32_t i = 0; i < model->n; i++) {
        if (!model->at[i].there) {
            continue;
        }
        assert_int_equal(store_reader_next_episode(reader, after, &episode), STATUS_OK);
        after = episode.id;
        assert_int_equal(episode.id, model->at[i].id);
        assert_int_equal(episode.n_rows, model->at[i].T + 1);
        assert_int_equal(episode.times_sampled, model->at[i].times);
        assert_true(episode.priority == model->at[i].priority);
        check_rows(reader, episode.id, i % 64, model->at[i].T);
    }
    assert_int_equal(store_reader_next_episode(reader, after, &episode), STATUS_NOT_FOUND);
    store_reader_close(reader);
}

static status see_writer(void *arg, const struct store_writer *writer, struct err *err)
{
    (void)err;
    const struct model *model = arg;
    const uint32_t who = (uint32_t)(writer->name[strlen(writer->name) - 1] - '0');
    assert_int_equal(writer->last_sequence, model->sequences[who]);
    assert_int_equal(writer->cursor_size, who);
    return STATUS_OK;
}

static status see_history(void *arg, const struct store_history *history, struct err *err)
{
    (void)err;
    assert_int_equal(history->counts[0], ((const struct model *)arg)->history);
    return STATUS_OK;
}

static void check_store(struct store *store, struct model *model)
{
    struct err err;
    check_episodes(store, model);
    assert_int_equal(store_each_writer(store, see_writer, model, &err), STATUS_OK);
    assert_int_equal(store_each_history(store, see_history, model, &err), STATUS_OK);
}

/* ---- Tests ---- */

static void compact_while_writing(struct store *store, struct model *model, int changes)
{
    struct compaction *compaction;
    struct err err = {0};
    double pause_s = -1;
    assert_int_equal(compaction_begin(&compaction, store, &err), STATUS_OK);
    /* Some of it before the copy has its snapshot, most while it is made, the rest when it is ready. */
    for (int i = 0; i < changes || !compaction_is_ready(compaction); i++) {
        if (i < 2 * changes) {
            change(store, model);
        } else {
            clock_sleep_ms(1);
        }
    }
    if (compaction_finish(compaction, &pause_s, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    assert_true(pause_s >= 0);
}

static void what_is_written_meanwhile_is_there(void **state)
{
    (void)state;
    static const enum store_durability kinds[] = {STORE_NONE, STORE_INTERVAL, STORE_EACH};
    for (uint64_t seed = 0; seed < 9; seed++) {
        static struct model model;
        model = (struct model){.next_id = 1};
        rng_init(&model.rng, seed, "compact", 0);
        struct store *store = open_store(kinds[seed % 3]);
        struct err err;
        for (int round = 0; round < 3; round++) {
            const int before = (int)rng_below(&model.rng, 60);
            for (int i = 0; i < before; i++) {
                change(store, &model);
            }
            compact_while_writing(store, &model, (int)rng_below(&model.rng, 60));
            check_store(store, &model);
            change(store, &model); /* it goes on */
            if (kinds[seed % 3] == STORE_INTERVAL) {
                assert_int_equal(store_sync(store, &err), STATUS_OK);
            }
        }
        const uint64_t next = store_next_chunk(store);
        store_close(store);
        store = open_store(kinds[seed % 3]);
        assert_int_equal(store_next_chunk(store), next);
        check_store(store, &model);
        store_close(store);
        scratch_remove(scratch_at("store"));
    }
}

static void it_can_be_given_up(void **state)
{
    (void)state;
    static struct model model;
    model = (struct model){.next_id = 1};
    rng_init(&model.rng, 1, "stop", 0);
    struct store *store = open_store(STORE_NONE);
    for (int i = 0; i < 200; i++) {
        change(store, &model);
    }
    struct compaction *compaction;
    struct err err = {0};
    double pause_s;
    for (unsigned wait_ms = 0; wait_ms < 12; wait_ms++) {
        assert_int_equal(compaction_begin(&compaction, store, &err), STATUS_OK);
        if (wait_ms > 0) {
            clock_sleep_ms(wait_ms - 1);
        }
        compaction_stop(compaction);
        assert_int_equal(compaction_finish(compaction, &pause_s, &err), STATUS_CLOSED);
        assert_int_equal(access(scratch_at("store/compact"), F_OK), -1);
        assert_int_equal(access(scratch_at("store/compact.tmp"), F_OK), -1);
        change(store, &model);
        check_store(store, &model);
    }
    store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_written_meanwhile_is_there, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(it_can_be_given_up, scratch_set_up, scratch_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
