/* Datasets on disk: what is written comes back, crashes leave whole shards, and anything else is
 * refused with a reason. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/rng.h"
#include "common/trajectory/dataset.h"
#include "common/trajectory/dataset_writer.h"
#include "common/trajectory/hdf5_writing.h"
#include "common/trajectory/shard_reader.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"
#include "tests/lib/trajectories.h"

#define N 4

/* HDF5 1.10.8 loses a chunk's buffer when its checksum is wrong: leaks below it are not ours. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libhdf5";
}

static struct signature signature;
static struct episode episodes[N];
static const struct episode *list[N];

static int setup(void **state)
{
    (void)state;
    scratch_make(scratch_folder);
    trajectories_signature(&signature, 2);
    for (uint32_t i = 0; i < N; i++) {
        trajectories_episode(&episodes[i], &signature, 1 + 7 * i, i + 1, i % 2 == 0);
        list[i] = &episodes[i];
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (int i = 0; i < N; i++) {
        episode_fini(&episodes[i]);
    }
    scratch_remove(scratch_folder);
    return 0;
}

/* Without the syncs of file_replace: thousands of damaged files are made here. */
static void overwrite(const char *path, const void *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void write_shard(int compression, size_t n)
{
    struct dataset_writer *writer;
    struct err err = {0};
    if (dataset_writer_open(&writer, scratch_folder, &signature, "{\"tool\": \"test\"}", &err) !=
        STATUS_OK) {
        fail_msg("%s", err.text);
    }
    dataset_writer_set_compression(writer, compression);
    if (dataset_writer_shard(writer, list, n, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    dataset_writer_close(writer);
}

static struct dataset *open_dataset(void)
{
    struct dataset *dataset;
    struct err err = {0};
    if (dataset_open(&dataset, scratch_folder, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    return dataset;
}

/* Physical units cost a rounding where limits are not -1..1. */
#define ROUNDING 1e-6

static void what_is_written_comes_back(void **state)
{
    (void)state;
    for (uint32_t K = 0; K <= 2; K++) {
        for (int compression = 0; compression <= 9; compression += 3) {
            teardown(NULL);
            setup(NULL);
            trajectories_signature(&signature, K);
            for (uint32_t i = 0; i < N; i++) {
                episode_fini(&episodes[i]);
                trajectories_episode(&episodes[i], &signature, 1 + 7 * i, i + 1, i % 2 == 0);
            }
            write_shard(compression, N);
            struct dataset *dataset = open_dataset();
            assert_memory_equal(dataset_signature(dataset), &signature, sizeof signature);
            assert_int_equal(dataset_n_shards(dataset), 1);
            assert_int_equal(dataset_episodes(dataset), N);
            assert_int_equal(dataset_transitions(dataset), 1 + 8 + 15 + 22);
            struct shard_reader *reader;
            assert_int_equal(shard_reader_open(&reader, dataset, 0, NULL), STATUS_OK);
            assert_int_equal(shard_reader_episodes(reader), N);
            struct episode back;
            episode_init(&back, signature_width(&signature));
            for (uint64_t i = N; i-- > 0;) {
                assert_int_equal(shard_reader_read(reader, i, &back, NULL), STATUS_OK);
                assert_true(trajectories_difference(&back, &episodes[i]) <= ROUNDING);
                const float *last = back.rows + (back.T - 1) * back.W;
                assert_true(last[signature_discount_at(&signature)] == (i % 2 == 0 ? 0.0f : 1.0f));
                assert_int_equal(back.identity.source, dataset_shard(dataset, 0)->source);
                assert_int_equal(back.identity.shard, 0);
                assert_int_equal(back.identity.episode, i);
                assert_int_equal(back.identity.relabel, 0);
            }
            episode_fini(&back);
            shard_reader_close(reader);
            dataset_close(dataset);
        }
    }
}

static void the_same_episodes_give_the_same_bytes(void **state)
{
    (void)state;
    write_shard(4, N);
    write_shard(4, N);
    struct dataset *dataset = open_dataset();
    assert_int_equal(dataset_n_shards(dataset), 2);
    assert_int_equal(dataset_shard(dataset, 1)->number, 1);
    assert_true(dataset_shard(dataset, 0)->source == dataset_shard(dataset, 1)->source);
    assert_int_equal(dataset_shard(dataset, 0)->bytes, dataset_shard(dataset, 1)->bytes);
    dataset_close(dataset);
}

static void identities_stay_when_shards_are_added(void **state)
{
    (void)state;
    write_shard(0, 2);
    struct dataset *before = open_dataset();
    write_shard(0, 3);
    struct dataset *after = open_dataset();
    assert_true(dataset_digest(before) != dataset_digest(after));
    assert_true(dataset_shard(before, 0)->source == dataset_shard(after, 0)->source);
    assert_true(dataset_shard(after, 0)->source != dataset_shard(after, 1)->source);
    dataset_close(before);
    dataset_close(after);
}

static void one_writer_and_one_signature(void **state)
{
    (void)state;
    struct dataset_writer *writer;
    struct dataset_writer *second;
    struct err err = {0};
    assert_int_equal(dataset_writer_open(&writer, scratch_folder, &signature, NULL, NULL),
                     STATUS_OK);
    assert_int_equal(dataset_writer_open(&second, scratch_folder, &signature, NULL, &err),
                     STATUS_EXISTS);
    dataset_writer_close(writer);
    struct signature other = signature;
    other.slices[0].size = 4;
    assert_int_equal(dataset_writer_open(&second, scratch_folder, &other, NULL, &err),
                     STATUS_MISMATCH);
    assert_non_null(strstr(err.text, "position(3) here, position(4) there"));
    /* Rewards in another order would be written under the wrong names. */
    trajectories_signature(&other, 1);
    assert_int_equal(dataset_writer_open(&second, scratch_folder, &other, NULL, &err),
                     STATUS_MISMATCH);
    assert_int_equal(dataset_writer_open(&second, scratch_folder, &signature, "[1]", &err),
                     STATUS_OK);
    dataset_writer_close(second); /* made_by counts only for a new folder */
    unlink(scratch_at("metadata.json"));
    assert_int_equal(dataset_writer_open(&second, scratch_folder, &signature, "[1]", &err),
                     STATUS_INVALID);
}

static void unsound_shards_are_not_written(void **state)
{
    (void)state;
    struct dataset_writer *writer;
    struct err err = {0};
    assert_int_equal(dataset_writer_open(&writer, scratch_folder, &signature, NULL, NULL),
                     STATUS_OK);
    assert_int_equal(dataset_writer_shard(writer, list, 0, &err), STATUS_INVALID);
    float *discount = &episodes[1].rows[2 * episodes[1].W + signature_discount_at(&signature)];
    *discount = 0.5f;
    assert_int_equal(dataset_writer_shard(writer, list, N, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "episode_1: row 2, discount: 0.5"));
    *discount = 1.0f;
    assert_int_equal(dataset_writer_shard(writer, list, N, &err), STATUS_OK);
    assert_int_equal(dataset_writer_shards(writer), 1);
    dataset_writer_close(writer);
}

/* Fails every write and sync in turn. Whatever failed, the same call again puts the episodes there
 * once. */
static void failing_writes_lose_and_double_nothing(void **state)
{
    (void)state;
    for (int reopen = 0; reopen <= 1; reopen++) {
        uint64_t nth = 1;
        for (;; nth++) {
            teardown(NULL);
            setup(NULL);
            write_shard(0, 1);
            struct dataset_writer *writer;
            struct err err = {0};
            assert_int_equal(dataset_writer_open(&writer, scratch_folder, &signature, NULL, NULL),
                             STATUS_OK);
            file_fail_at(nth, ENOSPC);
            status s = dataset_writer_shard(writer, list, N, &err);
            file_fail_at(0, 0);
            if (s == STATUS_OK) {
                dataset_writer_close(writer);
                break;
            }
            assert_int_equal(s, STATUS_FULL);
            if (reopen) {
                dataset_writer_close(writer);
                assert_int_equal(
                    dataset_writer_open(&writer, scratch_folder, &signature, NULL, NULL),
                    STATUS_OK);
            }
            if (!dataset_writer_last_has(writer, &list[N - 1]->identity)) {
                assert_int_equal(dataset_writer_shard(writer, list, N, &err), STATUS_OK);
            }
            assert_true(dataset_writer_last_has(writer, &list[0]->identity));
            dataset_writer_close(writer);
            struct dataset *dataset = open_dataset();
            assert_int_equal(dataset_n_shards(dataset), 2);
            assert_int_equal(dataset_episodes(dataset), 1 + N);
            dataset_close(dataset);
        }
        print_message("%" PRIu64 " points of failure\n", nth - 1);
        assert_true(nth > 8);
    }
}

static void failing_memory_is_reported(void **state)
{
    (void)state;
    uint64_t nth = 1;
    for (;; nth++) {
        teardown(NULL);
        setup(NULL);
        struct dataset_writer *writer = NULL;
        memory_fail_at(nth);
        status s = dataset_writer_open(&writer, scratch_folder, &signature, NULL, NULL);
        if (s == STATUS_OK) {
            s = dataset_writer_shard(writer, list, N, NULL);
        }
        memory_fail_at(0);
        dataset_writer_close(writer);
        if (s == STATUS_OK) {
            break;
        }
        assert_int_equal(s, STATUS_NO_MEMORY);
    }
    for (nth = 1;; nth++) {
        struct dataset *dataset = NULL;
        struct shard_reader *reader = NULL;
        struct episode back;
        episode_init(&back, signature_width(&signature));
        memory_fail_at(nth);
        status s = dataset_open(&dataset, scratch_folder, NULL);
        if (s == STATUS_OK) {
            s = shard_reader_open(&reader, dataset, 0, NULL);
        }
        if (s == STATUS_OK) {
            s = shard_reader_read(reader, 3, &back, NULL);
        }
        memory_fail_at(0);
        shard_reader_close(reader);
        dataset_close(dataset);
        episode_fini(&back);
        if (s == STATUS_OK) {
            break;
        }
        assert_int_equal(s, STATUS_NO_MEMORY);
    }
    assert_true(nth > 5);
}

static void an_unlisted_shard_is_found(void **state)
{
    (void)state;
    write_shard(0, 1);
    char *before = scratch_read(scratch_at("metadata.json"));
    write_shard(0, N);
    scratch_write(scratch_at("metadata.json"), before); /* as if the crash came before the list */
    free(before);
    scratch_write(scratch_at("shard-00002.hdf5.tmp"), "half");
    struct dataset *dataset = open_dataset();
    assert_int_equal(dataset_episodes(dataset), 1);
    dataset_close(dataset);
    struct dataset_writer *writer;
    assert_int_equal(dataset_writer_open(&writer, scratch_folder, &signature, NULL, NULL),
                     STATUS_OK);
    assert_int_equal(dataset_writer_shards(writer), 2);
    for (int i = 0; i < N; i++) {
        assert_true(dataset_writer_last_has(writer, &list[i]->identity));
    }
    dataset_writer_close(writer);
    assert_int_equal(access(scratch_at("shard-00002.hdf5.tmp"), F_OK), -1);
    dataset = open_dataset();
    assert_int_equal(dataset_episodes(dataset), 1 + N);
    assert_int_equal(dataset_transitions(dataset), 1 + 46);
    dataset_close(dataset);
    /* One that is no shard keeps its number and is left alone. */
    scratch_write(scratch_at("shard-00002.hdf5"), "garbage");
    write_shard(0, 2);
    assert_int_equal(access(scratch_at("shard-00003.hdf5"), F_OK), 0);
    char *garbage = scratch_read(scratch_at("shard-00002.hdf5"));
    assert_string_equal(garbage, "garbage");
    free(garbage);
}

/* ---- damage ---- */

/* Reads all; a shard or an episode may be refused, but what is read must be right. */
static uint64_t read_damaged(struct dataset *dataset)
{
    struct shard_reader *reader;
    struct err err = {0};
    if (shard_reader_open(&reader, dataset, 0, &err) != STATUS_OK) {
        assert_non_null(strstr(err.text, "shard-00000.hdf5"));
        return 0;
    }
    uint64_t good = 0;
    struct episode back;
    episode_init(&back, signature_width(&signature));
    for (uint64_t i = 0; i < shard_reader_episodes(reader); i++) {
        if (shard_reader_read(reader, i, &back, &err) != STATUS_OK) {
            assert_non_null(strstr(err.text, "shard-00000.hdf5: episode_"));
            continue;
        }
        assert_true(back.identity.episode < N);
        assert_true(trajectories_difference(&back, &episodes[back.identity.episode]) <= ROUNDING);
        good++;
    }
    episode_fini(&back);
    shard_reader_close(reader);
    return good;
}

static void flipped_bytes_spoil_one_episode_at_most_or_the_structure(void **state)
{
    (void)state;
    write_shard(4, N);
    void *bytes;
    size_t size;
    assert_int_equal(file_read(scratch_at("shard-00000.hdf5"), 1 << 24, &bytes, &size, NULL),
                     STATUS_OK);
    struct dataset *dataset = open_dataset();
    assert_int_equal(read_damaged(dataset), N);
    uint64_t spoilt[N + 1] = {0};
    for (size_t i = 0; i < size; i += 1 + size / 1499) {
        unsigned char *byte = (unsigned char *)bytes + i;
        const unsigned char was = *byte;
        *byte = (unsigned char)(was ^ (1u << (i % 8)));
        overwrite(scratch_at("shard-00000.hdf5"), bytes, size);
        spoilt[N - read_damaged(dataset)]++;
        *byte = was;
    }
    print_message("of %zu bytes flipped ones spoilt 0: %" PRIu64 ", 1: %" PRIu64 ", all: %" PRIu64
                  "\n",
                  size, spoilt[0], spoilt[1], spoilt[N]);
    assert_true(spoilt[1] > 0);
    dataset_close(dataset);
    mem_free(bytes);
}

static void cut_and_garbage_files_are_refused(void **state)
{
    (void)state;
    write_shard(0, N);
    void *bytes;
    size_t size;
    assert_int_equal(file_read(scratch_at("shard-00000.hdf5"), 1 << 24, &bytes, &size, NULL),
                     STATUS_OK);
    struct dataset *dataset = open_dataset();
    for (size_t n = 0; n < size; n += 1 + size / 97) {
        overwrite(scratch_at("shard-00000.hdf5"), bytes, n);
        struct shard_reader *reader;
        struct err err = {0};
        assert_int_equal(shard_reader_open(&reader, dataset, 0, &err), STATUS_CORRUPT);
        assert_non_null(strstr(err.text, "bytes, metadata.json lists"));
    }
    dataset_close(dataset);
    /* The same without a list that knows the size: HDF5 itself must cope. */
    char *text = signature_to_json(&signature);
    char metadata[4096];
    snprintf(metadata, sizeof metadata, "{\"signature\": %s}", text);
    mem_free(text);
    scratch_write(scratch_at("metadata.json"), metadata);
    struct rng rng;
    rng_init(&rng, 1, "garbage", 0);
    for (size_t n = 0; n < size; n += 1 + size / 97) {
        for (size_t i = 0; i < n % 64; i++) {
            ((unsigned char *)bytes)[rng_below(&rng, size)] = (unsigned char)rng_u64(&rng);
        }
        overwrite(scratch_at("shard-00000.hdf5"), bytes, n);
        dataset = open_dataset();
        assert_int_equal(read_damaged(dataset), 0);
        dataset_close(dataset);
    }
    mem_free(bytes);
    unlink(scratch_at("shard-00000.hdf5"));
    struct err err = {0};
    assert_int_equal(dataset_open(&dataset, scratch_folder, &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.text, "no .hdf5 files"));
}

static void bad_metadata_is_refused(void **state)
{
    (void)state;
    write_shard(0, 1);
    static const struct {
        const char *from, *to, *word;
    } cases[] = {
        {"\"file\"", "\"fil\"", "shards[0]"},
        {"shard-00000.hdf5", "../00000.hdf5", "expected a name in this folder"},
        {"\"episodes\":\t1", "\"episodes\":\t-1", "episodes: expected a whole number"},
        {"\"transitions\":\t1", "\"transitions\":\t1.5", "transitions: expected a whole number"},
        {"\"xxh64\":\t\"", "\"xxh64\":\t\"zz", "16 hexadecimal digits"},
        {"\"signature\"", "\"signatur\"", "signature: is not there"},
        {"position", "posit on", "bad name"},
        {"{", "[", "not a JSON object"},
    };
    char *text = scratch_read(scratch_at("metadata.json"));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char changed[8192];
        char *found = strstr(text, cases[i].from);
        if (found == NULL) {
            fail_msg("%s is not in %s", cases[i].from, text);
        }
        snprintf(changed, sizeof changed, "%.*s%s%s", (int)(found - text), text, cases[i].to,
                 found + strlen(cases[i].from));
        scratch_write(scratch_at("metadata.json"), changed);
        struct dataset *dataset;
        struct err err = {0};
        assert_int_not_equal(dataset_open(&dataset, scratch_folder, &err), STATUS_OK);
        if (strstr(err.text, "metadata.json") == NULL || strstr(err.text, cases[i].word) == NULL) {
            fail_msg("case %zu: expected \"%s\" in \"%s\"", i, cases[i].word, err.text);
        }
    }
    free(text);
    struct dataset *dataset;
    struct err err = {0};
    assert_int_equal(dataset_open(&dataset, scratch_at("nowhere"), &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.text, "not a dataset"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_written_comes_back),
        TEST(the_same_episodes_give_the_same_bytes),
        TEST(identities_stay_when_shards_are_added),
        TEST(one_writer_and_one_signature),
        TEST(unsound_shards_are_not_written),
        TEST(failing_writes_lose_and_double_nothing),
        TEST(failing_memory_is_reported),
        TEST(an_unlisted_shard_is_found),
        TEST(flipped_bytes_spoil_one_episode_at_most_or_the_structure),
        TEST(cut_and_garbage_files_are_refused),
        TEST(bad_metadata_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
