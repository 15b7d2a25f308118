/* Making an HDF5 file in memory. All functions need hdf5_lock held (hdf5.h).
 *
 * The same calls give the same bytes. Both structures (1.10 format) and data (fletcher32) have
 * checksums. */
#ifndef HINDCAST_TRAJECTORY_HDF5_WRITING_H
#define HINDCAST_TRAJECTORY_HDF5_WRITING_H

#include "common/trajectory/hdf5.h"

struct hdf5_image;

struct hdf5_writing {
    hid_t file;
    hid_t bool_type; /* as h5py writes bool: int8 enum FALSE, TRUE */
    int compression; /* deflate level after byte shuffling; 0: neither */
    struct hdf5_image *image;
};

status hdf5_writing_begin(struct hdf5_writing *writing, int compression,
                          struct err *err) MUST_CHECK;
/* Ends it; *image is the file's bytes, mem_free. */
status hdf5_writing_end(struct hdf5_writing *writing, void **image, size_t *size,
                        struct err *err) MUST_CHECK;
void hdf5_writing_abort(struct hdf5_writing *writing);

status hdf5_writing_group(hid_t *group, hid_t parent, const char *name, struct err *err) MUST_CHECK;
/* values (n, row_size); row_size 0: rank 1. */
status hdf5_writing_floats(const struct hdf5_writing *writing, hid_t group, const char *name,
                           const float *values, uint64_t n, uint64_t row_size,
                           struct err *err) MUST_CHECK;
status hdf5_writing_flags(const struct hdf5_writing *writing, hid_t group, const char *name,
                          const int8_t *values, uint64_t n, struct err *err) MUST_CHECK;
/* n == 1: a scalar attribute. */
status hdf5_writing_attribute(hid_t object, const char *name, const uint64_t *values, size_t n,
                              struct err *err) MUST_CHECK;

#endif
