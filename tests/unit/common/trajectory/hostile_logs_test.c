/* Shards that would make HDF5 read other files, values that were never written, gigabytes for a few
 * rows, or wait for ever; and the identities of episodes whose checksum nobody lists. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/trajectory/dataset.h"
#include "common/trajectory/dataset_writer.h"
#include "common/trajectory/hdf5_writing.h"
#include "common/trajectory/shard_reader.h"
#include "common/trajectory/shard_writer.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"
#include "tests/lib/trajectories.h"

#define STEPS 10

static struct signature signature; /* position(3), velocity(2); 2 actions; K = 1 */

static void write_metadata(const char *folder)
{
    char path[2048];
    char metadata[4096];
    char *text = signature_to_json(&signature);
    snprintf(metadata, sizeof metadata, "{\"signature\": %s}", text);
    mem_free(text);
    snprintf(path, sizeof path, "%s/metadata.json", folder);
    scratch_write(path, metadata);
}

static int set_up(void **state)
{
    trajectories_signature(&signature, 1);
    const int result = scratch_set_up(state);
    write_metadata(scratch_folder);
    return result;
}

/* A dataset of zeros with this layout; nothing is written with write == false. */
static void put(hid_t group, const char *name, hsize_t n, hsize_t row, hid_t layout, bool write)
{
    const hsize_t dims[2] = {n, row};
    static const float zeros[4096];
    hid_t space = H5Screate_simple(row > 0 ? 2 : 1, dims, NULL);
    hid_t dataset =
        H5Dcreate2(group, name, H5T_IEEE_F32LE, space, H5P_DEFAULT, layout, H5P_DEFAULT);
    assert_true(dataset >= 0);
    if (write) {
        assert_true(H5Dwrite(dataset, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, zeros) >= 0);
    }
    H5Dclose(dataset);
    H5Sclose(space);
}

static void put_flags(hid_t group, const char *name)
{
    const hsize_t dims[1] = {STEPS};
    const int8_t flags[STEPS] = {0};
    hid_t space = H5Screate_simple(1, dims, NULL);
    hid_t dataset =
        H5Dcreate2(group, name, H5T_STD_I8LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(H5Dwrite(dataset, H5T_NATIVE_INT8, H5S_ALL, H5S_ALL, H5P_DEFAULT, flags) >= 0);
    H5Dclose(dataset);
    H5Sclose(space);
}

enum trick {
    NO_TRICK,
    CHUNKED,
    EXTERNAL_STORAGE,
    VIRTUAL,
    CONTIGUOUS_UNWRITTEN,
    CHUNKS_UNWRITTEN,
    HUGE_CHUNK,
    NO_LAST_OBSERVATION,
    SOFT_LINK_TO_NOTHING,
    END_OF_TRICKS
};

static const char *const expected[END_OF_TRICKS] = {
    [EXTERNAL_STORAGE] = "observations: has external storage",
    [VIRTUAL] = "observations: is a virtual dataset",
    [CONTIGUOUS_UNWRITTEN] = "observations: was created, but its values were never written",
    [CHUNKS_UNWRITTEN] = "observations: only 0 of its 3 chunks were written",
    [HUGE_CHUNK] = "observations: chunks of 2000000000 bytes for 220 bytes",
    [NO_LAST_OBSERVATION] = "observations: 10 rows for 10 actions, expected 11 (T + 1",
    [SOFT_LINK_TO_NOTHING] = "a.hdf5: episode_0: open",
};

/* Observations with the trick; the layout property list is the caller's to fill in. */
static void put_observations(hid_t group, enum trick trick, const char *other)
{
    hid_t layout = H5Pcreate(H5P_DATASET_CREATE);
    hsize_t n = STEPS + 1;
    bool write = true;
    const hsize_t small[2] = {4, 5};
    const hsize_t huge[2] = {100000000, 5};
    const hsize_t dims[2] = {STEPS + 1, 5};
    if (trick == CHUNKED || trick == CHUNKS_UNWRITTEN) {
        H5Pset_chunk(layout, 2, small);
        write = trick == CHUNKED;
    } else if (trick == HUGE_CHUNK) {
        hsize_t most[2] = {H5S_UNLIMITED, 5};
        hid_t space = H5Screate_simple(2, dims, most);
        H5Pset_chunk(layout, 2, huge);
        H5Pset_deflate(layout, 1);
        hid_t dataset = H5Dcreate2(group, "observations", H5T_IEEE_F32LE, space, H5P_DEFAULT,
                                   layout, H5P_DEFAULT);
        const hsize_t offset[2] = {0, 0};
        assert_true(H5Dwrite_chunk(dataset, H5P_DEFAULT, 0, offset, 4, "bomb") >= 0);
        H5Dclose(dataset);
        H5Sclose(space);
        H5Pclose(layout);
        return;
    } else if (trick == EXTERNAL_STORAGE) {
        H5Pset_external(layout, other, 0, (STEPS + 1) * 5 * sizeof(float));
        write = false;
    } else if (trick == VIRTUAL) {
        hid_t space = H5Screate_simple(2, dims, NULL);
        H5Pset_virtual(layout, space, other, "episode_0/observations", space);
        H5Sclose(space);
        write = false;
    } else if (trick == CONTIGUOUS_UNWRITTEN) {
        write = false;
    } else if (trick == NO_LAST_OBSERVATION) {
        n = STEPS;
    }
    put(group, "observations", n, 5, layout, write);
    H5Pclose(layout);
}

static void write_file(const char *path, enum trick trick, const char *other)
{
    struct hdf5_writing writing;
    void *image;
    size_t size;
    hdf5_lock();
    assert_int_equal(hdf5_writing_begin(&writing, 0, NULL), STATUS_OK);
    if (trick == SOFT_LINK_TO_NOTHING) {
        assert_true(
            H5Lcreate_soft("nowhere", writing.file, "episode_0", H5P_DEFAULT, H5P_DEFAULT) >= 0);
    } else {
        hid_t group = H5Gcreate2(writing.file, "episode_0", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
        put_observations(group, trick, other);
        put(group, "actions", STEPS, 2, H5P_DEFAULT, true);
        put(group, "rewards", STEPS, 0, H5P_DEFAULT, true);
        put_flags(group, "terminations");
        put_flags(group, "truncations");
        H5Gclose(group);
    }
    assert_int_equal(hdf5_writing_end(&writing, &image, &size, NULL), STATUS_OK);
    hdf5_unlock();
    const struct file_part part = {.bytes = image, .size = size};
    assert_int_equal(file_replace(path, &part, 1, NULL), STATUS_OK);
    mem_free(image);
}

/* Reads episode 0 of the dataset's only shard. */
static status read_first(struct episode *episode, struct err *err)
{
    struct dataset *dataset;
    struct shard_reader *reader;
    status s = dataset_open(&dataset, scratch_folder, err);
    if (s != STATUS_OK) {
        return s;
    }
    s = shard_reader_open(&reader, dataset, 0, err);
    if (s == STATUS_OK) {
        s = shard_reader_read(reader, 0, episode, err);
        shard_reader_close(reader);
    }
    dataset_close(dataset);
    return s;
}

static void values_of_other_files_and_of_no_file_are_refused(void **state)
{
    (void)state;
    char other[SCRATCH_SIZE];
    char folder[SCRATCH_SIZE];
    scratch_make(folder);
    snprintf(other, sizeof other, "%.200s/other.hdf5", folder);
    write_file(other, NO_TRICK, NULL);
    for (int trick = NO_TRICK; trick < END_OF_TRICKS; trick++) {
        struct err err = {0};
        struct episode episode;
        episode_init(&episode, signature_width(&signature));
        write_file(scratch_at("a.hdf5"), (enum trick)trick, other);
        const status s = read_first(&episode, &err);
        if (expected[trick] == NULL) {
            assert_int_equal(s, STATUS_OK);
            assert_int_equal(episode.T, STEPS);
        } else if (s == STATUS_OK || strstr(err.text, expected[trick]) == NULL) {
            fail_msg("trick %d: status %d, expected \"%s\" in \"%s\"", trick, (int)s,
                     expected[trick], err.text);
        }
        episode_fini(&episode);
    }
    scratch_remove(folder);
}

static void what_is_no_file_is_not_waited_for(void **state)
{
    (void)state;
    struct err err = {0};
    struct episode episode;
    episode_init(&episode, signature_width(&signature));
    assert_int_equal(mkfifo(scratch_at("a.hdf5"), 0600), 0);
    assert_int_equal(read_first(&episode, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "a.hdf5: is not a regular file"));
    assert_int_equal(unlink(scratch_at("metadata.json")), 0);
    assert_int_equal(mkfifo(scratch_at("metadata.json"), 0600), 0);
    assert_int_equal(read_first(&episode, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "metadata.json: is not a regular file"));
    episode_fini(&episode);
}

/* A file of `name` as its only member: a group, or a dataset. */
static void write_member(const char *name, bool group)
{
    struct hdf5_writing writing;
    void *image;
    size_t size;
    hdf5_lock();
    assert_int_equal(hdf5_writing_begin(&writing, 0, NULL), STATUS_OK);
    if (group) {
        hid_t links = H5Pcreate(H5P_LINK_CREATE);
        H5Pset_create_intermediate_group(links, 1);
        H5Gclose(H5Gcreate2(writing.file, name, links, H5P_DEFAULT, H5P_DEFAULT));
        H5Pclose(links);
    } else {
        put(writing.file, name, 20, 5, H5P_DEFAULT, true);
    }
    assert_int_equal(hdf5_writing_end(&writing, &image, &size, NULL), STATUS_OK);
    hdf5_unlock();
    const struct file_part part = {.bytes = image, .size = size};
    assert_int_equal(file_replace(scratch_at("a.hdf5"), &part, 1, NULL), STATUS_OK);
    mem_free(image);
}

static void files_without_episodes_say_what_they_are(void **state)
{
    (void)state;
    struct err err = {0};
    struct episode episode;
    episode_init(&episode, signature_width(&signature));
    write_member("observations", false);
    assert_int_equal(read_first(&episode, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "has no episode, expected groups episode_<number>"));
    assert_non_null(strstr(err.text, "D4RL"));
    write_member("data/demo_0", true);
    assert_int_equal(read_first(&episode, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "robomimic"));
    write_member("demo", true);
    assert_int_equal(read_first(&episode, &err), STATUS_INVALID);
    assert_null(strstr(err.text, "layout"));
    episode_fini(&episode);
}

/* ---- identities ---- */

/* A shard of our own with one episode, in a folder whose metadata.json lists no checksum. */
static void write_unlisted(const char folder[SCRATCH_SIZE], const char *file, uint64_t seed)
{
    char path[2 * SCRATCH_SIZE];
    struct episode episode;
    void *image;
    size_t size;
    trajectories_episode(&episode, &signature, 6, seed, false);
    const struct episode *const list[1] = {&episode};
    assert_int_equal(shard_image(&image, &size, &signature, list, 1, 0, NULL), STATUS_OK);
    assert_int_equal(file_make_folders(folder, NULL), STATUS_OK);
    scratch_path(path, folder, file);
    const struct file_part part = {.bytes = image, .size = size};
    assert_int_equal(file_replace(path, &part, 1, NULL), STATUS_OK);
    mem_free(image);
    episode_fini(&episode);
    write_metadata(folder);
}

/* The identity of episode 0 of shard 0. */
static struct episode_identity identity_in(const char *folder, bool *as_listed)
{
    struct dataset *dataset;
    struct shard_reader *reader;
    struct episode episode;
    episode_init(&episode, signature_width(&signature));
    assert_int_equal(dataset_open(&dataset, folder, NULL), STATUS_OK);
    assert_int_equal(shard_reader_open(&reader, dataset, 0, NULL), STATUS_OK);
    assert_int_equal(shard_reader_read(reader, 0, &episode, NULL), STATUS_OK);
    if (as_listed != NULL) {
        *as_listed = shard_reader_is_as_listed(reader);
    }
    const struct episode_identity identity = episode.identity;
    shard_reader_close(reader);
    dataset_close(dataset);
    episode_fini(&episode);
    return identity;
}

static void identities_come_from_contents(void **state)
{
    (void)state;
    char folders[4][SCRATCH_SIZE];
    const char *const files[4] = {"log.hdf5", "log.hdf5", "another-name.hdf5", "log.hdf5"};
    const uint64_t seeds[4] = {1, 2, 1, 1};
    struct episode_identity identities[4];
    for (int i = 0; i < 4; i++) {
        snprintf(folders[i], sizeof folders[i], "%.200s/robot-%d", scratch_folder, i);
        write_unlisted(folders[i], files[i], seeds[i]);
        identities[i] = identity_in(folders[i], NULL);
    }
    /* The same metadata and the same name do not make other contents the same .. */
    assert_int_not_equal(episode_identity_compare(&identities[0], &identities[1]), 0);
    /* .. and another name, or another folder, does not make the same contents others. */
    assert_int_equal(episode_identity_compare(&identities[0], &identities[2]), 0);
    assert_int_equal(episode_identity_compare(&identities[0], &identities[3]), 0);
}

static void a_changed_file_does_not_keep_its_listed_identity(void **state)
{
    (void)state;
    char path[2 * SCRATCH_SIZE];
    char folder[SCRATCH_SIZE];
    struct dataset_writer *writer;
    struct episode episode;
    bool as_listed;
    void *image;
    size_t size;
    snprintf(folder, sizeof folder, "%.200s/listed", scratch_folder);
    trajectories_episode(&episode, &signature, 6, 1, false);
    const struct episode *const list[1] = {&episode};
    assert_int_equal(dataset_writer_open(&writer, folder, &signature, NULL, NULL), STATUS_OK);
    assert_int_equal(dataset_writer_shard(writer, list, 1, NULL), STATUS_OK);
    dataset_writer_close(writer);
    const struct episode_identity before = identity_in(folder, &as_listed);
    assert_true(as_listed);
    /* The same size, other rewards, sound checksums: what an editor of HDF5 leaves. */
    episode.rows[signature_rewards_at(&signature)] += 1;
    assert_int_equal(shard_image(&image, &size, &signature, list, 1, 0, NULL), STATUS_OK);
    snprintf(path, sizeof path, "%s/shard-00000.hdf5", folder);
    const struct file_part part = {.bytes = image, .size = size};
    assert_int_equal(file_replace(path, &part, 1, NULL), STATUS_OK);
    mem_free(image);
    episode_fini(&episode);
    const struct episode_identity after = identity_in(folder, &as_listed);
    assert_false(as_listed);
    assert_int_not_equal(episode_identity_compare(&before, &after), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, scratch_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(values_of_other_files_and_of_no_file_are_refused),
        TEST(what_is_no_file_is_not_waited_for),
        TEST(files_without_episodes_say_what_they_are),
        TEST(identities_come_from_contents),
        TEST(a_changed_file_does_not_keep_its_listed_identity),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
