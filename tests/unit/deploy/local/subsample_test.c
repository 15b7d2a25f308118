/* Subsampling: which episodes stay, what the CSV says, what is refused. */
#include "deploy/local/subsample.h"

#include <stdlib.h>
#include <string.h>

#include "common/trajectory/dataset.h"
#include "common/trajectory/dataset_writer.h"
#include "common/trajectory/shard_reader.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"
#include "tests/lib/trajectories.h"

/* A dataset of n episodes in shards of 4; episode i has i + 1 transitions. */
static void make_dataset(const char *path, size_t n, uint32_t K)
{
    struct err err = {0};
    struct signature signature;
    trajectories_signature(&signature, K);
    struct dataset_writer *writer;
    assert_int_equal(dataset_writer_open(&writer, path, &signature, NULL, &err), STATUS_OK);
    for (size_t first = 0; first < n; first += 4) {
        struct episode episodes[4];
        const struct episode *list[4];
        size_t count = 0;
        for (; count < 4 && first + count < n; count++) {
            trajectories_episode(&episodes[count], &signature, (uint32_t)(first + count + 1),
                                 first + count, false);
            list[count] = &episodes[count];
        }
        assert_int_equal(dataset_writer_shard(writer, list, count, &err), STATUS_OK);
        for (size_t i = 0; i < count; i++) {
            episode_fini(&episodes[i]);
        }
    }
    dataset_writer_close(writer);
}

static status subsample(const char *to, uint64_t every, const char *const *sources, size_t n,
                        struct err *err)
{
    struct subsample_options options = {.to = to, .every = every, .shard_episodes = 3};
    FILE *out = fopen("/dev/null", "w");
    status s = subsample_datasets(&options, sources, n, out, err);
    fclose(out);
    return s;
}

/* The lengths of all episodes of a dataset, in order. */
static size_t read_lengths(const char *path, uint32_t *lengths, size_t room)
{
    struct err err = {0};
    struct dataset *dataset;
    assert_int_equal(dataset_open(&dataset, path, &err), STATUS_OK);
    size_t n = 0;
    for (size_t i = 0; i < dataset_n_shards(dataset); i++) {
        struct shard_reader *reader;
        assert_int_equal(shard_reader_open(&reader, dataset, i, &err), STATUS_OK);
        struct episode episode;
        episode_init(&episode, signature_width(dataset_signature(dataset)));
        for (uint64_t e = 0; e < shard_reader_episodes(reader); e++) {
            assert_int_equal(shard_reader_read(reader, e, &episode, &err), STATUS_OK);
            assert_true(n < room);
            lengths[n++] = episode.T;
        }
        episode_fini(&episode);
        shard_reader_close(reader);
    }
    dataset_close(dataset);
    return n;
}

static void every_third_of_each_source_stays(void **state)
{
    (void)state;
    char a[2 * SCRATCH_SIZE], b[2 * SCRATCH_SIZE], to[2 * SCRATCH_SIZE], csv[2 * SCRATCH_SIZE];
    make_dataset(scratch_path(a, scratch_folder, "a"), 10, 2);
    make_dataset(scratch_path(b, scratch_folder, "b"), 5, 2);
    scratch_path(to, scratch_folder, "to");
    const char *const sources[] = {a, b};
    struct err err = {0};
    assert_int_equal(subsample(to, 3, sources, 2, &err), STATUS_OK);

    uint32_t lengths[16];
    const uint32_t expected[] = {1, 4, 7, 10, 1, 4};
    assert_int_equal(read_lengths(to, lengths, 16), 6);
    assert_memory_equal(lengths, expected, sizeof expected);

    /* One line per episode of the sources, kept or not, and the header with both tasks. */
    char *text = scratch_read(scratch_path(csv, to, "returns.csv"));
    assert_non_null(text);
    size_t lines = 0, kept = 0;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
        lines++;
        kept += strstr(line, ",1,") != NULL && strtoul(strrchr(line, ','), NULL, 10) == 0 &&
                strncmp(line, "source", 6) != 0;
    }
    assert_int_equal(lines, 16);
    assert_true(kept >= 6);
    free(text);
}

static void a_folder_that_holds_a_dataset_is_left_alone(void **state)
{
    (void)state;
    char a[2 * SCRATCH_SIZE];
    make_dataset(scratch_path(a, scratch_folder, "a"), 2, 1);
    const char *const sources[] = {a};
    struct err err = {0};
    assert_int_equal(subsample(a, 1, sources, 1, &err), STATUS_EXISTS);
    assert_non_null(strstr(err.text, a));
}

static void sources_must_agree(void **state)
{
    (void)state;
    char a[2 * SCRATCH_SIZE], b[2 * SCRATCH_SIZE], to[2 * SCRATCH_SIZE];
    make_dataset(scratch_path(a, scratch_folder, "a"), 2, 1);
    make_dataset(scratch_path(b, scratch_folder, "b"), 2, 2);
    scratch_path(to, scratch_folder, "to");
    const char *const sources[] = {b, a};
    struct err err = {0};
    assert_int_equal(subsample(to, 1, sources, 2, &err), STATUS_MISMATCH);
    assert_non_null(strstr(err.text, a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_third_of_each_source_stays, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(a_folder_that_holds_a_dataset_is_left_alone, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(sources_must_agree, scratch_set_up, scratch_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
