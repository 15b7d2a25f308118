/* Shards that others have made: which variations are read, and how the rest is refused. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/trajectory/dataset.h"
#include "common/trajectory/hdf5_writing.h"
#include "common/trajectory/shard_reader.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"
#include "tests/lib/trajectories.h"

/* HDF5 1.10.8 loses a chunk's buffer when its checksum is wrong: leaks below it are not ours. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libhdf5";
}

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
    [ACTION_OUTSIDE] = "row 2, component 1: 5, expected 0..4",
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
    const struct file_part part = {.bytes = image, .size = size};
    assert_int_equal(file_replace(path, &part, 1, NULL), STATUS_OK);
    mem_free(image);
}

static void logs_of_others_are_read_or_refused(void **state)
{
    (void)state;
    struct signature signature;
    trajectories_signature(&signature, 1);
    char *text = signature_to_json(&signature);
    char metadata[4096];
    snprintf(metadata, sizeof metadata, "{\"signature\": %s}", text);
    mem_free(text);
    scratch_write(scratch_at("metadata.json"), metadata);
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
        make_file(scratch_at("a.hdf5"), (enum spoil)spoil, observations, actions, rewards);
        struct dataset *dataset;
        assert_int_equal(dataset_open(&dataset, scratch_folder, NULL), STATUS_OK);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(logs_of_others_are_read_or_refused, scratch_set_up,
                                        scratch_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
