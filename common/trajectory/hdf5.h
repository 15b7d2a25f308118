/* The part of HDF5 that logs need, with our statuses and messages.
 *
 * libhdf5 has global state and prints errors to stderr by itself. Here it is silent, and its
 * innermost message becomes ours. One lock for the whole process serialises it: all functions below
 * must be called between hdf5_lock and hdf5_unlock. */
#ifndef HINDCAST_TRAJECTORY_HDF5_H
#define HINDCAST_TRAJECTORY_HDF5_H

#include <hdf5.h>
#include <stdint.h>

#include "common/base/elements.h"
#include "common/base/status.h"

#define HDF5_RANK_MAX 8

void hdf5_lock(void);
void hdf5_unlock(void);

/* "text: HDF5's innermost reason"; returns `code`. */
status hdf5_error(struct err *err, status code, const char *format, ...) PRINTF_LIKE(3, 4);

/* ---- reading ---- */

/* Opens a regular file for reading. NOT_FOUND, INVALID (another kind of file), CORRUPT (truncated,
 * not HDF5). Close with H5Fclose. */
status hdf5_open(hid_t *file, const char *path, struct err *err) MUST_CHECK;

/* A dataset's shape and kind. */
struct hdf5_shape {
    int rank; /* 1..HDF5_RANK_MAX */
    uint64_t dims[HDF5_RANK_MAX];
    uint64_t row_size; /* product of all dims but the first */
    H5T_class_t kind;  /* H5T_FLOAT, H5T_INTEGER, H5T_ENUM, .. */
    bool chunked;      /* stored in chunks, maybe compressed */
};

enum hdf5_kind { HDF5_ABSENT, HDF5_GROUP, HDF5_DATASET, HDF5_OTHER };
enum hdf5_kind hdf5_kind_of(hid_t parent, const char *name);

/* Opens a dataset of rank >= 1 with at most `max_values` values. All of them must be stored in this
 * file: virtual datasets, external storage, and values that were never written are INVALID, as are
 * chunks that would take far more memory than the values. Close with H5Dclose. NOT_FOUND, INVALID,
 * CORRUPT name the dataset. */
status hdf5_dataset_open(hid_t *dataset, struct hdf5_shape *shape, hid_t parent, const char *name,
                         uint64_t max_values, struct err *err) MUST_CHECK;
/* Are the values numbers that can become floats? INVALID. */
status hdf5_check_floats(const struct hdf5_shape *shape, const char *name,
                         struct err *err) MUST_CHECK;
/* All values of an opened dataset of numbers, converted. INVALID when they are not numbers;
 * CORRUPT: HDF5's checksums. */
status hdf5_read_floats(float *values, hid_t dataset, const struct hdf5_shape *shape,
                        const char *name, struct err *err) MUST_CHECK;
/* The same for flags: booleans or whole numbers; the values are as stored. */
status hdf5_read_flags(int *values, hid_t dataset, const struct hdf5_shape *shape, const char *name,
                       struct err *err) MUST_CHECK;
/* How the file stores the values, where they can be read as they are: little-endian IEEE numbers,
 * integers, and booleans. ELEMENT_NONE otherwise; HDF5 can still convert those. */
struct element hdf5_element_of(hid_t dataset);
/* An attribute of n whole numbers. NOT_FOUND where absent or of another shape. */
status hdf5_read_attribute(uint64_t *values, size_t n, hid_t object, const char *name) MUST_CHECK;

/* An attribute with one text, number or boolean, as text: numbers with all their digits, booleans as
 * 0 and 1. Cut where it does not fit. NOT_FOUND where absent or of another kind. */
status hdf5_read_text(char *text, size_t size, hid_t object, const char *name) MUST_CHECK;

#endif
