/* Compressed datasets, unpacked by us and by HDF5: the same bytes; and damage in every place. */
#include <stdio.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/trajectory/hdf5_chunks.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"

#define ROWS_MAX    1000
#define COLUMNS_MAX 24

/* One way of storing rows. */
struct layout {
    hid_t type;
    size_t size; /* of a value of that type */
    int rank;
    hsize_t dims[2], chunk[2];
    const char *filters; /* in order: s shuffle, d deflate, f fletcher32 */
};

static unsigned char values[ROWS_MAX * COLUMNS_MAX * 8]; /* what is written */
static unsigned char ours[sizeof values], theirs[sizeof values];

/* Values with few digits: noise would not be compressed at all, and zeros too well. */
static void fill_values(void)
{
    uint32_t random = 11;
    for (size_t i = 0; i < sizeof values; i++) {
        random = random * 1664525u + 1013904223u;
        values[i] = (unsigned char)(random >> 24 & (i % 4 < 2 ? 7 : 1));
    }
}

static hid_t new_file(void)
{
    char path[2048];
    snprintf(path, sizeof path, "%s/chunks.hdf5", scratch_folder);
    hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    assert_true(file >= 0);
    return file;
}

static hid_t make_dataset(hid_t file, const struct layout *layout)
{
    hid_t list = H5Pcreate(H5P_DATASET_CREATE);
    assert_true(H5Pset_chunk(list, layout->rank, layout->chunk) >= 0);
    for (const char *filter = layout->filters; *filter != '\0'; filter++) {
        assert_true((*filter == 's'   ? H5Pset_shuffle(list)
                     : *filter == 'd' ? H5Pset_deflate(list, 6)
                                      : H5Pset_fletcher32(list)) >= 0);
    }
    /* It may grow: otherwise no chunk may be larger than the dataset. */
    const hsize_t most[2] = {H5S_UNLIMITED, H5S_UNLIMITED};
    hid_t space = H5Screate_simple(layout->rank, layout->dims, most);
    hid_t dataset = H5Dcreate2(file, "values", layout->type, space, H5P_DEFAULT, list, H5P_DEFAULT);
    assert_true(dataset >= 0);
    H5Sclose(space);
    H5Pclose(list);
    return dataset;
}

/* As a reader finds it. */
static struct hdf5_shape shape_of(hid_t file)
{
    hid_t dataset;
    struct hdf5_shape shape;
    struct err err = {0};
    assert_int_equal(hdf5_dataset_open(&dataset, &shape, file, "values", UINT64_MAX, &err),
                     STATUS_OK);
    assert_true(shape.chunked);
    H5Dclose(dataset);
    return shape;
}

/* Rows first .. first + n, by both. */
static void compare(const struct hdf5_chunks *chunks, hid_t dataset, const struct layout *layout,
                    hsize_t first, hsize_t n)
{
    const hsize_t columns = layout->rank == 2 ? layout->dims[1] : 1;
    const hsize_t start[2] = {first, 0}, count[2] = {n, columns};
    const size_t bytes = n * columns * layout->size;
    memset(ours, 0xee, bytes + 1);
    assert_int_equal(hdf5_chunks_read(chunks, dataset, first, n, ours), STATUS_OK);
    hid_t in_file = H5Dget_space(dataset);
    hid_t in_memory = H5Screate_simple(layout->rank, count, NULL);
    H5Sselect_hyperslab(in_file, H5S_SELECT_SET, start, NULL, count, NULL);
    assert_true(H5Dread(dataset, layout->type, in_memory, in_file, H5P_DEFAULT, theirs) >= 0);
    H5Sclose(in_memory);
    H5Sclose(in_file);
    assert_memory_equal(ours, theirs, bytes);
    assert_memory_equal(ours, values + first * columns * layout->size, bytes);
    assert_int_equal(ours[bytes], 0xee); /* nothing behind the rows */
}

static void same_values_as_hdf5(void **state)
{
    (void)state;
    const struct layout layouts[] = {
        {H5T_IEEE_F32LE, 4, 2, {1000, 24}, {126, 6}, "d"},
        {H5T_IEEE_F32LE, 4, 2, {1000, 24}, {100, 24}, "sd"},
        {H5T_IEEE_F32LE, 4, 2, {1000, 24}, {100, 5}, "sdf"},
        {H5T_IEEE_F32LE, 4, 2, {7, 3}, {7, 3}, "fsd"},
        {H5T_IEEE_F64LE, 8, 2, {333, 5}, {64, 2}, "sd"},
        {H5T_IEEE_F32LE, 4, 1, {1000, 0}, {77, 0}, "df"},
        {H5T_STD_I8LE, 1, 1, {999, 0}, {1000, 0}, "d"},
        {H5T_STD_I16LE, 2, 2, {50, 9}, {3, 4}, "fds"},
    };
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++) {
        const struct layout *layout = &layouts[i];
        hid_t file = new_file();
        hid_t dataset = make_dataset(file, layout);
        assert_true(H5Dwrite(dataset, layout->type, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
        const struct hdf5_shape shape = shape_of(file);
        struct hdf5_chunks chunks;
        assert_true(hdf5_chunks_find(&chunks, dataset, &shape));
        const hsize_t rows = layout->dims[0], chunk = layout->chunk[0];
        compare(&chunks, dataset, layout, 0, rows);
        compare(&chunks, dataset, layout, rows - 1, 1);
        compare(&chunks, dataset, layout, rows / 3, rows / 2);
        if (rows > chunk) {
            compare(&chunks, dataset, layout, chunk - 1, 2);
            compare(&chunks, dataset, layout, chunk, rows - chunk);
        }
        H5Dclose(dataset);
        H5Fclose(file);
    }
}

/* HDF5 leaves a filter out where it gains nothing, and notes that in the chunk. */
static void filters_that_were_left_out(void **state)
{
    (void)state;
    const struct layout layout = {H5T_IEEE_F32LE, 4, 2, {20, 4}, {10, 4}, "sd"};
    hid_t file = new_file();
    hid_t dataset = make_dataset(file, &layout);
    const hsize_t offsets[2][2] = {{0, 0}, {10, 0}};
    const size_t bytes = 10 * 4 * 4;
    for (size_t i = 0; i < 2; i++) {
        assert_true(H5Dwrite_chunk(dataset, H5P_DEFAULT, 3 /* both */, offsets[i], bytes,
                                   values + i * bytes) >= 0);
    }
    const struct hdf5_shape shape = shape_of(file);
    struct hdf5_chunks chunks;
    assert_true(hdf5_chunks_find(&chunks, dataset, &shape));
    compare(&chunks, dataset, &layout, 0, 20);
    H5Dclose(dataset);
    H5Fclose(file);
}

/* What is not ours to read. */
static void others_are_left_to_hdf5(void **state)
{
    (void)state;
    const struct layout layouts[] = {
        {H5T_IEEE_F32LE, 4, 2, {20, 4}, {10, 4}, ""},
        {H5T_IEEE_F32LE, 4, 2, {20, 4}, {10, 4}, "sf"},
        {H5T_IEEE_F32LE, 4, 2, {20, 4}, {10, 4}, "dd"},
    };
    for (size_t i = 0; i < sizeof layouts / sizeof layouts[0]; i++) {
        hid_t file = new_file();
        hid_t dataset = make_dataset(file, &layouts[i]);
        assert_true(H5Dwrite(dataset, H5T_IEEE_F32LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
        const struct hdf5_shape shape = shape_of(file);
        struct hdf5_chunks chunks;
        assert_false(hdf5_chunks_find(&chunks, dataset, &shape));
        H5Dclose(dataset);
        H5Fclose(file);
    }
}

/* Reads a chunk of other bytes: OK or CORRUPT, with a reason, and nothing behind the rows. */
static status read_stored(const char *filters, const void *stored, size_t size)
{
    const struct layout layout = {H5T_IEEE_F32LE, 4, 2, {10, 4}, {10, 4}, filters};
    hid_t file = new_file();
    hid_t dataset = make_dataset(file, &layout);
    const hsize_t offset[2] = {0, 0};
    assert_true(H5Dwrite_chunk(dataset, H5P_DEFAULT, 0, offset, size, stored) >= 0);
    const struct hdf5_shape shape = shape_of(file);
    struct hdf5_chunks chunks;
    assert_true(hdf5_chunks_find(&chunks, dataset, &shape));
    memset(ours, 0xee, sizeof ours);
    const status s = hdf5_chunks_read(&chunks, dataset, 0, 10, ours);
    assert_int_equal(ours[160], 0xee);
    struct err err = {0};
    (void)hdf5_error(&err, STATUS_CORRUPT, "values");
    assert_true(s == STATUS_OK || strstr(err.text, "chunk") != NULL);
    H5Dclose(dataset);
    H5Fclose(file);
    return s;
}

/* The bytes of a sound chunk. */
static size_t sound_chunk(const char *filters, hsize_t rows, unsigned char *stored)
{
    const struct layout layout = {H5T_IEEE_F32LE, 4, 2, {rows, 4}, {rows, 4}, filters};
    hid_t file = new_file();
    hid_t dataset = make_dataset(file, &layout);
    const hsize_t offset[2] = {0, 0};
    hsize_t size;
    uint32_t skipped;
    assert_true(H5Dwrite(dataset, H5T_IEEE_F32LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    assert_true(H5Dflush(dataset) >= 0);
    assert_true(H5Dget_chunk_storage_size(dataset, offset, &size) >= 0);
    assert_true(H5Dread_chunk(dataset, H5P_DEFAULT, offset, &skipped, stored) >= 0);
    assert_int_equal(skipped, 0);
    H5Dclose(dataset);
    H5Fclose(file);
    return (size_t)size;
}

static void damage_is_noticed(void **state)
{
    (void)state;
    static unsigned char stored[4096];
    for (int i = 0; i < 2; i++) {
        const char *filters = i == 0 ? "sd" : "sdf";
        const size_t size = sound_chunk(filters, 10, stored);
        assert_int_equal(read_stored(filters, stored, size), STATUS_OK);
        assert_memory_equal(ours, values, 160);
        /* A bit of each byte: of the values, of adler32, of fletcher32. Without fletcher32 a bit
         * that deflate does not use may change, and no value with it. */
        for (size_t at = 0; at < size; at++) {
            stored[at] ^= 0x10;
            const status s = read_stored(filters, stored, size);
            assert_true(s == STATUS_CORRUPT ||
                        (i == 0 && s == STATUS_OK && memcmp(ours, values, 160) == 0));
            stored[at] ^= 0x10;
        }
        assert_int_equal(read_stored(filters, stored, size - 1), STATUS_CORRUPT);
        assert_int_equal(read_stored(filters, stored, 1), STATUS_CORRUPT);
    }
    /* A row more and a row less than the chunk should have. */
    for (hsize_t rows = 9; rows <= 11; rows += 2) {
        const size_t size = sound_chunk("d", rows, stored);
        assert_int_equal(read_stored("d", stored, size), STATUS_CORRUPT);
    }
    /* More than any chunk of this size can take, packed. */
    assert_int_equal(read_stored("d", stored, sizeof stored), STATUS_CORRUPT);
}

/* Every allocation fails once. */
static void memory_runs_out(void **state)
{
    (void)state;
    const struct layout layout = {H5T_IEEE_F32LE, 4, 2, {10, 4}, {10, 4}, "sd"};
    hid_t file = new_file();
    hid_t dataset = make_dataset(file, &layout);
    assert_true(H5Dwrite(dataset, H5T_IEEE_F32LE, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) >= 0);
    const struct hdf5_shape shape = shape_of(file);
    struct hdf5_chunks chunks;
    assert_true(hdf5_chunks_find(&chunks, dataset, &shape));
    for (uint64_t nth = 1; nth <= 2; nth++) {
        memory_fail_at(nth);
        assert_int_equal(hdf5_chunks_read(&chunks, dataset, 0, 10, ours), STATUS_NO_MEMORY);
    }
    memory_fail_at(0);
    compare(&chunks, dataset, &layout, 0, 10);
    H5Dclose(dataset);
    H5Fclose(file);
}

int main(void)
{
    fill_values();
    hdf5_lock(); /* one thread, for all of the tests */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(same_values_as_hdf5, scratch_set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(filters_that_were_left_out, scratch_set_up,
                                        scratch_tear_down),
        cmocka_unit_test_setup_teardown(others_are_left_to_hdf5, scratch_set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(damage_is_noticed, scratch_set_up, scratch_tear_down),
        cmocka_unit_test_setup_teardown(memory_runs_out, scratch_set_up, scratch_tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
