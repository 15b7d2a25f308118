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
#include "common/trajectory/hdf5_writing.h"
#include "common/trajectory/minari.h"
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

static char folder[SCRATCH_SIZE];
static struct signature signature;
static struct episode episodes[N];
static const struct episode *list[N];

static int setup(void **state)
{
    (void)state;
    scratch_make(folder);
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
    scratch_remove(folder);
    return 0;
}

static const char *at(const char *name)
{
    static char path[2 * SCRATCH_SIZE];
    return scratch_path(path, folder, name);
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
    if (dataset_writer_open(&writer, folder, &signature, "{\"tool\": \"test\"}", &err) !=
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
    if (dataset_open(&dataset, folder, &err) != STATUS_OK) {
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
    assert_int_equal(dataset_writer_open(&writer, folder, &signature, NULL, NULL), STATUS_OK);
    assert_int_equal(dataset_writer_open(&second, folder, &signature, NULL, &err), STATUS_EXISTS);
    dataset_writer_close(writer);
    struct signature other = signature;
    other.slices[0].size = 4;
    assert_int_equal(dataset_writer_open(&second, folder, &other, NULL, &err), STATUS_MISMATCH);
    assert_non_null(strstr(err.text, "position(3) here, position(4) there"));
    /* Rewards in another order would be written under the wrong names. */
    trajectories_signature(&other, 1);
    assert_int_equal(dataset_writer_open(&second, folder, &other, NULL, &err), STATUS_MISMATCH);
    assert_int_equal(dataset_writer_open(&second, folder, &signature, "[1]", &err), STATUS_OK);
    dataset_writer_close(second); /* made_by counts only for a new folder */
    unlink(at("metadata.json"));
    assert_int_equal(dataset_writer_open(&second, folder, &signature, "[1]", &err), STATUS_INVALID);
}

static void unsound_shards_are_not_written(void **state)
{
    (void)state;
    struct dataset_writer *writer;
    struct err err = {0};
    assert_int_equal(dataset_writer_open(&writer, folder, &signature, NULL, NULL), STATUS_OK);
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
            assert_int_equal(dataset_writer_open(&writer, folder, &signature, NULL, NULL),
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
                assert_int_equal(dataset_writer_open(&writer, folder, &signature, NULL, NULL),
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
        status s = dataset_writer_open(&writer, folder, &signature, NULL, NULL);
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
        status s = dataset_open(&dataset, folder, NULL);
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
    char *before = scratch_read(at("metadata.json"));
    write_shard(0, N);
    scratch_write(at("metadata.json"), before); /* as if the crash came before the list */
    free(before);
    scratch_write(at("shard-00002.hdf5.tmp"), "half");
    struct dataset *dataset = open_dataset();
    assert_int_equal(dataset_episodes(dataset), 1);
    dataset_close(dataset);
    struct dataset_writer *writer;
    assert_int_equal(dataset_writer_open(&writer, folder, &signature, NULL, NULL), STATUS_OK);
    assert_int_equal(dataset_writer_shards(writer), 2);
    for (int i = 0; i < N; i++) {
        assert_true(dataset_writer_last_has(writer, &list[i]->identity));
    }
    dataset_writer_close(writer);
    assert_int_equal(access(at("shard-00002.hdf5.tmp"), F_OK), -1);
    dataset = open_dataset();
    assert_int_equal(dataset_episodes(dataset), 1 + N);
    assert_int_equal(dataset_transitions(dataset), 1 + 46);
    dataset_close(dataset);
    /* One that is no shard keeps its number and is left alone. */
    scratch_write(at("shard-00002.hdf5"), "garbage");
    write_shard(0, 2);
    assert_int_equal(access(at("shard-00003.hdf5"), F_OK), 0);
    char *garbage = scratch_read(at("shard-00002.hdf5"));
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
    assert_int_equal(file_read(at("shard-00000.hdf5"), 1 << 24, &bytes, &size, NULL), STATUS_OK);
    struct dataset *dataset = open_dataset();
    assert_int_equal(read_damaged(dataset), N);
    uint64_t spoilt[N + 1] = {0};
    for (size_t i = 0; i < size; i += 1 + size / 1499) {
        unsigned char *byte = (unsigned char *)bytes + i;
        const unsigned char was = *byte;
        *byte = (unsigned char)(was ^ (1u << (i % 8)));
        overwrite(at("shard-00000.hdf5"), bytes, size);
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
    assert_int_equal(file_read(at("shard-00000.hdf5"), 1 << 24, &bytes, &size, NULL), STATUS_OK);
    struct dataset *dataset = open_dataset();
    for (size_t n = 0; n < size; n += 1 + size / 97) {
        overwrite(at("shard-00000.hdf5"), bytes, n);
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
    scratch_write(at("metadata.json"), metadata);
    struct rng rng;
    rng_init(&rng, 1, "garbage", 0);
    for (size_t n = 0; n < size; n += 1 + size / 97) {
        for (size_t i = 0; i < n % 64; i++) {
            ((unsigned char *)bytes)[rng_below(&rng, size)] = (unsigned char)rng_u64(&rng);
        }
        overwrite(at("shard-00000.hdf5"), bytes, n);
        dataset = open_dataset();
        assert_int_equal(read_damaged(dataset), 0);
        dataset_close(dataset);
    }
    mem_free(bytes);
    unlink(at("shard-00000.hdf5"));
    struct err err = {0};
    assert_int_equal(dataset_open(&dataset, folder, &err), STATUS_NOT_FOUND);
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
    char *text = scratch_read(at("metadata.json"));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char changed[8192];
        char *found = strstr(text, cases[i].from);
        if (found == NULL) {
            fail_msg("%s is not in %s", cases[i].from, text);
        }
        snprintf(changed, sizeof changed, "%.*s%s%s", (int)(found - text), text, cases[i].to,
                 found + strlen(cases[i].from));
        scratch_write(at("metadata.json"), changed);
        struct dataset *dataset;
        struct err err = {0};
        assert_int_not_equal(dataset_open(&dataset, folder, &err), STATUS_OK);
        if (strstr(err.text, "metadata.json") == NULL || strstr(err.text, cases[i].word) == NULL) {
            fail_msg("case %zu: expected \"%s\" in \"%s\"", i, cases[i].word, err.text);
        }
    }
    free(text);
    struct dataset *dataset;
    struct err err = {0};
    assert_int_equal(dataset_open(&dataset, at("nowhere"), &err), STATUS_NOT_FOUND);
    assert_non_null(strstr(err.text, "not a dataset"));
}

/* ---- logs of others ---- */

/* A file of one episode, made part by part; `spoil` says what is unusual or wrong about it. */
enum spoil {
    PLAIN,
    FLOAT64,
    SLICES,
    BYTE_FLAGS,
    REWARDS_COLUMN,
    SHORT_ACTIONS,
    SHORT_REWARDS,
    LONG_FLAGS,
    WIDE_OBSERVATIONS,
    NO_ACTIONS,
    NO_TRUNCATIONS,
    EARLY_TERMINATION,
    EARLY_TRUNCATION,
    FLAG_2,
    FLOAT_FLAGS,
    TEXT_REWARDS,
    STEPS_ATTRIBUTE,
    NAN_OBSERVATION,
    ACTION_OUTSIDE,
    ACTIONS_GROUP,
    SCALAR_REWARDS,
    MISSING_SLICE,
    HUGE_ACTIONS,
    END_OF_CASES
};

static const char *const expected[END_OF_CASES] = {
    [SHORT_ACTIONS] = "actions: 4 rows, expected 5",
    [SHORT_REWARDS] = "rewards: 4 rows, expected 5",
    [LONG_FLAGS] = "terminations: 6 rows of 1, expected 5 of 1",
    [WIDE_OBSERVATIONS] = "observations: rows of 6 values, the signature has 5",
    [NO_ACTIONS] = "actions: is not there",
    [NO_TRUNCATIONS] = "truncations: is not there",
    [EARLY_TERMINATION] = "row 1, terminations: set, but the episode goes on to row 5",
    [EARLY_TRUNCATION] = "row 1, truncations: set, but the episode goes on to row 5",
    [FLAG_2] = "row 4, terminations: 2, expected 0 or 1",
    [FLOAT_FLAGS] = "terminations: expected booleans or integers",
    [TEXT_REWARDS] = "rewards: expected floats or integers",
    [STEPS_ATTRIBUTE] = "total_steps: 9, but there are 6 observations",
    [NAN_OBSERVATION] = "row 3, observation position[2]: nan is not finite",
    [ACTION_OUTSIDE] = "row 2, action 1: 1.5 is outside the limits",
    [ACTIONS_GROUP] = "actions: open",
    [SCALAR_REWARDS] = "rewards: 0 dimensions, expected 1..8",
    [MISSING_SLICE] = "observations/velocity: is not there",
    [HUGE_ACTIONS] = "actions: dimension 1 is 1000000000: empty, or too large",
};

static void put(hid_t group, const char *name, hid_t type, hid_t memory, const void *values,
                hsize_t n, hsize_t row)
{
    const hsize_t dims[2] = {n, row};
    hid_t space = n == 0 ? H5Screate(H5S_SCALAR) : H5Screate_simple(row > 0 ? 2 : 1, dims, NULL);
    hid_t dataset = H5Dcreate2(group, name, type, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(dataset >= 0);
    if (values != NULL) {
        assert_true(H5Dwrite(dataset, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    }
    H5Dclose(dataset);
    H5Sclose(space);
}

static void put_observations(hid_t group, enum spoil spoil, const float *values)
{
    if (spoil == SLICES || spoil == MISSING_SLICE) {
        float position[6 * 3];
        float velocity[6 * 2];
        for (int t = 0; t < 6; t++) {
            memcpy(position + 3 * t, values + 5 * t, 3 * sizeof(float));
            memcpy(velocity + 2 * t, values + 5 * t + 3, 2 * sizeof(float));
        }
        hid_t slices = H5Gcreate2(group, "observations", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        put(slices, "position", H5T_IEEE_F64BE, H5T_NATIVE_FLOAT, position, 6, 3);
        if (spoil == SLICES) {
            put(slices, "velocity", H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, velocity, 6, 2);
        }
        H5Gclose(slices);
        return;
    }
    hid_t type = spoil == FLOAT64 ? H5T_IEEE_F64LE : H5T_IEEE_F32LE;
    if (spoil == WIDE_OBSERVATIONS) {
        put(group, "observations", type, H5T_NATIVE_FLOAT, values, 5, 6);
    } else {
        put(group, "observations", type, H5T_NATIVE_FLOAT, values, 6, 5);
    }
}

static void put_actions(hid_t group, enum spoil spoil, const float *values)
{
    if (spoil == NO_ACTIONS) {
        return;
    }
    if (spoil == ACTIONS_GROUP) {
        H5Gclose(H5Gcreate2(group, "actions", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    } else if (spoil == HUGE_ACTIONS) {
        const hsize_t dims[2] = {5, 1000000000};
        hid_t space = H5Screate_simple(2, dims, NULL);
        hid_t dataset = H5Dcreate2(group, "actions", H5T_IEEE_F32LE, space, H5P_DEFAULT,
                                   H5P_DEFAULT, H5P_DEFAULT);
        H5Dclose(dataset);
        H5Sclose(space);
    } else {
        put(group, "actions", H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, values,
            spoil == SHORT_ACTIONS ? 4 : 5, 2);
    }
}

static void put_rewards(hid_t group, enum spoil spoil, const float *values)
{
    if (spoil == TEXT_REWARDS) {
        hid_t text = H5Tcopy(H5T_C_S1);
        H5Tset_size(text, 4);
        put(group, "rewards", text, text, values, 5, 0);
        H5Tclose(text);
    } else if (spoil == SCALAR_REWARDS) {
        put(group, "rewards", H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, values, 0, 0);
    } else {
        put(group, "rewards", H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, values,
            spoil == SHORT_REWARDS ? 4 : 5, spoil == REWARDS_COLUMN ? 1 : 0);
    }
}

static void put_flags(hid_t group, enum spoil spoil, const struct hdf5_writing *writing)
{
    int8_t flags[6] = {0, 0, 0, 0, 1, 0};
    if (spoil == EARLY_TERMINATION) {
        flags[1] = 1;
    }
    if (spoil == FLAG_2) {
        flags[4] = 2;
    }
    if (spoil == FLOAT_FLAGS) {
        const float ones[5] = {0, 0, 0, 0, 1};
        put(group, "terminations", H5T_IEEE_F32LE, H5T_NATIVE_FLOAT, ones, 5, 0);
    } else if (spoil == BYTE_FLAGS || spoil == FLAG_2) {
        put(group, "terminations", H5T_STD_U8LE, H5T_NATIVE_INT8, flags, 5, 0);
    } else {
        put(group, "terminations", writing->bool_type, writing->bool_type, flags,
            spoil == LONG_FLAGS ? 6 : 5, 0);
    }
    int8_t truncations[5] = {0};
    if (spoil == EARLY_TRUNCATION) {
        truncations[1] = 1;
    }
    if (spoil != NO_TRUNCATIONS) {
        put(group, "truncations", writing->bool_type, writing->bool_type, truncations, 5, 0);
    }
}

static void make_file(const char *path, enum spoil spoil, const float *observations,
                      const float *actions, const float *rewards)
{
    struct hdf5_writing writing;
    void *image;
    size_t size;
    hdf5_lock();
    assert_int_equal(hdf5_writing_begin(&writing, 0, NULL), STATUS_OK);
    hid_t group = H5Gcreate2(writing.file, "episode_7", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    put_observations(group, spoil, observations);
    put_actions(group, spoil, actions);
    put_rewards(group, spoil, rewards);
    put_flags(group, spoil, &writing);
    if (spoil == STEPS_ATTRIBUTE) {
        const uint64_t steps = 9;
        assert_int_equal(hdf5_writing_attribute(group, "total_steps", &steps, 1, NULL), STATUS_OK);
    }
    H5Gclose(group);
    assert_int_equal(hdf5_writing_end(&writing, &image, &size, NULL), STATUS_OK);
    hdf5_unlock();
    overwrite(path, image, size);
    mem_free(image);
}

static void logs_of_others_are_read_or_refused(void **state)
{
    (void)state;
    trajectories_signature(&signature, 1);
    char *text = signature_to_json(&signature);
    char metadata[4096];
    snprintf(metadata, sizeof metadata, "{\"signature\": %s}", text);
    mem_free(text);
    scratch_write(at("metadata.json"), metadata);
    for (int spoil = PLAIN; spoil < END_OF_CASES; spoil++) {
        float observations[30];
        float actions[10];
        float rewards[5];
        for (int i = 0; i < 30; i++) {
            observations[i] = (float)i;
        }
        for (int t = 0; t < 5; t++) {
            actions[2 * t] = -0.5f;
            actions[2 * t + 1] = 3.0f; /* of 0..4: canonical 0.5 */
            rewards[t] = (float)t;
        }
        if (spoil == NAN_OBSERVATION) {
            observations[3 * 5 + 2] = NAN;
        }
        if (spoil == ACTION_OUTSIDE) {
            actions[2 * 2 + 1] = 5.0f;
        }
        make_file(at("a.hdf5"), (enum spoil)spoil, observations, actions, rewards);
        struct dataset *dataset = open_dataset();
        assert_int_equal(dataset_episodes(dataset), 1);
        struct shard_reader *reader;
        struct episode e;
        struct err err = {0};
        episode_init(&e, signature_width(&signature));
        assert_int_equal(shard_reader_open(&reader, dataset, 0, &err), STATUS_OK);
        const status s = shard_reader_read(reader, 0, &e, &err);
        if (expected[spoil] == NULL) {
            if (s != STATUS_OK) {
                fail_msg("case %d: %s", spoil, err.text);
            }
            const float row4[9] = {20, 21, 22, 23, 24, -0.5f, 0.5f, 4, 0};
            const float row5[9] = {25, 26, 27, 28, 29, 0, 0, 0, 0};
            assert_int_equal(e.T, 5);
            assert_memory_equal(e.rows + 4 * 9, row4, sizeof row4);
            assert_memory_equal(e.rows + 5 * 9, row5, sizeof row5);
            assert_true(e.rows[3 * 9 + 8] == 1.0f);
            assert_int_equal(e.identity.episode, 7);
        } else if (s == STATUS_OK || strstr(err.text, expected[spoil]) == NULL ||
                   strstr(err.text, "a.hdf5: episode_7: ") == NULL) {
            fail_msg("case %d: expected \"%s\" in \"%s\"", spoil, expected[spoil], err.text);
        }
        shard_reader_close(reader);
        dataset_close(dataset);
        episode_fini(&e);
    }
}

/* ---- Minari ---- */

static void an_export_is_a_dataset_again(void **state)
{
    (void)state;
    write_shard(0, N);
    struct dataset *dataset = open_dataset();
    char to[2 * SCRATCH_SIZE];
    scratch_path(to, folder, "out/hindcast/test-v0");
    uint64_t bad = 9;
    struct err err = {0};
    assert_int_equal(minari_export(dataset, to, "hindcast/test v0", 1, &bad, &err), STATUS_INVALID);
    assert_int_equal(minari_export(dataset, to, "hindcast/test-v0", 1, &bad, &err), STATUS_OK);
    assert_int_equal(bad, 0);
    assert_int_equal(minari_export(dataset, to, "hindcast/test-v0", 1, &bad, &err), STATUS_EXISTS);
    dataset_close(dataset);
    assert_int_equal(dataset_open(&dataset, to, &err), STATUS_OK);
    const struct signature *got = dataset_signature(dataset);
    assert_int_equal(got->n_slices, 1);
    assert_string_equal(got->slices[0].name, "observation");
    assert_int_equal(got->slices[0].size, 5);
    assert_int_equal(got->A, 2);
    assert_true(got->action_min[1] == 0.0f && got->action_max[1] == 4.0f);
    assert_string_equal(got->rewards[0], "reward");
    struct shard_reader *reader;
    struct episode e;
    episode_init(&e, signature_width(got));
    assert_int_equal(shard_reader_open(&reader, dataset, 0, NULL), STATUS_OK);
    for (uint64_t i = 0; i < N; i++) {
        assert_int_equal(shard_reader_read(reader, i, &e, NULL), STATUS_OK);
        assert_int_equal(e.T, episodes[i].T);
        const double difference =
            episode_return(&e, got, 0) - episode_return(&episodes[i], &signature, 1);
        assert_true(fabs(difference) < 1e-9);
    }
    shard_reader_close(reader);
    dataset_close(dataset);
    episode_fini(&e);
}

static void spaces_of_minari_become_signatures(void **state)
{
    (void)state;
#define ACTION           "\\\"low\\\": [-1.0, -2.0], \\\"high\\\": [1.0, 2.0]"
#define BOX(shape, rest) "{\\\"type\\\": \\\"Box\\\", \\\"shape\\\": " shape ", " rest "}"
#define METADATA(observation, action)                                                              \
    "{\"data_format\": \"hdf5\", \"observation_space\": \"" observation                            \
    "\", \"action_space\": \"" action "\"}"
    static const struct {
        const char *json, *word; /* word NULL: good */
    } cases[] = {
        {METADATA(BOX("[2, 3]", "\\\"low\\\": [-Infinity], \\\"high\\\": NaN"), BOX("[2]", ACTION)),
         NULL},
        {METADATA(
             "{\\\"type\\\": \\\"Dict\\\", \\\"subspaces\\\": {\\\"b\\\": " BOX(
                 "[4]",
                 "\\\"x\\\": 0") ", \\\"a\\\": {\\\"type\\\": \\\"Dict\\\", \\\"subspaces\\\": "
                                 "{\\\"c\\\": " BOX("[2]", "\\\"x\\\": 0") "}}}}",
             BOX("[2]", ACTION)),
         NULL},
        {METADATA(BOX("[6]", "\\\"x\\\": 0"),
                  BOX("[2]", "\\\"low\\\": [-Infinity, -1], \\\"high\\\": [1, 1]")),
         "action 0 has no finite limit"},
        {METADATA(BOX("[6]", "\\\"x\\\": 0"),
                  BOX("[2]", "\\\"low\\\": [-1], \\\"high\\\": [1, 1]")),
         "low: 1 limits, expected 2"},
        {METADATA(BOX("[6]", "\\\"x\\\": 0"), "{\\\"type\\\": \\\"Discrete\\\", \\\"n\\\": 3}"),
         "action_space: a Discrete space, expected Box"},
        {METADATA(BOX("[0]", "\\\"x\\\": 0"), BOX("[2]", ACTION)),
         "shape: expected 1..4096 values"},
        {METADATA("nonsense", BOX("[2]", ACTION)), "observation_space: not a space"},
        {"{\"data_format\": \"arrow\"}", "only \"hdf5\" can be read"},
        {"{\"data_format\": \"hdf5\"}", "observation_space: is not there"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        cJSON *json = cJSON_Parse(cases[i].json);
        assert_non_null(json);
        assert_true(minari_is_metadata(json));
        struct signature got;
        struct err err = {0};
        const status s = minari_signature(&got, json, &err);
        cJSON_Delete(json);
        if (cases[i].word == NULL) {
            if (s != STATUS_OK) {
                fail_msg("case %zu: %s", i, err.text);
            }
            assert_int_equal(signature_observation(&got), 6);
            assert_true(got.action_min[1] == -2.0f);
        } else if (s != STATUS_INVALID || strstr(err.text, cases[i].word) == NULL) {
            fail_msg("case %zu: expected \"%s\" in \"%s\"", i, cases[i].word, err.text);
        }
        if (i == 1) {
            assert_string_equal(got.slices[0].name, "b");
            assert_string_equal(got.slices[1].name, "a/c");
        }
    }
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
        TEST(logs_of_others_are_read_or_refused),
        TEST(an_export_is_a_dataset_again),
        TEST(spaces_of_minari_become_signatures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
