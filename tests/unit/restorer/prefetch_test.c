/* Sources and reading prefetch: datasets of one signature, in the plan's order, bad episodes told, an
 * end whenever it is wanted. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/trajectory/dataset.h"
#include "common/trajectory/dataset_writer.h"
#include "common/trajectory/shard_reader.h"
#include "restorer/prefetch.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"
#include "tests/lib/trajectories.h"

/* HDF5 1.10.8 loses a chunk's buffer when its checksum is wrong: leaks below it are not ours. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libhdf5";
}

static struct signature signature;

static int setup(void **state)
{
    (void)state;
    scratch_make(scratch_folder);
    trajectories_signature(&signature, 2);
    return 0;
}

/* A shard of 3 episodes with 4, 5, 6 transitions and returns told by `seed`; the middle one is bad
 * where asked. */
static void write_shard(const char *name, uint64_t seed, bool bad)
{
    struct dataset_writer *writer;
    struct episode episodes[3];
    const struct episode *list[3];
    assert_int_equal(dataset_writer_open(&writer, scratch_at(name), &signature, NULL, NULL),
                     STATUS_OK);
    for (uint32_t i = 0; i < 3; i++) {
        trajectories_episode(&episodes[i], &signature, 4 + i, seed + i, false);
        list[i] = &episodes[i];
    }
    if (bad) {
        episodes[1].rows[2] = NAN;
    }
    assert_int_equal(dataset_writer_shard(writer, list, 3, NULL), STATUS_OK);
    for (int i = 0; i < 3; i++) {
        episode_fini(&episodes[i]);
    }
    dataset_writer_close(writer);
}

static void sources_are_one_dataset_or_several(void **state)
{
    (void)state;
    struct sources *sources;
    struct text notes = {0};
    struct err err = {0};
    assert_int_equal(sources_open(&sources, scratch_folder, "", &notes, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "contains no logs"));
    assert_int_equal(sources_open(&sources, scratch_at("nowhere"), "", &notes, &err),
                     STATUS_NOT_FOUND);
    write_shard("b", 1, false);
    write_shard("b", 2, false);
    write_shard("a", 3, false);
    assert_int_equal(sources_open(&sources, scratch_at("b"), "", &notes, &err), STATUS_OK);
    assert_int_equal(sources_n(sources), 1);
    assert_int_equal(sources_n_shards(sources), 2);
    sources_close(sources);
    assert_int_equal(sources_open(&sources, scratch_folder, "", &notes, &err), STATUS_OK);
    assert_int_equal(sources_n(sources), 2);
    assert_int_equal(sources_n_shards(sources), 3);
    assert_int_equal(sources_episodes(sources), 9);
    size_t shard_i = 9;
    const struct source *first = sources_shard(sources, 0, &shard_i);
    assert_int_equal(shard_i, 0);
    assert_non_null(strstr(source_path(first), "/a"));
    assert_true(sources_shard(sources, 2, &shard_i) != first);
    assert_int_equal(shard_i, 1);
    sources_close(sources);
    /* Another order of rewards is another signature. */
    strcpy(signature.rewards[0], "walk");
    strcpy(signature.rewards[1], "run");
    write_shard("c", 4, false);
    assert_int_equal(sources_open(&sources, scratch_folder, "", &notes, &err), STATUS_MISMATCH);
    assert_non_null(strstr(err.text, "reward 0: run here, walk there"));
}

struct parts {
    struct sources *sources;
    struct relabel *relabel;
    struct plan *plan;
    struct prefetch *prefetch;
};

static void open_parts(struct parts *parts, bool shuffle, struct plan_position until,
                       size_t prefetch_episodes)
{
    const struct config_texts none = {0};
    const struct plan_settings settings = {5, shuffle, 0, 1};
    struct plan_shard shards[8];
    assert_int_equal(sources_open(&parts->sources, scratch_folder, "", &(struct text){0}, NULL),
                     STATUS_OK);
    assert_int_equal(
        relabel_new(&parts->relabel, sources_signature(parts->sources), &none, "", NULL),
        STATUS_OK);
    for (size_t i = 0; i < sources_n_shards(parts->sources); i++) {
        shards[i] = (struct plan_shard){i, 3};
    }
    assert_int_equal(
        plan_new(&parts->plan, shards, sources_n_shards(parts->sources), &settings, NULL),
        STATUS_OK);
    const struct prefetch_settings prefetch = {.sources = parts->sources,
                                               .plan = parts->plan,
                                               .relabel = parts->relabel,
                                               .until = until,
                                               .prefetch_episodes = prefetch_episodes};
    assert_int_equal(prefetch_start(&parts->prefetch, &prefetch, NULL), STATUS_OK);
}

static void close_parts(struct parts *parts)
{
    prefetch_stop(parts->prefetch);
    plan_free(parts->plan);
    relabel_free(parts->relabel);
    sources_close(parts->sources);
}

static void passes_come_in_the_plans_order(void **state)
{
    (void)state;
    write_shard("a", 10, false);
    write_shard("a", 20, true);
    write_shard("b", 30, false);
    write_shard("b", 40, false);
    assert_int_equal(truncate(scratch_at("b/shard-00001.hdf5"), 700), 0);
    for (size_t prefetch_episodes = 1; prefetch_episodes <= 7; prefetch_episodes += 3) {
        struct parts parts;
        unsigned counts[5] = {0};
        open_parts(&parts, true, (struct plan_position){.pass = 2}, prefetch_episodes);
        struct plan *plan; /* walks along */
        const struct plan_settings settings = {5, true, 0, 1};
        const struct plan_shard shards[4] = {{0, 3}, {1, 3}, {2, 3}, {3, 3}};
        assert_int_equal(plan_new(&plan, shards, 4, &settings, NULL), STATUS_OK);
        for (;;) {
            struct prefetch_item *item;
            const status s = prefetch_next(parts.prefetch, &item, 5000);
            if (s == STATUS_CLOSED) {
                break;
            }
            assert_int_equal(s, STATUS_OK);
            struct plan_step step;
            plan_next(plan, &step);
            assert_int_equal(plan_compare(plan_position(plan), item->after), 0);
            counts[item->kind]++;
            assert_int_equal(item->kind == PREFETCH_PASS_END, step.pass_end);
            const bool bad = step.shard_i == 3 || (step.shard_i == 1 && step.episode_i == 1);
            assert_true(step.pass_end || (item->kind == PREFETCH_BAD) == bad);
            if (item->kind == PREFETCH_EPISODE) {
                assert_int_equal(item->episode.T, 4 + step.episode_i);
                assert_int_equal(item->episode.identity.episode, step.episode_i);
            } else if (item->kind == PREFETCH_BAD) {
                assert_non_null(strstr(item->reason.text, step.shard_i == 3
                                                              ? "b/shard-00001.hdf5"
                                                              : "row 0, observation"));
            }
            prefetch_return(parts.prefetch, item);
        }
        assert_int_equal(counts[PREFETCH_EPISODE], 2 * 8);
        assert_int_equal(counts[PREFETCH_BAD], 2 * 4);
        assert_int_equal(counts[PREFETCH_PASS_END], 2);
        plan_free(plan);
        close_parts(&parts);
    }
}

/* Flips a byte of the file that spoils one episode alone. */
static void spoil_one_episode(const char *name)
{
    char path[2 * SCRATCH_SIZE];
    scratch_path(path, scratch_folder, name);
    for (long offset = 0;; offset += 16) {
        FILE *file = fopen(path, "r+b");
        assert_non_null(file);
        fseek(file, offset, SEEK_SET);
        const int was = fgetc(file);
        assert_int_not_equal(was, EOF);
        fseek(file, offset, SEEK_SET);
        fputc(was ^ 1, file);
        fclose(file);
        struct dataset *dataset;
        struct shard_reader *reader;
        unsigned bad = 0;
        assert_int_equal(dataset_open(&dataset, scratch_at("a"), NULL), STATUS_OK);
        if (shard_reader_open(&reader, dataset, 0, NULL) == STATUS_OK) {
            struct episode episode;
            episode_init(&episode, signature_width(&signature));
            for (uint64_t i = 0; i < shard_reader_episodes(reader); i++) {
                bad += shard_reader_read(reader, i, &episode, NULL) != STATUS_OK;
            }
            episode_fini(&episode);
            shard_reader_close(reader);
        }
        dataset_close(dataset);
        if (bad == 1) {
            return;
        }
        file = fopen(path, "r+b");
        fseek(file, offset, SEEK_SET);
        fputc(was, file);
        fclose(file);
    }
}

static void damaged_episodes_are_not_read_twice(void **state)
{
    (void)state;
    write_shard("a", 10, false);
    spoil_one_episode("a/shard-00000.hdf5");
    struct parts parts;
    open_parts(&parts, true, (struct plan_position){.pass = 3}, 2);
    unsigned counts[5] = {0};
    struct prefetch_item *item;
    while (prefetch_next(parts.prefetch, &item, 5000) == STATUS_OK) {
        counts[item->kind]++;
        assert_int_equal(item->reason.code,
                         item->kind == PREFETCH_BAD || item->kind == PREFETCH_STILL_BAD
                             ? STATUS_CORRUPT
                             : STATUS_OK);
        prefetch_return(parts.prefetch, item);
    }
    assert_int_equal(counts[PREFETCH_EPISODE], 6);
    assert_int_equal(counts[PREFETCH_BAD], 1);
    assert_int_equal(counts[PREFETCH_STILL_BAD], 2);
    close_parts(&parts);
}

static void it_stops_whenever_asked(void **state)
{
    (void)state;
    write_shard("a", 10, false);
    for (int taken = 0; taken < 30; taken += 5) {
        struct parts parts;
        open_parts(&parts, true, PREFETCH_UNBOUNDED, 4);
        struct prefetch_item *item;
        for (int i = 0; i < taken; i++) {
            assert_int_equal(prefetch_next(parts.prefetch, &item, 5000), STATUS_OK);
            prefetch_return(parts.prefetch, item);
        }
        close_parts(&parts);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, scratch_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(sources_are_one_dataset_or_several),
        TEST(passes_come_in_the_plans_order),
        TEST(damaged_episodes_are_not_read_twice),
        TEST(it_stops_whenever_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
