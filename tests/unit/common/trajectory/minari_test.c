/* Minari: an export is a dataset again, and its spaces become signatures. */
#include <math.h>
#include <string.h>

#include "common/trajectory/dataset.h"
#include "common/trajectory/dataset_writer.h"
#include "common/trajectory/minari_export.h"
#include "common/trajectory/minari_metadata.h"
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

/* A dataset of N episodes in the test's folder. */
static void make_dataset(struct signature *signature, struct episode episodes[N])
{
    struct dataset_writer *writer;
    const struct episode *list[N];
    trajectories_signature(signature, 2);
    for (uint32_t i = 0; i < N; i++) {
        trajectories_episode(&episodes[i], signature, 1 + 7 * i, i + 1, i % 2 == 0);
        list[i] = &episodes[i];
    }
    assert_int_equal(dataset_writer_open(&writer, scratch_folder, signature, NULL, NULL),
                     STATUS_OK);
    assert_int_equal(dataset_writer_shard(writer, list, N, NULL), STATUS_OK);
    dataset_writer_close(writer);
}

static void an_export_is_a_dataset_again(void **state)
{
    (void)state;
    struct signature signature;
    struct episode episodes[N];
    make_dataset(&signature, episodes);
    struct dataset *dataset;
    assert_int_equal(dataset_open(&dataset, scratch_folder, NULL), STATUS_OK);
    char to[2 * SCRATCH_SIZE];
    scratch_path(to, scratch_folder, "out/hindcast/test-v0");
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
    for (uint32_t i = 0; i < N; i++) {
        episode_fini(&episodes[i]);
    }
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_export_is_a_dataset_again, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test(spaces_of_minari_become_signatures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
